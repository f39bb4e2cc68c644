"""What commands that talk to a running node share: finding it, its chain, and rendering keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from vppd.cli.loop import run_async
from vppd.client.client import Client, RequestFailed, connect
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis
from vppd.config.node import NodeConfig, default_node, load_node
from vppd.crypto import key_text
from vppd.errors import Exit, PeerFault, UserError
from vppd.ledger.transaction import Transaction, decode_transaction
from vppd.net.requests import FailureCode
from vppd.types import Digest, PublicKey

T = TypeVar("T")

HomeOption: TypeAlias = Annotated[Path, typer.Option(help="A running node's folder.")]


def node_config(home: Path) -> NodeConfig:
    """The node's file, or the defaults of its folder."""
    file = home / "node.toml"
    return load_node(file) if file.exists() else default_node(home.absolute())


def genesis_of(home: Path) -> Genesis:
    """The chain of the node in ``home``."""
    return load_genesis(home / "genesis.toml")


def with_client(home: Path, work: Callable[[Client], Awaitable[T]]) -> T:
    """Connect to the node in ``home``, do something, hang up.

    Raises:
        UserError: E351, it does not answer; E358, it went away; what ``work`` raises.
    """
    socket = node_config(home).socket

    async def main() -> T:
        async with connect(socket) as client:
            return await work(client)

    try:
        return run_async(main())
    except PeerFault as err:
        raise UserError(
            "E358",
            "the node went away before it had answered",
            facts={"socket": str(socket), "why": str(err)},
            hint="its log says why; what it had accepted is not lost if another node has it: "
            "vppd tx show HASH",
        ) from err


async def account_of(client: Client, key: PublicKey) -> dict[str, Any]:
    """The ``account`` view of a key that is to sign.

    Raises:
        UserError: E395, it is nobody's on this chain.
    """
    try:
        account: dict[str, Any] = await client.view("account", key_text(key))
    except RequestFailed as err:
        if err.reason is not FailureCode.NOT_FOUND:
            raise
        raise UserError(
            "E395",
            "this key is neither a member's nor a meter's on this chain",
            facts={"key": key_text(key)},
            hint="--key names the key file; genesis.toml lists the keys of members and meters",
        ) from err
    return account


async def submit(client: Client, raw: bytes) -> Digest:
    """Hand over a signed transaction; a refusal says whose it is, which nonce is due, what to try.

    Raises:
        RequestFailed: E350, refused.
    """
    try:
        return await client.submit(raw)
    except RequestFailed as err:
        tx = decode_transaction(raw)
        err.facts["sender"] = key_text(tx.sender)
        due = await next_nonce(client, tx)
        if due is not None:
            err.facts["nonce"] = f"{tx.nonce}, the sender's next is {due}"
        err.hint = _what_to_try(err.reason, tx, due)
        raise


def _what_to_try(reason: FailureCode, tx: Transaction, due: int | None) -> str:
    if due is None:
        return "sign with the key of a member or meter of this plant: vppd key show, genesis.toml"
    if tx.nonce < due:
        return (
            f"vppd tx show {tx.id.hex()} says whether it is done already;\n"
            f"if not, sign it again with nonce {due}"
        )
    if tx.nonce > due:
        return f"send the sender's transaction with nonce {due} first"
    if reason is FailureCode.INVALID:
        return "it can never be decided as it is: sign it again"
    return "later again, or through another node (--home)"


async def next_nonce(client: Client, tx: Transaction) -> int | None:
    """The sender's next nonce, what waits at the node included; ``None``: it has no account.

    Raises:
        RequestFailed: E350, the node does not say.
    """
    try:
        account = await client.view("account", key_text(tx.sender))
    except RequestFailed as err:
        if err.reason is not FailureCode.NOT_FOUND:
            raise
        return None
    nonce: int = account["nonce"]
    return nonce


async def waits_for(client: Client, raw: bytes) -> int | None:
    """The nonce that is missing before a transaction that waits at the node; ``None``: none is."""
    tx = decode_transaction(raw)
    due = await next_nonce(client, tx)
    return due if due is not None and due < tx.nonce else None


def parse_hash(text: str) -> Digest:
    """A digest in hexadecimal.

    Raises:
        UserError: E352.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UserError(
            "E352",
            f"{text!r} is not a hash",
            hint="64 hexadecimal digits, as printed by `vppd tx send` or `vppd block tail`",
            exit_code=Exit.USAGE,
        )
    return raw
