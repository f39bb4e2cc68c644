"""Credit: what a member's deliveries say about it (P3, §3.2.2; P2, §II.D).

A slot's delivery gets a score, a day's scores make one, and the day's moves the member's credit by
one of two rules: the published one, or one that goes to the level of the scores. Weighted
indicators make a grade from AAA to D. Everything is in parts per million and an integer; each
division rounds once, half to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from vppd.config.billing import GRADES, CreditRule, CreditRules
from vppd.market.money import div_half_even
from vppd.types import PPM, Ppm, Wh

TOLERATED_PPM: Final[Ppm] = 20_000
"""A deviation up to here is a perfect delivery (P3, eq 5: 2 %)."""
DAYS_TO_LEVEL: Final = 10
"""By a tenth of the difference a day credit goes towards the score (market.md, §0)."""


def delivery_score(contracted_wh: Wh, delivered_wh: Wh) -> Ppm:
    """``a``, the score of one slot's delivery (P3, eq 5).

    1 if the deviation from the contract is at most 2 % of it, else 1 less the deviation, at least
    0. The paper's second branch cannot be read; this one does not reward delivering too much.

    Args:
        contracted_wh: ``P``, net, above zero.
        delivered_wh: ``P^ac``, net, in the direction of the contract; below zero: against it.

    Raises:
        ValueError: there is no contract to compare with.
    """
    if contracted_wh <= 0:
        raise ValueError(f"a contract of {contracted_wh} Wh says nothing about its delivery")
    deviation_wh = abs(delivered_wh - contracted_wh)
    if PPM * deviation_wh <= TOLERATED_PPM * contracted_wh:
        return PPM
    return max(0, PPM - div_half_even(PPM * deviation_wh, contracted_wh))


def honoured_wh(contracted_wh: Wh, score: Ppm) -> Wh:
    """What a delivery with this score counts for: that part of the contract, to whole Wh."""
    return div_half_even(contracted_wh * score, PPM)


def day_score(contracted_wh: Wh, honoured: Wh) -> Ppm:
    """A day's score: that of its slots, weighted with what was contracted in each.

    Weighted, so that small contracts kept do not hide a large one that was not.

    Args:
        contracted_wh: sum over the day's slots, above zero.
        honoured: sum of :func:`honoured_wh` over them.

    Raises:
        ValueError: nothing was contracted.
    """
    if contracted_wh <= 0:
        raise ValueError("a day without a contract has no score")
    return min(PPM, max(0, div_half_even(PPM * honoured, contracted_wh)))


def next_credit(rule: CreditRule, credit: Ppm, score: Ppm, previous: Ppm | None) -> Ppm:
    """``R(t)`` from ``R(t−1)`` and the day's score, by the rule's name.

    Args:
        rule: which.
        credit: ``R(t−1)``, 0 to 10⁶.
        score: ``a`` of the day, 0 to 10⁶.
        previous: ``a`` of the day before it that had one; ``None``: there was none.
    """
    if rule == "fixed":
        return credit
    if rule == "level":
        return level_credit(credit, score)
    return credit if previous is None else paper_credit(credit, score, previous)


def paper_credit(credit: Ppm, score: Ppm, previous: Ppm) -> Ppm:
    """The published rule (P3, eqs 6 and 7): ``R ± (Δa)²·(1−R or R)``.

    It reacts to *change* alone: a meter that is always right gains nothing, and ten falls of a
    tenth followed by one rise to 1 end above where they began. For reproduction, not for a plant.
    """
    change = (score - previous) ** 2
    if score >= previous:
        return credit + div_half_even(change * (PPM - credit), PPM * PPM)
    return credit - div_half_even(change * credit, PPM * PPM)


def level_credit(credit: Ppm, score: Ppm) -> Ppm:
    """The default rule: ``R += (a − R)/10`` (market.md, §0); rests within 5 ppm of the score."""
    return credit + div_half_even(score - credit, DAYS_TO_LEVEL)


# ------------------------------------------------------------ grades (P2, §II.D and Fig 4)

Grade: TypeAlias = int
"""Position in :data:`GRADES`; 0 is the best."""


class Indicators(NamedTuple):
    """What a rating is made of, each 0 to 10⁶; all of them are on chain."""

    delivery: Ppm
    """Quality of service: the credit ``R``."""
    metering: Ppm
    """Basic management: slots whose energy a reading proved, of those that needed one."""
    payment: Ppm
    """Whether it pays: 10⁶ without a debt, else 0."""


def weights_of(rules: CreditRules) -> Indicators:
    """How much each indicator counts; they sum up to 10⁶."""
    return Indicators(rules.delivery_weight, rules.metering_weight, rules.payment_weight)


def composite(indicators: Indicators, weights: Indicators) -> Ppm:
    """The weighted mean of the indicators; the weights sum up to 10⁶."""
    return div_half_even(sum(i * w for i, w in zip(indicators, weights, strict=True)), PPM)


def grade_of(value: Ppm, least: Sequence[Ppm]) -> Grade:
    """The best grade whose threshold the composite reaches."""
    return next((grade for grade, bound in enumerate(least) if value >= bound), len(least))


def grade_named(name: str) -> Grade | None:
    """Position of a grade; ``None``: there is none of that name."""
    return GRADES.index(name) if name in GRADES else None


def part_of(most: int, quota: Ppm) -> int:
    """A grade's part of a limit: rounded down, but never nothing."""
    return max(1, most * quota // PPM)


def check_credit(rules: CreditRules) -> None:
    """Accept weights, thresholds and quotas that make a rating.

    Raises:
        ValueError: says which does not.
    """
    weights = weights_of(rules)
    if sum(weights) != PPM:
        raise ValueError(f"the weights {tuple(weights)} do not sum up to {PPM}")
    if len(rules.least) != len(GRADES) - 1 or len(rules.quota) != len(GRADES):
        raise ValueError(
            f"{len(GRADES)} grades take {len(GRADES) - 1} thresholds and {len(GRADES)} quotas"
        )
    if list(rules.least) != sorted(set(rules.least), reverse=True):
        raise ValueError(f"the thresholds {rules.least} do not fall from grade to grade")
    if min(rules.quota) < 1:
        raise ValueError("a quota is above zero: without any order nobody would rise again")
