"""Plants of growing size, one simulation each: what a height takes, and what it costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from multiprocessing import get_context
from statistics import median
from typing import NamedTuple

import msgspec

from vppd.bench.scale.cluster import ScaleCluster
from vppd.bench.scale.costs import Costs
from vppd.bench.scale.sites import SITES
from vppd.config.genesis import Engine, PathSetting
from vppd.errors import Exit, UserError
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup
from vppd.stats import percentile
from vppd.types import Height

SIZES = (4, 7, 10, 16, 31, 64, 100, 200)
MOST_NODES = 200
"""A larger plant takes minutes per height here; above, :mod:`vppd.bench.scale.model`."""
SECONDS_PER_PAIR = 3.5e-4
"""What simulating one height takes for each pair of nodes, about, where all talk to all."""
NO_ELECTION = 1_000_000
SKIP: Height = 3
AUTO_SKIP: Height = 18
"""``auto`` decides after eight blocks of either path."""


class Way(NamedTuple):
    """How a plant decides."""

    engine: Engine
    path: PathSetting
    skip: Height
    """Heights that do not count."""
    dense: bool
    """Whether all talk to all."""
    most: int = MOST_NODES
    """Nodes that are simulated."""


WAYS = {
    "collect": Way(Engine("bncm"), "collect", SKIP, dense=False),
    "broadcast": Way(Engine("bncm"), "broadcast", SKIP, dense=True),
    "auto": Way(Engine("bncm"), "auto", AUTO_SKIP, dense=True, most=64),
    "pbft": Way(Engine("pbft"), "auto", SKIP, dense=True),
    "dpos": Way(Engine("dpos"), "auto", SKIP, dense=False),
}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation to run."""

    way: str
    n: int
    sites: str
    delegates: int | None
    """Of ``dpos``: how many of the ``n`` vote."""
    heights: Height
    """That count."""
    txs: int
    seed: int = 1

    @property
    def seconds(self) -> float:
        """What it takes on one core, about."""
        way = WAYS[self.way]
        voters = self.n if self.delegates is None else self.delegates
        pairs = voters * self.n if way.dense or self.delegates is not None else 8 * self.n
        return 0.3 + SECONDS_PER_PAIR * pairs * (way.skip + self.heights)


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; medians over the heights that count."""

    way: str
    n: int
    sites: str
    delegates: int | None
    commit_ms: float
    """From the proposal until enough replicas have decided, p50."""
    commit_max_ms: float
    messages: float
    """Per height, as ``messages_per_height`` counts: without reply, status and sync."""
    kib: float
    """Of these, per height."""
    mean_kib: float
    """The same with what is said again each second, mean."""
    core_ms: float
    """CPU per height of the median node."""
    busiest_core_ms: float
    """And of the busiest one."""
    fast_share: float
    """Of decisions, by votes of the first round."""
    view_changes: int


def cells(
    sizes: Sequence[int], ways: Sequence[str], sites: Sequence[str], delegates: int,
    heights: Height, txs: int,
) -> list[Cell]:  # fmt: skip
    """Every combination, the dearest first, so that no core is left with the last of them.

    Raises:
        UserError: E452, there is none.
    """
    made = [
        Cell(
            way=way, n=n, sites=place, heights=heights, txs=txs,
            delegates=min(n, delegates) if way == "dpos" else None,
        )
        for way in ways
        for n in sizes
        if n <= WAYS[way].most  # it takes many heights to make up its mind
        for place in sites
    ]  # fmt: skip
    if not made:
        raise UserError(
            "E452",
            "there is nothing to simulate: auto takes a score of heights to make up its mind, and "
            f"is simulated up to {WAYS['auto'].most} nodes",
            hint="--sizes 4,10,31, or other --ways",
            exit_code=Exit.USAGE,
        )
    return sorted(made, key=lambda cell: -cell.seconds)


def run_cell(cell: Cell, costs: Costs) -> Point | str:
    """One simulation; if an invariant broke or the plant stood still, what the checkers said."""
    way = WAYS[cell.way]
    setup = Setup(
        engine=way.engine, path=way.path, n=cell.n, heights=way.skip + cell.heights,
        delegates=cell.delegates, epoch_blocks=NO_ELECTION, faults=parse_sets("none"),
    )  # fmt: skip
    cluster = ScaleCluster(
        setup, SITES[cell.sites], costs, txs=cell.txs, skip=way.skip, seed=cell.seed
    )
    outcome = cluster.run()
    if outcome.violation is not None:
        return outcome.violation
    counted = range(way.skip, way.skip + cell.heights)
    commits = sorted(cluster.commits[h + 1] for h in counted)
    marks = [cluster.marks[h] for h in (*counted, way.skip + cell.heights)]
    first, last = marks[0], marks[-1]
    used = sorted(
        (end - begin) / cell.heights / 1_000
        for begin, end in zip(first.core_us, last.core_us, strict=True)
    )
    decisions = outcome.decisions.total() - outcome.decisions["learnt"]
    fast = outcome.decisions["fast"] + outcome.decisions["fast_exit"]
    return Point(
        way=cell.way,
        n=cell.n,
        sites=cell.sites,
        delegates=cell.delegates,
        commit_ms=round(percentile(commits, 0.5) / 1_000, 3),
        commit_max_ms=round(commits[-1] / 1_000, 3),
        messages=round(median(b.messages - a.messages for a, b in pairwise(marks)), 1),
        kib=round(median(b.bytes - a.bytes for a, b in pairwise(marks)) / 1_024, 1),
        mean_kib=round((last.bytes - first.bytes) / cell.heights / 1_024, 1),
        core_ms=round(median(used), 3),
        busiest_core_ms=round(used[-1], 3),
        fast_share=round(fast / decisions, 3) if decisions else 0.0,
        view_changes=outcome.view_changes,
    )


def run_cells(wanted: Sequence[Cell], costs: Costs, jobs: int) -> Iterator[tuple[Cell, Point]]:
    """All of them, as they end.

    Args:
        wanted: what to run.
        costs: of one core.
        jobs: processes; 1: this one.

    Raises:
        UserError: E453, a plant did not go on, or broke an invariant.
    """
    if jobs == 1:
        for cell in wanted:
            yield cell, _require(cell, run_cell(cell, costs))
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_calm) as pool:
        futures = {pool.submit(run_cell, cell, costs): cell for cell in wanted}
        try:
            for future in as_completed(futures):
                cell = futures[future]
                yield cell, _require(cell, future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _calm() -> None:
    """A simulation makes little rubbish and many objects: look for it less often."""
    gc.set_threshold(200_000, 20, 100)


def _require(cell: Cell, result: Point | str) -> Point:
    if isinstance(result, Point):
        return result
    raise UserError(
        "E453",
        "a simulated plant did not go on",
        facts={"plant": f"{cell.way}, n={cell.n}, {cell.sites}", "why": result},
        hint="vppd simulate with the same engine, path and size looks at it more closely",
    )


def ways_of(text: str) -> list[str]:
    """Ways to decide by name, comma-separated.

    Raises:
        UserError: E452.
    """
    names = list(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in WAYS]
    if unknown:
        raise UserError(
            "E452",
            f"there is no way to decide called {unknown[0]!r}",
            facts={"ways": ", ".join(WAYS)},
            hint="--ways collect,pbft",
            exit_code=Exit.USAGE,
        )
    return names


def sizes_of(text: str) -> list[int]:
    """Sizes of plants, comma-separated.

    Raises:
        UserError: E452.
    """
    parts = text.split(",")
    sizes = [int(part) for part in parts if part.isdecimal()]
    if len(sizes) < len(parts) or not all(2 <= n <= MOST_NODES for n in sizes):
        raise UserError(
            "E452",
            f"{text!r} are not sizes of plants that can be simulated",
            hint=f"--sizes 4,31,100: each between 2 and {MOST_NODES}; above, the model says more",
            exit_code=Exit.USAGE,
        )
    return sorted(set(sizes))
