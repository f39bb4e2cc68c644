"""``vppd bench remote``: a measured run on other machines, by SSH."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from vppd.bench import latencies
from vppd.bench.environment import environment
from vppd.bench.expect import parse_expectation
from vppd.bench.folder import results_folder, write_results
from vppd.bench.plan import Plan, check, command
from vppd.bench.remote.inventory import read_inventory
from vppd.cli.bench import (
    Accounts,
    Arrival,
    ArrivalOption,
    Assert,
    Bytes,
    Duration,
    Grace,
    LedgerKind,
    LedgerOption,
    Ops,
    Out,
    Screen,
    Seed,
    Sync,
    SyncOption,
    Unsigned,
    WarmUp,
    conclude,
    first_line,
)
from vppd.cli.engine import ENGINE, PATH, EngineOption, PathOption, parse_engine, parse_path
from vppd.cli.loop import run_async
from vppd.cli.output import Output, OutputOption
from vppd.cli.testnet import BASE_PORT

_USUAL = Plan(rate=20.0, duration_s=30.0, warm_up_s=5.0, grace_s=10.0)
"""What is asked of small machines, unless somebody says otherwise."""


class Lines(Screen):
    """The bar, and every step on a line of its own: they take long and are far away."""

    def say(self, text: str) -> None:
        """News."""
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr)


def remote(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The machines; TOML")],
    engine: EngineOption = ENGINE,
    path: PathOption = PATH,
    rate: Annotated[
        float | None, typer.Option(help="Transactions per second, all together; default 20.")
    ] = None,
    arrival: ArrivalOption = Arrival.POISSON,
    closed: Annotated[
        int | None, typer.Option(min=1, help="Closed loop instead: so many outstanding.")
    ] = None,
    ledger: LedgerOption = LedgerKind.MARKET,
    unsigned: Unsigned = False,
    ops: Ops = 1,
    size: Bytes = None,
    clients: Annotated[
        int | None, typer.Option(min=1, help="Load processes; default: one on each machine.")
    ] = None,
    accounts: Accounts = _USUAL.accounts,
    duration: Duration = _USUAL.duration_s,
    warm_up: WarmUp = _USUAL.warm_up_s,
    grace: Grace = _USUAL.grace_s,
    runs: Annotated[int, typer.Option(min=1, help="Each on a new plant; medians.")] = 1,
    sync: SyncOption = Sync.FULL,
    seed: Seed = _USUAL.seed,
    base_port: Annotated[int, typer.Option(help="Of the nodes")] = BASE_PORT,
    wheel: Annotated[
        Path | None, typer.Option(help="Of vppd; default: built from the sources here")
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="Folder with every wheel the hosts need; nothing is fetched")
    ] = None,
    out: Out = None,
    assertions: Assert = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a plant with a node on each machine, put it under load, and leave nothing there.

    The results are as those of `vppd bench run`: report and compare read them.

    Raises:
        UserError: E430, E431, E435, E439, E454…E459; E412, E416.
    """
    from vppd.bench.remote.run import Ways, measure

    expected = [parse_expectation(text) for text in assertions or ()]
    listed = read_inventory(inventory)
    chosen = parse_engine(engine)
    several = clients or max(len(listed.host), 1)
    plan = replace(
        _USUAL,
        engine=chosen, path=parse_path(path, chosen), nodes=len(listed.host), ledger=ledger.value,
        unsigned=unsigned, ops=ops, bytes=size,
        rate=rate if rate is not None or closed is not None else _USUAL.rate,
        arrival=arrival.value, closed=closed, clients=several, accounts=accounts,
        duration_s=duration, warm_up_s=warm_up, grace_s=grace, runs=runs, sync=sync.value,
        seed=seed, inventory=str(inventory),
    )  # fmt: skip
    check(plan)
    latencies.require_histograms()
    ways = Ways(base_port, wheel, wheels)
    verb = ["remote"]
    for flag, value in (("--base-port", base_port), ("--wheel", wheel), ("--wheels", wheels)):
        if value not in (None, BASE_PORT):
            verb += [flag, str(value)]
    with results_folder(out, plan) as folder:
        where = environment(plan, folder)
        first_line(plan, output)
        screen = Lines("load")
        try:
            found = run_async(measure(listed, plan, ways, screen))
        finally:
            screen.close()
        words = command(plan, verb, replace(_USUAL, clients=max(len(listed.host), 1)))
        summary = write_results(folder, found.runs, where, words, hosts=found.hosts)
        for name, log in found.logs.items():
            (folder / f"{name}.log").write_bytes(log)
    conclude(summary, folder, expected, output)
