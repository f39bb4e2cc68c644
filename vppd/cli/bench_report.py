"""``vppd bench report`` and ``compare``: what runs' folders come to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vppd.cli.output import Output, OutputOption, Row, print_json, print_rows


def report(
    folder: Annotated[Path, typer.Argument(help="What vppd bench run or saturate wrote.")],
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", metavar="FOLDER", help="A run with other --nodes or --fail: plotted along."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the report of a run anew, from its folder.

    Raises:
        UserError: E430, E439, E444, E445.
    """
    from vppd.bench.report import write_report

    if others:
        from vppd.bench.series import write_series

        write_series(folder, others)
    written = write_report(folder)
    if output is Output.JSON:
        print_json({"report": str(written)})
    else:
        print(written)


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of the run to measure against.")],
    b: Annotated[Path, typer.Argument(help="Folder of the other run.")],
    force: Annotated[
        bool, typer.Option("--force", help="Compare although the plans differ.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print each figure's medians, their ratio with its 95 % interval over runs, and a verdict.

    Raises:
        UserError: E444, E445.
    """
    from vppd.bench.compare import compare as compare_runs
    from vppd.bench.report import number

    made = compare_runs(a, b, force=force, seed=seed)
    if output is Output.JSON:
        print_json(msgspec.to_builtins(made))
        return
    for name, (left, right) in made.differences.items():
        print(f"the plans differ: {name} is {left} in A, {right} in B", file=sys.stderr)
    for side in made.invalid:
        print(f"INVALID: {side}", file=sys.stderr)
    rows: list[Row] = []
    for row in made.figures:
        spread = "-" if row.low is None else f"{row.low:.3f} … {row.high:.3f}"
        rows.append(
            {
                "figure": row.figure,
                "a": number(row.a),
                "b": number(row.b),
                "b/a": None if row.ratio is None else f"{row.ratio:.3f}",
                "95 %": spread,
                "runs": "{}/{}".format(*row.runs),
                "b is": row.verdict,
            }
        )
    print_rows(rows, output)
