"""Registers on chain, and the energy between them (docs/adr/0005-registers-not-deltas.md)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from vppd.config.genesis import Genesis, MeterEntry
from vppd.day.audit.findings import Findings
from vppd.day.audit.rules import Calendar, Phase
from vppd.ledger.events import MeterReplaced, ReadingAccepted
from vppd.ledger.member_events import AcquisitionSet, MeterRegistered
from vppd.ledger.transaction import Reading, ReplaceMeter
from vppd.types import PublicKey, Slot, TimeMs, Wh

_PAUSED, _TAKEN, _RETIRED = range(3)
"""What an acquisition is set to."""


class Energy(NamedTuple):
    """What went through the meters of a member."""

    import_wh: Wh
    export_wh: Wh


class _Meter:
    """One meter's accepted registers, by the slot at whose end they stood."""

    def __init__(self, entry: MeterEntry) -> None:
        self.entry = entry
        self.versions: dict[Slot, int] = {}
        self.registers = {entry.first_slot - 1: Energy(entry.import_wh, entry.export_wh)}
        self.rollover_wh = entry.rollover_wh
        self.shift = (0, 0)
        """What has been counted before the meter showed 0, but for its own rounds."""
        self.pauses: list[tuple[Slot, Slot | None]] = []
        """First slots without readings, and the first with readings again."""
        self.last_slot: Slot | None = None

    def runs(self, slot: Slot) -> bool:
        """Whether it measures ``slot``, or would if it were not paused."""
        return self.entry.first_slot <= slot and not self.ended_before(slot)

    def ended_before(self, slot: Slot) -> bool:
        """Whether it was retired after an earlier slot."""
        return self.last_slot is not None and slot > self.last_slot

    def paused(self, slot: Slot, until: int = 0) -> bool:
        """Whether a pause lies over ``slot``, but for its last ``until`` slots."""
        return any(
            first <= slot and (then is None or slot < then - until) for first, then in self.pauses
        )

    def stands(self, shown: Energy, slot: Slot) -> Energy:
        """What a meter has counted in all that shows this at the end of ``slot``."""
        last = self.registers[max(at for at in self.registers if at < slot)]
        counted = []
        for face, shift, before in zip(shown, self.shift, last, strict=True):
            value = face + shift
            while self.rollover_wh and value + self.rollover_wh // 2 < before:
                value += self.rollover_wh
            counted.append(value)
        return Energy(*counted)


class Meters:
    """All meters.

    Args:
        genesis: the registered ones, with where they start.
        calendar: of the same genesis.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, calendar: Calendar, findings: Findings) -> None:
        self._calendar = calendar
        self._findings = findings
        keys = {account.name: account.key for account in genesis.accounts}
        self._meters = {entry.key: _Meter(entry) for entry in genesis.meters}
        self._of: dict[PublicKey, list[_Meter]] = {key: [] for key in keys.values()}
        self._owner: dict[PublicKey, PublicKey] = {}
        for key, meter in self._meters.items():
            self._owner[key] = keys[meter.entry.account]
            self._of[self._owner[key]].append(meter)

    def registered(self, event: MeterRegistered) -> None:
        """A meter that came later."""
        entry = MeterEntry(
            key=event.meter,
            account="",
            import_wh=event.import_wh,
            export_wh=event.export_wh,
            first_slot=event.first_slot,
        )
        self._meters[event.meter] = meter = _Meter(entry)
        self._owner[event.meter] = event.account
        self._of.setdefault(event.account, []).append(meter)

    def control(self, event: AcquisitionSet) -> None:
        """A meter's readings are taken otherwise from a slot on."""
        meter = self._meters.get(event.meter)
        if meter is None:
            self._findings.add("a meter is controlled that there is not")
            return
        running = not meter.pauses or meter.pauses[-1][1] is not None
        if event.mode == _RETIRED:
            meter.last_slot = event.first_slot
        elif event.mode == _PAUSED and running:
            meter.pauses.append((event.first_slot, None))
        elif event.mode == _TAKEN and not running:
            first, _ = meter.pauses.pop()
            if first < event.first_slot:
                meter.pauses.append((first, event.first_slot))

    def accept(
        self, event: ReadingAccepted, sender: PublicKey, reading: Reading, time_ms: TimeMs
    ) -> None:
        """A reading was accepted: from now on it counts."""
        findings, slot = self._findings, reading.slot
        meter = self._meters.get(sender)
        if meter is None:
            findings.add(f"a reading of {findings.name(sender)} is accepted, which is no meter")
            return
        said = (event.meter, event.account, event.slot)
        if said != (sender, self._owner[sender], slot):
            findings.add(f"the reading of {findings.name(sender)} is booked for somebody else")
        who = f"{findings.name(sender)} at the end of slot {slot}"
        own = Energy(reading.import_wh, reading.export_wh)
        if slot >= meter.entry.first_slot:
            own = meter.stands(own, slot)
        findings.same(f"the import register of {who}", event.import_wh, own.import_wh)
        findings.same(f"the export register of {who}", event.export_wh, own.export_wh)
        meter.versions[slot] = meter.versions.get(slot, 0) + 1
        findings.same(f"the version of the reading of {who}", event.version, meter.versions[slot])
        if self._calendar.phase(slot, time_ms) not in (Phase.METERED, Phase.SETTLED):
            findings.add(f"a reading of {who} is accepted outside its time")
        if meter.paused(slot, until=1) or meter.ended_before(slot):
            findings.add(f"a reading of {who} is accepted, of which none is to be taken")
        if slot < meter.entry.first_slot:
            findings.add(f"a reading of {who} is accepted, the meter starts later")
            return
        meter.registers[slot] = own
        known = sorted(meter.registers)
        place = known.index(slot)
        around = [meter.registers[at] for at in known[max(place - 1, 0) : place + 2]]
        for first, second in pairwise(around):
            if first.import_wh > second.import_wh or first.export_wh > second.export_wh:
                findings.add(f"a register of {who} runs backwards")

    def replace(self, event: MeterReplaced, op: ReplaceMeter) -> None:
        """A meter goes on where another stopped."""
        meter, findings = self._meters.pop(event.old, None), self._findings
        if meter is None or (event.old, event.new, event.slot) != (op.old, op.new, op.slot):
            findings.add("a meter is replaced that there is not, or not as was asked for")
            return
        final = meter.stands(Energy(op.final_import_wh, op.final_export_wh), op.slot)
        said = Energy(event.final_import_wh, event.final_export_wh)
        findings.same(f"the last registers of {findings.name(event.old)}", said, final)
        findings.same("the account of the new meter", event.account, self._owner.pop(event.old))
        meter.shift = (final.import_wh - op.import_wh, final.export_wh - op.export_wh)
        meter.rollover_wh = op.rollover_wh
        self._meters[event.new] = meter
        self._owner[event.new] = event.account

    def reported(self, account: PublicKey, slot: Slot) -> bool:
        """Whether any meter of the member has reported the end of the slot."""
        return any(slot in meter.versions for meter in self._of.get(account, ()))

    def reporters(self, slot: Slot) -> list[PublicKey]:
        """Members of whom a meter has reported the end of the slot."""
        return [account for account in self._of if self.reported(account, slot)]

    def energy(self, account: PublicKey, slot: Slot) -> Energy | None:
        """Register differences over the slot; ``None`` unless every running meter has both ends."""
        running = [m for m in self._of.get(account, ()) if m.runs(slot)]
        if any(meter.paused(slot) for meter in running):
            return None
        ends = [(m.registers.get(slot - 1), m.registers.get(slot)) for m in running]
        known = [(start, end) for start, end in ends if start is not None and end is not None]
        if not known or len(known) < len(ends):
            return None
        return Energy(
            sum(end.import_wh - start.import_wh for start, end in known),
            sum(end.export_wh - start.export_wh for start, end in known),
        )
