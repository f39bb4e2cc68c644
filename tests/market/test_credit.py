"""Credit: P3's eqs 5–7 with the published numbers, the default rule, and grades (P2, §II.D)."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.config.billing import GRADES, CreditRules
from vppd.market.credit import (
    Indicators,
    check_credit,
    composite,
    day_score,
    delivery_score,
    grade_named,
    grade_of,
    honoured_wh,
    level_credit,
    next_credit,
    paper_credit,
    part_of,
    weights_of,
)
from vppd.types import PPM

ppm = st.integers(0, PPM)
energy = st.integers(1, 2**50)


def nearest_even(value: Fraction) -> int:
    """The oracle's own rounding."""
    return round(value)


# ------------------------------------------------------------ eq 5


def test_98_of_100_is_perfect() -> None:
    assert delivery_score(100, 98) == delivery_score(100, 102) == PPM


@pytest.mark.parametrize(
    ("contracted", "delivered", "score"),
    [
        (100, 97, 970_000),
        (100, 103, 970_000),
        (100, 0, 0),
        (100, 200, 0),
        (100, 300, 0),
        (100, -50, 0),
        (1_000, 979, 979_000),
        (3, 2, 666_667),
        (50, 49, PPM),
        (49, 48, 979_592),
    ],
)
def test_beyond_2_percent_the_deviation_counts_whole(
    contracted: int, delivered: int, score: int
) -> None:
    assert delivery_score(contracted, delivered) == score


def test_delivering_too_much_earns_no_more_than_too_little() -> None:
    assert delivery_score(1_000, 1_500) == delivery_score(1_000, 500)


@pytest.mark.parametrize("contracted", [0, -1])
def test_without_a_contract_there_is_no_score(contracted: int) -> None:
    with pytest.raises(ValueError, match="says nothing"):
        delivery_score(contracted, 5)


@given(energy, st.integers(-(2**50), 2**51))
def test_a_score_is_that_of_exact_fractions(contracted: int, delivered: int) -> None:
    deviation = Fraction(abs(delivered - contracted), contracted)
    want = PPM if deviation <= Fraction(2, 100) else max(0, PPM - nearest_even(deviation * PPM))
    assert delivery_score(contracted, delivered) == want


# ------------------------------------------------------------ a day


def test_a_day_weighs_slots_with_their_contracts() -> None:
    kept, broken = honoured_wh(10, PPM), honoured_wh(990, 0)
    assert day_score(1_000, kept + broken) == 10_000


def test_a_day_without_a_contract_has_no_score() -> None:
    with pytest.raises(ValueError, match="no score"):
        day_score(0, 0)


@given(st.lists(st.tuples(energy, ppm), min_size=1, max_size=20))
def test_a_days_score_lies_between_its_slots(slots: list[tuple[int, int]]) -> None:
    contracted = sum(wh for wh, _ in slots)
    score = day_score(contracted, sum(honoured_wh(wh, a) for wh, a in slots))
    slack = 1 + Fraction(PPM * len(slots), 2 * contracted)  # each slot is rounded to whole Wh
    assert min(a for _, a in slots) - slack <= score <= max(a for _, a in slots) + slack
    assert 0 <= score <= PPM


# ------------------------------------------------------------ eqs 6 and 7


def test_the_published_numbers() -> None:
    assert paper_credit(800_000, PPM, 900_000) == 802_000
    assert paper_credit(800_000, 900_000, PPM) == 792_000


def test_the_same_score_again_changes_nothing_in_the_paper() -> None:
    assert paper_credit(800_000, PPM, PPM) == 800_000
    assert paper_credit(300_000, 100_000, 100_000) == 300_000


def test_the_published_rule_can_be_gamed_and_the_default_cannot() -> None:
    """Ten falls of .1, one rise to 1: the paper pays for it (market.md, 1.1)."""
    scores = [*range(PPM, -1, -100_000), PPM]
    paper = level = 800_000
    for before, score in pairwise(scores):
        paper = paper_credit(paper, score, before)
        level = level_credit(level, score)
    assert paper == PPM
    assert level < 600_000


@given(ppm, ppm, ppm)
def test_the_published_rule_in_exact_fractions(credit: int, score: int, previous: int) -> None:
    change = Fraction(score - previous, PPM) ** 2
    r = Fraction(credit, PPM)
    up = score >= previous
    step = nearest_even(change * (1 - r) * PPM) if up else -nearest_even(change * r * PPM)
    after = paper_credit(credit, score, previous)
    assert after == credit + step
    assert 0 <= after <= PPM


# ------------------------------------------------------------ the default rule


def test_a_tenth_of_the_way_each_day() -> None:
    assert level_credit(800_000, PPM) == 820_000
    assert level_credit(800_000, 0) == 720_000


@given(ppm, ppm)
def test_the_level_rule_goes_towards_the_score_and_not_beyond(credit: int, score: int) -> None:
    after = level_credit(credit, score)
    assert min(credit, score) <= after <= max(credit, score)
    assert abs(score - after) < abs(score - credit) or abs(score - credit) <= 5


@given(ppm, ppm)
def test_the_level_rule_comes_to_rest_within_5_ppm(credit: int, score: int) -> None:
    for _ in range(200):
        credit = level_credit(credit, score)
    assert abs(credit - score) <= 5


def test_rules_by_name() -> None:
    assert next_credit("fixed", 800_000, 0, PPM) == 800_000
    assert next_credit("level", 800_000, PPM, None) == 820_000
    assert next_credit("paper003", 800_000, PPM, 900_000) == 802_000
    assert next_credit("paper003", 800_000, PPM, None) == 800_000, "nothing to compare with"


# ------------------------------------------------------------ grades


RULES = CreditRules()


def test_a_grade_needs_its_threshold_and_no_more() -> None:
    least = RULES.least
    assert GRADES[grade_of(PPM, least)] == GRADES[grade_of(900_000, least)] == "AAA"
    assert GRADES[grade_of(899_999, least)] == "AA"
    assert GRADES[grade_of(100_000, least)] == "C"
    assert GRADES[grade_of(99_999, least)] == GRADES[grade_of(0, least)] == "D"
    assert [grade_named(name) for name in ("AAA", "D", "E", "")] == [0, 9, None, None]


def test_a_new_member_that_pays_and_is_measured_is_a_double_a() -> None:
    value = composite(Indicators(800_000, PPM, PPM), weights_of(RULES))
    assert (value, GRADES[grade_of(value, RULES.least)]) == (880_000, "AA")


@given(ppm, ppm, ppm)
def test_a_composite_lies_between_its_indicators(a: int, b: int, c: int) -> None:
    assert min(a, b, c) <= composite(Indicators(a, b, c), weights_of(RULES)) <= max(a, b, c)


@given(ppm, ppm)
def test_a_better_composite_never_has_a_worse_grade(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert grade_of(high, RULES.least) <= grade_of(low, RULES.least)


def test_a_quota_is_rounded_down_and_never_nothing() -> None:
    assert [part_of(64, quota) for quota in RULES.quota] == [64, 64, 64, 64, 48, 32, 16, 16, 6, 3]
    assert part_of(1, 50_000) == 1


def test_the_default_rules_hold() -> None:
    check_credit(RULES)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (CreditRules(delivery_weight=500_000), "do not sum up"),
        (CreditRules(least=RULES.least[1:]), "take 9 thresholds"),
        (CreditRules(quota=RULES.quota[1:]), "10 quotas"),
        (CreditRules(least=RULES.least[::-1]), "do not fall"),
        (CreditRules(least=(900_000, 900_000, *RULES.least[2:])), "do not fall"),
        (CreditRules(quota=(*RULES.quota[:9], 0)), "nobody would rise again"),
    ],
)
def test_what_is_no_rating_is_refused(rules: CreditRules, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_credit(rules)
