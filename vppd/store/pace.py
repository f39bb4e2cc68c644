"""Where a small promise is written: on the store's thread, or by the one that waits for it anyway.

A node that has promised something can do nothing else before the disk has it. Where the disk takes
a fifth of a millisecond, handing the write to a thread and being woken again takes longer than the
write, four times for each block; where it takes ten, the event loop must not stand still for it.
So writes go by the thread until a run of them was quick, and again as soon as one was not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewRecord,
    VoteRecord,
)
from vppd.store.places import SPANS
from vppd.store.rows import ExecutionRow

T = TypeVar("T")
_SMALL = (ViewRecord, VoteRecord, ProposalRecord, PreparedRecord, DecisionRecord)

QUICK_S = 0.005
"""A write of at most so long may keep the event loop."""
STREAK = 8
"""So many in a row, and the next one is taken to be quick, too."""
SMALL_ITEMS = 256
"""With more transactions and changes of the state a write takes long on any disk."""
SMALL_BYTES = 64 * 1024


class Pace:
    """How long the last writes took."""

    __slots__ = ("_clock", "_streak")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streak = 0

    @property
    def is_quick(self) -> bool:
        """Whether the next write may be done by whoever waits for it."""
        return self._streak >= STREAK

    def timed(self, work: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
        """The same work, noted how long it takes."""

        def measured(connection: sqlite3.Connection) -> T:
            begun = self._clock()
            try:
                return work(connection)
            finally:
                self._streak = self._streak + 1 if self._clock() - begun <= QUICK_S else 0

        return measured


def is_small(records: Sequence[Record], rows: Sequence[ExecutionRow]) -> bool:
    """Whether a write of these is a few pages."""
    if any(row.height % SPANS[0] == 0 for row in rows):
        return False  # the index joins its runs
    items = sum(len(row.tx_ids) + len(row.changes) for row in rows)
    size = sum(len(receipt) for row in rows for receipt in row.receipts)
    for record in records:
        if isinstance(record, BodyRecord):
            items += len(record.txs)
            size += sum(map(len, record.txs))
        elif not isinstance(record, _SMALL):
            return False
    return items <= SMALL_ITEMS and size <= SMALL_BYTES
