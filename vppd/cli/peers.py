"""``vppd peers``: the plant's addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, Row, print_rows
from vppd.config.peers import add_peer, load_peers
from vppd.crypto import key_text
from vppd.errors import Exit

PeersFile = Annotated[Path, typer.Option("--peers", help="The file with the addresses.")]


def list_peers(peers: PeersFile = Path("peers.toml"), output: OutputOption = Output.TABLE) -> None:
    """List names, addresses and keys."""
    rows = [
        {"name": p.name, "addr": p.addr, "id": key_text(p.key)} for p in load_peers(peers).peers
    ]
    print_rows(rows, output)


def add(
    name: Annotated[str, typer.Argument(help="The node's name.")],
    key: Annotated[str, typer.Argument(metavar="ID", help="Its public key, ed25519:….")],
    addr: Annotated[str, typer.Argument(help="Where it listens, HOST:PORT.")],
    peers: PeersFile = Path("peers.toml"),
) -> None:
    """Add an entry at the end of the file; everything else in it stays as it is."""
    count = len(add_peer(peers, name, key, addr).peers)
    print(f"{peers} has {count} peers now. Copy it to every node.")


def check(
    home: Annotated[Path, typer.Option(help="A node's folder: its key and certificates.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Connect to every node of peers.toml as this one would; exit code 3 if any cannot be reached.

    A real TLS handshake and a real hello with this node's certificate, whether it runs or not.
    """
    from vppd.cli.loop import run_async
    from vppd.cli.probe import ask_all

    _, nodes = run_async(ask_all(home))
    rows: list[Row] = [
        {
            "name": node["name"],
            "addr": node["addr"],
            "ok": "yes" if node["ok"] else "no",
            "height": node.get("height"),
            "why": node["why"],
        }
        for node in nodes
    ]
    print_rows(rows, output)
    if any(row["ok"] == "no" for row in rows):
        raise typer.Exit(Exit.UNHEALTHY)
