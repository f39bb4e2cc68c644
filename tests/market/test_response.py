"""Baseline, effect and its worth: integers, bounds, and what the words say."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.market.response import Signal, baseline_wh, effect, energy_wh, most_payment

WH = st.integers(-(10**9), 10**9)
AMOUNT = st.integers(0, 10**9)


def test_a_baseline_is_the_mean_of_earlier_days_half_to_even() -> None:
    assert baseline_wh([]) is None
    assert baseline_wh([7]) == 7, "one day: persistence"
    assert baseline_wh([1, 2]) == 2
    assert baseline_wh([2, 3]) == 2
    assert baseline_wh([-1, -2]) == -2


@given(st.lists(WH, min_size=1, max_size=10))
def test_a_baseline_lies_between_the_days_it_is_made_of(nets: list[int]) -> None:
    found = baseline_wh(nets)
    assert found is not None
    assert min(nets) <= found <= max(nets)
    assert abs(found - Fraction(sum(nets), len(nets))) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("power", "minutes", "energy"), [(1_000, 15, 250), (1_000, 360, 6_000), (1, 30, 0), (3, 30, 2)]
)
def test_power_over_a_slot_is_energy(power: int, minutes: int, energy: int) -> None:
    assert energy_wh(power, minutes) == energy


@pytest.mark.parametrize(
    ("signal", "baseline", "net", "found"),
    [
        (Signal.REDUCE, 100, 60, (40, 0)),
        (Signal.REDUCE, 100, 20, (50, 0)),
        (Signal.REDUCE, 100, 120, (0, 0)),
        (Signal.REDUCE, 10, -30, (40, 0)),
        (Signal.INCREASE, 100, 130, (30, 0)),
        (Signal.INCREASE, 100, 190, (50, 0)),
        (Signal.INCREASE, 100, 90, (0, 0)),
        (Signal.LIMIT, 100, 40, (50, 0)),
        (Signal.LIMIT, 100, 70, (30, 20)),
        (Signal.LIMIT, 30, 20, (0, 0)),
        (Signal.LIMIT, 300, 20, (70, 0)),
    ],
)
def test_an_effect_counts_within_what_was_asked(
    signal: Signal, baseline: int, net: int, found: tuple[int, int]
) -> None:
    """A target of 50 Wh, of a limit the setpoint; at most 70 Wh count."""
    assert effect(signal, baseline, net, 50, 70) == found


@given(st.sampled_from(Signal), WH, WH, AMOUNT, AMOUNT)
def test_no_effect_is_negative_or_above_what_counts(
    signal: Signal, baseline: int, net: int, target: int, most: int
) -> None:
    done, over = effect(signal, baseline, net, target, most)
    assert 0 <= done <= most
    assert over == (max(0, net - target) if signal is Signal.LIMIT else 0)
    if signal is not Signal.LIMIT:
        assert done <= target


@given(st.lists(AMOUNT, max_size=9), st.lists(st.integers(0, 100), max_size=9), AMOUNT)
def test_what_is_set_aside_covers_every_effect_up_to_it(
    most: list[int], shares: list[int], price: int
) -> None:
    done = [wh * share // 100 for wh, share in zip(most, shares, strict=False)]
    assert most_payment(done, price) <= most_payment(most, price)
