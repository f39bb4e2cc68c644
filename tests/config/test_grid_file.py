"""``[grid]`` in genesis.toml: what it says, what is refused, and that it is written as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.plant import GENESIS
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.config.grid import Bus, Grid, Line
from vppd.config.grid_file import load_grid
from vppd.errors import ConfigError

ROOT = Path(__file__).parents[2]
GRID = """
[grid]
slack = 0
base_v = 400
[[grid.bus]]
id = 0
[[grid.bus]]
id = 3
name = "north 3"
load_w = -500
[[grid.line]]
from = 3
to = 0
r_micro_ohm = 20600
rating_va = 90000
"""
PATH = Path("genesis.toml")


def read(text: str) -> Genesis:
    return parse_genesis(text.encode(), PATH)


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value


def test_the_section_may_be_left_out() -> None:
    assert read(GENESIS).grid is None


def test_it_says_what_stands_there_and_the_defaults_of_p3() -> None:
    line = Line(start=3, end=0, r_micro_ohm=20_600, x_micro_ohm=0, rating_va=90_000)
    assert read(GENESIS + GRID).grid == Grid(
        slack=0,
        base_v=400,
        min_ppm=950_000,
        max_ppm=1_050_000,
        buses=(Bus(id=0), Bus(id=3, name="north 3", load_w=-500)),
        lines=(line,),
    )


def test_what_is_written_reads_as_the_same() -> None:
    text = GENESIS + GRID.replace("base_v = 400", "base_v = 400\nreactive_ppm = 330000")
    more = "[[grid.bus]]\nid = 9\nload_var = 7\n[[grid.line]]\nfrom = 0\nto = 9\n"
    more += "r_micro_ohm = 1\nx_micro_ohm = 2\nrating_va = 3\n"
    more += "[[grid.line]]\nfrom = 3\nto = 9\nr_micro_ohm = 1\nrating_va = 3\nopen = true\n"
    genesis = read(text + more)
    again = read(
        render_genesis(
            name=genesis.name,
            consensus=genesis.consensus,
            market=genesis.market,
            validators=genesis.validators,
            accounts=genesis.accounts,
            grid=genesis.grid,
        )
    )
    assert again.grid == genesis.grid


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("from = 3", "from = 4", "E540", "unknown bus at grid.line[0].from: no [[grid.bus]] has"),
        ("slack = 0", "slack = 1", "E540", "unknown slack bus at grid.slack"),
        ("id = 3", "id = 0", "E540", "doubled bus at grid.bus[1]"),
        ("r_micro_ohm = 20600", "r_micro_ohm = 0", "E540", "zero impedance at grid.line[0]"),
        ("rating_va = 90000", "rating_va = 90000\nopen = true", "E540", "island at grid.bus[1]"),
        ("base_v = 400", "base_v = 400\nmin_ppm = 1200000", "E540", "limits crossed"),
        ("base_v = 400", "base_v = 0", "E103", "grid.base_v"),
        ("base_v = 400", "base_v = 400\nmin_ppm = 500000", "E103", "grid.min_ppm"),
        ("rating_va = 90000", "rating_va = 0", "E103", "grid.line[0].rating_va"),
        ("r_micro_ohm = 20600", "r_micro_ohm = -1", "E103", "grid.line[0].r_micro_ohm"),
        ('name = "north 3"', 'name = "no\\"rth"', "E103", "grid.bus[1].name"),
        ("r_micro_ohm = 20600", "r_microohm = 20600", "E102", "did you mean 'r_micro_ohm'?"),
        ("slack = 0", "slak = 0", "E102", "did you mean 'slack'?"),
        ("base_v = 400\n", "", "E103", "base_v"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_place(old: str, new: str, code: str, said: str) -> None:
    error = refusal(GENESIS + GRID.replace(old, new, 1))
    assert error.code == code
    assert said in str(error)


def test_a_member_on_no_bus_of_the_grid_is_refused() -> None:
    text = GENESIS.replace('name = "der-1"\nbalance', 'name = "der-1"\nbus = 7\nbalance')
    read(text)
    error = refusal(text + GRID)
    assert error.code == "E540"
    assert "member on unknown bus at account.bus: der-1 sits on bus 7, which is none" in str(error)


def test_a_grid_alone_is_read_without_the_rest_of_a_genesis() -> None:
    grid, found = load_grid((ROOT / "config" / "grid.toml").read_bytes(), PATH)
    assert (len(grid.buses), len(grid.lines), found) == (7, 7, [])
    members = b'[[account]]\nname = "a"\nbus = 3\n[[account]]\nname = "b"\nbus = 5\n'
    assert [defect.why for defect in load_grid(GRID.encode() + members, PATH)[1]] == [
        "b sits on bus 5, which is none"
    ]
    odd = b"[[account]]\nname = 5\n"
    assert load_grid(GRID.encode() + odd, PATH)[1] == []


def test_a_file_without_a_grid_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_grid(b"schema = 1\n", PATH)
    assert caught.value.code == "E541"
