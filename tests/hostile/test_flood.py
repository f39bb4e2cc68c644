"""Nobody's flood of valid transactions keeps anybody else's payment waiting."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hostile.flood import HONEST, RUNS, flood
from vppd.ledger.transaction import Transaction
from vppd.node.mempool import MAX_PER_ACCOUNT, MAX_TXS, Mempool, Refused

BLOCKS = 3
"""reliability.md, Part 2, row 18."""
TIMES = 2


@pytest.mark.parametrize(("identities", "sized", "block_txs"), RUNS)
def test_an_honest_payment_is_in_one_of_the_next_blocks(
    identities: int, sized: int, block_txs: int
) -> None:
    made = flood(identities, TIMES, sized, block_txs)
    assert made.offered >= TIMES * MAX_TXS
    assert made.fullest >= min(MAX_TXS, identities * MAX_PER_ACCOUNT) // (1 + sized // 30)
    assert len(made.waits) >= HONEST
    assert made.p99() <= BLOCKS


def test_a_mempool_that_is_full_for_everybody_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Mempool.admit

    def admit(pool: Mempool, tx: Transaction) -> None:
        right(pool, tx)
        if len(pool) == MAX_TXS:
            raise Refused("the mempool is full")

    monkeypatch.setattr(Mempool, "admit", admit)
    with pytest.raises(AssertionError, match="honest account 0 is refused at 10000 waiting"):
        flood(200, TIMES)


def test_blocks_in_order_of_arrival_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(pool: Any, height: int, max_txs: int, *_: int) -> tuple[bytes, ...]:
        del height
        oldest = [pool.get(tx_id).raw for tx_id in pool._ready]
        return tuple(oldest[:max_txs])

    monkeypatch.setattr(Mempool, "take", take)
    assert flood(100, 1).p99() > BLOCKS
