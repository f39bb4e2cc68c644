"""Many seeds over many cores, summed up into one report."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeAlias

import msgspec

from vppd.simulate.cluster import simulate
from vppd.simulate.outcome import Outcome, Setup
from vppd.stats import summary_ms

Play: TypeAlias = Callable[[Setup, int], Outcome]
"""One run of one seed."""


class Report(msgspec.Struct, kw_only=True):
    """What a batch of seeds showed; the JSON of ``vppd simulate -o json`` (docs/json.md)."""

    engine: str
    path: str
    finality: str
    """``locked``, or ``paper-majority``: the rule of P4."""
    n: int
    seeds: list[int]
    """First and last seed, both included."""
    violations: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """Per violation: seed, what, and the command that replays it."""
    forks: int = 0
    """Violations of agreement, of those."""
    events: int = 0
    events_per_s: int = 0
    """Per core."""
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    """Faults injected, by kind."""
    heights: int = 0
    """Sum over the seeds of the heights every node decided."""
    decisions: dict[str, int] = msgspec.field(default_factory=dict)
    """Of all nodes, by path: ``fast`` (collected), ``fast_exit`` (broadcast), ``slow``, and
    ``learnt`` (of others, without an own vote)."""
    fast_share: float | None = None
    """Of those with an own vote, how many on F votes."""
    fallbacks: dict[str, int] = msgspec.field(default_factory=dict)
    """Heights that a node gave up waiting in, by cause."""
    commit_ms: dict[str, float | None] = msgspec.field(default_factory=dict)
    messages_per_height: float = 0.0
    bytes_per_height: float = 0.0
    view_changes: int = 0
    """Views that nodes have asked for."""
    view_triggers: dict[str, int] = msgspec.field(default_factory=dict)
    """And why."""
    healing_views: dict[str, float | None] = msgspec.field(default_factory=dict)
    """From the end of the faults until all had decided five more heights, in units of T_view."""
    evidence: dict[str, int] = msgspec.field(default_factory=dict)
    """Proofs of misbehaviour found, by kind."""
    lies: dict[str, int] = msgspec.field(default_factory=dict)
    """Told by Byzantine nodes, by kind."""
    observers: int = 0
    """Nodes that ended as observers, because of what their disk had lost."""
    epochs: dict[str, int] = msgspec.field(default_factory=dict)
    """Epochs by what made them: ``elected``, ``admitted``, ``removed``, ``rekeyed``,
    ``readmitted``, ``engine``, ``rules``; changes that people ``proposed``; producers
    ``punished`` and nodes ``convicted``."""
    transactions: int = 0
    catch_ups: int = 0
    effects: dict[str, int] = msgspec.field(default_factory=dict)
    """What followed from faults and chance: messages to dead nodes, refused transactions."""


def run_seeds(
    setup: Setup, seeds: Sequence[int], jobs: int | None = None, play: Play = simulate
) -> Iterator[Outcome]:
    """One outcome per seed, in order, as they come.

    Args:
        setup: what to run.
        seeds: which seeds.
        jobs: processes; ``None`` for one per core.
        play: runs one; a function of a module, so that other processes find it.
    """
    workers = min(jobs or os.cpu_count() or 1, len(seeds))
    if workers <= 1:
        yield from map(partial(play, setup), seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(play, setup), seeds, chunksize=max(1, len(seeds) // 64))


class Tally:
    """Sums outcomes into a :class:`Report`.

    Args:
        setup: what was run.
        seeds: which seeds were meant to run.
        replay: the command that replays a seed, with ``{seed}`` where its number goes.
        jobs: processes that ran at once.
        names: of engine and path, where they are other than those of ``setup``.
        finality: what makes a block final.
    """

    def __init__(
        self, setup: Setup, seeds: Sequence[int], replay: str, jobs: int,
        names: tuple[str, str] | None = None, finality: str = "locked",
    ) -> None:  # fmt: skip
        self._started = time.perf_counter()
        self._replay = replay
        self._jobs = jobs
        self._commit_us: list[int] = []
        self._faults: Counter[str] = Counter()
        self._effects: Counter[str] = Counter()
        self._epochs: Counter[str] = Counter()
        self._triggers: Counter[str] = Counter()
        self._evidence: Counter[str] = Counter()
        self._lies: Counter[str] = Counter()
        self._decisions: Counter[str] = Counter()
        self._fallbacks: Counter[str] = Counter()
        self._healing: list[float] = []
        self._messages = 0
        self._bytes = 0
        self._decided = 0
        engine, path = names or (setup.engine, setup.path)
        span = [seeds[0], seeds[-1]]
        self.report = Report(engine=engine, path=path, finality=finality, n=setup.n, seeds=span)

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        report = self.report
        report.events += outcome.events
        report.heights += outcome.heights
        report.view_changes += outcome.view_changes
        report.transactions += outcome.transactions
        report.catch_ups += outcome.catch_ups
        self._decided += outcome.decided
        self._faults.update(outcome.faults)
        self._effects.update(outcome.effects)
        self._epochs.update(outcome.epochs)
        self._triggers.update(outcome.triggers)
        self._evidence.update(outcome.evidence)
        self._lies.update(outcome.lies)
        self._decisions.update(outcome.decisions)
        self._fallbacks.update(outcome.fallbacks)
        report.forks += outcome.forks
        report.observers += outcome.observers
        if outcome.healed_views is not None:
            self._healing.append(outcome.healed_views)
        self._commit_us += outcome.commit_us
        self._messages += outcome.messages
        self._bytes += outcome.bytes
        if outcome.violation is not None:
            report.violations.append(
                {
                    "seed": outcome.seed,
                    "what": outcome.violation,
                    "replay": self._replay.format(seed=outcome.seed),
                }
            )

    def close(self) -> Report:
        """The report."""
        report = self.report
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        report.events_per_s = round(report.events / elapsed / self._jobs)
        report.faults = dict(sorted(self._faults.items()))
        report.epochs = {what: count for what, count in sorted(self._epochs.items()) if count}
        report.effects = dict(sorted(self._effects.items()))
        report.view_triggers = dict(sorted(self._triggers.items()))
        report.evidence = dict(sorted(self._evidence.items()))
        report.lies = dict(sorted(self._lies.items()))
        report.decisions = dict(sorted(self._decisions.items()))
        report.fallbacks = dict(sorted(self._fallbacks.items()))
        report.fast_share = fast_share(self._decisions)
        report.healing_views = _spread(self._healing)
        report.commit_ms = summary_ms(self._commit_us)
        heights = max(1, self._decided)
        report.messages_per_height = round(self._messages / heights, 2)
        report.bytes_per_height = round(self._bytes / heights, 1)
        return report


def fast_share(decisions: Mapping[str, int]) -> float | None:
    """Decisions on F votes among those that a node took part in; ``None``: it took part in none."""
    fast = decisions.get("fast", 0) + decisions.get("fast_exit", 0)
    own = fast + decisions.get("slow", 0)
    return round(fast / own, 4) if own else None


def _spread(values: list[float]) -> dict[str, float | None]:
    """Median, 99th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None, "max": None}
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100], "max": ordered[last]}
