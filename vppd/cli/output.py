"""Data on stdout: aligned columns for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from vppd.client.names import name_order

Row: TypeAlias = Mapping[str, str | int | None]
Named = TypeVar("Named", bound=Mapping[str, Any])


class Output(StrEnum):
    """Forms of data."""

    TABLE = "table"
    JSON = "json"


OutputOption: TypeAlias = Annotated[
    Output, typer.Option("-o", "--output", help="Form of the data on stdout.")
]


def print_rows(rows: Sequence[Row], output: Output) -> None:
    """Print rows that share their keys: a table with the keys as headings, or a JSON array."""
    if output is Output.JSON:
        print_json(list(rows))
    elif rows:
        print("\n".join(table(rows)))


def by_name(rows: Iterable[Named], column: str = "name") -> list[Named]:
    """Rows in the order in which people look names up."""
    return sorted(rows, key=lambda row: name_order(str(row[column])))


def print_json(value: object) -> None:
    """Print JSON, keys in the order they have."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of an aligned table; nothing is cut off, since keys are there to be copied."""
    cells = [[key.upper() for key in rows[0]]]
    cells += [["-" if v is None else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
