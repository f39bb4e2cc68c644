"""Market time: which local minute and day a slot starts in, also where clocks are changed.

A slot belongs to the local day it starts in. Where the clock goes forward a day has 23 hours of
slots, where it goes back 25; tariffs follow local time, so an hour of them is left out or comes
twice (market.md, §4).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TypeAlias

from vppd.config.clock import ClockChange, check_order
from vppd.config.genesis import MarketRulesSection
from vppd.types import Slot, TimeMs

DAY_MINUTES = 1_440
Day: TypeAlias = int
"""Local days, counted from the one slot 0 starts in where slots count from an origin of their own,
else from 1 January 1970."""


def local_minute(market: MarketRulesSection, slot: Slot) -> int:
    """Minutes of local time since day 0 began, at the start of ``slot``; may be below zero."""
    return offset_minutes(market, slot) + slot * market.market_slot_minutes


def offset_minutes(market: MarketRulesSection, slot: Slot) -> int:
    """What local time is ahead of market time as ``slot`` starts."""
    offset = market.market_offset_minutes
    if market.clock:
        known = bisect_right(market.clock, market.slot_start(slot), key=_from_ms)
        offset += market.clock[known - 1].offset_minutes if known else 0
    return offset


def day_of(market: MarketRulesSection, slot: Slot) -> Day:
    """The local day in which ``slot`` starts."""
    return local_minute(market, slot) // DAY_MINUTES


def day_slots(market: MarketRulesSection, day: Day) -> range:
    """The slots that start in a local day; empty before slot 0."""
    return range(_first_slot(market, day), _first_slot(market, day + 1))


def check_clock(market: MarketRulesSection) -> None:
    """Accept changes of the clock after which no day comes back.

    Raises:
        ValueError: they do not follow each other, or a change would end in the day before.
    """
    check_order(market.clock)
    for change in market.clock:
        slot = max(0, -(-(change.from_ms - market.origin_ms) // market.slot_ms))
        if slot > 0 and day_of(market, slot) < day_of(market, slot - 1):
            raise ValueError(
                f"{change.offset_minutes} minutes from {change.from_ms} ms on turn the clock back "
                "into the day before"
            )


def _first_slot(market: MarketRulesSection, day: Day) -> Slot:
    """The first slot of ``day`` or a later one; days never come back (:func:`check_clock`)."""
    about = day * DAY_MINUTES // market.market_slot_minutes
    slack = 2 * DAY_MINUTES // market.market_slot_minutes + 2
    around = range(max(0, about - slack), max(0, about + slack))
    return around.start + bisect_left(around, day, key=lambda slot: day_of(market, slot))


def _from_ms(change: ClockChange) -> TimeMs:
    return change.from_ms
