"""A run's folder, read back: what was planned, measured, and on which machine.

``run.toml`` and ``summary.json`` make a folder one of a run; whatever else is missing is left out
of the report.
"""

from __future__ import annotations

import gzip
import json
import tomllib
import zlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from vppd.errors import Exit, UserError

Facts: TypeAlias = dict[str, Any]

_COOKIE = 8
"""Bytes before what is compressed: what it is, and how long."""
BASIC_FIGURES = ("goodput_tx_s", "latency_ms", "valid")
"""Without these a summary is none."""


class RunFolder(msgspec.Struct, kw_only=True):
    """Everything a folder says."""

    path: Path
    plan: Facts
    """``run.toml``: every parameter, and ``command``, which reproduces the run."""
    summary: Facts
    """Medians, if there were several runs."""
    runs: list[Facts]
    """The summary of each run."""
    shown: int
    """Which run, counted from 1, the rows below are of: the one of median goodput."""
    env: Facts
    seconds: list[Facts]
    heights: list[Facts]
    """Per decided height, at the node that proposed it."""
    nodes: list[Facts]
    """Per daemon."""
    search: list[Facts]
    """``{"rate", "summary"}`` along the search of the knee."""
    knee: float | None
    """The rate it found."""
    series: list[Facts]
    """``{"parameter", "value", "summary"}`` where plans differ in one parameter."""
    histograms: list[str]
    """Base64 HdrHistograms of latency in microseconds, one a run."""

    @property
    def command(self) -> str | None:
        """What reproduces the run."""
        said = self.plan.get("command")
        return said if isinstance(said, str) else None


def read_folder(path: Path) -> RunFolder:
    """Everything in a run's folder; of several runs each has one of its own in it, ``run-1`` ….

    Raises:
        UserError: E444, it is none, or something in it cannot be read.
    """
    plan = _toml(path / "run.toml")
    summary: Facts = _json(path / "summary.json", dict)
    lacking = [name for name in BASIC_FIGURES if name not in summary]
    if lacking:
        raise _unreadable(path / "summary.json", f"it lacks {', '.join(lacking)}")
    runs: list[Facts] = summary.get("runs") or [summary]
    by_goodput = sorted(range(len(runs)), key=lambda i: runs[i]["goodput_tx_s"])
    shown = by_goodput[(len(runs) - 1) // 2] + 1
    folders = [path] if len(runs) == 1 else [path / f"run-{i + 1}" for i in range(len(runs))]
    inner = folders[shown - 1]
    searched: Facts = _optional(path / "saturate.json", dict) or {}
    histograms = [_optional(folder / "latency.hgrm.json", dict) for folder in folders]
    return RunFolder(
        path=path,
        plan=plan,
        summary=summary,
        runs=runs,
        shown=shown,
        env=_optional(path / "env.json", dict) or {},
        seconds=_lines(inner / "samples.jsonl.gz"),
        heights=_lines(inner / "heights.jsonl.gz"),
        nodes=_optional(inner / "nodes.json", list) or [],
        search=searched.get("search", []),
        knee=searched.get("knee"),
        series=_optional(path / "series.json", list) or [],
        histograms=[
            _histogram(folder / "latency.hgrm.json", held)
            for folder, held in zip(folders, histograms, strict=True)
            if held is not None
        ],
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What is put into a run's folder later.

    Raises:
        UserError: E439, it cannot be written to.
    """
    try:
        yield
    except OSError as err:
        raise UserError(
            "E439",
            "the folder for the results cannot be used",
            facts={"folder": str(folder), "why": err.strerror or str(err)},
            hint="a copy of the folder that is yours to write to",
        ) from err


def _histogram(path: Path, held: Facts) -> str:
    """An HdrHistogram in base 64, as far as one can tell without the library."""
    text = held.get("latency")
    try:
        zlib.decompress(b64decode(str(text), validate=True)[_COOKIE:])
    except (ValueError, zlib.error) as err:
        raise _unreadable(path, f"latency is no histogram: {err}") from err
    return str(text)


def _toml(path: Path) -> Facts:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise _unreadable(path, err.strerror or str(err)) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise _unreadable(path, str(err)) from err


def _json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise _unreadable(path, err.strerror or str(err)) from err
    except ValueError as err:
        raise _unreadable(path, str(err)) from err
    if not isinstance(value, kind):
        raise _unreadable(path, f"it holds {type(value).__name__}, not {kind.__name__}")
    return value


def _optional(path: Path, kind: type) -> Any:
    return _json(path, kind) if path.exists() else None


def _lines(path: Path) -> list[Facts]:
    if not path.exists():
        return []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, EOFError, ValueError) as err:
        raise _unreadable(path, str(err)) from err


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        "E444",
        "this is no folder of a bench run, or it is damaged",
        facts={"file": str(path), "why": why},
        hint="the folder that vppd bench run, saturate or remote wrote",
        exit_code=Exit.USAGE,
    )
