"""Rounding, amounts, decimals (market.md, rule 3 and §4)."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.market.money import amount_micro, div_half_even, format_micro, parse_decimal_micro

INTEGERS = st.integers(-(10**30), 10**30)


@given(INTEGERS, st.integers(1, 10**12))
def test_division_rounds_as_exact_fractions_do(a: int, b: int) -> None:
    assert div_half_even(a, b) == round(Fraction(a, b))


@pytest.mark.parametrize(
    ("a", "b", "quotient"),
    [(1, 2, 0), (3, 2, 2), (5, 2, 2), (-1, 2, 0), (-3, 2, -2), (-5, 2, -2), (7, 3, 2), (8, 3, 3)],
)
def test_of_two_equally_near_integers_the_even_one(a: int, b: int, quotient: int) -> None:
    assert div_half_even(a, b) == quotient


def test_division_gives_an_int_and_not_a_bool() -> None:
    assert type(div_half_even(2, 3)) is int


@pytest.mark.parametrize("b", [0, -1])
def test_a_denominator_is_positive(b: int) -> None:
    with pytest.raises(ValueError, match=f"denominator {b}"):
        div_half_even(1, b)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_an_amount_is_energy_times_price_rounded_once(wh: int, price: int) -> None:
    assert amount_micro(wh, price) == round(Fraction(wh * price, 1_000))


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_paying_and_being_paid_are_the_same_integer(wh: int, price: int) -> None:
    assert amount_micro(-wh, price) == -amount_micro(wh, price)


@given(st.integers(0, 10**17))
def test_six_decimals_read_back_exactly(micro: int) -> None:
    assert parse_decimal_micro(format_micro(micro, 6)) == micro


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0.72", 720_000), ("1", 1_000_000), ("0.000001", 1), ("0", 0), ("200.00", 200_000_000)],
)
def test_decimals_are_read_exactly(text: str, micro: int) -> None:
    assert parse_decimal_micro(text) == micro


@pytest.mark.parametrize(
    "text", ["", "abc", "1e3", "0,72", "0.1234567", "-0.5", "+1", ".5", "1.", " 1", "1\n", "٣"]
)
def test_anything_but_a_plain_decimal_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_decimal_micro(text)


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_display_rounds_halves_away_from_zero(micro: int, decimals: int) -> None:
    exact = Decimal(micro).scaleb(-6)
    shown = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    expected = f"{abs(shown)}" if shown == 0 else f"{shown}"
    assert format_micro(micro, decimals) == expected


@pytest.mark.parametrize(
    ("micro", "decimals", "text"),
    [
        (757_330, 3, "0.757"),
        (318_500, 3, "0.319"),
        (1_999_500, 3, "2.000"),
        (-499, 3, "0.000"),
        (-500, 3, "-0.001"),
        (1_500_000, 0, "2"),
    ],
)
def test_display(micro: int, decimals: int, text: str) -> None:
    assert format_micro(micro, decimals) == text


@pytest.mark.parametrize("decimals", [-1, 7])
def test_micro_has_six_decimals(decimals: int) -> None:
    with pytest.raises(ValueError, match=f"{decimals} decimals"):
        format_micro(1, decimals)
