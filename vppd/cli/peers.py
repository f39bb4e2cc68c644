"""``vppd peers``: the plant's addresses."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, print_rows
from vppd.config.peers import Peer, add_peer, load_peers
from vppd.crypto import SigningKey, key_text
from vppd.errors import Exit, UserError

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
    from vppd.client.client import connect_port
    from vppd.config.home import load_home
    from vppd.net.tls import load_tls

    ready = load_home(home)
    node = ready.node
    tls = load_tls(node.ca, node.cert, node.cert_key, node.crl) if node.transport == "tls" else None

    visitor = SigningKey(secrets.token_bytes(32))  # the node's own key would look like its twin

    async def visit(peer: Peer) -> dict[str, str | int | None]:
        row: dict[str, str | int | None] = {"name": peer.name, "addr": peer.addr}
        try:
            async with connect_port(peer.addr, visitor, ready.genesis, tls, peer.key) as client:
                view = await client.view("status")
        except UserError as err:
            return {**row, "ok": "no", "height": None, "why": err.facts.get("why", err.what)}
        return {**row, "ok": "yes", "height": view["height"], "why": None}

    async def main() -> list[dict[str, str | int | None]]:
        return [await visit(peer) for peer in ready.peers.peers]

    rows = run_async(main())
    print_rows(rows, output)
    if any(row["ok"] == "no" for row in rows):
        raise typer.Exit(Exit.UNHEALTHY)
