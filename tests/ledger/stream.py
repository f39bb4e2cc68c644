"""A seeded stream of blocks with everything in it; prints its roots when run as a program."""

from __future__ import annotations

import sys
from random import Random

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    SLOT_MS,
    STRANGER,
    Chain,
    start_of,
)
from vppd.config.genesis import MarketRules
from vppd.crypto import SigningKey
from vppd.ledger.order_ops import CancelOrder
from vppd.ledger.transaction import Op, PlaceOrder, Reading, Transfer

KEYS = (ANN, BOB, CAT, ANN_METER, BOB_METER, STRANGER)
START = start_of(3) - 25_000


def run(seed: int, blocks: int, rules: MarketRules = "production") -> Chain:
    """Some blocks after genesis."""
    chain = Chain(rules=rules)
    stream = Stream(Random(seed))
    for _ in range(blocks):
        stream.block(chain)
    return chain


class Stream:
    """Members, meters and strangers, mostly well-behaved.

    Args:
        rng: decides everything.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._time_ms = START
        self._registers = {ANN_METER.public_key: [100, 50], BOB_METER.public_key: [0, 0]}

    def block(self, chain: Chain) -> None:
        """One more block, sometimes late, with a handful of transactions."""
        rng = self._rng
        self._time_ms += rng.choice([1, 300, 2_000, 5_000, 5_000, 25_000])
        txs = [self._tx(chain) for _ in range(rng.randrange(6))]
        chain.block(self._time_ms, *txs)

    def _tx(self, chain: Chain) -> bytes:
        rng = self._rng
        key = rng.choices(KEYS, [4, 4, 2, 3, 3, 1])[0]
        if rng.random() < 0.03:
            return rng.randbytes(20)
        nonce = rng.randrange(5) if rng.random() < 0.05 else None
        ops = [self._op(key) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        return chain.tx(key, *ops, nonce=nonce)

    def _op(self, key: SigningKey) -> Op:
        rng = self._rng
        current = (self._time_ms - start_of(0)) // SLOT_MS
        registers = self._registers.get(key.public_key)
        if registers is None and rng.random() < 0.03:
            return Reading(0, 0, 0)
        if registers is not None and rng.random() < 0.95:
            if rng.random() < 0.8:
                registers[rng.randrange(2)] += rng.choice([0, 700, 1_500, 3_000, 15_000])
            wobble = rng.choice([0, 0, 0, -50, 50])
            slot = max(0, current - rng.choice([0, 1, 1, 1, 2, 3, 4]))
            return Reading(slot, max(0, registers[0] + wobble), registers[1])
        if rng.random() < 0.1:
            return CancelOrder(max(0, current + rng.choice([0, 1, 1, 2])), rng.randrange(4))
        if rng.random() < 0.75:
            side = rng.randrange(2)
            low, high = sorted(rng.randrange(250_000, 550_000) for _ in range(2))
            price, reserve = (high, low) if side == 0 else (low, high)
            if rng.random() < 0.05:
                price, reserve = reserve, price
            slot = max(0, current + rng.choice([0, 1, 1, 1, 2, 2, 4]))
            quantity = rng.choice([0, 1, 400, 800, 1_200, 2_400, 4_001])
            return PlaceOrder(slot, side, quantity, price, reserve, rng.randrange(4))
        to = rng.choice(KEYS).public_key
        return Transfer(to, rng.choice([0, 1, 999_999, 3_000_000, 30_000_000]))


if __name__ == "__main__":
    done = run(int(sys.argv[1]), int(sys.argv[2]))
    last = done.last
    assert last is not None
    sys.stdout.write(f"{last.state_root.hex()} {last.receipts_root.hex()} {last.next_due_ms}\n")
