"""``vppd agent run``: a bidding agent beside a running daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vppd.cli.loop import run_async
from vppd.cli.online import HomeOption, genesis_of, node_config
from vppd.cli.output import Output, OutputOption
from vppd.config.keys import load_key
from vppd.market.quotes import STRATEGIES

_HEAD = f"{'slot':>8} {'time':>5} {'generation':>11} {'load':>11} {'side':>5}  orders"


def run(
    strategy: Annotated[
        str, typer.Option("--strategy", help=f"How to quote: {', '.join(STRATEGIES)}.")
    ] = "p3",
    site: Annotated[
        Path | None, typer.Option(help="What stands behind the meter; default: HOME/site.toml.")
    ] = None,
    forecaster: Annotated[
        str, typer.Option(help="Who forecasts loads and generation.")
    ] = "persistence",
    key: Annotated[Path | None, typer.Option(help="The member's key; default: the node's.")] = None,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Also play the site's meter: sign its readings.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Put plans on chain also where the market does not ask."),
    ] = False,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many slots; default: never.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, max=384, help="Slots to plan ahead.")] = 96,
    seed: Annotated[int, typer.Option(help="Of moods and deviations.")] = 1,
    home: HomeOption = Path(),
    output: OutputOption = Output.TABLE,
) -> None:
    """Forecast, plan, quote and order before each gate, until told to stop.

    Raises:
        UserError: E550, no such strategy; E554 … E557; what the site's file says.
    """
    from vppd.agent.forecast import load_forecaster
    from vppd.agent.member import Member
    from vppd.agent.run import Agent, Options, parse_strategy, remembered
    from vppd.agent.site import load_site

    chosen = parse_strategy(strategy)
    member = Member(
        load_site(site or home / "site.toml"),
        chosen,
        load_forecaster(forecaster),
        seed,
        remembered(home),
    )
    node = node_config(home)
    options = Options(
        home=home,
        socket=node.socket,
        genesis=genesis_of(home),
        key=load_key(key or node.key_file),
        meter=load_key(home / "meter.key") if deliver else None,
        slots=slots,
        horizon=horizon,
        plan=plan,
    )
    if output is Output.TABLE:
        print(_HEAD, flush=True)
    run_async(Agent(options, member, _say_json if output is Output.JSON else _say).run())


def _say(row: dict[str, Any]) -> None:
    orders = ", ".join(
        f"{o['quantity_wh']} Wh at {o['price_micro']} to {o['reserve_micro']}"
        for o in row["orders"]
    )
    print(
        f"{row['slot']:>8} {row['time']:>5} {row['generation_wh']:>8} Wh {row['load_wh']:>8} Wh "
        f"{row['side'] or '-':>5}  {row['outcome']}{': ' if orders else ''}{orders}",
        flush=True,
    )


def _say_json(row: dict[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)  # a line each: it is a stream
