"""``vppd simulate --twins``: identities that run twice, scenario by scenario."""

from __future__ import annotations

import sys
import time

import msgspec
import typer

from vppd.cli.output import Output, print_json, print_rows
from vppd.cli.progress import progress
from vppd.config.genesis import Engine, PathSetting
from vppd.errors import Exit, UserError
from vppd.simulate.twins import Scope, TwinsReport, run_twins, size, spread


def figure(value: object) -> str:
    """A figure of a report as one cell: a count, or counts by kind."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"


def simulate_twins(
    how: tuple[Engine, PathSetting], n: int, views: int, limit: int, seeds: range, jobs: int,
    output: Output,
) -> None:  # fmt: skip
    """Play ``limit`` numbered scenarios, or without a limit those that the seeds draw.

    Args:
        how: the plants agree.
        n: nodes; as many as may lie run twice.
        views: of each scenario.
        limit: so many scenarios, spread over all of them; 0: ``seeds`` draw them.
        seeds: which to draw.
        jobs: processes.
        output: of the report.

    Raises:
        UserError: E423.
    """
    most = (n - 1) // 3
    if most == 0:
        raise UserError(
            "E423",
            f"with {n} nodes no replica may run twice",
            hint="-n 4, or more",
            exit_code=Exit.USAGE,
        )
    engine, path = how
    scope = Scope(n=n, doubled=most, engine=engine, path=path)
    total = size(scope, views)
    scenarios = spread(total, limit) if limit else seeds
    report = TwinsReport()
    started = time.perf_counter()
    workers = min(jobs, len(scenarios))
    parts = run_twins(scope, views, scenarios, workers, by_chance=not limit)
    with progress("scenarios", len(scenarios)) as advance:
        for part in parts:
            report.add(part)
            advance(part.scenarios)
    elapsed = max(time.perf_counter() - started, 1e-9)
    report.scenarios_per_s = round(report.scenarios / elapsed / workers)
    if output is Output.JSON:
        print_json(msgspec.to_builtins(report))
    else:
        values = msgspec.to_builtins(report)
        values["scenarios"] = f"{report.scenarios} of {total}" if limit else report.scenarios
        values["violations"] = len(report.violations)
        print_rows([{"figure": k, "value": figure(v)} for k, v in values.items()], output)
    for violation in report.violations:
        what = "scenario" if limit else "seed"
        print(f"violation, {what} {violation['scenario']}: {violation['what']}", file=sys.stderr)
    if report.violations:
        raise typer.Exit(Exit.FAILED)
