"""The grid's prices: which tariff a slot falls into, and whether a set of tariffs makes a day."""

from __future__ import annotations

from collections.abc import Sequence

from vppd.config.genesis import MarketRulesSection, Tariff
from vppd.market.clock import local_minute
from vppd.types import Slot

_DAY_MINUTES = 1_440


def tariff_for(market: MarketRulesSection, slot: Slot) -> Tariff:
    """The tariff at the market time at which delivery of ``slot`` starts (P3, Table 1).

    Raises:
        ValueError: no tariff covers that minute; never after :func:`check_tariffs`.
    """
    minute = local_minute(market, slot) % _DAY_MINUTES
    for tariff in market.tariffs:
        if _covers(tariff, minute):
            return tariff
    raise ValueError(f"no tariff covers {_clock(minute)}, where slot {slot} starts")


def check_tariffs(tariffs: Sequence[Tariff]) -> None:
    """Accepts tariffs that cover each minute of the day exactly once.

    Raises:
        ValueError: a minute without or with two tariffs, a time outside the day, or a feed-in
            price above the retail price (which would pay for sending energy in a circle).
    """
    for tariff in tariffs:
        if not (0 <= tariff.start_minute < _DAY_MINUTES and 0 <= tariff.end_minute <= _DAY_MINUTES):
            raise ValueError(
                f"minutes {tariff.start_minute} to {tariff.end_minute} do not lie in a day"
            )
        if tariff.feed_in_price > tariff.retail_price:
            raise ValueError(
                f"from {_clock(tariff.start_minute)} the feed-in price {tariff.feed_in_price} "
                f"is above the retail price {tariff.retail_price}"
            )
    for minute in range(_DAY_MINUTES):
        count = sum(_covers(tariff, minute) for tariff in tariffs)
        if count != 1:
            raise ValueError(f"{count or 'no'} tariffs cover {_clock(minute)}, one must")


def _covers(tariff: Tariff, minute: int) -> bool:
    start, end = tariff.start_minute, tariff.end_minute
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
