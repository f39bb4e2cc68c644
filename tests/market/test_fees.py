"""Fees: on the net energy of a slot, rounded once each; the reward never exceeds the fund."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from vppd.market.fees import Fees, block_reward, slot_fees

energy = st.integers(0, 2**50)
price = st.integers(0, 10**9)


def test_who_takes_pays_the_grid_fee_and_the_levy() -> None:
    assert slot_fees(1_500, 0, 80_000, 10_000) == Fees(1_500, 120_000, 15_000)


def test_energy_bought_and_sold_again_in_a_slot_is_charged_once() -> None:
    assert slot_fees(1_500, 1_000, 80_000, 10_000) == slot_fees(500, 0, 80_000, 10_000)


def test_who_gives_more_than_it_takes_pays_nothing() -> None:
    assert slot_fees(1_000, 1_500, 80_000, 10_000) == Fees(0, 0, 0)


@given(energy, energy, price, price)
def test_each_fee_is_rounded_once(taken: int, given_wh: int, grid_fee: int, levy: int) -> None:
    fees = slot_fees(taken, given_wh, grid_fee, levy)
    net = max(0, taken - given_wh)
    assert fees == (net, round(Fraction(net * grid_fee, 1000)), round(Fraction(net * levy, 1000)))


def test_a_reward_is_what_the_fund_can_pay() -> None:
    assert block_reward(500, 10_000) == 500
    assert block_reward(500, 499) == 499
    assert block_reward(500, 0) == 0
    assert block_reward(500, -3) == 0
