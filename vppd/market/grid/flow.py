"""Power flow in a radial grid, in integers: the same on every replica.

The branch flow model of Baran and Wu (1989), "DistFlow". For a line from bus i to bus j, with P and
Q what enters it at i, and ℓ and v the squares of its current and of a voltage::

    P_ij = p_j + Σ P_jk + r·ℓ_ij        Q_ij = q_j + Σ Q_jk + x·ℓ_ij
    ℓ_ij = (P² + Q²)/v at the same end  v_j = v_i − 2(r·P_ij + x·Q_ij) + (r² + x²)·ℓ_ij

Backward sweeps (powers, from the leaves) and forward sweeps (voltages, from the slack bus) take
turns until no voltage moves. Each solution starts flat, so it depends on nothing but its input.

Units: power in mW and mvar, squared voltage in mV² (10⁻⁶ V²), squared current in mA² (10⁻⁶ A²),
impedance in µΩ; three-phase power with the voltage between phases, so that ℓ is three times the
square of the current in one conductor. Each division rounds to the nearest, halves up.

Accuracy, against pandapower 3.5.6 on case33bw and three low-voltage feeders: voltages within
10⁻⁸ p.u., powers at the ends of lines within 0.01 W (tests/market/grid/test_flow.py). Lines have no
capacitance to earth, phases are alike, and there are no transformers inside the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from math import isqrt
from typing import Final, NamedTuple

from vppd.config.grid import Grid
from vppd.types import PPM

MOST_SWEEPS: Final = 100
"""Without a solution by then the load is taken for more than the grid can carry."""
_STILL: Final = 1_000
"""Voltages stand still when none moves by more than ``base_v²/_STILL`` mV²: 10⁻⁹ of nominal."""
_MILLI: Final = 1_000


class Limit(IntEnum):
    """What a flow can break."""

    COLLAPSE = 1
    """No voltages carry this load."""
    TOO_LOW = 2
    """The voltage of a bus."""
    TOO_HIGH = 3
    """The voltage of a bus."""
    OVERLOAD = 4
    """The rating of a line."""


class Violation(NamedTuple):
    """A limit that a flow breaks."""

    limit: Limit
    where: int
    """The bus's id, or the line's number; 0 of a collapse."""
    value: int
    """Voltage or loading, parts per million; 0 of a collapse."""


class Flow(NamedTuple):
    """A solution, by position of the bus in the model, or of the line."""

    v: tuple[int, ...]
    """Squared voltages, mV²."""
    p: tuple[int, ...]
    """What enters each line at the end that is nearer to the slack bus, mW; an open one's is 0."""
    q: tuple[int, ...]
    """The same of reactive power, mvar."""
    p_end: tuple[int, ...]
    """What leaves each line at the other end, mW."""
    q_end: tuple[int, ...]
    """The same of reactive power, mvar."""
    sweeps: int

    @property
    def loss_mw(self) -> int:
        """What all lines lose, mW."""
        return sum(self.p) - sum(self.p_end)


class Bounds(NamedTuple):
    """Limits, by position of the bus in the model, or of the line."""

    v_min: tuple[int, ...]
    """Squared voltages, mV²."""
    v_max: tuple[int, ...]
    most: tuple[int, ...]
    """Squares of the most apparent power, mVA²."""


class Feeder:
    """A sound grid, made ready for sweeps.

    Args:
        grid: one without :func:`~vppd.config.grid.defects`.
    """

    __slots__ = ("_bounds", "_branches", "_still", "_turned", "_v_slack", "grid", "position")

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.position: dict[int, int] = {bus.id: i for i, bus in enumerate(grid.buses)}
        """Of a bus in the model, by its id."""
        self._branches = tuple(_branches(grid, self.position))
        self._turned = frozenset(
            branch[2]
            for branch in self._branches
            if grid.buses[branch[0]].id != grid.lines[branch[2]].start
        )
        """Lines whose ``end`` is nearer to the slack bus."""
        square = grid.base_v**2
        self._still = max(1, square // _STILL)
        self._v_slack = (square * grid.slack_ppm**2 + PPM // 2) // PPM
        buses = len(grid.buses)
        self._bounds = Bounds(
            (-(-square * grid.min_ppm**2 // PPM),) * buses,
            (square * grid.max_ppm**2 // PPM,) * buses,
            tuple((line.rating_va * _MILLI) ** 2 for line in grid.lines),
        )

    def solve(self, p_mw: Sequence[int], q_mvar: Sequence[int]) -> Flow | None:
        """The flow for what is taken at each bus.

        Args:
            p_mw: power taken, mW, by position of the bus; negative: given. The slack bus's own
                flows through no line and says nothing.
            q_mvar: reactive power taken, mvar.

        Returns:
            None: the sweeps did not come to rest, or a voltage fell below half of nominal.
        """
        v = [self._v_slack] * len(self.grid.buses)
        lines = len(self.grid.lines)
        p_in, q_in, p_out, q_out = ([0] * lines for _ in range(4))
        squares = [0] * lines
        branches, backwards = self._branches, self._branches[::-1]
        still, floor = self._still, self.grid.base_v**2 * 250_000
        for sweep in range(1, MOST_SWEEPS + 1):
            p_at, q_at = list(p_mw), list(q_mvar)
            for up, down, line, r, x, _ in backwards:
                p, q = p_at[down], q_at[down]
                square = (2_000_000 * (p * p + q * q) + v[down]) // (2 * v[down])
                squares[line] = square
                p_out[line], q_out[line] = p, q
                p += (r * square + 500_000_000) // 1_000_000_000
                q += (x * square + 500_000_000) // 1_000_000_000
                p_in[line], q_in[line] = p, q
                p_at[up] += p
                q_at[up] += q
            moved = 0
            for up, down, line, r, x, z in branches:
                after = (
                    v[up]
                    - (2 * (r * p_in[line] + x * q_in[line]) + 500) // 1_000
                    + (z * squares[line] + 500_000_000_000) // 1_000_000_000_000
                )
                if after < floor:
                    return None
                moved = max(moved, abs(after - v[down]))
                v[down] = after
            if moved <= still:
                return Flow(tuple(v), tuple(p_in), tuple(q_in), tuple(p_out), tuple(q_out), sweep)
        return None

    def holds(
        self, p_mw: Sequence[int], q_mvar: Sequence[int], bounds: Bounds | None = None
    ) -> bool:
        """Whether there is a flow, and within every limit.

        Args:
            p_mw: power taken, mW, by position of the bus.
            q_mvar: reactive power taken, mvar.
            bounds: other limits than the grid's own.
        """
        flow = self.solve(p_mw, q_mvar)
        if flow is None:
            return False
        v_min, v_max, most = bounds or self._bounds
        return all(
            low <= v <= high for low, v, high in zip(v_min, flow.v, v_max, strict=True)
        ) and all(
            p * p + q * q <= limit and p_end * p_end + q_end * q_end <= limit
            for p, q, p_end, q_end, limit in zip(
                flow.p, flow.q, flow.p_end, flow.q_end, most, strict=True
            )
        )

    def bounds_not_worse(self, flow: Flow) -> Bounds:
        """The grid's limits, each moved to where ``flow`` stands if that breaks it."""
        v_min, v_max, most = self._bounds
        return Bounds(
            tuple(map(min, v_min, flow.v)),
            tuple(map(max, v_max, flow.v)),
            tuple(max(limit, self._apparent_square(flow, line)) for line, limit in enumerate(most)),
        )

    def violations(self, flow: Flow | None) -> list[Violation]:
        """The limits a flow breaks: buses in the model's order, then lines; none: it holds."""
        if flow is None:
            return [Violation(Limit.COLLAPSE, 0, 0)]
        found: list[Violation] = []
        v_min, v_max, most = self._bounds
        for bus, low, v, high in zip(self.grid.buses, v_min, flow.v, v_max, strict=True):
            if v < low:
                found.append(Violation(Limit.TOO_LOW, bus.id, self.voltage_ppm(v)))
            elif v > high:
                found.append(Violation(Limit.TOO_HIGH, bus.id, self.voltage_ppm(v)))
        for line, limit in enumerate(most):
            if self._apparent_square(flow, line) > limit:
                found.append(Violation(Limit.OVERLOAD, line, self.loading_ppm(flow, line)))
        return found

    def entering(self, flow: Flow, line: int) -> tuple[int, int]:
        """What goes into a line at the bus it starts from, mW and mvar; negative: comes out."""
        if line in self._turned:
            return -flow.p_end[line], -flow.q_end[line]
        return flow.p[line], flow.q[line]

    def voltage_ppm(self, v: int) -> int:
        """A squared voltage (mV²) as a voltage, parts per million of nominal, rounded down."""
        return isqrt(v * PPM // self.grid.base_v**2)

    def loading_ppm(self, flow: Flow, line: int) -> int:
        """Apparent power at the fuller end of a line, parts per million of its rating."""
        apparent = isqrt(self._apparent_square(flow, line))  # mVA
        return apparent * PPM // (self.grid.lines[line].rating_va * _MILLI)

    def _apparent_square(self, flow: Flow, line: int) -> int:
        return max(
            flow.p[line] ** 2 + flow.q[line] ** 2, flow.p_end[line] ** 2 + flow.q_end[line] ** 2
        )


def _branches(grid: Grid, position: dict[int, int]) -> list[tuple[int, int, int, int, int, int]]:
    """Closed lines, those nearer to the slack bus first: buses up and down, number, r, x, r²+x²."""
    ends: dict[int, list[tuple[int, int]]] = {bus.id: [] for bus in grid.buses}
    for number, line in enumerate(grid.lines):
        if not line.open:
            ends[line.start].append((line.end, number))
            ends[line.end].append((line.start, number))
    reached, order = {grid.slack}, [grid.slack]
    branches: list[tuple[int, int, int, int, int, int]] = []
    for up in order:
        for down, number in ends[up]:
            if down not in reached:
                reached.add(down)
                order.append(down)
                line = grid.lines[number]
                r, x = line.r_micro_ohm, line.x_micro_ohm
                branches.append((position[up], position[down], number, r, x, r * r + x * x))
    return branches
