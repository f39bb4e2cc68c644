"""``vppd bench paper``: an experiment of the papers, their numbers beside ours."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from vppd.cli.output import Output, OutputOption, Row, print_json, table

if TYPE_CHECKING:
    from vppd.bench.paper.figure import Experiment

FIGURES = "fig12, fig13, fig14, fig15 (P0); dpos, day (P4); cda (P3)"


def paper(
    figure: Annotated[str, typer.Argument(help=f"Which: {FIGURES}.")],
    sim: Annotated[bool, typer.Option("--sim", help="In the simulator.")] = False,
    real: Annotated[bool, typer.Option("--real", help="On daemons of this machine.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of each plant; default: the paper's.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds, where chance is simulated.")
    ] = None,
    delay_ms: Annotated[
        int | None, typer.Option(min=1, help="One way, in the simulator; default 10.")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(help="Of day: CSV of hourly loads and PV.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default bench/results/FIGURE, -sim or -real."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run an experiment of the papers again and keep the result with the command that made it.

    Raises:
        UserError: E430, E445…E449; E401…E405 for the profiles.
    """
    from vppd.bench.paper.catalogue import Wanted, folder_of, run, wanted_of
    from vppd.bench.paper.figure import prepare, write

    wanted: Wanted = wanted_of(
        figure, sim=sim, real=real, rounds=rounds, seeds=seeds, delay_ms=delay_ms,
        profiles=profiles,
    )  # fmt: skip
    print(wanted.line(), file=sys.stderr)
    folder = out or folder_of(wanted)
    prepare(folder)
    made = run(wanted, _say)
    write(made, folder, shlex.join(wanted.command()))
    if output is Output.JSON:
        print_json(msgspec.to_builtins(made.result))
    else:
        _print(made, folder)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _print(made: Experiment, folder: Path) -> None:
    print(made.title)
    rows: list[Row] = [{"": what, "paper": paper, "ours": ours} for what, paper, ours in made.table]
    print("\n".join(table(rows)))
    print("\nratios")
    for name, value in made.result.ratios.items():
        print(f"  {name:<40} {'-' if value is None else f'{value:g}'}")
    print("\nwhat the paper leaves open, and what was assumed")
    for said in made.result.assumptions:
        print(f"  - {said}")
    print(f"\nkept in {folder}")
