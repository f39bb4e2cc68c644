"""One slot's orders: where each stands in a round, and whose turn it is (rules 1 to 7)."""

from __future__ import annotations

from collections.abc import Iterable

from vppd.config.genesis import Tariff
from vppd.day.audit.rules import BID, OFFER, RuleSet, reference_price, set_aside, standing_price
from vppd.ledger.transaction import PlaceOrder
from vppd.types import MicroPerKwh, Ppm, PublicKey


class Placed:
    """An order that was taken.

    Args:
        seq: its number in the slot, which is its arrival.
        account: whose it is.
        credit: that member's.
        terms: as sent.
    """

    def __init__(self, seq: int, account: PublicKey, credit: Ppm, terms: PlaceOrder) -> None:
        self.seq = seq
        self.account = account
        self.credit = credit
        self.terms = terms
        self.left_wh = terms.quantity_wh
        """Not yet traded."""
        self.freed_wh = 0
        """Cut from its trades by the security check, less what it has traded after that."""
        self.cost = 0
        """Of a bid: what its trades cost."""
        self.reserved = 0
        """Set aside for it, nothing if it is an offer; after a release exactly ``cost``."""
        self.made = False
        """By a contract, not by a transaction's order."""


class Book:
    """The orders of a slot, the filled ones too.

    Args:
        rules: of the chain.
        tariff: of the slot.
    """

    def __init__(self, rules: RuleSet, tariff: Tariff) -> None:
        self.orders: dict[int, Placed] = {}
        self._rules = rules
        self._tariff = tariff
        self._first_round: list[MicroPerKwh] = []
        self.last: tuple[MicroPerKwh, MicroPerKwh] | None = None
        """What was asked and bid in the slot's last trade."""

    def reserved(self, order: Placed) -> int:
        """What the order had to set aside; nothing if it is an offer."""
        terms = order.terms
        if terms.side == OFFER:
            return 0
        return set_aside(self._rules, terms.quantity_wh, terms.price, terms.reserve_price)

    def note_price(self, price: MicroPerKwh, round_: int) -> None:
        """A trade was made at this price."""
        if round_ == 1:
            self._first_round.append(price)

    def standing(self, order: Placed, round_: int) -> MicroPerKwh:
        """The price an order stands at."""
        terms = order.terms
        if round_ == 1:
            return terms.price
        leans = self._rules.leans
        reference = reference_price(self._first_round, self._tariff) if leans else None
        return standing_price(self._rules, terms.side, terms.price, terms.reserve_price, reference)

    def head(self, side: int, round_: int, before: int | None = None) -> Placed | None:
        """Whose turn it is on one side; among those that arrived ``before`` an order, if given."""
        waiting: Iterable[Placed] = (
            order
            for order in self.orders.values()
            if order.terms.side == side
            and order.left_wh > 0
            and (before is None or order.seq < before)
        )
        return min(waiting, key=lambda order: self._rank(order, round_), default=None)

    def crosses(self, round_: int) -> bool:
        """Whether two orders could still trade."""
        offer, bid = self.head(OFFER, round_), self.head(BID, round_)
        if offer is None or bid is None:
            return False
        return self.standing(offer, round_) - self.standing(bid, round_) <= self._rules.tolerance

    def _rank(self, order: Placed, round_: int) -> tuple[int, int, int]:
        price = self.standing(order, round_)
        credit = 0 if self._rules.leans else -order.credit
        return (price if order.terms.side == OFFER else -price, credit, order.seq)
