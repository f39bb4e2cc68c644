"""What is cut is matched once more; what is left then is the grid's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.market.grid.feeders import grid, line
from vppd.config.genesis import MarketRules
from vppd.config.grid import Grid
from vppd.market.auction import RULES, Book, Order, Rules, Side, Trade, trade_price
from vppd.market.grid.flow import Feeder
from vppd.market.grid.rematch import Placed, Screening, screen
from vppd.market.grid.security import Check

HOUR = 60
PRODUCTION = RULES["production"]

FORK = grid(range(4), [line(0, 1, rating_va=5_000), line(0, 2), line(0, 3)])
"""Buses 1, 2 and 3 each hang on the slack bus; the line to bus 1 is narrow."""


def offer(id_: int, quantity: int, price: int, reserve: int, agent: str = "") -> Order[str]:
    name = agent or f"m{id_}"
    return Order(id_, name, Side.OFFER, quantity, price, reserve, 800_000, id_)


def bid(id_: int, quantity: int, price: int, reserve: int, agent: str = "") -> Order[str]:
    name = agent or f"m{id_}"
    return Order(id_, name, Side.BID, quantity, price, reserve, 800_000, id_)


class Slot:
    """Orders at buses, cleared and then checked."""

    def __init__(
        self,
        model: Grid,
        *orders: tuple[Order[str], int],
        rules: Rules = PRODUCTION,
        most: int = 10**9,
    ) -> None:
        book: Book[str] = Book(rules)
        self.trades = [trade for order, _ in orders for trade in book.submit(order)]
        clearing = book.close(RETAIL, FEED_IN)
        self.trades += clearing.trades
        left = {residual.order_id: residual.quantity_wh for residual in clearing.residuals}
        self.placed = [Placed(order, bus, left.get(order.id, 0)) for order, bus in orders]
        self.check = Check(Feeder(model), HOUR, most_work=most)
        self.result: Screening[str] = screen(
            self.check, rules, clearing.reference_price, self.trades, self.placed
        )

    @property
    def made(self) -> list[tuple[int, int, int]]:
        """Offer, bid and quantity of every trade that stands."""
        first = [
            (trade.offer_id, trade.bid_id, kept)
            for trade, kept in zip(self.trades, self.result.kept, strict=True)
            if kept
        ]
        return first + [(t.offer_id, t.bid_id, t.quantity_wh) for t in self.result.rematched]


RETAIL, FEED_IN = 12_000, 2_000


def test_without_a_violation_every_trade_stays_as_it_is() -> None:
    slot = Slot(FORK, (offer(0, 4_000, 5_000, 5_000), 2), (bid(1, 4_000, 6_000, 6_000), 1))
    assert slot.result == Screening((4_000,), (), True, True)


def test_the_cut_part_of_a_seller_goes_to_the_next_best_bid_of_another_bus() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 4_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 1_000, 5_500, 5_500), 3),
        (bid(3, 2_000, 6_000, 6_000), 3),
    )
    kept = slot.result.kept[0]
    assert 4_900 < kept < 5_000
    assert [(t.offer_id, t.bid_id, t.quantity_wh, t.round) for t in slot.result.rematched] == [
        (0, 3, 2_000, 3),
        (0, 2, 1_000, 3),
    ]
    # At the prices of round 2, by the price rule of the auction.
    assert [(t.offer_price, t.bid_price, t.price) for t in slot.result.rematched] == [
        (4_000, 6_000, 5_000),
        (4_000, 5_500, 4_750),
    ]


def test_the_cut_part_of_a_buyer_goes_to_the_next_best_offer_of_another_bus() -> None:
    # The seller sits behind the narrow line; the others sell on wide ones.
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 5_000), 1),
        (offer(1, 9_000, 6_500, 6_200), 1),
        (offer(2, 1_500, 6_900, 6_000), 3),
        (bid(3, 9_000, 6_000, 7_000), 2),
    )
    # Offer 1 stands better than offer 2 does in no way the grid would carry: it is on bus 1 too.
    assert [(t.offer_id, t.bid_id, t.quantity_wh) for t in slot.result.rematched] == [(2, 3, 1_500)]


def test_what_no_other_bus_takes_is_absorbed_by_the_grid() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 5_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 9_000, 4_000, 4_500), 3),  # does not cross
    )
    assert slot.result.rematched == ()
    assert slot.made == [(0, 1, slot.result.kept[0])]


def test_it_does_not_go_back_to_the_bus_that_could_not_take_it() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 5_000), 2),
        (bid(1, 6_000, 7_000, 7_000), 1),
        (bid(2, 3_000, 6_000, 6_000), 1),
    )
    assert slot.result.rematched == ()
    assert slot.result.kept[1] == 0


def test_nobody_is_matched_with_itself() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 5_000, "a"), 2),
        (bid(1, 9_000, 7_000, 7_000, "b"), 1),
        (bid(2, 9_000, 6_000, 6_000, "a"), 3),
    )
    assert slot.result.rematched == ()


def test_a_new_trade_is_cut_back_as_well() -> None:
    two_narrow = grid(
        range(4), [line(0, 1, rating_va=5_000), line(0, 2), line(0, 3, rating_va=1_000)]
    )
    slot = Slot(
        two_narrow,
        (offer(0, 9_000, 5_000, 5_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 9_000, 6_000, 6_000), 3),
    )
    ((_, _, quantity),) = [made for made in slot.made if made[1] == 2]
    assert 990 < quantity < 1_000


def test_in_two_stages_it_stands_at_the_price_that_leans_towards_the_mean() -> None:
    rules = RULES["two-stage"]
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 3_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 2_000, 4_000, 9_000), 3),
        rules=rules,
    )
    # Pa = 6.000; the seller stays at 5.000, the buyer goes up to 6.000.
    (again,) = slot.result.rematched
    assert (again.offer_price, again.bid_price, again.price) == (5_000, 6_000, 5_500)


def test_in_a_uniform_call_it_trades_at_the_one_price_or_not_at_all() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 4_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 2_000, 5_000, 5_000), 3),
        (offer(3, 1_000, 6_000, 6_000), 1),
        rules=RULES["uniform"],
    )
    # Where the curves cross, 5.5, the bid of 5.0 would not buy, and the offer of 6.0 not sell.
    assert [trade.price for trade in slot.trades] == [5_500]
    assert slot.result.rematched == ()
    exact = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 4_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 2_000, 5_500, 5_500), 3),
        rules=RULES["uniform"],
    )
    (again,) = exact.result.rematched
    assert (again.quantity_wh, again.price) == (2_000, 5_500)


def test_who_agreed_outside_the_auction_is_matched_with_nobody_else() -> None:
    orders = (
        (offer(0, 9_000, 5_000, 5_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 2_000, 6_000, 6_000), 3),
    )
    free = Slot(FORK, *orders)
    assert [trade.bid_id for trade in free.result.rematched] == [2]
    for bound in (0, 2):
        placed = [
            Placed(seat.order, seat.bus, seat.left, bound=seat.order.id == bound)
            for seat in free.placed
        ]
        check = Check(Feeder(FORK), HOUR)
        assert screen(check, PRODUCTION, None, free.trades, placed).rematched == ()


def test_work_beyond_the_bound_leaves_the_rest_to_the_grid() -> None:
    slot = Slot(
        FORK,
        (offer(0, 9_000, 5_000, 5_000), 2),
        (bid(1, 9_000, 7_000, 7_000), 1),
        (bid(2, 9_000, 6_000, 6_000), 3),
        most=8,
    )
    assert not slot.result.complete
    assert slot.result.rematched == ()


def test_an_order_that_was_not_placed_is_a_fault_of_the_caller() -> None:
    trade = Trade(0, 1, "a", "b", 1, 1, 1, 1, 1)
    with pytest.raises(KeyError):
        screen(Check(Feeder(FORK), HOUR), PRODUCTION, None, [trade], [])


@st.composite
def markets(draw: st.DrawFn) -> tuple[Grid, list[tuple[Order[str], int]]]:
    """A tree with tight lines and up to ten orders on its buses."""
    count = draw(st.integers(2, 5))
    lines = [
        line(draw(st.integers(0, i - 1)), i, rating_va=draw(st.integers(500, 8_000)))
        for i in range(1, count)
    ]
    orders = []
    prices = st.integers(3, 9).map(lambda n: n * 1_000)
    for id_ in range(draw(st.integers(0, 10))):
        side = draw(st.sampled_from(Side))
        best, worst = sorted((draw(prices), draw(prices)), reverse=side is Side.OFFER)
        who = f"m{draw(st.integers(0, 5))}"
        order = Order(id_, who, side, draw(st.integers(1, 9_000)), best, worst, 800_000, id_)
        orders.append((order, draw(st.integers(0, count - 1))))
    return grid(range(count), lines), orders


@given(market=markets(), name=st.sampled_from(sorted(RULES)))
def test_whatever_was_cut_the_rules_of_the_market_hold(
    market: tuple[Grid, list[tuple[Order[str], int]]], name: MarketRules
) -> None:
    model, orders = market
    rules = RULES[name]
    slot = Slot(model, *orders, rules=rules)
    by_id = {order.id: order for order, _ in orders}
    bus_of = {order.id: bus for order, bus in orders}
    # Within limits, and no order sells or buys more than it has.
    assert not Feeder(model).violations(slot.check.flow())
    used: Counter[int] = Counter()
    for offer_id, bid_id, quantity in slot.made:
        assert quantity > 0
        used[offer_id] += quantity
        used[bid_id] += quantity
    assert all(used[id_] <= order.quantity_wh for id_, order in by_id.items())
    # Cut energy is not lost: what an order has left is what it had, less what stands.
    for trade, kept in zip(slot.trades, slot.result.kept, strict=True):
        assert 0 <= kept <= trade.quantity_wh
    if sum(slot.result.kept) == sum(trade.quantity_wh for trade in slot.trades):
        assert slot.result.rematched == ()
    lost = {
        (t.offer_id, t.bid_id)
        for t, kept in zip(slot.trades, slot.result.kept, strict=True)
        if kept < t.quantity_wh
    }
    for again in slot.result.rematched:
        sold, bought = by_id[again.offer_id], by_id[again.bid_id]
        assert (again.seller, again.buyer) == (sold.agent, bought.agent)
        assert again.seller != again.buyer
        assert again.offer_price - again.bid_price <= rules.tolerance
        assert again.offer_price >= sold.reserve_price
        assert again.bid_price <= bought.reserve_price
        right = trade_price(rules, again.offer_price, sold.credit, again.bid_price, bought.credit)
        if rules.pricing == "uniform":
            right = slot.trades[0].price
            assert again.offer_price <= right <= again.bid_price
        assert again.price == right
        # One side of it was cut, and off another bus than the one it goes to now.
        assert any(
            (offer_id == again.offer_id and bus_of[bid_id] != bus_of[again.bid_id])
            or (bid_id == again.bid_id and bus_of[offer_id] != bus_of[again.offer_id])
            for offer_id, bid_id in lost
        )
    assert Slot(model, *orders, rules=rules).made == slot.made  # deterministic
