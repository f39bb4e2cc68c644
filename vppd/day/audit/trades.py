"""Orders and the trades between them: whose turn, what price, how much, and what it moves."""

from __future__ import annotations

from typing import Final, NamedTuple

from vppd.config.genesis import Genesis
from vppd.day.audit.book import Book, Placed
from vppd.day.audit.findings import Findings
from vppd.day.audit.grid import Carried, GridAudit
from vppd.day.audit.purses import Purses
from vppd.day.audit.rules import (
    BID,
    OFFER,
    RULE_SETS,
    Calendar,
    Phase,
    amount,
    one_price,
    trade_price,
)
from vppd.day.audit.slots import Slots
from vppd.ledger.events import (
    OrderAccepted,
    OrderCancelled,
    OrderMade,
    PathsHashed,
    Purse,
    Reason,
    TradeCut,
    Traded,
    TradeRouted,
    TradeVoided,
)
from vppd.ledger.transaction import PlaceOrder
from vppd.types import Micro, MicroPerKwh, Ppm, PublicKey, Slot, TimeMs, Wh

AGAIN: Final = 3
"""The round of what is matched again after the security check."""


class Contract(NamedTuple):
    """A firm trade as the audit has it."""

    seller: PublicKey
    buyer: PublicKey
    quantity_wh: Wh
    amount: Micro
    """Worked out here, whatever the receipt says."""
    round: int
    """1 or 2 of the auction, 3 after the security check; 0: made by a contract."""
    price: MicroPerKwh
    bid: int
    void: bool = False
    """Undone as delivery began: not all parties had consented."""


class Trades:
    """All orders and contracts of the chain.

    Args:
        genesis: the rules and the limits.
        calendar: of the same genesis.
        slots: where each slot stands.
        purses: told what each order and contract has to move.
        credit: of each member, now.
        findings: takes objections.
    """

    def __init__(
        self,
        genesis: Genesis,
        calendar: Calendar,
        slots: Slots,
        purses: Purses,
        credit: dict[PublicKey, Ppm],
        findings: Findings,
    ) -> None:
        self._market = genesis.market
        self._rules = RULE_SETS[genesis.market.rules]
        self._credit = credit
        self._calendar = calendar
        self._slots = slots
        self._purses = purses
        self._findings = findings
        self._grid = None if genesis.grid is None else GridAudit(genesis, genesis.grid, findings)
        self._terms: dict[Slot, list[tuple[int, int, MicroPerKwh]]] = {}
        """Of each trade its offer, its bid and its price."""
        self._made: dict[Slot, list[Carried]] = {}
        """Trades of slots with a grid as they were made, until round 2."""
        self._hashed: set[Slot] = set()
        self._books: dict[Slot, Book] = {}
        self._arrived: dict[Slot, None] = {}
        """Slots with a new order in this receipt."""
        self.contracts: dict[Slot, list[Contract]] = {}
        """By slot, in the order made."""

    def totals(self) -> tuple[int, Wh]:
        """Number of trades, and the energy in them."""
        contracts = [c for slot in self.contracts for c in self.firm(slot) if c.quantity_wh]
        return len(contracts), sum(contract.quantity_wh for contract in contracts)

    def firm(self, slot: Slot) -> list[Contract]:
        """Contracts of a slot that are not void."""
        return [contract for contract in self.contracts.get(slot, ()) if not contract.void]

    def contracted(self, account: PublicKey, slot: Slot) -> tuple[Wh, Wh]:
        """What a member has sold and bought in a slot."""
        contracts = self.firm(slot)
        return (
            sum(c.quantity_wh for c in contracts if c.seller == account),
            sum(c.quantity_wh for c in contracts if c.buyer == account),
        )

    def declared(self, slot: Slot) -> dict[PublicKey, int]:
        """Offers less bids that nobody has taken, of each member that has some left."""
        found: dict[PublicKey, int] = {}
        for order in self._book(slot).orders.values():
            if order.left_wh:
                given = order.left_wh if order.terms.side == OFFER else -order.left_wh
                found[order.account] = found.get(order.account, 0) + given
        return found

    # ------------------------------------------------------------ orders

    def accept(
        self, event: OrderAccepted, sender: PublicKey, terms: PlaceOrder, time_ms: TimeMs
    ) -> None:
        """An order went into the book."""
        slot, findings = terms.slot, self._findings
        book = self._book(slot)
        findings.same("the slot of the order", event.slot, slot)
        findings.same(f"the order's number in slot {slot}", event.seq, len(book.orders))
        if self._calendar.phase(slot, time_ms) is not Phase.OPEN:
            findings.add(f"an order for slot {slot} is taken while the slot is not open")
        if sender not in self._credit:
            findings.add(f"{findings.name(sender)} places an order without being a member")
        self._check_terms(terms)
        if self._grid is not None:
            own = self._grid.bus_of(sender)
            findings.same(f"the bus of the order of {findings.name(sender)}", terms.bus, own)
        order = Placed(event.seq, sender, self._credit.get(sender, 0), terms)
        if terms.side == BID:
            self._set_aside(order, book.reserved(order))
            if self._purses.balance(sender) < 0:
                findings.add(f"{findings.name(sender)} bids without the balance for it")
        book.orders[event.seq] = order
        self._arrived[slot] = None

    def make(self, event: OrderMade) -> None:
        """A contract made an order; why, its kind knows, so only what follows from it is judged."""
        slot, findings = event.slot, self._findings
        book = self._book(slot)
        findings.same(f"the order's number in slot {slot}", event.seq, len(book.orders))
        if self._slots.phase(slot) not in (Phase.OPEN, Phase.GATE_CLOSED):
            findings.add(f"a contract makes an order for slot {slot} after delivery has begun")
        if event.account not in self._credit:
            findings.add(f"a contract makes an order for {findings.name(event.account)}")
        terms = PlaceOrder(slot, event.side, event.quantity_wh, event.price, event.price, 0)
        self._check_terms(terms)
        order = Placed(event.seq, event.account, self._credit.get(event.account, 0), terms)
        order.made = True
        if terms.side == BID:
            self._set_aside(order, event.escrow)
        elif event.escrow:
            findings.add(f"{event.escrow} micro are set aside for an offer")
        book.orders[event.seq] = order
        if self._slots.phase(slot) is Phase.OPEN:
            self._arrived[slot] = None

    def cancel(self, event: OrderCancelled, sender: PublicKey | None) -> None:
        """What rested of an order has left the book; ``None``: not by its owner's word."""
        slot, findings = event.slot, self._findings
        order = self._book(slot).orders.get(event.seq)
        if order is None:
            findings.add(f"order {event.seq} of slot {slot} is cancelled, nobody placed it")
            return
        if sender is not None and order.account != sender:
            findings.add(f"order {event.seq} of slot {slot} is cancelled by another than its owner")
        if self._slots.phase(slot) is not Phase.OPEN:
            findings.add(f"order {event.seq} of slot {slot} is cancelled, the slot is not open")
        what = f"the rest of the cancelled order {event.seq} in slot {slot}"
        findings.same(what, event.quantity_wh, order.left_wh)
        order.left_wh = 0
        self._expect_release(order)

    def _set_aside(self, order: Placed, reserved: Micro) -> None:
        order.reserved = reserved
        self._purses.expect(order.account, Purse.BALANCE, -reserved, Reason.RESERVE)
        self._purses.expect(order.account, Purse.ESCROW, reserved, Reason.RESERVE)

    def _book(self, slot: Slot) -> Book:
        if slot not in self._books:
            self._books[slot] = Book(self._rules, self._calendar.tariff(slot))
        return self._books[slot]

    def _check_terms(self, terms: PlaceOrder) -> None:
        market = self._market
        if not 1 <= terms.quantity_wh <= market.max_quantity_wh:
            self._findings.add(f"an order of {terms.quantity_wh} Wh is taken")
        if max(terms.price, terms.reserve_price) > market.max_price:
            self._findings.add(f"an order above the highest price, {market.max_price}, is taken")
        worse = terms.reserve_price - terms.price
        if worse > 0 if terms.side == OFFER else worse < 0:
            self._findings.add("an order whose reserve price is better than its price is taken")

    # ------------------------------------------------------------ trades

    def trade(self, event: Traded, *, by_time: bool) -> None:
        """An offer and a bid met; ``by_time``: in the block's own receipt, at gate closure."""
        slot, findings = event.slot, self._findings
        made = self.contracts.setdefault(slot, [])
        what = f"trade {event.seq} of slot {slot}"
        findings.same(f"the number of {what}", event.seq, len(made))
        self._check_occasion(event, what, by_time=by_time)
        right = amount(event.quantity_wh, event.price)
        findings.same(f"the amount of {what}", event.amount, right)
        book = self._book(slot)
        offer, bid = book.orders.get(event.offer), book.orders.get(event.bid)
        if offer is None or bid is None or (offer.terms.side, bid.terms.side) != (OFFER, BID):
            findings.add(f"{what} is not between an offer and a bid that were placed")
        else:
            if (event.seller, event.buyer) != (offer.account, bid.account):
                findings.add(f"{what} is not between those who placed its orders")
            if event.round not in (0, AGAIN) and offer.made:
                findings.add(f"{what} is of round {event.round}, but its offer is a contract's")
            if event.round:
                self._check_price(event, what, offer, bid)
            else:
                self._check_made(event, what, offer, bid)
            if event.round == AGAIN:
                self._match_again(event, what, offer, bid)
            else:
                if event.round:
                    self._check_turn(event, what, offer, bid)
                smaller = min(offer.left_wh, bid.left_wh)
                findings.same(f"the quantity of {what}", event.quantity_wh, smaller)
                offer.left_wh -= event.quantity_wh
                bid.left_wh -= event.quantity_wh
            bid.cost += right
        book.note_price(event.price, event.round)
        parties = (event.seller, event.buyer)
        made.append(
            Contract(*parties, event.quantity_wh, right, event.round, event.price, event.bid)
        )
        if self._grid is not None:
            if event.round != AGAIN:
                trade = Carried(event.seq, event.seller, event.buyer, event.quantity_wh)
                self._made.setdefault(slot, []).append(trade)
            self._terms.setdefault(slot, []).append((event.offer, event.bid, event.price))

    def _check_occasion(self, event: Traded, what: str, *, by_time: bool) -> None:
        rules, findings = self._rules, self._findings
        if by_time:
            if (event.slot, Phase.GATE_CLOSED) not in self._slots.advanced:
                findings.add(f"{what} is made by time, but not at gate closure")
            rounds = {2} if rules.continuous else set(rules.rounds)
            if self._grid is not None:
                rounds.add(AGAIN)
        else:
            phases = {Phase.OPEN} if event.round else {Phase.OPEN, Phase.GATE_CLOSED}
            if self._slots.phase(event.slot) not in phases:
                findings.add(f"{what} is made while the slot is not open")
            rounds = {0, 1} if rules.continuous else {0}
        if event.round not in rounds:
            findings.add(f"{what} is of round {event.round}, which does not belong here")

    def _check_turn(self, event: Traded, what: str, offer: Placed, bid: Placed) -> None:
        """Head meets head; in a continuous market the newest order meets the other side's head."""
        book, round_ = self._books[event.slot], event.round
        newest = max(offer.seq, bid.seq) if self._rules.continuous and round_ == 1 else None
        for order in (offer, bid):
            if order.seq != newest and book.head(order.terms.side, round_, newest) is not order:
                self._findings.add(f"{what} passes over an order better than order {order.seq}")
        if round_ != 1 and 1 in self._rules.rounds and book.crosses(1):
            self._findings.add(f"{what} is of round {round_}, round 1 is not over")
        if round_ == 1 and any(contract.round == 2 for contract in self.contracts[event.slot]):
            self._findings.add(f"{what} is of round 1, which is over")

    def _check_price(self, event: Traded, what: str, offer: Placed, bid: Placed) -> None:
        book = self._books[event.slot]
        asked, given = book.standing(offer, event.round), book.standing(bid, event.round)
        if asked - given > self._rules.tolerance:
            self._findings.add(f"{what} is made although {asked} is asked and {given} is bid")
        if event.round != AGAIN:
            book.last = (asked, given)
        if self._rules.uniform:
            return  # known only when the last trade is
        right = trade_price(self._rules, asked, offer.credit, given, bid.credit)
        self._findings.same(f"the price of {what}", event.price, right)

    def _check_made(self, event: Traded, what: str, offer: Placed, bid: Placed) -> None:
        """Outside the auction: both orders are a contract's, and the offer's price is paid."""
        if not (offer.made and bid.made):
            self._findings.add(f"{what} is of no round, but not between orders of contracts")
        if event.price > bid.terms.price:
            self._findings.add(f"{what} is made above the price that is bid, {bid.terms.price}")
        self._findings.same(f"the price of {what}", event.price, offer.terms.price)

    def void(self, event: TradeVoided, *, by_time: bool) -> None:
        """A trade is undone; ``by_time``: in the block's own receipt."""
        slot, findings = event.slot, self._findings
        what = f"trade {event.trade} of slot {slot}"
        made = self.contracts.get(slot, [])
        if event.trade >= len(made) or made[event.trade].void:
            findings.add(f"{what} is void, there is no such trade")
            return
        if not by_time or (slot, Phase.DELIVERING) not in self._slots.advanced:
            findings.add(f"{what} is void, but not as delivery begins")
        contract = made[event.trade]
        made[event.trade] = contract._replace(void=True)
        bid = self._book(slot).orders.get(contract.bid)
        if bid is not None:
            bid.cost -= contract.amount
            self._expect_release(bid)

    # ------------------------------------------------------------ the security check

    def cut(self, event: TradeCut, *, by_time: bool) -> None:
        """The grid does not carry all of a trade."""
        slot, findings = event.slot, self._findings
        what = f"trade {event.seq} of slot {slot}"
        made = self.contracts.get(slot, [])
        if self._grid is None or not by_time or slot in self._hashed or event.seq >= len(made):
            findings.add(f"{what} is cut, which cannot be")
            return
        contract = made[event.seq]
        offer, bid, price = self._terms[slot][event.seq]
        back = contract.quantity_wh - event.quantity_wh
        if back <= 0 or contract.round == AGAIN:
            findings.add(f"{what} is cut from {contract.quantity_wh} to {event.quantity_wh} Wh")
        right = amount(event.quantity_wh, price)
        findings.same(f"the amount left of {what}", event.amount, right)
        orders = self._book(slot).orders
        if offer in orders and bid in orders:
            orders[offer].freed_wh += back
            orders[bid].freed_wh += back
            orders[bid].cost -= contract.amount - right
        made[event.seq] = contract._replace(quantity_wh=event.quantity_wh, amount=right)

    def routed(self, event: TradeRouted) -> None:
        """A trade has a path."""
        if self._grid is None:
            self._findings.add(f"trade {event.seq} of slot {event.slot} has a path without a grid")
        else:
            self._grid.routed(event)

    def hashed(self, event: PathsHashed) -> None:
        """The security check of a slot is over."""
        slot = event.slot
        if self._grid is None or slot in self._hashed:
            self._findings.add(f"slot {slot} is checked without a grid, or twice")
            return
        self._hashed.add(slot)
        stand = [
            Carried(number, contract.seller, contract.buyer, contract.quantity_wh)
            for number, contract in enumerate(self.contracts.get(slot, ()))
            if contract.quantity_wh
        ]
        self._grid.hashed(event, self._made.get(slot, []), stand)

    def _match_again(self, event: Traded, what: str, offer: Placed, bid: Placed) -> None:
        """One of the two was cut, and what it trades now is what it has left."""
        if offer.freed_wh <= 0 and bid.freed_wh <= 0:
            self._findings.add(f"{what} is of round {AGAIN} between orders that were not cut")
        for order in (offer, bid):
            if event.quantity_wh > order.left_wh + order.freed_wh:
                self._findings.add(f"{what} is of more than order {order.seq} has left")
            order.freed_wh -= event.quantity_wh

    # ------------------------------------------------------------ the end of a receipt

    def end_receipt(self, *, by_time: bool) -> None:
        """Everything that crosses has traded; closed gates release, settled slots are paid."""
        if by_time:
            for slot, phase in self._slots.advanced:
                if phase is Phase.GATE_CLOSED:
                    self._check_exhausted(slot, 2)
                    self._check_one_price(slot)
                    self._expect_releases(slot)
                    if self._grid is not None and slot not in self._hashed:
                        self._findings.add(f"the trades of slot {slot} are not checked")
                elif phase is Phase.SETTLED:
                    self._expect_payments(slot)
        elif self._rules.continuous:
            for slot in self._arrived:
                self._check_exhausted(slot, 1)
        self._arrived.clear()

    def _check_exhausted(self, slot: Slot, round_: int) -> None:
        if round_ in self._rules.rounds and self._book(slot).crosses(round_):
            self._findings.add(f"orders of slot {slot} that cross in round {round_} do not trade")

    def _check_one_price(self, slot: Slot) -> None:
        book = self._book(slot)
        if not self._rules.uniform or book.last is None:
            return
        offer, bid = book.head(OFFER, 2), book.head(BID, 2)
        right = one_price(
            *book.last,
            None if offer is None else book.standing(offer, 2),
            None if bid is None else book.standing(bid, 2),
        )
        for seq, contract in enumerate(self.contracts[slot]):
            if contract.round == 0:
                continue
            self._findings.same(f"the price of trade {seq} of slot {slot}", contract.price, right)

    def _expect_releases(self, slot: Slot) -> None:
        for order in self._book(slot).orders.values():
            self._expect_release(order)

    def _expect_release(self, order: Placed) -> None:
        """What its trades do not need goes back; exactly what they cost stays."""
        unused = order.reserved - order.cost
        if order.terms.side == BID:
            order.reserved = order.cost
            self._purses.expect(order.account, Purse.ESCROW, -unused, Reason.RELEASE)
            self._purses.expect(order.account, Purse.BALANCE, unused, Reason.RELEASE)

    def _expect_payments(self, slot: Slot) -> None:
        for contract in self.firm(slot):
            self._purses.expect(contract.buyer, Purse.ESCROW, -contract.amount, Reason.TRADE)
            self._purses.expect(contract.seller, Purse.BALANCE, contract.amount, Reason.TRADE)
