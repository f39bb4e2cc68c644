"""Raw samples: four times per transaction, microseconds since the load began, in one flat file."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NEVER = 2**32 - 1
"""It did not happen."""
COLUMNS = 4


class Samples:
    """The transactions of one run, of one client or of several.

    Of each, microseconds since the load began, or :data:`NEVER`: when it was *due* (of a closed
    loop, when it was sent), when the connection had taken the whole of it, when the node said that
    it is accepted, and when the node pushed a block with its id.

    Args:
        flat: unsigned 32-bit numbers, :data:`COLUMNS` for each transaction.
    """

    def __init__(self, flat: array[int] | None = None) -> None:
        self._flat = array("I") if flat is None else flat

    def __len__(self) -> int:
        return len(self._flat) // COLUMNS

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """Due, taken, accepted, committed; there may be millions."""
        return zip(*(self._flat[which::COLUMNS] for which in range(COLUMNS)), strict=True)

    def extend(self, other: Samples) -> None:
        """Add what another client has."""
        self._flat.extend(other._flat)

    def write(self, path: Path) -> None:
        """Into a file, in this machine's byte order."""
        with path.open("wb") as file:
            self._flat.tofile(file)

    @classmethod
    def read(cls, path: Path) -> Samples:
        """What :meth:`write` has written."""
        flat = array("I")
        flat.frombytes(path.read_bytes())
        return cls(flat)


class Window(NamedTuple):
    """What the transactions of the measured time came to."""

    due: int
    """That were to be sent in it."""
    committed: int
    """Of those, sooner or later."""
    commits: int
    """Commits within it, whenever they were to be sent: goodput counts these."""
    dropped: int
    """Of those due: the connection never took them."""
    timeouts: int
    """Of those due: taken, and not committed by the end of the grace."""
    latencies_us: array[int]
    """From due to committed, of those due in it; as they were due."""
    accepted_us: array[int]
    """From due to accepted."""


def look(samples: Samples, first_us: int, end_us: int) -> Window:
    """Sum up what was due, and what was committed, from ``first_us`` until ``end_us``."""
    due = committed = commits = dropped = timeouts = 0
    latencies, acknowledgements = array("I"), array("I")
    for due_us, sent_us, accepted_us, committed_us in samples.rows():
        if first_us <= committed_us < end_us:
            commits += 1
        if not first_us <= due_us < end_us:
            continue
        due += 1
        if accepted_us != NEVER:
            acknowledgements.append(accepted_us - due_us)
        if committed_us != NEVER:
            committed += 1
            latencies.append(committed_us - due_us)
        elif sent_us == NEVER:
            dropped += 1
        else:
            timeouts += 1
    return Window(due, committed, commits, dropped, timeouts, latencies, acknowledgements)
