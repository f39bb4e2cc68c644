"""What a node counts: read by ``status``, ``/metrics`` and the bench; docs/clients.md lists it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vppd.consensus.boundary import EngineStatus
from vppd.consensus.messages import Type
from vppd.consensus.terms import Terms
from vppd.net.gate import PeerMessage
from vppd.node.beats import Committed
from vppd.node.phases import Phases
from vppd.types import Height, ReplicaIndex

RECENT = 4_096
"""Heights whose commit latency is kept for ``status`` and the day's summary."""
_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5)


class Timing(NamedTuple):
    """When things happened at this node, on the machine's monotonic clock (ns).

    Nodes on one machine share that clock, so that ``vppd dev`` and the bench can compute
    ``commit_ms`` across nodes: proposal sent → decision known at q replicas (protocol.md, §9).
    """

    height: Height
    proposed_ns: int | None
    """When this node sent its proposal; ``None`` if it was not the proposer."""
    decided_ns: int


PHASES = ("votes", "all_votes", "decided", "executed")
COSTS = ("collect_fast", "collect_slow", "broadcast")


class Metrics:
    """One node's counters, in a registry of their own.

    Args:
        terms: how many votes it takes in each epoch.
    """

    def __init__(self, terms: Terms) -> None:
        self.registry = CollectorRegistry()
        self._height = Gauge("vppd_height", "Last decided height", registry=self.registry)
        self._blocks = Counter("vppd_blocks", "Blocks decided", registry=self.registry)
        self._txs = Counter("vppd_transactions", "Transactions decided", registry=self.registry)
        self._persist = Histogram(
            "vppd_persist_seconds",
            "One synced transaction of the store",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._commit = Histogram(
            "vppd_commit_seconds",
            "Proposal seen or sent to decision durable, at this node",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._phase = Histogram(
            "vppd_phase_seconds",
            "Proposal seen or sent to q votes, F votes, decision durable, executed, at this node",
            ["phase"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._view = Gauge("vppd_view", "View of the epoch", registry=self.registry)
        self._collects = Gauge(
            "vppd_path_collect",
            "1: the last height's votes went to the leader; 0: to everybody",
            registry=self.registry,
        )
        self._success = Gauge(
            "vppd_fast_success_ratio",
            "Leader's estimate of how often F votes come in time",
            registry=self.registry,
        )
        self._cost = Gauge(
            "vppd_path_cost_seconds",
            "Leader's average from proposal to decision, by path; 0: not seen",
            ["path"],
            registry=self.registry,
        )
        self._decisions = Counter(
            "vppd_decisions",
            "Heights decided, by the way they were",
            ["way"],
            registry=self.registry,
        )
        self._fallbacks = Counter(
            "vppd_fallbacks",
            "Heights that went the slow way, by cause",
            ["cause"],
            registry=self.registry,
        )
        self._changes = Counter(
            "vppd_view_changes",
            "Views asked for, by trigger",
            ["trigger"],
            registry=self.registry,
        )
        self._counted: dict[tuple[Counter, str], int] = {}
        self.persists = 0
        """Synced transactions of the store."""
        self.persist_ns = 0
        """That they took in all."""
        self._persist_ns_before = 0
        """The same, as the last block was executed."""
        self._phases = Phases(terms)
        self.heights = self._phases.done
        """Phase times of the last heights."""
        self._seen: dict[Height, int] = {}
        self._sent: dict[Height, int] = {}
        self.timings: deque[Timing] = deque(maxlen=RECENT)
        """The latest heights."""

    @contextmanager
    def persist(self) -> Iterator[None]:
        """Time one durable write."""
        before_ns = time.monotonic_ns()
        yield
        spent_ns = time.monotonic_ns() - before_ns
        self._persist.observe(spent_ns / 1e9)
        self.persists += 1
        self.persist_ns += spent_ns

    def proposal(self, height: Height, *, own: bool) -> None:
        """A proposal for ``height`` left this node (``own``) or reached it."""
        now_ns = time.monotonic_ns()
        self._phases.proposed(height, now_ns)
        self._seen.setdefault(height, now_ns)
        if own:
            self._sent.setdefault(height, now_ns)

    def heard(self, message: PeerMessage, leader: ReplicaIndex) -> None:
        """A message whose signatures hold; ``leader`` of its view and height, if it is a block."""
        self._phases.heard(message, leader, time.monotonic_ns())

    def sent(self, type_: Type, payload: bytes, own: ReplicaIndex) -> None:
        """A frame of this validator's leaves."""
        self._phases.sent(type_, payload, own, time.monotonic_ns())

    def decided(self, height: Height) -> None:
        """A decision is durable."""
        self._phases.decided(height, time.monotonic_ns())

    def stands(self, status: EngineStatus) -> None:
        """Where the engine stands now."""
        self._view.set(status.view)
        self._collects.set(status.path == "collect")
        self._success.set(status.success_ppm / 1e6)
        for path, cost_ms in zip(COSTS, status.costs_ms, strict=True):
            self._cost.labels(path).set(cost_ms / 1e3)
        for counter, counts in (
            (self._decisions, status.decisions),
            (self._fallbacks, status.fallbacks),
            (self._changes, status.view_triggers),
        ):
            for name, count in counts:
                before = self._counted.get((counter, name), 0)
                counter.labels(name).inc(count - before)
                if counter is self._fallbacks and count > before:
                    self._phases.fell_back(name)
                self._counted[counter, name] = count

    def committed(self, block: Committed) -> None:
        """A block is decided, durably, and executed."""
        height = block.decision.height
        now_ns = time.monotonic_ns()
        self._height.set(height)
        spent_us = (self.persist_ns - self._persist_ns_before) // 1_000
        self._persist_ns_before = self.persist_ns
        times = self._phases.executed(block.decision, now_ns, spent_us)
        reached = (times.votes_us, times.all_votes_us, times.decided_us, times.executed_us)
        for phase, mark_us in zip(PHASES, reached, strict=True):
            if mark_us is not None:
                self._phase.labels(phase).observe(mark_us / 1e6)
        self._blocks.inc()
        self._txs.inc(len(block.decision.txs))
        seen_ns = self._seen.pop(height, None)
        if seen_ns is not None:
            self._commit.observe((now_ns - seen_ns) / 1e9)
        self.timings.append(Timing(height, self._sent.pop(height, None), now_ns))
        for marks in (self._seen, self._sent):
            for stale in [h for h in marks if h < height]:
                del marks[stale]
