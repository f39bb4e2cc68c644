"""``vppd status``: one row per node — height, lag, leader, connection — and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vppd.cli.online import HomeOption, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.errors import Exit


def status(
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print where the plant stands, as this node sees it; exit code 3 if it cannot decide."""
    view: dict[str, Any] = with_client(home, lambda client: client.view("status"))
    if output is Output.JSON:
        print_json(view)
    else:
        _print(view)
    if _alive(view) < view["quorum"]:
        raise typer.Exit(Exit.UNHEALTHY)


def _alive(view: dict[str, Any]) -> int:
    own = 0 if view["role"] == "observer" else 1
    return own + len([peer for peer in view["peers"] if peer["connected"]])


def _print(view: dict[str, Any]) -> None:
    alive, quorum = _alive(view), view["quorum"]
    verdict = "can decide" if alive >= quorum else f"cannot decide: {quorum} are needed"
    print(
        f"{view['chain']}  height {view['height']}  engine {view['engine']}  view {view['view']}  "
        f"leader {view['leader']}\n"
        f"{alive} of {view['n']} nodes are here, {verdict}; "
        f"byzantine_tolerance={view['byzantine_tolerance']} n-q={view['quorum_slack']}\n"
    )
    if view["disk_low"]:
        print("this node's disk is below min_free: it signs nothing until there is room\n")
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
