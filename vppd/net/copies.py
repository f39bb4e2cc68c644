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
from vppd.types import PeerNumber

QUIET_SECONDS = 2.5
"""So long without a word from the first process, and it is dead or cut off."""
ECHO_SECONDS = 0.25
"""What a process sent before it died may arrive so long after its successor's hello."""
CLAIM_SECONDS = 30.0
"""For so long counts what a validator has said of a second copy."""
INSIST_SECONDS = 3.0
"""So long a validator must go on refusing a process before that counts.

What a process has sent before it died can arrive seconds later, over a line that was cut: its
successor is refused for it once, and let in at the next attempt, since the old link has ended."""
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


class Claim(NamedTuple):
    """What a validator has said again and again, without a friendly word in between."""

    first: float
    last: float

    def holds(self, now: float) -> bool:
        """Whether it is not too long ago."""
        return now - self.last < CLAIM_SECONDS

    @property
    def is_insisted(self) -> bool:
        """Whether it was said long enough to be no mistake."""
        return self.last - self.first >= INSIST_SECONDS


class Claims:
    """Which validators say that another process has our key.

    Args:
        needed: so many must insist; one more than may lie.
    """

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._voters: frozenset[PeerNumber] | None = None
        self._said: dict[PeerNumber, Claim] = {}

    def expect(self, needed: int, voters: frozenset[PeerNumber]) -> None:
        """From now on it takes so many of these: who has no vote may lie in any number."""
        self._needed, self._voters = needed, voters

    def note(self, validator: PeerNumber, now: float) -> bool:
        """One says so now; whether enough of them insist."""
        before = self._said.get(validator)
        first = before.first if before is not None and before.holds(now) else now
        self._said[validator] = Claim(first, now)
        return len(self.insisting(now)) >= self._needed

    def withdraw(self, validator: PeerNumber) -> None:
        """It talks to us after all."""
        self._said.pop(validator, None)

    def holds(self, validator: PeerNumber, now: float) -> bool:
        """Whether this one has said so lately, and not talked to us since."""
        claim = self._said.get(validator)
        return claim is not None and claim.holds(now)

    def insisting(self, now: float) -> list[PeerNumber]:
        """Those that go on saying so, ascending."""
        return sorted(
            i
            for i, claim in self._said.items()
            if claim.holds(now)
            and claim.is_insisted
            and (self._voters is None or i in self._voters)
        )


def is_another_process(older: Link | None, link: Link) -> bool:
    """Whether the link there is belongs to another process with the same key."""
    if older is None or older.peer is None or link.peer is None:
        return False
    return older.peer.instance != link.peer.instance


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
