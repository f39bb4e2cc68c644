"""The Shapley value: golden figures, its axioms, and the definition written a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256
from itertools import permutations
from math import factorial, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.market.shapley import (
    EXACT_PLAYERS,
    Quotients,
    contribution_ranges,
    error_bound,
    exact,
    largest_remainder,
    orders,
    sampled,
    walk_of,
)

WORTHS = st.one_of(st.integers(-20, 20), st.integers(-(2**62), 2**62))


@st.composite
def games(draw: st.DrawFn, most: int = 5) -> list[int]:
    """What each coalition is worth, by its mask."""
    players = draw(st.integers(0, most))
    count = 2**players - 1
    return [0, *draw(st.lists(WORTHS, min_size=count, max_size=count))]


def players_of(values: Sequence[int]) -> int:
    return len(values).bit_length() - 1


def by_definition(values: Sequence[int]) -> list[Fraction]:
    """Mean marginal contribution over every order of joining, one by one."""
    players = players_of(values)
    shares = [Fraction(0)] * players
    for order in permutations(range(players)):
        mask = 0
        for player in order:
            after = mask | 1 << player
            shares[player] += Fraction(values[after] - values[mask], factorial(players))
            mask = after
    return shares


def fractions(quotients: Quotients) -> list[Fraction]:
    return [Fraction(numerator, quotients.denominator) for numerator in quotients.numerators]


def swapped(mask: int, a: int, b: int) -> int:
    """The coalition in which two players have changed places."""
    if mask >> a & 1 != mask >> b & 1:
        return mask ^ (1 << a | 1 << b)
    return mask


# Golden: v1 = 10, v12 = 30, v13 = 20, v123 = 60 (P1, §3.4)
MILLION = 1_000_000
PAPER = [0, 10 * MILLION, 0, 30 * MILLION, 0, 20 * MILLION, 0, 60 * MILLION]


def test_the_paper_s_three_players_get_95_50_and_35_thirds() -> None:
    assert fractions(exact(PAPER)) == [Fraction(n * MILLION, 3) for n in (95, 50, 35)]


def test_the_paper_s_shares_in_micro_units_sum_to_60_exactly() -> None:
    shares = exact(PAPER).split()
    assert shares == (31_666_667, 16_666_667, 11_666_666)
    assert sum(shares) == 60 * MILLION


# The axioms


@given(games())
def test_it_is_the_mean_over_all_orders_of_joining(values: list[int]) -> None:
    assert fractions(exact(values)) == by_definition(values)


@given(games())
def test_efficiency_the_shares_sum_to_the_worth_of_all(values: list[int]) -> None:
    assert sum(exact(values).split()) == values[-1]


@given(games(most=4), st.data())
def test_symmetry_players_that_contribute_alike_get_alike(
    values: list[int], data: st.DataObject
) -> None:
    players = players_of(values)
    if players < 2:
        return
    a, b = data.draw(st.permutations(range(players)))[:2]
    alike = [value + values[swapped(mask, a, b)] for mask, value in enumerate(values)]
    quotients = exact(alike)
    assert quotients.numerators[a] == quotients.numerators[b]
    shares = quotients.split()
    assert 0 <= shares[min(a, b)] - shares[max(a, b)] <= 1  # the odd unit goes to the first


@given(games(most=4), st.data())
def test_a_player_that_adds_nothing_gets_nothing(values: list[int], data: st.DataObject) -> None:
    players = players_of(values)
    null = data.draw(st.integers(0, players))
    upper = [(mask >> null) << (null + 1) | mask & ((1 << null) - 1) for mask in range(len(values))]
    widened = [0] * (2 * len(values))
    for mask, value in zip(upper, values, strict=True):
        widened[mask] = widened[mask | 1 << null] = value
    shares = exact(widened).split()
    assert shares[null] == 0
    assert shares[:null] + shares[null + 1 :] == exact(values).split()


@given(games(), st.data())
def test_additivity_before_rounding(values: list[int], data: st.DataObject) -> None:
    rest = data.draw(st.lists(WORTHS, min_size=len(values) - 1, max_size=len(values) - 1))
    others = [0, *rest]
    both = [a + b for a, b in zip(values, others, strict=True)]
    alone = zip(fractions(exact(values)), fractions(exact(others)), strict=True)
    assert fractions(exact(both)) == [a + b for a, b in alone]


def test_twelve_players_with_a_worth_for_every_coalition() -> None:
    worth = [mask.bit_count() ** 2 for mask in range(2**EXACT_PLAYERS)]
    assert fractions(exact(worth)) == [Fraction(12)] * 12


# Rounding


def test_a_game_of_nobody_has_no_shares() -> None:
    assert exact([0]).split() == ()


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1), st.integers(1, 10**6))
def test_largest_remainder_sums_exactly_and_moves_nobody_by_a_unit(
    numerators: list[int], denominator: int
) -> None:
    numerators[-1] -= sum(numerators) % denominator
    parts = largest_remainder(numerators, denominator)
    assert sum(parts) * denominator == sum(numerators)
    rests = [Fraction(n, denominator) - part for n, part in zip(numerators, parts, strict=True)]
    assert all(-1 < rest < 1 for rest in rests)
    up = [(-(rest % 1), i) for i, rest in enumerate(rests) if rest < 0]
    down = [(-(rest % 1), i) for i, rest in enumerate(rests) if rest >= 0]
    assert not up or not down or max(up) < min(down)  # larger remainder, then player order


def test_equal_remainders_go_to_the_first_in_order() -> None:
    assert largest_remainder([2, 2, 2], 3) == (1, 1, 0)
    assert largest_remainder([-1, -1, -1], 3) == (0, 0, -1)
    assert largest_remainder([1, 2, 3], 3) == (0, 1, 1)


@pytest.mark.parametrize(
    ("numerators", "denominator", "reason"),
    [([1, 1], 3, "2/3 more than 0"), ([1], 0, "0 is not positive"), ([1], -1, "not positive")],
)
def test_fractions_that_make_no_integer_are_refused(
    numerators: list[int], denominator: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        largest_remainder(numerators, denominator)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "0 coalitions"),
        ([0, 1, 2], "3 coalitions"),
        ([1, 2], "worth 1, not 0"),
        ([0] * 2**13, "13 players, at most 12"),
    ],
)
def test_what_is_no_game_is_refused(values: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        exact(values)


# Sampling


def walk_in(values: Sequence[int]) -> dict[int, int]:
    return dict(enumerate(values))


@given(games(), st.binary(max_size=8), st.integers(1, 20))
def test_a_sample_sums_to_the_worth_of_all_too(
    values: list[int], seed: bytes, samples: int
) -> None:
    shares = sampled(players_of(values), walk_of(walk_in(values)), seed, samples).split()
    assert sum(shares) == values[-1]


@given(games(), st.binary(max_size=8))
def test_every_sampled_contribution_lies_in_the_stated_range(
    values: list[int], seed: bytes
) -> None:
    players = players_of(values)
    ranges = contribution_ranges(players, walk_in(values))
    one = sampled(players, walk_of(walk_in(values)), seed, 1).numerators
    exactly = fractions(exact(values))
    assert all(abs(n - e) <= r for n, e, r in zip(one, exactly, ranges, strict=True))


def test_a_coalition_that_is_not_listed_is_worth_0_in_the_ranges_too() -> None:
    assert contribution_ranges(2, {0b01: 5, 0b11: 7}) == [7 - 5, 2 - 0]
    assert contribution_ranges(3, {0b111: 7}) == [7, 7, 7]
    assert contribution_ranges(2, {}) == [0, 0]


@pytest.mark.parametrize("seed", [b"", b"a", b"2026-05-01"])
def test_a_sample_keeps_within_the_bound(seed: bytes) -> None:
    values, samples = walk_in(PAPER), 2_000
    bounds = [error_bound(r, samples) for r in contribution_ranges(3, values)]
    shares = sampled(3, walk_of(values), seed, samples).split()
    exactly = exact(PAPER).split()
    assert all(abs(s - e) <= b for s, e, b in zip(shares, exactly, bounds, strict=True))
    assert shares != exactly


def test_the_bound_is_hoeffding_s() -> None:
    assert error_bound(1_000_000, 1) == pytest.approx(1_000_000 * sqrt(3.68888 / 2), abs=2)
    assert error_bound(1_000_000, 10_000) == pytest.approx(10_000 * sqrt(3.68888 / 2), abs=2)
    assert error_bound(0, 5) == 0
    assert error_bound(1, 10**6) == 1


def test_the_orders_are_those_of_the_stated_construction() -> None:
    """Read once with nothing but hashlib; whoever changes it changes money on chain."""
    root = sha256(b"seed").digest()
    for index, order in enumerate(orders(5, b"seed", 3)):
        stream = b"".join(
            sha256(root + index.to_bytes(8, "big") + j.to_bytes(4, "big")).digest()
            for j in range(2)
        )
        expected = list(range(5))
        words = [int.from_bytes(stream[i : i + 4], "big") for i in range(0, len(stream), 4)]
        for last, word in zip((4, 3, 2, 1), words, strict=False):
            assert word < 2**32 - 2**32 % (last + 1)
            j = word % (last + 1)
            expected[last], expected[j] = expected[j], expected[last]
        assert order == expected
    assert list(orders(5, b"seed", 3)) == [[2, 4, 1, 0, 3], [0, 4, 1, 2, 3], [2, 0, 1, 3, 4]]


def test_a_word_that_would_favour_some_positions_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [2**32 - 1, 0, 1]  # 2³² − 1 is the one word too many for thirds
    digest = b"".join(word.to_bytes(4, "big") for word in words).ljust(32, b"\0")
    monkeypatch.setattr("vppd.market.shapley.sha256", lambda _: digest)
    assert next(orders(3, b"", 1)) == [2, 1, 0]


def test_every_order_is_about_equally_likely() -> None:
    seen = Counter(map(tuple, orders(3, b"fair", 6_000)))
    assert len(seen) == 6
    assert all(880 <= count <= 1_120 for count in seen.values())  # four deviations


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        sampled(2, walk_of({}), b"", 0)
