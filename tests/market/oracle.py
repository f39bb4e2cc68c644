"""The clearing rules of market.md, §0, written a second time: naive, quadratic, exact fractions.

Shares nothing with :mod:`vppd.market.auction` but the order record, so an error has to be made
twice to go unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from vppd.market.auction import Order, Side


class Met(NamedTuple):
    """A trade: ids, Wh, prices, round."""

    offer_id: int
    bid_id: int
    quantity_wh: int
    price: int
    offer_price: int
    bid_price: int
    round: int


class Outcome(NamedTuple):
    """Trades in the order made, and (id, Wh, grid price) of what is left."""

    trades: list[Met]
    left: list[tuple[int, int, int]]


@dataclass
class Standing:
    """An order in the queue."""

    order: Order[str]
    left: int
    price: int


def clear(name: str, orders: Sequence[Order[str]], retail: int, feed_in: int) -> Outcome:
    """All of a slot: ``orders`` in order of arrival, then gate closure."""
    continuous = name in ("production", "paper003")
    queue: list[Standing] = []
    trades: list[Met] = []
    for order in orders:
        queue.append(Standing(order, order.quantity_wh, order.price))
        if continuous:
            trades += match(name, queue, 1, newcomer=queue[-1])
    if not continuous:
        trades += match(name, queue, 1)
    stage_one = [trade.price for trade in trades]
    pa = (
        round(Fraction(sum(stage_one), len(stage_one)))
        if stage_one
        else round(Fraction(retail + feed_in, 2))
    )
    for entry in queue:
        entry.price = round_two_price(name, entry.order, pa)
    trades += match(name, queue, 2)
    left = [
        (e.order.id, e.left, feed_in if e.order.side == Side.OFFER else retail)
        for e in queue
        if e.left > 0
    ]
    return Outcome(trades, left)


def round_two_price(name: str, order: Order[str], pa: int) -> int:
    """Rule 5, and rule 7 for two-stage."""
    selling = order.side == Side.OFFER
    if name == "two-stage":
        if selling:
            return min(order.price, max(order.reserve_price, pa))
        return max(order.price, min(order.reserve_price, pa))
    if name == "paper003" and selling:
        return order.price
    return order.reserve_price


def match(
    name: str, queue: list[Standing], round_: int, newcomer: Standing | None = None
) -> list[Met]:
    """Rules 1 to 4: best meets best while they cross; with a newcomer, it is its side's best."""
    trades: list[Met] = []
    while True:
        offer = best(name, queue, Side.OFFER, newcomer)
        bid = best(name, queue, Side.BID, newcomer)
        if offer is None or bid is None:
            return trades
        tolerance = 2_000 if name == "paper003" else 0
        if offer.price - bid.price > tolerance:
            return trades
        quantity = min(offer.left, bid.left)
        offer.left -= quantity
        bid.left -= quantity
        trades.append(
            Met(
                offer.order.id,
                bid.order.id,
                quantity,
                price_of(name, offer, bid),
                offer.price,
                bid.price,
                round_,
            )
        )


def best(
    name: str, queue: list[Standing], side: Side, newcomer: Standing | None
) -> Standing | None:
    """The head of a side in book order (rule 1)."""
    if newcomer is not None and newcomer.order.side == side:
        return newcomer if newcomer.left > 0 else None
    found: Standing | None = None
    for entry in queue:
        if entry.order.side != side or entry.left == 0:
            continue
        if found is None or goes_before(name, entry, found):
            found = entry
    return found


def goes_before(name: str, a: Standing, b: Standing) -> bool:
    """Better price, then higher credit (not in two-stage), then earlier arrival."""
    if a.price != b.price:
        return (a.price < b.price) == (a.order.side == Side.OFFER)
    if name != "two-stage" and a.order.credit != b.order.credit:
        return a.order.credit > b.order.credit
    return a.order.arrival < b.order.arrival


def price_of(name: str, offer: Standing, bid: Standing) -> int:
    """Rule 3, in exact fractions; ``round`` of a fraction is half to even."""
    rs, rb = offer.order.credit, bid.order.credit
    if name == "two-stage" or rs + rb == 0:
        return round(Fraction(offer.price + bid.price, 2))
    xi = Fraction(rs, rs + rb)
    return round(xi * bid.price + (1 - xi) * offer.price)
