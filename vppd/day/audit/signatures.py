"""Explicit consent: which trades all three parties have signed before delivery (P0, Table 2)."""

from __future__ import annotations

from typing import Final

from vppd.config.genesis import Genesis
from vppd.day.audit.findings import Findings
from vppd.day.audit.rules import Phase
from vppd.day.audit.slots import Slots
from vppd.day.audit.trades import Trades
from vppd.ledger.events import TradeSigned
from vppd.types import PublicKey, Slot

_SELLER: Final = 1
_BUYER: Final = 2
_OPERATOR: Final = 4


class Signatures:
    """Who has signed what.

    Whether somebody is an operator of the era in force is not judged here: eras are not part of
    this audit. That nobody signs as one what it trades itself is.

    Args:
        genesis: says whether trades wait for signatures.
        slots: where each slot stands.
        trades: what there is to sign.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, slots: Slots, trades: Trades, findings: Findings) -> None:
        self._asked = genesis.market.consent == "explicit"
        self._slots = slots
        self._trades = trades
        self._findings = findings
        self._signed: dict[tuple[Slot, int], int] = {}

    def sign(self, event: TradeSigned, sender: PublicKey) -> None:
        """A party consents."""
        slot, findings = event.slot, self._findings
        what = f"trade {event.trade} of slot {slot}"
        made = self._trades.contracts.get(slot, [])
        if (
            event.trade >= len(made)
            or made[event.trade].round == 0
            or not made[event.trade].quantity_wh
        ):
            findings.add(f"{what} is signed, the auction made no such trade")
            return
        if not self._asked or self._slots.phase(slot) is not Phase.GATE_CLOSED:
            findings.add(f"{what} is signed when it is not to be")
        contract = made[event.trade]
        mine = _SELLER * (sender == contract.seller) + _BUYER * (sender == contract.buyer)
        so_far = self._signed.get((slot, event.trade), 0)
        right = so_far | (mine or _OPERATOR)
        if right == so_far:
            findings.add(f"{what} is signed twice by {findings.name(sender)}")
        findings.same(f"who has signed {what}", event.parties, right)
        self._signed[slot, event.trade] = right

    def end_receipt(self, *, by_time: bool) -> None:
        """What is not signed by all as delivery begins is void, and nothing else."""
        if not by_time:
            return
        for slot, phase in self._slots.advanced:
            if phase is not Phase.DELIVERING:
                continue
            for number, contract in enumerate(self._trades.contracts.get(slot, ())):
                if contract.quantity_wh == 0:
                    continue  # the grid carries nothing of it
                everybody = _SELLER | _BUYER | _OPERATOR
                missing = self._signed.get((slot, number), 0) != everybody
                if contract.void != (self._asked and contract.round > 0 and missing):
                    right = "stands" if contract.void else "is void"
                    self._findings.add(f"trade {number} of slot {slot} {right} by the rules")
