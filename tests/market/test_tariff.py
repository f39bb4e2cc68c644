"""Which tariff a slot falls into; P3's Table 1 with its wrap around midnight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.config.genesis import MarketRulesSection, Tariff
from vppd.market.tariff import check_tariffs, tariff_for

DAY = 1_440


def tariff(start: int, end: int, retail: int = 570_000, feed_in: int = 380_000) -> Tariff:
    return Tariff(start_minute=start, end_minute=end, retail_price=retail, feed_in_price=feed_in)


TABLE_1 = (
    tariff(23 * 60, 7 * 60, 380_000, 240_000),
    tariff(7 * 60, 11 * 60, 570_000, 380_000),
    tariff(11 * 60, 14 * 60, 860_000, 650_000),
    tariff(14 * 60, 18 * 60, 570_000, 380_000),
    tariff(18 * 60, 23 * 60, 800_000, 650_000),
)
RETAIL_BY_HOUR = [
    *[380_000] * 7, *[570_000] * 4, *[860_000] * 3, *[570_000] * 4, *[800_000] * 5, 380_000,
]  # fmt: skip


def market(slot_minutes: int = 60, offset: int = 0) -> MarketRulesSection:
    return MarketRulesSection(
        tariffs=TABLE_1, market_slot_minutes=slot_minutes, market_offset_minutes=offset
    )


def test_table_1_hour_by_hour() -> None:
    assert [tariff_for(market(), slot).retail_price for slot in range(24)] == RETAIL_BY_HOUR


@pytest.mark.parametrize(
    ("minute", "retail"),
    [
        (22 * 60 + 59, 800_000),
        (23 * 60, 380_000),
        (DAY - 1, 380_000),
        (0, 380_000),
        (7 * 60 - 1, 380_000),
        (7 * 60, 570_000),
    ],
)
def test_an_interval_wraps_midnight_and_holds_its_start_but_not_its_end(
    minute: int, retail: int
) -> None:
    assert tariff_for(market(slot_minutes=1), minute).retail_price == retail


@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(0, DAY))
def test_the_slot_index_drives_market_time(slot: int, slot_minutes: int, offset: int) -> None:
    minute = (offset + slot * slot_minutes) % DAY
    found = tariff_for(market(slot_minutes, offset), slot)
    assert found.retail_price == RETAIL_BY_HOUR[minute // 60]


def test_the_day_repeats() -> None:
    assert tariff_for(market(), 24 * 365 + 13) is tariff_for(market(), 13)


def test_a_minute_without_a_tariff_is_an_error() -> None:
    gap = MarketRulesSection(tariffs=(tariff(0, 60),), market_slot_minutes=60)
    with pytest.raises(ValueError, match="no tariff covers 01:00, where slot 1 starts"):
        tariff_for(gap, 1)


@pytest.mark.parametrize(
    "tariffs", [TABLE_1, (tariff(0, DAY),), (tariff(0, 0),), (tariff(600, 600),), TABLE_1[::-1]]
)
def test_a_day_covered_once_is_accepted(tariffs: tuple[Tariff, ...]) -> None:
    check_tariffs(tariffs)


@pytest.mark.parametrize(
    ("tariffs", "because"),
    [
        ((), "no tariffs cover 00:00"),
        (TABLE_1[:-1], "no tariffs cover 18:00"),
        ((*TABLE_1, tariff(1_439, 1)), "2 tariffs cover 00:00"),
        ((tariff(0, 720), tariff(719, DAY)), "2 tariffs cover 11:59"),
        ((tariff(0, 720), tariff(721, DAY)), "no tariffs cover 12:00"),
        ((tariff(-1, DAY),), "do not lie in a day"),
        ((tariff(DAY, DAY),), "do not lie in a day"),
        ((tariff(0, DAY + 1),), "do not lie in a day"),
        ((tariff(0, DAY, retail=1, feed_in=2),), "feed-in price 2 is above the retail price 1"),
    ],
)
def test_any_other_set_is_refused(tariffs: tuple[Tariff, ...], because: str) -> None:
    with pytest.raises(ValueError, match=because):
        check_tariffs(tariffs)


def test_equal_prices_are_allowed() -> None:
    check_tariffs((tariff(0, DAY, retail=5, feed_in=5),))
