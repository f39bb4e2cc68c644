"""Local days: 23 and 25 hours where clocks change, and tariffs that follow local time."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.client.days import date_of, day_named
from vppd.config.clock import (
    ClockChange,
    check_order,
    format_moment,
    parse_moment,
    years_of,
    zone_changes,
)
from vppd.config.genesis import MarketRulesSection, Tariff
from vppd.market.clock import check_clock, day_of, day_slots, local_minute
from vppd.market.tariff import tariff_for

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
CLOCK = zone_changes(BERLIN, 0, parse_moment("2030-01-01T00:00Z"))
NIGHT = Tariff(start_minute=0, end_minute=180, retail_price=380_000, feed_in_price=240_000)
DAY = Tariff(start_minute=180, end_minute=1_440, retail_price=860_000, feed_in_price=650_000)


def market(**changes: Any) -> MarketRulesSection:
    """Real time in Berlin's zone, slots of a quarter of an hour."""
    fields: dict[str, Any] = {
        "clock": CLOCK,
        "tariffs": (NIGHT, DAY),
    }
    return MarketRulesSection(**(fields | changes))


def day(text: str, rules: MarketRulesSection | None = None) -> int:
    return day_named(rules or market(), text)


def hours_at_night(rules: MarketRulesSection, name: str) -> int:
    """Of the local day, how many hours have the night's tariff."""
    slots = day_slots(rules, day(name, rules))
    return sum(tariff_for(rules, slot) is NIGHT for slot in slots) // 4


@pytest.mark.parametrize(
    ("name", "hours", "night"),
    [("2027-03-27", 24, 3), ("2027-03-28", 23, 2), ("2027-10-31", 25, 4), ("2027-11-01", 24, 3)],
)
def test_a_day_has_as_many_hours_as_its_clock_shows(name: str, hours: int, night: int) -> None:
    rules = market()
    assert len(day_slots(rules, day(name))) == 4 * hours
    assert hours_at_night(rules, name) == night


def test_local_midnight_begins_the_day() -> None:
    rules = market()
    first = day_slots(rules, day("2027-07-01")).start
    assert rules.slot_start(first) == parse_moment("2027-06-30T22:00Z")
    assert local_minute(rules, first) % 1_440 == 0
    winter = day_slots(rules, day("2027-12-01")).start
    assert rules.slot_start(winter) == parse_moment("2027-11-30T23:00Z")


def test_days_follow_each_other_without_gap() -> None:
    rules = market()
    first = day("2027-01-01")
    for number in range(first, first + 366):
        slots, following = day_slots(rules, number), day_slots(rules, number + 1)
        assert slots.stop == following.start
        assert {day_of(rules, slot) for slot in (slots[0], slots[-1])} == {number}


@given(st.integers(0, 2**40))
def test_a_slot_lies_in_its_day(slot: int) -> None:
    rules = market()
    assert slot in day_slots(rules, day_of(rules, slot))


@given(st.integers(0, 10**6), st.sampled_from([1, 15, 30, 60]), st.integers(0, 1_439))
def test_without_changes_of_the_clock_everything_is_as_before(
    slot: int, minutes: int, offset: int
) -> None:
    rules = MarketRulesSection(market_slot_minutes=minutes, market_offset_minutes=offset)
    assert local_minute(rules, slot) == offset + slot * minutes
    assert slot in day_slots(rules, day_of(rules, slot))


def test_the_days_before_slot_0_have_no_slots() -> None:
    assert len(day_slots(MarketRulesSection(market_offset_minutes=720), 0)) == 48
    assert len(day_slots(MarketRulesSection(), -3)) == 0
    west = market(clock=(ClockChange(from_ms=0, offset_minutes=-300),))
    assert day_of(west, 0) == -1
    assert len(day_slots(west, -1)) == 20


# ------------------------------------------------------------ zones


def test_a_zones_changes_are_found_to_the_minute() -> None:
    changes = zone_changes(BERLIN, parse_moment("2027-01-01T00:00Z"), 1_830_297_600_000)
    assert [(format_moment(c.from_ms), c.offset_minutes) for c in changes] == [
        ("2027-01-01T00:00Z", 60),
        ("2027-03-28T01:00Z", 120),
        ("2027-10-31T01:00Z", 60),
    ]


def test_a_zone_without_summer_has_one_entry() -> None:
    assert len(years_of(ZoneInfo("Asia/Shanghai"), parse_moment("2027-01-01T00:00Z"))) == 1
    assert len(years_of(BERLIN, parse_moment("2027-01-01T00:00Z"))) == 41


def test_changes_of_half_an_hour_are_found_too() -> None:
    changes = zone_changes(
        ZoneInfo("Australia/Lord_Howe"),
        parse_moment("2027-01-01T00:00Z"),
        parse_moment("2028-01-01T00:00Z"),
    )
    assert [c.offset_minutes for c in changes] == [660, 630, 660]


def test_an_offset_of_seconds_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole minutes"):
        zone_changes(ZoneInfo("Africa/Monrovia"), 0, HOUR_MS)


@pytest.mark.parametrize("text", ["2027-03-28", "2027-03-28T01:00", "2027-13-28T01:00Z", "", "x"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|month"):
        parse_moment(text)


def test_moments_before_1970_are_refused() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        parse_moment("1969-12-31T23:59Z")


@given(st.integers(0, 4 * 10**9))
def test_moments_are_read_as_they_are_written(seconds: int) -> None:
    assert parse_moment(format_moment(seconds * 1_000)) == seconds * 1_000


# ------------------------------------------------------------ what genesis may say


def test_the_zones_of_the_world_make_clocks() -> None:
    for name in ("Europe/Berlin", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Asia/Kolkata"):
        since = parse_moment("2020-01-01T00:00Z")
        changes = years_of(ZoneInfo(name), since)
        check_clock(market(clock=(ClockChange(from_ms=0, offset_minutes=0), *changes)[1:]))


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ([(5, 60), (5, 120)], "does not follow"),
        ([(5, 60), (4, 120)], "does not follow"),
        ([(0, 841)], "so far from UTC"),
        ([(0, -841)], "so far from UTC"),
        ([(0, 60), (47 * HOUR_MS // 2, 0)], "into the day before"),
    ],
)
def test_what_makes_no_clock_is_refused(clock: list[tuple[int, int]], words: str) -> None:
    changes = tuple(ClockChange(from_ms=at, offset_minutes=to) for at, to in clock)
    with pytest.raises(ValueError, match=words):
        check_clock(market(clock=changes))


def test_an_order_is_checked_without_a_market_too() -> None:
    check_order(())


# ------------------------------------------------------------ what people call a day


def test_a_day_has_a_date_where_market_time_is_the_worlds() -> None:
    rules = market()
    assert str(date_of(rules, day("2027-03-28"))) == "2027-03-28"
    assert day("20905") == 20_905
    assert date_of(market(origin_ms=5), 3) is None
    assert date_of(market(slot_ms=2_000), 3) is None
    assert date_of(rules, -1) is None


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "2027-13-01", "1e3", "1969-12-31"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|numbers"):
        day(text)


def test_a_date_is_refused_where_days_are_only_counted() -> None:
    with pytest.raises(ValueError, match="have numbers"):
        day_named(market(slot_ms=2_000), "2027-03-28")
