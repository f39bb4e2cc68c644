"""The life of every slot: each phase once, in order, and neither too early nor too late."""

from __future__ import annotations

from collections.abc import Collection

from vppd.day.audit.findings import Findings
from vppd.day.audit.rules import Calendar, Phase
from vppd.ledger.events import SlotAdvanced
from vppd.types import Slot, TimeMs


class Slots:
    """Follows the phases.

    Args:
        calendar: says when each is due.
        findings: takes objections.
    """

    def __init__(self, calendar: Calendar, findings: Findings) -> None:
        self._calendar = calendar
        self._findings = findings
        self._phases: dict[Slot, Phase] = {}
        self.advanced: list[tuple[Slot, Phase]] = []
        """In the receipt being read."""
        self._mentioned: Collection[Slot] = ()

    def phase(self, slot: Slot) -> Phase | None:
        """Where a slot stands; ``None``: nobody has mentioned it yet."""
        return self._phases.get(slot)

    def begin_receipt(self, mentioned: Collection[Slot]) -> None:
        """Another receipt: of a transaction with orders or readings for these slots."""
        self.advanced = []
        self._mentioned = mentioned

    def advance(self, event: SlotAdvanced, time_ms: TimeMs, *, by_time: bool) -> None:
        """A slot entered a phase; ``by_time``: in the block's own receipt."""
        slot = event.slot
        try:
            phase = Phase(event.phase)
        except ValueError as err:
            self._findings.add(f"slot {slot} enters no phase known: {err}")
            return
        before = self._phases.get(slot)
        what = f"slot {slot} enters {phase.name}"
        if by_time and (before is None or phase != before + 1):
            self._findings.add(f"{what} after {before.name if before else 'nothing'}")
        if not by_time and before is not None:
            self._findings.add(f"{what} by a transaction, it is in {before.name} already")
        if not by_time and slot not in self._mentioned:
            self._findings.add(f"{what} by a transaction that does not mention it")
        if not by_time and phase is not self._calendar.phase(slot, time_ms):
            self._findings.add(f"{what}, which is not where block time has brought it")
        due = self._calendar.due_ms(slot, phase)
        if time_ms < due:
            self._findings.add(f"{what} {due - time_ms} ms too early")
        self._phases[slot] = phase
        self.advanced.append((slot, phase))

    def need(self, slot: Slot, what: str) -> None:
        """Something is taken for a slot, so the slot has begun its life."""
        if slot not in self._phases:
            self._findings.add(f"{what} for slot {slot} is taken, the slot has entered no phase")

    def end_triggers(self, time_ms: TimeMs) -> None:
        """The block's own receipt is over: whatever is due has happened."""
        for slot, phase in self._phases.items():
            if phase is not Phase.CLOSED:
                following = Phase(phase + 1)
                if self._calendar.due_ms(slot, following) <= time_ms:
                    self._findings.add(
                        f"slot {slot} stays in {phase.name}, {following.name} is due"
                    )
