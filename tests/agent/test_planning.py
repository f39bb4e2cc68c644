"""Plans: as cheap as trying everything, and followed to the Wh by the models."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vppd.agent.planning import Placed, Plan, make_plan
from vppd.assets.base import Flow, Refused
from vppd.assets.flexible import FlexibleLoad
from vppd.assets.sources import Generator, Household
from vppd.assets.storage import Battery, Stay, Vehicle
from vppd.errors import UserError
from vppd.market.quotes import Prices

HOUR = 3_600
SLOTS = 4
PRICES = st.tuples(st.integers(0, 900), st.integers(0, 900)).map(
    lambda pair: Prices(1_000 * max(pair), 1_000 * min(pair))
)


def cheapest(placed: list[Placed], prices: list[Prices]) -> int:
    """By trying every whole number of Wh."""

    def walks(place: Placed) -> list[tuple[Flow, ...]]:
        asset, level = place
        found = [((), level)]
        for slot in range(len(prices)):
            longer: list[Any] = []
            for flows, level in found:
                span = asset.span(level, slot)
                for net in range(span.least_wh, span.most_wh + 1):
                    try:
                        step = asset.step(level, slot, net)
                    except Refused:
                        continue
                    longer.append(((*flows, step.flow), step.level_wh))
            found = longer
        return [flows for flows, _ in found]

    def cost(flows: tuple[tuple[Flow, ...], ...]) -> int:
        return Plan(flows, ()).cost(prices)

    return min(cost(flows) for flows in product(*map(walks, placed)))


def followed(placed: list[Placed], plan: Plan) -> None:
    """The models can do it, and end where the plan says."""
    for place, flows, levels in zip(placed, plan.flows, plan.levels, strict=True):
        level = place.level_wh
        for slot, (flow, after) in enumerate(zip(flows, levels, strict=True)):
            step = place.asset.step(level, slot, flow.net_wh)
            assert step.flow == flow
            level = step.level_wh
            assert level == after


@st.composite
def stores(draw: st.DrawFn) -> Placed:
    capacity = draw(st.integers(0, 4))
    level = draw(st.integers(0, capacity))
    battery = Battery(
        capacity_wh=capacity,
        max_import_w=draw(st.integers(0, 3)),
        max_export_w=draw(st.integers(0, 3)),
        slot_s=HOUR,
    )
    return Placed(battery, level)


@st.composite
def vehicles(draw: st.DrawFn) -> Placed:
    place = draw(stores())
    assert isinstance(place.asset, Battery)
    arrives = draw(st.integers(0, SLOTS - 1))
    departs = draw(st.integers(arrives + 1, SLOTS))
    most = place.level_wh + place.asset.max_import_w * (departs - arrives)
    stay = Stay(
        arrives=arrives,
        departs=departs,
        level_wh=place.level_wh,
        wanted_wh=draw(st.integers(0, min(most, place.asset.capacity_wh))),
    )
    return Placed(Vehicle(battery=place.asset, stays=(stay,)), place.level_wh)


@st.composite
def loads(draw: st.DrawFn) -> Placed:
    first = draw(st.integers(0, SLOTS - 1))
    deadline = draw(st.integers(first + 1, SLOTS))
    power = draw(st.integers(1, 3))
    energy = draw(st.integers(0, power * (deadline - first)))
    load = FlexibleLoad(
        max_w=power,
        slot_s=HOUR,
        energy_wh=energy,
        first_slot=first,
        deadline=deadline,
        interruptible=draw(st.booleans()),
    )
    return Placed(load, energy)


FIXED = st.tuples(
    st.lists(st.integers(0, 3), min_size=SLOTS, max_size=SLOTS),
    st.lists(st.integers(0, 3), min_size=SLOTS, max_size=SLOTS),
).map(
    lambda pair: [
        Placed(Household(wh=tuple(pair[0])), 0),
        Placed(Household(name="other", wh=tuple(pair[1])), 0),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PRICES, min_size=SLOTS, max_size=SLOTS),
    FIXED,
    stores() | vehicles() | loads(),
)
def test_a_plan_costs_what_the_best_of_all_plans_costs(
    prices: list[Prices], fixed: list[Placed], movable: Placed
) -> None:
    placed = [*fixed, movable]
    plan = make_plan(placed, prices)
    followed(placed, plan)
    # Wear is one micro per kWh: of these few Wh it never makes a whole micro of difference.
    assert plan.cost(prices) == cheapest(placed, prices)


@settings(max_examples=15, deadline=None)
@given(st.lists(PRICES, min_size=3, max_size=3), stores(), loads())
def test_two_movable_assets_are_planned_together(
    prices: list[Prices], store: Placed, load: Placed
) -> None:
    assume(isinstance(load.asset, FlexibleLoad) and load.asset.deadline <= 3)
    placed = [store, load, Placed(Household(wh=(2, 0, 1)), 0)]
    plan = make_plan(placed, prices)
    followed(placed, plan)
    assert plan.cost(prices) == cheapest(placed, prices)


def test_a_generator_is_not_curtailed() -> None:
    placed = [
        Placed(Battery(capacity_wh=9, max_import_w=2, max_export_w=2, slot_s=HOUR), 0),
        Placed(Generator(wh=(2, 5)), 0),
    ]
    plan = make_plan(placed, [Prices(2_000, 1_000)] * 2)
    assert plan.flows[1] == (Flow(0, 2), Flow(0, 5))


def test_a_battery_buys_at_night_and_sells_at_noon() -> None:
    battery = Battery(
        capacity_wh=10_000,
        max_import_w=5_000,
        max_export_w=5_000,
        slot_s=HOUR,
        import_efficiency=900_000,
        export_efficiency=900_000,
    )
    prices = [Prices(380_000, 240_000)] * 3 + [Prices(860_000, 650_000)] * 2
    plan = make_plan([Placed(battery, 0)], prices)
    followed([Placed(battery, 0)], plan)
    assert not any(flow.export_wh for flow in plan.flows[0][:3])
    assert not any(flow.import_wh for flow in plan.flows[0][3:])
    # 9 kWh of the 10 in the store come out, but for a Wh of rounding in each slot.
    assert 0 <= plan.cost(prices) - (11_111 * 380 - 9_000 * 650) <= 2 * 650
    assert sum(flow.export_wh for flow in plan.flows[0]) in (8_998, 8_999, 9_000)


def test_a_battery_does_not_move_for_nothing() -> None:
    battery = Battery(capacity_wh=9_000, max_import_w=5_000, max_export_w=5_000, slot_s=HOUR)
    plan = make_plan([Placed(battery, 0)], [Prices(500_000, 500_000)] * 6)
    assert plan.flows == ((Flow(0, 0),) * 6,)


def test_a_day_of_quarter_hours_is_planned() -> None:
    car = Vehicle(
        battery=Battery(name="car", capacity_wh=50_000, max_import_w=11_000, max_export_w=0),
        stays=(Stay(arrives=72, departs=124, level_wh=12_000, wanted_wh=45_000),),
    )
    wash = FlexibleLoad(
        max_w=2_000,
        slot_s=900,
        energy_wh=1_300,
        first_slot=30,
        deadline=80,
        interruptible=False,
    )
    placed = [
        Placed(Household(wh=(250,) * 96), 0),
        Placed(Battery(capacity_wh=8_000, max_import_w=3_000, max_export_w=3_000), 4_000),
        Placed(car, 0),
        Placed(wash, 1_300),
    ]
    prices = [Prices(380_000 + 5_000 * (t % 24), 240_000) for t in range(96)]
    plan = make_plan(placed, prices)
    followed(placed, plan)
    # 28 slots of the stay lie beyond the horizon; they can take all of it.
    assert plan.levels[2][95] <= 50_000
    run = [flow.import_wh for flow in plan.flows[3] if flow.import_wh]
    assert run == [500, 500, 300]


def test_without_anything_to_decide_no_solver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    placed = [Placed(Household(wh=(5, 6)), 0), Placed(Generator(wh=(0, 9)), 0)]
    plan = make_plan(placed, [Prices(2, 1)] * 2)
    assert [plan.net_wh(slot) for slot in (0, 1)] == [5, -3]
    assert make_plan([], []) == Plan((), ())


def test_a_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    battery = Battery(capacity_wh=1, max_import_w=1, max_export_w=1)
    with pytest.raises(UserError, match="E554") as caught:
        make_plan([Placed(battery, 0)], [Prices(2, 1)])
    assert "vppd[agent]" in str(caught.value)


def test_a_series_that_ends_too_soon_says_so() -> None:
    with pytest.raises(IndexError):
        make_plan([Placed(Household(wh=(1,)), 0)], [Prices(2, 1)] * 2)
