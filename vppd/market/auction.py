"""The auctions: orders in, trades out (market.md, "Exact clearing rules").

One :class:`Book` holds one slot's orders. Which auction it runs is data, a :class:`Rules` record:
the continuous double auction of P3 (§3.2, Steps 1–4), the same as a call, the two-stage auction of
P4 (§3, Fig 2), or P4's centralised matching (§3.2.1, mode 3), a call at one price. Everything that
decides is a function of the resting orders alone, so a book rebuilt from them goes on exactly like
the one that was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from heapq import heappop, heappush
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from vppd.config.genesis import MarketRules
from vppd.market.money import amount_micro, div_half_even
from vppd.types import Micro, MicroPerKwh, Ppm, Wh

A = TypeVar("A")
"""What names a member: a public key on chain, a name in a file."""
Round: TypeAlias = Literal[1, 2, 3]
"""3: among what the security check has cut (:mod:`vppd.market.grid.rematch`)."""
Limit: TypeAlias = "Callable[[Order[A]], MicroPerKwh]"
BookKey: TypeAlias = tuple[int, int, int, int]


class Side(IntEnum):
    """Which way the energy goes."""

    OFFER = 0
    """To sell."""
    BID = 1
    """To buy."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What distinguishes one auction from another."""

    mode: Literal["continuous", "call"] = "continuous"
    """Round 1 on each arrival, or once over the whole queue at gate closure."""
    tolerance: MicroPerKwh = 0
    """An offer and a bid cross when offer price − bid price is at most this."""
    concede: Literal["both", "buyer", "seller"] = "both"
    """Who stands at the reserve price in round 2."""
    pricing: Literal["credit", "midpoint", "uniform"] = "credit"
    """Weighted by credit (P3, eqs 3 and 4), halfway between bid and offer (P4), or one price for
    all where the curves cross (P4, §3.2.1); ``uniform`` is for a call with one round."""
    two_stage: bool = False
    """Round 2 leans towards the mean price of round 1 instead of going to the reserve (P4)."""
    rounds: tuple[Round, ...] = (1, 2)
    """Those there are. Without round 1 everybody stands at once at the worst price it accepts,
    which costs nobody anything where one price holds for all."""
    credit_priority: bool = True
    """At equal prices the higher credit goes first, before the earlier arrival."""


RULES: Final[dict[MarketRules, Rules]] = {
    "production": Rules(),
    "paper003": Rules(tolerance=2_000, concede="buyer"),
    "literal003": Rules(mode="call"),
    "two-stage": Rules(mode="call", pricing="midpoint", two_stage=True, credit_priority=False),
    "uniform": Rules(mode="call", pricing="uniform", rounds=(2,)),
    "cooperative": Rules(mode="call", rounds=()),
}
"""The named rule sets; ``paper003`` reproduces P3's Tables 6 and 7. Under ``cooperative`` nobody
trades: the plant bids as a whole (P1, §3.4), and an order only says what a member brings."""


class Order(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """A wish to sell or to buy."""

    id: int
    """Unique in the book, also among orders long filled."""
    agent: A
    side: Side
    quantity_wh: Wh
    """As ordered, above zero; what is left of it is the book's to know."""
    price: MicroPerKwh
    reserve_price: MicroPerKwh
    """The worst acceptable price: at most ``price`` in an offer, at least in a bid."""
    credit: Ppm
    arrival: int
    """Position in ledger order."""


class Trade(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """An offer and a bid that met."""

    offer_id: int
    bid_id: int
    seller: A
    buyer: A
    quantity_wh: Wh
    price: MicroPerKwh
    offer_price: MicroPerKwh
    """The price the offer stood at when the trade was made."""
    bid_price: MicroPerKwh
    """The price the bid stood at when the trade was made."""
    round: Round

    @property
    def amount(self) -> Micro:
        """What the buyer pays and the seller gets."""
        return amount_micro(self.quantity_wh, self.price)


class Residual(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """What an order is left with after both rounds: the grid takes or gives it (rule 6)."""

    order_id: int
    agent: A
    side: Side
    quantity_wh: Wh
    price: MicroPerKwh
    """The grid's: feed-in for an offer, retail for a bid."""


class Clearing(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """What gate closure brought."""

    trades: tuple[Trade[A], ...]
    """Those made at gate closure, in the order made."""
    residuals: tuple[Residual[A], ...]
    """In order of arrival."""
    reference_price: MicroPerKwh | None
    """P4's ``Pa``, the price stage 2 leans towards, or the one price of a uniform call that made
    trades; else None."""


class Book(Generic[A]):
    """One slot's orders and how they meet.

    Args:
        rules: which auction to run.
    """

    __slots__ = ("_heaps", "_left", "_orders", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._orders: dict[int, Order[A]] = {}
        self._left: dict[int, Wh] = {}
        # Entries of orders that have left stay in the heap until they come to its top.
        self._heaps: tuple[list[BookKey], list[BookKey]] = ([], [])

    @classmethod
    def restore(cls, rules: Rules, resting: Iterable[tuple[Order[A], Wh]]) -> Book[A]:
        """The book in which exactly these orders rest, each with what is left of it.

        Raises:
            ValueError: an id twice, or nothing left of an order.
        """
        book: Book[A] = cls(rules)
        for order, left in resting:
            book._admit(order, left)
            heappush(book._heaps[order.side], book_key(rules, order, order.price))
        return book

    def submit(self, order: Order[A], left: Wh | None = None) -> list[Trade[A]]:
        """Takes an order in; the trades it makes at once, none in a call (rule 4).

        Args:
            order: new in this book.
            left: what has not traded outside the book; ``None``: all of it.

        Raises:
            ValueError: its id is in the book, or there is nothing left of it.
        """
        self._admit(order, order.quantity_wh if left is None else left)
        trades = self._on_arrival(order) if self.rules.mode == "continuous" else []
        if order.id in self._left:
            heappush(self._heaps[order.side], book_key(self.rules, order, order.price))
        return trades

    def withdraw(self, order_id: int) -> Wh:
        """Takes an order out, if it rests here; what was left of it."""
        self._orders.pop(order_id, None)
        return self._left.pop(order_id, 0)

    def remaining(self, order_id: int) -> Wh:
        """What is left of an order; 0 if it is filled or was never here."""
        return self._left.get(order_id, 0)

    def rows(self, side: Side) -> list[tuple[Order[A], Wh]]:
        """Resting orders of one side in book order, each with what is left of it (rule 1)."""
        return [(order, self._left[order.id]) for _, order in self._queue(side, _own_price)]

    def close(self, retail_price: MicroPerKwh, feed_in_price: MicroPerKwh) -> Clearing[A]:
        """Gate closure: the rounds that are still to come; the book is empty afterwards.

        Args:
            retail_price: what the grid charges in this slot.
            feed_in_price: what the grid pays in this slot.
        """
        rules = self.rules
        trades = self._call(_own_price, 1) if rules.mode == "call" and 1 in rules.rounds else []
        reference: MicroPerKwh | None = None
        if rules.two_stage:
            reference = reference_price([t.price for t in trades], retail_price, feed_in_price)
        second: Limit[A] = partial(closing_price, rules, reference)
        if 2 in rules.rounds:
            trades += self._call(second, 2)
        if rules.pricing == "uniform" and trades:
            reference = self._uniform_price(trades[-1], second)
            trades = [replace(trade, price=reference) for trade in trades]
        left = sorted(self._orders.values(), key=lambda order: (order.arrival, order.id))
        residuals = tuple(
            Residual(
                order.id,
                order.agent,
                order.side,
                self._left[order.id],
                feed_in_price if order.side == Side.OFFER else retail_price,
            )
            for order in left
        )
        self._orders.clear()
        self._left.clear()
        self._heaps = ([], [])
        return Clearing(tuple(trades), residuals, reference)

    def _admit(self, order: Order[A], left: Wh) -> None:
        if order.id in self._left:
            raise ValueError(f"order {order.id} is in the book already")
        if left <= 0:
            raise ValueError(f"order {order.id} has {left} Wh left, it needs more than zero")
        self._orders[order.id] = order
        self._left[order.id] = left

    def _on_arrival(self, order: Order[A]) -> list[Trade[A]]:
        trades: list[Trade[A]] = []
        other = Side.BID if order.side == Side.OFFER else Side.OFFER
        while order.id in self._left and (best := self._best(other)) is not None:
            offer, bid = (order, best) if order.side == Side.OFFER else (best, order)
            if offer.price - bid.price > self.rules.tolerance:
                break
            trades.append(self._trade(offer, offer.price, bid, bid.price, 1))
        return trades

    def _best(self, side: Side) -> Order[A] | None:
        heap = self._heaps[side]
        while heap and heap[0][-1] not in self._left:
            heappop(heap)
        return self._orders[heap[0][-1]] if heap else None

    def _call(self, limit: Limit[A], round_: Round) -> list[Trade[A]]:
        """Head meets head while they cross, each order standing at its ``limit``."""
        offers, bids = self._queue(Side.OFFER, limit), self._queue(Side.BID, limit)
        trades: list[Trade[A]] = []
        i = j = 0
        while i < len(offers) and j < len(bids):
            (offer_price, offer), (bid_price, bid) = offers[i], bids[j]
            if offer_price - bid_price > self.rules.tolerance:
                break
            trades.append(self._trade(offer, offer_price, bid, bid_price, round_))
            i += offer.id not in self._left
            j += bid.id not in self._left
        return trades

    def _uniform_price(self, marginal: Trade[A], limit: Limit[A]) -> MicroPerKwh:
        """Where the curves of supply and demand cross, after the call.

        Halfway between the marginal offer and the marginal bid, half to even, but not below the
        best bid that is left over nor above the best offer that is: at this price whoever would
        trade more stands exactly at it. It lies between the two marginal limits, hence within
        those of every trade.
        """
        price = div_half_even(marginal.offer_price + marginal.bid_price, 2)
        for best_bid, _ in self._queue(Side.BID, limit)[:1]:
            price = max(price, best_bid)
        for best_offer, _ in self._queue(Side.OFFER, limit)[:1]:
            price = min(price, best_offer)
        return price

    def _queue(self, side: Side, limit: Limit[A]) -> list[tuple[MicroPerKwh, Order[A]]]:
        standing = [(limit(order), order) for order in self._orders.values() if order.side == side]
        standing.sort(key=lambda entry: book_key(self.rules, entry[1], entry[0]))
        return standing

    def _trade(
        self,
        offer: Order[A],
        offer_price: MicroPerKwh,
        bid: Order[A],
        bid_price: MicroPerKwh,
        round_: Round,
    ) -> Trade[A]:
        """The smaller remainder changes hands; an order filled by it leaves the book (rule 3)."""
        quantity = min(self._left[offer.id], self._left[bid.id])
        for order in (offer, bid):
            self._left[order.id] -= quantity
            if self._left[order.id] == 0:
                del self._left[order.id], self._orders[order.id]
        return Trade(
            offer.id,
            bid.id,
            offer.agent,
            bid.agent,
            quantity,
            trade_price(self.rules, offer_price, offer.credit, bid_price, bid.credit),
            offer_price,
            bid_price,
            round_,
        )


def book_key(rules: Rules, order: Order[A], price: MicroPerKwh) -> BookKey:
    """Sorts the orders of one side, each standing at ``price``, into book order (rule 1)."""
    return (
        price if order.side == Side.OFFER else -price,
        -order.credit if rules.credit_priority else 0,
        order.arrival,
        order.id,
    )


def closing_price(rules: Rules, reference: MicroPerKwh | None, order: Order[A]) -> MicroPerKwh:
    """Where an order stands in round 2 (rules 5 and 7).

    Args:
        rules: of the auction.
        reference: P4's ``Pa``, in an auction of two stages.
        order: any.
    """
    if rules.two_stage and reference is not None:
        return _leaning_price(reference, order)
    return _conceded_price(rules.concede, order)


def trade_price(
    rules: Rules,
    offer_price: MicroPerKwh,
    seller_credit: Ppm,
    bid_price: MicroPerKwh,
    buyer_credit: Ppm,
) -> MicroPerKwh:
    """The price of a trade (rule 3; P3, eqs 3 and 4; P4, §3).

    Credit pricing favours the better credit: ξ = Rs/(Rs+Rb) multiplies the buyer's price. In a
    uniform call this midpoint is only where the search for the one price starts.
    """
    total = seller_credit + buyer_credit
    if rules.pricing != "credit" or total == 0:
        return div_half_even(bid_price + offer_price, 2)
    return div_half_even(seller_credit * bid_price + buyer_credit * offer_price, total)


def reference_price(
    prices: Sequence[MicroPerKwh], retail_price: MicroPerKwh, feed_in_price: MicroPerKwh
) -> MicroPerKwh:
    """P4's ``Pa``: unweighted mean of stage 1, or halfway between the grid's prices (rule 7)."""
    if not prices:
        return div_half_even(retail_price + feed_in_price, 2)
    return div_half_even(sum(prices), len(prices))


def _own_price(order: Order[A]) -> MicroPerKwh:
    return order.price


def _conceded_price(concede: str, order: Order[A]) -> MicroPerKwh:
    who = "seller" if order.side == Side.OFFER else "buyer"
    return order.reserve_price if concede in ("both", who) else order.price


def _leaning_price(reference: MicroPerKwh, order: Order[A]) -> MicroPerKwh:
    """Towards ``Pa`` as far as the reserve lets, never away from the own price (rule 7)."""
    if order.side == Side.OFFER:
        return min(order.price, max(order.reserve_price, reference))
    return max(order.price, min(order.reserve_price, reference))
