"""Which way a trade goes through the grid, and what is lost on it (P4, §3.3.2).

P4's agents compute each trade's transmission path, queue the paths of a period up as ``L`` and vote
on the hash ``h`` of ``L``. Here every replica computes them when it executes the block that closes
the gate, and ``h`` stands in that block's own receipt, which the votes on the next header cover.

The least-loss path is the one of least resistance: what a power P loses in lines of resistance R
is P²·R/V², so the order of paths does not depend on P. In a radial grid there is one path only.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from vppd.codec import U32, U63, Message, encode
from vppd.config.grid import Grid
from vppd.crypto import sha256
from vppd.market.money import div_half_even
from vppd.types import Digest, Slot, Wh

MOST_LOSS_MWH: Final = 2**62
"""A loss stands in events: one that is more is shown as this much."""
_Path = tuple[int, ...]


class Route(Message, frozen=True):
    """One trade's way through the grid: an entry of the path queue."""

    trade: U63
    """Its number within the slot."""
    quantity_wh: U63
    lines: tuple[U32, ...]
    """Numbers of lines, from the seller's bus to the buyer's; none on one bus."""
    loss_mwh: U63
    """What the trade would lose if it were alone in the grid, thousandths of a Wh."""


class PathQueue(Message, frozen=True):
    """P4's ``L``: the routes of a slot's trades, by number of the trade."""

    slot: U63
    routes: tuple[Route, ...]


class Paths:
    """Least-loss paths between the buses of a grid.

    Args:
        grid: a sound one; may be meshed, as far as this class is concerned.
    """

    __slots__ = ("_ends", "_from", "_grid")

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._from: dict[int, dict[int, tuple[int, _Path]]] = {}
        self._ends: dict[int, list[tuple[int, int, int]]] = {bus.id: [] for bus in grid.buses}
        for number, line in enumerate(grid.lines):
            if not line.open:
                self._ends[line.start].append((number, line.end, line.r_micro_ohm))
                self._ends[line.end].append((number, line.start, line.r_micro_ohm))

    def between(self, seller_bus: int, buyer_bus: int) -> tuple[_Path, int] | None:
        """The path of least resistance over closed lines.

        Of two alike the one with fewer lines, then the one whose numbers, read from the seller's
        end, come first in the order of sequences.

        Args:
            seller_bus: id of the bus where the energy comes from.
            buyer_bus: id of the bus it goes to.

        Returns:
            Numbers of its lines in that direction, and its resistance in µΩ; None: no way, or no
            such bus.
        """
        if seller_bus not in self._ends:
            return None
        found = self._from.get(seller_bus)
        if found is None:
            found = self._from[seller_bus] = self._search(seller_bus)
        entry = found.get(buyer_bus)
        return None if entry is None else (entry[1], entry[0])

    def route(
        self, trade: int, seller_bus: int, buyer_bus: int, quantity_wh: Wh, minutes: int
    ) -> Route | None:
        """A trade's entry of the path queue; None: there is no way.

        Args:
            trade: its number within the slot.
            seller_bus: id of the bus where the energy comes from.
            buyer_bus: id of the bus it goes to.
            quantity_wh: the energy.
            minutes: how long the slot lasts in market time.
        """
        found = self.between(seller_bus, buyer_bus)
        if found is None:
            return None
        lines, resistance = found
        loss = loss_mwh(quantity_wh, resistance, self._grid.base_v, minutes)
        return Route(trade, quantity_wh, lines, loss)

    def _search(self, start: int) -> dict[int, tuple[int, _Path]]:
        """Dijkstra's algorithm; resistance and lines of the best path to each bus."""
        done: dict[int, tuple[int, _Path]] = {}
        heap: list[tuple[int, int, _Path, int]] = [(0, 0, (), start)]
        while heap:
            resistance, hops, lines, bus = heappop(heap)
            if bus in done:
                continue
            done[bus] = resistance, lines
            for number, other, more in self._ends[bus]:
                if other not in done:
                    heappush(heap, (resistance + more, hops + 1, (*lines, number), other))
        return done


def loss_mwh(quantity_wh: Wh, resistance_micro_ohm: int, base_v: int, minutes: int) -> int:
    """What a constant power loses at nominal voltage, rounded half to even.

    P²·R/V² over the slot, with P = quantity · 60/minutes; reactive power and other trades aside.

    Args:
        quantity_wh: delivered in the slot.
        resistance_micro_ohm: of the whole path.
        base_v: nominal voltage between phases.
        minutes: how long the slot lasts in market time, above zero.

    Returns:
        Thousandths of a Wh, at most :data:`MOST_LOSS_MWH`.
    """
    loss = div_half_even(
        quantity_wh * quantity_wh * 60 * resistance_micro_ohm, minutes * base_v * base_v * 1_000
    )
    return min(loss, MOST_LOSS_MWH)


def path_hash(queue: PathQueue) -> Digest:
    """P4's ``h``: SHA-256 of the queue's encoding.

    The queue names each trade's quantity too: P4's ``h`` covers paths only, and would let two
    agents agree on the ways of trades they disagree about.
    """
    return sha256(encode(queue))


def queue_of(slot: Slot, routes: list[Route]) -> PathQueue:
    """The routes of a slot, put in the order of the trades' numbers."""
    return PathQueue(slot, tuple(sorted(routes, key=lambda route: route.trade)))
