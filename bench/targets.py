"""How close to the machine's limits a plant on one machine comes: the table of docs/performance.md.

Every row is a few runs of ``vppd bench run``, each on a new plant of real daemons that share the
machine's cores with the load processes; medians of all runs, and every run beside them. The highest
goodput is what comes through when more is due than can be done: such a run is stamped INVALID for
its latency, and only its goodput counts here. Limits are measured in the same runs, before each.
Nothing else should run meanwhile::

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
FULL = ("--to", "leader", "--accounts", "512", *TIMES)
"""What fills a plant: no transaction goes from node to node before it is in a block."""
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
        ("--ledger", "null", "--rate", "9500", *FULL),
    ),
    Row(
        "market", "signed, market ledger: orders and readings",
        ("--ledger", "market", "--rate", "5000", *FULL),
    ),
    Row(
        "signed16", "signed, null ledger, 16 operations each",
        ("--ledger", "null", "--ops", "16", "--rate", "6000", *FULL),
    ),
    Row(
        "market16", "signed, market ledger, 16 operations each",
        ("--ledger", "market", "--ops", "16", "--rate", "1200", *FULL),
    ),
    Row(
        "unsigned", "unsigned, null ledger, TLS",
        ("--ledger", "null", "--unsigned", "--rate", "60000", *FULL),
    ),
    Row(
        "plain", "unsigned, null ledger, plain TCP",
        ("--ledger", "null", "--unsigned", "--transport", "plain", "--rate", "70000", *FULL),
    ),
    Row(
        "lone", "one transaction at a time, TLS, fsync",
        ("--ledger", "null", "--closed", "1", "--clients", "1", "--to", "leader", *TIMES),
    ),
    Row(
        "delayed5-bncm", "10 ms one way, n = 5, BNCM",
        ("-n", "5", "--delay", "10ms", "--rate", "20", "--duration", "10", "--warm-up", "4"),
    ),
    Row(
        "delayed5-pbft", "10 ms one way, n = 5, PBFT",
        ("-n", "5", "--engine", "pbft", "--delay", "10ms", "--rate", "20", "--duration", "10",
         "--warm-up", "4"),
    ),
    Row(
        "delayed10-bncm", "10 ms one way, n = 10, BNCM",
        ("-n", "10", "--delay", "10ms", "--rate", "10", "--duration", "10", "--warm-up", "4"),
    ),
    Row(
        "delayed10-pbft", "10 ms one way, n = 10, PBFT",
        ("-n", "10", "--engine", "pbft", "--delay", "10ms", "--rate", "10", "--duration", "10",
         "--warm-up", "4"),
    ),
)  # fmt: skip
SEVENTY = "seventy"
"""Signed, at 70 % of what the first row came to."""
IDLE = "idle"
NAMES = (*(row.name for row in ROWS), SEVENTY, IDLE)

Rows: TypeAlias = Mapping[str, Sequence[Run]]
Figure: TypeAlias = Callable[[Run], float]


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
    except ValueError as err:
        raise RuntimeError(f"{' '.join(options)}: {done.stderr[-2000:]}") from err
    return summary


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


def measure(names: Sequence[str], runs: int, held: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """All runs of these rows; the rounds go through all rows, so that none has the quiet hour."""
    made: dict[str, list[Run]] = {name: [] for name in names}
    with progress("runs", runs * len(names)) as advance:
        for number in range(runs):
            for name in names:
                made[name].append(_run(name, number + 1, {**held, **made}))
                advance()
    return {**held, **made}


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
         lambda r: 100 * r["share_of_verify_limit"], "{:.0f} %", lambda x: x >= 80),
    Line("– transactions a second", "", "signed",
         lambda r: r["goodput_tx_s"], "{:,.0f}", lambda _: True),
    Line("– CPU outside libsodium per transaction and replica", "≤ 12 µs", "signed",
         lambda r: r["python_us_per_tx_replica"], "{:.1f} µs", lambda x: x <= 12),
    Line("market ledger: share of libsodium's limit", "≥ 65 %", "market",
         lambda r: 100 * r["share_of_verify_limit"], "{:.0f} %", lambda x: x >= 65),
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
    Line("loaded: memory of a daemon, signed", "≤ 200 MiB", "signed",
         lambda r: r["rss_mib"], "{:.0f} MiB", lambda x: x <= 200),
    Line("loaded: memory of a daemon, unsigned", "≤ 200 MiB", "unsigned",
         lambda r: r["rss_mib"], "{:.0f} MiB", lambda x: x <= 200),
)  # fmt: skip


def _ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, list[float]]:
    """Of two medians, and of the runs in pairs."""
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return median(above) / median(below), pairs


def table(rows: Rows) -> list[str]:
    """Each target as far as it was measured."""
    lines = ["| what | target | median | holds | every run |", "|---|---|---:|---|---|"]
    for line in LINES:
        if rows.get(line.row):
            values = [line.figure(run) for run in rows[line.row]]
            lines.append(
                _cells(line.target, line.wanted, median(values), values, line.form, line.holds)
            )
    if rows.get(SEVENTY) and rows.get("lone"):
        ratio, pairs = _ratio(
            [run["latency_ms"]["p99"] for run in rows[SEVENTY]],
            [run["latency_ms"]["p50"] for run in rows["lone"]],
        )
        what = "p99 at 70 % of the highest goodput, in lone p50"
        lines.append(_cells(what, "≤ 10", ratio, pairs, "{:.1f}", lambda x: x <= 10))
    for n in (5, 10):
        bncm, pbft = (rows.get(f"delayed{n}-{engine}") for engine in ("bncm", "pbft"))
        if bncm and pbft:
            ratio, pairs = _ratio(
                [run["commit_ms"]["p50"] for run in bncm],
                [run["commit_ms"]["p50"] for run in pbft],
            )
            what = f"BNCM to PBFT, 10 ms links, n = {n}: `commit_ms` p50"
            lines.append(_cells(what, "≤ 0.75", ratio, pairs, "{:.3f}", lambda x: x <= 0.75))
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


def page(rows: Rows, machine: Mapping[str, Any]) -> str:
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
        "Made by `python bench/targets.py`, which says how. Medians of all runs; daemons, load",
        "processes and whatever else there is share the cores. What the figures mean:",
        "[docs/bench.md](../../../docs/bench.md); what lies behind them:",
        "[docs/performance.md](../../../docs/performance.md).",
        "",
        *table(rows),
        "",
        "## The limits beside them",
        "",
        "Measured before each run, least and most of all of them:",
        "",
    ]
    for what, (form, key) in limits.items():
        values = [run["limits"][key] for run in runs]
        lines.append(f"- {what}: {form.format(min(values))} to {form.format(max(values))}")
    for point in ("p50", "p99"):
        values = [run["limits"]["fsync_ms"][point] for run in runs]
        lines.append(f"- fdatasync of a page, {point}: {min(values):.2f} to {max(values):.2f} ms")
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
    rows, machine = held.get("rows", {}), held.get("machine", {})
    if SEVENTY in wanted and "signed" not in wanted and "signed" not in rows:
        parser.error(f"{SEVENTY} needs the row signed")
    if not asked.render:
        rows, machine = measure(names, asked.runs, rows), this_machine()
        asked.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n"
        results.write_text(text, encoding="utf-8")
    (asked.out / "README.md").write_text(page(rows, machine), encoding="utf-8")
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
