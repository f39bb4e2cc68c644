"""Cut trades matched again: "the system will be matched again or the grid will absorb" (P3, §3.1).

What the security check cuts off a trade goes back to its offer and its bid. Each cut part then
meets, once, the orders of the other side that have something left and sit on another bus than the
partner it lost: best first, at the prices of round 2, by the price rules of the auction, and as far
as the grid carries it. What is left after that is the grid's (market.md, rule 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic

import msgspec

from vppd.market.auction import (
    A,
    Order,
    Rules,
    Side,
    Trade,
    book_key,
    closing_price,
    trade_price,
)
from vppd.market.grid.security import Check, Deal
from vppd.types import MicroPerKwh, Wh


class Placed(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """An order, where it sits and what round 2 left of it."""

    order: Order[A]
    bus: int
    """Id of a bus of the grid."""
    left: Wh
    bound: bool = False
    """It trades with nobody but whom it has: what is cut from it is the grid's."""


class Screening(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """What the security check made of a slot's trades."""

    kept: tuple[Wh, ...]
    """Of each trade, in order, the quantity that holds; 0: nothing."""
    rematched: tuple[Trade[A], ...]
    """New trades of round 3, in the order made."""
    base_holds: bool
    """The grid's limits hold without any trade; known to be false only if something was cut."""
    complete: bool
    """False: the work was more than is allowed, so some was cut unseen."""


class _Standing(msgspec.Struct, Generic[A]):
    placed: Placed[A]
    price: MicroPerKwh
    left: Wh


def screen(
    check: Check,
    rules: Rules,
    reference: MicroPerKwh | None,
    trades: Sequence[Trade[A]],
    placed: Iterable[Placed[A]],
) -> Screening[A]:
    """Checks a slot's trades and matches what is cut again.

    Args:
        check: fresh, of this slot; holds what was taken afterwards.
        rules: of the auction.
        reference: P4's ``Pa``, in an auction of two stages; the one price of a uniform call.
        trades: in the order made.
        placed: every order of the slot, each id once.

    Raises:
        KeyError: a trade of an order that was not placed.
    """
    orders = {
        seat.order.id: _Standing(seat, closing_price(rules, reference, seat.order), seat.left)
        for seat in placed
    }
    deals = [
        Deal(orders[trade.offer_id].placed.bus, orders[trade.bid_id].placed.bus, trade.quantity_wh)
        for trade in trades
    ]
    kept = check.admit_all(deals)
    cut = [trade for trade, taken in zip(trades, kept, strict=True) if taken < trade.quantity_wh]
    if not cut:
        return Screening(tuple(kept), (), check.base_holds, True)
    for trade, taken in zip(trades, kept, strict=True):
        orders[trade.offer_id].left += trade.quantity_wh - taken
        orders[trade.bid_id].left += trade.quantity_wh - taken
    uniform = reference if rules.pricing == "uniform" else None
    rematched = _match_again(check, rules, uniform, orders, cut)
    complete = not check.exhausted
    return Screening(tuple(kept), tuple(rematched), check.base_holds, complete)


def _match_again(
    check: Check,
    rules: Rules,
    uniform: MicroPerKwh | None,
    orders: dict[int, _Standing[A]],
    cut: Sequence[Trade[A]],
) -> list[Trade[A]]:
    """Every cut part, the seller's before the buyer's, in the order of the trades."""
    books = tuple(
        sorted(
            (entry for entry in orders.values() if entry.placed.order.side == side),
            key=lambda entry: book_key(rules, entry.placed.order, entry.price),
        )
        for side in (Side.OFFER, Side.BID)
    )
    made: list[Trade[A]] = []
    for trade in cut:
        offer, bid = orders[trade.offer_id], orders[trade.bid_id]
        for mine, lost in ((offer, bid), (bid, offer)):
            for other in books[1 - mine.placed.order.side]:
                if mine.left == 0 or check.exhausted:
                    break
                seller, buyer = (mine, other) if mine is offer else (other, mine)
                if not _cross(rules, uniform, seller, buyer):
                    break  # those behind it stand at worse prices
                same_owner = other.placed.order.agent == mine.placed.order.agent
                bound = mine.placed.bound or other.placed.bound
                same_place = other.placed.bus == lost.placed.bus
                if other.left == 0 or same_place or same_owner or bound:
                    continue
                wanted = min(mine.left, other.left)
                quantity = check.admit(Deal(seller.placed.bus, buyer.placed.bus, wanted))
                if quantity:
                    seller.left -= quantity
                    buyer.left -= quantity
                    made.append(_trade(rules, uniform, seller, buyer, quantity))
    return made


def _cross(
    rules: Rules, uniform: MicroPerKwh | None, seller: _Standing[A], buyer: _Standing[A]
) -> bool:
    """Whether they may trade; at the one price, if the slot has one, both must take it."""
    if uniform is not None:
        return seller.price <= uniform <= buyer.price
    return seller.price - buyer.price <= rules.tolerance


def _trade(
    rules: Rules,
    uniform: MicroPerKwh | None,
    seller: _Standing[A],
    buyer: _Standing[A],
    quantity_wh: Wh,
) -> Trade[A]:
    offer, bid = seller.placed.order, buyer.placed.order
    price = uniform
    if price is None:
        price = trade_price(rules, seller.price, offer.credit, buyer.price, bid.credit)
    return Trade(
        offer.id,
        bid.id,
        offer.agent,
        bid.agent,
        quantity_wh,
        price,
        seller.price,
        buyer.price,
        3,
    )
