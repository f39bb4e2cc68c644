"""peers.toml: who answers where; the same file on every node, and only addresses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from vppd.config.genesis import Genesis
from vppd.config.toml import bad_value, check_distinct, convert, parse, read_bytes, replace_file
from vppd.config.values import parse_address, parse_name
from vppd.crypto import key_text, parse_key
from vppd.errors import ConfigError
from vppd.types import Digest, PublicKey

PORT_STEP = 10
"""Nodes on one host lie so many ports apart: beside its own, each uses the next for HTTP."""


_MISSING = "vppd testnet writes one; copy it from another node of the plant"


class PeerTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[peer]]`` as written."""

    name: str
    id: str
    addr: str


class PeersFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """peers.toml as written."""

    schema: int
    chain_id: str
    genesis_sha256: str
    peer: tuple[PeerTable, ...]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One node and where it listens."""

    name: str
    key: PublicKey
    addr: str
    """``host:port``, checked."""

    @property
    def host(self) -> str:
        """Name or IP address, without brackets."""
        return parse_address(self.addr)[0]

    @property
    def port(self) -> int:
        """TCP port."""
        return parse_address(self.addr)[1]


class Peers(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, decoded."""

    chain_name: str
    """``chain_id`` in the file: what people call the plant."""
    genesis_digest: Digest
    peers: tuple[Peer, ...]

    def by_key(self, key: PublicKey) -> Peer | None:
        """The entry of that key."""
        return next((peer for peer in self.peers if peer.key == key), None)


def load_peers(path: Path) -> Peers:
    """Read and check peers.toml.

    Raises:
        ConfigError: E100…E108, naming the file, the key and what to try.
    """
    return parse_peers(read_bytes(path, hint=_MISSING), path)


def parse_peers(data: bytes, path: Path = Path("peers.toml")) -> Peers:
    """The same for bytes at hand; ``path`` is only named in errors.

    Raises:
        ConfigError: E101…E108.
    """
    file = convert(parse(data, path), PeersFile, path)
    try:
        digest = bytes.fromhex(file.genesis_sha256)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise bad_value(path, "genesis_sha256", "it is not 64 hex digits", "sha256sum genesis.toml")
    peers = tuple(_peer(path, i, table) for i, table in enumerate(file.peer))
    for key, values in (
        ("name", [p.name for p in peers]),
        ("id", [key_text(p.key) for p in peers]),
        ("addr", [p.addr for p in peers]),
    ):
        check_distinct(path, "peer", key, values)
    return Peers(chain_name=file.chain_id, genesis_digest=digest, peers=peers)


def add_peer(path: Path, name: str, key: str, addr: str) -> Peers:
    """Append an entry to the file; what people wrote into it stays as it is.

    Args:
        path: peers.toml.
        name: the new node's name.
        key: its public key, ``ed25519:…``.
        addr: where it listens, ``host:port``.

    Raises:
        ConfigError: E100…E108, also when the file would be wrong with the entry; it is unchanged.
    """
    data = with_peer(read_bytes(path, hint=_MISSING), path, name, key, addr)
    replace_file(path, data)
    return parse_peers(data, path)


def with_peer(data: bytes, path: Path, name: str, key: str, addr: str) -> bytes:
    """The same for bytes at hand; ``path`` is only named in errors.

    Raises:
        ConfigError: E101…E108, also when the file would be wrong with the entry.
    """
    parse_peers(data, path)
    # Values go through TOML's own string syntax: what is odd in them is told by parse_peers below.
    fields = {"name": name, "id": key, "addr": addr}
    entry = "".join(f"{k:<4} = {json.dumps(v)}\n" for k, v in fields.items())
    data = data.rstrip(b"\n") + f"\n\n[[peer]]\n{entry}".encode()
    parse_peers(data, path)
    return data


def check_peers(peers: Peers, genesis: Genesis, path: Path) -> None:
    """Whether these are addresses of this plant.

    Raises:
        ConfigError: E113, another genesis; E121, a validator without an address.
    """
    if (peers.chain_name, peers.genesis_digest) != (genesis.name, genesis.digest):
        raise ConfigError(
            "E113",
            "peers.toml and genesis.toml belong to different plants",
            facts={
                "file": str(path),
                "peers": f"{peers.chain_name}, genesis_sha256 {peers.genesis_digest.hex()[:16]}…",
                "genesis": f"{genesis.name}, SHA-256 {genesis.digest.hex()[:16]}…",
            },
            hint="copy both files from one node; genesis.toml is never edited after height 0",
        )
    missing = [v.name for v in genesis.validators if peers.by_key(v.key) is None]
    if missing:
        raise ConfigError(
            "E121",
            f"peers.toml has no address for {', '.join(missing)}",
            facts={"file": str(path), "validators": str(len(genesis.validators))},
            hint="add a [[peer]] with name, id and addr for each validator of genesis.toml",
        )


def own_entry(
    peers: Peers, key: PublicKey, *, name: str | None, key_file: Path, peers_file: Path
) -> Peer:
    """This node's entry, found by its key.

    Args:
        peers: the file's content.
        key: this node's public key.
        name: what the node calls itself; only for the hint.
        key_file: where the secret key lies; only for the message.
        peers_file: where ``peers`` came from; only for the message.

    Raises:
        ConfigError: E104, no entry has the key.
    """
    entry = peers.by_key(key)
    if entry is not None:
        return entry
    text, file = key_text(key), peers_file.name
    raise ConfigError(
        "E104",
        f"this node's key is not in {file}",
        facts={"key": f"{text}  ({key_file})     {file}: {len(peers.peers)} peers, none match"},
        hint=f"vppd peers add {name or 'NAME'} {text} HOST:7440     then copy to every node",
    )


def render_peers(*, chain_name: str, genesis_digest: Digest, peers: Iterable[Peer]) -> str:
    """peers.toml for these peers; :func:`load_peers` gives them back."""
    lines = [
        "# Where the nodes of the plant listen: identical on every node, addresses only.",
        "schema = 1",
        f'chain_id = "{chain_name}"',
        f'genesis_sha256 = "{genesis_digest.hex()}"',
    ]
    for peer in peers:
        lines += [
            "",
            "[[peer]]",
            f'name = "{peer.name}"',
            f'id   = "{key_text(peer.key)}"',
            f'addr = "{peer.addr}"',
        ]
    return "\n".join(lines) + "\n"


def _peer(path: Path, i: int, table: PeerTable) -> Peer:
    key = "name"
    try:
        name = parse_name(table.name)
        key = "id"
        public_key = parse_key(table.id)
        key = "addr"
        parse_address(table.addr)
    except ValueError as err:
        hint = 'addr = "192.168.10.2:7440", id = "ed25519:…" as vppd key show prints it'
        raise bad_value(path, f"peer[{i}].{key}", str(err), hint) from err
    return Peer(name=name, key=public_key, addr=table.addr)
