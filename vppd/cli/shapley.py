"""``vppd market shapley``: what each player of a cooperative game is due (P1, §3.4)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, Row, print_json, table
from vppd.errors import UserError
from vppd.market.game_file import shapley_file

_STDIN = Path("-")


def shapley(
    file: Annotated[Path, typer.Argument(help="JSON file of a game; - reads standard input.")],
    samples: Annotated[
        int | None,
        typer.Option(help="Average over so many orders of joining; needed above 12 players."),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="What the orders are drawn from, known beforehand.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print each player's Shapley value; the shares add up to what all are worth together.

    Raises:
        UserError: E565–E574.
    """
    source = "standard input" if file == _STDIN else str(file)
    result = shapley_file(_read(file), samples=samples, seed=seed, source=source)
    if output is Output.JSON:
        print_json(result)
        return
    bounds = result.get("error_bound")
    shares = result["shares"]
    rows: list[Row] = [
        {"player": player, "share": share}
        if bounds is None
        else {"player": player, "share": share, "error_bound": bounds[player]}
        for player, share in shares.items()
    ]
    print("\n".join(table(rows)))
    print(f"together {sum(shares.values())}")
    if bounds is not None:
        print(f"mean of {samples} orders from seed {seed!r}; 95 % of seeds keep within the bound")


def _read(file: Path) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as err:
        raise UserError(
            "E574",
            "the file of the game cannot be read",
            facts={"file": str(file), "found": err.strerror or str(err)},
            hint="the path of a JSON file, or - for standard input",
        ) from err
