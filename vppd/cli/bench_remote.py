"""``vppd bench remote``: a measured run on other machines, by SSH."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from vppd.bench.remote.inventory import read_inventory
from vppd.cli.engine import ENGINE, PATH, EngineOption, PathOption, parse_engine, parse_path
from vppd.cli.loop import run_async
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.testnet import BASE_PORT
from vppd.errors import Exit


def remote(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The machines; TOML")],
    rate: Annotated[
        float, typer.Option(min=0.1, help="Transactions per second, all together")
    ] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="That count")] = 30,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before")] = 5,
    engine: EngineOption = ENGINE,
    path: PathOption = PATH,
    base_port: Annotated[int, typer.Option(help="Of the nodes")] = BASE_PORT,
    wheel: Annotated[
        Path | None, typer.Option(help="Of vppd; default: built from the sources here")
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="Folder with every wheel the hosts need; nothing is fetched")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; must not exist")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a plant with a node on each machine, put it under load, and leave nothing there.

    Exit code 1 if the run does not count; the summary says why.

    Raises:
        UserError: E430, E451, E454…E459.
    """
    from vppd.bench.remote.run import Plan, measure

    listed = read_inventory(inventory)
    chosen = parse_engine(engine)
    plan = Plan(chosen, parse_path(path, chosen), rate, seconds, warm_up, base_port, wheel, wheels)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = out or Path(f"bench-{stamp}-{engine}-n{len(listed.host)}")
    say(f"{len(listed.host)} nodes, {engine}/{plan.path}, {rate:g}/s, results in {folder}")
    summary = run_async(measure(listed, plan, folder, say))
    command = shlex.join(["vppd", *sys.argv[1:]])
    given = "\n".join(
        f"{name} = {value!r}" for name, value in plan._asdict().items() if value is not None
    )
    (folder / "run.toml").write_text(f"# {command}\n{given}\n", encoding="utf-8")
    if output is Output.JSON:
        print_json(summary)
    else:
        rows = [
            {"figure": name, "value": ", ".join(map(str, value)) if isinstance(value, list) else
             ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else
             str(value)}
            for name, value in summary.items()
        ]  # fmt: skip
        print_rows(rows, output)
    if not summary["valid"]:
        raise typer.Exit(Exit.FAILED)


def say(line: str) -> None:
    """News for whoever waits, on stderr."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr)
