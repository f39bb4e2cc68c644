"""``vppd start``: run this node until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.loop import run_async
from vppd.config.home import load_home
from vppd.errors import LocalFault, UserError
from vppd.types import Role


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
) -> None:
    """Join the plant and work until SIGTERM or Ctrl-C.

    Raises:
        UserError: the files are wrong, or this machine is; E258, something of ours failed.
    """
    from vppd.node.daemon import run_node
    from vppd.node.logs import configure_logs

    if config is not None and home == Path():
        home = config.parent
    ready = load_home(home, role=role, config=config, peers=peers, genesis=genesis)
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
