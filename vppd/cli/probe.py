"""``vppd status --probe``: every node of the plant, asked itself over the network."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any

from vppd.cli.loop import run_async
from vppd.cli.output import Output, Row, print_json, print_rows
from vppd.client.client import connect_port
from vppd.config.genesis import Genesis
from vppd.config.home import load_home
from vppd.config.peers import Peer
from vppd.consensus.profile import founding_validators
from vppd.crypto import SigningKey
from vppd.errors import UserError
from vppd.net.tls import Tls, load_tls

PATIENCE_S = 5.0
"""For one node to answer."""


async def ask(peer: Peer, visitor: SigningKey, genesis: Genesis, tls: Tls | None) -> dict[str, Any]:
    """One node's own ``status``, how far its clock is off ours, or why it does not answer.

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
    except UserError as err:
        return {**row, "why": err.facts.get("why", err.what)}
    except TimeoutError:
        return {**row, "why": f"no answer in {PATIENCE_S:.0f} s"}
    clock_ms = round(view["unix_ms"] - asked / 1e6 - round_trip_ms / 2)
    return {
        **row, "ok": True, "clock_ms": clock_ms, "round_trip_ms": round(round_trip_ms, 1), **view
    }  # fmt: skip


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
    quorum = founding_validators(genesis).quorum
    voting = sum(bool(node["ok"] and node["voting"]) for node in nodes)
    enough = voting >= quorum.vote
    if output is Output.JSON:
        document = {
            "chain": genesis.name,
            "n": quorum.n,
            "quorum": quorum.vote,
            "voting": voting,
            "decides": enough,
            "wrong_clocks": wrong_clocks(nodes, genesis.consensus.clock_tolerance_ms),
            "nodes": nodes,
        }
        print(json.dumps(document, ensure_ascii=False)) if line else print_json(document)
        return enough
    verdict = f"{voting} of {quorum.n} replicas vote, {quorum.vote} needed to decide"
    print(f"{genesis.name}  {verdict if enough else 'DECISIONS HAVE STOPPED: ' + verdict}\n")
    if warnings := wrong_clocks(nodes, genesis.consensus.clock_tolerance_ms):
        print("\n".join(warnings) + "\n")
    top = max((node["height"] for node in nodes if node["ok"]), default=0)
    print_rows([_row(node, top) for node in nodes], Output.TABLE)
    return enough


def wrong_clocks(nodes: list[dict[str, Any]], tolerance_ms: int) -> list[str]:
    """Whose clock is off the plant's by more than a proposal may be; the median is the plant's."""
    offsets = sorted(node["clock_ms"] for node in nodes if node["ok"])
    if not offsets:
        return []
    plant_ms = offsets[len(offsets) // 2]
    found = [
        (node["name"], node["clock_ms"] - plant_ms)
        for node in nodes
        if node["ok"] and abs(node["clock_ms"] - plant_ms) > tolerance_ms
    ]
    if abs(plant_ms) > tolerance_ms:
        found.append(("this machine", -plant_ms))
    return [
        f"WRONG CLOCK: {name} is {abs(off) / 1000:.1f} s {'ahead of' if off > 0 else 'behind'} the "
        f"plant; blocks may lie {tolerance_ms} ms ahead (chronyc tracking, timedatectl)"
        for name, off in found
    ]


def _row(node: dict[str, Any], top: int) -> Row:
    if not node["ok"]:
        gaps = ("height", "lag", "view", "leader", "votes", "clock_ms", "disk_free")
        return {"node": node["name"], **dict.fromkeys(gaps), "why": node["why"]}
    votes = "yes" if node["voting"] else "no"
    return {
        "node": node["name"],
        "height": node["height"],
        "lag": top - node["height"],
        "view": node["view"] if node["mode"] == "normal" else f"{node['view']} asked for",
        "leader": node["leader"],
        "votes": votes,
        "clock_ms": f"{node['clock_ms']:+d} ±{node['round_trip_ms'] / 2:.0f}",
        "disk_free": f"{node['disk_free_bytes'] / 2**30:.1f} GiB",
        "why": node["observer"] or ("disk below min_free" if node["disk_low"] else None),
    }
