"""Quotes: the two equations of P3 against fractions, their bounds, and the other strategies."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.market.auction import Side
from vppd.market.quotes import (
    PREFERENCE,
    STRATEGIES,
    Position,
    Prices,
    Quote,
    buyer_price,
    check_prices,
    quote_p3,
    quote_supply_function,
    quote_zero_intelligence,
    quotes_of,
    reserve_price,
    seller_price,
    unit_price,
)
from vppd.types import PPM

NIGHT = Prices(380_000, 240_000)
NOON = Prices(860_000, 650_000)
ENERGY = st.integers(0, 10**9)
MONEY = st.integers(0, 10**9)


@st.composite
def prices(draw: st.DrawFn) -> Prices:
    feed_in, more = draw(MONEY), draw(MONEY)
    return Prices(feed_in + more, feed_in)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    return Position(draw(ENERGY), draw(ENERGY), draw(st.none() | MONEY))


def rounded(exact: Fraction) -> int:
    """Half to even, as Python rounds fractions."""
    return round(exact)


# ------------------------------------------------------------------ eq (1)


def test_the_buyers_quote_by_hand() -> None:
    # Twice the load of its generation: λ0 + 0.5·1·(0.38 − 0.24).
    assert buyer_price(Position(100, 200), NIGHT) == 310_000
    # One and a half times: λ0 + 0.5·0.5·0.14.
    assert buyer_price(Position(100, 150), NIGHT) == 275_000


def test_a_buyer_that_is_far_short_bids_the_retail_price_and_no_more() -> None:
    assert buyer_price(Position(100, 300), NIGHT) == 380_000
    assert buyer_price(Position(100, 301), NIGHT) == 380_000
    assert buyer_price(Position(1, 10**12), NIGHT) == 380_000


def test_a_buyer_with_no_generation_bids_the_retail_price() -> None:
    assert buyer_price(Position(0, 234_220), NIGHT) == 380_000


def test_a_buyer_that_does_not_mind_bids_the_feed_in_price() -> None:
    assert buyer_price(Position(0, 5), NIGHT, preference=0) == 240_000
    assert buyer_price(Position(1, 5), NIGHT, preference=0) == 240_000


def test_nothing_and_balance_are_worth_the_feed_in_price() -> None:
    assert buyer_price(Position(0, 0), NIGHT) == 240_000
    assert buyer_price(Position(70, 70), NIGHT) == 240_000


def test_one_who_has_more_than_it_uses_bids_no_less_than_the_feed_in_price() -> None:
    assert buyer_price(Position(200, 100), NIGHT) == 240_000


@given(positions(), prices(), st.integers(0, PPM))
def test_eq_1_exactly(position: Position, grid: Prices, preference: int) -> None:
    price = buyer_price(position, grid, preference)
    assert grid.feed_in <= price <= grid.retail
    if position.generation_wh:
        generation, load = position.generation_wh, position.load_wh
        share = Fraction(preference * (load - generation), PPM * generation)
        assert price == grid.clamp(rounded(grid.feed_in + share * (grid.retail - grid.feed_in)))


@pytest.mark.parametrize("preference", [-1, PPM + 1])
def test_a_preference_outside_its_range_is_refused(preference: int) -> None:
    with pytest.raises(ValueError, match="preference"):
        buyer_price(Position(1, 2), NIGHT, preference)


# ------------------------------------------------------------------ eq (2)


def test_the_sellers_quote_by_hand() -> None:
    # Half of it is over: λgrid − 0.5·(0.86 − 0.65).
    assert seller_price(Position(200, 100), NOON) == 755_000
    # With a cost of 0.70: λgrid − 0.5·(0.86 − 0.70).
    assert seller_price(Position(200, 100, 700_000), NOON) == 780_000
    # A cost below the feed-in price is as good as the feed-in price.
    assert seller_price(Position(200, 100, 1), NOON) == 755_000


def test_a_seller_with_no_load_asks_the_feed_in_price_or_its_cost() -> None:
    assert seller_price(Position(200, 0), NOON) == 650_000
    assert seller_price(Position(200, 0, 700_000), NOON) == 700_000


def test_a_seller_with_nothing_asks_the_retail_price() -> None:
    assert seller_price(Position(0, 0), NOON) == 860_000
    assert seller_price(Position(0, 50), NOON) == 860_000
    assert seller_price(Position(50, 50), NOON) == 860_000


def test_the_bars_of_eq_2_are_kept() -> None:
    # A cost of 1.00 above the retail price of 0.86: the distance is 0.14, and it is taken away.
    assert seller_price(Position(200, 100, 1_000_000), NOON) == 790_000


@given(positions(), prices())
def test_eq_2_exactly(position: Position, grid: Prices) -> None:
    price = seller_price(position, grid)
    assert grid.feed_in <= price <= grid.retail
    if position.generation_wh:
        share = Fraction(position.generation_wh - position.load_wh, position.generation_wh)
        cost = max(grid.feed_in, position.limit or 0)
        fall = rounded(share * abs(grid.retail - cost))
        assert price == grid.clamp(grid.retail - fall)


# ------------------------------------------------------------------ limits


def test_a_unit_price_is_cost_over_generation() -> None:
    assert unit_price(300_000, 1_000) == 300_000
    assert unit_price(300_000, 500) == 600_000
    assert unit_price(300_000, 500, 500_000) == 300_000
    assert unit_price(1, 2_000) == 0  # 0.5, to the even
    assert unit_price(3, 2_000) == 2
    assert unit_price(5, 0) is None


@pytest.mark.parametrize("wrong", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_an_absurd_unit_price_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not below zero"):
        unit_price(*wrong)


def test_a_reserve_goes_to_the_limit_within_the_grids_prices() -> None:
    assert reserve_price(Side.OFFER, 720_000, 695_000, NOON) == 695_000
    assert reserve_price(Side.OFFER, 720_000, 100_000, NOON) == 650_000
    assert reserve_price(Side.OFFER, 720_000, 800_000, NOON) == 720_000
    assert reserve_price(Side.OFFER, 720_000, None, NOON) == 650_000
    assert reserve_price(Side.BID, 713_000, 736_000, NOON) == 736_000
    assert reserve_price(Side.BID, 713_000, 990_000, NOON) == 860_000
    assert reserve_price(Side.BID, 713_000, 700_000, NOON) == 713_000
    assert reserve_price(Side.BID, 713_000, None, NOON) == 860_000


# ------------------------------------------------------------------ strategies


@given(positions(), prices(), st.sampled_from(STRATEGIES), st.integers(0, PPM - 1))
def test_every_strategy_quotes_what_a_market_takes(
    position: Position, grid: Prices, strategy: Any, chance: int
) -> None:
    quotes = quotes_of(strategy, position, grid, chance)
    if strategy == "grid-only" or position.side is None:
        assert quotes == ()
        return
    assert sum(quote.quantity_wh for quote in quotes) == position.quantity_wh
    for quote in quotes:
        assert quote.quantity_wh > 0
        for price in (quote.price, quote.reserve_price):
            assert grid.feed_in <= price <= grid.retail
        if position.side is Side.OFFER:
            assert quote.reserve_price <= quote.price
        else:
            assert quote.reserve_price >= quote.price


@given(positions(), prices(), st.sampled_from(STRATEGIES), st.integers(0, PPM - 1))
def test_no_strategy_trades_beyond_the_own_limit(
    position: Position, grid: Prices, strategy: Any, chance: int
) -> None:
    if position.limit is None:
        return
    limit = grid.clamp(position.limit)
    for quote in quotes_of(strategy, position, grid, chance):
        if position.side is Side.OFFER:
            assert quote.reserve_price >= limit
        else:
            assert quote.reserve_price <= limit


def test_p3_quotes_by_hand() -> None:
    assert quote_p3(Position(200, 100, 700_000), NOON) == (Quote(100, 780_000, 700_000),)
    assert quote_p3(Position(100, 150, 350_000), NIGHT) == (Quote(50, 275_000, 350_000),)
    assert quote_p3(Position(1, 900, 300_000), NIGHT) == (Quote(899, 300_000, 300_000),)
    # Its cost is above the quote of eq (2), which would fall short of it.
    assert quote_p3(Position(200, 0, 1_000_000), NOON) == (Quote(200, 860_000, 860_000),)


def test_zero_intelligence_goes_from_its_limit_to_the_far_price() -> None:
    seller = Position(9, 4, 700_000)
    assert quote_zero_intelligence(seller, NOON, 0) == (Quote(5, 700_000, 700_000),)
    assert quote_zero_intelligence(seller, NOON, PPM - 1)[0].price == 860_000
    buyer = Position(4, 9, 700_000)
    assert quote_zero_intelligence(buyer, NOON, 0) == (Quote(5, 650_000, 700_000),)
    assert quote_zero_intelligence(buyer, NOON, PPM - 1)[0].price == 700_000
    for chance in (-1, PPM):
        with pytest.raises(ValueError, match="chance"):
            quote_zero_intelligence(buyer, NOON, chance)


def test_a_supply_function_rises_and_a_demand_function_falls() -> None:
    offers = quote_supply_function(Position(11, 0, 700_000), NOON)
    assert offers == (
        Quote(3, 720_000, 720_000),
        Quote(3, 760_000, 760_000),
        Quote(3, 800_000, 800_000),
        Quote(2, 840_000, 840_000),
    )
    bids = quote_supply_function(Position(0, 2, 360_000), NIGHT)
    assert bids == (Quote(1, 330_000, 330_000), Quote(1, 270_000, 270_000))
    with pytest.raises(ValueError, match="is none"):
        quote_supply_function(Position(1, 0), NOON, 0)


@given(positions(), prices(), st.integers(1, 9))
def test_a_supply_function_is_monotone(position: Position, grid: Prices, steps: int) -> None:
    asked = [quote.price for quote in quote_supply_function(position, grid, steps)]
    assert asked == sorted(asked, reverse=position.side is Side.BID)
    assert len(asked) == min(steps, position.quantity_wh)


def test_a_member_in_balance_is_neither_buyer_nor_seller() -> None:
    assert Position(5, 5).side is None
    assert Position(5, 4).side is Side.OFFER
    assert Position(4, 5).side is Side.BID


@pytest.mark.parametrize("wrong", [Prices(1, 2), Prices(1, -1)])
def test_prices_out_of_order_are_refused(wrong: Prices) -> None:
    with pytest.raises(ValueError, match="not in order"):
        check_prices(wrong)
    for strategy in STRATEGIES[:-1]:
        with pytest.raises(ValueError, match="not in order"):
            quotes_of(strategy, Position(2, 1), wrong, 0)


def test_energy_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="below zero"):
        buyer_price(Position(-1, 1), NIGHT)
    with pytest.raises(ValueError, match="below zero"):
        seller_price(Position(1, -1), NIGHT)


def test_the_preference_is_the_papers() -> None:
    assert PREFERENCE == 500_000
