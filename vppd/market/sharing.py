"""Benefit sharing: members settle with the grid as one, and what that gains is shared (P1, §3.4).

The game: a coalition is worth what the grid pays it for its net energy, at the feed-in price, or
what it pays the grid, at the retail price, as a negative worth. Inside a coalition the energy of
one stands against the need of another, so together they are worth at least what they are alone. A
member is due its Shapley value. Who promised more than it delivered pays a penalty to the others.

Energy in Wh, above zero: given to the grid. Money in micro-currency, above zero: to the member.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from vppd.market.money import amount_micro
from vppd.market.shapley import (
    EXACT_PLAYERS,
    Quotients,
    error_bound,
    exact,
    largest_remainder,
    sampled,
)
from vppd.types import PPM, Micro, MicroPerKwh, Ppm, Wh

MOST_STEPS = 200_000
"""Players times samples of one sharing at most: what a slot may cost the block that settles it."""


class Pool(msgspec.Struct, frozen=True):
    """What a coalition is worth and what each of its members is due of it."""

    worth: Micro
    """v(N), of all together; what the shares add up to."""
    alone: tuple[Micro, ...]
    """v({i}), what each would get or pay by itself."""
    shares: tuple[Micro, ...]
    """The Shapley values, in player order."""
    samples: int
    """How many orders were averaged; 0: exact."""

    @property
    def gain(self) -> Micro:
        """What coming together is worth: v(N) − Σ v({i})."""
        return self.worth - sum(self.alone)


def grid_worth(net_wh: int, retail_price: MicroPerKwh, feed_in_price: MicroPerKwh) -> Micro:
    """v(S): what the grid pays for ``net_wh``, rounded once; negative: what it charges."""
    return amount_micro(net_wh, feed_in_price if net_wh >= 0 else retail_price)


def pool(
    nets: Sequence[int],
    retail_price: MicroPerKwh,
    feed_in_price: MicroPerKwh,
    *,
    seed: bytes,
    samples: int,
) -> Pool:
    """Shares what members are worth together.

    Exact up to 12 members; above, the mean over :func:`samples_for` orders drawn from ``seed``.

    Args:
        nets: what each member gave to the grid less what it took, Wh.
        retail_price: what the grid charges.
        feed_in_price: what the grid pays, at most the retail price.
        seed: of the orders.
        samples: orders wished for.
    """
    players = len(nets)
    alone = tuple([grid_worth(net, retail_price, feed_in_price) for net in nets])
    if players <= EXACT_PLAYERS:
        taken = 0
        quotients = exact(_coalitions(nets, retail_price, feed_in_price))
    else:
        taken = samples_for(players, samples)
        quotients = _sampled(nets, retail_price, feed_in_price, seed, taken)
    worth = grid_worth(sum(nets), retail_price, feed_in_price)
    return Pool(worth, alone, quotients.split(), taken)


def samples_for(players: int, samples: int) -> int:
    """How many orders are drawn: those wished for, unless they cost over :data:`MOST_STEPS`."""
    return max(1, min(samples, MOST_STEPS // players))


def pool_error_bound(
    net_wh: int, retail_price: MicroPerKwh, feed_in_price: MicroPerKwh, samples: int
) -> Micro:
    """How far a member's sampled share may be from the exact one, for 95 % of seeds; 0 if exact.

    Whatever coalition it joins, each of its Wh is worth between the feed-in and the retail price;
    two roundings may add a micro.
    """
    if samples == 0:
        return 0
    spread = abs(net_wh) * (retail_price - feed_in_price)
    return error_bound(-(-spread // 1_000) + 2, samples)


def penalties(
    promised: Sequence[Wh],
    delivered: Sequence[Wh],
    price: MicroPerKwh,
    tolerance_ppm: Ppm = 0,
) -> tuple[Micro, ...]:
    """Who delivers less than it promised pays the others (P1, §3.4, bidding deviation punishment).

    A member pays ``price`` for each kWh that it falls short beyond the tolerance, and what it pays
    is shared equally among all the others; of equal remainders the first in order gets the micro.

    Args:
        promised: energy each member said it would give; with a minus, would take.
        delivered: energy it gave, in the same order.
        price: of a missing kWh.
        tolerance_ppm: part of a promise that may be missing for nothing, rounded down to a Wh.

    Returns:
        What each gets, negative what it pays; the sum is zero. With one member nobody is there to
        be paid, so it pays nothing.

    Raises:
        ValueError: not as many deliveries as promises.
    """
    players = len(promised)
    paid = [
        amount_micro(shortfall(due, got, tolerance_ppm), price)
        for due, got in zip(promised, delivered, strict=True)
    ]
    if players < 2:  # two make a coalition
        return (0,) * players
    # Each gets (P − pᵢ)/(n−1) and pays pᵢ, which is (P − n·pᵢ)/(n−1).
    return largest_remainder([sum(paid) - players * own for own in paid], players - 1)


def shortfall(promised: Wh, delivered: Wh, tolerance_ppm: Ppm) -> Wh:
    """What of a promise is missing beyond the tolerance; never negative."""
    return max(0, promised - delivered - abs(promised) * tolerance_ppm // PPM)


def _coalitions(
    nets: Sequence[int], retail_price: MicroPerKwh, feed_in_price: MicroPerKwh
) -> list[Micro]:
    totals = [0]
    for net in nets:
        totals += [total + net for total in totals]
    return [grid_worth(total, retail_price, feed_in_price) for total in totals]


def _sampled(
    nets: Sequence[int],
    retail_price: MicroPerKwh,
    feed_in_price: MicroPerKwh,
    seed: bytes,
    samples: int,
) -> Quotients:
    def walk(order: Sequence[int]) -> list[Micro]:
        totals = accumulate(nets[player] for player in order)
        return [grid_worth(total, retail_price, feed_in_price) for total in totals]

    return sampled(len(nets), walk, seed, samples)
