"""Transactions that other nodes pass on by the frame, taken in the order they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from vppd.net.link import Link
from vppd.node.intake import Intake

HEARD_BYTES = 512 * 1024
"""Of one link, waiting to be looked at; beyond that it is not read from until they have been."""


class Hearing:
    """What peers' links bring, one frame of a link at a time.

    Args:
        intake: takes them.
        blame: told of each signature that does not hold.
        spawn: runs something for a link, as the node keeps its tasks; ``False``: not now.
    """

    def __init__(
        self,
        intake: Intake,
        blame: Callable[[Link], None],
        spawn: Callable[[Link, Coroutine[Any, Any, None]], bool],
    ) -> None:
        self._intake = intake
        self._blame = blame
        self._spawn = spawn
        self._queues: dict[Link, deque[Sequence[bytes]]] = {}

    def take(self, link: Link, raws: Sequence[bytes]) -> None:
        """A frame; all but the first wait for those before theirs."""
        queue = self._queues.get(link)
        if queue is None:
            queue = deque()
            if not self._spawn(link, self._drain(link, queue)):
                return  # who passed them on says them again
            self._queues[link] = queue
        queue.append(raws)
        if _is_enough(queue):
            link.pause_reading()

    async def _drain(self, link: Link, queue: deque[Sequence[bytes]]) -> None:
        try:
            while queue and not link.closed:
                for _ in range(await self._intake.hear_many(queue.popleft())):
                    self._blame(link)
                if not _is_enough(queue):
                    link.resume_reading()
        finally:
            del self._queues[link]


def _is_enough(queue: deque[Sequence[bytes]]) -> bool:
    return sum(len(raw) for raws in queue for raw in raws) >= HEARD_BYTES
