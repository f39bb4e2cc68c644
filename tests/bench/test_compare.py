"""Two folders beside each other: what counts as faster, and what as chance."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.folders import PLAN, write_run
from tests.e2e.plant import vppd
from vppd.bench.compare import (
    DRAWS,
    FIGURES,
    Compared,
    bootstrap,
    compare,
    interval,
    plan_differences,
)
from vppd.errors import UserError


def pair(tmp_path: Path, a: dict[str, object], b: dict[str, object]) -> dict[str, Compared]:
    left = write_run(tmp_path / "a", seed=1, bare=True, **a)  # type: ignore[arg-type]
    right = write_run(tmp_path / "b", seed=2, bare=True, **b)  # type: ignore[arg-type]
    return {row.figure: row for row in compare(left, right).figures}


def test_a_folder_does_not_differ_from_itself(tmp_path: Path) -> None:
    folder = write_run(tmp_path, bare=True)
    made = compare(folder, folder)
    assert {row.figure for row in made.figures} == {figure.name for figure in FIGURES}
    assert {row.verdict for row in made.figures} == {"no difference"}
    assert {row.ratio for row in made.figures} == {1.0}
    assert made.differences == {}


def test_more_goodput_and_less_latency_are_faster(tmp_path: Path) -> None:
    latency = {"p50": 9.0, "p90": 9.0, "p99": 9.0, "p999": 9.0, "max": 9.0}
    rows = pair(tmp_path, {"latency_ms": latency}, {"goodput_tx_s": 2_500.0})
    assert rows["goodput_tx_s"].verdict == "faster"
    assert rows["latency_ms.p50"].verdict == "faster"
    assert rows["latency_ms.max"].verdict == "slower"  # ten times a p50 of 4 to 5
    faster = rows["goodput_tx_s"]
    assert faster.ratio is not None
    assert faster.low is not None
    assert faster.high is not None
    assert 1.2 < faster.low <= faster.ratio <= faster.high < 1.3


def test_costs_are_less_or_more(tmp_path: Path) -> None:
    rows = pair(tmp_path, {"fast_share": 0.0}, {"fast_share": 0.9, "rss_mib": 60.0})
    assert rows["rss_mib"].verdict == "less"
    assert rows["fast_share"].verdict == "more"
    assert (rows["fast_share"].ratio, rows["fast_share"].low) == (None, None)


@pytest.mark.parametrize("runs", [1, 2, 4])
def test_few_runs_give_no_verdict(tmp_path: Path, runs: int) -> None:
    rows = pair(tmp_path, {"runs": runs}, {"goodput_tx_s": 9_000.0})
    assert rows["goodput_tx_s"].verdict == "too few runs"
    assert rows["goodput_tx_s"].runs == (runs, 5)
    assert (rows["goodput_tx_s"].low is None) == (runs == 1)


def test_different_plans_are_refused_by_name_unless_forced(tmp_path: Path) -> None:
    left = write_run(tmp_path / "a", bare=True)
    changed = PLAN.replace('"bncm"', '"pbft"').replace("100000", "200000")
    changed = changed.replace("bytes = 200", "")
    right = write_run(tmp_path / "b", bare=True, plan=changed)
    with pytest.raises(UserError) as caught:
        compare(left, right)
    assert caught.value.code == "E445"
    assert caught.value.facts == {
        "plan.engine": "bncm | pbft", "plan.bytes": "200 | None",
        "plan.fail": "[[3, 100000]] | [[3, 200000]]",
    }  # fmt: skip
    forced = compare(left, right, force=True)
    assert set(forced.differences) == {"plan.engine", "plan.bytes", "plan.fail"}


def test_where_and_how_often_is_no_part_of_the_plan() -> None:
    a: dict[str, Any] = {"command": "x", "load": "opaque", "plan": {"runs": 5, "rate": 1}}
    b = {"command": "y", "load": "opaque", "plan": {"runs": 3, "rate": 1}}
    assert plan_differences(a, b) == {}
    assert plan_differences(a, {**b, "load": "orders"}) == {"load": ("opaque", "orders")}
    assert plan_differences(a, {**a, "plan": {**a["plan"], "seed": 2}}) == {"plan.seed": (None, 2)}


def test_invalid_sides_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", bare=True)
    write_run(tmp_path / "b", bare=True, valid=False, invalid_reasons=["x"])
    assert compare(tmp_path / "a", tmp_path / "b").invalid == [str(tmp_path / "b")]


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=7), st.integers(0, 99))
def test_the_interval_lies_within_what_was_seen(samples: list[float], seed: int) -> None:
    rng = Random(seed)
    draws = [rng.choice(samples) for _ in range(500)]
    low, high = interval(draws)
    assert min(samples) <= low <= high <= max(samples)
    ordered = sorted(draws)
    assert ordered.index(low) <= 13
    assert len(draws) - 1 - ordered[::-1].index(high) >= 486


def test_the_bootstrap_draws_whole_runs_and_repeats_itself() -> None:
    draws = bootstrap([1.0, 2.0, 3.0], [10.0], seed=4)
    assert len(draws) == DRAWS
    assert {a for a, _ in draws} == {1.0, 2.0, 3.0}
    assert {b for _, b in draws} == {10.0}
    # The median of three drawn of three is the middle one in 13 of 27 cases.
    assert sum(a == 2.0 for a, _ in draws) == pytest.approx(DRAWS * 13 / 27, rel=0.05)
    assert draws == bootstrap([1.0, 2.0, 3.0], [10.0], seed=4)
    assert draws != bootstrap([1.0, 2.0, 3.0], [10.0], seed=5)


def test_chance_is_seldom_called_a_difference() -> None:
    """Thirty pairs of five runs of the same thing: a verdict in few of them."""
    rng = Random(7)
    called = 0
    for seed in range(30):
        a, b = ([rng.gauss(100, 5) for _ in range(5)] for _ in range(2))
        low, high = interval([y - x for x, y in bootstrap(a, b, seed)])
        called += not low <= 0 <= high
    assert called <= 6


def test_the_command_prints_tables_and_json(tmp_path: Path) -> None:
    write_run(tmp_path / "a", bare=True)
    write_run(tmp_path / "b", seed=3, bare=True, goodput_tx_s=3_000.0)
    ran = vppd("bench", "compare", tmp_path / "a", tmp_path / "b")
    assert ran.code == 0, ran.err
    line = next(row for row in ran.out.splitlines() if row.startswith("goodput_tx_s"))
    assert line.split()[-1] == "faster"
    ran = vppd("bench", "compare", tmp_path / "a", tmp_path / "b", "-o", "json")
    said = json.loads(ran.out)
    assert list(said) == ["a", "b", "differences", "invalid", "figures"]
    assert list(said["figures"][0]) == [
        "figure", "a", "b", "ratio", "low", "high", "runs", "verdict",
    ]  # fmt: skip


def test_the_command_refuses_another_plan(tmp_path: Path) -> None:
    write_run(tmp_path / "a", bare=True)
    write_run(tmp_path / "b", bare=True, plan=PLAN.replace("2000.0", "3000.0"))
    ran = vppd("bench", "compare", tmp_path / "a", tmp_path / "b")
    assert ran.code == 2
    assert "error[E445]" in ran.err
    assert "rate" in ran.err
    assert vppd("bench", "compare", tmp_path / "a", tmp_path / "b", "--force").code == 0
