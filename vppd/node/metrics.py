"""What a node counts: read by ``status``, ``/metrics`` and the bench."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vppd.node.machine import Committed
from vppd.types import Height

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


class Metrics:
    """One node's counters, in a registry of their own."""

    def __init__(self) -> None:
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
        self._seen: dict[Height, int] = {}
        self._sent: dict[Height, int] = {}
        self.timings: deque[Timing] = deque(maxlen=RECENT)
        """The latest heights."""

    @contextmanager
    def persist(self) -> Iterator[None]:
        """Time one durable write."""
        with self._persist.time():
            yield

    def proposal(self, height: Height, *, own: bool) -> None:
        """A proposal for ``height`` left this node (``own``) or reached it."""
        now_ns = time.monotonic_ns()
        self._seen.setdefault(height, now_ns)
        if own:
            self._sent.setdefault(height, now_ns)

    def committed(self, block: Committed) -> None:
        """A block is decided, durably, and executed."""
        height = block.decision.height
        now_ns = time.monotonic_ns()
        self._height.set(height)
        self._blocks.inc()
        self._txs.inc(len(block.decision.txs))
        seen_ns = self._seen.pop(height, None)
        if seen_ns is not None:
            self._commit.observe((now_ns - seen_ns) / 1e9)
        self.timings.append(Timing(height, self._sent.pop(height, None), now_ns))
        for marks in (self._seen, self._sent):
            for stale in [h for h in marks if h < height]:
                del marks[stale]
