"""Two live processes with one validator's key: how their peers notice, and how the later one stops.

A gateway's memory card is copied, or a home folder is started twice. Each copy would sign what the
other has not seen. A peer that already has a live link to a validator lets a second process with
its key wait: if the first one speaks again, the second is refused with the code ``LIVE_SESSION``,
else it takes the place (docs/adr/0010). Every node sends its status once a second, so a live one is
heard in time.
"""

from __future__ import annotations

from typing import NamedTuple

from vppd.errors import Exit, UserError
from vppd.net.link import Link
from vppd.types import ReplicaIndex

QUIET_SECONDS = 2.5
"""So long without a word from the first process, and it is dead or cut off."""
ECHO_SECONDS = 0.25
"""What a process sent before it died may arrive so long after its successor's hello."""
CLAIM_SECONDS = 30.0
"""For so long counts what a validator has said of a second copy."""
LIVE_SESSION = "a live session under your key: another copy of this node is connected here"


class Newcomer(NamedTuple):
    """A proven link that waits; it is not read from meanwhile."""

    link: Link
    since: float
    """Seconds on the event loop's clock."""
    held: list[tuple[int, bytes]]
    """Frames that came in one piece with its proof."""

    def is_contradicted(self, now: float) -> bool:
        """Whether a frame of the older link at ``now`` proves that its process lives."""
        return now - self.since >= ECHO_SECONDS


class Claims:
    """Which validators say that another process has our key.

    Args:
        needed: so many must say so; one more than may lie.
    """

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._said: dict[ReplicaIndex, float] = {}

    def note(self, validator: ReplicaIndex, now: float) -> bool:
        """One says so now; whether that makes enough."""
        self._said[validator] = now
        current = [at for at in self._said.values() if now - at < CLAIM_SECONDS]
        return len(current) >= self._needed

    def withdraw(self, validator: ReplicaIndex) -> None:
        """It talks to us after all."""
        self._said.pop(validator, None)

    def holds(self, validator: ReplicaIndex, now: float) -> bool:
        """Whether this one has said so lately, and not talked to us since."""
        at = self._said.get(validator)
        return at is not None and now - at < CLAIM_SECONDS

    def of(self, now: float) -> list[ReplicaIndex]:
        """Those that have, ascending."""
        return sorted(index for index in self._said if self.holds(index, now))


def second_copy(key: str, said_by: list[str]) -> UserError:
    """This process must not go on: the plant talks to another one with its key."""
    return UserError(
        "E310",
        "another copy of this node is running",
        facts={"key": key, "said by": ", ".join(said_by)},
        hint="one key runs on one machine only: stop the other copy first, wherever it is;\n"
        "if nobody knows of one, the key was copied: replace it",
        exit_code=Exit.BAD_CONFIG,
    )
