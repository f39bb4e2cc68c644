"""What one member can make a slot hold and cost is bounded (architecture.md, §7)."""

from __future__ import annotations

from tests.ledger.chain import ANN, BOB, Chain, bid, genesis, market, offer, start_of
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import MOST_MICRO
from vppd.ledger.events import Purse, Reason
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ORDERED

NOW = start_of(5) - 20_000


def test_a_member_places_so_many_orders_for_a_slot_and_no_more() -> None:
    chain = Chain(genesis(market(max_orders=3)))
    for _ in range(3):
        chain.ok(NOW, ANN, offer(5, 1, 1))
    assert chain.fails(NOW, ANN, offer(5, 1, 1)) == (ErrorCode.TOO_MANY_ORDERS, (3,))
    chain.ok(NOW, ANN, offer(6, 1, 1))
    chain.ok(NOW, BOB, bid(5, 1, 1))


def test_orders_of_one_side_add_up_to_the_largest_quantity() -> None:
    chain = Chain(genesis(market(max_quantity_wh=1_000)))
    chain.ok(NOW, ANN, offer(5, 600, 1))
    chain.ok(NOW, ANN, bid(5, 600, 1), offer(5, 400, 1))
    assert chain.fails(NOW, ANN, offer(5, 1, 1)) == (ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000,))
    chain.ok(NOW, ANN, bid(5, 400, 1))


def test_a_failed_transaction_does_not_count() -> None:
    chain = Chain(genesis(market(max_orders=1)))
    chain.fails(NOW, ANN, offer(5, 1, 1), offer(5, 0, 1))
    chain.ok(NOW, ANN, offer(5, 1, 1))


def test_the_count_goes_with_the_slot() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 1, 1))
    counted = [key for key, _ in chain.ledger.entries() if key[0] == ORDERED.number]
    assert len(counted) == 1
    chain.block(due_ms(chain.ledger.genesis.market, 5, Phase.CLOSED))
    assert not [key for key, _ in chain.ledger.entries() if key[0] == ORDERED.number]


def test_a_purse_that_is_almost_full_takes_what_fits() -> None:
    chain = Chain()
    ctx = chain.ledger._ctx
    ctx.post(BOB.public_key, Purse.BALANCE, MOST_MICRO - 10 - chain.balance(BOB), Reason.TRANSFER)
    assert ctx.charge(BOB.public_key, -1_000, Reason.IMBALANCE) == -10
    assert ctx.charge(BOB.public_key, -1_000, Reason.IMBALANCE) == 0
    assert chain.balance(BOB) == MOST_MICRO
