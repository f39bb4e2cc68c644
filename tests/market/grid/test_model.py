"""A contradictory grid model is refused with the name of what is wrong."""

from __future__ import annotations

import pytest

from tests.market.grid.feeders import grid, line, street
from vppd.config.grid import MOST_BUSES, Grid, defects


def kinds(model: Grid, *members: tuple[str, int]) -> list[tuple[str, str]]:
    return [(defect.kind, defect.where) for defect in defects(model, members)]


def test_a_sound_grid_has_no_defect() -> None:
    loop_left_open = grid([5, 6, 7], [line(5, 6), line(7, 6), line(5, 7, is_open=True)])
    assert kinds(loop_left_open, ("der-1", 7), ("der-2", 5)) == []
    assert kinds(grid([0], [])) == []


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (grid([0, 1, 1], [line(0, 1)]), ("doubled bus", "grid.bus[2]")),
        (grid([0, 1], [line(0, 1)], slack=2), ("unknown slack bus", "grid.slack")),
        (grid([0, 1], [line(0, 1), line(1, 9)]), ("unknown bus", "grid.line[1].to")),
        (grid([0, 1], [line(0, 1), line(9, 1)]), ("unknown bus", "grid.line[1].from")),
        (
            grid([0, 1], [line(0, 1), line(1, 0, is_open=True)]),
            ("doubled line", "grid.line[1]"),
        ),
        (grid([0, 1], [line(0, 1, 0, 0)]), ("zero impedance", "grid.line[0]")),
        (grid([0, 1, 2], [line(0, 1)]), ("island", "grid.bus[2]")),
        (grid([0, 1], [line(0, 1, is_open=True)]), ("island", "grid.bus[1]")),
        (
            grid([0, 1, 2], [line(0, 1), line(1, 2), line(2, 0)]),
            ("loop", "grid.line[2]"),
        ),
        (
            grid([0, 1], [line(0, 1)], min_ppm=1_050_000, max_ppm=1_050_000),
            ("limits crossed", "grid.min_ppm"),
        ),
        (
            grid([0, 1], [line(0, 1)], slack_ppm=940_000),
            ("slack outside its limits", "grid.slack_ppm"),
        ),
        (street(*[1] * MOST_BUSES), ("too many buses", "grid.bus")),
    ],
)
def test_each_contradiction_has_a_name(model: Grid, found: tuple[str, str]) -> None:
    assert kinds(model) == [found]


def test_a_line_to_itself_is_no_loop_but_a_defect_of_its_own() -> None:
    assert kinds(grid([0, 1], [line(0, 1), line(1, 1)])) == [("line to itself", "grid.line[1]")]


def test_a_member_sits_on_a_bus_of_the_grid() -> None:
    found = list(defects(street(1), [("der-1", 1), ("der-2", 2)]))
    assert [(one.kind, one.why) for one in found] == [
        ("member on unknown bus", "der-2 sits on bus 2, which is none")
    ]


def test_all_defects_are_found_at_once() -> None:
    model = grid([0, 1, 2, 3], [line(0, 1), line(2, 3)], min_ppm=1_100_000)
    assert [kind for kind, _ in kinds(model)] == ["limits crossed", "island", "island"]


def test_a_grid_knows_its_buses() -> None:
    assert street(1).has_bus(1)
    assert not street(1).has_bus(2)
