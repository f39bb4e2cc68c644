"""What a run of the micro-benchmarks says, and what the run before said."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import msgspec

from vppd import __version__
from vppd.bench.micro.timing import MEANING, Measured
from vppd.errors import UserError

RESULTS, PAGE = "results.json", "README.md"
LIBRARIES = ("msgspec", "pynacl", "aiosqlite")
NOISY = 0.5
"""A median sample so far above the least says that the machine was busy."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    schema: int = 1
    machine: dict[str, str]
    """What the figures depend on: processor, versions."""
    benchmarks: list[Measured]


def machine() -> dict[str, str]:
    """This one."""
    found = {
        "cpu": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "vppd": __version__,
        "sqlite": sqlite3.sqlite_version,
    }
    return found | {name: version(name) for name in LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def load(path: Path) -> Report:
    """A report that was written before.

    Raises:
        UserError: E450, not readable, or not such a report.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as err:
        raise UserError(
            "E450",
            "not a report of micro-benchmarks",
            facts={"file": str(path), "why": str(err)},
            hint="python -m vppd.bench.micro --out FOLDER writes one",
        ) from err


def rows(report: Report, before: Report | None) -> list[dict[str, str | int | None]]:
    """One row per benchmark, with what the report before says beside it.

    The change compares ratios, so that a faster machine is no improvement.
    """
    old = {m.name: m for m in before.benchmarks} if before is not None else {}
    return [_row(m, old.get(m.name), beside=before is not None) for m in report.benchmarks]


def _row(new: Measured, old: Measured | None, *, beside: bool) -> dict[str, str | int | None]:
    row: dict[str, str | int | None] = {
        "benchmark": new.name,
        "us": f"{new.us:g}",
        "per": new.unit,
        "ratio": f"{new.ratio:g}",
        "to": new.against,
        "spread": f"{new.spread:.0%}" + (" (busy)" if new.spread > NOISY else ""),
    }
    if beside:
        same = old is not None and old.against == new.against
        row["before"] = f"{old.ratio:g}" if old is not None and same else None
        row["change"] = f"{new.ratio / old.ratio - 1:+.0%}" if old is not None and same else None
    return row


def write(folder: Path, report: Report) -> None:
    """Results and the page about them.

    Raises:
        UserError: E451, they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
        (folder / RESULTS).write_bytes(encoded + b"\n")
        (folder / PAGE).write_text(page(report), encoding="utf-8")
    except OSError as err:
        raise UserError(
            "E451",
            "the results cannot be written",
            facts={"folder": str(folder), "why": str(err)},
            hint="--out FOLDER, one that this user may write to",
        ) from err


def page(report: Report) -> str:
    """The results for people, in Markdown."""
    lines = [
        "# Micro-benchmarks",
        "",
        "Made by `make bench` (a few minutes). Each figure is the least of several samples, each",
        "timed between two runs of a calibration loop, without setting up and with the garbage",
        "collector off; CPU time of the process, but for what is held against the disk, which is",
        "real time. The *ratio* is that figure in turns of the calibration loop: compare ratios",
        "across machines, microseconds on one. *Spread* says how far the median sample lies above",
        "the least; a wide one is a busy machine's.",
        "",
        *(f"- `{name}`: {meaning}" for name, meaning in MEANING.items()),
        "",
        "| benchmark | µs | per | ratio | to | spread |",
        "|---|---:|---|---:|---|---:|",
        *(
            f"| {m.name} | {m.us:g} | {m.unit} | {m.ratio:g} | {m.against} | {m.spread:.0%} |"
            for m in report.benchmarks
        ),
        "",
    ]
    lines += [f"- {text}" for text in findings(report.benchmarks)]
    lines += ["", "Turns of the loops, least of the run:", ""]
    turns = {a: min(m.turn_us for m in report.benchmarks if m.against == a) for a in _used(report)}
    lines += [f"- `{name}`: {us:g} µs" for name, us in turns.items()]
    lines += ["", "Measured on:", ""]
    lines += [f"- {name}: {value}" for name, value in report.machine.items()]
    return "\n".join(lines) + "\n"


def _used(report: Report) -> list[str]:
    return [name for name in MEANING if any(m.against == name for m in report.benchmarks)]


def findings(benchmarks: Sequence[Measured]) -> list[str]:
    """What follows from several of the figures, as far as they are there."""
    by_name = {m.name: m for m in benchmarks}
    said = []
    chain = by_name.get("sync.verify_chain")
    if chain is not None:
        said.append(
            f"Verifying a stored chain runs at {1 / chain.ratio:.0%} of what libsodium alone needs "
            "for its signatures; it also hashes, executes and compares everything."
        )
    null = by_name.get("sync.verify_null_chain")
    if null is not None:
        said.append(f"Of a null ledger, where nothing is executed, it is {1 / null.ratio:.0%}.")
    block = by_name.get("gate.block")
    if block is not None:
        said.append(f"A block's check runs at {1 / block.ratio:.0%} of libsodium alone.")
    sizes = sorted(
        (int(name.rpartition("_")[2]), m.us)
        for name, m in by_name.items()
        if name.startswith("auction.clear_")
    )
    for (small, cheap), (large, dear) in pairwise(sizes):
        said.append(
            f"Clearing {large:,} orders instead of {small:,} costs {dear / cheap:.2f} times as "
            "much per order."
        )
    return said
