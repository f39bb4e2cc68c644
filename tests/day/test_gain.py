"""The packaged day on the market's own book: both sides do better than with the grid alone."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from vppd.day.profiles import assign, load_profiles
from vppd.day.strategy import DerPlan
from vppd.market.auction import RULES, Book, Order, Side, Trade

SEEDS = range(1, 21)

# P3, Table 1: micro-currency per kWh.
NIGHT = (380_000, 240_000)
FLAT = (570_000, 380_000)
PEAK = (860_000, 650_000)


def tariff(hour: int) -> tuple[int, int]:
    """Retail and feed-in price of an hour."""
    if hour >= 23 or hour < 7:
        return NIGHT
    return PEAK if 8 <= hour < 11 or 18 <= hour < 21 else FLAT


class Outcome(NamedTuple):
    """A whole day, money in 10⁻³ micro-currency (price times Wh, nothing rounded), + is income."""

    incomes: dict[str, int]
    """Of each member: its trades, and its imbalance settled with the grid."""
    grid_only: dict[str, int]
    """The same deliveries, all of them at the grid's prices."""
    traded_wh: int
    matchable_wh: int
    """What loads and PV could exchange at most, hour by hour, had they known the delivery."""


def at_grid(net_wh: int, retail: int, feed_in: int) -> int:
    """Income from giving ``net_wh`` to the grid; below zero it is bought."""
    return net_wh * (feed_in if net_wh > 0 else retail)


def orders_of(
    plans: list[DerPlan], slot: int, retail: int, feed_in: int, chance: Random
) -> list[Order]:
    """The members' orders, arriving in any order."""
    wishes = [
        (plan.column.name, wish)
        for plan in chance.sample(plans, len(plans))
        if (wish := plan.order(slot, retail, feed_in)) is not None
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


def cleared(rules: str, orders: list[Order], retail: int, feed_in: int) -> list[Trade]:
    book = Book(RULES[rules])
    trades = [trade for order in orders for trade in book.submit(order)]
    return [*trades, *book.close(retail, feed_in).trades]


def play(ders: int, seed: int, rules: str) -> Outcome:
    """The packaged day from forecast to settlement."""
    plans = [DerPlan(column, seed) for column in assign(load_profiles(), ders)]
    incomes = {plan.column.name: 0 for plan in plans}
    grid_only = dict(incomes)
    traded_wh = matchable_wh = 0
    for slot in range(24):
        retail, feed_in = tariff(slot)
        orders = orders_of(plans, slot, retail, feed_in, Random(f"{seed}/{slot}"))
        sold = dict.fromkeys(incomes, 0)
        for trade in cleared(rules, orders, retail, feed_in):
            traded_wh += trade.quantity_wh
            for member, sign in ((trade.seller, 1), (trade.buyer, -1)):
                sold[member] += sign * trade.quantity_wh
                incomes[member] += sign * trade.quantity_wh * trade.price
        flows = dict.fromkeys(Side, 0)
        for plan in plans:
            name, delivered = plan.column.name, plan.delivered(slot)
            flows[plan.side] += delivered
            given = delivered if plan.side is Side.OFFER else -delivered
            incomes[name] += at_grid(given - sold[name], retail, feed_in)
            grid_only[name] += at_grid(given, retail, feed_in)
        matchable_wh += min(flows.values())
    return Outcome(incomes, grid_only, traded_wh, matchable_wh)


@pytest.mark.parametrize("ders", [4, 9, 16])
@pytest.mark.parametrize("rules", sorted(RULES))
def test_sellers_earn_more_and_buyers_pay_less_than_with_the_grid_alone(
    rules: str, ders: int
) -> None:
    for seed in SEEDS:
        day = play(ders, seed, rules)
        earned, paid, earned_grid_only, paid_grid_only = (
            sum(abs(money) for name, money in accounts.items() if name.startswith(kind))
            for accounts in (day.incomes, day.grid_only)
            for kind in ("pv", "load")
        )
        assert earned > earned_grid_only * 105 // 100
        assert paid < paid_grid_only * 95 // 100
        assert all(income > day.grid_only[name] for name, income in day.incomes.items())


@pytest.mark.parametrize("rules", sorted(RULES))
def test_most_of_what_can_be_matched_is_traded(rules: str) -> None:
    for seed in SEEDS:
        day = play(16, seed, rules)
        assert 0.9 < day.traded_wh / day.matchable_wh < 1.1


def test_day_repeats_for_a_seed() -> None:
    assert play(9, 3, "production") == play(9, 3, "production")
    assert play(9, 3, "production") != play(9, 4, "production")
