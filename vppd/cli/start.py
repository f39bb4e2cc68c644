"""``vppd start``: run this node until it is told to stop."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from vppd.cli.loop import run_async
from vppd.config.home import load_home
from vppd.config.node import Trust, parse_trust
from vppd.errors import Exit, LocalFault, UserError
from vppd.types import Role


class Sync(StrEnum):
    """Values of ``--sync``."""

    auto = "auto"
    snapshot = "snapshot"
    replay = "replay"


def start(
    role: Annotated[
        Role | None, typer.Option(help="What this node is; checked against genesis.")
    ] = None,
    peers: Annotated[Path | None, typer.Option(help="peers.toml; default: in the home.")] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="genesis.toml; default: in the home.")
    ] = None,
    home: Annotated[Path, typer.Option(help="This node's folder.")] = Path(),
    config: Annotated[Path | None, typer.Option(help="node.toml; default: in the home.")] = None,
    sync: Annotated[
        Sync | None,
        typer.Option(help="How a node without blocks gets to where the plant is."),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(metavar="HEIGHT:HASH", help="A block that the chain must have."),
    ] = None,
) -> None:
    """Join the plant and work until SIGTERM or Ctrl-C.

    Raises:
        UserError: the files are wrong, or this machine is; E258, something of ours failed; E363,
            ``--trust`` is no block.
    """
    from vppd.node.daemon import run_node
    from vppd.node.logs import configure_logs

    if config is not None and home == Path():
        home = config.parent
    ready = load_home(home, role=role, config=config, peers=peers, genesis=genesis)
    if sync is not None:
        ready = replace(ready, node=replace(ready.node, sync_mode=sync.value))
    if trust is not None:
        ready = replace(ready, node=replace(ready.node, trust=_trusted(trust)))
    configure_logs(ready.node.log_level, ready.node.log_format)
    try:
        run_async(run_node(ready))
    except LocalFault as err:
        raise UserError(
            "E258",
            "the node has stopped rather than guess",
            facts={"why": str(err)},
            hint="the disk, its free space and its health; vppd block verify checks the store",
        ) from err


def _trusted(text: str) -> Trust:
    try:
        return parse_trust(text)
    except ValueError as err:
        raise UserError(
            "E363",
            f"--trust: {err}",
            hint="vppd block show HEIGHT on a node that you trust prints the hash",
            exit_code=Exit.USAGE,
        ) from err
