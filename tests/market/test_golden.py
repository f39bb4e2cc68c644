"""P3's published tables, cell by cell, and what its text gives when taken at its word."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.market.golden import CASES, Case, wh
from vppd.config.genesis import Tariff
from vppd.market.auction import RULES, Book, Clearing, Order, Side, Trade
from vppd.market.clearing_file import clear_file
from vppd.market.money import amount_micro, div_half_even, format_micro, parse_decimal_micro
from vppd.market.settlement import grid_only_micro
from vppd.types import PPM

pytestmark = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def run_tables(case: Case) -> tuple[list[Trade[str]], Clearing[str]]:
    """The slot under the rules and in the arrival order that give the printed tables."""
    entries = {entry.id: entry for entry in case.entries}
    book: Book[str] = Book(RULES["paper003"])
    trades = []
    for arrival, name in enumerate(case.arrival):
        entry = entries[name]
        order = Order(
            arrival,
            name,
            Side.OFFER if name.startswith("S") else Side.BID,
            wh(entry.kwh),
            parse_decimal_micro(entry.quote),
            parse_decimal_micro(entry.reserve),
            parse_decimal_micro(entry.credit),
            arrival,
        )
        trades += book.submit(order)
    clearing = book.close(parse_decimal_micro(case.retail), parse_decimal_micro(case.feed_in))
    return [*trades, *clearing.trades], clearing


def test_tables_6_and_7_come_out_cell_by_cell(case: Case) -> None:
    trades, _ = run_tables(case)
    left = {entry.id: wh(entry.kwh) for entry in case.entries}
    credit = {entry.id: parse_decimal_micro(entry.credit) for entry in case.entries}
    assert len(trades) == len(case.rows)
    for trade, row in zip(trades, case.rows, strict=True):
        seller, buyer = f"S{row.seller}", f"B{row.buyer}"
        assert (trade.seller, trade.buyer, str(trade.round)) == (seller, buyer, row.round)
        assert (left[seller], left[buyer]) == (wh(row.sold), wh(row.bought))
        assert trade.quantity_wh == wh(row.turnover)
        assert abs(left[seller] - left[buyer]) == wh(row.surplus)
        xi = div_half_even(credit[seller] * PPM, credit[seller] + credit[buyer])
        assert format_micro(xi, 3) == row.xi
        assert format_micro(trade.offer_price, 3) == row.offer
        assert format_micro(trade.bid_price, 3) == row.bid
        printed = case.wrong_in_print.get((row.seller, row.buyer), (row.price, row.price))
        assert row.price == printed[0]
        assert format_micro(trade.price, 3) == printed[1]
        left[seller] -= trade.quantity_wh
        left[buyer] -= trade.quantity_wh


def test_the_tables_leave_the_printed_remainder_at_the_feed_in_price(case: Case) -> None:
    _, clearing = run_tables(case)
    name, kwh, price = case.residual
    (residual,) = clearing.residuals
    assert (residual.agent, residual.side) == (name, Side.OFFER)
    assert (residual.quantity_wh, format_micro(residual.price, 3)) == (wh(kwh), price)


def test_money_of_the_tables(case: Case) -> None:
    trades, clearing = run_tables(case)
    retail, feed_in = parse_decimal_micro(case.retail), parse_decimal_micro(case.feed_in)
    internal = sum(trade.amount for trade in trades)
    sold_to_grid = grid_amount(clearing, Side.OFFER)
    bought_from_grid = grid_amount(clearing, Side.BID)
    tariff = Tariff(start_minute=0, end_minute=1_440, retail_price=retail, feed_in_price=feed_in)
    offered = sum(wh(entry.kwh) for entry in case.entries if entry.id.startswith("S"))
    wanted = sum(wh(entry.kwh) for entry in case.entries if entry.id.startswith("B"))
    assert {
        "seller_income": format_micro(internal + sold_to_grid, 2),
        "seller_income_grid_only": format_micro(-grid_only_micro(0, offered, tariff), 2),
        "buyer_cost": format_micro(internal + bought_from_grid, 2),
        "buyer_cost_grid_only": format_micro(grid_only_micro(wanted, 0, tariff), 2),
    } == case.money


def grid_amount(clearing: Clearing[str], side: Side) -> int:
    left = [residual for residual in clearing.residuals if residual.side is side]
    return sum(amount_micro(residual.quantity_wh, residual.price) for residual in left)


def test_a_file_under_paper003_prints_the_tables(case: Case) -> None:
    cleared = clear_file(case.document(case.arrival), "paper003")
    trades, _ = run_tables(case)
    assert [(t["offer_id"], t["bid_id"], t["price_micro"]) for t in cleared["trades"]] == [
        (trade.seller, trade.buyer, trade.price) for trade in trades
    ]


def test_a_file_under_literal003_prints_what_the_text_says(case: Case) -> None:
    cleared = clear_file(case.document(), "literal003")
    assert cleared["trades"] == [
        {
            "seller": f"Agg{row.seller}",
            "buyer": f"Agg{row.buyer}",
            "offer_id": f"S{row.seller}",
            "bid_id": f"B{row.buyer}",
            "quantity_wh": row.wh,
            "price": format_micro(row.price_micro, 3),
            "price_micro": row.price_micro,
            "round": row.round,
        }
        for row in case.literal
    ]
    assert cleared["residuals"] == [
        {
            "agent": f"Agg{name[1:]}",
            "order_id": name,
            "side": "offer",
            "quantity_wh": quantity,
            "price": case.feed_in,
        }
        for name, quantity in case.literal_residuals
    ]


def test_a_call_does_not_depend_on_the_order_of_arrival(case: Case) -> None:
    """No two orders of the paper tie in price and credit, so arrival never decides."""
    orders: Sequence[str] = case.arrival
    as_listed = clear_file(case.document(), "literal003")
    turned = clear_file(case.document(tuple(reversed(orders))), "literal003")
    assert turned["trades"] == as_listed["trades"]
