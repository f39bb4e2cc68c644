"""Which rules of the market are in force in which slot.

Genesis says the first; a governed update adds others, each from a slot on that has not opened yet
(market.md, §0). A slot lives its whole life under one set of rules, and time has no gap: where the
length of slots changes, the first slot under the new length begins as the last of the old one ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from vppd.config.genesis import MarketRulesSection, Tariff
from vppd.config.values import format_hours, parse_hours
from vppd.market.auction import RULES
from vppd.market.clock import check_clock
from vppd.market.credit import check_credit
from vppd.market.money import amount_micro
from vppd.market.tariff import check_tariffs
from vppd.types import Micro, Slot, TimeMs

MAX_AMOUNT: Micro = 2**53
"""The largest order or slot a chain may allow, in micro-currency."""

Settings: TypeAlias = tuple[tuple[str, "int | str"], ...]
"""Names of ``[market]``, with a dot before those of a table inside it, and their new values."""
_FIXED = frozenset({"currency", "origin_ms", "market_offset_minutes"})
"""A chain has one currency; the two offsets follow from the slots' lengths."""
TARIFFS = "tariffs"
"""Set as text: ``23:00-07:00=380000/240000, …``, prices in micro-currency per kWh."""


class MarketCalendar:
    """Rules of the market by slot.

    Args:
        founding: as genesis says.
        updates: first slots and settings, ascending; as :meth:`updated` let them through.
    """

    __slots__ = ("_sections", "_starts")

    def __init__(
        self, founding: MarketRulesSection, updates: Iterable[tuple[Slot, Settings]] = ()
    ) -> None:
        self._starts: list[Slot] = [0]
        self._sections = [founding]
        for first, settings in updates:
            then = self.and_from(first, settings)
            self._starts, self._sections = then._starts, then._sections

    @property
    def changes(self) -> tuple[tuple[Slot, MarketRulesSection], ...]:
        """First slots, ascending, and the rules from there on; genesis first."""
        return tuple(zip(self._starts, self._sections, strict=True))

    @property
    def last_start(self) -> Slot:
        """First slot of the latest rules known."""
        return self._starts[-1]

    def at(self, slot: Slot) -> MarketRulesSection:
        """The rules of ``slot``."""
        if slot >= self._starts[-1]:
            return self._sections[-1]
        return self._sections[max(0, bisect_right(self._starts, slot) - 1)]

    def slot_at(self, time_ms: TimeMs) -> Slot:
        """The slot that is delivered at ``time_ms``; below 0 before slot 0."""
        for first, section in zip(reversed(self._starts), reversed(self._sections), strict=True):
            if time_ms >= section.slot_start(first):
                return (time_ms - section.origin_ms) // section.slot_ms
        first_rules = self._sections[0]
        return (time_ms - first_rules.origin_ms) // first_rules.slot_ms

    def and_from(self, first: Slot, settings: Settings) -> MarketCalendar:
        """This calendar, with other rules from ``first`` on.

        Raises:
            ValueError: as :meth:`updated`.
        """
        section = self.updated(first, settings)
        then = MarketCalendar(self._sections[0])
        kept = len(self._starts) - (first == self._starts[-1])
        then._starts = [*self._starts[:kept], first]
        then._sections = [*self._sections[:kept], section]
        return then

    def updated(self, first: Slot, settings: Settings) -> MarketRulesSection:
        """The rules from ``first`` on, with these settings; what they do not name stays.

        Args:
            first: at or after :attr:`last_start`.
            settings: names and values.

        Raises:
            ValueError: a name, a value, or numbers that contradict each other; or ``first`` comes
                before rules that are scheduled already.
        """
        if first < self._starts[-1]:
            raise ValueError(f"other rules begin in slot {self._starts[-1]} already")
        before = self._sections[-1]
        section = _with_settings(before, settings)
        if section.slot_ms != before.slot_ms:
            origin = before.slot_start(first) - first * section.slot_ms
            section = replace(section, origin_ms=origin)
        if section.market_slot_minutes != before.market_slot_minutes:
            minutes = before.market_offset_minutes + first * before.market_slot_minutes
            offset = minutes - first * section.market_slot_minutes
            section = replace(section, market_offset_minutes=offset)
        check_market(section)
        return section


def _with_settings(before: MarketRulesSection, settings: Settings) -> MarketRulesSection:
    tables = msgspec.to_builtins(before)
    for name, value in settings:
        if name == TARIFFS:
            tables[TARIFFS] = msgspec.to_builtins(parse_tariffs(value))
            continue
        *path, key = name.split(".")
        table = tables
        for part in path:
            table = table.get(part) if isinstance(table, dict) else None
        if not isinstance(table, dict) or key not in table or name in _FIXED:
            raise ValueError(f"{name!r} is no setting of the market")
        single = not isinstance(table[key], dict | list)
        if not single:
            raise ValueError(f"{name!r} is no single value")
        table[key] = bool(value) if isinstance(table[key], bool) and value in (0, 1) else value
    try:
        section = msgspec.convert(tables, MarketRulesSection)
    except msgspec.ValidationError as err:
        raise ValueError(str(err)) from err
    return section


def parse_tariffs(text: int | str) -> tuple[Tariff, ...]:
    """Tariffs as :data:`TARIFFS` writes them.

    Raises:
        ValueError: it is not of that form.
    """
    found = []
    for part in str(text).split(","):
        hours, given, prices = part.strip().partition("=")
        retail, slash, feed_in = prices.partition("/")
        if not (given and slash and _is_number(retail) and _is_number(feed_in)):
            raise ValueError(f"{part.strip()!r} is not HH:MM-HH:MM=RETAIL/FEED_IN in micro per kWh")
        start, end = parse_hours(hours)
        found.append(
            Tariff(
                start_minute=start,
                end_minute=end,
                retail_price=int(retail),
                feed_in_price=int(feed_in),
            )
        )
    return tuple(found)


def format_tariffs(tariffs: Sequence[Tariff]) -> str:
    """Inverse of :func:`parse_tariffs`."""
    return ", ".join(
        f"{format_hours(t.start_minute, t.end_minute)}={t.retail_price}/{t.feed_in_price}"
        for t in tariffs
    )


def settings_view(market: MarketRulesSection) -> dict[str, Any]:
    """Rules of the market as a JSON document, each value as it can be set."""
    view: dict[str, Any] = msgspec.to_builtins(market)
    return view | {TARIFFS: format_tariffs(market.tariffs)}


def section_of(view: Mapping[str, Any]) -> MarketRulesSection:
    """Inverse of :func:`settings_view`.

    Raises:
        ValueError: it is none.
    """
    tables = {**view, TARIFFS: msgspec.to_builtins(parse_tariffs(view[TARIFFS]))}
    try:
        return msgspec.convert(tables, MarketRulesSection)
    except msgspec.ValidationError as err:
        raise ValueError(str(err)) from err


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def check_market(market: MarketRulesSection) -> None:
    """Numbers of ``[market]`` that together make a market.

    Raises:
        ValueError: they do not.
    """
    check_tariffs(market.tariffs)
    check_clock(market)
    check_credit(market.credit)
    if market.gate_lead_ms >= market.open_lead_ms:
        raise ValueError(
            f"gate_lead_ms {market.gate_lead_ms} is not below open_lead_ms {market.open_lead_ms}"
        )
    if market.consent == "explicit" and market.gate_lead_ms == 0:
        raise ValueError("explicit consent needs a gate_lead_ms above 0 to be given in")
    dearest = max(tariff.retail_price for tariff in market.tariffs)
    if dearest > market.max_price:
        raise ValueError(f"a retail price of {dearest} is above max_price {market.max_price}")
    if market.sharing.penalty_price > market.max_price:
        raise ValueError(
            f"a penalty price of {market.sharing.penalty_price} is above max_price "
            f"{market.max_price}"
        )
    price = market.max_price + RULES[market.rules].tolerance
    largest = amount_micro(market.max_quantity_wh, price)
    if largest > MAX_AMOUNT:
        raise ValueError(
            f"max_quantity_wh at max_price costs {largest} micro, at most {MAX_AMOUNT}"
        )
