"""Floods of valid transactions: ``python -m tests.hostile.flood``.

A whole node that decides alone (its mempool is the leader's) is offered ten times what its mempool
holds, from one account and from a hundred, while four honest accounts send one payment at a time.
Counted is in which block after its submission an honest payment stands.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from statistics import quantiles
from typing import NamedTuple

import msgspec

from tests.node.plant import GENESIS, KEYS, START_MS
from vppd.config.genesis import AccountEntry
from vppd.consensus.boundary import Now, Timer, TimerKind
from vppd.crypto import SigningKey, sha256, verify
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.node.machine import Machine
from vppd.node.mempool import MAX_BYTES, MAX_PER_ACCOUNT, MAX_TXS, Refused

HONEST = 4
BLOCK_TXS = 200
"""So small that a full mempool is 25 blocks' work."""
BEYOND = 36
"""Transactions that each flooding account offers beyond what it may have waiting."""
TIMES = 10
"""What is offered, in mempools."""


RUNS = ((1, 1, BLOCK_TXS), (100, 1, BLOCK_TXS), (100, 60, BLOCK_TXS), (100, 1, 50))
"""Accounts, transfers in each transaction, transactions in a block."""


class Figures(NamedTuple):
    """What came of a flood."""

    identities: int
    offered: int
    taken: int
    fullest: int
    """Most transactions that waited at once."""
    waits: tuple[int, ...]
    """Per honest payment: 1 is the first block after its submission."""

    def p99(self) -> float:
        """Blocks."""
        return quantiles(self.waits, n=100, method="inclusive")[98]


def flood(identities: int, times: float, sized: int = 1, block_txs: int = BLOCK_TXS) -> Figures:
    """Offer ``times`` mempools from so many accounts.

    Args:
        identities: flooding accounts.
        times: of the mempool's capacity.
        sized: transfers per flooding transaction, which make it long.
        block_txs: most transactions in a block.
    """
    liars = [SigningKey(sha256(b"flooder %d" % i)) for i in range(identities)]
    accounts = tuple(
        AccountEntry(name=f"flooder-{i}", key=key.public_key, balance=10**9)
        for i, key in enumerate(liars)
    )
    rules = msgspec.structs.replace(GENESIS.consensus, max_block_txs=block_txs)
    genesis = msgspec.structs.replace(
        GENESIS,
        validators=GENESIS.validators[:1],
        accounts=GENESIS.accounts + accounts,
        consensus=rules,
    )
    node = _Node(Machine(genesis, KEYS[0], verify, Ledger.from_genesis(genesis)))
    offered = taken = fullest = 0
    waits: list[int] = []
    open_since: dict[int, int] = {}
    nonces: Counter[int] = Counter()
    pays = (Transfer(KEYS[0].public_key, 1),) * sized
    while offered < times * MAX_TXS or open_since:
        for key in liars:
            due = node.machine.ledger.nonce(key.public_key) or 0
            first = due + node.machine.mempool.waiting(key.public_key)
            for nonce in range(first, due + MAX_PER_ACCOUNT + BEYOND):  # goes on when refused
                raw = make_transaction(key, genesis.digest, nonce, 5_000, pays)
                offered += 1
                taken += node.submit(raw)
        pool = node.machine.mempool
        fullest = max(fullest, len(pool))
        assert len(pool) <= MAX_TXS
        assert pool.size_bytes <= MAX_BYTES
        for i in range(HONEST):
            if i not in open_since:
                raw = make_transaction(
                    KEYS[i], genesis.digest, nonces[i], 5_000, (Transfer(liars[0].public_key, 1),)
                )
                assert node.submit(raw), f"honest account {i} is refused at {len(pool)} waiting"
                open_since[i] = node.machine.ledger.height
        node.block()
        for i, since in tuple(open_since.items()):
            if (node.machine.ledger.nonce(KEYS[i].public_key) or 0) > nonces[i]:
                waits.append(node.machine.ledger.height - since)
                nonces[i] += 1
                del open_since[i]
    return Figures(identities, offered, taken, fullest, tuple(waits))


class _Node:
    """One replica that needs nobody else."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ms = 0
        machine.release(machine.start(self.now(), [], None, ()), self.now())
        machine.fire(Timer(TimerKind.START))

    def now(self) -> Now:
        return Now(self.ms, START_MS + self.ms)

    def submit(self, raw: bytes) -> bool:
        """Whether it was taken."""
        try:
            self.machine.submit(raw, self.ms, own=False)
        except Refused:
            return False
        return True

    def block(self) -> None:
        """Turns until there is one block more."""
        height = self.machine.ledger.height
        for _ in range(20):
            self.ms += 1
            self.machine.release(self.machine.turn(self.now()), self.now())
            if self.machine.ledger.height > height:
                return
        raise AssertionError(f"no block after {height}")


def main() -> int:
    """The command."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| identities | offered | taken | fullest | honest payments | blocks p99 | worst |")  # noqa: T201
    print("|---|---|---|---|---|---|---|")  # noqa: T201
    for identities, sized, block_txs in RUNS:
        made = flood(identities, TIMES, sized, block_txs)
        row = (
            f"{identities}{' (3 KB each)' if sized > 1 else ''}, blocks of {block_txs}",
            f"{made.offered:,}",
            f"{made.taken:,}", f"{made.fullest:,}", len(made.waits), f"{made.p99():.1f}",
            max(made.waits),
        )  # fmt: skip
        print(f"| {' | '.join(map(str, row))} |", flush=True)  # noqa: T201 - the report
    return 0


if __name__ == "__main__":
    sys.exit(main())
