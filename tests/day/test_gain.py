"""The packaged day on the market's own book: both sides do better than with the grid alone."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from vppd.config.genesis import MarketRules, MarketRulesSection, Tariff
from vppd.day.profiles import Kind, assign, load_profiles
from vppd.day.strategy import DerPlan, Registers
from vppd.market.auction import RULES, Book, Order, Trade
from vppd.market.settlement import grid_only_micro, settle_imbalance
from vppd.market.tariff import tariff_for
from vppd.types import Micro, Wh

SEEDS = range(1, 21)

# P3, Table 1: first and last hour, retail and feed-in price in micro-currency per kWh.
_PERIODS = (
    (23, 7, 380_000, 240_000),
    (7, 11, 570_000, 380_000),
    (11, 14, 860_000, 650_000),
    (14, 18, 570_000, 380_000),
    (18, 23, 800_000, 650_000),
)
TRADING = sorted(name for name, rules in RULES.items() if rules.rounds)
"""All but the rules under which the plant bids as a whole."""
MARKET = MarketRulesSection(
    market_slot_minutes=60,
    tariffs=tuple(
        Tariff(start_minute=start * 60, end_minute=end * 60, retail_price=retail, feed_in_price=low)
        for start, end, retail, low in _PERIODS
    ),
)


class Outcome(NamedTuple):
    """A whole day."""

    bills: dict[str, Micro]
    """What each member pays for its trades and its imbalance; below zero: what it gets."""
    grid_only: dict[str, Micro]
    """The same deliveries, all of them at the grid's prices."""
    traded_wh: Wh
    matchable_wh: Wh
    """What loads and PV could exchange at most, hour by hour, had they known the delivery."""


def orders_of(
    plans: list[DerPlan], slot: int, tariff: Tariff, arrivals: Random
) -> list[Order[str]]:
    """The members' orders, in any order of arrival."""
    wishes = [
        (plan.column.name, wish)
        for plan in arrivals.sample(plans, len(plans))
        if (wish := plan.order(slot, tariff.retail_price, tariff.feed_in_price)) is not None
    ]
    return [
        Order(
            id=arrival,
            agent=name,
            side=wish.side,
            quantity_wh=wish.quantity_wh,
            price=wish.price,
            reserve_price=wish.reserve_price,
            credit=800_000,
            arrival=arrival,
        )
        for arrival, (name, wish) in enumerate(wishes)
    ]


def cleared(rules: MarketRules, orders: list[Order[str]], tariff: Tariff) -> list[Trade[str]]:
    book: Book[str] = Book(RULES[rules])
    trades = [trade for order in orders for trade in book.submit(order)]
    return [*trades, *book.close(tariff.retail_price, tariff.feed_in_price).trades]


def play(ders: int, seed: int, rules: MarketRules) -> Outcome:
    """The packaged day from forecast to settlement."""
    plans = [DerPlan(column, seed) for column in assign(load_profiles(), ders)]
    bills = {plan.column.name: 0 for plan in plans}
    grid_only = dict(bills)
    readings = dict.fromkeys(bills, Registers(0, 0))
    traded_wh = matchable_wh = 0
    for slot in range(24):
        tariff = tariff_for(MARKET, slot)
        sold, bought = dict.fromkeys(bills, 0), dict.fromkeys(bills, 0)
        orders = orders_of(plans, slot, tariff, Random(f"{seed}/{slot}"))
        for trade in cleared(rules, orders, tariff):
            traded_wh += trade.quantity_wh
            sold[trade.seller] += trade.quantity_wh
            bought[trade.buyer] += trade.quantity_wh
            bills[trade.seller] -= trade.amount
            bills[trade.buyer] += trade.amount
        used = generated = 0
        for plan in plans:
            name, reading = plan.column.name, plan.registers(slot)
            import_wh = reading.import_wh - readings[name].import_wh
            export_wh = reading.export_wh - readings[name].export_wh
            readings[name] = reading
            bills[name] += settle_imbalance(
                sold_wh=sold[name],
                bought_wh=bought[name],
                import_wh=import_wh,
                export_wh=export_wh,
                retail_price=tariff.retail_price,
                feed_in_price=tariff.feed_in_price,
            ).amount
            grid_only[name] += grid_only_micro(import_wh, export_wh, tariff)
            used += import_wh
            generated += export_wh
        matchable_wh += min(used, generated)
    return Outcome(bills, grid_only, traded_wh, matchable_wh)


def total(bills: dict[str, Micro], kind: Kind) -> Micro:
    """What all loads, or all PV plants, pay."""
    return sum(bill for name, bill in bills.items() if name.startswith(kind))


@pytest.mark.parametrize("ders", [4, 9, 16])
@pytest.mark.parametrize("rules", TRADING)
def test_sellers_earn_more_and_buyers_pay_less_than_with_the_grid_alone(
    rules: MarketRules, ders: int
) -> None:
    for seed in SEEDS:
        day = play(ders, seed, rules)
        assert -total(day.bills, Kind.PV) > -total(day.grid_only, Kind.PV) * 105 // 100
        assert 0 < total(day.bills, Kind.LOAD) < total(day.grid_only, Kind.LOAD) * 95 // 100
        assert all(bill < day.grid_only[name] for name, bill in day.bills.items())


@pytest.mark.parametrize("rules", TRADING)
def test_most_of_what_can_be_matched_is_traded(rules: MarketRules) -> None:
    for seed in SEEDS:
        day = play(16, seed, rules)
        assert 0.9 < day.traded_wh / day.matchable_wh < 1.1


def test_day_repeats_for_a_seed() -> None:
    assert play(9, 3, "production") == play(9, 3, "production")
    assert play(9, 3, "production") != play(9, 4, "production")
