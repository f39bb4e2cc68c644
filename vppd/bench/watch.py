"""What is asked of the nodes while they are under load, and what that comes to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, NamedTuple

from vppd.bench.plant import Plant
from vppd.client.client import Disconnected, RequestFailed
from vppd.errors import UserError
from vppd.types import Height

POLL_S = 0.5
PATIENCE_S = 5.0
QUIET = {"tx", "txs", "status", "ping"}
"""Frames between nodes that decide nothing: left out of messages per height."""


class Mark(NamedTuple):
    """Where every node stood at one moment; ``None`` for one that did not answer."""

    at_s: float
    status: tuple[dict[str, Any] | None, ...]
    usage: tuple[dict[str, Any] | None, ...]


class Clock(NamedTuple):
    """Both clocks at one moment, ns."""

    monotonic_ns: int
    wall_ns: int

    @classmethod
    def read(cls) -> Clock:
        """Now; of a few tries the one between whose readings least time went by."""
        tries = []
        for _ in range(5):
            before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            tries.append((after - before, cls((before + after) // 2, wall)))
        return min(tries)[1]


class Watch:
    """Keeps asking every node for what it has decided, and how.

    Args:
        plant: whose nodes.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.heights: list[dict[Height, dict[str, Any]]] = [{} for _ in plant.seats]
        """Per node, phase times by height."""
        self.proposed_ns: dict[Height, int] = {}
        self.decided_ns: dict[Height, list[int]] = {}
        """At how many nodes a height was durable, and when."""
        self.proposer: dict[Height, int] = {}
        self.clocks: list[Clock] = []
        self._seen = [0] * len(plant.seats)

    def begin(self, mark: Mark) -> None:
        """What was decided before ``mark`` is of no interest."""
        self._seen = [0 if status is None else status["height"] for status in mark.status]

    async def keep(self) -> None:
        """Poll until cancelled."""
        while True:
            self.clocks.append(Clock.read())
            await self.poll()
            await asyncio.sleep(POLL_S)

    async def poll(self) -> None:
        """Every node once; one that does not answer is passed over."""
        await asyncio.gather(*(self._poll(index) for index in range(len(self._plant.seats))))

    async def _poll(self, index: int) -> None:
        first = str(self._seen[index] + 1)
        try:
            async with asyncio.timeout(PATIENCE_S), self._plant.connect(index) as client:
                heights = await client.view("heights", first)
                timings = await client.view("timings", first)
        except (UserError, RequestFailed, Disconnected, TimeoutError):
            return
        for row in heights:
            self.heights[index][row["height"]] = row
            self._seen[index] = max(self._seen[index], row["height"])
        for height, proposed_ns, decided_ns in timings:
            if height > self._seen[index]:  # decided between the two questions: both again
                continue
            self.decided_ns.setdefault(height, []).append(decided_ns)
            if proposed_ns is not None:
                self.proposed_ns[height] = proposed_ns
                self.proposer[height] = index

    async def mark(self, start_ns: int) -> Mark:
        """Status and usage of every node, now."""
        at_s = (time.monotonic_ns() - start_ns) / 1e9
        rows = await asyncio.gather(*(self._look(i) for i in range(len(self._plant.seats))))
        return Mark(at_s, tuple(row[0] for row in rows), tuple(row[1] for row in rows))

    async def _look(self, index: int) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        try:
            async with asyncio.timeout(PATIENCE_S), self._plant.connect(index) as client:
                return await client.view("status"), await client.view("usage")
        except (UserError, RequestFailed, Disconnected, TimeoutError):
            return None, None

    def commit_us(self, quorum: int, first_ns: int, end_ns: int) -> list[int]:
        """Proposal sent → decision durable at ``quorum`` nodes, of heights proposed in between.

        One machine's nodes share its monotonic clock; of nodes elsewhere, the proposing node's own
        time to its decision stands in.
        """
        found = []
        for height, sent_ns in sorted(self.proposed_ns.items()):
            if not first_ns <= sent_ns < end_ns:
                continue
            if self._plant.one_machine:
                decided = sorted(self.decided_ns[height])
                if len(decided) >= quorum:
                    found.append((decided[quorum - 1] - sent_ns) // 1_000)
            else:
                row = self.heights[self.proposer[height]].get(height)
                if row is not None and row["decided_us"] is not None:
                    found.append(row["decided_us"])
        return found


class Spent(NamedTuple):
    """What the daemons used and did between two marks."""

    seconds: float
    cpu_s: list[float | None]
    """Per node; ``None`` for one that was not there at both marks, or has begun anew."""
    heights: int
    messages: int
    """Frames between nodes, but for gossip, status and ping."""
    decisions: Counter[str]
    """Of all nodes, by way."""
    fallbacks: Counter[str]
    rss_bytes: int | None
    """The largest of a daemon, at the later mark."""


def between(first: Mark, last: Mark) -> Spent:
    """The difference."""
    cpu: list[float | None] = []
    decisions: Counter[str] = Counter()
    fallbacks: Counter[str] = Counter()
    messages, heights = 0, 0
    for before, after, was, stands in zip(
        first.usage, last.usage, first.status, last.status, strict=True
    ):
        if after is None or stands is None:
            cpu.append(None)
            continue
        same = before is not None and was is not None and before["cpu_us"] <= after["cpu_us"]
        cpu.append((after["cpu_us"] - before["cpu_us"]) / 1e6 if same and before else None)
        heights = max(heights, stands["height"] - (was["height"] if was else 0))
        messages += _frames(after) - (_frames(before) if same and before else 0)
        old = was if same and was else {"decisions": {}, "fallbacks": {}}
        decisions += Counter(stands["decisions"]) - Counter(old["decisions"])
        fallbacks += Counter(stands["fallbacks"]) - Counter(old["fallbacks"])
    resident = [row["rss_bytes"] for row in last.usage if row and row["rss_bytes"]]
    return Spent(
        last.at_s - first.at_s, cpu, heights, messages, decisions, fallbacks,
        max(resident, default=None),
    )  # fmt: skip


def _frames(usage: dict[str, Any]) -> int:
    return sum(count for name, (count, _) in usage["out"].items() if name not in QUIET)
