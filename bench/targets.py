"""How close to the machine's limits a plant on one machine comes: the table of docs/performance.md.

Every row is a few runs of ``vppd bench run``, each on a new plant of real daemons that share the
machine's cores with the load processes; medians of all runs, and every run beside them. The highest
goodput is what comes through when more is due than can be done: such a run is stamped INVALID for
falling behind, and its goodput counts here if nothing else is wrong with it. Limits are measured in
the same runs, before each. Nothing else should run meanwhile::

    python bench/targets.py              # forty minutes; writes bench/results/targets
    python bench/targets.py --rows lone,signed --runs 1 --out elsewhere
    python bench/targets.py --render     # the page again, from the figures that are there
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeAlias

from vppd.bench.micro.report import machine as this_machine
from vppd.cli.progress import progress
from vppd.cli.testnet import write_testnet
from vppd.day.nodes import NodeProcess, all_answer
from vppd.day.run import free_base_port

FOLDER = Path(__file__).parent / "results" / "targets"
RUNS = 5
TIMES = ("--duration", "8", "--warm-up", "4")
MICRO = Path(__file__).parent / "results" / "micro" / "results.json"
OVERLOADED = (
    "never taken by their connection",
    "by the end of the grace",
    "that were due",
    "late themselves (p99)",
)
"""What the reasons end in that say no more than that more was due than could be done."""
FULL = ("--to", "leader", "--accounts", "512", *TIMES)
"""What fills a plant: no transaction goes from node to node before it is in a block."""
AT_EASE = 0.95
IDLE_S = 30.0
SETTLE_S = 5.0

Run: TypeAlias = dict[str, Any]
"""The document of one run."""


class Row(NamedTuple):
    """A kind of run."""

    name: str
    what: str
    options: tuple[str, ...]


ROWS = (
    Row(
        "signed", "signed, null ledger, TLS, fsync",
        ("--ledger", "null", "--rate", "12000", *FULL),
    ),
    Row(
        "market", "signed, market ledger: orders and readings",
        ("--ledger", "market", "--rate", "9000", *FULL),
    ),
    Row(
        "signed16", "signed, null ledger, 16 operations each",
        ("--ledger", "null", "--ops", "16", "--rate", "8000", *FULL),
    ),
    Row(
        "market16", "signed, market ledger, 16 operations each",
        ("--ledger", "market", "--ops", "16", "--rate", "2000", *FULL),
    ),
    Row(
        "unsigned", "unsigned, null ledger, TLS",
        ("--ledger", "null", "--unsigned", "--rate", "75000", *FULL),
    ),
    Row(
        "plain", "unsigned, null ledger, plain TCP",
        ("--ledger", "null", "--unsigned", "--transport", "plain", "--rate", "95000", *FULL),
    ),
    Row(
        "lone", "one transaction at a time, TLS, fsync",
        ("--ledger", "null", "--closed", "1", "--clients", "1", "--to", "leader", *TIMES),
    ),
    *(
        Row(
            f"delayed{n}-{engine}", f"10 ms one way, n = {n}, {engine.upper()}",
            ("-n", n, "--engine", engine, "--delay", "10ms", "--rate", rate, "--duration", "10",
             "--warm-up", "4"),
        )
        for n, rate in (("5", "20"), ("10", "12"))
        for engine in ("bncm", "pbft")
    ),
)  # fmt: skip
SEVENTY = "seventy"
"""Signed, at 70 % of what the first row came to."""
IDLE = "idle"
NAMES = (*(row.name for row in ROWS), SEVENTY, IDLE)

Rows: TypeAlias = Mapping[str, Sequence[Run]]
Figure: TypeAlias = Callable[[Run], float | None]


def bench(options: Sequence[str], seed: int) -> Run:
    """One run.

    Raises:
        RuntimeError: it came to nothing.
    """
    with TemporaryDirectory() as folder:
        command = (
            sys.executable, "-m", "vppd", "bench", "run", *options, "--seed", str(seed),
            "--out", f"{folder}/run", "-o", "json",
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        try:
            summary: Run = json.loads(done.stdout)
            nodes = json.loads(Path(folder, "run", "nodes.json").read_text(encoding="utf-8"))
        except (ValueError, OSError) as err:
            raise RuntimeError(f"{' '.join(options)}: {done.stderr[-2000:]}") from err
    return summary | {"rss_max_mib": max(node["rss_max_mib"] or 0 for node in nodes)}


def idle() -> Run:
    """CPU and memory of daemons that nobody asks for anything."""
    with TemporaryDirectory() as folder:
        testnet = write_testnet(Path(folder) / "plant", 4, base_port=free_base_port(4))
        return asyncio.run(_idle([NodeProcess(m.name, m.home, print) for m in testnet.nodes]))


async def _idle(nodes: Sequence[NodeProcess]) -> Run:
    try:
        for node in nodes:
            await node.start()
        await all_answer(nodes, lambda status: status["voting"], 30)
        await asyncio.sleep(SETTLE_S)
        before, begun = [_cpu_s(node) for node in nodes], time.monotonic()
        await asyncio.sleep(IDLE_S)
        took = time.monotonic() - begun
        used = [_cpu_s(node) - first for node, first in zip(nodes, before, strict=True)]
        return {
            "cpu_percent": round(100 * max(used) / took, 2),
            "rss_mib": round(max(map(_rss_mib, nodes)), 1),
        }
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


def _cpu_s(node: NodeProcess) -> float:
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(node: NodeProcess) -> float:
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(
    names: Sequence[str], runs: int, held: Rows, keep: Callable[[dict[str, list[Run]]], None]
) -> None:
    """All runs of these rows; rounds go through all rows, so that none has the quiet hour.

    Args:
        names: of rows, in the order of :data:`NAMES`.
        runs: of each.
        held: figures of other rows.
        keep: given all there is after each round.
    """
    made: dict[str, list[Run]] = {name: [] for name in names}
    with progress("runs", runs * len(names)) as advance:
        for number in range(runs):
            for name in names:
                made[name].append(_run(name, number + 1, {**held, **made}))
                advance()
            keep({**{name: list(rows) for name, rows in held.items()}, **made})


def _run(name: str, seed: int, held: Rows) -> Run:
    if name == IDLE:
        return idle()
    options = next((row.options for row in ROWS if row.name == name), None)
    if options is None:
        reached = median(run["goodput_tx_s"] for run in held["signed"])
        options = ("--ledger", "null", "--rate", f"{0.7 * reached:.0f}", *FULL)
    return bench(options, seed)


# ---------------------------------------------------------------- the page


class Line(NamedTuple):
    """A target and what was seen; ``what`` of the runs of a row."""

    target: str
    wanted: str
    row: str
    figure: Figure
    form: str
    holds: Callable[[float], bool]


def _lone_limit(run: Run, point: str, plus_ms: float) -> float:
    """What the latency is of what it may be: three synced writes and so many milliseconds."""
    limit: float = 3 * run["limits"]["fsync_ms"][point] + plus_ms
    return float(run["latency_ms"][point]) / limit


LINES = (
    Line("signed, null ledger: share of libsodium's limit", "≥ 80 %", "signed",
         lambda r: 100 * r["share_of_verify_limit"], "{:.1f} %", lambda x: x >= 80),
    Line("– transactions a second", "", "signed",
         lambda r: r["goodput_tx_s"], "{:,.0f}", lambda _: True),
    Line("– CPU outside libsodium per transaction and replica", "≤ 12 µs", "signed",
         lambda r: r["python_us_per_tx_replica"], "{:.1f} µs", lambda x: x <= 12),
    Line("market ledger: share of libsodium's limit", "≥ 65 %", "market",
         lambda r: 100 * r["share_of_verify_limit"], "{:.1f} %", lambda x: x >= 65),
    Line("– transactions a second", "", "market",
         lambda r: r["goodput_tx_s"], "{:,.0f}", lambda _: True),
    Line("– CPU outside libsodium per transaction and replica", "≤ 30 µs", "market",
         lambda r: r["python_us_per_tx_replica"], "{:.1f} µs", lambda x: x <= 30),
    Line("16 operations each, null ledger: operations a second", "≥ 40,000", "signed16",
         lambda r: r["goodput_ops_s"], "{:,.0f}", lambda x: x >= 40_000),
    Line("16 operations each, market ledger: operations a second", "≥ 20,000", "market16",
         lambda r: r["goodput_ops_s"], "{:,.0f}", lambda x: x >= 20_000),
    Line("unsigned, TLS: transactions a second", "≥ 50,000", "unsigned",
         lambda r: r["goodput_tx_s"], "{:,.0f}", lambda x: x >= 50_000),
    Line("unsigned, plain TCP: transactions a second", "≥ 80,000", "plain",
         lambda r: r["goodput_tx_s"], "{:,.0f}", lambda x: x >= 80_000),
    Line("lone transaction, p50", "", "lone",
         lambda r: r["latency_ms"]["p50"], "{:.2f} ms", lambda _: True),
    Line("– of 3 × fsync p50 + 2 ms", "≤ 1", "lone",
         lambda r: _lone_limit(r, "p50", 2), "{:.2f}", lambda x: x <= 1),
    Line("lone transaction, p99", "", "lone",
         lambda r: r["latency_ms"]["p99"], "{:.2f} ms", lambda _: True),
    Line("– of 3 × fsync p99 + 5 ms", "≤ 1", "lone",
         lambda r: _lone_limit(r, "p99", 5), "{:.2f}", lambda x: x <= 1),
    Line("p99 at 70 % of the highest goodput", "", SEVENTY,
         lambda r: r["latency_ms"]["p99"], "{:.0f} ms", lambda _: True),
    Line("idle: CPU of a daemon", "≤ 1 %", IDLE,
         lambda r: r["cpu_percent"], "{:.2f} %", lambda x: x <= 1),
    Line("idle: memory of a daemon", "≤ 60 MiB", IDLE,
         lambda r: r["rss_mib"], "{:.0f} MiB", lambda x: x <= 60),
    *(
        Line(f"loaded: most memory of a daemon, row {name}", "≤ 200 MiB", name,
             lambda r: r["rss_max_mib"], "{:.0f} MiB", lambda x: x <= 200)
        for name in ("signed", "market", "signed16", "market16", "unsigned", "plain")
    ),
)  # fmt: skip


def wrong(rows: Rows) -> list[str]:
    """Runs that prove nothing, and why; that too much was due is what some are for."""
    full = {row.name for row in ROWS if _fills(row)}
    return [
        f"{name}, run {number}: {reason}"
        for name, runs in rows.items()
        for number, run in enumerate(runs, 1)
        for reason in run.get("invalid_reasons", ())
        if not (name in full and reason.endswith(OVERLOADED))
    ]


def _fills(row: Row) -> bool:
    return row.options[-len(FULL) :] == FULL


def at_ease(rows: Rows) -> list[str]:
    """Rows that were to be given more than they can do, and were not."""
    return [
        row.name
        for row in ROWS
        if _fills(row)
        for runs in [rows.get(row.name, ())]
        if runs and median(run["goodput_tx_s"] / run["rate"] for run in runs) > AT_EASE
    ]


def _ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, list[float]]:
    """Of two medians, and of the runs in pairs, as far as both have as many."""
    pairs = [a / b for a, b in zip(above, below, strict=False)]
    return median(above) / median(below), pairs


def _values(runs: Sequence[Run], figure: Figure) -> list[float]:
    """Of the runs that have it: what a node did not say in time is null."""
    return [value for value in map(figure, runs) if value is not None]


def table(rows: Rows, micro: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Each target as far as it was measured.

    Args:
        rows: every run.
        micro: of ``make bench``, by name.
    """
    lines = ["| what | target | median | holds | every run |", "|---|---|---:|---|---|"]
    for line in LINES:
        values = _values(rows.get(line.row, ()), line.figure)
        if values:
            lines.append(
                _cells(line.target, line.wanted, median(values), values, line.form, line.holds)
            )
    p99 = _values(rows.get(SEVENTY, ()), lambda run: run["latency_ms"]["p99"])
    p50 = _values(rows.get("lone", ()), lambda run: run["latency_ms"]["p50"])
    if p99 and p50:
        what = "p99 at 70 % of the highest goodput, in lone p50"
        lines.append(_cells(what, "≤ 10", *_ratio(p99, p50), "{:.1f}", lambda x: x <= 10))
    for n in (5, 10):
        bncm, pbft = (
            _values(rows.get(f"delayed{n}-{engine}", ()), lambda run: run["commit_ms"]["p50"])
            for engine in ("bncm", "pbft")
        )
        if bncm and pbft:
            what = f"BNCM to PBFT, 10 ms links, n = {n}: `commit_ms` p50"
            lines.append(_cells(what, "≤ 0.75", *_ratio(bncm, pbft), "{:.3f}", lambda x: x <= 0.75))
    chain = micro.get("sync.verify_null_chain")
    if chain is not None:
        share = 100 / chain["ratio"]
        what = "a stored chain verified (null ledger): share of libsodium's limit"
        lines.append(_cells(what, "≥ 80 %", share, (), "{:.1f} %", lambda x: x >= 80))
    for name, measured in micro.items():
        if name.startswith("auction.clear_"):
            what = f"clearing {int(name.rpartition('_')[2]):,} orders: CPU per order"
            lines.append(
                _cells(what, "≤ 10 µs", measured["us"], (), "{:.1f} µs", lambda x: x <= 10)
            )
    return lines


def _cells(
    what: str,
    wanted: str,
    value: float,
    values: Sequence[float],
    form: str,
    holds: Callable[[float], bool],
) -> str:
    said = ("yes" if holds(value) else "**no**") if wanted else ""
    each = ", ".join(form.format(x) for x in values)
    return f"| {what} | {wanted} | {form.format(value)} | {said} | {each} |"


def page(rows: Rows, machine: Mapping[str, Any], micro: Mapping[str, Mapping[str, float]]) -> str:
    """The README of the results."""
    runs = [run for each in rows.values() for run in each if "limits" in run]
    limits = {
        "signature checks a second, all cores": ("{:,.0f}", "verify_per_s_all_cores"),
        "CPU of a check, all cores busy, µs": ("{:.1f}", "verify_us"),
        "round trip over loopback, µs": ("{:.0f}", "loopback_rtt_us"),
    }
    lines = [
        "# The targets on one machine",
        "",
        "Made by `make targets` (bench/targets.py says how). Medians of all runs; daemons, load",
        "processes and whatever else there is share the cores. What the figures mean:",
        "[docs/bench.md](../../../docs/bench.md); what lies behind them, and why some targets are",
        "missed: [docs/performance.md](../../../docs/performance.md). What has one figure only is",
        "from `make bench` ([../micro](../micro/README.md)).",
        "",
        *table(rows, micro),
        "",
        "The highest goodput comes in whole blocks: one of 4,096 transactions more or less within",
        "eight seconds is 512 a second.",
        "",
        *(f"**Proves nothing:** {text}" for text in wrong(rows)),
        *(
            f"**Not at its maximum:** {name}, nearly all that was due came"
            for name in at_ease(rows)
        ),
    ]
    if runs:
        lines += ["", "## The limits beside them", ""]
        lines += ["Measured before each run, least and most of all of them:", ""]
        for what, (form, key) in limits.items():
            values = [run["limits"][key] for run in runs]
            lines.append(f"- {what}: {form.format(min(values))} to {form.format(max(values))}")
        for point in ("p50", "p99"):
            values = [run["limits"]["fsync_ms"][point] for run in runs]
            lines.append(
                f"- fdatasync of a page, {point}: {min(values):.2f} to {max(values):.2f} ms"
            )
    lines += ["", "## The runs", ""]
    for row in ROWS:
        if rows.get(row.name):
            lines.append(f"- {row.what}: `vppd bench run {' '.join(row.options)}`")
    if rows.get(SEVENTY):
        rate = rows[SEVENTY][0]["rate"]
        lines.append(
            f"- 70 %: `vppd bench run --ledger null --rate {rate:.0f} {' '.join(FULL)}` and alike"
        )
    lines += ["", "## The machine", ""]
    lines += [
        f"- {name}: {value}" for name, value in machine.items() if not isinstance(value, dict)
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, keep, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--render", action="store_true", help="the page of figures that are there")
    asked = parser.parse_args()
    wanted = set(asked.rows.split(","))
    names, unknown = [name for name in NAMES if name in wanted], sorted(wanted - set(NAMES))
    if unknown or asked.runs < 1:
        parser.error(f"no row {', '.join(unknown)}" if unknown else "--runs: at least one")
    results = asked.out / "targets.json"
    held = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    rows: dict[str, list[Run]] = held.get("rows", {})
    machine = held.get("machine", {})
    if SEVENTY in wanted and "signed" not in wanted and "signed" not in rows:
        parser.error(f"{SEVENTY} needs the row signed")
    if asked.render and not rows:
        parser.error(f"no figures in {results}")
    micro = {m["name"]: m for m in json.loads(MICRO.read_text(encoding="utf-8"))["benchmarks"]}

    def keep(made: dict[str, list[Run]]) -> None:
        asked.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": this_machine(), "rows": made}, indent=1) + "\n"
        results.write_text(text, encoding="utf-8")
        rows.update(made)

    if not asked.render:
        machine = this_machine()
        measure(names, asked.runs, rows, keep)
    (asked.out / "README.md").write_text(page(rows, machine, micro), encoding="utf-8")
    print("\n".join([*table(rows, micro), *wrong(rows), *at_ease(rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
