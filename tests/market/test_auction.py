"""The exact clearing rules of market.md, §0, sentence by sentence."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
from msgspec.structs import replace

from vppd.config.genesis import MarketRules
from vppd.market.auction import (
    RULES,
    Book,
    Clearing,
    Order,
    Residual,
    Rules,
    Side,
    Trade,
    reference_price,
    trade_price,
)
from vppd.types import Ppm

RETAIL, FEED_IN = 860, 240
CREDIT: Ppm = 800_000


def offer(
    id_: int, wh: int, price: int, reserve: int | None = None, credit: Ppm = CREDIT
) -> Order[str]:
    return order(id_, Side.OFFER, wh, price, reserve, credit)


def bid(
    id_: int, wh: int, price: int, reserve: int | None = None, credit: Ppm = CREDIT
) -> Order[str]:
    return order(id_, Side.BID, wh, price, reserve, credit)


def order(
    id_: int, side: Side, wh: int, price: int, reserve: int | None, credit: Ppm
) -> Order[str]:
    reserve = price if reserve is None else reserve
    return Order(id_, f"m{id_}", side, wh, price, reserve, credit, arrival=id_)


def run(name: MarketRules, *orders: Order[str]) -> tuple[list[Trade[str]], Clearing[str]]:
    book: Book[str] = Book(RULES[name])
    trades = [trade for order in orders for trade in book.submit(order)]
    clearing = book.close(RETAIL, FEED_IN)
    return [*trades, *clearing.trades], clearing


def pairs(trades: list[Trade[str]]) -> list[tuple[int, int, int]]:
    return [(trade.offer_id, trade.bid_id, trade.quantity_wh) for trade in trades]


# Rule 1: book order


def test_offers_rank_by_price_ascending_and_bids_by_price_descending() -> None:
    book: Book[str] = Book(RULES["literal003"])
    for entry in (offer(1, 5, 30), offer(2, 5, 10), bid(3, 5, 30), bid(4, 5, 40)):
        book.submit(entry)
    assert [entry.id for entry, _ in book.rows(Side.OFFER)] == [2, 1]
    assert [entry.id for entry, _ in book.rows(Side.BID)] == [4, 3]


def test_at_equal_prices_the_higher_credit_goes_first() -> None:
    trades, _ = run("production", offer(1, 5, 10), offer(2, 5, 10, credit=900_000), bid(3, 7, 10))
    assert pairs(trades) == [(2, 3, 5), (1, 3, 2)]


def test_at_equal_prices_and_credits_the_earlier_arrival_goes_first() -> None:
    late, early = offer(1, 5, 10), Order(2, "m2", Side.OFFER, 5, 10, 10, CREDIT, arrival=0)
    trades, _ = run("production", late, early, bid(3, 7, 10))
    assert pairs(trades) == [(2, 3, 5), (1, 3, 2)]


def test_two_stage_ignores_credit() -> None:
    trades, _ = run("two-stage", offer(1, 5, 10), offer(2, 5, 10, credit=900_000), bid(3, 7, 10))
    assert pairs(trades) == [(1, 3, 5), (2, 3, 2)]


def test_book_order_shows_what_is_left_of_each_order() -> None:
    book: Book[str] = Book(RULES["production"])
    sold = offer(1, 10, 10)
    book.submit(sold)
    book.submit(bid(2, 4, 10))
    assert book.rows(Side.OFFER) == [(sold, 6)]
    assert book.rows(Side.BID) == []


# Rule 2: crossing


@pytest.mark.parametrize(("gap", "crosses"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("name", ["production", "literal003", "two-stage", "uniform"])
def test_with_tolerance_0_they_cross_up_to_equal_prices(
    name: MarketRules, gap: int, crosses: bool
) -> None:
    trades, _ = run(name, offer(1, 5, 100 + gap), bid(2, 5, 100))
    assert bool(trades) is crosses


@pytest.mark.parametrize(("gap", "crosses"), [(2_000, True), (2_001, False)])
def test_paper003_crosses_up_to_2000_micro_apart(gap: int, crosses: bool) -> None:
    trades, _ = run("paper003", offer(1, 5, 300_000 + gap), bid(2, 5, 300_000))
    assert bool(trades) is crosses


# Rule 3: quantity and price


def test_the_smaller_remainder_is_traded() -> None:
    trades, clearing = run("production", offer(1, 10, 10), bid(2, 4, 10), bid(3, 9, 10))
    assert pairs(trades) == [(1, 2, 4), (1, 3, 6)]
    assert [residual.quantity_wh for residual in clearing.residuals] == [3]


def test_the_sellers_credit_multiplies_the_buyers_price() -> None:
    assert trade_price(Rules(), 100, 750_000, 200, 250_000) == 175


def test_credit_price_is_rounded_half_to_even() -> None:
    assert trade_price(Rules(), 100, 1, 101, 1) == 100
    assert trade_price(Rules(), 101, 1, 102, 1) == 102


def test_without_any_credit_the_price_is_the_midpoint() -> None:
    assert trade_price(Rules(), 100, 0, 200, 0) == 150
    assert trade_price(Rules(), 100, 0, 103, 0) == 102


def test_midpoint_pricing_does_not_look_at_credit_and_rounds_half_to_even() -> None:
    rules = Rules(pricing="midpoint")
    assert trade_price(rules, 100, 1_000_000, 200, 0) == 150
    assert trade_price(rules, 100, 1_000_000, 101, 0) == 100


def test_a_trades_amount_is_rounded_half_to_even() -> None:
    trades, _ = run("production", offer(1, 5, 100), bid(2, 5, 100))
    assert trades[0].amount == 0
    trades, _ = run("production", offer(1, 15, 100), bid(2, 15, 100))
    assert trades[0].amount == 2


# Rule 4: round 1


def test_continuous_trades_on_arrival_and_then_rests() -> None:
    book: Book[str] = Book(RULES["production"])
    assert book.submit(offer(1, 5, 20)) == []
    assert book.submit(offer(2, 5, 10)) == []
    trades = book.submit(bid(3, 12, 20))
    assert pairs(trades) == [(2, 3, 5), (1, 3, 5)]
    assert all(trade.round == 1 for trade in trades)
    assert [book.remaining(id_) for id_ in (1, 2, 3)] == [0, 0, 2]


def test_continuous_stops_at_the_first_order_that_does_not_cross() -> None:
    book: Book[str] = Book(RULES["production"])
    for entry in (bid(1, 5, 30), bid(2, 5, 20), bid(3, 5, 10)):
        book.submit(entry)
    assert pairs(book.submit(offer(4, 20, 20))) == [(4, 1, 5), (4, 2, 5)]
    assert book.remaining(4) == 10


@pytest.mark.parametrize(("name", "round_"), [("literal003", 1), ("two-stage", 1), ("uniform", 2)])
def test_a_call_queues_until_gate_closure(name: MarketRules, round_: int) -> None:
    book: Book[str] = Book(RULES[name])
    assert book.submit(offer(1, 5, 20)) == []
    assert book.submit(bid(2, 5, 30)) == []
    assert (book.remaining(1), book.remaining(2)) == (5, 5)
    (trade,) = book.close(RETAIL, FEED_IN).trades
    assert (trade.quantity_wh, trade.price, trade.round) == (5, 25, round_)


def test_in_a_call_head_meets_head_whatever_came_first() -> None:
    trades, _ = run("literal003", bid(1, 5, 30), offer(2, 5, 25), offer(3, 5, 10), bid(4, 5, 40))
    assert pairs(trades) == [(3, 4, 5), (2, 1, 5)]


# Rule 5: round 2


def test_in_round_2_both_stand_at_their_reserve_prices() -> None:
    trades, _ = run("production", offer(1, 5, 100, reserve=60), bid(2, 5, 50, reserve=80))
    (trade,) = trades
    assert (trade.offer_price, trade.bid_price, trade.price, trade.round) == (60, 80, 70, 2)


@pytest.mark.parametrize(
    ("concede", "offer_price", "bid_price"),
    [("both", 60, 120), ("buyer", 100, 120), ("seller", 60, 90)],
)
def test_only_those_who_concede_move(
    concede: Literal["both", "buyer", "seller"], offer_price: int, bid_price: int
) -> None:
    book: Book[str] = Book(Rules(concede=concede))
    book.submit(offer(1, 5, 100, reserve=60))
    book.submit(bid(2, 5, 90, reserve=120))
    (trade,) = book.close(RETAIL, FEED_IN).trades
    assert (trade.offer_price, trade.bid_price) == (offer_price, bid_price)


def test_paper003_lets_only_the_buyer_move() -> None:
    trades, _ = run("paper003", offer(1, 5, 100_000, reserve=1), bid(2, 5, 1, reserve=90_000))
    assert trades == []


def test_round_2_queues_by_the_prices_now_in_force() -> None:
    stubborn = offer(1, 5, 100, reserve=95)
    yielding = offer(2, 5, 110, reserve=50)
    trades, _ = run("production", stubborn, yielding, bid(3, 5, 40, reserve=99))
    assert pairs(trades) == [(2, 3, 5)]


def test_nothing_happens_in_round_2_when_one_side_is_empty() -> None:
    trades, clearing = run("production", offer(1, 5, 100, reserve=1), offer(2, 5, 90, reserve=1))
    assert trades == []
    assert [residual.order_id for residual in clearing.residuals] == [1, 2]


def test_round_2_deals_only_in_what_round_1_left() -> None:
    trades, clearing = run("literal003", offer(1, 9, 50, reserve=20), bid(2, 4, 60), bid(3, 9, 30))
    assert [(t.bid_id, t.quantity_wh, t.round) for t in trades] == [(2, 4, 1), (3, 5, 2)]
    assert clearing.residuals == (Residual(3, "m3", Side.BID, 4, RETAIL),)


# Rule 6: remainders


def test_the_grid_takes_the_rest_at_feed_in_and_gives_the_rest_at_retail() -> None:
    _, clearing = run("production", bid(1, 5, 10), offer(2, 7, 90))
    assert clearing.residuals == (
        Residual(1, "m1", Side.BID, 5, RETAIL),
        Residual(2, "m2", Side.OFFER, 7, FEED_IN),
    )


# Rule 7: two-stage (P4)


def test_two_stage_by_hand() -> None:
    """Stage 1 pairs 1 and 3 at 450; both who are left lean to Pa = 450 and meet there."""
    trades, clearing = run(
        "two-stage",
        offer(1, 10, 400, reserve=300),
        offer(2, 10, 600, reserve=420),
        bid(3, 10, 500, reserve=550),
        bid(4, 8, 430, reserve=520),
    )
    assert [(t.offer_id, t.bid_id, t.price, t.round) for t in trades] == [
        (1, 3, 450, 1),
        (2, 4, 450, 2),
    ]
    assert (trades[1].offer_price, trades[1].bid_price) == (450, 450)
    assert clearing.reference_price == 450
    assert clearing.residuals == (Residual(2, "m2", Side.OFFER, 2, FEED_IN),)


def test_nobody_leans_beyond_the_reserve() -> None:
    trades, _ = run(
        "two-stage",
        offer(1, 10, 400),
        bid(2, 10, 500),
        offer(3, 10, 600, reserve=460),  # Pa = 450 is out of its reach
        bid(4, 10, 430, reserve=520),
    )
    assert pairs(trades) == [(1, 2, 10)]


def test_nobody_leans_away_from_the_own_price() -> None:
    """A seller below Pa and a buyer above it stay; here they never met for want of quantity."""
    trades, clearing = run(
        "two-stage", bid(1, 10, 900, reserve=950), offer(2, 4, 100), bid(3, 9, 700, reserve=710)
    )
    assert clearing.reference_price == 500
    assert pairs(trades) == [(2, 1, 4)]
    trades, clearing = run(
        "two-stage", offer(1, 4, 300), bid(2, 4, 900), bid(3, 5, 310, reserve=400), offer(4, 5, 320)
    )
    assert clearing.reference_price == 600
    assert [(t.offer_price, t.bid_price, t.price) for t in trades[1:]] == [(320, 400, 360)]


def test_pa_is_the_unweighted_mean_rounded_half_to_even() -> None:
    assert reference_price([100, 101], RETAIL, FEED_IN) == 100
    assert reference_price([101, 102], RETAIL, FEED_IN) == 102
    assert reference_price([10, 20, 40], RETAIL, FEED_IN) == 23
    _, clearing = run(
        "two-stage", offer(1, 1, 10), bid(2, 1, 50), offer(3, 999, 20), bid(4, 999, 30)
    )
    assert clearing.reference_price == 28  # (30 + 25) / 2 = 27.5, whatever the quantities


def test_without_a_stage_1_trade_pa_is_halfway_between_the_grids_prices() -> None:
    assert reference_price([], 861, 240) == 550
    trades, clearing = run("two-stage", offer(1, 5, 700, reserve=500), bid(2, 5, 400, reserve=600))
    assert clearing.reference_price == 550
    assert [(t.price, t.round) for t in trades] == [(550, 2)]


def test_only_two_stage_has_a_reference_price() -> None:
    _, clearing = run("literal003", offer(1, 5, 10), bid(2, 5, 10))
    assert clearing.reference_price is None


# The uniform call (P4, §3.2.1, mode 3)


def uniform(*orders: Order[str]) -> tuple[list[tuple[int, int, int]], int | None]:
    """Who trades with whom, and the one price."""
    trades, clearing = run("uniform", *orders)
    assert {trade.price for trade in trades} <= {clearing.reference_price}
    return pairs(trades), clearing.reference_price


def test_all_trades_have_the_price_halfway_between_the_marginal_offer_and_bid() -> None:
    book = (offer(1, 5, 10), offer(2, 5, 20), offer(3, 5, 60), bid(4, 5, 90), bid(5, 5, 31))
    assert uniform(*book, bid(6, 5, 15)) == ([(1, 4, 5), (2, 5, 5)], 26)  # 25.5, half to even


def test_everybody_stands_at_the_worst_price_it_accepts() -> None:
    trades, _ = run("uniform", offer(1, 5, 100, reserve=60), bid(2, 5, 50, reserve=80))
    (trade,) = trades
    assert (trade.offer_price, trade.bid_price, trade.price, trade.round) == (60, 80, 70, 2)


def test_who_is_left_with_a_part_sets_the_price() -> None:
    assert uniform(offer(1, 5, 10), bid(2, 9, 30)) == ([(1, 2, 5)], 30)
    assert uniform(offer(1, 9, 10), bid(2, 5, 30)) == ([(1, 2, 5)], 10)


def test_nobody_left_over_would_rather_have_traded_at_the_price() -> None:
    assert uniform(offer(1, 5, 10), bid(2, 5, 30), bid(3, 5, 26)) == ([(1, 2, 5)], 26)
    assert uniform(offer(1, 5, 10), offer(2, 5, 13), bid(3, 5, 30)) == ([(1, 3, 5)], 13)


def test_among_equal_limits_credit_and_arrival_say_who_is_left_over() -> None:
    first, better = offer(1, 5, 10), offer(2, 5, 10, credit=900_000)
    assert uniform(first, better, offer(3, 5, 10), bid(4, 7, 30)) == ([(2, 4, 5), (1, 4, 2)], 10)


def test_without_a_crossing_there_is_no_price() -> None:
    assert uniform(offer(1, 5, 31), bid(2, 5, 30)) == ([], None)


# The book


def test_an_id_is_taken_once() -> None:
    book: Book[str] = Book(RULES["production"])
    book.submit(offer(1, 5, 10))
    with pytest.raises(ValueError, match="order 1 is in the book already"):
        book.submit(bid(1, 5, 1))
    with pytest.raises(ValueError, match="order 1 is in the book already"):
        Book.restore(RULES["production"], [(offer(1, 5, 10), 5), (offer(1, 5, 10), 5)])


@pytest.mark.parametrize("wh", [0, -1])
def test_an_order_has_a_quantity(wh: int) -> None:
    book: Book[str] = Book(RULES["production"])
    with pytest.raises(ValueError, match="needs more than zero"):
        book.submit(offer(1, wh, 10))
    assert book.rows(Side.OFFER) == []
    with pytest.raises(ValueError, match="needs more than zero"):
        Book.restore(RULES["production"], [(offer(1, 5, 10), wh)])


def test_an_unknown_order_has_nothing_left() -> None:
    book: Book[str] = Book(RULES["production"])
    assert book.remaining(7) == 0


def test_the_book_is_empty_after_gate_closure() -> None:
    book: Book[str] = Book(RULES["production"])
    book.submit(offer(1, 5, 10))
    book.close(RETAIL, FEED_IN)
    assert book.rows(Side.OFFER) == []
    assert book.close(RETAIL, FEED_IN) == Clearing((), (), None)


def test_the_named_rule_sets_are_those_of_the_design() -> None:
    credit = Rules(
        mode="continuous",
        tolerance=0,
        concede="both",
        pricing="credit",
        two_stage=False,
        credit_priority=True,
        rounds=(1, 2),
    )
    assert tuple(RULES) == get_args(MarketRules)
    assert RULES["cooperative"] == replace(credit, mode="call", rounds=())
    assert RULES["production"] == credit
    assert RULES["paper003"] == replace(credit, tolerance=2_000, concede="buyer")
    assert RULES["literal003"] == replace(credit, mode="call")
    assert RULES["uniform"] == replace(credit, mode="call", pricing="uniform", rounds=(2,))
    assert RULES["two-stage"] == replace(
        credit, mode="call", pricing="midpoint", two_stage=True, credit_priority=False
    )
