"""``vppd status``: one row per node — height, lag, leader, connection — and what is wrong."""

from __future__ import annotations

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

from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.errors import Exit, UserError

WATCH_S = 1.0
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
    view: dict[str, Any] = with_client(home, lambda client: client.view("status"))
    if output is Output.JSON:
        print(json.dumps(view, ensure_ascii=False)) if line else print_json(view)
    else:
        _print(view)
    return _alive(view) >= view["quorum"] and not view["observer"]


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
    own = 0 if view["role"] == "observer" or view["observer"] else 1
    return own + len([peer for peer in view["peers"] if peer["connected"]])


def _triggers(view: dict[str, Any]) -> str:
    counts = view["view_triggers"].items()
    return " (" + ", ".join(f"{why} {count}" for why, count in counts) + ")" if counts else ""


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
    if view["disk_low"]:
        lines.append("THIS NODE SIGNS NOTHING: its disk is below min_free")
    if view["ahead_ms"] is not None:
        lines.append(
            f"CLOCKS DIFFER: {view['leader']} proposes {view['ahead_ms'] / 1000:.0f} s ahead of "
            "this machine's clock, so this node does not vote; vppd status --probe shows whose is "
            "wrong"
        )
    if view["stuck_ms"] is not None and view["stuck_ms"] >= STUCK_MS:
        lines.append(f"work has waited {view['stuck_ms'] / 1000:.0f} s for a decision")
    lines += [
        f"missing: {peer['name']}, for {peer['since_s']:.0f} s: {peer['why'] or 'no reason known'}"
        for peer in view["peers"]
        if not peer["connected"]
    ]
    return lines


def _print(view: dict[str, Any]) -> None:
    leader = view["leader"] if view["mode"] == "normal" else f"{view['leader']} asked for"
    print(
        f"{view['chain']}  height {view['height']}  engine {view['engine']}  view {view['view']}  "
        f"leader {leader}\n"
        f"byzantine_tolerance={view['byzantine_tolerance']} n-q={view['quorum_slack']} "
        f"n-w={view['view_slack']} p={view['fast_slack']}  "
        f"view changes {view['view_changes']}{_triggers(view)}  evidence {view['evidence']}\n"
    )
    print("\n".join(_verdict(view)) + "\n")
    own = {
        "node": view["name"],
        "role": view["role"],
        "height": view["height"],
        "lag": 0,
        "connected": "this node" if view["voting"] else "this node, not voting yet",
        "why": None,
    }
    rows = [own]
    for peer in view["peers"]:
        height = peer["height"]
        rows.append(
            {
                "node": peer["name"],
                "role": peer["role"],
                "height": height,
                "lag": None if height is None else max(0, view["height"] - height),
                "connected": "yes" if peer["connected"] else "no",
                "why": peer["why"] or None,
            }
        )
    print_rows(rows, Output.TABLE)
    if view["refused"]:
        print("\nnot let in lately:")
        for refused in view["refused"][-5:]:
            print(f"  {refused['remote']}  {refused['why']}")
