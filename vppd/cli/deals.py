"""``vppd deal``: contracts outside the auction, with one member, with all, or with a maintainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.market import (
    MOST,
    KeyOption,
    PriceArg,
    QuantityArg,
    SlotOption,
    WaitOption,
    open_slot,
    parse_price,
    priced,
)
from vppd.cli.online import HomeOption, with_client
from vppd.cli.orders import Account, send_ops
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.client.client import Client, RequestFailed
from vppd.codec import encode
from vppd.crypto import parse_key
from vppd.errors import Exit, UserError
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.kinds.terms import (
    DEAL,
    STANDBY,
    THREE_PARTY,
    DealTerms,
    Take,
    ThreePartyTerms,
)
from vppd.ledger.transaction import Op
from vppd.market.auction import Side
from vppd.net.requests import FailureCode
from vppd.types import PublicKey

_METHODS = {DEAL: ("take", "withdraw"), STANDBY: ("withdraw",), THREE_PARTY: ("sign", "withdraw")}
"""What members call, by kind, in the order of the methods' numbers."""
NumberArg: TypeAlias = Annotated[
    int, typer.Argument(metavar="NUMBER", min=0, max=MOST, help="Of the contract.")
]
ToOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Only this member, as a whole; default: anybody, also in parts.")
]


def _deal_command(side: Side) -> Callable[..., None]:
    """``offer`` and ``bid`` are one command but for the side."""

    def make(
        quantity_wh: QuantityArg,
        price: PriceArg,
        to: ToOption = None,
        slot: SlotOption = None,
        key: KeyOption = None,
        wait: WaitOption = False,
        home: HomeOption = Path(),
        output: OutputOption = Output.TABLE,
    ) -> None:
        limit = parse_price(price, "price")

        async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
            target = await open_slot(client) if slot is None else slot
            named = None if to is None else await _member(client, to)
            deal = DealTerms(target, side, quantity_wh, limit, named)
            return (OpenContract(DEAL, encode(deal)),)

        send_ops(home, key, output, choose, wait=wait)

    return make


offer = _deal_command(Side.OFFER)
"""Offer energy at a fixed price outside the auction."""
bid = _deal_command(Side.BID)
"""Bid for energy at a fixed price outside the auction."""


def list_deals(home: HomeOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Print deals, standby offers and three-party contracts that wait for somebody."""
    rows: list[dict[str, Any]] = with_client(home, lambda client: client.view("contracts"))
    rows = [row for row in rows if row["kind"] in _METHODS]
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([_line(row) for row in rows], output)
    else:
        print("no deal waits for anybody")


def take(
    number: NumberArg,
    quantity_wh: Annotated[
        int | None, typer.Option("--wh", min=1, max=MOST, help="A part, in Wh; default: all.")
    ] = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a deal, or a part of a listing.

    Raises:
        UserError: E512, no deal has this number.
    """

    async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
        row = await _contract(client, number, "take")
        wh = row["terms"]["left_wh"] if quantity_wh is None else quantity_wh
        return (CallContract(number, 0, encode(Take(wh))),)

    send_ops(home, key, output, choose, wait=wait)


def withdraw(
    number: NumberArg,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Withdraw a deal or standby offer of one's own, or step back from a three-party contract."""
    _call(number, "withdraw", key, home, output, wait=wait)


def sign(
    number: NumberArg,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign a three-party contract as its supplier, its user or an operator."""
    _call(number, "sign", key, home, output, wait=wait)


def three_party(
    supplier: Annotated[str, typer.Argument(help="Name or key of who gives the energy.")],
    user: Annotated[str, typer.Argument(help="Name or key of who takes it.")],
    quantity_wh: QuantityArg,
    price: PriceArg,
    classification: Annotated[
        str, typer.Option("--class", help="What energy it is, up to 32 letters.")
    ] = "",
    remark: Annotated[str, typer.Option(help="Up to 256 letters, kept with the contract.")] = "",
    slot: SlotOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Commit a contract that supplier, user and an operator have to call; signs it at once."""
    limit = parse_price(price, "price")

    async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
        target = await open_slot(client) if slot is None else slot
        parties = await _member(client, supplier), await _member(client, user)
        asked = ThreePartyTerms(target, *parties, quantity_wh, limit, classification, remark)
        return (OpenContract(THREE_PARTY, encode(asked)),)

    send_ops(home, key, output, choose, wait=wait)


def _call(
    number: int, method: str, key: Path | None, home: Path, output: Output, *, wait: bool
) -> None:
    async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
        row = await _contract(client, number, method)
        return (CallContract(number, _METHODS[row["kind"]].index(method), b""),)

    send_ops(home, key, output, choose, wait=wait)


async def _contract(client: Client, number: int, method: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = await client.view("contracts")
    fitting = [row for row in rows if method in _METHODS.get(row["kind"], ())]
    for row in fitting:
        if row["contract"] == str(number):
            return row
    raise UserError(
        "E512",
        f"no contract {number} can be called with {method}",
        facts={"there are": ", ".join(row["contract"] for row in fitting) or "none"},
        hint="vppd deal list; what was taken whole, withdrawn or has expired is gone",
        exit_code=Exit.USAGE,
    )


async def _member(client: Client, who: str) -> PublicKey:
    try:
        account = await client.view("account", who)
    except RequestFailed as err:
        if err.reason is not FailureCode.NOT_FOUND:
            raise
        raise UserError(
            "E513",
            f"no member is called {who}",
            facts={"the node says": err.what.removeprefix("the node says: ")},
            hint="a name or key of [[account]] in genesis.toml",
            exit_code=Exit.USAGE,
        ) from err
    return parse_key(account["key"])


def _line(row: dict[str, Any]) -> dict[str, Any]:
    terms = row["terms"]
    return {
        "contract": row["contract"],
        "kind": row["kind"],
        "phase": row["phase"],
        "owner": row["owner"],
        "slot": terms["slot"],
        "side": terms.get("side", "offer" if row["kind"] == STANDBY else ""),
        "wh": terms.get("left_wh", terms.get("quantity_wh")),
        **priced({"price_micro": terms["price_micro"]}),
        "to": terms.get("to") or "",
    }
