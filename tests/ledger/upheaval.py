"""A seeded plant whose members, rules, votes and crimes never rest; as a program: its roots."""

from __future__ import annotations

import sys
from random import Random

from msgspec.structs import replace

from tests.ledger.council import NODES, Crimes, plant
from tests.ledger.test_producers import Republic, dpos
from vppd.config.genesis import Genesis, Governance
from vppd.crypto import SigningKey
from vppd.ledger.changes import (
    Add,
    Change,
    Configure,
    Move,
    Readmit,
    Remove,
    SetEngine,
    SetNumber,
)
from vppd.ledger.proofs import Accuse, Ready, Statement
from vppd.ledger.transaction import Op, Transfer, Vote, make_statement

NUMBERS = (
    ("f", None), ("f", 0), ("f", 1), ("f", 3), ("p", None), ("p", 0), ("p", 1), ("p", 7),
    ("max_tx_ops", 0),
    ("max_tx_ops", 9), ("max_tx_ops", 64), ("delegates", 3), ("delegates", 5),
    ("alpha_ppm", 500_000), ("epoch_blocks", 5), ("view_timeout_ms", 99_999), ("nonsense", 1),
)  # fmt: skip


def founding(seed: int) -> Genesis:
    """By seed: with or without an authority, a threshold; a few seats, or seats for all."""
    authority = (NODES[5].public_key,) if seed % 3 == 0 else ()
    threshold = 1 if seed % 2 else None
    governance = Governance(threshold=threshold, authority=authority)
    if seed % 4 == 3:
        return plant(6, "bncm", governance=governance)
    return dpos(6, 3 + seed % 3, governance=governance)


def run(seed: int, blocks: int) -> Republic:
    """Some blocks after genesis."""
    republic = Republic(founding(seed))
    upheaval = Upheaval(Random(seed))
    for _ in range(blocks):
        upheaval.block(republic)
    return republic


class Upheaval:
    """Everybody does what comes to mind, rightly or wrongly.

    Args:
        rng: decides everything.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._pending: Configure | None = None

    def block(self, republic: Republic) -> None:
        """One more block of members' and nobody's transactions."""
        rng = self._rng
        txs = []
        if rng.random() < 0.4:
            txs += [
                make_statement(10**6 + i, republic.here(node))
                for i, node in enumerate(rng.sample(NODES, 6))
            ]
        for _ in range(rng.randrange(4)):
            if rng.random() < 0.3:
                txs.append(make_statement(rng.randrange(10**6), self._statement(republic)))
            else:
                key = rng.choice(republic.sitting() if rng.random() < 0.7 else NODES)
                txs.append(
                    republic.tx(key, *(self._op(republic) for _ in range(rng.choice((1, 1, 2)))))
                )
        if rng.random() < 0.02:
            junk = self._statement(republic)
            txs += [make_statement(2 * 10**6 + i, junk) for i in range(40)]
        republic.pack(*txs)

    def _op(self, republic: Republic) -> Op:
        rng = self._rng
        if rng.random() < 0.25:
            return Vote(tuple(rng.choice(NODES).public_key for _ in range(rng.randrange(5))))
        if rng.random() < 0.05:
            return self._statement(republic)
        if rng.random() < 0.1:
            return Transfer(rng.choice(NODES).public_key, rng.randrange(3))
        if self._pending is None or rng.random() < 0.25:
            epoch = max(0, republic.latest.epoch - (rng.random() < 0.05))
            count = rng.choice((1, 1, 2))
            self._pending = Configure(epoch, tuple(self._change(republic) for _ in range(count)))
        return self._pending

    def _change(self, republic: Republic) -> Change:
        rng = self._rng
        key, other = rng.choice(NODES), rng.choice(NODES)
        ready = republic.ready(key, drawn=rng.randbytes(4))
        if rng.random() < 0.05:
            ready = replace(ready, sig=bytes(64))
        name = rng.choice((f"node-{rng.randrange(12)}", f"n{rng.randrange(10**6)}", "a b"))
        match rng.randrange(8):
            case 0 | 1:
                return Add(key.public_key, name, rng.random() < 0.3, "", ready)
            case 2:
                return Remove(key.public_key)
            case 3:
                return republic.rekey(other, key, ready=ready)
            case 4:
                return Readmit(key.public_key, ready)
            case 5:
                return Move(key.public_key, rng.random() < 0.5)
            case 6:
                return SetEngine(rng.choice(("dpos", "dpos", "dpos", "bncm", "pbft", "raft")))
            case _:
                return SetNumber(*rng.choice(NUMBERS))

    def _statement(self, republic: Republic) -> Statement:
        rng = self._rng
        crimes = Crimes(republic, rng.choice(republic.ledger.eras[-3:]))
        members = [m.key for m in crimes.era.members]
        nodes: list[SigningKey] = [node for node in NODES if node.public_key in members]
        culprit = rng.choice(nodes)
        kind = rng.random()
        if kind < 0.1:
            proof = rng.choice((crimes.twice(culprit), crimes.hidden(culprit)))
            return Accuse(proof)
        if kind < 0.3:
            return Accuse(crimes.twice(culprit, view=2))
        if kind < 0.4:
            ready: Ready = republic.here(rng.choice(NODES))
            return ready
        height = max(1, republic.ledger.height - rng.randrange(3))
        nodes.sort(key=lambda node: members.index(node.public_key))
        return crimes.skip(rng.randrange(3), height, nodes[: max(1, 2 * len(nodes) // 3 + 1)])


if __name__ == "__main__":
    done = run(int(sys.argv[1]), int(sys.argv[2]))
    last = done.last
    assert last is not None
    sys.stdout.write(f"{last.state_root.hex()} {last.receipts_root.hex()} {done.latest.epoch}\n")
