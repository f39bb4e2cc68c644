"""What block time will trigger: the next step of every slot, contract and day in the state.

The agenda is derived from the state and holds nothing of its own. A step is taken in the first
block whose time has reached its due time, before that block's transactions.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

from vppd.types import TimeMs


class Topic(IntEnum):
    """What a step is of; at one due time slots come first."""

    SLOT = 0
    """A slot enters its next phase."""
    CONTRACT = 1
    """A contract's trigger."""
    DAY = 2
    """A day is reviewed, or forgotten."""


class Due(NamedTuple):
    """A step to come; they sort as they are taken."""

    due_ms: TimeMs
    topic: int
    number: int
    """Of the slot or contract."""
    step: int
    """Which of its steps."""


class Agenda:
    """Steps to come, in the order (due time, topic, number, step)."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[Due] = []

    def note(self, due: Due) -> None:
        """It will be due."""
        heappush(self._due, due)

    def peek(self) -> Due | None:
        """The earliest step to come; ``None`` without any."""
        return self._due[0] if self._due else None

    def take(self, time_ms: TimeMs) -> Due | None:
        """The next step due at ``time_ms``; ``None``: there is none, or none left."""
        if self._due and self._due[0].due_ms <= time_ms:
            return heappop(self._due)
        return None
