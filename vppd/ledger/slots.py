"""The life of a slot, driven by block time (market.md, §0).

A slot exists in the state from its first order or reading on, in the phase that block time says.
From then on each transition fires exactly once, in the first block whose time has reached its due
time, before that block's transactions.
"""

from __future__ import annotations

from enum import IntEnum

from vppd.config.genesis import MarketRulesSection
from vppd.ledger.agenda import Due, Topic
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


def next_step(market: MarketRulesSection, slot: Slot, phase: Phase) -> Due | None:
    """The transition that follows ``phase``; ``None`` after the last."""
    if phase is Phase.CLOSED:
        return None
    following = Phase(phase + 1)
    return Due(due_ms(market, slot, following), Topic.SLOT, slot, following)
