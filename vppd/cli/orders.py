"""``vppd market orders | cancel | replace | urgent | standby | sign``: what follows an order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.governance import require_wire
from vppd.cli.market import (
    LIFETIME_BLOCKS,
    MOST,
    BusOption,
    KeyOption,
    PriceArg,
    QuantityArg,
    ReserveOption,
    WaitOption,
    parse_price,
    priced,
)
from vppd.cli.online import HomeOption, account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.tx import kinds_called, print_state, require_success
from vppd.client.client import Client
from vppd.client.contract_words import Kinds
from vppd.codec import encode
from vppd.config.keys import load_key
from vppd.crypto import key_text
from vppd.errors import Exit, UserError
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.kinds.terms import STANDBY, URGENT, StandbyTerms, UrgentTerms
from vppd.ledger.order_ops import MOST_SIGNED, CancelOrder, SignTrades
from vppd.ledger.transaction import Op, PlaceOrder, make_transaction
from vppd.market.auction import Side
from vppd.net.requests import TxState
from vppd.types import Digest

Account: TypeAlias = dict[str, Any]
"""The view ``account`` of who signs."""
Choose: TypeAlias = Callable[[Client, Account], Awaitable[tuple[Op, ...]]]
SlotArg: TypeAlias = Annotated[
    int, typer.Argument(metavar="SLOT", min=0, max=MOST, help="Slot of the order.")
]
SeqArg: TypeAlias = Annotated[
    int,
    typer.Argument(metavar="ORDER", min=0, max=MOST, help="Its number in the slot: ORDER_ID."),
]


class OrderState(StrEnum):
    """What becomes of an order."""

    RESTING = "resting"
    FILLED = "filled"
    CANCELLED = "cancelled"
    LEFT = "left"


NextSlotOption: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, max=MOST, help="Slot; default: the next whose delivery has not begun."),
]


def send_ops(home: Path, key: Path | None, output: Output, choose: Choose, *, wait: bool) -> None:
    """Sign operations in one transaction, send it, print where it stands.

    Args:
        home: a running node's.
        key: the member's; ``None``: the node's own.
        output: table or JSON.
        choose: makes the operations.
        wait: until it is decided; then a failure on chain is exit code 1.

    Raises:
        UserError: E350 … E358, the node does not take it; E376, a peer could not read it; E395,
            the key is nobody's; what ``choose`` raises.
    """
    genesis = genesis_of(home)
    signer = load_key(key or node_config(home).key_file)

    async def work(client: Client) -> tuple[Digest, TxState | None, Kinds]:
        require_wire(await client.view("status"))
        account = await account_of(client, signer.public_key)
        ops = await choose(client, account)
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, ops)
        tx_id = await submit(client, raw)
        state = await client.wait(tx_id, raw) if wait else None
        return tx_id, state, await kinds_called(client, state)

    tx_id, state, kinds = with_client(home, work)
    print_state(tx_id, state, output, kinds=kinds)
    require_success(state)


def orders(
    member: Annotated[
        str | None, typer.Argument(help="A member's name or key; default: the node's own.")
    ] = None,
    state: Annotated[OrderState | None, typer.Option(help="Only those that are so.")] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a member's orders and what became of them, until their slots close."""
    who = member or key_text(load_key(node_config(home).key_file).public_key)
    rows: list[dict[str, Any]] = with_client(home, lambda client: client.view("orders", who))
    rows = [row for row in rows if state in (None, row["state"])]
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([priced(row) for row in rows], output)
    else:
        print("no orders" if state is None else f"no orders that are {state.value}")


def cancel(
    slot: SlotArg,
    order: SeqArg,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Take what rests of an order out of the book, before gate closure."""

    async def choose(_client: Client, _account: Account) -> tuple[Op, ...]:
        return (CancelOrder(slot, order),)

    send_ops(home, key, output, choose, wait=wait)


def replace(
    slot: SlotArg,
    order: SeqArg,
    quantity_wh: QuantityArg,
    price: PriceArg,
    reserve: ReserveOption = None,
    bus: BusOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel an order and place another of the same side, both or neither.

    Raises:
        UserError: E510, there is no such order of this member.
    """
    limit = parse_price(price, "price")
    worst = limit if reserve is None else parse_price(reserve, "reserve price")

    async def choose(client: Client, account: Account) -> tuple[Op, ...]:
        old = await _own_order(client, account, slot, order)
        side = Side.OFFER if old["side"] == "offer" else Side.BID
        place = account["bus"] if bus is None else bus
        return (
            CancelOrder(slot, order),
            PlaceOrder(slot, side, quantity_wh, limit, worst, place),
        )

    send_ops(home, key, output, choose, wait=wait)


def urgent(
    quantity_wh: QuantityArg,
    price: PriceArg,
    slot: NextSlotOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Bid for energy that is needed now: standby offers are matched at once, then the book."""
    limit = parse_price(price, "price")

    async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
        target = await _next_slot(client) if slot is None else slot
        return (OpenContract(URGENT, encode(UrgentTerms(target, quantity_wh, limit))),)

    send_ops(home, key, output, choose, wait=wait)


def standby(
    quantity_wh: QuantityArg,
    price: PriceArg,
    slot: NextSlotOption = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Stand ready to give energy up to whoever needs it urgently."""
    limit = parse_price(price, "price")

    async def choose(client: Client, _account: Account) -> tuple[Op, ...]:
        target = await _next_slot(client) if slot is None else slot
        return (OpenContract(STANDBY, encode(StandbyTerms(target, quantity_wh, limit))),)

    send_ops(home, key, output, choose, wait=wait)


def sign(
    slot: SlotArg,
    trades: Annotated[
        list[int] | None,
        typer.Argument(metavar="[TRADE]...", help="Numbers of trades; default: all that wait."),
    ] = None,
    key: KeyOption = None,
    wait: WaitOption = False,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Consent to trades of the auction, where the rules of the market ask for it.

    Raises:
        UserError: E511, none waits for this member's word.
    """

    async def choose(client: Client, account: Account) -> tuple[Op, ...]:
        numbers = trades or await _waiting(client, account, slot)
        parts = [
            tuple(numbers[first : first + MOST_SIGNED])
            for first in range(0, len(numbers), MOST_SIGNED)
        ]
        return tuple(SignTrades(slot, part) for part in parts)

    send_ops(home, key, output, choose, wait=wait)


async def _own_order(client: Client, account: Account, slot: int, order: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = await client.view("orders", account["key"])
    for row in rows:
        if (row["slot"], row["order_id"]) == (slot, order):
            return row
    raise UserError(
        "E510",
        f"{account['name']} has no order {order} in slot {slot}",
        facts={"orders": ", ".join(f"{r['slot']}/{r['order_id']}" for r in rows) or "none"},
        hint="vppd market orders lists them: SLOT and ORDER_ID",
        exit_code=Exit.USAGE,
    )


async def _waiting(client: Client, account: Account, slot: int) -> list[int]:
    """Trades this member has a say in and has not signed; of others' only as an operator."""
    validators = await client.view("validators")
    members = validators["era"]["members"]
    operates = any(row["key"] == account["key"] and row["operator"] for row in members)
    found: list[int] = []
    for trade in await client.view("trades", str(slot)):
        parts = [part for part in ("seller", "buyer") if trade[part] == account["name"]]
        if not parts and operates:
            parts = ["operator"]
        signed = trade["signed"]
        if signed is not None and any(part not in signed for part in parts):
            found.append(trade["trade_id"])
    if found:
        return found
    raise UserError(
        "E511",
        f"no trade of slot {slot} waits for the word of {account['name']}",
        hint="vppd market trades shows who has signed what; vppd market rules whether consent is "
        "explicit",
    )


async def _next_slot(client: Client) -> int:
    slot: int = (await client.view("market"))["next_slot"]
    return slot
