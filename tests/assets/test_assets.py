"""Assets: within their limits, always; energy conserved to the Wh; refusals say which limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.assets.base import Asset, Flow, Refused, Span, Why, energy_wh
from vppd.assets.flexible import FlexibleLoad
from vppd.assets.sources import Generator, Household, Turbine, pv
from vppd.assets.storage import (
    Battery,
    Stay,
    Vehicle,
    drawn_wh,
    export_for,
    import_for,
    kept_wh,
)
from vppd.types import PPM

HOUR = 3_600
SHARES = st.integers(1, PPM)
POWERS = st.integers(0, 50_000)


@st.composite
def batteries(draw: st.DrawFn) -> Battery:
    capacity = draw(st.integers(0, 100_000))
    return Battery(
        capacity_wh=capacity,
        max_import_w=draw(POWERS),
        max_export_w=draw(POWERS),
        slot_s=draw(st.sampled_from([60, 900, HOUR])),
        import_efficiency=draw(SHARES),
        export_efficiency=draw(SHARES),
        first_level_wh=draw(st.integers(0, capacity)),
    )


def refused(asset: Asset, level: int, slot: int, net: int) -> Why:
    with pytest.raises(Refused) as caught:
        asset.step(level, slot, net)
    assert asset.name in str(caught.value)
    assert caught.value.why in str(caught.value)
    return caught.value.why


# ------------------------------------------------------------------ arithmetic of a store


@given(st.integers(0, 10**9), SHARES)
def test_what_is_kept_is_reached_exactly_by_the_least_import(kept: int, share: int) -> None:
    least = import_for(kept, share)
    assert kept_wh(least, share) == kept
    assert kept == 0 or kept_wh(least - 1, share) < kept


@given(st.integers(0, 10**9), SHARES)
def test_the_most_export_draws_no_more_than_there_is(drawn: int, share: int) -> None:
    most = export_for(drawn, share)
    assert drawn_wh(most, share) <= drawn < drawn_wh(most + 1, share)


@given(st.integers(0, 10**9), SHARES, SHARES)
def test_there_and_back_makes_no_energy(wh: int, into: int, out: int) -> None:
    assert export_for(kept_wh(wh, into), out) <= wh


# ------------------------------------------------------------------ battery


@given(batteries(), st.lists(st.integers(-PPM, PPM), max_size=30))
def test_a_battery_conserves_energy_and_stays_within_its_limits(
    battery: Battery, wishes: list[int]
) -> None:
    level = battery.first_level_wh
    for slot, wish in enumerate(wishes):
        step = battery.step(level, slot, battery.span(level, slot).nearest(wish))
        assert step.flow.net_wh == step.level_wh - level + step.lost_wh
        assert step.lost_wh >= 0
        assert 0 <= step.level_wh <= battery.capacity_wh
        assert step.flow.import_wh <= energy_wh(battery.max_import_w, battery.slot_s)
        assert step.flow.export_wh <= energy_wh(battery.max_export_w, battery.slot_s)
        level = step.level_wh


@given(batteries(), st.data())
def test_a_battery_refuses_one_wh_beyond_its_span(battery: Battery, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, battery.capacity_wh))
    span = battery.span(level, 0)
    for net in (span.least_wh - 1, span.most_wh + 1):
        assert refused(battery, level, 0, net) in (Why.POWER, Why.EMPTY, Why.FULL)


def test_a_battery_says_which_limit() -> None:
    battery = Battery(capacity_wh=1_000, max_import_w=4_000, max_export_w=4_000, slot_s=900)
    assert refused(battery, 300, 3, -500) is Why.EMPTY
    assert refused(battery, 800, 3, 500) is Why.FULL
    assert refused(battery, 500, 3, 1_001) is Why.POWER
    assert refused(battery, 500, 3, -1_001) is Why.POWER
    with pytest.raises(Refused, match="battery below empty: -500 Wh asked in slot 3, -300 to 700"):
        battery.step(300, 3, -500)


@given(batteries())
def test_a_battery_can_be_filled_and_emptied_to_the_last_wh(battery: Battery) -> None:
    if energy_wh(battery.max_import_w, battery.slot_s) < import_for(
        battery.capacity_wh, battery.import_efficiency
    ):
        return
    full = battery.step(0, 0, battery.span(0, 0).most_wh).level_wh
    assert full == battery.capacity_wh
    assert battery.span(full, 0).most_wh == 0
    assert battery.span(0, 0).least_wh == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_import_w": -1},
        {"max_export_w": -1},
        {"import_efficiency": 0},
        {"export_efficiency": PPM + 1},
        {"first_level_wh": 1_001},
        {"first_level_wh": -1},
        {"capacity_wh": -1},
    ],
)
def test_a_battery_with_absurd_limits_is_none(wrong: dict[str, int]) -> None:
    fields: dict[str, Any] = {"capacity_wh": 1_000, "max_import_w": 1, "max_export_w": 1, **wrong}
    with pytest.raises(ValueError, match="is "):
        Battery(**fields)


# ------------------------------------------------------------------ vehicle


@st.composite
def vehicles(draw: st.DrawFn) -> Vehicle:
    battery = draw(batteries())
    slot_kept = kept_wh(energy_wh(battery.max_import_w, battery.slot_s), battery.import_efficiency)
    stays, free = [], 0
    for _ in range(draw(st.integers(0, 3))):
        arrives = free + draw(st.integers(0, 3))
        free = departs = arrives + draw(st.integers(1, 5))
        level = draw(st.integers(0, battery.capacity_wh))
        most = min(battery.capacity_wh, level + slot_kept * (departs - arrives))
        wanted = draw(st.integers(0, most))
        stays.append(Stay(arrives=arrives, departs=departs, level_wh=level, wanted_wh=wanted))
    return Vehicle(battery=battery, stays=tuple(stays))


@given(vehicles(), st.randoms(use_true_random=False))
def test_a_vehicle_leaves_with_what_is_wanted_whatever_is_asked_within_its_span(
    vehicle: Vehicle, chance: Any
) -> None:
    level = vehicle.first_level_wh
    for slot in range(28):
        start = vehicle.level(level, slot)
        span = vehicle.span(level, slot)
        step = vehicle.step(level, slot, span.nearest(chance.randint(-PPM, PPM)))
        stay = vehicle.stay(slot)
        if stay is None:
            assert span == Span(0, 0)
            assert step == (level, Flow(0, 0), 0)
        else:
            assert step.flow.net_wh == step.level_wh - start + step.lost_wh
            assert 0 <= step.level_wh <= vehicle.battery.capacity_wh
            assert slot + 1 < stay.departs or step.level_wh >= stay.wanted_wh
        level = step.level_wh


def car(**battery: int) -> Vehicle:
    return Vehicle(
        battery=Battery(
            **{
                "name": "car",
                "capacity_wh": 40_000,
                "max_import_w": 10_000,
                "max_export_w": 10_000,
                "slot_s": HOUR,
                **battery,
            }  # type: ignore[arg-type]  # a name among numbers
        ),
        stays=(Stay(arrives=2, departs=6, level_wh=15_000, wanted_wh=40_000),),
    )


def test_a_vehicle_says_which_limit() -> None:
    vehicle = car()
    assert refused(vehicle, 0, 1, 5_000) is Why.AWAY
    assert refused(vehicle, 0, 6, 5_000) is Why.AWAY
    assert refused(vehicle, 0, 2, 10_001) is Why.POWER
    assert refused(vehicle, 39_000, 5, 1_001) is Why.FULL
    # 25 kWh in four hours at 10 kW: 5 kWh may be given away before, once, and not 6.
    assert vehicle.step(0, 2, -5_000).level_wh == 10_000
    assert refused(vehicle, 0, 2, -5_001) is Why.LATE
    assert refused(vehicle, 30_000, 5, 9_999) is Why.LATE
    assert refused(vehicle, 0, 2, -10_001) is Why.POWER
    assert vehicle.name == "car"


def test_a_vehicle_arrives_with_what_the_road_left() -> None:
    assert car().level(99, 2) == 15_000
    assert car().level(99, 3) == 99


@pytest.mark.parametrize(
    ("stays", "why"),
    [
        ([(3, 3, 0, 0)], "is none"),
        ([(0, 4, 0, 0), (3, 5, 0, 0)], "is none"),
        ([(0, 1, 0, 40_001)], "not within 0 to 40000"),
        ([(0, 1, -1, 0)], "not within 0 to 40000"),
        ([(0, 2, 0, 20_001)], "20000 Wh can"),
    ],
)
def test_a_stay_that_cannot_be_is_refused(stays: list[tuple[int, ...]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Vehicle(
            battery=car().battery,
            stays=tuple(
                Stay(arrives=a, departs=d, level_wh=level, wanted_wh=wanted)
                for a, d, level, wanted in stays
            ),
        )


def test_a_vehicle_that_never_comes_is_never_there() -> None:
    vehicle = Vehicle(battery=car().battery, stays=())
    assert vehicle.first_level_wh == 0
    assert vehicle.span(0, 0) == Span(0, 0)


# ------------------------------------------------------------------ flexible load


@st.composite
def flexible(draw: st.DrawFn) -> FlexibleLoad:
    first = draw(st.integers(0, 4))
    deadline = first + draw(st.integers(1, 6))
    power = draw(POWERS)
    room = energy_wh(power, 900) * (deadline - first)
    return FlexibleLoad(
        max_w=power,
        slot_s=900,
        energy_wh=draw(st.integers(0, room)),
        first_slot=first,
        deadline=deadline,
        interruptible=draw(st.booleans()),
    )


@given(flexible(), st.randoms(use_true_random=False))
def test_a_flexible_load_is_done_by_its_deadline(load: FlexibleLoad, chance: Any) -> None:
    level, taken = load.first_level_wh, []
    for slot in range(12):
        span = load.span(level, slot)
        wish = span.nearest(chance.randint(0, 2 * load.slot_most_wh + 1))
        if not load.interruptible and wish not in (0, span.most_wh):
            assert refused(load, level, slot, wish) is Why.FIXED
            wish = span.most_wh
        step = load.step(level, slot, wish)
        assert step.flow.export_wh == step.lost_wh == 0
        assert 0 <= step.flow.import_wh <= load.slot_most_wh
        assert step.level_wh == level - step.flow.import_wh
        level = step.level_wh
        taken.append(step.flow.import_wh)
    assert level == 0
    assert sum(taken) == load.energy_wh
    assert not any(taken[: load.first_slot])
    assert not any(taken[load.deadline :])
    if not load.interruptible:
        run = [wh for wh in taken if wh]
        begin = next((slot for slot, wh in enumerate(taken) if wh), 0)
        assert taken[begin : begin + len(run)] == run
        assert all(wh == load.slot_most_wh for wh in run[:-1])


def test_a_flexible_load_says_which_limit() -> None:
    load = FlexibleLoad(max_w=2_000, slot_s=HOUR, energy_wh=5_000, first_slot=1, deadline=4)
    assert refused(load, 5_000, 0, 1) is Why.AWAY
    assert refused(load, 5_000, 4, 1) is Why.AWAY
    assert refused(load, 5_000, 1, 2_001) is Why.POWER
    assert refused(load, 5_000, 1, 999) is Why.LATE
    assert refused(load, 5_000, 1, -1) is Why.EMPTY
    assert refused(load, 1_500, 2, 1_501) is Why.FULL


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"max_w": -1}, "below zero"),
        ({"energy_wh": -1}, "below zero"),
        ({"first_slot": 4}, "there is no slot"),
        ({"energy_wh": 6_001}, "which holds 6000"),
    ],
)
def test_a_flexible_load_that_cannot_be_done_is_none(wrong: dict[str, int], why: str) -> None:
    fields: dict[str, Any] = {
        "max_w": 2_000,
        "slot_s": HOUR,
        "energy_wh": 5_000,
        "first_slot": 1,
        "deadline": 4,
        **wrong,
    }
    with pytest.raises(ValueError, match=why):
        FlexibleLoad(**fields)


# ------------------------------------------------------------------ sources and loads


def test_a_generator_gives_what_there_is_or_less() -> None:
    plant = Generator(wh=(0, 700))
    assert plant.span(0, 1) == Span(-700, 0)
    assert plant.step(0, 1, -700).flow == Flow(0, 700)
    assert plant.step(0, 1, -10) == (0, Flow(0, 10), 0)
    assert refused(plant, 0, 1, -701) is Why.SUPPLY
    assert refused(plant, 0, 1, 1) is Why.FIXED
    assert plant.first_level_wh == 0


def test_a_household_takes_what_it_takes() -> None:
    home = Household(wh=(300, 0))
    assert home.step(0, 0, 300).flow == Flow(300, 0)
    assert refused(home, 0, 0, 299) is Why.FIXED
    assert home.first_level_wh == 0


@pytest.mark.parametrize("asset", [Household(wh=(1,)), Generator(wh=(1,))])
@pytest.mark.parametrize("slot", [-1, 1])
def test_a_series_that_has_ended_says_so(asset: Asset, slot: int) -> None:
    with pytest.raises(IndexError, match=f"no slot {slot} in a series of 1"):
        asset.span(0, slot)


@pytest.mark.parametrize("kind", [Household, Generator])
def test_energy_below_zero_is_no_series(kind: Any) -> None:
    with pytest.raises(ValueError, match="-1 Wh, below zero"):
        kind(wh=(3, -1))


def test_a_pv_plant_follows_the_sun_up_to_its_peak() -> None:
    plant = pv(5_000, (0, 500, 1_000, 1_300), HOUR, efficiency=900_000)
    assert plant.wh == (0, 2_250, 4_500, 4_500)
    assert pv(5_000, (1_000,), 900).wh == (1_250,)


@pytest.mark.parametrize(("peak", "sun", "share"), [(-1, (0,), PPM), (1, (-1,), PPM), (1, (0,), 0)])
def test_an_absurd_pv_plant_is_none(peak: int, sun: tuple[int, ...], share: int) -> None:
    with pytest.raises(ValueError, match="is "):
        pv(peak, sun, HOUR, efficiency=share)


def test_a_turbine_has_its_curve() -> None:
    turbine = Turbine(rated_w=500_000)
    assert [turbine.power_w(v) for v in (0, 2_999, 3_000, 12_000, 24_999, 25_000)] == [
        0,
        0,
        0,
        500_000,
        500_000,
        0,
    ]
    # (8³ − 3³)/(12³ − 3³) of 500 kW
    assert turbine.power_w(8_000) == 500_000 * (512 - 27) // (1_728 - 27)
    assert turbine.under((12_000, 0), 900).wh == (125_000, 0)


@given(st.integers(0, 30_000))
def test_more_wind_never_gives_less_below_cut_out(speed: int) -> None:
    turbine = Turbine(rated_w=10**7)
    power = turbine.power_w(speed)
    assert 0 <= power <= turbine.rated_w
    assert speed + 1 >= turbine.cut_out_mm_s or turbine.power_w(speed + 1) >= power


def test_an_absurd_turbine_is_none() -> None:
    with pytest.raises(ValueError, match="must rise"):
        Turbine(rated_w=1, cut_in_mm_s=12_000)
    with pytest.raises(ValueError, match="below zero"):
        Turbine(rated_w=-1)
    with pytest.raises(ValueError, match="below zero"):
        Turbine(rated_w=1).power_w(-1)


def test_a_span_gives_the_nearest_it_can() -> None:
    assert [Span(-3, 5).nearest(wh) for wh in (-9, -3, 0, 5, 9)] == [-3, -3, 0, 5, 5]
    assert Flow.of(-4) == (0, 4)
    assert Flow.of(4).net_wh == 4
