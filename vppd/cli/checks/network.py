"""Ports of this node, addresses of the others, and how far their clocks are apart."""

from __future__ import annotations

import asyncio
import secrets
import socket
import statistics
import time
from contextlib import suppress
from typing import Any, NamedTuple

from vppd.cli.checks.finding import Finding, fail, ok, unknown, warn
from vppd.client.client import connect, connect_port
from vppd.config.genesis import Genesis
from vppd.config.home import Home
from vppd.config.node import NodeConfig
from vppd.config.peers import Peer
from vppd.config.values import parse_address
from vppd.crypto import SigningKey, key_text
from vppd.errors import PeerFault, UserError
from vppd.net.ports import bind_tcp
from vppd.net.tls import Tls, explain, load_tls

REACH_S = 2.0
"""For a peer's address to take a TCP connection."""
SESSION_S = 5.0
"""For a session with it: TLS, hello, one answer."""


async def running(node: NodeConfig) -> dict[str, Any] | None:
    """``status`` of the node that runs in this folder; ``None``: none answers."""
    with suppress(UserError, PeerFault, TimeoutError):
        async with asyncio.timeout(SESSION_S), connect(node.socket) as client:
            view: dict[str, Any] = await client.view("status")
            return view
    return None


async def ports(home: Home, status: dict[str, Any] | None) -> list[Finding]:
    """Whether this node's ports are free, or held by itself."""
    ours = status is not None and status["key"] == key_text(home.signer.public_key)
    found = [await _port("port", home.listen, "[net] listen", ours=ours)]
    if home.http_listen:
        found.append(await _port("http port", home.http_listen, "[http] listen", ours=ours))
    return found


async def _port(check: str, addr: str, setting: str, *, ours: bool) -> Finding:
    try:
        sock = await bind_tcp(addr)
    except UserError as err:
        if err.code == "E301":
            if ours:
                return ok(check, f"{addr} is held, and this node runs")
            _, port = parse_address(addr)
            return fail(
                check,
                f"{addr} is taken, and no node answers in this folder",
                f"ss -ltnp 'sport = :{port}' names the process; another port: {setting} in "
                "node.toml",
            )
        why = err.facts.get("why", err.what)
        return fail(check, f"{addr}: {why}", f"{setting} names a place on this machine")
    sock.close()
    if ours:
        return fail(
            check,
            f"{addr} is free, but this node runs: it listens somewhere else",
            "restart the node: its files have changed since it started",
        )
    return ok(check, f"{addr} is free")


# ---------------------------------------------------------------- the others


class Visit(NamedTuple):
    """What came of looking for one peer."""

    finding: Finding
    offset_ms: float | None
    """Its clock minus ours; ``None``: no session."""
    doubt_ms: float
    """Half the round trip: how wrong that may be."""


async def peers(home: Home) -> list[Finding]:
    """Whether each other node can be reached, all at once, and how far the clocks are apart."""
    others = [peer for peer in home.peers.peers if peer.key != home.signer.public_key]
    tls, why = _tls(home.node)
    visits = await asyncio.gather(*(_visit(peer, home.genesis, tls, why) for peer in others))
    return [*(visit.finding for visit in visits), clocks(visits, home.genesis)]


def _tls(node: NodeConfig) -> tuple[Tls | None, str]:
    """Our side of TLS, or why no session can be tried."""
    if node.transport != "tls":
        return None, ""
    try:
        return load_tls(node.ca, node.cert, node.cert_key, node.crl), ""
    except UserError as err:
        return None, f"no session was tried: {err.code}"


async def _visit(peer: Peer, genesis: Genesis, tls: Tls | None, why: str) -> Visit:
    check = f"peer {peer.name}"
    host, port = parse_address(peer.addr)
    before = time.perf_counter()
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as err:
        hint = "correct its addr in peers.toml, on every node; or the name service"
        return Visit(fail(check, f"{peer.addr}: {explain(err)}", hint), None, 0)
    except OSError as err:  # TimeoutError is one
        hint = "does it run, and does a firewall let this port through?"
        return Visit(warn(check, f"{peer.addr}: {explain(err)}", hint), None, 0)
    millis = 1000 * (time.perf_counter() - before)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    says = f"{peer.addr} takes connections, after {millis:.1f} ms"
    if why:
        return Visit(ok(check, f"{says}; {why}"), None, 0)
    try:
        async with asyncio.timeout(SESSION_S):
            height, offset_ms, doubt_ms = await _ask(peer, genesis, tls)
    except (UserError, PeerFault, TimeoutError) as err:
        said = err.facts.get("why", err.what) if isinstance(err, UserError) else explain(err)
        hint = "vppd peers check tries again; compare certificates, genesis.toml and peers.toml"
        return Visit(warn(check, f"{says}; no session: {said}", hint), None, 0)
    return Visit(ok(check, f"{says}; at height {height}"), offset_ms, doubt_ms)


async def _ask(peer: Peer, genesis: Genesis, tls: Tls | None) -> tuple[int, float, float]:
    """Its height, its clock minus ours, and half the round trip."""
    visitor = SigningKey(secrets.token_bytes(32))  # the node's own key would look like its twin
    async with connect_port(peer.addr, visitor, genesis, tls, peer.key) as client:
        before = time.time()
        view = await client.view("status")
        after = time.time()
    ours_ms = 500 * (before + after)
    return view["height"], view["unix_ms"] - ours_ms, 500 * (after - before)


def clocks(visits: list[Visit], genesis: Genesis) -> Finding:
    """Our clock against the median of theirs; beyond the tolerance our blocks are refused."""
    offsets = [visit.offset_ms for visit in visits if visit.offset_ms is not None]
    if not offsets:
        return unknown("clock offset", "no other node has told its time")
    tolerance_ms = genesis.consensus.clock_tolerance_ms
    median = statistics.median(offsets)
    doubt_ms = max(visit.doubt_ms for visit in visits if visit.offset_ms is not None)
    says = (
        f"{-median:+.0f} ms against the median of {len(offsets)} nodes (± {doubt_ms:.0f} ms); "
        f"the plant stands {tolerance_ms} ms"
    )
    hint = "timedatectl set-ntp true, here and on the other nodes"
    beyond = abs(median) - doubt_ms
    if beyond > tolerance_ms:
        return fail("clock offset", says, hint)
    if beyond > tolerance_ms / 2:
        return warn("clock offset", says, hint)
    return ok("clock offset", says)
