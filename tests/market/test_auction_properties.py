"""What holds for every book, under each named rule set."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
