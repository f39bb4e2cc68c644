"""Every value a node runs with, and where it comes from: a line of a file, or a default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.config.home import load_home
from vppd.config.node import NodeFile
from vppd.config.peers import parse_peers
from vppd.config.toml import Table, convert, dotted, parse, read_bytes
from vppd.crypto import key_text

_HEADER = re.compile(r"^\s*\[(?P<list>\[)?\s*(?P<name>[^\[\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_."'-]+)\s*=""")
_ALIASES = {"market.slot_seconds": "market.slot_ms", "market.slot_ms": "market.slot_seconds"}
"""Two spellings of one value."""


class Setting(NamedTuple):
    """One value."""

    file: str
    key: str
    """Dotted; entries of a list by their number from 0."""
    value: str
    origin: str


def settings(home: Path) -> list[Setting]:
    """The values of a node's three files, defaults included; no secret is among them.

    Raises:
        ConfigError: as reading the files and checking them against each other.
    """
    ready = load_home(home)
    found = [*_node(home.absolute() / "node.toml", ready.listen, ready.http_listen or "off")]
    found.insert(0, Setting("node", "role", str(ready.role), "genesis.toml knows the key"))
    found.insert(1, Setting("node", "id", key_text(ready.signer.public_key), "the key file"))
    return [*found, *_genesis(home / "genesis.toml"), *_peers(home / "peers.toml")]


def lines_of(text: str) -> dict[str, int]:
    """Line numbers, from 1, of the keys of a TOML text that is known to be valid."""
    table, lists, lines = "", dict[str, int](), dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = header["name"]
            if header["list"]:
                lists[table] = lists.get(table, -1) + 1
                table = f"{table}[{lists[table]}]"
            continue
        key = _KEY.match(line)
        if key is not None:
            name = key["key"].replace('"', "").replace("'", "")
            lines.setdefault(dotted(table, name), number)
    return lines


def _node(path: Path, listen: str, http_listen: str) -> Iterator[Setting]:
    data = path.read_bytes() if path.exists() else b"schema = 1\n"
    lines = lines_of(data.decode()) if path.exists() else {}
    file = convert(parse(data, path), NodeFile, path)
    derived = {
        "net.listen": (listen, "peers.toml, or every address"),
        "http.listen": (http_listen, "the port after net.listen"),
        "node.name": ("as genesis.toml or peers.toml says", "default"),
        "node.role": ("as genesis.toml says", "default"),
        "net.crl": ("none", "default"),
    }
    for table in ("node", "net", "http", "store", "log"):
        for field, value in msgspec.structs.asdict(getattr(file, table)).items():
            key = f"{table}.{field}"
            if value is None:
                text, origin = derived.get(key, ("none", "default"))
                yield Setting("node.toml", key, text, origin)
            else:
                yield Setting("node.toml", key, str(value), _origin(path, key, lines))


def _genesis(path: Path) -> Iterator[Setting]:
    data = read_bytes(path, hint="vppd testnet writes one")
    genesis = parse_genesis(data, path)
    whole = render_genesis(
        name=genesis.name,
        consensus=genesis.consensus,
        market=genesis.market,
        validators=genesis.validators,
        accounts=genesis.accounts,
        meters=genesis.meters,
    )
    yield Setting("genesis.toml", "sha256", genesis.digest.hex(), "its bytes")
    yield from _flat(path, parse(whole.encode(), path), lines_of(data.decode()))


def _peers(path: Path) -> Iterator[Setting]:
    data = read_bytes(path, hint="vppd testnet writes one")
    parse_peers(data, path)
    yield from _flat(path, parse(data, path), lines_of(data.decode()))


def _flat(path: Path, table: Table, lines: Mapping[str, int], where: str = "") -> Iterator[Setting]:
    for name, value in table.items():
        key = dotted(where, name)
        if isinstance(value, dict):
            yield from _flat(path, value, lines, key)
        elif isinstance(value, list):
            for number, entry in enumerate(value):
                yield from _flat(path, entry, lines, f"{key}[{number}]")
        else:
            yield Setting(path.name, key, str(value), _origin(path, key, lines))


def _origin(path: Path, key: str, lines: Mapping[str, int]) -> str:
    line = lines.get(key) or lines.get(_ALIASES.get(key, ""))
    return "default" if line is None else f"{path.name}:{line}"
