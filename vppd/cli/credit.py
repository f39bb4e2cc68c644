"""``vppd market credit``: what deliveries make of credit, in a file or on the chain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, Row, print_json, print_rows
from vppd.errors import UserError
from vppd.market.credit_file import RULES, credit_file
from vppd.market.money import format_micro

_STDIN = "-"


def credit(
    which: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON file of deliveries; - is standard input.")
    ],
    rules: Annotated[
        str, typer.Option("--rules", help=f"Credit rules: {', '.join(RULES)}.")
    ] = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay a file of delivery records, day by day, to credit values.

    Raises:
        UserError: E520–E526.
    """
    source = "standard input" if which == _STDIN else which
    replayed = credit_file(_read(which), rules, source=source)
    if output is Output.JSON:
        print_json(replayed)
        return
    rows: list[Row] = [
        {
            "agent": agent,
            "day": day["day"],
            "slots": day["slots"],
            "missing": day["missing"],
            "score": format_micro(day["score_ppm"], 6),
            "credit": format_micro(day["credit_ppm"], 6),
            "change": f"{day['change_ppm']:+d} ppm",
            "reason": day["reason"],
        }
        for agent, days in replayed["credit"].items()
        for day in days
    ]
    if rows:
        print_rows(rows, output)
    else:
        print("no deliveries")


def _read(file: str) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as err:
        raise UserError(
            "E526",
            "the file of deliveries cannot be read",
            facts={"file": file, "found": err.strerror or str(err)},
            hint="the path of a JSON file of deliveries, or - for standard input",
        ) from err
