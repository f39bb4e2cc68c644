"""The examples load, and the page lists every key with the default the code has."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from msgspec import NODEFAULT

from vppd.config import genesis_file, node, peers
from vppd.config.genesis_file import load_genesis
from vppd.config.node import default_node, load_node
from vppd.config.peers import check_peers, load_peers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
FILES: dict[str, type[msgspec.Struct]] = {
    "genesis.toml": genesis_file.GenesisFile,
    "peers.toml": peers.PeersFile,
    "node.toml": node.NodeFile,
}


def struct_of(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.StructType | None, str]:
    """The table a field holds, and how its heading is written."""
    if isinstance(kind, msgspec.inspect.UnionType):  # a section that may be left out
        for one in kind.types:
            if isinstance(one, msgspec.inspect.StructType):
                return one, "[{}]"
    if isinstance(kind, msgspec.inspect.VarTupleType):
        inner, _ = struct_of(kind.item_type)
        return inner, "[[{}]]"
    return (kind, "[{}]") if isinstance(kind, msgspec.inspect.StructType) else (None, "")


def keys(kind: msgspec.inspect.Type, table: str = "") -> list[tuple[str, str, object]]:
    """Heading, key and default of every key below ``kind``."""
    found: list[tuple[str, str, object]] = []
    assert isinstance(kind, msgspec.inspect.StructType)
    for field in kind.fields:
        inner, form = struct_of(field.type)
        if inner is None:
            found.append((table, field.encode_name, field.default))
        else:
            path = f"{table.strip('[]')}.{field.encode_name}".lstrip(".")
            found += keys(inner, form.format(path))
    return found


ALL = [
    (file, table, key, default)
    for file, kind in FILES.items()
    for table, key, default in keys(msgspec.inspect.type_info(kind))
]


def documented(file: str, table: str) -> dict[str, str]:
    """Key to default, of the page's rows under a heading."""
    part = PAGE[PAGE.index(f"\n## {file}\n") + 4 :]
    part = part.partition("\n## ")[0]
    if table:
        part = part[part.index(f"### `{table}`") + 4 :]
    part = part.partition("\n### ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", part, re.MULTILINE))


@pytest.mark.parametrize(("file", "table", "key", "default"), ALL)
def test_every_key_is_documented_with_its_default(
    file: str, table: str, key: str, default: object
) -> None:
    rows = documented(file, table)
    assert key in rows
    if default is NODEFAULT:
        assert rows[key] == "required"
    elif isinstance(default, str):
        assert rows[key] == f'`"{default}"`'
    elif isinstance(default, bool):
        assert rows[key] == str(default).lower()
    elif isinstance(default, int):
        assert rows[key] == str(default)


def test_no_key_is_documented_that_does_not_exist() -> None:
    for file, table in {(file, table) for file, table, _, _ in ALL}:
        known = {key for f, t, key, _ in ALL if (f, t) == (file, table)}
        assert set(documented(file, table)) == known


def test_the_example_plant_loads() -> None:
    genesis = load_genesis(ROOT / "config" / "genesis.toml")
    addresses = load_peers(ROOT / "config" / "peers.toml")
    check_peers(addresses, genesis, ROOT / "config" / "peers.toml")
    assert [p.name for p in addresses.peers] == [v.name for v in genesis.validators]


def test_the_example_node_shows_the_defaults() -> None:
    path = ROOT / "config" / "node.toml"
    assert load_node(path) == default_node(path.parent)


@pytest.mark.parametrize("file", FILES)
def test_the_examples_comments_are_valid_too(file: str, tmp_path: Path) -> None:
    """A line like ``# f = 1`` is there to be uncommented."""
    text = (ROOT / "config" / file).read_text(encoding="utf-8")
    shown = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    path = tmp_path / file
    path.write_text(shown)
    load = {"genesis.toml": load_genesis, "peers.toml": load_peers, "node.toml": load_node}[file]
    load(path)
