"""Runs the micro-benchmarks: ``python -m vppd.bench.micro [NAME ...] [--full] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vppd.bench.micro import (
    auction,
    codec,
    execution,
    gate,
    mempool,
    merkle,
    report,
    state,
    store,
    sync,
    timing,
)
from vppd.cli.output import print_json, table
from vppd.cli.progress import progress
from vppd.errors import Exit, UserError

ROOMS = (codec, gate, mempool, merkle, state, execution, store, auction, sync)
SAMPLES = 9


def benchmarks(*, full: bool) -> list[timing.Benchmark]:
    """All of them, room by room.

    Args:
        full: with the largest books, which take minutes and a gigabyte.
    """
    found = [benchmark for room in ROOMS for benchmark in room.BENCHMARKS]
    return [*found, *auction.FULL_BENCHMARKS] if full else found


def rooms() -> list[str]:
    """What the names of benchmarks begin with, in order."""
    return list(dict.fromkeys(b.name.partition(".")[0] for b in benchmarks(full=False)))


def main(arguments: Sequence[str] | None = None) -> int:
    """From the command line; the exit code.

    Raises:
        UserError: E450, E451; E452 for a name that no benchmark has.
    """
    asked = _parser().parse_args(arguments)
    chosen = timing.names(benchmarks(full=asked.full), asked.name)
    if not chosen:
        raise UserError(
            "E452",
            f"no benchmark begins with {' or '.join(asked.name)}",
            facts={"rooms": ", ".join(rooms())},
            hint="python -m vppd.bench.micro codec gate.block",
            exit_code=Exit.USAGE,
        )
    if asked.out is not None and asked.name:
        raise UserError(
            "E452",
            "the results that are kept are of all benchmarks",
            hint="--out without names, or names without --out",
            exit_code=Exit.USAGE,
        )
    results = None if asked.out is None else asked.out / report.RESULTS
    against = asked.against or (results if results is not None and results.exists() else None)
    before = None if against is None else report.load(against)
    measured = []
    with progress("micro-benchmarks", len(chosen)) as advance:
        for benchmark in chosen:
            measured.append(timing.measure(benchmark, asked.samples))
            advance()
    made = report.Report(machine=report.machine(), benchmarks=measured)
    if asked.json:
        print_json(msgspec.to_builtins(made))
    else:
        lines = [*table(report.rows(made, before)), *report.findings(measured)]
        sys.stdout.write("\n".join(lines) + "\n")
    if asked.out is not None:
        report.write(asked.out, made)
    return Exit.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vppd.bench.micro", description=__doc__)
    parser.add_argument("name", nargs="*", help="a room, or the beginning of a name; default: all")
    parser.add_argument("--samples", type=_positive, default=SAMPLES, help="the least counts")
    parser.add_argument("--full", action="store_true", help="clear a million orders, too")
    parser.add_argument("--against", type=Path, help="results.json of a run to compare with")
    parser.add_argument("--out", type=Path, help="keep the results there; compares with the last")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as err:
        sys.stderr.write(f"{err}\n")
        sys.exit(err.exit_code)
