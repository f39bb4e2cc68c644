"""The security check, audited: limits by another power flow, paths walked by hand, the hash.

The ledger solves squared voltages in integers; this solves complex voltages and currents in floats,
so what both agree on is no slip of one of them. What a check may cut is not worked out again: only
that it cut something for a reason, and that what stands is within limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

from vppd.codec import encode
from vppd.config.genesis import Genesis
from vppd.config.grid import Grid, Line
from vppd.day.audit.findings import Findings
from vppd.ledger.events import PathsHashed, TradeRouted
from vppd.types import PublicKey, Slot, Wh

_SWEEPS = 500
_NEAR = 1e-6
"""How far the two solutions may lie apart, per unit."""
_ROOM_VA = 0.01
"""As much at the end of a line."""
_BASE_BROKEN, _INCOMPLETE = 1, 2


class Carried(NamedTuple):
    """A trade that stands, or stood."""

    number: int
    seller: PublicKey
    buyer: PublicKey
    quantity_wh: Wh


class GridAudit:
    """The grid of a plant that has one.

    Args:
        genesis: with a grid.
        grid: that one.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, grid: Grid, findings: Findings) -> None:
        self._grid = grid
        self._minutes = genesis.market.market_slot_minutes
        self._findings = findings
        self._bus = {account.key: account.bus for account in genesis.accounts}
        self._tree = dict(_walk(grid))
        self._routes: dict[Slot, dict[int, TradeRouted]] = {}

    def bus_of(self, account: PublicKey) -> int:
        """Where a member sits."""
        return self._bus.get(account, 0)

    def routed(self, event: TradeRouted) -> None:
        """A trade has a path."""
        routes = self._routes.setdefault(event.slot, {})
        if event.seq in routes:
            self._findings.add(f"trade {event.seq} of slot {event.slot} has two paths")
        routes[event.seq] = event

    def hashed(self, event: PathsHashed, before: list[Carried], after: list[Carried]) -> None:
        """The check of a slot is over.

        Args:
            event: what it said.
            before: trades as they were made, until round 2.
            after: those that stand, by number.
        """
        slot, findings = event.slot, self._findings
        findings.same(f"the number of paths of slot {slot}", event.trades, len(after))
        queue = [[t.number, t.quantity_wh, *self._path(slot, t)] for t in after]
        right = sha256(encode([slot, queue])).digest()
        if event.paths != right:
            findings.add(f"the hash of the paths of slot {slot} is not that of its trades")
        extra = set(self._routes.get(slot, ())) - {trade.number for trade in after}
        if extra:
            findings.add(f"slot {slot} has paths of trades that do not stand: {sorted(extra)}")
        self._check_limits(event, before, after)

    def _path(self, slot: Slot, trade: Carried) -> tuple[list[int], int]:
        """Lines and loss; objects to a receipt that says otherwise."""
        up = [*self._to_slack(self.bus_of(trade.seller))]
        down = [*self._to_slack(self.bus_of(trade.buyer))]
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        lines = up + down[::-1]
        resistance = sum(self._grid.lines[number].r_micro_ohm for number in lines)
        power = Fraction(trade.quantity_wh * 60, self._minutes)
        watt = power * power * Fraction(resistance, 10**6) / self._grid.base_v**2
        loss = min(round(watt * self._minutes / 60 * 1_000), 2**62)
        said = self._routes.get(slot, {}).get(trade.number)
        found = None if said is None else (list(said.lines), said.loss_mwh)
        self._findings.same(
            f"the path and loss of trade {trade.number} of slot {slot}", found, (lines, loss)
        )
        return lines, loss

    def _to_slack(self, bus: int) -> Iterator[int]:
        while bus in self._tree:
            bus, number = self._tree[bus]
            yield number

    def _check_limits(
        self, event: PathsHashed, before: list[Carried], after: list[Carried]
    ) -> None:
        slot, findings = event.slot, self._findings
        bears = bool(event.flags & _BASE_BROKEN)
        bound = self._solve(self._taken([])) if bears else None
        if self._broken(after, _NEAR, bound) and not (bears and bound is None):
            findings.add(f"the trades of slot {slot} break limits of the grid")
        self._check_figures(event, after)
        if bears and not self._broken([], -_NEAR):
            findings.add(f"the grid holds without the trades of slot {slot}, it is said not to")
        kept = {trade.number: trade.quantity_wh for trade in after}
        was_cut = any(kept.get(trade.number, 0) < trade.quantity_wh for trade in before)
        if was_cut and not event.flags & _INCOMPLETE and not self._broken(before, -_NEAR, bound):
            findings.add(f"trades of slot {slot} are cut that the grid carries")

    def _check_figures(self, event: PathsHashed, after: list[Carried]) -> None:
        """The loss, the voltages and the loading it tells, as near as two solutions lie."""
        volts = self._solve(self._taken(after))
        figures = (0.0, 0.0, 0.0, 0.0)
        if volts is not None:
            shares = [abs(v) / self._grid.base_v * 1e6 for v in volts.values()]
            flows = [self._line_flow(line, volts) for line in self._grid.lines if not line.open]
            loss, fullest = sum(loss for loss, _ in flows), max((f for _, f in flows), default=0.0)
            figures = (loss * 1e3, min(shares), max(shares), fullest * 1e6)
        said = (event.loss_mw, event.lowest_ppm, event.highest_ppm, event.fullest_ppm)
        names = ("loss in mW", "lowest voltage", "highest voltage", "fullest line's loading")
        # The ledger counts in whole mW, on each line, and a rating may be as small as 1 VA.
        smallest = min((line.rating_va for line in self._grid.lines), default=1)
        rooms = (2 + len(self._grid.lines), 2, 2, 2 + _ROOM_VA * 1e6 / smallest)
        for name, found, right, room in zip(names, said, figures, rooms, strict=True):
            if abs(found - right) > room + right * _NEAR:
                self._findings.add(
                    f"the {name} of slot {event.slot} is {found}, it must be about {right:.0f}"
                )

    def _line_flow(self, line: Line, volts: dict[int, complex]) -> tuple[float, float]:
        """Loss in W, and apparent power at the fuller end per unit of the rating."""
        current = (volts[line.start] - volts[line.end]) / _ohm(line)
        fuller = max(abs(volts[line.start]), abs(volts[line.end])) * abs(current)
        return abs(current) ** 2 * line.r_micro_ohm / 1e6, fuller / line.rating_va

    def _taken(self, trades: list[Carried]) -> dict[int, complex]:
        """Power taken at each bus, VA; what is traded at no bus is nowhere."""
        taken = {bus.id: complex(bus.load_w, bus.load_var) for bus in self._grid.buses}
        for trade in trades:
            watt = trade.quantity_wh * 60 / self._minutes
            drawn = complex(watt, watt * self._grid.reactive_ppm / 1e6)
            for account, power in ((trade.seller, -watt), (trade.buyer, drawn)):
                at = self.bus_of(account)
                if at in taken:
                    taken[at] += power
        return taken

    def _broken(
        self, trades: list[Carried], slack: float, bound: dict[int, complex] | None = None
    ) -> bool:
        """Some limit is broken by more than ``slack`` per unit; no solution breaks all of them.

        What ``bound`` breaks may be broken as much.
        """
        grid = self._grid
        volts = self._solve(self._taken(trades))
        if volts is None:
            return True
        for bus, volt in volts.items():
            least = most = abs((bound or {}).get(bus, grid.base_v)) / grid.base_v
            low, high = min(grid.min_ppm / 1e6, least), max(grid.max_ppm / 1e6, most)
            if not low - slack <= abs(volt) / grid.base_v <= high + slack:
                return True
        room = _ROOM_VA if slack > 0 else -_ROOM_VA
        for line in grid.lines:
            if not line.open:
                full = 1.0 if bound is None else max(1.0, self._line_flow(line, bound)[1])
                if self._line_flow(line, volts)[1] > full * (1 + slack) + room / line.rating_va:
                    return True
        return False

    def _solve(self, taken: dict[int, complex]) -> dict[int, complex] | None:
        """Voltages between phases, by currents from the leaves and voltages from the slack bus."""
        grid = self._grid
        start = complex(grid.base_v * grid.slack_ppm / 1e6)
        volts = dict.fromkeys(taken, start)
        for _ in range(_SWEEPS):
            current = {bus: (power / volts[bus]).conjugate() for bus, power in taken.items()}
            for bus in reversed(self._tree):
                current[self._tree[bus][0]] += current[bus]
            moved = 0.0
            for bus, (above, number) in self._tree.items():
                after = volts[above] - _ohm(grid.lines[number]) * current[bus]
                if abs(after) < grid.base_v / 4:
                    return None
                moved = max(moved, abs(after - volts[bus]))
                volts[bus] = after
            if moved < 1e-10 * grid.base_v:
                return volts
        return None


def _walk(grid: Grid) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each bus but the slack, after the one above it: with that one and the line between them."""
    seen, row = {grid.slack}, [grid.slack]
    for above in row:
        for number, line in enumerate(grid.lines):
            if not line.open and above in (line.start, line.end):
                bus = line.end if above == line.start else line.start
                if bus not in seen:
                    seen.add(bus)
                    row.append(bus)
                    yield bus, (above, number)


def _ohm(line: Line) -> complex:
    return complex(line.r_micro_ohm, line.x_micro_ohm) / 1e6
