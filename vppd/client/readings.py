"""A file of meter readings: read, checked row by row, and held against what the chain has.

The file is CSV in UTF-8 with a header. Its columns, in any order:

* ``slot``, the slot at whose end the registers were read; or ``end``, that moment as ISO 8601
  with its zone (``2026-11-20T10:15Z``),
* ``import_wh`` and ``export_wh``, the meter's two cumulative registers in whole Wh
  (OBIS 1.8.0 and 2.8.0),
* ``meter``, optional: the meter's public key, so that a file cannot be signed with another's.

Rows ascend by slot. Whether the ledger takes a reading is decided on chain (docs/adr/0005); the
same rules are applied here first, so that a person hears of a wrong row before anything is sent.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from io import StringIO
from itertools import pairwise
from typing import Any, NamedTuple

from vppd.config.genesis import MarketRulesSection
from vppd.crypto import key_text, parse_key
from vppd.errors import UserError
from vppd.ledger.slots import Phase, due_ms
from vppd.types import PublicKey, Slot, TimeMs, Wh

SHAPE = "slot,import_wh,export_wh     or     end,import_wh,export_wh"
MOST = 2**63 - 1
"""What a reading on the wire can carry."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHEN = ("slot", "end")
_REGISTERS = ("import_wh", "export_wh")


class Row(NamedTuple):
    """One reading of the file."""

    line: int
    """In the file, counted from 1."""
    slot: Slot
    import_wh: Wh
    export_wh: Wh


class Fate(StrEnum):
    """What a row is to the chain."""

    NEW = "new"
    CORRECTION = "correction"
    """The chain has other registers for this slot, which may still be corrected."""
    RECORDED = "already recorded"
    CLOSED = "closed"
    """Of a slot before the meter's starting point: nothing can be added or changed there."""


class _Mark(NamedTuple):
    """Registers at the end of a slot, and the row they are from; ``None``: from the chain."""

    slot: Slot
    import_wh: Wh
    export_wh: Wh
    row: Row | None = None


def slot_ending(text: str, market: MarketRulesSection) -> Slot:
    """The slot that ends at a moment such as ``2026-11-20T10:15Z``.

    Raises:
        ValueError: no such moment, no zone, or no slot ends then.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it has no zone, as the Z in 2026-11-20T10:15Z")
    since_ms, rest = divmod(moment - _EPOCH, timedelta(milliseconds=1))
    slots, late_ms = divmod(since_ms - market.origin_ms, market.slot_ms)
    if rest or late_ms or slots < 1:
        raise ValueError(f"no slot ends then; slots have {market.slot_ms / 1000:g} s")
    return slots - 1


class ReadingsFile:
    """A checked file of one meter's readings.

    Args:
        data: the file's bytes.
        source: what to call it in messages.
        market: slots and the largest energy of one.
        meter: the key that will sign.

    Raises:
        UserError: E231 not CSV, E232 header, E233 a cell, E234 order of rows, E239 a row of
            another meter; each with the line.
    """

    def __init__(
        self, data: bytes, source: str, market: MarketRulesSection, meter: PublicKey
    ) -> None:
        self._source = source
        self._market = market
        self._meter = meter
        self._rollover_wh = 0
        lines = list(self._lines(data))
        if not lines:
            raise self._error("E232", 1, "the file of readings is empty", hint=SHAPE)
        top, titles = lines[0]
        header = self._header(top, [title.strip().lower() for title in titles])
        self.rows: tuple[Row, ...] = tuple(self._row(n, header, cells) for n, cells in lines[1:])
        """At least one, ascending by slot."""
        if not self.rows:
            raise self._error("E232", top, "the file has a header and no readings", hint=SHAPE)
        for before, row in pairwise(self.rows):
            if row.slot <= before.slot:
                same = "the same slot as" if row.slot == before.slot else "an earlier slot than"
                raise self._error(
                    "E234",
                    row.line,
                    f"this row is of {same} line {before.line}",
                    {"slot": f"{row.slot} after {before.slot}"},
                    "one row for each slot, ascending",
                )

    # ------------------------------------------------------------ the file alone

    def _lines(self, data: bytes) -> Iterator[tuple[int, list[str]]]:
        """Cells of each line that is not blank, with its number."""
        line = 0
        try:
            reader = csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
            for cells in reader:
                line = reader.line_num
                if any(map(str.strip, cells)):
                    yield line, cells
        except (UnicodeDecodeError, csv.Error) as err:
            raise self._error(
                "E231",
                line + 1,
                "the file of readings is not CSV text in UTF-8",
                {"why": str(err)},
                f"comma-separated text: {SHAPE}",
            ) from err

    def _header(self, line: int, titles: Sequence[str]) -> Sequence[str]:
        known = {*_WHEN, *_REGISTERS, "meter"}
        wrong = None
        if unknown := [title for title in titles if title not in known]:
            wrong = f"there is no column {unknown[0][:40]!r}"
        elif len(set(titles)) < len(titles):
            wrong = "a column is there twice"
        elif missing := [name for name in _REGISTERS if name not in titles]:
            wrong = f"the column {missing[0]} is missing"
        elif len(set(titles) & set(_WHEN)) != 1:
            wrong = "one of the columns slot and end says when, and not both"
        if wrong is not None:
            raise self._error("E232", line, wrong, hint=f"the header is {SHAPE}")
        return titles

    def _row(self, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
        if len(cells) != len(header):
            raise self._error(
                "E233", line, f"this row has {len(cells)} cells, the header {len(header)}"
            )
        value = dict(zip(header, map(str.strip, cells), strict=True))
        if "meter" in value:
            self._check_meter(line, value["meter"])
        slot = (
            self._whole(line, "slot", value["slot"])
            if "slot" in value
            else self._slot_ending(line, value["end"])
        )
        return Row(line, slot, *(self._whole(line, name, value[name]) for name in _REGISTERS))

    def _check_meter(self, line: int, text: str) -> None:
        try:
            named = parse_key(text)
        except ValueError as err:
            raise self._error(
                "E233", line, "the column meter holds no key", {"why": str(err)}
            ) from err
        if named != self._meter:
            raise self._error(
                "E239",
                line,
                "this row is a reading of another meter",
                {"row": text, "key": f"{key_text(self._meter)} would sign it"},
                "the meter's own key with --key, and a file for each meter",
            )

    def _whole(self, line: int, column: str, text: str) -> int:
        digits = re.fullmatch(r"-?[0-9]+", text, re.ASCII)
        if digits is None or len(text) > 19 or not 0 <= int(text) <= MOST:
            what = "is no whole number"
            if digits is not None:
                what = "is below zero" if text.startswith("-") else "is more than 2^63 - 1"
            raise self._error(
                "E233",
                line,
                f"{column} {text[:40]!r} {what}",
                hint="registers are whole Wh since the meter was built, without unit or sign",
            )
        return int(text)

    def _slot_ending(self, line: int, text: str) -> Slot:
        """The slot that ends at a moment."""
        try:
            return slot_ending(text, self._market)
        except (ValueError, OverflowError) as err:
            raise self._error(
                "E233",
                line,
                f"end {text[:40]!r} is not the end of a slot",
                {"why": str(err)},
                "2026-11-20T10:15Z: when the registers were read, at a slot's end",
            ) from err

    # ------------------------------------------------------------ against the chain

    def sort_out(self, meter: Mapping[str, Any], now_ms: TimeMs) -> dict[Fate, list[Row]]:
        """What each row is to the chain.

        Args:
            meter: its ``account`` view (docs/clients.md).
            now_ms: the node's clock, Unix ms.

        Returns:
            Rows by their fate; ``CORRECTION`` in an order in which no register runs backwards in
            between.

        Raises:
            UserError: E235 a register runs backwards, E236 too much energy in a slot, E237 the
                slot has not ended, E238 the slot is closed.
        """
        self._rollover_wh = meter.get("rollover_wh", 0)
        start = _Mark(meter["known_before_slot"] - 1, meter["import_wh"], meter["export_wh"])
        known = {
            r["slot"]: _Mark(r["slot"], r["import_wh"], r["export_wh"]) for r in meter["readings"]
        }
        sorted_out: dict[Fate, list[Row]] = {fate: [] for fate in Fate}
        marks = {start.slot: start, **known}
        for row in self.rows:
            fate = self._fate(row, start, known.get(row.slot), now_ms)
            sorted_out[fate].append(row)
            if fate in (Fate.NEW, Fate.CORRECTION):
                marks[row.slot] = _Mark(row.slot, row.import_wh, row.export_wh, row)
        for first, second in pairwise(marks[slot] for slot in sorted(marks)):
            self._check_step(first, second)
        sorted_out[Fate.CORRECTION] = _in_order(sorted_out[Fate.CORRECTION], known)
        return sorted_out

    def _fate(self, row: Row, start: _Mark, known: _Mark | None, now_ms: TimeMs) -> Fate:
        if row.slot <= start.slot:
            if row.slot == start.slot and row[2:] == start[1:3]:
                return Fate.RECORDED
            if row.slot == start.slot:
                raise self._closed(row, "with other registers")
            ahead = row.import_wh > start.import_wh or row.export_wh > start.export_wh
            if ahead and not self._rollover_wh:
                raise self._backwards(row, start)
            return Fate.CLOSED
        if known is not None:
            return Fate.RECORDED if row[2:] == known[1:3] else Fate.CORRECTION
        ends_ms = due_ms(self._market, row.slot, Phase.METERED)
        if ends_ms > now_ms:
            raise self._error(
                "E237",
                row.line,
                f"slot {row.slot} has not ended yet",
                {"ends": moment_text(ends_ms), "now": f"{moment_text(now_ms)} by the node's clock"},
                "a slot's registers are read at its end",
            )
        if due_ms(self._market, row.slot, Phase.CLOSED) <= now_ms:
            raise self._closed(row, "and has no reading of this meter")
        return Fate.NEW

    def _check_step(self, first: _Mark, second: _Mark) -> None:
        row, neighbour = (second.row, first) if second.row is not None else (first.row, second)
        if row is None:
            return  # both are on chain
        moved = (second.import_wh - first.import_wh, second.export_wh - first.export_wh)
        if self._rollover_wh:  # a register that shows less has passed its last digit
            moved = (moved[0] % self._rollover_wh, moved[1] % self._rollover_wh)
        if min(moved) < 0:
            raise self._backwards(row, neighbour)
        most = self._market.max_quantity_wh * (second.slot - first.slot)
        if max(moved) > most:
            raise self._error(
                "E236",
                row.line,
                f"{max(moved)} Wh is more than a meter may count in that time",
                {"since": _where(neighbour), "most": f"{most} Wh (market.max_quantity_wh a slot)"},
                "registers are in Wh; has a decimal point been lost?",
            )

    def _backwards(self, row: Row, neighbour: _Mark) -> UserError:
        return self._error(
            "E235",
            row.line,
            "a register runs backwards",
            {
                "row": f"slot {row.slot}: import {row.import_wh} Wh, export {row.export_wh} Wh",
                "beside": _where(neighbour),
            },
            "registers only grow: one of the two readings is wrong, or of another meter",
        )

    def _closed(self, row: Row, how: str) -> UserError:
        closed_ms = due_ms(self._market, row.slot, Phase.CLOSED)
        return self._error(
            "E238",
            row.line,
            f"slot {row.slot} is closed, {how}",
            {"closed": moment_text(closed_ms)},
            "it was settled with what was there; leave the row out",
        )

    def _error(
        self,
        code: str,
        line: int,
        what: str,
        facts: Mapping[str, str] | None = None,
        hint: str | None = None,
    ) -> UserError:
        where = {"file": self._source, "line": str(line)}
        return UserError(code, what, facts={**where, **(facts or {})}, hint=hint or SHAPE)


def _in_order(corrections: Sequence[Row], known: Mapping[Slot, _Mark]) -> list[Row]:
    """Rows that raise a register from the last on, then those that lower one from the first on."""
    raising = [row for row in corrections if row.import_wh > known[row.slot].import_wh
               or row.export_wh > known[row.slot].export_wh]  # fmt: skip
    return [*reversed(raising), *(row for row in corrections if row not in raising)]


def _where(mark: _Mark) -> str:
    source = "on chain" if mark.row is None else f"line {mark.row.line}"
    at = f"slot {mark.slot}" if mark.slot >= 0 else "the beginning"
    return f"{at}: import {mark.import_wh} Wh, export {mark.export_wh} Wh ({source})"


def moment_text(unix_ms: TimeMs) -> str:
    """A time as ISO 8601 in UTC, whole seconds; absurd slots end where no calendar reaches."""
    try:
        moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms after 1970"
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
