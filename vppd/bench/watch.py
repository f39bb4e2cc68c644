"""What is asked of the nodes while they are under load, and what that comes to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, NamedTuple

from vppd.bench.plant import Plant
from vppd.client.client import Disconnected, RequestFailed
from vppd.errors import UserError
from vppd.net.frames import HELLO, PROOF, REFUSE
from vppd.types import Height

POLL_S = 0.5
PATIENCE_S = 5.0
QUIET = {"tx", "txs", "status", "ping"}
"""Frames between nodes that decide nothing: left out of messages per height."""


HANDSHAKE = {str(HELLO): "hello", str(PROOF): "proof", str(REFUSE): "refuse"}
"""Frames before the first message, which a node knows by their number alone."""


class Mark(NamedTuple):
    """Where every node stood at one moment; ``None`` for one that did not answer."""

    at_s: float
    status: tuple[dict[str, Any] | None, ...]
    usage: tuple[dict[str, Any] | None, ...]
    said_s: tuple[float, ...] = ()
    """When each node has said so."""


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
        self._ahead_ns = list(plant.ahead_ns)
        """Each node's monotonic clock against this machine's."""
        self._guessed = [False] * len(plant.seats)
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
                timings = await client.view("timings", first)
                heights = await client.view("heights", first)
        except (UserError, RequestFailed, Disconnected, TimeoutError):
            return
        self._learn_clock(index, timings)
        self._learn(index, timings, heights)

    def _learn(
        self, index: int, timings: list[tuple[int, int | None, int]], heights: list[dict[str, Any]]
    ) -> None:
        """Two answers of a node, one after the other."""
        # What was decided between the two questions is in one answer only: both again, next time.
        rows = {row["height"]: row for row in heights}
        both = max((height for height, *_ in timings if height in rows), default=0)
        self._seen[index] = max(self._seen[index], both)
        self.heights[index] |= {height: row for height, row in rows.items() if height <= both}
        for height, proposed_ns, decided_ns in timings:
            if height > both:
                continue
            self.decided_ns.setdefault(height, []).append(decided_ns)
            if proposed_ns is not None:
                self.proposed_ns[height] = proposed_ns
                self.proposer[height] = index

    def _learn_clock(self, index: int, timings: list[tuple[int, int | None, int]]) -> None:
        """Of a clock that nobody has measured: what was decided was so before it was heard of."""
        newest_ns = max((decided_ns for _, _, decided_ns in timings), default=None)
        if self._plant.clocks_known or newest_ns is None:
            return
        least = newest_ns - time.monotonic_ns()
        if not self._guessed[index] or least > self._ahead_ns[index]:
            self._guessed[index], self._ahead_ns[index] = True, least

    def proposed_at(self, height: Height) -> int:
        """When a proposal was sent, by this machine's monotonic clock, ns."""
        return self.proposed_ns[height] - self._ahead_ns[self.proposer[height]]

    async def mark(self, start_ns: int) -> Mark:
        """Status and usage of every node, now."""
        at_s = (time.monotonic_ns() - start_ns) / 1e9
        rows = await asyncio.gather(*(self._look(i) for i in range(len(self._plant.seats))))
        said_s = tuple((row[2] - start_ns) / 1e9 for row in rows)
        return Mark(at_s, tuple(row[0] for row in rows), tuple(row[1] for row in rows), said_s)

    async def _look(self, index: int) -> tuple[dict[str, Any] | None, dict[str, Any] | None, int]:
        try:
            async with asyncio.timeout(PATIENCE_S), self._plant.connect(index) as client:
                status, usage = await client.view("status"), await client.view("usage")
                return status, usage, time.monotonic_ns()
        except (UserError, RequestFailed, Disconnected, TimeoutError):
            return None, None, time.monotonic_ns()

    def commit_us(self, quorum: int, first_ns: int, end_ns: int) -> list[int]:
        """Proposal sent → decision durable at ``quorum`` nodes, of heights proposed in between.

        The nodes of one machine share its monotonic clock; of nodes on several, the proposing
        node's own time to its decision stands in.
        """
        found = []
        for height, sent_ns in sorted(self.proposed_ns.items()):
            if not first_ns <= self.proposed_at(height) < end_ns:
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


class Used(NamedTuple):
    """What one daemon did since an earlier look, or since it began anew after that."""

    same: bool
    """It is the process that was looked at before."""
    frames_out: dict[str, int]
    bytes_out: dict[str, int]
    frames_in: dict[str, int]
    bytes_in: dict[str, int]
    dropped: int
    persists: int
    persist_s: float


def since(before: dict[str, Any] | None, usage: dict[str, Any]) -> Used:
    """The difference of two usages of a node; a plant that runs has done much before."""
    same = before is not None and before["cpu_us"] <= usage["cpu_us"]
    nothing = {"out": {}, "in": {}, "dropped": 0, "persists": 0, "persist_us": 0}
    old: dict[str, Any] = before if same and before is not None else nothing

    def each(way: str, which: int) -> dict[str, int]:
        rows = {
            name: values[which] - old[way].get(name, (0, 0))[which]
            for name, values in usage[way].items()
        }
        return {HANDSHAKE.get(name, name): count for name, count in rows.items() if count}

    return Used(
        same, each("out", 0), each("out", 1), each("in", 0), each("in", 1),
        usage["dropped"] - old["dropped"], usage["persists"] - old["persists"],
        (usage["persist_us"] - old["persist_us"]) / 1e6,
    )  # fmt: skip


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
    # A busy node answers late, at one mark later than at the other: its CPU is of that time.
    apart = last.at_s - first.at_s
    own = [apart / (end - begin) for begin, end in zip(first.said_s, last.said_s, strict=True)]
    for before, after, was, stands, share in zip(
        first.usage, last.usage, first.status, last.status, own or [1.0] * len(first.usage),
        strict=True,
    ):  # fmt: skip
        if after is None or stands is None:
            cpu.append(None)
            continue
        same = before is not None and was is not None and before["cpu_us"] <= after["cpu_us"]
        used_us = after["cpu_us"] - before["cpu_us"] if same and before else None
        cpu.append(None if used_us is None else used_us * share / 1e6)
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
