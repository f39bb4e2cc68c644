"""A file of orders cleared without a network, for researchers, tests and auditors (market.md, §0).

Orders arrive in list order and meet in the same :class:`~vppd.market.auction.Book` the ledger
runs, so what comes out is what the chain would have done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn, TypedDict, TypeVar

import msgspec

from vppd.config.genesis import MarketRules
from vppd.config.values import format_decimal
from vppd.errors import Exit, UserError
from vppd.market.auction import RULES, Book, Order, Residual, Rules, Side, Trade
from vppd.market.money import format_micro, parse_decimal_micro
from vppd.types import PPM, MicroPerKwh, Ppm

_SIDES = {"offer": Side.OFFER, "bid": Side.BID}
_DEFAULT: MarketRules = "production"
_PRICE_DECIMALS = 3
"""As the papers print prices."""
_FIELD = re.compile(r"(?P<fault>missing required|contains unknown) field `(?P<name>[^`]*)`")

T = TypeVar("T")


class _TariffIn(msgspec.Struct, forbid_unknown_fields=True):
    retail_price: str
    feed_in_price: str


class _OrderIn(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    agent: str
    side: str
    quantity_wh: int
    price: str
    reserve_price: str
    credit: str


class _FileIn(msgspec.Struct, forbid_unknown_fields=True):
    tariff: _TariffIn
    orders: list[_OrderIn]


class TradeOut(TypedDict):
    """A trade as printed."""

    seller: str
    buyer: str
    offer_id: str
    bid_id: str
    quantity_wh: int
    price: str
    """Per kWh, three decimals, half up."""
    price_micro: int
    """Exact, micro-currency per kWh."""
    round: int


class ResidualOut(TypedDict):
    """What the grid takes from an order or gives it, as printed."""

    agent: str
    order_id: str
    side: str
    quantity_wh: int
    price: str
    """Per kWh: feed-in for an offer, retail for a bid."""


class ClearingOut(TypedDict):
    """Everything ``vppd market clear`` prints."""

    trades: list[TradeOut]
    residuals: list[ResidualOut]


MOST_WH = 2**50
"""As in genesis: what no market can mean is a slip of the keyboard."""


def clear_file(document: bytes, rules_name: str, *, source: str = "the document") -> ClearingOut:
    """Clears a JSON document of orders.

    Args:
        document: ``{"tariff": {…}, "orders": […]}`` as in market.md, §0.
        rules_name: a name from :data:`~vppd.market.auction.RULES`.
        source: what to call the document in errors.

    Returns:
        Trades in the order made, residuals in order of arrival.

    Raises:
        UserError: E200–E208; says where in the document.
    """
    rules = _rules(rules_name)
    parsed = _parse(document, source)
    where = _Where(source)
    retail = where.price("tariff.retail_price", parsed.tariff.retail_price)
    feed_in = where.price("tariff.feed_in_price", parsed.tariff.feed_in_price)
    if feed_in > retail:
        where.fail(
            "E204",
            "the grid pays more than it charges",
            "tariff.feed_in_price",
            f"{parsed.tariff.feed_in_price}, above {parsed.tariff.retail_price}",
            "a feed-in price at most the retail price: else energy sent in a circle pays",
        )
    orders = _orders(parsed.orders, where)
    book: Book[str] = Book(rules)
    trades = [trade for order in orders for trade in book.submit(order)]
    clearing = book.close(retail, feed_in)
    ids = [order.id for order in parsed.orders]
    return {
        "trades": [_trade_out(trade, ids) for trade in [*trades, *clearing.trades]],
        "residuals": [_residual_out(residual, ids) for residual in clearing.residuals],
    }


class _Where:
    """Raises errors that say where in which document."""

    def __init__(self, source: str) -> None:
        self._source = source

    def fail(self, code: str, what: str, path: str, found: str, hint: str) -> NoReturn:
        facts = {"file": self._source, "at": path, "found": found}
        raise UserError(code, what, facts=facts, hint=hint)

    def price(self, path: str, text: str) -> MicroPerKwh:
        try:
            return parse_decimal_micro(text)
        except ValueError as err:
            self.fail("E204", "a price is not a decimal", path, str(err), 'a price such as "0.72"')

    def credit(self, path: str, text: str) -> Ppm:
        try:
            return _parse_credit(text)
        except ValueError as err:
            what = "a credit is not a decimal from 0 to 1"
            self.fail("E206", what, path, str(err), 'a credit such as "0.823"')


def _parse_credit(text: str) -> Ppm:
    credit = parse_decimal_micro(text)
    if credit > PPM:
        raise ValueError(f"{text!r} is more than 1")
    return credit


def _rules(name: str) -> Rules:
    for known, rules in RULES.items():
        if known == name:
            return rules
    raise UserError(
        "E207",
        f"there are no market rules named {name!r}",
        facts={"known": ", ".join(RULES)},
        hint=f"--rules {_closest(name, RULES) or _DEFAULT}",
        exit_code=Exit.USAGE,
    )


def _parse(document: bytes, source: str) -> _FileIn:
    try:
        return msgspec.json.decode(document, type=_FileIn)
    except msgspec.ValidationError as err:
        fault, _, path = str(err).partition(" - at ")
        facts = {"file": source, "at": path.strip("`").removeprefix("$").lstrip(".") or "top level"}
        raise UserError(
            "E201",
            "the document is not a file of orders",
            facts={**facts, "found": fault[:1].lower() + fault[1:]},
            hint=_field_hint(fault),
        ) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise UserError(
            "E200",
            "the document is not JSON",
            facts={"file": source, "found": str(err)},
            hint='{"tariff": {…}, "orders": […]}, in UTF-8',
        ) from err


def _field_hint(fault: str) -> str | None:
    if fault.startswith("Expected `str`"):
        return 'quotes around it, as in "0.72"'
    field = _FIELD.search(fault)
    if field is None:
        return None
    if field["fault"] == "missing required":
        return f'add "{field["name"]}"'
    known = [name for kind in (_FileIn, _TariffIn, _OrderIn) for name in kind.__struct_fields__]
    closest = _closest(field["name"], known)
    return f'"{closest}"' if closest is not None else f'remove "{field["name"]}"'


def _orders(entries: list[_OrderIn], where: _Where) -> list[Order[str]]:
    seen: dict[str, int] = {}
    orders: list[Order[str]] = []
    for index, entry in enumerate(entries):
        at = f"orders[{index}]"
        if entry.id in seen:
            first = f"orders[{seen[entry.id]}]"
            where.fail(
                "E202", "two orders have the same id", at, f"{entry.id!r}, as {first}", "a new id"
            )
        seen[entry.id] = index
        orders.append(_order(entry, index, at, where))
    return orders


def _order(entry: _OrderIn, index: int, at: str, where: _Where) -> Order[str]:
    side = _SIDES.get(entry.side)
    if side is None:
        what = "an order is neither an offer nor a bid"
        where.fail("E208", what, f"{at}.side", repr(entry.side), '"offer" or "bid"')
    if not 1 <= entry.quantity_wh <= MOST_WH:
        where.fail(
            "E203",
            "an order's quantity is out of range",
            f"{at}.quantity_wh",
            str(entry.quantity_wh),
            f"whole Wh from 1 to {MOST_WH}",
        )
    price = where.price(f"{at}.price", entry.price)
    reserve = where.price(f"{at}.reserve_price", entry.reserve_price)
    an_offer = side is Side.OFFER
    if (reserve > price) if an_offer else (reserve < price):
        who, bound = ("an offer", "above") if an_offer else ("a bid", "below")
        where.fail(
            "E205",
            f"the reserve price of {who} is {bound} its price",
            f"{at}.reserve_price",
            f"{entry.reserve_price}, price {entry.price}",
            f"{'at most' if an_offer else 'at least'} {entry.price}",
        )
    credit = where.credit(f"{at}.credit", entry.credit)
    return Order(index, entry.agent, side, entry.quantity_wh, price, reserve, credit, index)


def _trade_out(trade: Trade[str], ids: list[str]) -> TradeOut:
    return {
        "seller": trade.seller,
        "buyer": trade.buyer,
        "offer_id": ids[trade.offer_id],
        "bid_id": ids[trade.bid_id],
        "quantity_wh": trade.quantity_wh,
        "price": format_micro(trade.price, _PRICE_DECIMALS),
        "price_micro": trade.price,
        "round": trade.round,
    }


def _residual_out(residual: Residual[str], ids: list[str]) -> ResidualOut:
    return {
        "agent": residual.agent,
        "order_id": ids[residual.order_id],
        "side": residual.side.name.lower(),
        "quantity_wh": residual.quantity_wh,
        "price": format_decimal(residual.price),
    }


def _closest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(word, list(known), n=1)), None)
