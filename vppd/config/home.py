"""A node's folder: its four files read together and checked against each other."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vppd.config.genesis import Genesis
from vppd.config.genesis_file import load_genesis
from vppd.config.keys import load_key
from vppd.config.node import NodeConfig, default_node, load_node
from vppd.config.peers import Peer, Peers, check_peers, load_peers, own_entry
from vppd.config.values import format_address, parse_address
from vppd.crypto import SigningKey
from vppd.errors import ConfigError
from vppd.types import ReplicaIndex, Role

DEFAULT_LISTEN = "0.0.0.0:7440"


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a node knows before it opens its store."""

    node: NodeConfig
    genesis: Genesis
    peers: Peers
    signer: SigningKey
    role: Role
    name: str
    index: ReplicaIndex | None
    """Position in the founding validator set; ``None`` for an observer or a later member."""
    listen: str
    """``host:port`` to bind."""
    http_listen: str | None
    """Loopback ``host:port`` for metrics and health; ``None``: no HTTP."""


def load_home(
    home: Path,
    *,
    role: Role | None = None,
    config: Path | None = None,
    peers: Path | None = None,
    genesis: Path | None = None,
    bench: bool = False,
) -> Home:
    """Read and cross-check a node's files.

    Args:
        home: the folder; what is not named below lies in it under its default name.
        role: what the person starting the node says it is; ``None``: genesis knows.
        config: node.toml; when ``None`` it may be missing.
        peers: peers.toml.
        genesis: genesis.toml.
        bench: see :func:`~vppd.config.node.load_node`.

    Raises:
        ConfigError: E100…E116, E160…E164.
    """
    home = home.absolute()
    node_file = home / "node.toml" if config is None else config
    if config is None and not node_file.exists():
        node = default_node(home)
    else:
        node = load_node(node_file, bench=bench)
    genesis_file = home / "genesis.toml" if genesis is None else genesis
    peers_file = home / "peers.toml" if peers is None else peers
    plant = load_genesis(genesis_file)
    addresses = load_peers(peers_file)
    check_peers(addresses, plant, peers_file)
    signer = load_key(node.key_file)
    index = _index(plant, signer)
    wanted = role or node.role
    found = Role.OBSERVER if index is None else plant.validators[index].role
    if index is None and node.joins and wanted is not None:
        found = wanted  # the chain decides, not genesis
    entry = addresses.by_key(signer.public_key)
    if entry is None and wanted is not Role.OBSERVER:
        entry = own_entry(
            addresses,
            signer.public_key,
            name=node.name,
            key_file=node.key_file,
            peers_file=peers_file,
        )
    for said, where in ((role, "--role"), (node.role, f"{node_file}, node.role")):
        if said not in (None, found):
            raise ConfigError(
                "E116",
                f"genesis.toml knows this node's key as {found}, not as {said}",
                facts={"said": f"{said} ({where})", "genesis": str(genesis_file)},
                hint=f"{found} in both places, or the key of the node you mean; a node that came\n"
                "after genesis says joins = true under [node] in node.toml; vppd init writes it",
            )
    listen = node.listen or (entry.addr if entry is not None else DEFAULT_LISTEN)
    return Home(
        node=node,
        genesis=plant,
        peers=addresses,
        signer=signer,
        role=found,
        name=_name(plant, index, entry, node),
        index=index,
        listen=listen,
        http_listen=_http_listen(node, listen),
    )


def _index(genesis: Genesis, signer: SigningKey) -> ReplicaIndex | None:
    keys = [validator.key for validator in genesis.validators]
    return keys.index(signer.public_key) if signer.public_key in keys else None


def _name(genesis: Genesis, index: int | None, entry: Peer | None, node: NodeConfig) -> str:
    if index is not None:
        return genesis.validators[index].name
    return entry.name if entry is not None else node.name or "observer"


def _http_listen(node: NodeConfig, listen: str) -> str | None:
    if node.http_listen is not None:
        return node.http_listen or None
    _, port = parse_address(listen)
    return format_address("127.0.0.1", port + 1)
