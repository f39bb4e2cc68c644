"""``vppd bench market``: a season of the market on one ledger, every micro counted."""

from __future__ import annotations

from typing import Annotated

import typer

from vppd.bench.season.plan import SeasonPlan, check
from vppd.bench.season.report import measure, rows_of
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.progress import progress
from vppd.types import PPM


def market(
    members: Annotated[int, typer.Option(help="With a meter each.")] = 1_000,
    slots: Annotated[int, typer.Option(help="Of the season.")] = 96,
    slot_minutes: Annotated[int, typer.Option(help="5, 15, 30 or 60.")] = 15,
    missing: Annotated[float, typer.Option(help="Per cent of readings that never come.")] = 1.0,
    late: Annotated[float, typer.Option(help="Per cent that come after settlement.")] = 1.0,
    corrected: Annotated[float, typer.Option(help="Per cent that are wrong at first.")] = 1.0,
    replaced: Annotated[float, typer.Option(help="Per cent of orders placed anew.")] = 1.0,
    churn: Annotated[int, typer.Option(help="Members that come, and go, each day.")] = 0,
    seed: Annotated[int, typer.Option(help="Another gives another season.")] = 1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Rates, costs per operation, growth of state and disk; fails if a block loses money.

    Raises:
        UserError: E501.
    """
    plan = SeasonPlan(
        members=members,
        slots=slots,
        slot_minutes=slot_minutes,
        seed=seed,
        missing_ppm=_ppm(missing),
        late_ppm=_ppm(late),
        corrected_ppm=_ppm(corrected),
        replaced_ppm=_ppm(replaced),
        churn=churn,
    )
    check(plan)
    with progress("slots", slots) as bar:
        result = measure(plan, bar)
    if output is Output.JSON:
        print_json(result)
    else:
        print_rows(rows_of(result), output)


def _ppm(percent: float) -> int:
    if not 0 <= percent <= 100:
        raise typer.BadParameter(f"{percent} is no share in per cent, from 0 to 100")
    return round(percent * PPM / 100)
