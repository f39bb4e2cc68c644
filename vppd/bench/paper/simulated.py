"""Heights in the simulator: the same engines, links of a fixed delay, virtual time."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from statistics import fmean
from typing import Any, Final

from vppd.bench.paper.live import did_not_run
from vppd.config.genesis import Engine, PathSetting
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.paper import TimedAsPublished

WAYS: Final = ("pbft", "broadcast", "auto", "collect", "published")
"""PBFT, the paths of BNCM, and BNCM with the paper's timing."""
_PATH_OF: Final[dict[str, PathSetting]] = {
    "broadcast": "broadcast", "auto": "auto", "collect": "collect", "published": "collect",
}  # fmt: skip


def setup_of(n: int, delay_ms: int, share: int, way: str, heights: int) -> Setup:
    """What one seed runs: the last DER's link fails in ``share`` percent of the heights."""
    fail = ((n - 1, share * 10_000),) if share else ()
    common: dict[str, Any] = {
        "n": n, "heights": heights, "delay_us": delay_ms * 1_000, "faults": parse_sets("none"),
        "fail": fail,
    }  # fmt: skip
    if way == "pbft":
        return Setup(engine=Engine("pbft"), **common)
    return Setup(engine=Engine("bncm"), path=_PATH_OF[way], **common)


def run_way(n: int, delay_ms: int, share: int, way: str, heights: int, seed: int) -> Outcome:
    """One seed of one way.

    ``published`` waits for everybody until a fixed timer ends, and only then starts PBFT. The timer
    is as short as it can be without cutting off fast decisions (a round trip and 10 ms), which
    flatters it.

    Raises:
        UserError: E448, an invariant was violated.
    """
    engines = {}
    if way == "published":
        waits = partial(TimedAsPublished, wait_ms=2 * delay_ms + 10)
        engines = dict.fromkeys(range(n), waits)
    outcome = Cluster(setup_of(n, delay_ms, share, way, heights), seed, engines).run()
    if outcome.violation is not None:
        where = f"{way}, n={n}, {delay_ms} ms, {share} %, seed {seed}"
        raise did_not_run(f"{where}: {outcome.violation}")
    return outcome


def mean_ms(outcome: Outcome) -> float:
    """``commit_ms`` of one seed, mean."""
    return round(fmean(outcome.commit_us) / 1_000, 3)


def summary(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Several seeds of one way, times in ms."""
    runs = list(outcomes)
    samples = [us / 1_000 for run in runs for us in run.commit_us]
    ways = [run.decisions for run in runs]
    fast = sum(way["fast"] + way["fast_exit"] for way in ways)
    return {
        "mean_ms": round(fmean(samples), 3),
        "min_ms": min(samples),
        "max_ms": max(samples),
        "heights": len(samples),
        "messages_per_height": round(
            sum(run.messages for run in runs) / sum(run.decided for run in runs), 1
        ),
        "fast_share": round(fast / sum(way.total() for way in ways), 4),
    }
