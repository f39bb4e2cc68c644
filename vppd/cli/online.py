"""What commands that talk to a running node share: finding it, its chain, and rendering keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from vppd.cli.loop import run_async
from vppd.client.client import Client, connect
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis
from vppd.config.node import NodeConfig, default_node, load_node
from vppd.errors import Exit, PeerFault, UserError
from vppd.types import Digest

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
