"""Cancelling and replacing: one's own order, before gate closure, and exact to the micro."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    CAT,
    OPENING,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    start_of,
)
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import OrderAccepted, OrderCancelled, Posted, Purse, Reason, Traded
from vppd.ledger.execution import Ledger
from vppd.ledger.order_ops import CancelOrder
from vppd.ledger.order_records import OrderNote
from vppd.ledger.records import Ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ORDER, ORDER_NOTE, ORDERED
from vppd.ledger.transaction import PlaceOrder

NOW = start_of(5) - 20_000
GATE = start_of(5) - 2_000


def cancel(seq: int, slot: int = 5) -> CancelOrder:
    return CancelOrder(slot, seq)


def ordered(chain: Chain, key: bytes) -> Ordered | None:
    return chain.ledger._ctx.state.get(ORDERED, 5, key)


def trades(ledger: Ledger) -> list[tuple[int, int, int, int]]:
    return [(t.offer, t.bid, t.quantity_wh, t.price) for _, t in ledger.trades(5)]


# -- what a cancellation does


def test_what_rests_leaves_the_book_and_its_escrow_goes_back() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, bid(5, 1_000, 400_000))
    receipt = chain.ok(NOW + 1, ANN, cancel(0))
    assert receipt.events == (
        Posted(ANN.public_key, Purse.ESCROW, -400_000, Reason.RELEASE),
        Posted(ANN.public_key, Purse.BALANCE, 400_000, Reason.RELEASE),
        OrderCancelled(5, 0, 1_000),
    )
    assert (chain.balance(ANN), chain.escrow(ANN)) == (OPENING, 0)
    assert chain.ledger.book_view(5) == []
    chain.ok(NOW + 2, BOB, offer(5, 1_000, 300_000))
    assert trades(chain.ledger) == []


def test_a_partly_filled_order_keeps_its_trades_and_exactly_what_they_cost() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 333, 400_001))
    chain.ok(NOW + 1, BOB, bid(5, 1_000, 440_000, 450_000))
    cost = 139_860  # 333 Wh at 420 000.5, half to even 420 000
    assert chain.escrow(BOB) == 450_000
    chain.ok(NOW + 2, BOB, cancel(1))
    assert (chain.escrow(BOB), chain.balance(BOB)) == (cost, OPENING - cost)
    own = chain.block(GATE)[0]
    assert events(own, Posted) == [], "nothing is left to release"
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert (chain.escrow(BOB), chain.balance(ANN)) == (0, OPENING + cost)


def test_trades_rounded_up_may_have_cost_more_than_was_set_aside() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, *[offer(5, 1, 1_500)] * 3)
    chain.ok(NOW + 1, BOB, bid(5, 3, 1_500), bid(5, 1, 1))
    chain.ok(NOW + 2, BOB, cancel(4))
    assert (chain.escrow(BOB), chain.balance(BOB)) == (5, OPENING - 5)
    other = Chain()
    other.ok(NOW, ANN, *[offer(5, 1, 1_500)] * 3)
    other.ok(NOW + 1, BOB, bid(5, 4, 1_500))  # sets 6 aside; three trades cost 2 each
    other.ok(NOW + 2, BOB, cancel(3))
    assert (other.escrow(BOB), other.balance(BOB)) == (6, OPENING - 6)


def test_quantities_shrink_and_the_count_does_not() -> None:
    chain = Chain(genesis(market(max_orders=3, max_quantity_wh=1_000)))
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000))
    chain.ok(NOW + 1, ANN, cancel(0))
    assert ordered(chain, ANN.public_key) == Ordered(1, 0, 0)
    chain.ok(NOW + 2, ANN, offer(5, 1_000, 390_000), bid(5, 300, 1))
    chain.ok(NOW + 3, ANN, cancel(2))
    assert ordered(chain, ANN.public_key) == Ordered(3, 1_000, 0)
    assert chain.fails(NOW + 4, ANN, bid(5, 1, 1)) == (ErrorCode.TOO_MANY_ORDERS, (3,))


def test_what_was_cancelled_is_remembered_until_the_slot_closes() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000))
    chain.ok(NOW + 1, BOB, bid(5, 300, 400_000))
    chain.ok(NOW + 2, ANN, cancel(0))
    state = chain.ledger._ctx.state
    assert state.get(ORDER_NOTE, 5, 0) == OrderNote(700, None)
    assert state.need(ORDER, 5, 0).quantity_wh == 1_000
    chain.block(due_ms(chain.genesis.market, 5, Phase.CLOSED))
    assert state.get(ORDER_NOTE, 5, 0) is None


@pytest.mark.parametrize("rules", ["literal003", "two-stage"])
def test_in_a_call_a_cancelled_order_never_trades(rules: str) -> None:
    chain = Chain(genesis(market(rules=rules)))
    chain.ok(NOW, ANN, offer(5, 10, 100), offer(5, 10, 120))
    chain.ok(NOW + 1, BOB, bid(5, 10, 200))
    chain.ok(NOW + 2, ANN, cancel(0))
    chain.block(GATE)
    assert trades(chain.ledger) == [(1, 2, 10, 160)]


# -- one transaction


def test_a_replacement_is_one_transaction_and_its_order_comes_after_the_cancellation() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, bid(5, 25_000, 400_000))
    assert chain.balance(ANN) == 0
    receipt = chain.ok(NOW + 1, ANN, cancel(0), bid(5, 20_000, 410_000))
    assert events(receipt, OrderAccepted) == [OrderAccepted(5, 1)]
    assert (chain.balance(ANN), chain.escrow(ANN)) == (1_800_000, 8_200_000)
    assert [row["order_id"] for row in chain.ledger.book_view(5)] == [1]


def test_cancellations_take_effect_before_arrivals_of_their_transaction() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 10, 100_000))
    receipt = chain.ok(NOW + 1, ANN, bid(5, 10, 100_000), cancel(0))
    assert events(receipt, Traded) == [], "it does not trade with the order it cancels"
    assert [row["order_id"] for row in chain.ledger.book_view(5)] == [1]


def test_an_order_cancelled_by_its_own_transaction_never_reaches_the_book() -> None:
    chain = Chain()
    chain.ok(NOW, BOB, bid(5, 10, 100_000))
    receipt = chain.ok(NOW + 1, ANN, offer(5, 10, 100_000), cancel(1), offer(5, 4, 90_000))
    assert [(t.offer, t.quantity_wh) for t in events(receipt, Traded)] == [(2, 4)]
    assert [row["order_id"] for row in chain.ledger.book_view(5)] == [0]


def test_a_replacement_that_fails_leaves_the_order_where_it_was() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, bid(5, 10, 100_000))
    failed = chain.fails(NOW + 1, ANN, cancel(0), bid(5, 1_000_000, 1_000_000))
    assert failed[0] == ErrorCode.INSUFFICIENT_FUNDS
    assert [row["order_id"] for row in chain.ledger.book_view(5)] == [0]
    chain.ok(NOW + 2, BOB, offer(5, 10, 100_000))
    assert trades(chain.ledger) == [(1, 0, 10, 100_000)]


# -- what is refused, and changes nothing


@pytest.mark.parametrize(
    ("at", "op", "code", "detail"),
    [
        (NOW + 9, cancel(0), ErrorCode.NOT_YOURS, ()),
        (NOW + 9, cancel(4), ErrorCode.UNKNOWN_ORDER, (4,)),
        (NOW + 9, cancel(0, slot=6), ErrorCode.UNKNOWN_ORDER, (0,)),
        (NOW + 9, cancel(2), ErrorCode.ORDER_FILLED, ()),
        (NOW + 9, cancel(0, slot=9), ErrorCode.SLOT_NOT_OPEN, (start_of(9) - 30_000,)),
        (GATE, cancel(1), ErrorCode.GATE_CLOSED, (GATE,)),
        (start_of(8), cancel(1), ErrorCode.GATE_CLOSED, (GATE,)),
    ],
)
def test_what_cannot_be_cancelled(
    at: int, op: CancelOrder, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 10, 100_000))
    chain.ok(NOW + 1, BOB, bid(5, 7, 50_000), offer(5, 5, 90_000))
    chain.ok(NOW + 2, CAT, bid(5, 5, 90_000))
    if at >= GATE:
        chain.block(GATE)
    assert chain.fails(at, BOB, op) == (code, detail)


def test_what_is_cancelled_is_not_cancelled_again() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 10, 100_000))
    assert chain.fails(NOW + 1, ANN, cancel(0), cancel(0)) == (ErrorCode.ORDER_FILLED, ())
    chain.ok(NOW + 2, ANN, cancel(0))
    assert chain.fails(NOW + 3, ANN, cancel(0)) == (ErrorCode.ORDER_FILLED, ())


def test_a_meter_cancels_nothing() -> None:
    assert Chain().fails(NOW, ANN_METER, cancel(0)) == (ErrorCode.NOT_AN_ACCOUNT, ())


# -- as if it had not been there

limits = st.integers(1, 6).map(lambda step: step * 50_000)
whs = st.integers(1, 9)
placed = st.lists(
    st.tuples(st.sampled_from([offer, bid]), whs, limits, st.booleans()), min_size=1, max_size=9
)


@settings(deadline=None, max_examples=20)
@given(placed, st.sampled_from(["production", "literal003"]))
def test_who_cancels_at_once_has_not_been_there(
    orders: list[tuple[object, int, int, bool]], rules: str
) -> None:
    """Cat's orders go in and out again; Ann and Bob trade as they would without her."""
    with_her, without = (Chain(genesis(market(rules=rules))) for _ in range(2))
    for step, (make, wh, price, hers) in enumerate(orders):
        order: PlaceOrder = make(5, wh, price)  # type: ignore[operator]
        if hers:
            with_her.ok(NOW + step, CAT, order, cancel(step))
        else:
            key = ANN if order.side == 0 else BOB
            with_her.ok(NOW + step, key, order)
            without.ok(NOW + step, key, order)
    for chain in (with_her, without):
        chain.block(GATE)
    told = [[(t.quantity_wh, t.price, t.round) for _, t in c.ledger.trades(5)]
            for c in (with_her, without)]  # fmt: skip
    assert told[0] == told[1]
    assert with_her.balance(CAT) == OPENING
    assert with_her.balance(ANN) == without.balance(ANN)
    assert with_her.balance(BOB) == without.balance(BOB)
