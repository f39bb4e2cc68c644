"""``vppd simulate``: seeded clusters, their checkers, and the command that replays a failure."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import msgspec
import typer

from vppd.cli.engine import parse_engine
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.progress import progress
from vppd.cli.twins import simulate_twins
from vppd.errors import Exit, UserError
from vppd.simulate.faults import FAULT_SETS, parse_sets
from vppd.simulate.outcome import Setup
from vppd.simulate.runner import Report, Tally, run_seeds


def parse_seeds(text: str) -> range:
    """``A..B`` with B included, or a single seed.

    Raises:
        UserError: E410.
    """
    first, dots, last = text.partition("..")
    try:
        low = int(first)
        high = int(last) if dots else low
    except ValueError:
        low, high = 0, -1
    if low < 0 or high < low:
        raise UserError(
            "E410",
            f"{text!r} is not a range of seeds",
            hint="--seeds 1..300 (300 included), or --seeds 42",
            exit_code=Exit.USAGE,
        )
    return range(low, high + 1)


def parse_delay_us(text: str) -> int:
    """``10ms``, ``500us`` or ``1s`` in microseconds.

    Raises:
        UserError: E411.
    """
    for suffix, scale in (("ms", 1_000), ("us", 1), ("s", 1_000_000)):
        number = text.removesuffix(suffix)
        if text.endswith(suffix) and number.isdecimal():
            return int(number) * scale
    raise UserError(
        "E411",
        f"{text!r} is not a delay",
        hint="--delay 10ms (or 500us, 1s)",
        exit_code=Exit.USAGE,
    )


def simulate(
    n: Annotated[int, typer.Option("-n", min=1, max=200, help="Nodes")] = 4,
    engine: Annotated[str, typer.Option(help="Consensus engine: pbft")] = "pbft",
    seeds: Annotated[str, typer.Option(help="A..B (B included), or one seed")] = "1..20",
    heights: Annotated[int, typer.Option(min=1, help="Every node must decide so many")] = 12,
    delay: Annotated[
        str | None, typer.Option(help="Fixed one-way delay, e.g. 10ms; default 0.2-5 ms at random")
    ] = None,
    faults: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(FAULT_SETS)}")] = "all",
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core")] = 0,
    twins: Annotated[
        int, typer.Option(min=0, help="Identities that run twice instead, for so many views")
    ] = 0,
    limit: Annotated[
        int, typer.Option(min=0, help="With --twins: so many of all scenarios; 0: drawn by --seeds")
    ] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run whole simulated plants, one per seed, and check every invariant after every event.

    Raises:
        UserError: E410…E413, E423.
    """
    chosen = parse_engine(engine)
    if twins:
        cores = jobs or os.cpu_count() or 1
        simulate_twins(chosen, n, twins, limit, parse_seeds(seeds), cores, output)
        return
    try:
        sets = parse_sets(faults)
    except ValueError as err:
        raise UserError("E413", str(err), exit_code=Exit.USAGE) from err
    wanted = parse_seeds(seeds)
    setup = Setup(
        engine=chosen,
        n=n,
        heights=heights,
        delay_us=None if delay is None else parse_delay_us(delay),
        faults=sets,
    )
    replay = f"vppd simulate --engine {engine} -n {n} --seeds {{seed}} --heights {heights}"
    replay += f" --faults {faults}" + (f" --delay {delay}" if delay else "")
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    tally = Tally(setup, wanted, replay, workers)
    with progress("seeds", len(wanted)) as advance:
        for outcome in run_seeds(setup, wanted, workers):
            tally.add(outcome)
            advance()
    report = tally.close()
    if output is Output.JSON:
        print_json(msgspec.to_builtins(report))
    else:
        print_rows(_rows(report), output)
    for violation in report.violations:
        print(
            f"violation, seed {violation['seed']}: {violation['what']}\n"
            f"  replay  {violation['replay']}",
            file=sys.stderr,
        )
    if report.violations:
        raise typer.Exit(Exit.FAILED)


def _rows(report: Report) -> list[dict[str, str | int | None]]:
    values = msgspec.to_builtins(report)
    values["seeds"] = "{}..{}".format(*report.seeds)
    values["violations"] = len(report.violations)
    return [
        {"figure": name, "value": _text(value) if isinstance(value, dict) else str(value)}
        for name, value in values.items()
    ]


def _text(counts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items()) or "none"
