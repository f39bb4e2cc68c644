"""Messages of epochs that this node has not entered yet.

Others enter an epoch as soon as they have executed the block before it. What they say until this
node has done so too is kept, as far as each sender's share goes; what is beyond comes again
(protocol.md, §5 Resend).

Of epochs that this node does not even know, only the first few votes of each sender are kept, as
they came: nobody can check them yet. A node that is back from an older disk is shown by its peers
what it has signed, once, when they connect (ADR 0011); that must not be lost because it was shown
too early.
"""

from __future__ import annotations

from collections import Counter

from vppd.consensus.boundary import Received
from vppd.consensus.messages import Commit, Prepare, ViewChange
from vppd.net.gate import PeerMessage
from vppd.types import Epoch, PeerNumber

WORDS = 6
"""Of an epoch unknown here, of one sender: two epochs' votes, commits and view changes (§4)."""
EARLY_BYTES = 1024 * 1024
"""Of one sender: no other one's messages make room for its own."""


class Early:
    """What waits for an epoch to begin."""

    __slots__ = ("_held", "_queued", "_words")

    def __init__(self) -> None:
        self._words: dict[PeerNumber, list[Prepare | Commit | ViewChange]] = {}
        """Not checked."""
        self._held: list[tuple[Epoch, int, Received]] = []
        self._queued: Counter[PeerNumber | None] = Counter()

    def has_room(self, sender: PeerNumber | None) -> bool:
        """Whether anything more of that sender may be worth its signatures."""
        return self._queued[sender] < EARLY_BYTES

    def keep(self, epoch: Epoch, received: Received, size: int) -> None:
        """Keep a message, unless its sender has used up its share.

        Args:
            epoch: of the message.
            received: it, its sender by peer number.
            size: what it counts, in bytes.
        """
        if self._queued[received.sender] + size <= EARLY_BYTES:
            self._queued[received.sender] += size
            self._held.append((epoch, size, received))

    def remember(self, sender: PeerNumber | None, message: PeerMessage) -> None:
        """Keep a vote of an epoch that is not known here, unless its sender has used up its share.

        Args:
            sender: who handed it over; of observers nothing is kept.
            message: as it came.
        """
        if sender is not None and isinstance(message, Prepare | Commit | ViewChange):
            words = self._words.setdefault(sender, [])
            if len(words) < WORDS:
                words.append(message)

    def learnt(self, epoch: Epoch) -> list[tuple[PeerNumber, Prepare | Commit | ViewChange]]:
        """Epochs up to this one are known now: what was kept of them, to be checked."""
        due = [(s, w) for s, words in self._words.items() for w in words if _epoch(w) <= epoch]
        later = {s: [w for w in words if _epoch(w) > epoch] for s, words in self._words.items()}
        self._words = {sender: words for sender, words in later.items() if words}
        return due

    def enter(self, epoch: Epoch) -> list[Received]:
        """The messages of an epoch that has begun; those of later ones wait on."""
        due = [received for at, _, received in self._held if at == epoch]
        self._held = [item for item in self._held if item[0] > epoch]
        self._queued.clear()
        for _, size, received in self._held:
            self._queued[received.sender] += size
        return due


def _epoch(word: Prepare | Commit | ViewChange) -> Epoch:
    return word.standing.epoch if isinstance(word, ViewChange) else word.epoch
