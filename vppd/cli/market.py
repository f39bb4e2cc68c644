"""``vppd market``: place orders at this node, and look at the market on chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.online import HomeOption, account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.tx import print_state, require_success
from vppd.client.client import Client
from vppd.config.keys import load_key
from vppd.config.values import parse_decimal
from vppd.errors import Exit, UserError
from vppd.ledger.transaction import PlaceOrder, make_transaction
from vppd.market.auction import Side
from vppd.market.money import format_micro
from vppd.net.requests import TxState
from vppd.types import Digest, MicroPerKwh

MOST = 2**63 - 1
"""What a transaction can carry."""

SlotOption: TypeAlias = Annotated[
    int | None, typer.Option(min=0, max=MOST, help="Slot; default: the next one still open.")
]
QuantityArg: TypeAlias = Annotated[
    int, typer.Argument(metavar="WH", min=1, max=MOST, help="Energy in Wh.")
]
PriceArg: TypeAlias = Annotated[str, typer.Argument(metavar="PRICE", help="Per kWh, e.g. 0.52.")]
WaitOption: TypeAlias = Annotated[bool, typer.Option("--wait", help="Until it is decided.")]
KeyOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The member's key; default: the node's.")
]
BusOption: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Where in the grid; default: the account's bus."),
]
ReserveOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The worst price you accept at gate closure; default: the price."),
]
LIFETIME_BLOCKS = 1_000
_SUMS = ("worth", "alone", "gain")


def _order_command(side: Side) -> Callable[..., None]:
    """``bid`` and ``ask`` are one command but for the side, and take the same options."""

    def place(
        quantity_wh: QuantityArg,
        price: PriceArg,
        reserve: ReserveOption = None,
        slot: SlotOption = None,
        bus: BusOption = None,
        key: KeyOption = None,
        wait: WaitOption = False,
        home: HomeOption = Path(),
        output: OutputOption = Output.TABLE,
    ) -> None:
        genesis = genesis_of(home)
        signer = load_key(key or node_config(home).key_file)
        limit = parse_price(price, "price")
        worst = limit if reserve is None else parse_price(reserve, "reserve price")

        async def work(client: Client) -> tuple[Digest, TxState | None]:
            account = await account_of(client, signer.public_key)
            target = await open_slot(client) if slot is None else slot
            place = account.get("bus", 0) if bus is None else bus
            op = PlaceOrder(target, side, quantity_wh, limit, worst, place)
            expiry = account["height"] + LIFETIME_BLOCKS
            raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, (op,))
            tx_id = await submit(client, raw)
            return tx_id, await client.wait(tx_id, raw) if wait else None

        tx_id, state = with_client(home, work)
        print_state(tx_id, state, output)
        require_success(state)

    return place


bid = _order_command(Side.BID)
"""Bid for energy delivered in a slot."""
ask = _order_command(Side.OFFER)
"""Offer energy delivered in a slot."""


def book(
    slot: SlotOption = None, home: HomeOption = Path(), output: OutputOption = Output.TABLE
) -> None:
    """Print the resting orders of a slot, best first."""
    rows: list[dict[str, Any]] = _view("book", slot, home)
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([priced(row) for row in rows], output)
    else:
        print("no resting orders in this slot")


def trades(
    slot: SlotOption = None, home: HomeOption = Path(), output: OutputOption = Output.TABLE
) -> None:
    """Print the trades of a slot."""
    rows: list[dict[str, Any]] = _view("trades", slot, home)
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([_trade(priced(row)) for row in rows], output)
    else:
        print("no trades in this slot")


def shares(
    slot: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="Slot; default: the latest shared.")
    ] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print how a cooperative slot was shared: what all are worth together, and each one's due."""
    argument = "" if slot is None else str(slot)
    view: dict[str, Any] = with_client(home, lambda client: client.view("shares", argument))
    if output is Output.JSON:
        print_json(view)
        return
    rows = [priced(row) for row in view.pop("shares")]
    exact = view["samples"] == 0
    for row in rows if exact else ():
        del row["error_bound"]
    worth, alone, gain = (format_micro(view[f"{name}_micro"], 6) for name in _SUMS)
    way = "exactly" if exact else f"by {view['samples']} orders from seed {view['seed']}"
    title = f"slot {view['slot']}, version {view['version']}"
    print(f"{title}: {view['net_wh']} Wh of {view['members']} members")
    print(f"worth {worth} together, {alone} alone: a gain of {gain}, shared {way}")
    print()
    print_rows(rows, output)


def parse_price(text: str, what: str) -> MicroPerKwh:
    """A price per kWh, as people write it.

    Raises:
        UserError: E356.
    """
    try:
        return parse_decimal(text)
    except ValueError as err:
        raise UserError(
            "E356",
            f"the {what} is not a decimal number per kWh",
            facts={"given": text, "why": str(err)},
            hint="0.52, or 0.525001: at most six decimals",
            exit_code=Exit.USAGE,
        ) from err


async def open_slot(client: Client) -> int:
    """The next slot that still takes orders."""
    slot: int = (await client.view("market"))["open_slot"]
    return slot


def _view(name: str, slot: int | None, home: Path) -> Any:
    async def work(client: Client) -> Any:
        target = await open_slot(client) if slot is None else slot
        return await client.view(name, str(target))

    return with_client(home, work)


def _trade(row: dict[str, Any]) -> dict[str, Any]:
    signed = row.pop("signed")
    return row if signed is None else row | {"signed": ", ".join(signed) or "nobody"}


def priced(row: dict[str, Any]) -> dict[str, Any]:
    """Prices per kWh and amounts as decimals, for people."""
    return {
        name.removesuffix("_micro"): format_micro(value, 6) if name.endswith("_micro") else value
        for name, value in row.items()
    }
