"""A run's folder, read back: what was planned, measured, and on which machine.

``run.toml`` and ``summary.json`` make a folder one of a run; whatever else is missing is left out
of the report.
"""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from vppd.errors import Exit, UserError

Facts: TypeAlias = dict[str, Any]

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
    env: Facts
    seconds: list[Facts]
    """Per second of the first run."""
    heights: list[Facts]
    """Per height of the first run, at its leader."""
    nodes: list[Facts]
    """Per daemon."""
    search: list[Facts]
    """``{"rate", "summary"}`` along the search of the knee."""
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
    """Everything in a run's folder.

    Raises:
        UserError: E444, it is none, or something in it cannot be read.
    """
    plan = _toml(path / "run.toml")
    summary = _json(path / "summary.json", dict)
    lacking = [name for name in BASIC_FIGURES if name not in summary]
    if lacking:
        raise _unreadable(path / "summary.json", f"it lacks {', '.join(lacking)}")
    searched = _optional_json(path / "saturate.json")
    held = _optional_json(path / "latency.hgrm.json")
    return RunFolder(
        path=path,
        plan=plan,
        summary=summary,
        runs=summary.get("runs") or [summary],
        env=_optional_json(path / "env.json") or {},
        seconds=_first_run(_lines(path / "samples.jsonl.gz")),
        heights=_first_run(_lines(path / "heights.jsonl.gz")),
        nodes=_optional_json(path / "nodes.json") or [],
        search=(searched.get("search") if isinstance(searched, dict) else searched) or [],
        series=_optional_json(path / "series.json") or [],
        histograms=(held.get("runs") if isinstance(held, dict) else held) or [],
    )


def _first_run(rows: list[Facts]) -> list[Facts]:
    first = min((row.get("run", 0) for row in rows), default=0)
    return [row for row in rows if row.get("run", 0) == first]


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


def _optional_json(path: Path) -> Any:
    return _json(path, object) if path.exists() else None


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
        hint="the folder that vppd bench run or vppd bench saturate wrote",
        exit_code=Exit.USAGE,
    )
