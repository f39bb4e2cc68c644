"""Urgent orders and those who stand ready for them (P1, §3.2, Fig 3: an electric vehicle)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
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
from vppd.codec import encode
from vppd.config.stages import StageRules
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Failed
from vppd.ledger.contracts.engine import ContractsDesk
from vppd.ledger.contracts.kind import Standing
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved, OrderMade, Posted, Traded, UrgentServed
from vppd.ledger.kinds import urgent as urgent_kind
from vppd.ledger.kinds.terms import STANDBY, URGENT, StandbyTerms, UrgentTerms
from vppd.ledger.kinds.urgent import URGENT as KIND
from vppd.ledger.order_ops import CancelOrder
from vppd.ledger.plan_ops import Plan
from vppd.ledger.records import Ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import CONTRACT, ORDERED
from vppd.ledger.state import STANDBY as STANDING_BY

NOW = start_of(5) - 20_000
GATE = start_of(5) - 2_000
START = start_of(5)


def standby(wh: int, price: int, slot: int = 5) -> OpenContract:
    return OpenContract(STANDBY, encode(StandbyTerms(slot, wh, price)))


def urgent(wh: int, price: int, slot: int = 5) -> OpenContract:
    return OpenContract(URGENT, encode(UrgentTerms(slot, wh, price)))


def trades(chain: Chain) -> list[tuple[bytes, int, int, int]]:
    return [(t.seller, t.quantity_wh, t.price, t.round) for _, t in chain.ledger.trades(5)]


def left(chain: Chain) -> list[int]:
    rows = chain.ledger.contracts_view()
    return [row["terms"]["left_wh"] for row in rows if row["kind"] == STANDBY]


# -- matching


def test_the_cheapest_who_consented_is_matched_first_then_the_earlier() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 420_000), standby(300, 400_000))
    chain.ok(NOW + 1, CAT, standby(300, 400_000), standby(300, 500_001))
    receipt = chain.ok(NOW + 2, BOB, urgent(700, 500_000))
    ann, cat = ANN.public_key, CAT.public_key
    assert trades(chain) == [(ann, 300, 400_000, 0), (cat, 300, 400_000, 0), (ann, 100, 420_000, 0)]
    assert events(receipt, UrgentServed) == [UrgentServed(5, 4, 700, 0)]
    assert [(e.number, e.cause, e.ended) for e in events(receipt, ContractMoved)] == [
        (1, Cause.CALLED, True),
        (2, Cause.CALLED, True),
        (0, Cause.CALLED, False),
        (4, Cause.OPENED, True),
    ]
    assert left(chain) == [200, 300]
    assert chain.escrow(BOB) == 300 * 400 + 300 * 400 + 100 * 420, "each at its own price"
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert (chain.balance(CAT), chain.escrow(BOB)) == (OPENING + 120_000, 0)


def test_it_is_matched_before_anything_else() -> None:
    """A cheaper offer rests in the book: it is asked for the rest, after who stands by."""
    chain = Chain()
    chain.ok(NOW, CAT, offer(5, 400, 300_000))
    chain.ok(NOW + 1, ANN, standby(300, 400_000))
    receipt = chain.ok(NOW + 2, BOB, urgent(1_000, 500_000))
    assert [(t.quantity_wh, t.price, t.round) for t in events(receipt, Traded)] == [
        (300, 400_000, 0),
        (400, 400_000, 1),
    ]
    assert events(receipt, UrgentServed) == [UrgentServed(5, 1, 300, 700)]
    (row,) = chain.ledger.book_view(5)
    assert (row["order_id"], row["quantity_wh"], row["remaining_wh"]) == (1, 1_000, 300)
    assert chain.escrow(BOB) == 300 * 400 + 700 * 500
    chain.block(GATE)
    assert chain.escrow(BOB) == 300 * 400 + 400 * 400


def test_the_rest_in_the_book_is_an_order_like_others_and_can_be_cancelled() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000))
    chain.ok(NOW + 1, BOB, urgent(1_000, 500_000))
    chain.ok(NOW + 2, BOB, CancelOrder(5, 0))
    assert chain.escrow(BOB) == 120_000
    assert chain.ledger.book_view(5) == []
    assert chain.ledger.orders_view(BOB.public_key)[0]["state"] == "cancelled"


def test_without_anybody_ready_it_is_a_bid_while_the_gate_is_open() -> None:
    chain = Chain()
    receipt = chain.ok(NOW, BOB, urgent(1_000, 500_000))
    assert events(receipt, UrgentServed) == [UrgentServed(5, 0, 0, 1_000)]
    assert events(receipt, OrderMade) == [
        OrderMade(5, 0, 0, BOB.public_key, 1, 1_000, 500_000, 500_000)
    ]
    chain.ok(NOW + 1, ANN, offer(5, 1_000, 500_000))
    assert [t.quantity_wh for _, t in chain.ledger.trades(5)] == [1_000]


def test_after_gate_closure_it_is_matched_until_delivery_begins() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000), offer(5, 500, 1))
    chain.block(GATE)
    receipt = chain.ok(GATE + 1, BOB, urgent(1_000, 500_000))
    assert events(receipt, UrgentServed) == [UrgentServed(5, 1, 300, 700)]
    assert chain.escrow(BOB) == 120_000, "nothing is set aside for what nobody gives"
    (row,) = chain.ledger.orders_view(BOB.public_key)
    assert (row["state"], row["quantity_wh"], row["contract"]) == ("filled", 300, 1)
    assert chain.ledger._ctx.state.get(ORDERED, 5, BOB.public_key) == Ordered(1, 0, 300)
    chain.ok(GATE + 2, CAT, standby(100, 450_000))
    chain.ok(START - 1, BOB, urgent(50, 450_000))
    assert chain.fails(START, BOB, urgent(50, 450_000)) == (ErrorCode.DELIVERY_BEGUN, (START,))
    assert trades(chain) == [
        (ANN.public_key, 300, 400_000, 0),
        (CAT.public_key, 50, 450_000, 0),
    ]
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert chain.escrow(BOB) == 0
    assert chain.balance(BOB) == OPENING - 120_000 - 22_500


def test_after_gate_closure_what_nobody_gives_leaves_a_line_and_no_order() -> None:
    chain = Chain()
    receipt = chain.ok(GATE, BOB, urgent(300, 400_000))
    assert receipt.events[-2:] == (
        UrgentServed(5, 0, 0, 300),
        ContractMoved(0, URGENT, 0, Cause.OPENED, 0, ended=True),
    )
    assert chain.ledger.orders_view(BOB.public_key) == []
    assert chain.balance(BOB) == OPENING


def test_it_may_be_the_first_that_a_slot_hears_of() -> None:
    chain = Chain()
    chain.ok(GATE, ANN, standby(300, 400_000))
    chain.ok(GATE + 1, BOB, urgent(300, 400_000))
    assert trades(chain) == [(ANN.public_key, 300, 400_000, 0)]
    assert chain.ledger.next_due_ms == START


def test_nobody_serves_itself() -> None:
    chain = Chain()
    chain.ok(NOW, BOB, standby(300, 400_000))
    receipt = chain.ok(NOW + 1, BOB, urgent(300, 500_000))
    assert events(receipt, UrgentServed) == [UrgentServed(5, 1, 0, 300)]
    assert left(chain) == [300]


offers = st.lists(st.tuples(st.sampled_from([ANN, CAT]), st.integers(1, 9), st.integers(1, 6)),
                  max_size=6)  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(offers, st.integers(1, 30), st.integers(1, 6))
def test_against_trying_everything(
    ready: list[tuple[object, int, int]], wh: int, limit: int
) -> None:
    """Of all ways to draw, the one that costs least for the most that can be had."""
    chain = Chain()
    for step, (key, quantity, price) in enumerate(ready):
        chain.ok(NOW + step, key, standby(quantity, price * 1_000))  # type: ignore[arg-type]
    chain.ok(NOW + 9, BOB, urgent(wh, limit * 1_000))
    units = sorted(p for _, quantity, p in ready for _ in range(quantity) if p <= limit)[:wh]
    assert sum(q for _, q, _, _ in trades(chain)) == len(units)
    assert sum(t.amount for _, t in chain.ledger.trades(5)) == sum(units)
    assert sum(left(chain)) == sum(q for _, q, _ in ready) - len(units)


# -- standing ready


def test_a_standby_offer_binds_nobody_but_its_owner_and_meets_no_book() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 100_000))
    chain.ok(NOW + 1, BOB, bid(5, 300, 500_000))
    chain.block(GATE)
    assert trades(chain) == []


def test_it_is_withdrawn_by_its_owner_alone_and_drawn_by_no_call() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000))
    chain.ok(NOW + 1, BOB, urgent(100, 400_000))
    assert chain.fails(NOW + 2, BOB, CallContract(0, 0, b"")) == (ErrorCode.NOT_A_PARTY, ())
    assert chain.fails(NOW + 2, ANN, CallContract(0, 1, b"")) == (ErrorCode.NOT_A_PARTY, ())
    assert chain.fails(NOW + 2, ANN, CallContract(0, 0, b"x")) == (ErrorCode.BAD_TERMS, ())
    chain.ok(NOW + 3, ANN, CallContract(0, 0, b""))
    assert chain.ledger._ctx.state.get(ORDERED, 5, ANN.public_key) == Ordered(1, 100, 0)
    receipt = chain.ok(NOW + 4, BOB, urgent(100, 400_000))
    assert events(receipt, UrgentServed)[0].matched_wh == 0


def test_it_ends_as_delivery_begins() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000))
    chain.block(START - 1)
    assert left(chain) == [300]
    chain.block(START)
    assert left(chain) == []
    assert list(chain.ledger._ctx.state.scan(STANDING_BY, 5)) == []


def test_who_draws_all_of_it_ends_it() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000))
    chain.ok(NOW + 1, BOB, urgent(300, 400_000))
    assert list(chain.ledger._ctx.state.scan(CONTRACT)) == []
    assert list(chain.ledger._ctx.state.scan(STANDING_BY, 5)) == []
    assert chain.ledger.next_due_ms == chain.reloaded().next_due_ms == GATE


# -- what is refused


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (urgent(1, 1, slot=9), ErrorCode.SLOT_NOT_OPEN, (start_of(9) - 30_000,)),
        (standby(1, 1, slot=9), ErrorCode.SLOT_NOT_OPEN, (start_of(9) - 30_000,)),
        (urgent(1, 1, slot=2), ErrorCode.DELIVERY_BEGUN, (start_of(2),)),
        (standby(1, 1, slot=2), ErrorCode.DELIVERY_BEGUN, (start_of(2),)),
        (urgent(0, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,)),
        (standby(0, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,)),
        (standby(1_000_001, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,)),
        (urgent(1, 10_000_001), ErrorCode.PRICE_OUT_OF_RANGE, (10_000_000,)),
        (standby(1, 10_000_001), ErrorCode.PRICE_OUT_OF_RANGE, (10_000_000,)),
        (urgent(100_000, 100_001), ErrorCode.INSUFFICIENT_FUNDS, (100,)),
        (OpenContract(URGENT, b""), ErrorCode.BAD_TERMS, ()),
        (OpenContract(STANDBY, encode((5, -1, 1))), ErrorCode.BAD_TERMS, ()),
    ],
)
def test_what_is_refused_changes_nothing(
    op: OpenContract, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(500, 400_000))
    chain.ok(NOW + 1, BOB, offer(5, 1, 1))
    assert chain.fails(start_of(2) + 10_001, CAT, op) == (code, detail)


def test_both_count_as_orders() -> None:
    chain = Chain(genesis(market(max_orders=1, max_quantity_wh=500)))
    chain.ok(NOW, ANN, standby(500, 1))
    assert chain.fails(NOW + 1, ANN, standby(1, 1)) == (ErrorCode.TOO_MANY_ORDERS, (1,))
    assert chain.fails(NOW + 1, BOB, urgent(501, 1))[0] == ErrorCode.QUANTITY_OUT_OF_RANGE
    chain.ok(NOW + 2, BOB, urgent(500, 1))
    assert chain.fails(NOW + 3, BOB, urgent(1, 1)) == (ErrorCode.TOO_MANY_ORDERS, (1,))


def test_a_failed_transaction_serves_nobody() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, standby(500, 400_000))
    assert chain.fails(NOW + 1, BOB, urgent(300, 400_000), offer(5, 0, 1))[0] == (
        ErrorCode.QUANTITY_OUT_OF_RANGE
    )
    assert left(chain) == [500]
    receipt = chain.ok(NOW + 2, BOB, urgent(300, 400_000))
    assert len(events(receipt, Posted)) == 2


def test_an_urgent_order_never_stands() -> None:
    """The engine cannot call or fire what is not there; should it, nothing happens."""
    ann = ANN.public_key
    desk = ContractsDesk(Chain().ledger._ctx, 0, ann, ann, 0)
    with pytest.raises(Failed):
        KIND.call(desk, Standing(0, b""), 0, b"")
    with pytest.raises(Failed):
        KIND.fire(desk, Standing(0, b""))


def test_who_could_not_pay_for_all_of_it_is_refused_before_anybody_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise walking the offers of a slot, and its grid, costs the sender nothing."""
    chain = Chain()
    chain.ok(NOW, ANN, standby(300, 400_000))
    looked: list[int] = []
    monkeypatch.setattr(urgent_kind, "room_left", lambda *_: looked.append(1))
    wh = OPENING * 1_000 // 5_000_000 + 1
    refused = (ErrorCode.INSUFFICIENT_FUNDS, (5_000,))
    assert chain.fails(NOW + 1, BOB, urgent(wh, 5_000_000)) == refused
    assert looked == []


def test_standing_ready_is_within_a_plan_that_is_required_and_urgency_is_not() -> None:
    chain = Chain(genesis(market(stages=StageRules(plans="required"))))
    assert chain.fails(NOW, ANN, standby(300, 400_000)) == (ErrorCode.BEYOND_PLAN, (5, 0, 0))
    chain.ok(NOW + 1, ANN, Plan(0, 5, (0,), (300,)))
    chain.ok(NOW + 2, ANN, standby(300, 400_000))
    assert chain.fails(NOW + 3, ANN, standby(1, 400_000))[0] is ErrorCode.BEYOND_PLAN
    chain.ok(NOW + 4, BOB, urgent(300, 500_000))
