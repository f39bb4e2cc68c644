"""Messages of epochs that this node has not entered yet, but knows.

Others enter an epoch as soon as they have executed the block before it. What they say until this
node has done so too is kept, as far as each sender's share goes; what is beyond comes again
(protocol.md, §5 Resend).
"""

from __future__ import annotations

from collections import Counter

from vppd.consensus.boundary import Received
from vppd.types import Epoch, PeerNumber

EARLY_BYTES = 1024 * 1024
"""Of one sender: no other one's messages make room for its own."""


class Early:
    """What waits for an epoch to begin."""

    __slots__ = ("_held", "_queued")

    def __init__(self) -> None:
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

    def enter(self, epoch: Epoch) -> list[Received]:
        """The messages of an epoch that has begun; those of later ones wait on."""
        due = [received for at, _, received in self._held if at == epoch]
        self._held = [item for item in self._held if item[0] > epoch]
        self._queued.clear()
        for _, size, received in self._held:
            self._queued[received.sender] += size
        return due
