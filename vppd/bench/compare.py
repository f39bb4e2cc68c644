"""Two runs' folders beside each other: medians, their ratio, and whether it could be chance.

The interval is a bootstrap over runs: both sides are drawn anew with replacement, seeded, and the
ratio of medians is taken each time (percentile method). A run is the unit: the transactions of one
run share its machine's mood and are no independent samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from vppd.bench.readback import Facts, RunFolder, read_folder
from vppd.bench.report import at
from vppd.errors import Exit, UserError

Verdict: TypeAlias = Literal["faster", "slower", "less", "more", "no difference", "too few runs"]
DRAWS = 10_000
LEAST_RUNS = 5
"""Per side, for a verdict: the range of fewer runs misses the median too often."""
NOT_COMPARED = frozenset({"command", "plan.runs", "plan.keys"})
"""Of run.toml: how often it ran, and where the keys of somebody's plant lay."""


class Figure(NamedTuple):
    """One line of the comparison."""

    name: str
    path: tuple[str, ...]
    words: tuple[Verdict, Verdict]
    """What B is if its value is lower, and if it is higher."""


FIGURES: tuple[Figure, ...] = (
    Figure("goodput_tx_s", ("goodput_tx_s",), ("slower", "faster")),
    Figure("goodput_ops_s", ("goodput_ops_s",), ("slower", "faster")),
    *(Figure(f"latency_ms.{p}", ("latency_ms", p), ("faster", "slower"))
      for p in ("p50", "p90", "p99", "p999", "max")),
    *(Figure(f"commit_ms.{p}", ("commit_ms", p), ("faster", "slower")) for p in ("p50", "p99")),
    Figure("share_of_verify_limit", ("share_of_verify_limit",), ("less", "more")),
    Figure("python_us_per_tx_replica", ("python_us_per_tx_replica",), ("less", "more")),
    Figure("messages_per_height", ("messages_per_height",), ("less", "more")),
    Figure("fast_share", ("fast_share",), ("less", "more")),
    Figure("rss_mib", ("rss_mib",), ("less", "more")),
)  # fmt: skip


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both sides."""

    figure: str
    a: float
    """Median over the runs of A."""
    b: float
    ratio: float | None
    """B over A; ``None`` where A is nothing."""
    low: float | None
    """95 % interval of the ratio; ``None`` with one run on a side."""
    high: float | None
    runs: tuple[int, int]
    verdict: Verdict


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of ``vppd bench compare``."""

    a: str
    b: str
    differences: dict[str, tuple[Any, Any]]
    """Parameters in which the plans differ, and both values."""
    invalid: list[str]
    """Sides that are stamped INVALID."""
    figures: list[Compared]


def compare(a: Path, b: Path, *, force: bool = False, seed: int = 1) -> Comparison:
    """Compare two runs' folders.

    Args:
        a: what B is measured against.
        b: the other.
        force: although the plans differ.
        seed: of the bootstrap.

    Raises:
        UserError: E444, not a run's folder; E445, the plans differ.
    """
    one, other = read_folder(a), read_folder(b)
    differences = plan_differences(one.plan, other.plan)
    if differences and not force:
        raise UserError(
            "E445",
            "the two runs had different plans",
            facts={name: f"{left} | {right}" for name, (left, right) in differences.items()},
            hint="runs of one plan, or --force",
            exit_code=Exit.USAGE,
        )
    return Comparison(
        a=str(a),
        b=str(b),
        differences=differences,
        invalid=[str(side.path) for side in (one, other) if not side.summary["valid"]],
        figures=[
            compared
            for figure in FIGURES
            if (compared := _compared(figure, one, other, seed)) is not None
        ],
    )


def plan_differences(a: Facts, b: Facts) -> dict[str, tuple[Any, Any]]:
    """Parameters, by dotted name, that differ; ``None`` where one side has none of that name."""
    left, right = dict(_leaves(a)), dict(_leaves(b))
    return {
        name: (left.get(name), right.get(name))
        for name in [*left, *(name for name in right if name not in left)]
        if name not in NOT_COMPARED and left.get(name) != right.get(name)
    }


def _leaves(facts: Facts, before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in facts.items():
        found += (
            _leaves(value, f"{before}{name}.")
            if isinstance(value, dict)
            else [(before + name, value)]
        )
    return found


def _compared(figure: Figure, one: RunFolder, other: RunFolder, seed: int) -> Compared | None:
    a, b = (_samples(side, figure.path) for side in (one, other))
    if not a or not b:
        return None
    left, right = median(a), median(b)
    draws = bootstrap(a, b, seed) if min(len(a), len(b)) > 1 else []
    ratios = interval([y / x for x, y in draws]) if draws and min(a) > 0 else None
    return Compared(
        figure=figure.name,
        a=left,
        b=right,
        ratio=right / left if left else None,
        low=ratios[0] if ratios else None,
        high=ratios[1] if ratios else None,
        runs=(len(a), len(b)),
        verdict=_verdict(figure, (len(a), len(b)), draws),
    )


def _samples(side: RunFolder, path: Sequence[str]) -> list[float]:
    found = (at(run, path) for run in side.runs)
    return [float(value) for value in found if value is not None]


def bootstrap(a: Sequence[float], b: Sequence[float], seed: int) -> list[tuple[float, float]]:
    """Medians of both sides, drawn anew with replacement :data:`DRAWS` times."""
    rng = Random(seed)  # noqa: S311  # the same folders, the same interval
    return [
        (median(rng.choices(a, k=len(a))), median(rng.choices(b, k=len(b)))) for _ in range(DRAWS)
    ]


def interval(draws: Sequence[float]) -> tuple[float, float]:
    """What 95 % of the draws lie in, as many below it as above."""
    ordered = sorted(draws)
    last = len(ordered) - 1
    return ordered[round(0.025 * last)], ordered[round(0.975 * last)]


def _verdict(
    figure: Figure, runs: tuple[int, int], draws: Sequence[tuple[float, float]]
) -> Verdict:
    if min(runs) < LEAST_RUNS:
        return "too few runs"
    low, high = interval([y - x for x, y in draws])
    if low <= 0 <= high:
        return "no difference"
    return figure.words[0] if high < 0 else figure.words[1]
