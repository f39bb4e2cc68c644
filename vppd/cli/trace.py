"""``vppd block trace``: messages of recent heights, as the paper logs them, and their replay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.online import HomeOption, genesis_of, with_client
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.client.client import Client
from vppd.config.genesis_file import load_genesis
from vppd.crypto import verify
from vppd.errors import Exit, UserError
from vppd.node.trace import write_lines
from vppd.simulate.plant import sim_verify
from vppd.simulate.replay import FORMAT, read_trace, replay, simulated_genesis
from vppd.types import Height

LATE = 2
"""Messages about a height pass until so many heights after it, and from one height before."""


def trace(
    height: Annotated[
        str, typer.Argument(metavar="[H]", help="Height; default: all that are recorded.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write all recorded messages to this file instead.")
    ] = None,
    replayed: Annotated[
        Path | None,
        typer.Option("--replay", help="Feed the messages of this file to a fresh replica instead."),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="With --replay: the chain's; default: the home's.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="With --replay: a chain.db with the heights before the trace begins."),
    ] = None,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what was said about a height: when, by whom to whom, and on which path.

    With --replay exit code 1 says which message does not hold, or that another state comes out.
    """
    if replayed is not None:
        _replay(replayed, genesis, store, home, output)
    elif out is not None:
        _write(out, home)
    else:
        rows = with_client(home, lambda client: _rows(client, _number(height)))
        _print(rows, output)


def _number(text: str) -> Height | None:
    if text and not (text.isdecimal() and len(text) < 19):
        raise UserError(
            "E398",
            f"{text!r} is not a height",
            hint="vppd block trace 7, or nothing for all that are recorded",
            exit_code=Exit.USAGE,
        )
    return int(text) if text else None


async def _rows(client: Client, wanted: Height | None) -> list[dict[str, Any]]:
    heights = (await client.view("trace"))["heights"]
    near = range(2**63) if wanted is None else range(wanted - 1, wanted + LATE + 1)
    rows = [row for at in heights if at in near for row in (await _page(client, at))[0]]
    rows = [row for row in rows if wanted in (None, row["height"])]
    if not rows and wanted is not None:
        kept = f"{heights[0]}..{heights[-1]}" if heights else "none"
        raise UserError(
            "E399",
            f"no messages of height {wanted} are recorded",
            facts={"recorded": kept},
            hint="[log] trace_heights in node.toml says how many heights are kept",
        )
    return rows


async def _page(client: Client, height: Height) -> tuple[list[dict[str, Any]], int]:
    """All rows filed under a height, and how many messages were left out there."""
    rows: list[dict[str, Any]] = []
    first: int | None = 0
    left_out = 0
    while first is not None:
        page = await client.view("trace", f"{height}/{first}")
        rows += page["messages"]
        first, left_out = page["next"], page["left_out"]
    return rows, left_out


def _print(rows: list[dict[str, Any]], output: Output) -> None:
    paths = {(row["height"], row["view"]): row["path"] for row in rows if row["path"]}
    columns = ("time_ms", "sender", "receiver", "message", "height", "view", "digest8", "path")
    shown = [{name: row[name] for name in columns} for row in rows]
    for row in shown:
        row["path"] = row["path"] or paths.get((row["height"], row["view"]))
    print_rows(shown, output)


def _write(out: Path, home: Path) -> None:
    async def work(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        about = await client.view("trace")  # first: what led there is recorded by now
        heights, executed = about["heights"], about["executed"]
        rows: list[dict[str, Any]] = []
        left_out = 0
        for at in heights:
            more, missing = await _page(client, at)
            rows += more
            left_out += missing
        # Of the first recorded height some messages may have passed, and been forgotten, before.
        whole = heights[0] + 1 if heights and heights[0] > 1 else 1
        return {
            "trace": FORMAT,
            "node": about["node"],
            "chain_id": about["chain_id"],
            "first": min(whole, executed + 1),
            "executed": executed,
            "state_root": about["state_root"],
            "left_out": left_out,
        }, rows

    head, rows = with_client(home, work)
    out.write_text("".join(write_lines(head, rows)), encoding="utf-8")
    print(f"{len(rows)} messages, heights {head['first']}..{head['executed']}, in {out}")


def _replay(
    file: Path, genesis: Path | None, store: Path | None, home: Path, output: Output
) -> None:
    recorded = read_trace(file)
    plant = simulated_genesis(recorded)
    started = time.perf_counter()
    if plant is not None:
        done = replay(recorded, plant, sim_verify)
    else:
        chain = genesis_of(home) if genesis is None else load_genesis(genesis)
        done = replay(recorded, chain, verify, store)
    document = {
        "messages": done.messages,
        "height": done.height,
        "state_root": done.state_root.hex(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    if output is Output.JSON:
        print_json(document)
    else:
        print(
            f"{done.messages} messages lead a fresh replica to height {done.height} with the state "
            f"that was recorded, {done.state_root.hex()}"
        )
