"""``vppd config``: are the files of a node right, each and together?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.online import node_config
from vppd.cli.output import Output, OutputOption, Row, print_rows
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import parse_genesis
from vppd.config.home import Home, load_home
from vppd.config.node import parse_node
from vppd.config.peers import Peers, parse_peers
from vppd.config.toml import parse, read_bytes
from vppd.consensus.profile import founding_validators
from vppd.crypto import key_text
from vppd.errors import ConfigError
from vppd.types import Role


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Check these files one by one instead of a node's folder."),
    ] = None,
    home: Annotated[Path, typer.Option(help="A node's folder.")] = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what the files say; the first thing that is wrong ends it with exit code 78."""
    rows = [_file_row(path) for path in files] if files else _home_rows(load_home(home))
    print_rows(rows, output)


def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Also where each value comes from.")
    ] = False,
    role: Annotated[Role | None, typer.Option(help="As for vppd start.")] = None,
    peers: Annotated[Path | None, typer.Option(help="As for vppd start.")] = None,
    genesis: Annotated[Path | None, typer.Option(help="As for vppd start.")] = None,
    home: Annotated[Path, typer.Option(help="A node's folder.")] = Path(),
    config: Annotated[Path | None, typer.Option(help="As for vppd start.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print every value this node runs with, defaults included; no secret is shown.

    The values are those of the files as they are now. If the node runs, with the flags that it was
    started with; flags given here go first.
    """
    from vppd.cli.running import started_with
    from vppd.config.origin import NO_FLAGS, Flags, settings

    if config is not None and home == Path():
        home = config.parent
    flags = Flags(role=role, config=config, peers=peers, genesis=genesis)
    if flags == NO_FLAGS:
        try:
            flags = started_with(node_config(home).socket)
        except OSError as err:
            why = err.strerror or err
            print(f"note: a node runs here, with flags that cannot be read: {why}", file=sys.stderr)
    rows: list[Row] = []
    for setting in settings(home, flags):
        row = {"file": setting.file, "key": setting.key, "value": setting.value}
        rows.append({**row, "origin": setting.origin} if origin else row)
    print_rows(rows, output)


def _file_row(path: Path) -> Row:
    """Which of the three files it is shows in its tables, whatever it is called."""
    data = read_bytes(path, hint="vppd config check FILE…, or --home FOLDER")
    tables = parse(data, path)
    if "peer" in tables or "genesis_sha256" in tables:
        says = _peers_text(parse_peers(data, path))
    elif "validator" in tables or "chain_id" in tables:
        says = _genesis_text(parse_genesis(data, path))
    else:
        role = parse_node(data, path).role
        says = f"role {role}" if role is not None else "role as genesis says"
    return {"file": str(path), "says": says}


def _home_rows(home: Home) -> list[Row]:
    node = home.node
    rows: list[Row] = [
        {"file": "genesis.toml", "says": _genesis_text(home.genesis)},
        {"file": "peers.toml", "says": _peers_text(home.peers)},
        {"file": str(node.key_file), "says": key_text(home.signer.public_key)},
    ]
    if node.transport == "tls":
        paths = [node.ca, node.cert, node.cert_key, *([node.crl] if node.crl else [])]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise ConfigError(
                "E118",
                f"{missing[0].name} is missing, and the node speaks TLS",
                facts={"files": "\n".join(map(str, missing))},
                hint="vppd pki issue NAME --out FOLDER writes a node's three files",
            )
        rows += [{"file": str(path), "says": "is there"} for path in paths]
    store = "is there" if node.store.exists() else "not yet: vppd init creates it"
    rows.append({"file": str(node.store), "says": store})
    index = "" if home.index is None else f", validator {home.index}"
    rows.append(
        {"file": "node", "says": f"{home.name}, {home.role}{index}, listens on {home.listen}"}
    )
    return rows


def _genesis_text(genesis: Genesis) -> str:
    founding_validators(genesis)  # an engine from elsewhere is imported, and may not be fit
    return (
        f"{genesis.name}, {genesis.digest.hex()[:16]}…: engine {genesis.consensus.engine}, "
        f"{len(genesis.validators)} validators, "
        f"{len(genesis.accounts)} accounts, {len(genesis.meters)} meters"
    )


def _peers_text(peers: Peers) -> str:
    return (
        f"{peers.chain_name}, genesis {peers.genesis_digest.hex()[:16]}…: {len(peers.peers)} peers"
    )
