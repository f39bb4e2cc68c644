"""Orders and the trades between them: prices, quantities, amounts, and what a bid sets aside."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from vppd.config.genesis import Genesis
from vppd.day.audit.findings import Findings
from vppd.day.audit.purses import Purses
from vppd.day.audit.rules import (
    BID,
    OFFER,
    RULE_SETS,
    Calendar,
    Phase,
    amount,
    reference_price,
    set_aside,
    standing_price,
    trade_price,
)
from vppd.day.audit.slots import Slots
from vppd.ledger.receipts import OrderAccepted, Purse, Reason, Traded
from vppd.ledger.transaction import PlaceOrder
from vppd.types import Micro, MicroPerKwh, PublicKey, Slot, TimeMs, Wh


class _Order(NamedTuple):
    account: PublicKey
    terms: PlaceOrder
    reserved: Micro


class Contract(NamedTuple):
    """A firm trade as the audit has it."""

    seller: PublicKey
    buyer: PublicKey
    quantity_wh: Wh
    price: MicroPerKwh
    amount: Micro
    """Worked out here, whatever the receipt says."""
    round: int


class Trades:
    """All orders and contracts of the chain.

    Args:
        genesis: the rules, the limits and the members' credit.
        calendar: of the same genesis.
        slots: where each slot stands.
        purses: told what each order and contract has to move.
        findings: takes objections.
    """

    def __init__(
        self,
        genesis: Genesis,
        calendar: Calendar,
        slots: Slots,
        purses: Purses,
        findings: Findings,
    ) -> None:
        self._market = genesis.market
        self._rules = RULE_SETS[genesis.market.rules]
        self._credit = {account.key: account.credit for account in genesis.accounts}
        self._calendar = calendar
        self._slots = slots
        self._purses = purses
        self._findings = findings
        self._orders: dict[Slot, dict[int, _Order]] = {}
        self._filled: Counter[tuple[Slot, int]] = Counter()
        self._cost: Counter[tuple[Slot, int]] = Counter()
        self.contracts: dict[Slot, list[Contract]] = {}
        """By slot, in the order made."""

    def totals(self) -> tuple[int, Wh]:
        """Number of trades, and the energy in them."""
        contracts = [contract for slot in self.contracts.values() for contract in slot]
        return len(contracts), sum(contract.quantity_wh for contract in contracts)

    def contracted(self, account: PublicKey, slot: Slot) -> tuple[Wh, Wh]:
        """What a member has sold and bought in a slot."""
        contracts = self.contracts.get(slot, ())
        return (
            sum(c.quantity_wh for c in contracts if c.seller == account),
            sum(c.quantity_wh for c in contracts if c.buyer == account),
        )

    def accept(
        self, event: OrderAccepted, sender: PublicKey, terms: PlaceOrder, time_ms: TimeMs
    ) -> None:
        """An order went into the book."""
        slot, findings = terms.slot, self._findings
        placed = self._orders.setdefault(slot, {})
        findings.same("the slot of the order", event.slot, slot)
        findings.same(f"the order's number in slot {slot}", event.seq, len(placed))
        if self._calendar.phase(slot, time_ms) is not Phase.OPEN:
            findings.add(f"an order for slot {slot} is taken while the slot is not open")
        if sender not in self._credit:
            findings.add(f"{findings.name(sender)} places an order without being a member")
        self._check_terms(terms)
        reserved = 0
        if terms.side == BID:
            reserved = set_aside(self._rules, terms.quantity_wh, terms.price, terms.reserve_price)
            self._purses.expect(sender, Purse.BALANCE, -reserved, Reason.RESERVE)
            self._purses.expect(sender, Purse.ESCROW, reserved, Reason.RESERVE)
            if self._purses.balance(sender) < 0:
                findings.add(f"{findings.name(sender)} bids without the balance for it")
        placed[event.seq] = _Order(sender, terms, reserved)

    def _check_terms(self, terms: PlaceOrder) -> None:
        market = self._market
        if not 1 <= terms.quantity_wh <= market.max_quantity_wh:
            self._findings.add(f"an order of {terms.quantity_wh} Wh is taken")
        if max(terms.price, terms.reserve_price) > market.max_price:
            self._findings.add(f"an order above the highest price, {market.max_price}, is taken")
        worse = terms.reserve_price - terms.price
        if worse > 0 if terms.side == OFFER else worse < 0:
            self._findings.add("an order whose reserve price is better than its price is taken")

    def trade(self, event: Traded, *, by_time: bool) -> None:
        """An offer and a bid met; ``by_time``: in the block's own receipt, at gate closure."""
        slot, findings = event.slot, self._findings
        made = self.contracts.setdefault(slot, [])
        what = f"trade {event.seq} of slot {slot}"
        findings.same(f"the number of {what}", event.seq, len(made))
        self._check_occasion(event, what, by_time=by_time)
        orders = self._orders.get(slot, {})
        offer, bid = orders.get(event.offer), orders.get(event.bid)
        if offer is None or bid is None or (offer.terms.side, bid.terms.side) != (OFFER, BID):
            findings.add(f"{what} is not between an offer and a bid that were placed")
        else:
            if (event.seller, event.buyer) != (offer.account, bid.account):
                findings.add(f"{what} is not between those who placed its orders")
            self._check_price(event, what, offer, bid)
            self._check_quantity(event, what, offer, bid)
        right = amount(event.quantity_wh, event.price)
        findings.same(f"the amount of {what}", event.amount, right)
        self._cost[slot, event.bid] += right
        made.append(
            Contract(event.seller, event.buyer, event.quantity_wh, event.price, right, event.round)
        )

    def _check_occasion(self, event: Traded, what: str, *, by_time: bool) -> None:
        rules, findings = self._rules, self._findings
        if by_time:
            if (event.slot, Phase.GATE_CLOSED) not in self._slots.advanced:
                findings.add(f"{what} is made by time, but not at gate closure")
            rounds = {2} if rules.continuous else {1, 2}
        else:
            if self._slots.phase(event.slot) is not Phase.OPEN:
                findings.add(f"{what} is made while the slot is not open")
            rounds = {1} if rules.continuous else set()
        if event.round not in rounds:
            findings.add(f"{what} is of round {event.round}, which does not belong here")

    def _check_price(self, event: Traded, what: str, offer: _Order, bid: _Order) -> None:
        reference = None
        if event.round != 1 and self._rules.leans:
            first = [c.price for c in self.contracts[event.slot] if c.round == 1]
            reference = reference_price(first, self._calendar.tariff(event.slot))
        asked, given = (
            order.terms.price
            if event.round == 1
            else standing_price(
                self._rules,
                order.terms.side,
                order.terms.price,
                order.terms.reserve_price,
                reference,
            )
            for order in (offer, bid)
        )
        if asked - given > self._rules.tolerance:
            self._findings.add(f"{what} is made although {asked} is asked and {given} is bid")
        credit = self._credit
        right = trade_price(
            self._rules, asked, credit.get(offer.account, 0), given, credit.get(bid.account, 0)
        )
        self._findings.same(f"the price of {what}", event.price, right)

    def _check_quantity(self, event: Traded, what: str, offer: _Order, bid: _Order) -> None:
        if event.quantity_wh == 0:
            self._findings.add(f"{what} is about no energy")
        for seq, order in ((event.offer, offer), (event.bid, bid)):
            self._filled[event.slot, seq] += event.quantity_wh
            filled = self._filled[event.slot, seq]
            if filled > order.terms.quantity_wh:
                self._findings.add(
                    f"with {what}, order {seq} has traded {filled} Wh of {order.terms.quantity_wh}"
                )

    def end_receipt(self, *, by_time: bool) -> None:
        """Gates that closed release what is not needed, slots that settled are paid."""
        if not by_time:
            return
        for slot, phase in self._slots.advanced:
            if phase is Phase.GATE_CLOSED:
                self._expect_releases(slot)
            elif phase is Phase.SETTLED:
                self._expect_payments(slot)

    def _expect_releases(self, slot: Slot) -> None:
        for seq, order in self._orders.get(slot, {}).items():
            unused = order.reserved - self._cost[slot, seq]
            self._purses.expect(order.account, Purse.ESCROW, -unused, Reason.RELEASE)
            self._purses.expect(order.account, Purse.BALANCE, unused, Reason.RELEASE)

    def _expect_payments(self, slot: Slot) -> None:
        for contract in self.contracts.get(slot, ()):
            self._purses.expect(contract.buyer, Purse.ESCROW, -contract.amount, Reason.TRADE)
            self._purses.expect(contract.seller, Purse.BALANCE, contract.amount, Reason.TRADE)
