"""Least-loss paths against every simple path there is, and the hash of the path queue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from tests.market.grid.feeders import grid, line, street
from vppd.config.grid import Grid
from vppd.market.grid.routing import (
    MOST_LOSS_MWH,
    PathQueue,
    Paths,
    Route,
    loss_mwh,
    path_hash,
    queue_of,
)


@st.composite
def meshes(draw: st.DrawFn) -> Grid:
    """Up to 6 buses and any lines; few resistances, so that ties abound; loops and islands too."""
    count = draw(st.integers(1, 6))
    pairs = [(i, j) for i in range(count) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    lines = [
        line(a, b, draw(st.integers(1, 3)), is_open=draw(st.booleans()))
        for a, b in (draw(st.permutations(pair)) for pair in chosen)
    ]
    return grid(range(count), lines)


def simple_paths(
    model: Grid, bus: int, goal: int, been: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """Every path of closed lines that meets no bus twice."""
    if bus == goal:
        yield ()
        return
    for number, entry in enumerate(model.lines):
        for one, other in ((entry.start, entry.end), (entry.end, entry.start)):
            if not entry.open and one == bus and other not in been:
                for rest in simple_paths(model, other, goal, (*been, other)):
                    yield (number, *rest)


@given(model=meshes(), data=st.data())
def test_it_is_the_best_of_all_simple_paths(model: Grid, data: st.DataObject) -> None:
    ends = st.integers(0, len(model.buses) - 1)
    start, goal = data.draw(ends), data.draw(ends)
    ranked = sorted(
        (sum(model.lines[n].r_micro_ohm for n in path), len(path), path)
        for path in simple_paths(model, start, goal, (start,))
    )
    found = Paths(model).between(start, goal)
    assert found == ((ranked[0][2], ranked[0][0]) if ranked else None)


def test_of_two_alike_the_shorter_then_the_lower_numbers_win() -> None:
    diamond = grid(range(4), [line(0, 2, 5), line(0, 1, 5), line(1, 3, 5), line(2, 3, 5)])
    assert Paths(diamond).between(0, 3) == ((0, 3), 10)
    assert Paths(diamond).between(3, 0) == ((2, 1), 10)
    direct = grid(range(3), [line(0, 1, 5), line(1, 2, 5), line(0, 2, 10)])
    assert Paths(direct).between(0, 2) == ((2,), 10)


def test_an_open_line_carries_nothing() -> None:
    model = grid(range(3), [line(0, 1, 100), line(1, 2, 100), line(0, 2, 1, is_open=True)])
    assert Paths(model).between(0, 2) == ((0, 1), 200)


def test_to_a_bus_that_is_none_there_is_no_way() -> None:
    paths = Paths(street(1))
    assert paths.between(0, 7) is None
    assert paths.between(7, 0) is None
    assert paths.route(0, 0, 7, 1, 60) is None


def test_the_loss_is_that_of_the_power_at_nominal_voltage() -> None:
    # 4 kWh in half an hour are 8 kW; at 400 V through 0.2 Ω: 8000²·0.2/400² = 80 W, so 40 Wh.
    assert Paths(street(1, 1)).route(3, 0, 2, 4_000, 30) == Route(3, 4_000, (0, 1), 40_000)
    assert Paths(street(1, 1)).route(3, 2, 2, 4_000, 30) == Route(3, 4_000, (), 0)
    assert loss_mwh(4_000, 200_000, 400, 60) == 20_000


def test_a_loss_is_rounded_half_to_even_and_bounded() -> None:
    # quantity²·60·R/(minutes·V²·1000), here quantity²/2: 1/2, 9/2, 25/2
    assert [loss_mwh(q, 500_000, 1_000, 60_000 // 1_000) for q in (1_000, 3_000)] == [500, 4_500]
    assert [loss_mwh(q, 1_000, 1, 120) for q in (1, 3, 5)] == [0, 4, 12]
    assert loss_mwh(2**50, 2**40, 1, 1) == MOST_LOSS_MWH


@given(quantity=st.integers(1, 10**9), minutes=st.sampled_from([1, 15, 60]))
def test_more_energy_never_loses_less(quantity: int, minutes: int) -> None:
    assert loss_mwh(quantity, 70, 400, minutes) <= loss_mwh(quantity + 1, 70, 400, minutes)


def test_the_hash_covers_slot_order_quantity_and_path() -> None:
    one, two = Route(0, 10, (1,), 5), Route(1, 20, (1, 2), 9)
    queue = queue_of(7, [two, one])
    assert queue == PathQueue(7, (one, two))
    # MessagePack: [7, [[0, 10, [1], 5], [1, 20, [1, 2], 9]]]
    spelt = bytes.fromhex("9207929400 0a9101059401149201 0209".replace(" ", ""))
    assert path_hash(queue) == hashlib.sha256(spelt).digest()
    others = [
        queue_of(8, [one, two]),
        queue_of(7, [one]),
        queue_of(7, [one, Route(1, 21, (1, 2), 9)]),
        queue_of(7, [one, Route(1, 20, (2, 1), 9)]),
    ]
    assert len({path_hash(other) for other in [queue, *others]}) == 5
