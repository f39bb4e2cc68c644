"""Whose clock is wrong, as far as this node can tell.

A ``ping`` with the sender's Unix time goes with every ``status``. It can only arrive late, so of
the last few the one that puts the sender's clock furthest ahead is the closest to the truth. The
plant's time is the median of all clocks known here, this node's own included, once so many are
known that f of them cannot move it beyond the honest ones. Nothing is decided by it: block time is
bounded by each voter's own clock (protocol.md, §5); this is for people.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from vppd.consensus.boundary import Now
from vppd.types import ReplicaIndex

K = TypeVar("K", bound=Hashable)

SAMPLES = 8
"""Pings of each validator that are kept: one comes each second."""
ENOUGH = 3
"""Of them, before anything is said: the first may have waited while a process started."""

Whose: TypeAlias = ReplicaIndex | None
"""A validator, or ``None`` for this node."""


class News(NamedTuple):
    """A clock has gone wrong, or is right again."""

    whose: Whose
    offset_ms: int
    """It minus the plant's."""
    wrong: bool


def against_plant(clocks: Mapping[K, int]) -> dict[K, int]:
    """Each clock minus the median of all, in milliseconds.

    Of an even number of clocks the median is half way between the middle two: of two that differ,
    both are off, since nobody knows which one is wrong.

    Args:
        clocks: each one's reading at one instant, against whatever reference; at least one.
    """
    median = round(statistics.median(clocks.values()))
    return {whose: reading - median for whose, reading in clocks.items()}


class Clocks:
    """What the validators' clocks show.

    Args:
        n: validators in all.
        f: how many of them may lie.
        tolerance_ms: how far a clock may be off: as far as a block may lie ahead.
    """

    def __init__(self, n: int, f: int, tolerance_ms: int) -> None:
        self.expect(n, f, tolerance_ms)
        self._heard: dict[ReplicaIndex, deque[int]] = {}
        """Against the monotonic clock: when this node's own is set, theirs stay what they were."""
        self._wrong: set[Whose] = set()

    def expect(self, n: int, f: int, tolerance_ms: int) -> None:
        """From now on this holds; see the class."""
        self.tolerance_ms = tolerance_ms
        self._needed = max(2, 2 * f + 1, n // 2 + 1)

    def heard(self, peer: ReplicaIndex, theirs_ms: int, now: Now) -> list[News]:
        """A validator has said its time; what has changed by it, for the log.

        Args:
            peer: which one.
            theirs_ms: Unix time it sent, and what the way here took, as far as that is known.
            now: both clocks, when that arrived.
        """
        readings = self._heard.setdefault(peer, deque(maxlen=SAMPLES))
        readings.append(theirs_ms - now.monotonic_ms)
        return [
            news
            for whose, offset_ms in self.offsets(now).items()
            for news in self._judge(whose, offset_ms)
        ]

    def forget(self, peer: ReplicaIndex) -> None:
        """A validator is gone."""
        self._heard.pop(peer, None)
        self._wrong.discard(peer)

    def offsets(self, now: Now) -> dict[Whose, int]:
        """Each known clock minus the plant's, in milliseconds; empty while too few are known."""
        known: dict[Whose, int] = {
            peer: max(readings) for peer, readings in self._heard.items() if len(readings) >= ENOUGH
        }
        known[None] = now.unix_ms - now.monotonic_ms
        return against_plant(known) if len(known) >= self._needed else {}

    def _judge(self, whose: Whose, offset_ms: int) -> list[News]:
        """Wrong beyond the tolerance, right within half of it; what lies between is no news."""
        if whose not in self._wrong and abs(offset_ms) > self.tolerance_ms:
            self._wrong.add(whose)
            return [News(whose, offset_ms, wrong=True)]
        if whose in self._wrong and abs(offset_ms) <= self.tolerance_ms // 2:
            self._wrong.remove(whose)
            return [News(whose, offset_ms, wrong=False)]
        return []
