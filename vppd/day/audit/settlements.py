"""Settlements, worked out again from registers, contracts and tariffs."""

from __future__ import annotations

from typing import Final, NamedTuple

from vppd.day.audit.findings import Findings
from vppd.day.audit.meters import Meters
from vppd.day.audit.purses import Purses
from vppd.day.audit.rules import Calendar, Phase, amount, owed_to_grid
from vppd.day.audit.slots import Slots
from vppd.day.audit.trades import Trades
from vppd.ledger.events import GRID, Purse, ReadingAccepted, Reason, Settled, SettlementFlag
from vppd.types import Micro, MicroPerKwh, PublicKey, Slot, Wh


class _Outcome(NamedTuple):
    """What a settlement has to say; fields as in :class:`~vppd.ledger.events.Settled`."""

    import_wh: Wh
    export_wh: Wh
    sold_wh: Wh
    bought_wh: Wh
    imbalance_wh: int
    retail_price: MicroPerKwh
    feed_in_price: MicroPerKwh
    grid_amount: Micro
    estimated: bool


_LABELS: Final = {
    "import_wh": "imported energy in Wh",
    "export_wh": "exported energy in Wh",
    "sold_wh": "sold energy in Wh",
    "bought_wh": "bought energy in Wh",
    "imbalance_wh": "imbalance in Wh",
    "retail_price": "retail price",
    "feed_in_price": "feed-in price",
    "grid_amount": "amount owed to the grid",
}


class Settlements:
    """All settlements of the chain.

    Args:
        calendar: tariffs.
        slots: where each slot stands.
        trades: what was contracted.
        meters: what was metered.
        purses: told what each settlement has to move.
        findings: takes objections.
    """

    def __init__(
        self,
        calendar: Calendar,
        slots: Slots,
        trades: Trades,
        meters: Meters,
        purses: Purses,
        findings: Findings,
    ) -> None:
        self._calendar = calendar
        self._slots = slots
        self._trades = trades
        self._meters = meters
        self._purses = purses
        self._findings = findings
        self._right: dict[Slot, dict[PublicKey, _Outcome]] = {}
        """What each member's latest settlement had to say when it was made."""
        self._said: dict[Slot, dict[PublicKey, Settled]] = {}
        """What it did say."""
        self._settled: dict[Slot, None] = {}
        """Slots with a settlement in this receipt."""
        self._read: dict[tuple[PublicKey, Slot], None] = {}
        """Whose energy in which slot a reading of this receipt may have changed."""

    def grid_only(self, account: PublicKey) -> tuple[int, Micro]:
        """Net import of a member over its metered settled slots, and its price at the grid."""
        net, price = 0, 0
        for slot, outcomes in self._right.items():
            energy = self._meters.energy(account, slot) if account in outcomes else None
            if energy is not None:
                tariff = self._calendar.tariff(slot)
                net += energy.import_wh - energy.export_wh
                price += amount(energy.import_wh, tariff.retail_price)
                price -= amount(energy.export_wh, tariff.feed_in_price)
        return net, price

    def delivered(self, slot: Slot) -> dict[PublicKey, int | None]:
        """What each member gave beyond its trades; ``None``: no meter says."""
        outcomes = self._right.get(slot, {})
        return {key: None if o.estimated else o.imbalance_wh for key, o in outcomes.items()}

    def read(self, event: ReadingAccepted) -> None:
        """A register moved: it ends one slot and begins the next."""
        self._read[event.account, event.slot] = None
        self._read[event.account, event.slot + 1] = None

    def settle(self, event: Settled, *, by_time: bool) -> None:
        """A member's slot was settled; ``by_time``: at the deadline, not by a reading."""
        slot, account, findings = event.slot, event.account, self._findings
        who = f"{findings.name(account)} in slot {slot}"
        said = self._said.setdefault(slot, {})
        before = said.get(account)
        version = before.version + 1 if before else 1
        findings.same(f"the version of the settlement of {who}", event.version, version)
        if by_time and ((slot, Phase.SETTLED) not in self._slots.advanced or before):
            findings.add(f"{who} is settled by time, but not once at the deadline")
        if not by_time and self._slots.phase(slot) is not Phase.SETTLED:
            findings.add(f"{who} is settled by a transaction outside the time for corrections")
        right = self._work_out(account, slot)
        for field, label in _LABELS.items():
            found = getattr(event, field)
            findings.same(f"the {label} of {who}", found, getattr(right, field))
        flags = SettlementFlag.ESTIMATED if right.estimated else SettlementFlag(0)
        if not by_time:
            flags |= SettlementFlag.CORRECTED
        findings.same(f"the flags of the settlement of {who}", event.flags, int(flags))
        owed_before = self._right[slot][account].grid_amount if before else 0
        owed = right.grid_amount - owed_before
        reason = Reason.IMBALANCE if by_time else Reason.CORRECTION
        self._purses.expect(account, Purse.BALANCE, -owed, reason)
        self._purses.expect(GRID, Purse.GRID, owed, reason)
        said[account] = event
        self._right.setdefault(slot, {})[account] = right
        self._settled[slot] = None

    def end_receipt(self, *, by_time: bool) -> None:
        """Nobody is left out, and no energy has appeared between members."""
        if by_time:
            for slot, phase in self._slots.advanced:
                if phase is Phase.SETTLED:
                    self._check_parties(slot)
        else:
            self._check_followed()
        for slot in self._settled:
            said = self._said[slot].values()
            sold, bought = sum(s.sold_wh for s in said), sum(s.bought_wh for s in said)
            if sold != bought:
                self._findings.add(f"slot {slot} is settled with {sold} Wh sold, {bought} bought")
        self._settled.clear()
        self._read.clear()

    def _check_parties(self, slot: Slot) -> None:
        parties = dict.fromkeys(self._meters.reporters(slot))
        for contract in self._trades.firm(slot):
            if contract.quantity_wh:
                parties |= {contract.seller: None, contract.buyer: None}
        for account in parties:
            if account not in self._right.get(slot, {}):
                self._findings.add(f"{self._findings.name(account)} in slot {slot} is not settled")

    def _check_followed(self) -> None:
        for account, slot in self._read:
            known = self._right.get(slot, {}).get(account)
            concerned = known is not None or self._meters.reported(account, slot)
            if self._slots.phase(slot) is not Phase.SETTLED or not concerned:
                continue
            if known != self._work_out(account, slot):
                name = self._findings.name(account)
                self._findings.add(f"{name} in slot {slot} is not settled again after the reading")

    def _work_out(self, account: PublicKey, slot: Slot) -> _Outcome:
        """What the rules make of a member's slot with what is on chain now."""
        tariff = self._calendar.tariff(slot)
        sold, bought = self._trades.contracted(account, slot)
        energy = self._meters.energy(account, slot)
        imported, exported = (bought, sold) if energy is None else energy
        imbalance = (exported - imported) - (sold - bought)
        return _Outcome(
            imported,
            exported,
            sold,
            bought,
            imbalance,
            tariff.retail_price,
            tariff.feed_in_price,
            owed_to_grid(imbalance, tariff),
            energy is None,
        )
