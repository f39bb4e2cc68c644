"""Every purse, re-added from its postings and compared with what the rules say had to move."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from vppd.config.genesis import Genesis
from vppd.day.audit.findings import Findings
from vppd.ledger.events import FUND, GRID, Posted, Purse, Reason
from vppd.types import Micro, PublicKey

_Move: TypeAlias = tuple[PublicKey, Purse, Reason]


class Purses:
    """Balances, escrows and the grid's account.

    What a receipt posts is compared, for each purse and reason, with the sum that the other checks
    :meth:`expect` of it: a payment missing, doubled, made up or of the wrong size cannot hide.

    Args:
        genesis: the opening balances.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, findings: Findings) -> None:
        self._findings = findings
        self._opening = {account.key: account.balance for account in genesis.accounts}
        self._held: dict[tuple[PublicKey, Purse], Micro] = {
            (GRID, Purse.GRID): 0,
            (FUND, Purse.FUND): 0,
        }
        for key, balance in self._opening.items():
            self._held |= {(key, Purse.BALANCE): balance, (key, Purse.ESCROW): 0}
        self._transferred: Counter[PublicKey] = Counter()
        self._posted: Counter[_Move] = Counter()
        self._expected: Counter[_Move] = Counter()
        self._sum = 0

    def balance(self, account: PublicKey) -> Micro:
        """What a member has, escrow aside."""
        return self._held.get((account, Purse.BALANCE), 0)

    def held(self, account: PublicKey, purse: Purse) -> Micro:
        """What lies in a purse."""
        return self._held.get((account, purse), 0)

    def known(self, account: PublicKey) -> bool:
        """Whether it is a member's."""
        return (account, Purse.BALANCE) in self._held

    def paid(self, account: PublicKey) -> Micro:
        """What a member has lost since genesis but for transfers; negative: gained."""
        held = self._held[account, Purse.BALANCE] + self._held[account, Purse.ESCROW]
        return self._opening[account] + self._transferred[account] - held

    def opened(self, account: PublicKey) -> None:
        """A new account, without money."""
        for purse in (Purse.BALANCE, Purse.ESCROW):
            self._held.setdefault((account, purse), 0)
        self._opening.setdefault(account, 0)

    def expect(self, account: PublicKey, purse: Purse, delta: Micro, reason: Reason) -> None:
        """This receipt has to post ``delta``, alone or summed with others of its reason."""
        self._expected[account, purse, reason] += delta

    def post(self, event: Posted) -> None:
        """A purse changed."""
        who = self._findings.name(event.account)
        try:
            purse, reason = Purse(event.purse), Reason(event.reason)
        except ValueError as err:
            self._findings.add(f"{event.delta} micro are posted to {who} for nothing known: {err}")
            return
        self._sum += event.delta
        if reason in (Reason.DEPOSIT, Reason.PAYOUT):
            self._contract(event, purse, reason)
        self._posted[event.account, purse, reason] += event.delta
        if (event.account, purse) not in self._held:
            self._findings.add(f"{who} has no {purse.name.lower()} to post {event.delta} micro to")
            return
        self._held[event.account, purse] += event.delta
        held = self._held[event.account, purse]
        if purse in (Purse.ESCROW, Purse.CONTRACT, Purse.FUND) and held < 0:
            self._findings.add(f"the {purse.name.lower()} of {who} falls to {held} micro")
        if reason is Reason.TRANSFER:
            self._transferred[event.account] += event.delta
            if event.delta < 0 and held < 0:
                self._findings.add(f"{who} transfers more than it has, {held} micro are left")

    def _contract(self, event: Posted, purse: Purse, reason: Reason) -> None:
        """What a contract takes and gives is its kind's to say; that it has it is checked here."""
        self._expected[event.account, purse, reason] += event.delta
        if purse is Purse.CONTRACT:
            self._held.setdefault((event.account, purse), 0)
        else:
            self._transferred[event.account] += event.delta

    def end_receipt(self) -> None:
        """Compare what was posted with what had to be."""
        if self._sum != 0:
            self._findings.add(f"the postings add up to {self._sum} micro instead of zero")
        for move in dict.fromkeys([*self._expected, *self._posted]):
            posted, expected = self._posted[move], self._expected[move]
            if posted != expected:
                account, purse, reason = move
                self._findings.add(
                    f"the {purse.name.lower()} of {self._findings.name(account)} changes by "
                    f"{posted} micro for {reason.name}, it must change by {expected}"
                )
        self._posted.clear()
        self._expected.clear()
        self._sum = 0

    def end_chain(self) -> None:
        """No money has come or gone since genesis."""
        self._findings.same(
            "the sum of all money in micro", sum(self._held.values()), sum(self._opening.values())
        )
