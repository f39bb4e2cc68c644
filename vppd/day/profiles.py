"""Profiles of the day: a CSV of hourly loads and PV generation, one column for each DER.

The file has a header ``hour_start,load_NAME_wh,…,pv_NAME_wh,…`` and one row per hour, counted
0, 1, … 23, 0, …; cells are whole Wh used or generated in that hour. Row ``s`` is what happens in
slot ``s`` of the day. A packaged file comes with vppd (data/README.md says where it is from).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import msgspec

from vppd.errors import UserError
from vppd.types import Wh

HOURS_PER_DAY = 24
MAX_HOURLY_WH: Wh = 1_000_000_000
"""Largest cell: what the market takes as one order unless genesis says otherwise (1 GWh)."""

_COLUMN = re.compile(r"(?P<kind>load|pv)_(?P<name>\w+)_wh", re.ASCII)
_SHAPE = "hour_start,load_NAME_wh,…,pv_NAME_wh,…"


class Kind(StrEnum):
    """Which way a column's energy flows."""

    LOAD = "load"
    """Takes from the grid: import register, bids."""
    PV = "pv"
    """Gives to the grid: export register, offers."""


class Column(msgspec.Struct, frozen=True):
    """One consumer or PV plant over the day."""

    name: str
    """The header without its unit, as ``load_home1``."""
    kind: Kind
    wh: tuple[Wh, ...]
    """Energy of each slot, none negative."""


class Profiles(msgspec.Struct, frozen=True):
    """A checked profiles file: columns of one length, in file order, names unique."""

    source: str
    """Path of the file, for messages."""
    columns: tuple[Column, ...]

    def of(self, kind: Kind) -> tuple[Column, ...]:
        """The columns of one kind, in file order."""
        return tuple(column for column in self.columns if column.kind is kind)


def load_profiles(path: Path | None = None, *, slots: int = HOURS_PER_DAY) -> Profiles:
    """Reads a profiles file, all of it checked.

    Args:
        path: the CSV file; ``None`` is the packaged day.
        slots: how many slots will be played; the file may have more rows, not fewer.

    Raises:
        UserError: E401 unreadable, E402 header, E403 cell, E404 hours out of order, E405 too few
            rows; each with file, line and column as far as there is one.
    """
    if path is None:
        packaged = resources.files("vppd.day").joinpath("data", "day.csv")
        return parse_profiles(packaged.read_bytes(), str(packaged), slots=slots)
    try:
        data = path.read_bytes()
    except OSError as err:
        raise UserError(
            "E401",
            "the profiles file cannot be read",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="check the path given to --profiles, or leave it out for the packaged day",
        ) from err
    return parse_profiles(data, str(path), slots=slots)


def parse_profiles(data: bytes, source: str, *, slots: int = HOURS_PER_DAY) -> Profiles:
    """The profiles in the bytes of a CSV file; see :func:`load_profiles`.

    Args:
        data: the file, UTF-8, with or without byte order mark.
        source: what to call the file in messages.
        slots: least number of rows.

    Raises:
        UserError: E401 … E405.
    """
    lines = _lines(data, source)
    if not lines:
        raise _header_error(source, 1, "", "the profiles file is empty")
    top, titles = lines[0]
    header = [title.strip() for title in titles]
    named = _named(header, source, top)
    rows = [_row(cells, header, source, line) for line, cells in lines[1:]]
    _check_hours([row[0] for row in rows], [line for line, _ in lines[1:]], source)
    if len(rows) < slots:
        raise UserError(
            "E405",
            f"the profiles file ends after {len(rows)} rows; {slots} slots need {slots}",
            facts={"file": source, "line": str(lines[-1][0])},
            hint=f"play a shorter day with --slots {len(rows)}, or give a file of at least {slots} "
            "rows with --profiles FILE"
            if rows
            else "one row for every hour, 0 to 23 in order",
        )
    return Profiles(
        source,
        tuple(
            Column(name, kind, tuple(row[place] for row in rows))
            for place, (name, kind) in enumerate(named, start=1)
        ),
    )


def assign(profiles: Profiles, ders: int) -> list[Column]:
    """The column of each DER: load 1, PV 1, load 2, PV 2, …; the longer kind fills the end.

    Args:
        profiles: the checked file.
        ders: how many DERs there are.

    Raises:
        UserError: E400, fewer columns than DERs.
    """
    loads, plants = profiles.of(Kind.LOAD), profiles.of(Kind.PV)
    if len(profiles.columns) < ders:
        have = len(profiles.columns)
        raise UserError(
            "E400",
            f"the profiles file has {have} columns; {ders} DERs need {ders}",
            facts={
                "file": profiles.source,
                "columns": f"{len(loads)} loads, {len(plants)} PV",
            },
            hint=f"run at most {have} DERs (a smaller -n), or give a file of at least {ders} "
            "columns with --profiles FILE",
        )
    pairs = zip_longest(loads, plants)
    return [column for pair in pairs for column in pair if column is not None][:ders]


def _lines(data: bytes, source: str) -> list[tuple[int, list[str]]]:
    """Cells of each line that is not blank, with its number in the file."""
    lines = []
    line = 0
    try:
        reader = csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        for cells in reader:
            line = reader.line_num
            if any(map(str.strip, cells)):
                lines.append((line, cells))
    except (UnicodeDecodeError, csv.Error) as err:
        raise UserError(
            "E401",
            "the profiles file is not CSV text in UTF-8",
            facts={"file": source, "line": f"after {line}", "why": str(err)},
            hint=f"save it as comma-separated UTF-8 text: {_SHAPE}",
        ) from err
    return lines


def _named(header: Sequence[str], source: str, line: int) -> list[tuple[str, Kind]]:
    """Name and kind of each column after the first."""
    if header[0] != "hour_start":
        raise _header_error(source, line, header[0], "the first column must be hour_start")
    named: list[tuple[str, Kind]] = []
    for title in header[1:]:
        found = _COLUMN.fullmatch(title)
        if found is None:
            raise _header_error(
                source, line, title, "a column is neither load_NAME_wh nor pv_NAME_wh"
            )
        name = title.removesuffix("_wh")
        if any(name == other for other, _ in named):
            raise _header_error(source, line, title, "two columns have the same name")
        named.append((name, Kind(found["kind"])))
    if not named:
        raise _header_error(source, line, header[0], "there is no load and no PV column")
    return named


def _row(cells: Sequence[str], header: Sequence[str], source: str, line: int) -> list[Wh]:
    """The integers of one line: hour, then one cell per column."""
    if len(cells) != len(header):
        raise _cell_error(
            source,
            line,
            header[min(len(cells), len(header) - 1)],
            f"a row has {len(cells)} cells; the header has {len(header)}",
        )
    row = []
    for title, cell in zip(header, map(str.strip, cells), strict=True):
        if re.fullmatch(r"-?[0-9]{1,18}", cell) is None:
            raise _cell_error(source, line, title, f"{cell[:40]!r} is not a whole number")
        value = int(cell)
        if value < 0:
            raise _cell_error(source, line, title, f"{value} is negative")
        if value > MAX_HOURLY_WH:
            raise _cell_error(source, line, title, f"{value} is more than {MAX_HOURLY_WH} Wh")
        row.append(value)
    return row


def _check_hours(hours: Sequence[int], lines: Sequence[int], source: str) -> None:
    """Rows must be the hours of the day, from midnight, none missing and none twice."""
    for place, (hour, line) in enumerate(zip(hours, lines, strict=True)):
        expected = place % HOURS_PER_DAY
        if hour != expected:
            raise UserError(
                "E404",
                f"hour {expected} is missing: this row says {hour}",
                facts={"file": source, "line": str(line), "column": "hour_start"},
                hint="one row for every hour, 0 to 23 in order",
            )


def _header_error(source: str, line: int, column: str, what: str) -> UserError:
    return UserError(
        "E402",
        what,
        facts={"file": source, "line": str(line), "column": column or "(none)"},
        hint=f"the header is {_SHAPE}",
    )


def _cell_error(source: str, line: int, column: str, what: str) -> UserError:
    return UserError(
        "E403",
        what,
        facts={"file": source, "line": str(line), "column": column},
        hint="every cell is a whole number of Wh, 0 or more; flows are told apart by load_ and pv_",
    )
