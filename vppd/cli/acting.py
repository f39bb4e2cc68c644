"""What commands share that let a member act on chain: whom a name means, sending, the outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vppd.cli.governance import LIFETIME_BLOCKS, require_wire
from vppd.cli.online import account_of, genesis_of, node_config, submit, with_client
from vppd.cli.output import Output, by_name, print_json, print_rows
from vppd.cli.tx import kinds_called, print_state, require_success
from vppd.client.client import Client, RequestFailed
from vppd.client.contract_words import Kinds
from vppd.config.keys import load_key
from vppd.crypto import parse_key
from vppd.errors import Exit, UserError
from vppd.ledger.transaction import Op, make_transaction
from vppd.net.requests import FailureCode, TxState
from vppd.types import Digest, PublicKey

MOST = 2**63 - 1
"""What a transaction can carry."""

KeyOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The sender's key; default: the node's.")
]
MemberArgument: TypeAlias = Annotated[str, typer.Argument(metavar="MEMBER", help="Name or key.")]
NumberArgument: TypeAlias = Annotated[
    int, typer.Argument(metavar="NUMBER", min=0, max=MOST, help="Its number.")
]
ReasonOption: TypeAlias = Annotated[
    str, typer.Option(help="Why, in your words; everybody can read it.")
]
FromOption: TypeAlias = Annotated[
    int, typer.Option("--from", min=0, max=MOST, help="First slot; not begun yet.")
]


def act(
    home: Path, key: Path | None, output: Output, make: Callable[[Client], Awaitable[Op]]
) -> None:
    """Sign what ``make`` makes, send it, wait until it is decided, and print what came of it.

    Raises:
        UserError: E350 … E358, the node does not take it; E376, a peer could not read it; E395, the
            key is nobody's; what ``make`` raises.
        Exit: 1, it failed on chain.
    """
    genesis = genesis_of(home)
    signer = load_key(key or node_config(home).key_file)

    async def work(client: Client) -> tuple[Digest, TxState, Kinds]:
        op = await make(client)
        require_wire(await client.view("status"))
        account = await account_of(client, signer.public_key)
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(signer, genesis.digest, account["nonce"], expiry, (op,))
        tx_id = await submit(client, raw)
        state = await client.wait(tx_id, raw)
        return tx_id, state, await kinds_called(client, state)

    tx_id, state, kinds = with_client(home, work)
    print_state(tx_id, state, output, kinds=kinds)
    require_success(state)


def simply(op: Op) -> Callable[[Client], Awaitable[Op]]:
    """An operation that needs nothing from the node."""

    async def make(_: Client) -> Op:
        return op

    return make


async def key_of(client: Client, who: str) -> PublicKey:
    """The key of an account or a meter, by its name or as written.

    Raises:
        UserError: E575, there is none.
    """
    try:
        view = await client.view("account", who)
    except RequestFailed as err:
        if err.reason is not FailureCode.NOT_FOUND:
            raise
        raise UserError(
            "E575",
            f"nobody on this chain is called {who}",
            hint="vppd member list shows names and keys",
            exit_code=Exit.USAGE,
        ) from err
    return parse_key(view["key"])


def new_key(text: str) -> PublicKey:
    """A key that is to be registered.

    Raises:
        UserError: E576, it is none.
    """
    try:
        return parse_key(text)
    except ValueError as err:
        raise UserError(
            "E576",
            "this is no public key",
            facts={"given": text, "why": str(err)},
            hint="vppd key show FILE prints it: ed25519:…",
            exit_code=Exit.USAGE,
        ) from err


def parse_pairs(words: Sequence[str]) -> tuple[tuple[str, int | str], ...]:
    """``name=value`` pairs; digits are numbers.

    Raises:
        UserError: E577, one is none.
    """
    pairs: list[tuple[str, int | str]] = []
    for word in words:
        name, given, value = word.partition("=")
        if not (given and name):
            raise UserError(
                "E577",
                "this is no parameter",
                facts={"given": word},
                hint="NAME=VALUE, as capacity_w=5000; NAME= takes it away",
                exit_code=Exit.USAGE,
            )
        number = value.isascii() and value.isdecimal() and len(value) < 19
        pairs.append((name, int(value) if number else value))
    return tuple(pairs)


def show(home: Path, view: str, output: Output, nothing: str, columns: Sequence[str]) -> None:
    """Print rows of a view: all of them as JSON, some columns as a table; by name, if any."""
    rows: list[dict[str, Any]] = with_client(home, lambda client: client.view(view))
    if "name" in columns:
        rows = by_name(rows)
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        print_rows([{name: brief(row[name]) for name in columns} for row in rows], output)
    else:
        print(nothing)


def brief(value: Any) -> str | int | None:
    """A value in one cell: of a list of records their names."""
    match value:
        case list():
            words = (str(v.get("name", v.get("key"))) if isinstance(v, dict) else v for v in value)
            return " ".join(map(str, words)) or None
        case bool():
            return "yes" if value else "no"
        case int() | None:
            return value
        case _:
            return str(value)
