"""The life of a slot, driven by block time (market.md, §0).

A slot exists in the state from its first order or reading on, in the phase that block time says.
From then on each transition fires exactly once, in the first block whose time has reached its due
time, before that block's transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from heapq import heappop, heappush

from vppd.config.genesis import MarketRulesSection
from vppd.types import Slot, TimeMs


class Phase(IntEnum):
    """Where a slot stands; each phase follows the one before."""

    OPEN = 1
    """Orders are taken; in a continuous market they trade at once."""
    GATE_CLOSED = 2
    """No more orders; round 2 has run and the contracts are firm."""
    DELIVERING = 3
    """The energy flows."""
    METERED = 4
    """Delivery has ended; readings come in."""
    SETTLED = 5
    """Paid; late and corrected readings post differences."""
    CLOSED = 6
    """No more corrections; gone from the state."""


_LATER = (Phase.CLOSED, Phase.SETTLED, Phase.METERED, Phase.DELIVERING)


def due_ms(market: MarketRulesSection, slot: Slot, phase: Phase) -> TimeMs:
    """Block time from which ``slot`` is in ``phase``."""
    start = market.slot_start(slot)
    end = start + market.slot_ms
    match phase:
        case Phase.OPEN:
            return start - market.open_lead_ms
        case Phase.GATE_CLOSED:
            return start - market.gate_lead_ms
        case Phase.DELIVERING:
            return start
        case Phase.METERED:
            return end
        case Phase.SETTLED:
            return end + market.metering_ms
        case Phase.CLOSED:
            return end + market.metering_ms + market.dispute_slots * market.slot_ms


def phase_at(market: MarketRulesSection, slot: Slot, time_ms: TimeMs) -> Phase | None:
    """The phase of ``slot`` at block time ``time_ms``; ``None`` before it opens."""
    ahead = market.slot_start(slot) - time_ms
    if ahead > market.open_lead_ms:
        return None
    if ahead > market.gate_lead_ms:
        return Phase.OPEN
    for phase in _LATER:
        if time_ms >= due_ms(market, slot, phase):
            return phase
    return Phase.GATE_CLOSED


class Agenda:
    """The next transition of every slot in the state.

    Args:
        market: says when they are due.
    """

    __slots__ = ("_due", "_market")

    def __init__(self, market: MarketRulesSection) -> None:
        self._market = market
        self._due: list[tuple[TimeMs, Slot, Phase]] = []

    def note(self, slot: Slot, phase: Phase) -> None:
        """``slot`` has entered ``phase``: what follows will be due."""
        if phase is not Phase.CLOSED:
            following = Phase(phase + 1)
            heappush(self._due, (due_ms(self._market, slot, following), slot, following))

    def next_due_ms(self) -> TimeMs | None:
        """Block time of the earliest transition to come; ``None`` without any slot."""
        return self._due[0][0] if self._due else None

    def take_due(self, time_ms: TimeMs) -> Iterator[tuple[Slot, Phase]]:
        """Transitions due at ``time_ms``, each once, in the order (due time, slot, phase)."""
        while self._due and self._due[0][0] <= time_ms:
            _, slot, phase = heappop(self._due)
            self.note(slot, phase)
            yield slot, phase
