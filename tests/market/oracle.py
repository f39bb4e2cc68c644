"""The clearing rules of market.md, §0, written a second time: naive, quadratic, exact fractions.

Shares nothing with :mod:`vppd.market.auction` but the order record, so an error has to be made
twice to go unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    if not continuous and name not in ("uniform", "cooperative"):
        trades += match(name, queue, 1)
    stage_one = [trade.price for trade in trades]
    pa = (
        round(Fraction(sum(stage_one), len(stage_one)))
        if stage_one
        else round(Fraction(retail + feed_in, 2))
    )
    for entry in queue:
        entry.price = round_two_price(name, entry.order, pa)
    if name != "cooperative":
        trades += match(name, queue, 2)
    if name == "uniform" and trades:
        one = crossing(orders, round(Fraction(trades[-1].offer_price + trades[-1].bid_price, 2)))
        trades = [trade._replace(price=one) for trade in trades]
    left = [
        (e.order.id, e.left, feed_in if e.order.side == Side.OFFER else retail)
        for e in queue
        if e.left > 0
    ]
    return Outcome(trades, left)


def crossing(orders: Sequence[Order[str]], halfway: int) -> int:
    """The price next to ``halfway`` at which nobody is left over who would rather trade.

    At a price, whoever would trade at a better one must find a counterpart among those who would
    trade at this one. If ``halfway`` is no such price, the nearest is somebody's limit.
    """

    def clears(price: int) -> bool:
        eager_offers = volume(orders, Side.OFFER, lambda limit: limit < price)
        eager_bids = volume(orders, Side.BID, lambda limit: limit > price)
        offers = volume(orders, Side.OFFER, lambda limit: limit <= price)
        bids = volume(orders, Side.BID, lambda limit: limit >= price)
        return eager_offers <= bids and eager_bids <= offers

    candidates = {halfway} | {order.reserve_price for order in orders}
    nearest = min(abs(price - halfway) for price in candidates if clears(price))
    (found,) = {p for p in candidates if clears(p) and abs(p - halfway) == nearest}
    return found


def most_volume(orders: Sequence[Order[str]]) -> int:
    """What can change hands at one price, over all prices."""

    def at(price: int) -> int:
        return min(
            volume(orders, Side.OFFER, lambda limit: limit <= price),
            volume(orders, Side.BID, lambda limit: limit >= price),
        )

    return max((at(order.reserve_price) for order in orders), default=0)


def volume(orders: Sequence[Order[str]], side: Side, wants: Callable[[int], bool]) -> int:
    """What one side's orders with such limits come to."""
    return sum(o.quantity_wh for o in orders if o.side == side and wants(o.reserve_price))


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
