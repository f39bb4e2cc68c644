"""Rules of the market by slot: every slot has one set, and time has no gap between two of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.chain import market
from vppd.config.genesis import Tariff
from vppd.market.calendar import (
    MarketCalendar,
    Settings,
    format_tariffs,
    parse_tariffs,
    section_of,
    settings_view,
)

FOUNDING = market()
LENGTHS = st.integers(1, 10**7)


def test_without_updates_genesis_rules_everywhere() -> None:
    calendar = MarketCalendar(FOUNDING)
    assert calendar.at(0) is calendar.at(10**9) is FOUNDING
    assert calendar.changes == ((0, FOUNDING),)


def test_a_slot_has_the_latest_rules_that_begin_at_or_before_it() -> None:
    calendar = MarketCalendar(
        FOUNDING, [(5, (("max_orders", 7),)), (9, (("max_orders", 9), ("gate_lead_ms", 1)))]
    )
    assert [calendar.at(s).max_orders for s in (0, 4, 5, 8, 9, 99)] == [64, 64, 7, 7, 9, 9]
    assert calendar.at(8).gate_lead_ms == FOUNDING.gate_lead_ms
    assert calendar.last_start == 9
    assert [first for first, _ in calendar.changes] == [0, 5, 9]


def test_two_updates_of_one_slot_are_one() -> None:
    twice = MarketCalendar(FOUNDING, [(5, (("slot_ms", 7),)), (5, (("max_orders", 3),))])
    once = MarketCalendar(FOUNDING, [(5, (("slot_ms", 7), ("max_orders", 3)))])
    assert twice.changes == once.changes


@given(st.lists(st.tuples(st.integers(1, 50), LENGTHS), max_size=4), st.integers(0, 300))
def test_slots_follow_each_other_without_gap(steps: list[tuple[int, int]], slot: int) -> None:
    first, updates = 0, []
    for distance, length in steps:
        first += distance
        updates.append((first, (("slot_ms", length),)))
    calendar = MarketCalendar(FOUNDING, updates)
    rules = calendar.at(slot)
    start, end = rules.slot_start(slot), rules.slot_start(slot) + rules.slot_ms
    assert calendar.at(slot + 1).slot_start(slot + 1) == end
    assert calendar.slot_at(start) == calendar.slot_at(end - 1) == slot
    assert calendar.slot_at(end) == slot + 1


@given(st.integers(1, 100), st.integers(1, 1_440))
def test_market_time_goes_on_where_its_pace_changes(first: int, minutes: int) -> None:
    after = MarketCalendar(FOUNDING, [(first, (("market_slot_minutes", minutes),))]).at(first)
    before = FOUNDING.market_offset_minutes + first * FOUNDING.market_slot_minutes
    assert after.market_offset_minutes + first * after.market_slot_minutes == before


def test_time_before_slot_0_is_a_slot_below_0() -> None:
    assert MarketCalendar(FOUNDING).slot_at(FOUNDING.origin_ms - 1) == -1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ((("nothing", 1),), "no setting"),
        ((("max_orders.deep", 1),), "no setting"),
        ((("origin_ms", 1),), "no setting"),
        ((("currency", "EUR"),), "no setting"),
        ((("max_orders", 0),), "max_orders"),
        ((("max_orders", "many"),), "max_orders"),
        ((("rules", "best"),), "rules"),
        ((("gate_lead_ms", 30_000),), "gate_lead_ms 30000 is not below"),
        ((("max_price", 1),), "above max_price"),
        ((("max_price", 2**52),), "max_quantity_wh at max_price"),
        ((("tariffs", "00:00-12:00=5/3"),), "no tariffs cover 12:00"),
        ((("tariffs", "00:00-24:00=3/5"),), "above the retail price"),
        ((("tariffs", "nonsense"),), "'nonsense' is not"),
        ((("tariffs", "00:00-24:00=5/x"),), "is not HH:MM"),
        ((("tariffs", 7),), "is not HH:MM"),
    ],
)
def test_what_makes_no_market_is_refused(settings: Settings, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MarketCalendar(FOUNDING).updated(3, settings)


def test_rules_do_not_begin_before_others_that_are_scheduled() -> None:
    with pytest.raises(ValueError, match="begin in slot 5 already"):
        MarketCalendar(FOUNDING, [(5, (("max_orders", 7),))]).updated(4, (("max_orders", 8),))


def test_tariffs_are_set_as_text_and_read_back() -> None:
    text = "23:00-07:00=380000/240000, 07:00-23:00=570000/380000"
    tariffs = parse_tariffs(text)
    assert tariffs[0] == Tariff(
        start_minute=1_380, end_minute=420, retail_price=380_000, feed_in_price=240_000
    )
    assert format_tariffs(tariffs) == text
    set_so = MarketCalendar(FOUNDING).updated(3, (("tariffs", text),))
    assert set_so == replace(FOUNDING, tariffs=tariffs)


@given(st.integers(1, 1_024), st.integers(1, 29_999), LENGTHS)
def test_what_is_shown_can_be_set(orders: int, lead: int, slot_ms: int) -> None:
    wanted = replace(FOUNDING, max_orders=orders, gate_lead_ms=lead, slot_ms=slot_ms)
    view: dict[str, Any] = settings_view(wanted)
    names = ("max_orders", "gate_lead_ms", "slot_ms", "rules", "tariffs")
    made = MarketCalendar(FOUNDING).updated(0, tuple((n, view[n]) for n in names))
    assert made == wanted


def test_consent_changes_from_a_slot_on_and_needs_time_to_be_given() -> None:
    calendar = MarketCalendar(FOUNDING, [(5, (("consent", "explicit"),))])
    assert [calendar.at(slot).consent for slot in (4, 5)] == ["signature", "explicit"]
    with pytest.raises(ValueError, match="gate_lead_ms above 0"):
        calendar.updated(6, (("gate_lead_ms", 0),))
    with pytest.raises(ValueError, match="Invalid enum value"):
        calendar.updated(6, (("consent", "perhaps"),))


def test_what_is_shown_is_what_is_in_force() -> None:
    assert section_of(settings_view(FOUNDING)) == FOUNDING
    with pytest.raises(ValueError, match="max_orders"):
        section_of(settings_view(FOUNDING) | {"max_orders": "many"})


def test_what_is_on_or_off_is_set_as_1_or_0() -> None:
    calendar = MarketCalendar(FOUNDING)
    assert calendar.updated(3, (("review.daily", 1),)).review.daily is True
    assert calendar.updated(3, (("review.daily", 0),)).review.daily is False
    with pytest.raises(ValueError, match="daily"):
        calendar.updated(3, (("review.daily", 2),))
