"""node.toml: this machine; optional, since every key has a default that fits a node's folder."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from vppd.config.keys import key_path
from vppd.config.toml import bad_value, convert, parse, read_bytes
from vppd.config.values import parse_address, parse_name, parse_size
from vppd.errors import ConfigError
from vppd.types import Digest, Height, Role

T = TypeVar("T")

SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux (unix(7)): 108 with the zero at the end."""
Transport = Literal["tls", "plain"]
Wire = Literal[2, 3]
Synchronous = Literal["full", "normal", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
SyncMode = Literal["auto", "snapshot", "replay"]
SNAPSHOT_AFTER = 10_000
"""Heights behind, beyond which a new node begins with a snapshot (protocol.md, §10)."""
RETENTION: dict[Role, int] = {Role.DER: 10_000, Role.OPERATOR: 0, Role.OBSERVER: 0}
"""Blocks that a node keeps whole; 0: all (protocol.md, §10, GC)."""


class NodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[node]`` as written."""

    role: Role | None = None
    name: str | None = None
    key: str = "node.key"
    joins: bool = False


class NetTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[net]`` as written."""

    listen: str | None = None
    transport: Transport = "tls"
    ca: str = "ca.pem"
    cert: str = "node.pem"
    cert_key: str = "node-tls.key"
    crl: str | None = None
    socket: str = "vppd.sock"
    wire: Wire = 3
    oldest_wire: Wire = 2


class HttpTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[http]`` as written."""

    listen: str | None = None


class StoreTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[store]`` as written."""

    path: str = "chain.db"
    synchronous: Synchronous = "full"
    min_free: str = "512MiB"
    retention_blocks: Annotated[int, Meta(ge=0, lt=2**62)] | None = None


class SyncTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[sync]`` as written."""

    mode: SyncMode = "auto"
    snapshot_after: Annotated[int, Meta(ge=0, lt=2**62)] = SNAPSHOT_AFTER
    trust: str | None = None


class LogTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log]`` as written."""

    level: LogLevel = "info"
    format: LogFormat = "auto"
    trace_heights: Annotated[int, Meta(ge=0, le=4_096)] = 64


class NodeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """node.toml as written."""

    schema: int
    node: NodeTable = NodeTable()
    net: NetTable = NetTable()
    http: HttpTable = HttpTable()
    store: StoreTable = StoreTable()
    sync: SyncTable = SyncTable()
    log: LogTable = LogTable()


class Trust(msgspec.Struct, frozen=True):
    """A block that somebody knows to be of this chain, not from its nodes."""

    height: Height
    digest: Digest

    def __str__(self) -> str:
        return f"{self.height}:{self.digest.hex()}"


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, decoded: paths are complete, sizes are bytes."""

    role: Role | None
    """What the file says the node is; ``None``: genesis knows."""
    name: str | None
    """What the file calls the node; ``None``: peers.toml knows."""
    key_file: Path
    joins: bool
    """Whether the node came after genesis, which therefore does not list its key."""
    listen: str | None
    """``host:port`` to bind; ``None``: as peers.toml says."""
    transport: Transport
    ca: Path
    cert: Path
    cert_key: Path
    crl: Path | None
    socket: Path
    """Unix socket for clients on this machine."""
    wire: Wire
    """Newest version of the protocol to speak with other nodes."""
    oldest_wire: Wire
    """Oldest one; who speaks nothing newer is refused."""
    http_listen: str | None
    """Loopback ``host:port`` of /metrics, /livez and /readyz; ``None``: the port after listen's;
    empty: no HTTP."""
    store: Path
    synchronous: Synchronous
    min_free_bytes: int
    """Free disk space below which the node stops signing."""
    retention_blocks: int | None
    """Blocks kept whole; 0: all; ``None``: as the node's role has it (:data:`RETENTION`)."""
    sync_mode: SyncMode
    """How a node without any block gets to where the plant is."""
    snapshot_after: int
    """With ``auto``: heights behind, beyond which it begins with a snapshot."""
    trust: Trust | None
    """A block that the chain must have."""
    log_level: LogLevel
    log_format: LogFormat
    trace_heights: int
    """Heights whose messages are kept in memory, for ``vppd block trace``."""


def load_node(path: Path, *, bench: bool = False) -> NodeConfig:
    """Read and check node.toml; relative paths in it start at its folder.

    Args:
        path: the file.
        bench: whether unsafe settings are allowed because nothing of value is at stake.

    Raises:
        ConfigError: E100…E106, E115, E141, E164, naming the file, the key and what to try.
    """
    hint = "vppd init writes one; without --config a node runs on the defaults"
    return parse_node(read_bytes(path, hint=hint), path, bench=bench)


def parse_node(data: bytes, path: Path, *, bench: bool = False) -> NodeConfig:
    """The same for bytes at hand.

    Raises:
        ConfigError: E101…E106, E115, E141, E164.
    """
    return _decode(convert(parse(data, path), NodeFile, path), path, bench=bench)


def default_node(home: Path) -> NodeConfig:
    """What a folder without node.toml means."""
    return _decode(NodeFile(schema=1), home / "node.toml", bench=False)


def _decode(file: NodeFile, path: Path, *, bench: bool) -> NodeConfig:
    base = path.parent.absolute()
    if file.node.name is not None:
        _check(path, "node.name", parse_name, file.node.name)
    if file.net.listen is not None:
        _check(path, "net.listen", parse_address, file.net.listen)
    if file.http.listen:
        host, _ = _check(path, "http.listen", parse_address, file.http.listen)
        if not is_loopback(host):
            raise bad_value(
                path,
                "http.listen",
                f"{host} is not this machine, and the page has no password",
                'listen = "127.0.0.1:7441", with a reverse proxy in front to serve others',
            )
    if file.store.synchronous == "off" and not bench:
        raise ConfigError(
            "E115",
            'synchronous = "off" is for benches: a power cut could make this node sign twice',
            facts={"file": str(path), "key": "store.synchronous"},
            hint='synchronous = "full"',
        )
    socket = base / file.net.socket
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES:
        raise ConfigError(
            "E141",
            "the path of the socket for clients is too long",
            facts={"socket": str(socket), "bytes": f"{length}, at most {SOCKET_PATH_BYTES}"},
            hint="a folder with a shorter path, or a short one for the socket alone in node.toml:\n"
            '[net] socket = "/run/vppd/op-0.sock"',
        )
    return NodeConfig(
        role=file.node.role,
        name=file.node.name,
        key_file=key_path(file.node.key, base),
        joins=file.node.joins,
        listen=file.net.listen,
        transport=file.net.transport,
        ca=base / file.net.ca,
        cert=base / file.net.cert,
        cert_key=base / file.net.cert_key,
        crl=None if file.net.crl is None else base / file.net.crl,
        socket=socket,
        wire=file.net.wire,
        oldest_wire=min(file.net.oldest_wire, file.net.wire),
        http_listen=file.http.listen,
        store=base / file.store.path,
        synchronous=file.store.synchronous,
        min_free_bytes=_check(path, "store.min_free", parse_size, file.store.min_free),
        retention_blocks=file.store.retention_blocks,
        sync_mode=file.sync.mode,
        snapshot_after=file.sync.snapshot_after,
        trust=None
        if file.sync.trust is None
        else _check(path, "sync.trust", parse_trust, file.sync.trust),
        log_level=file.log.level,
        log_format=file.log.format,
        trace_heights=file.log.trace_heights,
    )


def parse_trust(text: str) -> Trust:
    """A block as ``HEIGHT:HASH``, in digits and 64 hexadecimal digits.

    Raises:
        ValueError: not that.
    """
    height, _, digest = text.partition(":")
    if not height.isascii() or not height.isdigit() or int(height) < 1 or len(digest) != 64:
        raise ValueError(f"{text!r} is not HEIGHT:HASH, like 128:{'ab' * 32}")
    return Trust(int(height), bytes.fromhex(digest))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def render_node(
    *,
    role: Role,
    name: str,
    listen: str | None = None,
    transport: Transport = "tls",
    joins: bool = False,
) -> str:
    """node.toml for a node whose files lie beside it under their default names."""
    lines = [
        "# This machine. Every key has a default (docs/configuration.md); paths start here.",
        "schema = 1",
        "",
        "[node]",
        f'role = "{role}"',
        f'name = "{name}"',
        'key = "node.key"',
    ]
    lines += ["joins = true"] if joins else []
    net = [f'listen = "{listen}"'] if listen is not None else []
    net += [f'transport = "{transport}"'] if transport != "tls" else []
    if net:
        lines += ["", "[net]", *net]
    lines += ["", "[store]", 'synchronous = "full"', 'min_free = "512MiB"']
    return "\n".join(lines) + "\n"


def _check(path: Path, where: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as err:
        raise bad_value(
            path, where, str(err), "docs/configuration.md shows each key's form"
        ) from err
