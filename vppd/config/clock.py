"""``[[market.clock]]``: when a plant's local time changes, written into genesis once and for all.

The ledger never asks a time zone database: two nodes could hold different ones. Who founds a plant
reads the zone's changes from theirs and writes them down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from vppd.types import TimeMs

MOST_OFFSET_MINUTES = 14 * 60
"""No zone on Earth is further from UTC."""
YEARS = 20
"""So far ahead a zone's changes are written."""
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z", re.ASCII)


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """From a moment on local time is so far from UTC."""

    from_ms: TimeMs
    """Block time; slots that start then or later go by it."""
    offset_minutes: int
    """Local time less UTC; east of Greenwich above zero."""


def zone_changes(zone: ZoneInfo, first_ms: TimeMs, last_ms: TimeMs) -> tuple[ClockChange, ...]:
    """The offset at ``first_ms`` and every change up to ``last_ms``, to the minute.

    Raises:
        ValueError: an offset that is not whole minutes, or beyond :data:`MOST_OFFSET_MINUTES`.
    """
    at, last = _moment(first_ms), _moment(last_ms)
    offset = _offset(zone, at)
    found = [ClockChange(from_ms=first_ms, offset_minutes=offset)]
    while at < last:
        ahead = min(at + _DAY, last)
        if (new := _offset(zone, ahead)) != offset:
            before, after = at, ahead
            while after - before > _MINUTE:
                middle = before + (after - before) // _MINUTE // 2 * _MINUTE
                if _offset(zone, middle) == offset:
                    before = middle
                else:
                    after = middle
            offset = new
            found.append(ClockChange(from_ms=_millis(after), offset_minutes=offset))
        at = ahead
    return tuple(found)


def years_of(zone: ZoneInfo, first_ms: TimeMs) -> tuple[ClockChange, ...]:
    """A zone's changes for :data:`YEARS` from a moment on; from before it the offset then."""
    return zone_changes(zone, first_ms, first_ms + YEARS * 366 * 86_400_000)


def parse_moment(text: str) -> TimeMs:
    """Unix milliseconds of ``"2027-03-28T01:00Z"``.

    Raises:
        ValueError: not that form, no such moment, or before 1970.
    """
    if _FORM.fullmatch(text) is None:
        raise ValueError(f'{text!r} is not a moment such as "2027-03-28T01:00Z"')
    moment = _millis(datetime.fromisoformat(text))
    if moment < 0:
        raise ValueError(f"{text!r} lies before 1970")
    return moment


def format_moment(ms: TimeMs) -> str:
    """Inverse of :func:`parse_moment`."""
    return _moment(ms).strftime("%Y-%m-%dT%H:%M:%SZ").replace(":00Z", "Z")


def check_order(changes: Sequence[ClockChange]) -> None:
    """Accept changes that follow each other.

    Raises:
        ValueError: says which does not, or lies beyond :data:`MOST_OFFSET_MINUTES`.
    """
    for change in changes:
        if abs(change.offset_minutes) > MOST_OFFSET_MINUTES:
            raise ValueError(f"{change.offset_minutes} minutes: no clock is so far from UTC")
    for one, other in zip(changes, changes[1:], strict=False):  # noqa: RUF007 - said with its pair
        if other.from_ms <= one.from_ms:
            raise ValueError(f"{format_moment(other.from_ms)} does not follow the one before it")


def _offset(zone: ZoneInfo, at: datetime) -> int:
    delta = at.astimezone(zone).utcoffset()
    if delta is None or delta % _MINUTE:
        raise ValueError(f"{zone.key} is {delta} from UTC at {at:%Y-%m-%d}, no whole minutes")
    return delta // _MINUTE


def _moment(ms: TimeMs) -> datetime:
    return datetime.fromtimestamp(ms // 1_000, UTC)


def _millis(moment: datetime) -> TimeMs:
    return int(moment.timestamp()) * 1_000
