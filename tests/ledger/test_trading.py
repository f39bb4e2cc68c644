"""Orders, escrow, matching and gate closure on chain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
    BOB,
    BOB_METER,
    CAT,
    OPENING,
    RETAIL,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.genesis import AccountEntry
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import OrderAccepted, Posted, Purse, Reason, Traded
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.trading import bid_escrow
from vppd.ledger.transaction import PlaceOrder, Transfer
from vppd.market.auction import RULES

OPENS = start_of(5) - 30_000
GATE = start_of(5) - 2_000
NOW = start_of(5) - 20_000
MAX_WH, MAX_PRICE = 1_000_000, 10_000_000


def prices(chain: Chain) -> list[tuple[int, int, int]]:
    return [(t.quantity_wh, t.price, t.round) for _, t in chain.ledger.trades(5)]


# -- when


def test_orders_are_taken_from_opening_to_gate_closure() -> None:
    chain = Chain()
    assert chain.fails(OPENS - 1, ANN, offer(5, 1, 1)) == (ErrorCode.SLOT_NOT_OPEN, (OPENS,))
    chain.ok(OPENS, ANN, offer(5, 1, 1))
    chain.ok(GATE - 1, ANN, offer(5, 1, 1))
    assert chain.fails(GATE, ANN, offer(5, 1, 1)) == (ErrorCode.GATE_CLOSED, (GATE,))
    assert chain.fails(start_of(9), ANN, offer(5, 1, 1)) == (ErrorCode.GATE_CLOSED, (GATE,))


# -- which


@pytest.mark.parametrize(
    ("order", "code", "detail"),
    [
        (offer(5, 0, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, MAX_WH),
        (offer(5, MAX_WH + 1, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, MAX_WH),
        (offer(5, 1, MAX_PRICE + 1), ErrorCode.PRICE_OUT_OF_RANGE, MAX_PRICE),
        (bid(5, 1, 1, MAX_PRICE + 1), ErrorCode.PRICE_OUT_OF_RANGE, MAX_PRICE),
        (offer(5, 1, 10, 11), ErrorCode.RESERVE_ON_WRONG_SIDE, 10),
        (bid(5, 1, 10, 9), ErrorCode.RESERVE_ON_WRONG_SIDE, 10),
    ],
)
def test_numbers_out_of_range_are_refused(order: PlaceOrder, code: ErrorCode, detail: int) -> None:
    assert Chain().fails(NOW, ANN, order) == (code, (detail,))


@pytest.mark.parametrize(
    "order",
    [offer(5, 1, 0), offer(5, MAX_WH, MAX_PRICE, 0), bid(5, 1, 0), bid(5, 1, 0, MAX_PRICE)],
)
def test_numbers_at_the_limit_are_not(order: PlaceOrder) -> None:
    Chain().ok(NOW, ANN, order)


# -- escrow


def test_a_bid_sets_its_worst_cost_aside_rounded_up() -> None:
    chain = Chain()
    receipt = chain.ok(NOW, ANN, bid(5, 333, 400_001, 450_001))
    assert receipt.events[:2] == (
        Posted(ANN.public_key, Purse.BALANCE, -149_851, Reason.RESERVE),  # 149 850.333
        Posted(ANN.public_key, Purse.ESCROW, 149_851, Reason.RESERVE),
    )
    assert (chain.balance(ANN), chain.escrow(ANN)) == (OPENING - 149_851, 149_851)


def test_a_tolerance_is_set_aside_too() -> None:
    chain = Chain(rules="paper003")
    chain.ok(NOW, ANN, bid(5, 1_000, 318_000, 320_000))
    assert chain.escrow(ANN) == 322_000


@settings(deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_escrow_is_enough_for_one_trade_and_not_a_micro_more(
    wh: int, price: int, more: int
) -> None:
    rules = RULES["paper003"]
    escrow = bid_escrow(rules, wh, price, price + more)
    assert 0 <= escrow * 1_000 - wh * (price + more + 2_000) < 1_000


def test_an_offer_needs_no_escrow() -> None:
    chain = Chain()
    assert events(chain.ok(NOW, ANN, offer(5, MAX_WH, MAX_PRICE)), Posted) == []


def test_a_bid_that_is_not_covered_is_refused_with_what_is_missing() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, bid(5, 100_000, 100_000))
    assert chain.balance(ANN) == 0
    assert chain.fails(NOW + 1, ANN, bid(5, 10, 100)) == (ErrorCode.INSUFFICIENT_FUNDS, (1,))
    other = Chain()
    assert other.fails(NOW, ANN, bid(5, 100_000, 100_000, 100_001)) == (
        ErrorCode.INSUFFICIENT_FUNDS,
        (100,),
    )


def test_a_debt_blocks_bids_until_it_is_paid() -> None:
    chain = Chain()
    chain.ok(start_of(1), BOB_METER, reading(0, 30_000))
    chain.block(start_of(1) + 5_000)
    debt = OPENING - 30_000 * RETAIL // 1_000
    assert chain.balance(BOB) == debt == -5_000_000
    now = start_of(5) - 30_000
    assert chain.fails(now, BOB, bid(5, 10, 100)) == (ErrorCode.IN_DEBT, (5_000_001,))
    assert chain.fails(now + 1, BOB, bid(5, 1, 0)) == (ErrorCode.IN_DEBT, (5_000_000,))
    chain.ok(now + 2, BOB, offer(5, 10, 100))
    chain.ok(now + 3, ANN, Transfer(BOB.public_key, 5_000_001))
    chain.ok(now + 4, BOB, bid(5, 10, 100))


# -- matching


def test_a_continuous_market_trades_on_arrival() -> None:
    chain = Chain()
    first = chain.ok(NOW, ANN, offer(5, 1_000, 400_000))
    assert events(first, OrderAccepted) == [OrderAccepted(5, 0)]
    second = chain.ok(NOW + 1, BOB, bid(5, 800, 440_000))
    assert second.events[-2:] == (
        OrderAccepted(5, 1),
        Traded(5, 0, 0, 1, ANN.public_key, BOB.public_key, 800, 420_000, 336_000, 1),
    )
    assert [row["remaining_wh"] for row in chain.ledger.book_view(5)] == [200]


def test_orders_of_one_transaction_meet_in_their_order() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 10, 300), offer(5, 10, 200))
    chain.ok(NOW + 1, BOB, bid(5, 10, 300), bid(5, 10, 300))
    assert [(t.offer, t.bid) for _, t in chain.ledger.trades(5)] == [(1, 2), (0, 3)]


def test_a_transaction_may_trade_with_itself() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000), bid(5, 1_000, 400_000))
    assert prices(chain) == [(1_000, 400_000, 1)]
    chain.block(start_of(7))
    assert (chain.balance(ANN), chain.escrow(ANN)) == (OPENING, 0)


def test_slots_do_not_mix() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 10, 1))
    chain.ok(NOW + 1, BOB, bid(6, 10, 100))
    assert prices(chain) == []


def test_credit_is_the_members_when_it_ordered() -> None:
    accounts = (
        AccountEntry(name="ann", key=ANN.public_key, balance=OPENING, credit=600_000),
        AccountEntry(name="bob", key=BOB.public_key, balance=OPENING, credit=200_000),
    )
    chain = Chain(genesis(accounts=accounts))
    chain.ok(NOW, ANN, offer(5, 10, 100_000))
    chain.ok(NOW + 1, BOB, bid(5, 10, 200_000))
    assert prices(chain) == [(10, 175_000, 1)]  # (0.6·200 000 + 0.2·100 000) / 0.8


# -- gate closure


def test_gate_closure_runs_the_second_round_at_reserve_prices() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000, 340_000))
    chain.ok(NOW + 1, BOB, bid(5, 800, 300_000, 360_000))
    assert prices(chain) == []
    own = chain.block(GATE)[0]
    assert prices(chain) == [(800, 350_000, 2)]
    assert [t.round for t in events(own, Traded)] == [2]
    assert chain.ledger.book(5) is None


def test_a_call_waits_for_gate_closure() -> None:
    chain = Chain(rules="literal003")
    chain.ok(NOW, ANN, offer(5, 10, 100))
    chain.ok(NOW + 1, BOB, bid(5, 10, 200))
    assert prices(chain) == []
    chain.block(GATE)
    assert prices(chain) == [(10, 150, 1)]


def test_two_stages_lean_towards_the_mean_of_the_first() -> None:
    chain = Chain(rules="two-stage")
    chain.ok(NOW, ANN, offer(5, 10, 300_000), offer(5, 10, 420_000, 300_000))
    chain.ok(NOW + 1, BOB, bid(5, 10, 400_000), bid(5, 10, 320_000, 360_000))
    chain.block(GATE)
    assert prices(chain) == [(10, 350_000, 1), (10, 350_000, 2)]


def test_gate_closure_releases_what_the_trades_do_not_need() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 1_000, 400_000))
    chain.ok(NOW + 1, BOB, bid(5, 800, 440_000, 450_000))
    chain.ok(NOW + 2, CAT, bid(5, 100, 100_000))
    assert (chain.escrow(BOB), chain.escrow(CAT)) == (360_000, 10_000)
    own = chain.block(GATE)[0]
    assert events(own, Posted) == [
        Posted(BOB.public_key, Purse.ESCROW, -24_000, Reason.RELEASE),
        Posted(BOB.public_key, Purse.BALANCE, 24_000, Reason.RELEASE),
        Posted(CAT.public_key, Purse.ESCROW, -10_000, Reason.RELEASE),
        Posted(CAT.public_key, Purse.BALANCE, 10_000, Reason.RELEASE),
    ]
    assert (chain.escrow(BOB), chain.balance(BOB)) == (336_000, OPENING - 336_000)
    assert (chain.escrow(CAT), chain.balance(CAT)) == (0, OPENING)


def test_trades_rounded_up_one_by_one_may_take_a_little_from_the_balance() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, *[offer(5, 1, 1_500)] * 3)
    chain.ok(NOW + 1, BOB, bid(5, 3, 1_500))
    assert chain.escrow(BOB) == 5  # 4.5
    chain.block(GATE)
    assert (chain.escrow(BOB), chain.balance(BOB)) == (6, OPENING - 6)  # 3 × 1.5, each to even
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert (chain.escrow(BOB), chain.balance(ANN)) == (0, OPENING + 6)


def test_firm_trades_stay_until_the_slot_closes() -> None:
    chain = Chain(genesis(market(dispute_slots=1)))
    chain.ok(NOW, ANN, offer(5, 10, 100))
    chain.ok(NOW + 1, BOB, bid(5, 10, 100))
    closes = due_ms(chain.genesis.market, 5, Phase.CLOSED)
    chain.block(closes - 1)
    assert prices(chain) == [(10, 100, 1)]
    chain.block(closes)
    assert prices(chain) == []
