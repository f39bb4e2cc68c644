"""The grid the members sit in: buses, lines and limits, and whether they make sense together.

A distribution feeder as P3 checks its trades against (§3.1 stage 3, §4.1): one voltage level, fed
at one bus, the slack, and radial while its closed lines are. The numbers are integers, so that
every replica computes the same flows (:mod:`vppd.market.grid`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

MOST_BUSES: Final = 1_024
"""What gate closure computes grows with them; nobody's genesis may make it last."""
LOWEST_LIMIT_PPM: Final = 600_000
"""No voltage limit lies lower: half the nominal voltage is taken for a collapse."""
HIGHEST_LIMIT_PPM: Final = 1_500_000


class Bus(msgspec.Struct, frozen=True, kw_only=True):
    """``[[grid.bus]]``: where lines meet and members sit."""

    id: int
    """What an account's and an order's ``bus`` names."""
    name: str = ""
    load_w: int = 0
    """Power taken here in every slot outside the market, W; negative: given."""
    load_var: int = 0
    """Reactive power taken here in every slot, var; negative: given, as by a capacitor."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """``[[grid.line]]``: a line or cable between two buses; its number is its position."""

    start: int
    end: int
    r_micro_ohm: int
    """Series resistance of the whole line, µΩ."""
    x_micro_ohm: int
    """Series reactance of the whole line, µΩ."""
    rating_va: int
    """Most apparent power at either end, VA; without reactive power P3's limit in W (§4.1)."""
    open: bool = False
    """Normally open: it is there, and nothing flows."""


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """``[grid]``: the whole model; :func:`defects` says whether it makes sense."""

    slack: int
    """The bus that is fed from above; its voltage is given."""
    base_v: int
    """Nominal voltage between phases, V."""
    slack_ppm: int = 1_000_000
    """Voltage of the slack bus, parts per million of nominal."""
    min_ppm: int = 950_000
    """Lowest voltage allowed at any bus: 0.95 p.u. (P3, §4.1)."""
    max_ppm: int = 1_050_000
    """Highest voltage allowed at any bus: 1.05 p.u. (P3, §4.1)."""
    reactive_ppm: int = 0
    """Reactive power that comes with a bid's power, parts per million of it: tan φ."""
    buses: tuple[Bus, ...]
    lines: tuple[Line, ...]

    def has_bus(self, bus: int) -> bool:
        """Whether there is such a bus."""
        return any(entry.id == bus for entry in self.buses)


class Defect(NamedTuple):
    """Why a grid model contradicts itself."""

    kind: str
    """Its name, the same for the same mistake: "island", "loop", …"""
    where: str
    """The key in the file."""
    why: str


def defects(grid: Grid, members: Iterable[tuple[str, int]] = ()) -> Iterator[Defect]:
    """What is wrong with a grid, in the order of the file; nothing, if it is sound.

    Args:
        grid: the model.
        members: name and bus of each account.

    Yields:
        Every defect, but islands and loops only if each line joins two known buses.
    """
    yield from _limits(grid)
    known: dict[int, int] = {}
    for i, bus in enumerate(grid.buses):
        first = known.setdefault(bus.id, i)
        if first != i:
            yield Defect("doubled bus", f"grid.bus[{i}]", f"{bus.id} is grid.bus[{first}]'s id")
    if grid.slack not in known:
        yield Defect("unknown slack bus", "grid.slack", f"no [[grid.bus]] has id {grid.slack}")
    wrong = [defect for i, line in enumerate(grid.lines) for defect in _line(i, line, known)]
    yield from wrong
    yield from _doubled(grid.lines)
    if not wrong and grid.slack in known:
        yield from _shape(grid)
    for name, at in members:
        if at not in known:
            yield Defect(
                "member on unknown bus", "account.bus", f"{name} sits on bus {at}, which is none"
            )


def _limits(grid: Grid) -> Iterator[Defect]:
    if len(grid.buses) > MOST_BUSES:
        yield Defect("too many buses", "grid.bus", f"{len(grid.buses)}, at most {MOST_BUSES}")
    if grid.min_ppm >= grid.max_ppm:
        why = f"{grid.min_ppm} is not below grid.max_ppm, {grid.max_ppm}"
        yield Defect("limits crossed", "grid.min_ppm", why)
    elif not grid.min_ppm <= grid.slack_ppm <= grid.max_ppm:
        why = f"{grid.slack_ppm} lies outside {grid.min_ppm} to {grid.max_ppm}"
        yield Defect("slack outside its limits", "grid.slack_ppm", why)


def _line(i: int, line: Line, known: dict[int, int]) -> Iterator[Defect]:
    where = f"grid.line[{i}]"
    for key, bus in (("from", line.start), ("to", line.end)):
        if bus not in known:
            yield Defect("unknown bus", f"{where}.{key}", f"no [[grid.bus]] has id {bus}")
    if line.start == line.end:
        yield Defect("line to itself", where, f"both its ends are bus {line.start}")
    if line.r_micro_ohm == 0 and line.x_micro_ohm == 0:
        why = "neither resistance nor reactance: make it one bus instead"
        yield Defect("zero impedance", where, why)


def _doubled(lines: tuple[Line, ...]) -> Iterator[Defect]:
    seen: dict[tuple[int, int], int] = {}
    for i, line in enumerate(lines):
        ends = (min(line.start, line.end), max(line.start, line.end))
        first = seen.setdefault(ends, i)
        if first != i:
            why = f"it joins buses {ends[0]} and {ends[1]}, and so does grid.line[{first}]"
            yield Defect("doubled line", f"grid.line[{i}]", why)


def _shape(grid: Grid) -> Iterator[Defect]:
    """Closed lines must reach every bus, and each in one way only."""
    root = {bus.id: bus.id for bus in grid.buses}

    def top(bus: int) -> int:
        while root[bus] != bus:
            root[bus] = root[root[bus]]
            bus = root[bus]
        return bus

    for i, line in enumerate(grid.lines):
        if line.open:
            continue
        one, other = top(line.start), top(line.end)
        if one == other:
            why = f"buses {line.start} and {line.end} are joined already: open one line of the loop"
            yield Defect("loop", f"grid.line[{i}]", why)
        root[one] = other
    for i, bus in enumerate(grid.buses):
        if top(bus.id) != top(grid.slack):
            why = f"no closed line leads from bus {bus.id} to the slack bus, {grid.slack}"
            yield Defect("island", f"grid.bus[{i}]", why)
