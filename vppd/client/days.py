"""What people call a day of the market: a number, or a date where its time is the world's."""

from __future__ import annotations

from datetime import date, timedelta

from vppd.config.genesis import MarketRulesSection
from vppd.market.clock import Day

_MINUTE_MS = 60_000
_EPOCH = date(1970, 1, 1)
_MOST_DAY = (date.max - _EPOCH).days


def date_of(market: MarketRulesSection, day: Day) -> date | None:
    """The calendar's name for a day; ``None`` where market time is not the world's."""
    real = market.origin_ms == 0 and market.slot_ms == market.market_slot_minutes * _MINUTE_MS
    return _EPOCH + timedelta(days=day) if real and 0 <= day <= _MOST_DAY else None


def day_name(market: MarketRulesSection, day: Day) -> str:
    """A day as bills call it: its date where there is one, else its number."""
    date = date_of(market, day)
    return str(day) if date is None else str(date)


def day_named(market: MarketRulesSection, text: str) -> Day:
    """The day a person means by a number or, where market time is the world's, a date.

    Raises:
        ValueError: neither, or a date where days are only counted.
    """
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    try:
        day = (date.fromisoformat(text) - _EPOCH).days
    except ValueError as err:
        raise ValueError(f"{text!r} is neither a day's number nor a date") from err
    if day < 0 or date_of(market, day) is None:
        raise ValueError(f"{text!r} is a date; days of this plant have numbers, from 0")
    return day
