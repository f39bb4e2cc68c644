"""What holds for every book, under each named rule set."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.market import oracle
from vppd.config.genesis import MarketRules
from vppd.market.auction import RULES, Book, Order, Residual, Side, Trade

RETAIL, FEED_IN = 12_001, 2_000
NAMES: tuple[MarketRules, ...] = get_args(MarketRules)

# A narrow grid, so that ties in price and credit, exact fills and gaps of one tolerance abound.
PRICES = st.one_of(st.integers(0, 12).map(lambda n: n * 1_000), st.integers(0, 12_000))
CREDITS = st.sampled_from([0, 1, 500_000, 823_000, 1_000_000])


@st.composite
def books(draw: st.DrawFn) -> list[Order[str]]:
    """Orders in order of arrival; ids say nothing about it."""
    count = draw(st.integers(0, 12))
    ids = draw(st.permutations(range(count)))
    orders = []
    for arrival, id_ in enumerate(ids):
        side = draw(st.sampled_from(Side))
        best, worst = sorted((draw(PRICES), draw(PRICES)), reverse=side is Side.OFFER)
        quantity = draw(st.integers(1, 6))
        orders.append(Order(id_, f"m{id_}", side, quantity, best, worst, draw(CREDITS), arrival))
    return orders


class Result(NamedTuple):
    """All of a slot."""

    trades: list[Trade[str]]
    residuals: tuple[Residual[str], ...]


def run(name: MarketRules, orders: list[Order[str]]) -> Result:
    return finish(Book(RULES[name]), orders)


def finish(book: Book[str], orders: list[Order[str]]) -> Result:
    trades = [trade for order in orders for trade in book.submit(order)]
    clearing = book.close(RETAIL, FEED_IN)
    return Result([*trades, *clearing.trades], clearing.residuals)


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_it_clears_as_the_rules_written_a_second_time(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    result = run(name, orders)
    expected = oracle.clear(name, orders, RETAIL, FEED_IN)
    assert [
        oracle.Met(
            t.offer_id, t.bid_id, t.quantity_wh, t.price, t.offer_price, t.bid_price, t.round
        )
        for t in result.trades
    ] == expected.trades
    assert [(r.order_id, r.quantity_wh, r.price) for r in result.residuals] == expected.left


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_traded_and_residual_make_up_what_was_ordered(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    result = run(name, orders)
    seen: Counter[int] = Counter()
    for trade in result.trades:
        assert trade.quantity_wh > 0
        seen[trade.offer_id] += trade.quantity_wh
        seen[trade.bid_id] += trade.quantity_wh
    for residual in result.residuals:
        assert residual.quantity_wh > 0
        seen[residual.order_id] += residual.quantity_wh
    assert seen == Counter({order.id: order.quantity_wh for order in orders})


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_no_trade_is_outside_the_limits_in_force(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    by_id = {order.id: order for order in orders}
    tolerance = RULES[name].tolerance
    for trade in run(name, orders).trades:
        offer, bid = by_id[trade.offer_id], by_id[trade.bid_id]
        assert (trade.seller, trade.buyer) == (offer.agent, bid.agent)
        assert (offer.side, bid.side) == (Side.OFFER, Side.BID)
        if trade.round == 1:
            assert (trade.offer_price, trade.bid_price) == (offer.price, bid.price)
        assert offer.reserve_price <= trade.offer_price <= offer.price
        assert bid.price <= trade.bid_price <= bid.reserve_price
        low, high = sorted((trade.offer_price, trade.bid_price))
        assert low <= trade.price <= high
        if tolerance == 0:
            assert trade.offer_price <= trade.price <= trade.bid_price
        else:
            assert trade.offer_price - tolerance <= trade.price <= trade.bid_price + tolerance


@pytest.mark.parametrize("name", NAMES)
@given(orders=books(), data=st.data())
def test_a_book_restored_at_any_point_goes_on_like_the_original(
    name: MarketRules, orders: list[Order[str]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(orders)))
    original: Book[str] = Book(RULES[name])
    for order in orders[:cut]:
        original.submit(order)
    resting = [*original.rows(Side.OFFER), *original.rows(Side.BID)]
    restored: Book[str] = Book.restore(RULES[name], data.draw(st.permutations(resting)))
    assert restored.rows(Side.OFFER) == original.rows(Side.OFFER)
    assert restored.rows(Side.BID) == original.rows(Side.BID)
    assert finish(restored, orders[cut:]) == finish(original, orders[cut:])


@pytest.mark.parametrize("name", [name for name in NAMES if RULES[name].mode == "call"])
@given(orders=books(), data=st.data())
def test_a_call_depends_on_arrival_numbers_and_not_on_when_it_heard(
    name: MarketRules, orders: list[Order[str]], data: st.DataObject
) -> None:
    assert run(name, data.draw(st.permutations(orders))) == run(name, orders)


@pytest.mark.parametrize("name", [name for name in NAMES if RULES[name].mode == "continuous"])
@given(orders=books())
def test_between_arrivals_a_continuous_book_never_crosses(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    book: Book[str] = Book(RULES[name])
    for order in orders:
        book.submit(order)
        offers, bids = book.rows(Side.OFFER), book.rows(Side.BID)
        if offers and bids:
            assert offers[0][0].price - bids[0][0].price > RULES[name].tolerance


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_remaining_is_what_the_rows_say(name: MarketRules, orders: list[Order[str]]) -> None:
    book: Book[str] = Book(RULES[name])
    for order in orders:
        book.submit(order)
    rows = {entry.id: left for side in Side for entry, left in book.rows(side)}
    assert {order.id: book.remaining(order.id) for order in orders} == {
        order.id: rows.get(order.id, 0) for order in orders
    }


CALLS: list[MarketRules] = [name for name in NAMES if RULES[name].mode == "call"]


def limit_in(round_: int, order: Order[str]) -> int:
    return order.price if round_ == 1 else order.reserve_price


@pytest.mark.parametrize("name", [name for name in CALLS if RULES[name].rounds])
@given(orders=books())
def test_the_first_round_of_a_call_trades_all_that_can_be_traded_at_one_price(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    first = RULES[name].rounds[0]
    standing = [replace(order, reserve_price=limit_in(first, order)) for order in orders]
    traded = sum(t.quantity_wh for t in run(name, orders).trades if t.round == first)
    assert traded == oracle.most_volume(standing)


@pytest.mark.parametrize("name", [name for name in CALLS if RULES[name].rounds])
@given(orders=books())
def test_at_equal_limits_a_worse_order_waits_for_the_better(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    """Tie rules: credit where it counts, then arrival."""
    first, by_credit = RULES[name].rounds[0], RULES[name].credit_priority
    filled: Counter[int] = Counter()
    for trade in run(name, orders).trades:
        if trade.round == first:
            filled[trade.offer_id] += trade.quantity_wh
            filled[trade.bid_id] += trade.quantity_wh
    for a in orders:
        for b in orders:
            if a.side != b.side or limit_in(first, a) != limit_in(first, b) or not filled[b.id]:
                continue
            if (-a.credit * by_credit, a.arrival) < (-b.credit * by_credit, b.arrival):
                assert filled[a.id] == a.quantity_wh


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_what_is_left_after_the_last_round_does_not_cross_at_its_limits(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    if name in ("two-stage", "cooperative"):
        return  # one leans towards a price and may stop short of the limits, one never trades
    by_id = {order.id: order for order in orders}
    left = [by_id[residual.order_id] for residual in run(name, orders).residuals]
    moves = {Side.OFFER: RULES[name].concede != "buyer", Side.BID: True}
    ends = {
        side: [o.reserve_price if moves[side] else o.price for o in left if o.side == side]
        for side in Side
    }
    if ends[Side.OFFER] and ends[Side.BID]:
        assert min(ends[Side.OFFER]) - max(ends[Side.BID]) > RULES[name].tolerance


@given(orders=books())
def test_a_uniform_call_has_one_price_that_no_trader_and_nobody_left_over_objects_to(
    orders: list[Order[str]],
) -> None:
    by_id = {order.id: order for order in orders}
    result = run("uniform", orders)
    prices = {trade.price for trade in result.trades}
    assert len(prices) <= 1
    for price in prices:
        for trade in result.trades:
            assert by_id[trade.offer_id].reserve_price <= price <= by_id[trade.bid_id].reserve_price
        for residual in result.residuals:
            limit = by_id[residual.order_id].reserve_price
            assert limit >= price if residual.side == Side.OFFER else limit <= price


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_a_gate_closes_once(name: MarketRules, orders: list[Order[str]]) -> None:
    book: Book[str] = Book(RULES[name])
    finish(book, orders)
    again = book.close(RETAIL, FEED_IN)
    assert (again.trades, again.residuals) == ((), ())


@pytest.mark.parametrize("name", NAMES)
@given(orders=books())
def test_an_order_that_cannot_be_taken_changes_nothing(
    name: MarketRules, orders: list[Order[str]]
) -> None:
    book, untouched = Book[str](RULES[name]), Book[str](RULES[name])
    for order in orders:
        assert book.submit(order) == untouched.submit(order)
        if book.remaining(order.id):
            with pytest.raises(ValueError, match="in the book already"):
                book.submit(order)
        with pytest.raises(ValueError, match="more than zero"):
            book.submit(replace(order, id=100 + order.id, quantity_wh=0))
    assert book.close(RETAIL, FEED_IN) == untouched.close(RETAIL, FEED_IN)


@given(orders=books())
def test_where_the_plant_bids_as_a_whole_nobody_trades(orders: list[Order[str]]) -> None:
    result = run("cooperative", orders)
    assert result.trades == []
    assert [r.order_id for r in result.residuals] == [order.id for order in orders]
