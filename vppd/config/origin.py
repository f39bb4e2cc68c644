"""Every value a node runs with, and where it comes from: a line of a file, a flag, or a default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.config.home import Home, load_home
from vppd.config.node import RETENTION, NodeFile
from vppd.config.peers import parse_peers
from vppd.config.toml import Table, convert, dotted, parse, read_bytes
from vppd.crypto import key_text
from vppd.types import Role

_HEADER = re.compile(r"^\s*\[(?P<list>\[)?\s*(?P<name>[^\[\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*(?P<key>[A-Za-z0-9_."' -]+?)\s*=""")
_ALIASES = {"market.slot_seconds": "market.slot_ms", "market.slot_ms": "market.slot_seconds"}
"""Two spellings of one value."""


class Setting(NamedTuple):
    """One value."""

    file: str
    """Which of the three files it belongs to; ``node`` for what they say together, ``start`` for
    flags."""
    key: str
    """Dotted; entries of a list by their number from 0."""
    value: str
    """As it would be written."""
    origin: str


class Flags(NamedTuple):
    """What ``vppd start`` was given instead of the files in the home."""

    role: Role | None = None
    config: Path | None = None
    peers: Path | None = None
    genesis: Path | None = None
    said_by: str = "command line"
    """Who says so."""


NO_FLAGS = Flags()


class _Source(NamedTuple):
    """A file: what it says, and where."""

    label: str
    """How it is called in an origin."""
    tables: Table
    lines: dict[str, int]

    @classmethod
    def read(cls, path: Path, home: Path, data: bytes) -> _Source:
        label = path.name if path.parent.absolute() == home.absolute() else str(path)
        return cls(label, parse(data, path), lines_of(data.decode()))

    def origin(self, key: str) -> str:
        """``default``, or the line of the key; inside an inline table, that table's."""
        for name in (key, _ALIASES.get(key, key)):
            if _is_written(self.tables, name):
                around = name
                while around and around not in self.lines:
                    around = re.sub(r"(\[\d+\]|\.?[^.\[\]]+)$", "", around)
                return f"{self.label}:{self.lines[around]}" if around else self.label
        return "default"


def settings(home: Path, flags: Flags = NO_FLAGS) -> list[Setting]:
    """The values of a node's three files, defaults included; no secret is among them.

    Raises:
        ConfigError: as reading the files and checking them against each other.
    """
    ready = load_home(
        home, role=flags.role, config=flags.config, peers=flags.peers, genesis=flags.genesis
    )
    given = flags._asdict()
    said_by = given.pop("said_by")
    return [
        *(
            Setting("start", f"--{name}", str(said), said_by)
            for name, said in given.items()
            if said
        ),
        Setting("node", "name", ready.name, _who_names(ready)),
        Setting("node", "role", str(ready.role), "whether and as what genesis.toml lists the key"),
        Setting("node", "id", key_text(ready.signer.public_key), "the key file"),
        *_node(flags.config or home / "node.toml", home, ready),
        *_genesis(flags.genesis or home / "genesis.toml", home),
        *_peers(flags.peers or home / "peers.toml", home),
    ]


def lines_of(text: str) -> dict[str, int]:
    """Line numbers, from 1, of the keys and tables of a TOML text that is known to be valid."""
    table, lists, lines = "", dict[str, int](), dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = _plain(header["name"])
            if header["list"]:
                lists[table] = lists.get(table, -1) + 1
                table = f"{table}[{lists[table]}]"
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault(dotted(table, _plain(key["key"])), number)
    return lines


def _plain(name: str) -> str:
    """A dotted name without the quotes and spaces that TOML allows in it."""
    return re.sub(r"[\"' ]", "", name)


def _is_written(tables: Table, key: str) -> bool:
    at: object = tables
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        if index and isinstance(at, list) and int(index) < len(at):
            at = at[int(index)]
        elif name and isinstance(at, dict) and name in at:
            at = at[name]
        else:
            return False
    return True


def _who_names(ready: Home) -> str:
    if ready.index is not None:
        return "genesis.toml"
    if ready.peers.by_key(ready.signer.public_key) is not None:
        return "peers.toml"
    return "default" if ready.node.name is None else "node.toml"


def _node(path: Path, home: Path, ready: Home) -> Iterator[Setting]:
    data = path.read_bytes() if path.exists() else b"schema = 1\n"
    source = _Source.read(path, home, data)
    if not path.exists():
        source = source._replace(tables={})
    file = convert(parse(data, path), NodeFile, path)
    listed = ready.peers.by_key(ready.signer.public_key) is not None
    unset = {
        "node.role": (str(ready.role), "genesis.toml"),
        "node.name": (ready.name, _who_names(ready)),
        "net.listen": (ready.listen, "peers.toml" if listed else "default"),
        "net.crl": ("none", "default"),
        "store.retention_blocks": (str(RETENTION[ready.role]), f"default for role {ready.role}"),
        "sync.trust": ("none", "default"),
        "http.listen": (str(ready.http_listen), "default: the port after net.listen"),
    }
    yield Setting("node.toml", "schema", str(file.schema), source.origin("schema"))
    for table in ("node", "net", "http", "store", "sync", "log"):
        for field, value in msgspec.structs.asdict(getattr(file, table)).items():
            key = f"{table}.{field}"
            text, origin = (_text(value), source.origin(key)) if value is not None else unset[key]
            yield Setting("node.toml", key, text, origin)


def _genesis(path: Path, home: Path) -> Iterator[Setting]:
    data = read_bytes(path, hint="vppd testnet writes one")
    genesis = parse_genesis(data, path)
    most = (len(genesis.validators) - 1) // 3
    rules = genesis.consensus
    whole = render_genesis(
        name=genesis.name,
        consensus=msgspec.structs.replace(rules, f=most) if rules.f is None else rules,
        market=genesis.market,
        validators=genesis.validators,
        accounts=genesis.accounts,
        meters=genesis.meters,
        grid=genesis.grid,
    )
    yield Setting("genesis.toml", "sha256", genesis.digest.hex(), "its bytes")
    source = _Source.read(path, home, data)
    yield from _flat("genesis.toml", source, parse(whole.encode(), path))


def _peers(path: Path, home: Path) -> Iterator[Setting]:
    data = read_bytes(path, hint="vppd testnet writes one")
    parse_peers(data, path)
    source = _Source.read(path, home, data)
    yield from _flat("peers.toml", source, source.tables)


def _flat(file: str, source: _Source, table: Table, where: str = "") -> Iterator[Setting]:
    for name, value in table.items():
        key = dotted(where, name)
        if isinstance(value, dict):
            yield from _flat(file, source, value, key)
        elif isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value):
                yield from _flat(file, source, entry, f"{key}[{number}]")
        else:
            yield Setting(file, key, _text(value), source.origin(key))


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) or '""'
