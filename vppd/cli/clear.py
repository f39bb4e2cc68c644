"""``vppd market clear``: what a file of orders comes to, without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vppd.cli.output import Output, OutputOption, Row, print_json, table
from vppd.errors import UserError
from vppd.market.auction import RULES
from vppd.market.clearing_file import clear_file

_STDIN = Path("-")


def clear(
    file: Annotated[Path, typer.Argument(help="JSON file of orders; - reads standard input.")],
    rules: Annotated[
        str, typer.Option("--rules", help=f"Market rules: {', '.join(RULES)}.")
    ] = "production",
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the trades a file of orders makes and what is left for the grid.

    Raises:
        UserError: E200–E209.
    """
    source = "standard input" if file == _STDIN else str(file)
    clearing = clear_file(_read(file), rules, source=source)
    if output is Output.JSON:
        print_json(clearing)
        return
    trades: list[Row] = [
        {
            "seller": trade["seller"],
            "buyer": trade["buyer"],
            "offer": trade["offer_id"],
            "bid": trade["bid_id"],
            "quantity_wh": trade["quantity_wh"],
            "price": trade["price"],
            "round": trade["round"],
        }
        for trade in clearing["trades"]
    ]
    residuals: list[Row] = [
        {
            "agent": residual["agent"],
            "order": residual["order_id"],
            "side": residual["side"],
            "quantity_wh": residual["quantity_wh"],
            "price": residual["price"],
        }
        for residual in clearing["residuals"]
    ]
    _print_section("trades, price per kWh", trades, "no trades")
    print()
    _print_section("left for the grid, price per kWh", residuals, "nothing left for the grid")


def _read(file: Path) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as err:
        raise UserError(
            "E209",
            "the file of orders cannot be read",
            facts={"file": str(file), "found": err.strerror or str(err)},
            hint="the path of a JSON file of orders, or - for standard input",
        ) from err


def _print_section(title: str, rows: list[Row], nothing: str) -> None:
    print("\n".join([title, *table(rows)]) if rows else nothing)
