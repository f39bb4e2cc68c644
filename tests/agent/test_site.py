"""site.toml: read strictly, and laid into slots so that the day adds up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.agent.planning import make_plan
from vppd.agent.site import Clock, Site, Source, load_site
from vppd.assets.base import Span
from vppd.assets.flexible import FlexibleLoad
from vppd.assets.storage import Vehicle
from vppd.errors import ConfigError
from vppd.market.quotes import Prices

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
DAY = ", ".join(["100"] * 24)
CAR = """
[[asset]]
kind = "vehicle"
name = "car"
hours = "18:00-07:00"
capacity_wh = 50000
max_import_w = 10000
arrival_wh = 20000
wanted_wh = 40000
"""
WASH = """
[[asset]]
kind = "flexible"
name = "wash"
hours = "10:00-14:00"
max_w = 2000
energy_wh = 3000
interruptible = {interruptible}
"""


def site(tmp_path: Path, text: str) -> Site:
    file = tmp_path / "site.toml"
    file.write_text("schema = 1\n" + text)
    return load_site(file)


def test_the_example_of_the_page_is_a_site(tmp_path: Path) -> None:
    example = PAGE.read_text().split("```toml\n")[1].split("```")[0]
    (tmp_path / "site.toml").write_text(example)
    made = load_site(tmp_path / "site.toml")
    assert [source.name for source in made.sources] == ["home", "roof", "mast"]
    assert [source.generates for source in made.sources] == [False, True, True]
    assert (made.cost, made.utility) == (300_000, 800_000)
    placed = made.movable(Clock(0, 15), 0, 96, {})
    assert set(placed) == {"battery", "car", "washing@32"}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('[[asset]]\nkind = "load"\nname = "a"\n', "E106", "neither column nor wh"),
        ('[[asset]]\nkind = "pv"\nname = "a"\n', "E106", "neither column nor irradiance_w_m2"),
        ('[[asset]]\nkind = "load"\nname = "a"\ncolumn = "load_no"\n', "E106", "load_home1"),
        ('[[asset]]\nkind = "load"\nname = "a"\ncolumn = "pv_south1"\n', "E106", "is no load"),
        ('[[asset]]\nkind = "load"\nname = "a"\nwh = [1, 2]\n', "E103", "length"),
        ('[[asset]]\nkind = "reactor"\nname = "a"\n', "E103", "reactor"),
        ('generation_cost = "cheap"\n', "E106", "cheap"),
        (CAR + CAR, "E108", "car"),
        (CAR.replace("40000", "50001"), "E106", "50000 can"),
        (CAR.replace("10000", "1000"), "E106", "33000 can"),
        (CAR.replace("20000", "60000"), "E106", "cannot arrive"),
        (CAR.replace("18:00-07:00", "at night"), "E106", "at night"),
        (WASH.format(interruptible="true").replace("3000", "9000"), "E106", "which holds 8000"),
        (
            '[[asset]]\nkind = "battery"\nname = "a"\ncapacity_wh = 1\nmax_import_w = 1\n'
            "max_export_w = 1\nlevel_wh = 2\n",
            "E106",
            "level of 2 Wh",
        ),
        (
            f'[[asset]]\nkind = "wind"\nname = "a"\nrated_w = 1\nwind_mm_s = [{DAY}]\n'
            "cut_in_mm_s = 90000\n",
            "E106",
            "must rise",
        ),
    ],
)
def test_what_makes_no_site_is_refused(tmp_path: Path, text: str, code: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site(tmp_path, text)
    assert caught.value.code == code
    assert said in str(caught.value)


@given(
    st.lists(st.integers(0, 10**6), min_size=24, max_size=24),
    st.sampled_from([1, 5, 15, 30, 60, 90, 120]),
    st.integers(0, 1_439),
    st.integers(-50, 50),
)
def test_slots_of_a_day_add_up_to_the_day(
    hourly: list[int], minutes: int, offset: int, first: int
) -> None:
    clock = Clock(offset, minutes)
    source = Source("load", tuple(hourly), generates=False)
    day = range(first, first + 1_440 // minutes)
    wh = [source.energy(clock, slot) for slot in day]
    assert sum(wh) == sum(hourly)
    assert min(wh) >= 0


def test_an_hour_lies_where_the_clock_says() -> None:
    source = Source("load", tuple(range(0, 2_400, 100)), generates=False)
    assert [source.energy(Clock(60, 60), slot) for slot in (0, 1, 22, 23)] == [100, 200, 2_300, 0]
    assert [source.energy(Clock(0, 15), slot) for slot in (4, 5, 6, 7)] == [25, 25, 25, 25]


def test_a_vehicle_stands_at_its_hours(tmp_path: Path) -> None:
    made = site(tmp_path, CAR)
    clock = Clock(0, 60)
    placed = made.movable(clock, 12, 24, {})["car"]
    assert isinstance(placed.asset, Vehicle)
    (stay,) = placed.asset.stays
    assert (stay.arrives, stay.departs, stay.level_wh, stay.wanted_wh) == (6, 19, 20_000, 40_000)
    # At 05:00 it has stood for a night; it goes on from where it is.
    placed = made.movable(clock, 29, 24, {"car": 33_000})["car"]
    assert isinstance(placed.asset, Vehicle)
    now, evening = placed.asset.stays
    assert (now.arrives, now.departs, now.level_wh) == (0, 2, 33_000)
    assert (evening.arrives, evening.level_wh) == (13, 20_000)
    # What cannot be reached any more is not wanted: it charges all it can.
    late = made.movable(clock, 30, 1, {"car": 21_000})["car"]
    assert late.asset.span(21_000, 0) == Span(10_000, 10_000)


def test_a_flexible_load_comes_again_every_day(tmp_path: Path) -> None:
    made = site(tmp_path, WASH.format(interruptible="true"))
    clock = Clock(0, 60)
    assert set(made.movable(clock, 0, 48, {})) == {"wash@10", "wash@34"}
    assert set(made.movable(clock, 14, 20, {})) == set()
    assert set(made.movable(clock, 12, 24, {"wash@10": 0})) == {"wash@34"}
    half = made.movable(clock, 12, 4, {"wash@10": 1_000})["wash@10"]
    assert half.level_wh == 1_000
    assert isinstance(half.asset, FlexibleLoad)
    assert (half.asset.first_slot, half.asset.deadline) == (0, 2)
    # An agent that slept through most of the window does what can still be done.
    assert made.movable(clock, 13, 4, {})["wash@10"].level_wh == 2_000


def test_what_has_begun_and_must_run_through_runs_on(tmp_path: Path) -> None:
    made = site(tmp_path, WASH.format(interruptible="false"))
    clock = Clock(0, 60)
    placed = made.movable(clock, 12, 4, {"wash@10": 1_000})["wash@10"]
    plan = make_plan([placed], [Prices(900, 100), Prices(100, 100), Prices(1, 1), Prices(1, 1)])
    assert [flow.import_wh for flow in plan.flows[0]] == [1_000, 0, 0, 0]


def test_slots_longer_than_the_hours_leave_no_window(tmp_path: Path) -> None:
    made = site(tmp_path, WASH.format(interruptible="true"))
    assert made.movable(Clock(0, 480), 0, 3, {}) == {}


def test_a_column_comes_from_the_profiles_beside_the_site(tmp_path: Path) -> None:
    rows = "\n".join(f"{hour},{hour}" for hour in range(24))
    (tmp_path / "mine.csv").write_text("hour_start,load_x_wh\n" + rows + "\n")
    made = site(
        tmp_path,
        'profiles = "mine.csv"\n[[asset]]\nkind = "load"\nname = "a"\ncolumn = "load_x"\n',
    )
    assert made.sources == (Source("a", tuple(range(24)), generates=False),)
