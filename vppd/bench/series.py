"""Runs whose plans differ in one parameter, put together: how a result changes with it.

Engine and path may differ too: each pair of them is a curve of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vppd.bench.compare import plan_differences
from vppd.bench.readback import Facts, RunFolder, read_folder, writing
from vppd.errors import Exit, UserError
from vppd.types import PPM

CURVES = {"plan.engine", "plan.path", "plan.core"}
PARAMETERS = {"plan.nodes": "n", "plan.fail": "fail"}
"""What can be plotted along, by its name in run.toml and in a series."""


def write_series(first: Path, others: Sequence[Path]) -> None:
    """Write ``series.json`` into the first folder: all runs by the parameter they differ in.

    Args:
        first: a run's folder.
        others: further ones.

    Raises:
        UserError: E444, one is none; E445, they differ in something else, or in nothing.
    """
    runs = [read_folder(path) for path in (first, *others)]
    parameter = _parameter(runs)
    rows: list[Facts] = [
        {"parameter": PARAMETERS[parameter], "value": _value(run, parameter),
         "summary": {name: part for name, part in run.summary.items() if name != "runs"}}
        for run in runs
    ]  # fmt: skip
    rows.sort(key=lambda row: row["value"])
    with writing(first):
        (first / "series.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _parameter(runs: Sequence[RunFolder]) -> str:
    differing: dict[str, tuple[Any, Any]] = {}
    for run in runs[1:]:
        differing |= plan_differences(runs[0].plan, run.plan)
    along = [name for name in differing if name not in CURVES]
    if len(along) == 1 and along[0] in PARAMETERS:
        return along[0]
    raise UserError(
        "E445",
        "these runs are no series: they have to differ in one thing beside engine and path",
        facts={name: f"{left} | {right}" for name, (left, right) in differing.items()}
        or {"differ in": "nothing"},
        hint="runs of one plan with other --nodes, or with other --fail",
        exit_code=Exit.USAGE,
    )


def _value(run: RunFolder, parameter: str) -> float:
    """Nodes, or the largest share of the heights in which a link fails, in percent."""
    plan: Facts = run.plan.get("plan", {})
    if parameter == "plan.nodes":
        return float(plan["nodes"])
    return max((share for _, share in plan.get("fail", [])), default=0) * 100 / PPM
