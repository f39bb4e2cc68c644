"""The bounded outgoing queue of one connection: a slow reader costs this much memory, not more."""

from __future__ import annotations

from collections import deque

from vppd.consensus.messages import Type
from vppd.errors import PeerFault

HARD_BYTES = 4 * 1024 * 1024
"""Beyond this the connection is cut."""
SOFT_BYTES = 1024 * 1024
"""Beyond this gossiped transactions are dropped; whoever waits for one sends it again."""
_TYPE_AT = 4


class SlowReader(PeerFault):
    """The other side does not read what it is sent."""


class Outgoing:
    """Frames that wait for the other side to read.

    Args:
        soft: bytes above which transaction frames go first.
        hard: bytes above which nothing helps.
    """

    __slots__ = ("_frames", "_gossip", "_hard", "_soft", "dropped", "size")

    def __init__(self, soft: int = SOFT_BYTES, hard: int = HARD_BYTES) -> None:
        self._frames: deque[bytes] = deque()
        self._gossip = 0
        self._soft = soft
        self._hard = hard
        self.size = 0
        """Bytes waiting."""
        self.dropped = 0
        """Transaction frames dropped so far."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    def put(self, frame: bytes) -> bool:
        """Queue a frame; returns whether it will be sent.

        Raises:
            SlowReader: the hard limit is exceeded even without gossip.
        """
        gossip = frame[_TYPE_AT] == Type.TX
        if self.size + len(frame) > self._soft:
            if gossip:
                self.dropped += 1
                return False
            if self._gossip:
                self._drop_gossip()
        if self.size + len(frame) > self._hard:
            raise SlowReader(f"does not read: more than {self._hard} bytes wait for it")
        self._frames.append(frame)
        self._gossip += gossip
        self.size += len(frame)
        return True

    def take(self, budget: int) -> list[bytes]:
        """Frames from the front, at least one if there is any, about ``budget`` bytes in all."""
        taken: list[bytes] = []
        while self._frames and budget > 0:
            frame = self._frames.popleft()
            taken.append(frame)
            budget -= len(frame)
            self.size -= len(frame)
            self._gossip -= frame[_TYPE_AT] == Type.TX
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._gossip = self.size = 0

    def _drop_gossip(self) -> None:
        self.dropped += self._gossip
        self._frames = deque(frame for frame in self._frames if frame[_TYPE_AT] != Type.TX)
        self._gossip = 0
        self.size = sum(map(len, self._frames))
