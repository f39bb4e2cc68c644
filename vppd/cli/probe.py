"""``vppd status --probe``: every node of the plant, asked itself over the network."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from vppd.cli.loop import run_async
from vppd.cli.output import Output, Row, print_json, print_rows
from vppd.cli.status import wrong_clocks
from vppd.client.client import connect_port
from vppd.config.genesis import Genesis
from vppd.config.home import load_home
from vppd.config.peers import Peer
from vppd.consensus.profile import founding_validators
from vppd.crypto import SigningKey
from vppd.errors import PeerFault, UserError
from vppd.net.tls import Tls, explain, load_tls
from vppd.node.clocks import against_plant

PATIENCE_S = 5.0
"""For one node to answer."""


class Said(msgspec.Struct, frozen=True):
    """What is shown of a node's ``status``; it may lie, but not in the form."""

    height: int
    view: int
    mode: str
    leader: str
    voting: bool
    observer: str
    disk_low: bool
    disk_free_bytes: int
    unix_ms: int
    epoch: int
    n: int
    quorum: int
    clock_tolerance_ms: int
    candidate: bool = False
    """Nodes of the release before do not say."""


class Sizes(NamedTuple):
    """Who votes and how far clocks may differ, in the epoch in force."""

    epoch: int
    n: int
    quorum: int
    clock_tolerance_ms: int


def sizes_said(genesis: Genesis, nodes: list[dict[str, Any]]) -> Sizes:
    """As most of the nodes that answer say, the later epoch where as many say this as that.

    Without an answer, as genesis says.
    """
    said = Counter(Sizes(*(node[name] for name in Sizes._fields)) for node in nodes if node["ok"])
    if said:
        return max(said, key=lambda sizes: (said[sizes], sizes))
    quorum = founding_validators(genesis).quorum
    return Sizes(0, quorum.n, quorum.vote, genesis.consensus.clock_tolerance_ms)


async def ask(peer: Peer, visitor: SigningKey, genesis: Genesis, tls: Tls | None) -> dict[str, Any]:
    """One node's own ``status`` and how far its clock is off ours, or why there is none.

    ``clock_ms`` is its wall clock minus ours, as it was half a round trip before the answer came;
    it is off by at most ``round_trip_ms / 2``.
    """
    row: dict[str, Any] = {"name": peer.name, "addr": peer.addr, "ok": False, "why": None}
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            connect_port(peer.addr, visitor, genesis, tls, peer.key) as client,
        ):
            asked, began = time.time_ns(), time.monotonic_ns()
            view = await client.view("status")
            round_trip_ms = (time.monotonic_ns() - began) / 1e6
        said = msgspec.convert(view, Said)
    except UserError as err:
        return {**row, "why": err.facts.get("why", err.what)}
    except TimeoutError:
        return {**row, "why": f"no answer in {PATIENCE_S:.0f} s"}
    except PeerFault as err:
        return {**row, "why": explain(err)}
    except ValueError as err:  # msgspec's and json's are such
        return {**row, "why": f"its answer is no status: {err}"}
    clock_ms = round(said.unix_ms - asked / 1e6 - round_trip_ms / 2)
    ours = {**row, "ok": True, "clock_ms": clock_ms, "round_trip_ms": round(round_trip_ms, 1)}
    return {**row, **view, **ours}  # whatever it says of these, and in this order


async def ask_all(home: Path) -> tuple[Genesis, list[dict[str, Any]]]:
    """All nodes of peers.toml at once, in its order.

    Raises:
        ConfigError: as reading the node's files.
    """
    ready = load_home(home)
    node = ready.node
    tls = load_tls(node.ca, node.cert, node.cert_key, node.crl) if node.transport == "tls" else None
    visitor = SigningKey(secrets.token_bytes(32))  # the node's own key would look like its twin
    rows = await asyncio.gather(
        *(ask(peer, visitor, ready.genesis, tls) for peer in ready.peers.peers)
    )
    return ready.genesis, rows


def probe_plant(home: Path, output: Output, *, line: bool) -> bool:
    """Print a row per node; whether as many vote as it takes to decide."""
    genesis, nodes = run_async(ask_all(home))
    sizes = sizes_said(genesis, nodes)
    voting = sum(_votes(node) for node in nodes)
    enough = voting >= sizes.quorum
    if output is Output.JSON:
        document = {
            "chain": genesis.name,
            "n": sizes.n,
            "quorum": sizes.quorum,
            "voting": voting,
            "decides": enough,
            "wrong_clocks": clock_warnings(nodes, sizes.clock_tolerance_ms),
            "nodes": nodes,
        }
        print(json.dumps(document, ensure_ascii=False)) if line else print_json(document)
        return enough
    verdict = f"{voting} of {sizes.n} replicas vote, {sizes.quorum} needed to decide"
    print(f"{genesis.name}  {verdict if enough else 'DECISIONS HAVE STOPPED: ' + verdict}\n")
    if warnings := clock_warnings(nodes, sizes.clock_tolerance_ms):
        print("\n".join(warnings) + "\n")
    top = max((node["height"] for node in nodes if node["ok"]), default=0)
    print_rows([_row(node, top) for node in nodes], Output.TABLE)
    return enough


def clock_warnings(nodes: list[dict[str, Any]], tolerance_ms: int) -> list[str]:
    """Whose clock is wrong, in words; the plant's time is the median of those that answer."""
    clocks = {node["name"]: int(node["clock_ms"]) for node in nodes if node["ok"]}
    if not clocks:
        return []
    apart = against_plant(clocks)
    plant_ms = round(median(clocks.values()))
    return wrong_clocks({**apart, "this machine": -plant_ms}, tolerance_ms)


def _votes(node: dict[str, Any]) -> bool:
    return bool(node["ok"] and node["voting"] and not node["disk_low"])


def _row(node: dict[str, Any], top: int) -> Row:
    """What it says goes to a terminal: nothing but what can be printed."""
    row = _cells(node, top)
    return {
        key: "".join(c if c.isprintable() else "?" for c in cell) if isinstance(cell, str) else cell
        for key, cell in row.items()
    }


def _why_mute(node: dict[str, Any]) -> str | None:
    if node["observer"]:
        return str(node["observer"])
    if node["disk_low"]:
        return "disk below min_free"
    return f"not elected for epoch {node['epoch']}" if node.get("candidate") else None


def _cells(node: dict[str, Any], top: int) -> Row:
    if not node["ok"]:
        gaps = ("height", "lag", "view", "leader", "votes", "clock_ms", "disk_free")
        return {"node": node["name"], **dict.fromkeys(gaps), "why": node["why"]}
    votes = "yes" if _votes(node) else "no"
    return {
        "node": node["name"],
        "height": node["height"],
        "lag": top - node["height"],
        "view": node["view"] if node["mode"] == "normal" else f"{node['view']} asked for",
        "leader": node["leader"],
        "votes": votes,
        "clock_ms": f"{node['clock_ms']:+d} ±{node['round_trip_ms'] / 2:.0f}",
        "disk_free": f"{node['disk_free_bytes'] / 2**30:.1f} GiB",
        "why": _why_mute(node),
    }
