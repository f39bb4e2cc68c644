"""``[grid]`` in genesis.toml, or in a file of its own: reading and writing it (docs/grid.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.config.grid import (
    HIGHEST_LIMIT_PPM,
    LOWEST_LIMIT_PPM,
    Bus,
    Defect,
    Grid,
    Line,
    defects,
)
from vppd.config.toml import Table, convert, parse
from vppd.errors import ConfigError
from vppd.types import PPM

_BusId = Annotated[int, Meta(ge=0, lt=2**31)]
_Power = Annotated[int, Meta(ge=-(2**50), le=2**50)]
_Impedance = Annotated[int, Meta(ge=0, le=2**40)]
_Limit = Annotated[int, Meta(ge=LOWEST_LIMIT_PPM, le=HIGHEST_LIMIT_PPM)]


class BusTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[grid.bus]]`` as written."""

    id: _BusId
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9 ._-]{0,64}$")] = ""
    load_w: _Power = 0
    load_var: _Power = 0


class LineTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[grid.line]]`` as written."""

    start: _BusId = msgspec.field(name="from")
    end: _BusId = msgspec.field(name="to")
    r_micro_ohm: _Impedance
    x_micro_ohm: _Impedance = 0
    rating_va: Annotated[int, Meta(ge=1, le=2**50)]
    open: bool = False


class GridTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[grid]`` as written; its defaults are part of what a genesis means: they never change."""

    slack: _BusId
    base_v: Annotated[int, Meta(ge=1, le=1_000_000)]
    slack_ppm: _Limit = 1_000_000
    min_ppm: _Limit = 950_000
    max_ppm: _Limit = 1_050_000
    reactive_ppm: Annotated[int, Meta(ge=0, le=10 * PPM)] = 0
    bus: tuple[BusTable, ...]
    line: tuple[LineTable, ...] = ()


class _GridFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grid: GridTable


class _Seat(msgspec.Struct, frozen=True):
    name: str
    bus: int = 0


class _Seats(msgspec.Struct, frozen=True):
    account: tuple[_Seat, ...] = ()


def make_grid(table: GridTable) -> Grid:
    """The model a table describes, sound or not."""
    return Grid(
        slack=table.slack,
        base_v=table.base_v,
        slack_ppm=table.slack_ppm,
        min_ppm=table.min_ppm,
        max_ppm=table.max_ppm,
        reactive_ppm=table.reactive_ppm,
        buses=tuple(
            Bus(id=bus.id, name=bus.name, load_w=bus.load_w, load_var=bus.load_var)
            for bus in table.bus
        ),
        lines=tuple(
            Line(
                start=line.start,
                end=line.end,
                r_micro_ohm=line.r_micro_ohm,
                x_micro_ohm=line.x_micro_ohm,
                rating_va=line.rating_va,
                open=line.open,
            )
            for line in table.line
        ),
    )


def sound_grid(table: GridTable, members: Iterable[tuple[str, int]], path: Path) -> Grid:
    """The model of a plant.

    Args:
        table: as written.
        members: name and bus of each account.
        path: only named in errors.

    Raises:
        ConfigError: E540; the model contradicts itself.
    """
    grid = make_grid(table)
    found = list(defects(grid, members))
    if found:
        raise contradictory(found, path)
    return grid


def load_grid(data: bytes, path: Path) -> tuple[Grid, list[Defect]]:
    """The model of any TOML file with a ``[grid]``: a genesis.toml, or one of a grid alone.

    Args:
        data: the file's bytes.
        path: only named in errors.

    Returns:
        The model, and what is wrong with it; also members on unknown buses, if the file has any.

    Raises:
        ConfigError: E101…E105; not TOML, keys or values that no ``[grid]`` has.
        ConfigError: E541; there is no ``[grid]``.
    """
    tables = parse(data, path)
    if "grid" not in tables:
        raise ConfigError(
            "E541",
            f"{path.name} describes no grid",
            facts={"file": str(path)},
            hint="a [grid] with slack and base_v, [[grid.bus]] and [[grid.line]]: docs/grid.md",
        )
    only: Table = {"grid": tables["grid"]}
    grid = make_grid(convert(only, _GridFile, path).grid)
    return grid, list(defects(grid, _members(tables)))


def _members(tables: Table) -> list[tuple[str, int]]:
    """Names and buses of a genesis's accounts; whatever else is wrong there is not said here."""
    try:
        seats = msgspec.convert(tables, _Seats).account
    except msgspec.ValidationError:
        return []
    return [(seat.name, seat.bus) for seat in seats]


def contradictory(found: list[Defect], path: Path) -> ConfigError:
    """E540: what is wrong with a grid, all of it."""
    lines = "\n".join(f"{defect.kind} at {defect.where}: {defect.why}" for defect in found)
    return ConfigError(
        "E540",
        "contradictory grid model",
        facts={"file": str(path), "why": lines},
        hint=f"vppd grid check {path.name} goes on when it is corrected",
    )


def grid_lines(grid: Grid) -> Iterator[str]:
    """The lines of a file for a model; every rule is written out, also where it is the default."""
    yield from ("", "[grid]")
    for key in ("slack", "base_v", "slack_ppm", "min_ppm", "max_ppm", "reactive_ppm"):
        yield f"{key} = {getattr(grid, key)}"
    for bus in grid.buses:
        yield from ("", "[[grid.bus]]", f"id = {bus.id}")
        if bus.name:
            yield f'name = "{bus.name}"'
        if bus.load_w or bus.load_var:
            yield f"load_w = {bus.load_w}"
            yield f"load_var = {bus.load_var}"
    for line in grid.lines:
        yield from ("", "[[grid.line]]", f"from = {line.start}", f"to = {line.end}")
        yield f"r_micro_ohm = {line.r_micro_ohm}"
        yield f"x_micro_ohm = {line.x_micro_ohm}"
        yield f"rating_va = {line.rating_va}"
        if line.open:
            yield "open = true"
