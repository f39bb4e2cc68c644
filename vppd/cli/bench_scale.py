"""``vppd bench scale``: plants of up to 200 nodes in the simulator, larger ones from a model."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vppd.bench.scale import model, report, sweep
from vppd.bench.scale.calibrate import STEPS, calibrate
from vppd.bench.scale.costs import Costs, load, save
from vppd.bench.scale.sites import SITES, sites_of
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.progress import progress

ALL_SIZES = ",".join(map(str, sweep.SIZES))
SHARES = 100
"""Of the whole, on the progress bar."""


def scale(
    sizes: Annotated[str, typer.Option(help="Nodes, comma-separated")] = ALL_SIZES,
    ways: Annotated[str, typer.Option(help=f"Of {', '.join(sweep.WAYS)}")] = ",".join(sweep.WAYS),
    sites: Annotated[str, typer.Option(help=f"Of {', '.join(SITES)}")] = "lan,country,mixed",
    delegates: Annotated[int, typer.Option(min=1, help="Of dpos: how many vote")] = 21,
    txs: Annotated[int, typer.Option(min=1, max=1_000, help="Transfers in each block")] = 10,
    heights: Annotated[int, typer.Option(min=1, help="That count, of each plant")] = 4,
    costs: Annotated[
        Path | None, typer.Option(help="Costs measured before, perhaps elsewhere; default: measure")
    ] = None,
    slower: Annotated[
        float, typer.Option(min=0.01, help="Take cores for so many times as slow as measured")
    ] = 1.0,
    calibrate_only: Annotated[
        Path | None, typer.Option("--calibrate", help="Measure the costs into this file; no more")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, page and picture")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Commit time, messages and bytes of larger plants than fit on a desk.

    The shipped machine runs on virtual time; what its work costs is measured on this machine first.
    More than 200 nodes are not simulated: a curve is fitted and called a model.

    Raises:
        UserError: E430, E450…E453.
    """
    if calibrate_only is not None:
        measured = _measure()
        save(calibrate_only, measured)
        if output is Output.JSON:
            print_json(msgspec.to_builtins(measured))
        return
    wanted = sweep.cells(
        sweep.sizes_of(sizes), sweep.ways_of(ways), [s.name for s in sites_of(sites)], delegates,
        heights, txs,
    )  # fmt: skip
    used = (_measure() if costs is None else load(costs)).slower(slower)
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    seconds = sum(cell.seconds for cell in wanted)
    minutes = max(seconds / workers, wanted[0].seconds) / 60
    print(f"{len(wanted)} plants, about {minutes:.0f} minutes on {workers} cores", file=sys.stderr)
    points = []
    with progress("simulated", SHARES) as advance:
        done, shown = 0.0, 0
        for cell, point in sweep.run_cells(wanted, used, workers):
            points.append(point)
            done += cell.seconds
            advance(round(done / seconds * SHARES) - shown)
            shown = round(done / seconds * SHARES)
    points.sort(key=lambda point: (point.sites, point.way, point.n))
    made = report.Report(
        command=shlex.join(["vppd", *sys.argv[1:]]),
        txs=txs,
        slower=slower,
        costs=used,
        simulated=points,
        model=model.extend(points),
    )
    if out is not None:
        report.write(out, made)
    if output is Output.JSON:
        print_json(msgspec.to_builtins(made))
    else:
        print_rows(report.rows(made), output)


def _measure() -> Costs:
    with progress("measuring this machine", STEPS) as advance:
        return calibrate(advance)
