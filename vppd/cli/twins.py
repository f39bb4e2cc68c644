"""``vppd simulate --twins``: identities that run twice, scenario by scenario."""

from __future__ import annotations

import sys
import time

import msgspec
import typer

from vppd.cli.output import Output, print_json, print_rows
from vppd.cli.progress import progress
from vppd.config.genesis import Engine
from vppd.consensus.profile import PROFILES
from vppd.errors import Exit, UserError
from vppd.simulate.twins import Scope, TwinsReport, run_twins, size, spread


def simulate_twins(
    engine: Engine, n: int, views: int, limit: int, seeds: range, jobs: int, output: Output
) -> None:
    """Play ``limit`` numbered scenarios, or without a limit those that the seeds draw.

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
    scope = Scope(n=n, doubled=most, fast_exit=PROFILES[engine].fast_exit)
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
        print_rows([{"figure": k, "value": str(v)} for k, v in values.items()], output)
    for violation in report.violations:
        what = "scenario" if limit else "seed"
        print(f"violation, {what} {violation['scenario']}: {violation['what']}", file=sys.stderr)
    if report.violations:
        raise typer.Exit(Exit.FAILED)
