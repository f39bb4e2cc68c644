"""The integer power flow against pandapower's results, and against the branch flow equations."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.market.grid.feeders import PLENTY, grid, line, published, reference, street
from vppd.config.grid import Bus, Grid, Line, defects
from vppd.market.grid.flow import MOST_SWEEPS, Feeder, Flow, Limit, Violation

FEEDERS = reference()


def own_loads(model: Grid) -> tuple[list[int], list[int]]:
    return [bus.load_w * 1_000 for bus in model.buses], [b.load_var * 1_000 for b in model.buses]


def solved(model: Grid) -> Flow:
    flow = Feeder(model).solve(*own_loads(model))
    assert flow is not None
    return flow


@pytest.mark.parametrize("name", FEEDERS)
def test_it_agrees_with_pandapower(name: str) -> None:
    model: dict[str, Any] = FEEDERS[name]
    feeder = published(model)
    assert not list(defects(feeder))
    flow = solved(feeder)
    for v, theirs in zip(flow.v, model["vm_pu"], strict=True):
        assert abs(sqrt(v) / 1_000 / feeder.base_v - theirs) < 1e-8
    for number, (p_from, q_from, p_to, q_to) in enumerate(model["ends_w_var"]):
        ours = (flow.p[number], flow.q[number], -flow.p_end[number], -flow.q_end[number])
        # Our near end is the one by the slack bus, theirs the one the line's record names first.
        along, against = (p_from, q_from, p_to, q_to), (p_to, q_to, p_from, q_from)
        apart = [
            max(abs(mine / 1_000 - his) for mine, his in zip(ours, theirs, strict=True))
            for theirs in (along, against)
        ]
        assert min(apart) < 0.01
    assert flow.sweeps <= 10


def test_case33bw_loses_what_is_published_for_it() -> None:
    """202.68 kW and 0.9131 p.u. at bus 18 are the figures known since Baran and Wu, 1989."""
    feeder = published(FEEDERS["case33bw"])
    flow = solved(feeder)
    assert flow.loss_mw // 10_000_000 == 20
    assert round(flow.loss_mw / 1e6, 2) == 202.68
    lowest = min(range(33), key=lambda i: flow.v[i])
    assert feeder.buses[lowest].id == 17
    assert Feeder(feeder).voltage_ppm(flow.v[lowest]) == 913_090


@st.composite
def trees(draw: st.DrawFn) -> Grid:
    """A radial grid of up to 12 buses, its lines written in any direction and order."""
    count = draw(st.integers(1, 12))
    powers = st.integers(-20_000, 20_000)
    buses = [Bus(id=i, load_w=draw(powers), load_var=draw(powers)) for i in range(count)]
    impedances = st.integers(0, 100_000)
    lines = []
    for i in range(1, count):
        ends = draw(st.permutations([i, draw(st.integers(0, i - 1))]))
        lines.append(line(ends[0], ends[1], 1 + draw(impedances), draw(impedances)))
    return grid(buses, draw(st.permutations(lines)), slack=draw(st.integers(0, count - 1)))


@given(model=trees())
def test_a_flow_satisfies_the_branch_flow_equations(model: Grid) -> None:
    flow = Feeder(model).solve(*own_loads(model))
    if flow is None:
        return
    near = distances(model)
    for bus in range(len(model.buses)):
        fed_by = [n for n, entry in enumerate(model.lines) if bus == far_end(entry, near)]
        feeds = [n for n, entry in enumerate(model.lines) if bus == near_end(entry, near)]
        if bus == model.slack:
            assert not fed_by
            continue
        (number,) = fed_by
        entry = model.lines[number]
        r, x = entry.r_micro_ohm, entry.x_micro_ohm
        assert flow.p_end[number] == model.buses[bus].load_w * 1_000 + sum(flow.p[n] for n in feeds)
        assert flow.q_end[number] == model.buses[bus].load_var * 1_000 + sum(
            flow.q[n] for n in feeds
        )
        square = (flow.p_end[number] ** 2 + flow.q_end[number] ** 2) * 10**6 / flow.v[bus]
        assert flow.p[number] - flow.p_end[number] == pytest.approx(
            r * square / 1e9, rel=1e-6, abs=2
        )
        assert flow.q[number] - flow.q_end[number] == pytest.approx(
            x * square / 1e9, rel=1e-6, abs=2
        )
        fall = 2 * (r * flow.p[number] + x * flow.q[number]) / 1e3
        rise = (r * r + x * x) * square / 1e12
        v_near = flow.v[near_end(entry, near)]
        assert flow.v[bus] == pytest.approx(v_near - fall + rise, rel=1e-8)
    assert flow.loss_mw >= 0


def distances(model: Grid) -> dict[int, int]:
    far = {model.slack: 0}
    while len(far) < len(model.buses):
        for entry in model.lines:
            for one, other in ((entry.start, entry.end), (entry.end, entry.start)):
                if one in far and other not in far:
                    far[other] = far[one] + 1
    return far


def near_end(entry: Line, far: dict[int, int]) -> int:
    return entry.start if far[entry.start] < far[entry.end] else entry.end


def far_end(entry: Line, far: dict[int, int]) -> int:
    return entry.end if far[entry.start] < far[entry.end] else entry.start


def test_without_load_every_bus_stands_at_the_voltage_of_the_slack() -> None:
    flow = solved(street(1, 1, slack_ppm=1_010_000))
    assert flow.v == ((404 * 1_000) ** 2,) * 3
    assert (flow.loss_mw, flow.sweeps) == (0, 1)


def test_a_load_beyond_what_the_line_can_carry_has_no_flow() -> None:
    # 0.1 Ω at 400 V carry at most V²/4R = 400 kW.
    feeder = Feeder(street(PLENTY))
    assert feeder.solve([0, 390_000_000], [0, 0]) is not None
    assert feeder.solve([0, 401_000_000], [0, 0]) is None
    # So near to the edge that the sweeps creep: given up, not waited for.
    assert feeder.solve([0, 399_999_900], [0, 0]) is None
    assert feeder.violations(None) == [Violation(Limit.COLLAPSE, 0, 0)]


@given(p=st.integers(-(2**80), 2**80), q=st.integers(-(2**80), 2**80))
def test_no_load_however_absurd_makes_it_fail(p: int, q: int) -> None:
    feeder = Feeder(street(PLENTY, PLENTY))
    flow = feeder.solve([0, p, -p], [0, q, q])
    assert flow is None or flow.sweeps <= MOST_SWEEPS
    feeder.holds([0, p, -p], [0, q, q])
    feeder.violations(flow)


def test_each_limit_is_checked_at_its_edge() -> None:
    # A load P at the end of 0.1 Ω: v1 is the greater root of v² − (v0 − 2rP)·v + r²P² = 0.
    feeder = Feeder(street(PLENTY))
    low = feeder.solve([0, 76_000_000], [0, 0])
    assert low is not None
    assert feeder.voltage_ppm(low.v[1]) == 950_000
    assert feeder.violations(low) == []
    assert feeder.holds([0, 76_000_000], [0, 0])
    assert not feeder.holds([0, 76_000_100], [0, 0])
    below = feeder.solve([0, 76_100_000], [0, 0])
    assert feeder.violations(below) == [Violation(Limit.TOO_LOW, 1, 949_930)]

    high = feeder.solve([0, -84_000_000], [0, 0])
    assert high is not None
    assert feeder.voltage_ppm(high.v[1]) == 1_050_000
    assert feeder.holds([0, -84_000_000], [0, 0])
    assert not feeder.holds([0, -84_000_100], [0, 0])
    above = feeder.solve([0, -84_100_000], [0, 0])
    assert [v.limit for v in feeder.violations(above)] == [Limit.TOO_HIGH]


def test_a_rating_is_of_apparent_power_at_the_fuller_end() -> None:
    narrow = Feeder(street(5_000))
    flow = narrow.solve([0, 3_000_000], [0, 3_970_000])
    assert flow is not None
    assert narrow.violations(flow) == []  # 4.976 kVA at the far end, 4.985 at the near one
    assert not narrow.holds([0, 3_000_000], [0, 4_000_000])
    over = narrow.solve([0, 3_000_000], [0, 4_000_000])
    ((limit, where, value),) = narrow.violations(over)
    assert (limit, where) == (Limit.OVERLOAD, 0)
    assert 1_000_000 < value < 1_010_000
    # Fed from the far end, that end is the fuller one.
    assert not narrow.holds([0, -5_000_001], [0, 0])
    assert narrow.holds([0, -5_000_000], [0, 0])


@given(st.permutations(range(5)))
def test_the_order_of_lines_and_buses_changes_nothing(order: list[int]) -> None:
    loads = [0, 900, -700, 2_000, 400]
    lines = [line(0, 1), line(1, 2), line(1, 3), line(3, 4)]
    straight = Feeder(grid(range(5), lines))
    mixed = Feeder(grid(order, [lines[i % 4] for i in order if i < 4], slack=0))
    one = straight.solve([1_000 * loads[i] for i in range(5)], [0] * 5)
    two = mixed.solve([1_000 * loads[i] for i in order], [0] * 5)
    assert one is not None
    assert two is not None
    assert [one.v[straight.position[i]] for i in range(5)] == [
        two.v[mixed.position[i]] for i in range(5)
    ]
