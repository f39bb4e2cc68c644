"""Where long answers queue: asking for blocks gets a share of this node's time, not all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

REST = 3.0
"""Times as long as the reading took: at most a quarter of the time goes into reading blocks."""


class Lane:
    """Does one thing at a time, in order of arrival, and rests after each.

    The rest grows with how long a thing took on the clock, so that a node with much else to do
    serves less. Consensus never waits here (architecture.md, §4).
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._rests_until = 0.0

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns, once it has had its turn."""
        now = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rests_until - now()))
            begun = now()
            try:
                return await work()
            finally:
                self._rests_until = now() + REST * (now() - begun)
