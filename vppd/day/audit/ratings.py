"""Ratings and statements: whether credit moves by the rule, and everybody has what is stated."""

from __future__ import annotations

from fractions import Fraction

from vppd.config.genesis import Genesis
from vppd.day.audit.findings import Findings
from vppd.day.audit.purses import Purses
from vppd.ledger.events import BalanceStated, CreditCause, CreditChanged, DayReviewed, Purse
from vppd.types import PPM, Ppm, PublicKey

_NONE = 2**32 - 1


class Ratings:
    """Every member's credit, and the reviews of days.

    What a day's score must be is not worked out again, only what follows from it.

    Args:
        genesis: the rule, and credit at the beginning.
        purses: what everybody has.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, purses: Purses, findings: Findings) -> None:
        self._rules = genesis.market.credit
        self._purses = purses
        self._findings = findings
        self.credit: dict[PublicKey, Ppm] = {a.key: a.credit for a in genesis.accounts}
        self._reviews = 0
        self._day = -2

    def opened(self, account: PublicKey, credit: Ppm) -> None:
        """A new account."""
        self.credit.setdefault(account, credit)

    def rate(self, event: CreditChanged) -> None:
        """A member's credit has moved."""
        findings, who = self._findings, self._findings.name(event.account)
        findings.same(f"the credit of {who} before", event.before, self.credit.get(event.account))
        if event.cause == CreditCause.REVIEWED:
            right = self._moved(event.before, event.score, event.previous)
            findings.same(f"the credit of {who} after day {event.day}", event.after, right)
        if event.after > PPM:
            findings.add(f"the credit of {who} is {event.after} ppm")
        self.credit[event.account] = event.after

    def review(self, event: DayReviewed) -> None:
        """A day is over."""
        self._reviews += 1
        self._findings.same("the number of the review", event.number, self._reviews)
        if event.day <= self._day:
            self._findings.add(f"day {event.day} is reviewed after day {self._day}")
        self._day = event.day

    def state(self, event: BalanceStated) -> None:
        """What a member is said to have."""
        who = self._findings.name(event.account)
        for purse, said in ((Purse.BALANCE, event.balance), (Purse.ESCROW, event.escrow)):
            right = self._purses.held(event.account, purse)
            self._findings.same(f"the {purse.name.lower()} stated of {who}", said, right)

    def _moved(self, before: Ppm, score: int, previous: int) -> Ppm:
        rule = self._rules.rule
        if score == _NONE or rule == "fixed":
            return before
        if rule == "level":
            return before + round(Fraction(score - before, 10))
        if previous == _NONE:
            return before
        change = Fraction(score - previous, PPM) ** 2
        if score >= previous:
            return before + round(change * (PPM - before))
        return before - round(change * before)
