"""``vppd status``: one row per node — height, lag, leader, connection — and what is wrong."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import HomeOption, node_config, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.client.client import Client
from vppd.errors import Exit, UserError

WATCH_S = 1.0
PATIENCE_S = 5.0
"""For the node to answer: one that is stopped still takes connections."""
STUCK_MS = 2_000
"""Work that waits longer than this is worth a line."""


def status(
    home: HomeOption = Path(),
    watch: Annotated[
        bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask every node itself, whether this one runs or not.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print where the plant stands, as this node sees it.

    Exit code 3 if the plant cannot decide, or if this node should vote and does not; with --probe,
    if fewer nodes answer than it takes to decide.
    """
    if probe:
        from vppd.cli.probe import probe_plant

        show: Callable[[], bool] = partial(probe_plant, home, output, line=watch)
    else:
        show = partial(_show, home, output, line=watch)
    healthy = _watch(show, output) if watch else show()
    if not healthy:
        raise typer.Exit(Exit.UNHEALTHY)


def _show(home: Path, output: Output, *, line: bool) -> bool:
    """Print once; whether all is well."""
    view = _ask(home)
    if output is Output.JSON:
        print(json.dumps(view, ensure_ascii=False)) if line else print_json(view)
    else:
        _print_joining(view) if view.get("joining") else _print(view)
    return is_healthy(view)


def is_healthy(view: dict[str, Any]) -> bool:
    """Whether the plant can decide, and this node, if it should vote, does."""
    if view.get("joining"):
        return False
    silent = view["observer"] or view["disk_low"] or view["ahead_ms"] is not None
    return _alive(view) >= view["quorum"] and not silent


def _ask(home: Path) -> dict[str, Any]:
    async def look(client: Client) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            view: dict[str, Any] = await client.view("status")
            return view

    try:
        return with_client(home, look)
    except TimeoutError as err:
        raise UserError(
            "E370",
            "the node takes connections but does not answer",
            facts={
                "socket": str(node_config(home).socket),
                "waited": f"{PATIENCE_S:.0f} s",
            },
            hint="is it stopped (ps says T), or does its machine swap? its log says what it did "
            "last",
        ) from err


def _watch(show: Callable[[], bool], output: Output) -> bool:
    """Show again and again; a node that does not answer is waited for."""
    healthy = False
    try:
        while True:
            text = io.StringIO()
            try:
                with redirect_stdout(text):
                    healthy = show()
            except UserError as err:
                healthy = False
                said: dict[str, Any] = {"error": err.code, "what": err.what, **err.facts}
                text.write(f"{err}\n" if output is Output.TABLE else json.dumps(said) + "\n")
            if output is Output.TABLE and sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")  # all at once: a screen that is empty flickers
            print(text.getvalue(), end="", flush=True)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return healthy


def _alive(view: dict[str, Any]) -> int:
    idle = view["role"] == "observer" or view["candidate"]
    own = 0 if idle or view["observer"] or view["disk_low"] else 1
    return own + len([peer for peer in view["peers"] if peer["connected"] and peer["member"]])


def _triggers(view: dict[str, Any]) -> str:
    counts = view["view_triggers"].items()
    return " (" + ", ".join(f"{why} {count}" for why, count in counts) + ")" if counts else ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _paths(view: dict[str, Any]) -> str:
    """How heights were decided here; and, from the leader, what it thinks of each path."""
    line = (
        f"path {view['path']}  decided: {_counts(view['decisions'])}  "
        f"fallbacks: {_counts(view['fallbacks'])}"
    )
    if view["leader"] == view["name"] and view["engine"] == "bncm":
        costs = {f"{name} ms": cost for name, cost in view["costs_ms"].items() if cost}
        line += f"\nF votes in time: {view['success_ppm'] / 10_000:.0f} %  costs: {_counts(costs)}"
    return line


def _verdict(view: dict[str, Any]) -> list[str]:
    """What is wrong, worst first, who is missing and why, and how much more may fail."""
    alive, quorum, n = _alive(view), view["quorum"], view["n"]
    here = f"{alive} of {n} replicas are here, {quorum} needed to decide"
    lines = []
    if alive < quorum:
        more = quorum - alive
        lines.append(f"DECISIONS HAVE STOPPED: {here}; they go on by themselves with {more} more")
    elif alive == quorum:
        lines.append(f"{here}: no further one may fail")
    else:
        lines.append(f"{here}: {alive - quorum} more may fail")
    if view["observer"]:
        lines.append(f"THIS NODE DOES NOT VOTE: {view['observer']}")
    if view["candidate"]:
        lines.append(_candidate(view))
    if view["disk_low"]:
        lines.append("THIS NODE SIGNS NOTHING: its disk is below min_free")
    if view["ahead_ms"] is not None:
        lines.append(
            f"CLOCKS DIFFER: {view['leader']} proposes {view['ahead_ms'] / 1000:.0f} s ahead of "
            "this machine's clock, so this node does not vote; vppd status --probe shows whose is "
            "wrong"
        )
    lines += wrong_clocks(_clocks(view), view["clock_tolerance_ms"])
    if view["stuck_ms"] is not None and view["stuck_ms"] >= STUCK_MS:
        lines.append(f"work has waited {view['stuck_ms'] / 1000:.0f} s for a decision")
    lines += [
        f"missing: {peer['name']}, for {peer['since_s']:.0f} s: {peer['why'] or 'no reason known'}"
        for peer in view["peers"]
        if not peer["connected"]
    ]
    return lines


def _candidate(view: dict[str, Any]) -> str:
    """Why a node that could be elected does not vote, and until when that is so."""
    until = view["punished_until_epoch"]
    if until is not None and until >= view["epoch"]:
        why = f"is punished for having been skipped, up to epoch {until}"
    else:
        why = f"was not elected for epoch {view['epoch']}"
    return f"this node {why}: it follows, and may be elected after height " + str(
        view["next_election_height"]
    )


def _clocks(view: dict[str, Any]) -> dict[str, int]:
    """Each known clock minus the plant's, this node's first."""
    said = {"this node": view["clock_ms"]}
    said |= {peer["name"]: peer["clock_ms"] for peer in view["peers"]}
    return {name: offset_ms for name, offset_ms in said.items() if offset_ms is not None}


def wrong_clocks(clocks: dict[str, int], tolerance_ms: int) -> list[str]:
    """Whose clock is off the plant's by more than a block may lie ahead, in words."""
    return [
        f"WRONG CLOCK: {name} is {abs(off) / 1000:.1f} s {'ahead of' if off > 0 else 'behind'} the "
        f"plant; blocks may lie {tolerance_ms} ms ahead (chronyc tracking, timedatectl)"
        for name, off in clocks.items()
        if abs(off) > tolerance_ms
    ]


def _print_joining(view: dict[str, Any]) -> None:
    """A node that fetches a snapshot has nothing else to say yet."""
    how = view["joining"]
    print(
        f"{view['chain']}  {view['name']}  JOINING: {how['stage']}\n"
        f"snapshot after height {how['height'] or '?'}: {how['percent']} %, "
        f"{how['received_bytes']} bytes, {how['mib_s']:.1f} MiB/s"
    )
    for liar in how["liars"]:
        print(f"NOT ASKED ANY MORE: {liar}")
    rows = [
        {
            "node": peer["name"],
            "height": peer["height"],
            "connected": "yes" if peer["connected"] else "no",
            "why": peer["why"] or None,
        }
        for peer in view["peers"]
    ]
    print_rows(rows, Output.TABLE)


def _this_node(view: dict[str, Any]) -> str:
    waits = not view["voting"] and not view["candidate"]
    return "this node, not voting yet" if waits else "this node"


def _print(view: dict[str, Any]) -> None:
    leader = view["leader"] if view["mode"] == "normal" else f"{view['leader']} asked for"
    election = view["next_election_height"]
    print(
        f"{view['chain']}  height {view['height']}  engine {view['engine']}  view {view['view']}  "
        f"leader {leader}\n"
        f"epoch {view['epoch']} since height {view['epoch_first']}"
        f"{'' if election is None else f'  next election after height {election}'}\n"
        f"byzantine_tolerance={view['byzantine_tolerance']} n-q={view['quorum_slack']} "
        f"n-w={view['view_slack']} p={view['fast_slack']}  "
        f"view changes {view['view_changes']}{_triggers(view)}  evidence {view['evidence']}\n"
        f"{_paths(view)}\n"
    )
    print("\n".join(_verdict(view)) + "\n")
    elects = election is not None
    own = {
        "node": view["name"],
        "role": f"{view['role']}, idle" if view["candidate"] else view["role"],
        "height": view["height"],
        "lag": 0,
        "clock_ms": view["clock_ms"],
        "connected": _this_node(view),
        "why": None,
    }
    rows = [own]
    for peer in view["peers"]:
        height = peer["height"]
        rows.append(
            {
                "node": peer["name"],
                "role": peer["role"] if peer["member"] or not elects else f"{peer['role']}, idle",
                "height": height,
                "lag": None if height is None else max(0, view["height"] - height),
                "clock_ms": peer["clock_ms"],
                "connected": "yes" if peer["connected"] else "no",
                "why": peer["why"] or None,
            }
        )
    print_rows(rows, Output.TABLE)
    if view["refused"]:
        print("\nnot let in lately:")
        for refused in view["refused"][-5:]:
            print(f"  {refused['remote']}  {refused['why']}")
