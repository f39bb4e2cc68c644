"""Forecasts, quotes, deliveries and meters of one DER."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.day.profiles import Column, Kind, load_profiles
from vppd.day.strategy import (
    DELIVERY_ERROR_PPM,
    FORECAST_ERROR_PPM,
    DerPlan,
    Quote,
    Registers,
    chance,
    deliver,
    forecast,
    quote,
)
from vppd.market.auction import Side
from vppd.types import PPM

RETAIL, FEED_IN = 860_000, 650_000

seeds = st.integers(0, 2**64)
energies = st.integers(0, 10**9)
kinds = st.sampled_from(list(Kind))
profiles = st.lists(energies, min_size=1, max_size=30).map(tuple)


def home(*wh: int) -> Column:
    return Column("load_home", Kind.LOAD, wh)


def roof(*wh: int) -> Column:
    return Column("pv_roof", Kind.PV, wh)


# Quotes


@given(seeds, st.integers(-(10**9), 10**9), st.integers(2, 10**9))
def test_quotes_lie_strictly_between_the_grids_prices(seed: int, feed_in: int, gap: int) -> None:
    retail = feed_in + gap
    price, reserve = quote(Side.OFFER, retail, feed_in, chance(seed))
    assert feed_in < reserve <= price < retail
    price, reserve = quote(Side.BID, retail, feed_in, chance(seed))
    assert feed_in < price <= reserve < retail


@given(seeds, st.sampled_from(list(Side)), st.integers(0, 10**9), st.integers(0, 1))
def test_without_room_quotes_are_one_of_the_grids_prices(
    seed: int, side: Side, feed_in: int, gap: int
) -> None:
    assert quote(side, feed_in + gap, feed_in, chance(seed)) == Quote(feed_in + gap, feed_in + gap)


@given(seeds, seeds, st.integers(0, 10**9), st.integers(0, 10**9))
def test_every_offers_reserve_meets_every_bids(one: int, two: int, feed_in: int, gap: int) -> None:
    offer = quote(Side.OFFER, feed_in + gap, feed_in, chance(one))
    bid = quote(Side.BID, feed_in + gap, feed_in, chance(two))
    assert offer.reserve_price <= bid.reserve_price


@given(seeds, seeds)
def test_one_conceding_side_is_enough(one: int, two: int) -> None:
    offer = quote(Side.OFFER, RETAIL, FEED_IN, chance(one))
    bid = quote(Side.BID, RETAIL, FEED_IN, chance(two))
    assert offer.price <= bid.reserve_price
    assert offer.reserve_price <= bid.price


def test_some_quotes_cross_at_once_and_some_do_not() -> None:
    crossing = [
        quote(Side.OFFER, RETAIL, FEED_IN, chance(seed, "offer")).price
        <= quote(Side.BID, RETAIL, FEED_IN, chance(seed, "bid")).price
        for seed in range(200)
    ]
    assert 20 < sum(crossing) < 180


def test_feed_in_above_retail_is_refused() -> None:
    with pytest.raises(ValueError, match="feed-in price 7 is above the retail price 6"):
        quote(Side.BID, 6, 7, chance(1))


# Forecast and delivery


@given(seeds, profiles)
def test_forecast_is_near_the_day_before(seed: int, profile: tuple[int, ...]) -> None:
    for slot, wh in enumerate(profile):
        error = abs(forecast(profile, slot, chance(seed, slot)) - wh)
        assert error <= wh * FORECAST_ERROR_PPM / PPM + 0.5


@given(seeds, energies)
def test_delivery_strays_a_few_percent(seed: int, wh: int) -> None:
    assert abs(deliver(wh, chance(seed)) - wh) <= wh * DELIVERY_ERROR_PPM / PPM + 0.5


def test_nothing_stays_nothing() -> None:
    assert deliver(0, chance(1)) == forecast([0], 0, chance(1)) == 0


def test_errors_go_both_ways_and_cancel() -> None:
    forecasts = [forecast([1_000_000], 0, chance(seed)) for seed in range(1_000)]
    deliveries = [deliver(1_000_000, chance(seed)) for seed in range(1_000)]
    for values in (forecasts, deliveries):
        assert min(values) < 1_000_000 < max(values)
        assert abs(sum(values) - 1_000 * 1_000_000) < 1_000 * 5_000


def test_three_errors_in_four_are_within_half_of_the_largest() -> None:
    within = [
        abs(forecast([PPM], 0, chance(seed)) - PPM) <= FORECAST_ERROR_PPM // 2
        for seed in range(1_000)
    ]
    assert 700 < sum(within) < 800


def test_forecast_and_delivery_err_independently() -> None:
    plan = DerPlan(home(*[PPM] * 400), seed=1)
    same_way = [(plan.forecast(slot) > PPM) == (plan.delivered(slot) > PPM) for slot in range(400)]
    assert 150 < sum(same_way) < 250


@pytest.mark.parametrize("slot", [-1, 2])
def test_slots_outside_the_profile_are_refused(slot: int) -> None:
    plan = DerPlan(home(5, 6), seed=1)
    with pytest.raises(IndexError, match=f"no slot {slot} in a profile of 2"):
        plan.order(slot, RETAIL, FEED_IN)
    with pytest.raises(IndexError, match="no slot"):
        plan.delivered(slot)
    with pytest.raises(IndexError, match="no slot"):
        plan.registers(slot)


# Orders


def test_loads_bid_and_plants_offer_their_whole_forecast() -> None:
    for column, side in ((home(500, 700), Side.BID), (roof(500, 700), Side.OFFER)):
        plan = DerPlan(column, seed=3)
        for slot in range(2):
            order = plan.order(slot, RETAIL, FEED_IN)
            assert order is not None
            assert (order.side, order.quantity_wh) == (side, plan.forecast(slot))


@given(seeds, kinds, energies, st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_order_asks_for_something_or_there_is_none(
    seed: int, kind: Kind, wh: int, feed_in: int, gap: int
) -> None:
    order = DerPlan(Column("x", kind, (wh,)), seed).order(0, feed_in + gap, feed_in)
    if order is None:
        assert wh == 0
    else:
        assert order.quantity_wh > 0
        assert feed_in <= min(order.price, order.reserve_price)
        assert max(order.price, order.reserve_price) <= feed_in + gap


def test_no_sun_no_order() -> None:
    assert DerPlan(roof(0, 9), seed=1).order(0, RETAIL, FEED_IN) is None


# Registers


@given(seeds, kinds, profiles, energies, energies)
def test_registers_only_grow_and_add_up(
    seed: int, kind: Kind, profile: tuple[int, ...], imported: int, exported: int
) -> None:
    opening = Registers(imported, exported)
    plan = DerPlan(Column("x", kind, profile), seed, opening)
    readings = [opening, *(plan.registers(slot) for slot in range(len(profile)))]
    for slot, (before, after) in enumerate(pairwise(readings)):
        taken, given_away = after.import_wh - before.import_wh, after.export_wh - before.export_wh
        flow, other = (taken, given_away) if kind is Kind.LOAD else (given_away, taken)
        assert (flow, other) == (plan.delivered(slot), 0)


# The same everywhere


def whole_day(seed: int) -> list[object]:
    plans = [DerPlan(column, seed) for column in load_profiles().columns]
    return [
        (plan.order(slot, RETAIL, FEED_IN), plan.registers(slot))
        for plan in plans
        for slot in range(24)
    ]


def test_a_seed_is_a_day() -> None:
    assert whole_day(7) == whole_day(7)
    assert whole_day(7) != whole_day(8)


def test_an_agent_that_restarts_goes_on_alike() -> None:
    asked_all = DerPlan(home(*[900] * 24), seed=5)
    for slot in range(24):
        asked_all.order(slot, RETAIL, FEED_IN)
    restarted = DerPlan(home(*[900] * 24), seed=5)
    assert restarted.order(17, RETAIL, FEED_IN) == asked_all.order(17, RETAIL, FEED_IN)
    assert restarted.registers(17) == asked_all.registers(17)


def test_ders_of_one_seed_have_luck_of_their_own() -> None:
    one, two = (DerPlan(Column(name, Kind.LOAD, (10**6,) * 24), seed=5) for name in "ab")
    assert all(one.delivered(slot) != two.delivered(slot) for slot in range(24))


def test_seeds_and_labels_are_told_apart() -> None:
    labels: list[tuple[str | int, ...]] = [(), ("1",), ("a",), ("a", 1), ("a", 11), ("a", 1, 1)]
    drawn = {chance(seed, *label).getrandbits(64) for seed in (1, 11) for label in labels}
    assert len(drawn) == 2 * len(labels)


def test_the_process_wide_generator_is_left_alone() -> None:
    before = random.getstate()
    whole_day(7)
    assert random.getstate() == before


def test_the_day_does_not_depend_on_hash_seeds() -> None:
    script = """
from vppd.day.profiles import load_profiles
from vppd.day.strategy import DerPlan

for column in load_profiles().columns:
    plan = DerPlan(column, 7)
    for slot in range(24):
        print(plan.order(slot, 860_000, 650_000), plan.registers(slot))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(printed) == 1
    assert printed != {b""}
