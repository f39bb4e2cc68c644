"""The bounded outgoing queue of one connection: a slow reader costs this much memory, not more.

And many slow readers cost no more than :data:`SHARED_BYTES`, and a soft limit each.
"""

from __future__ import annotations

from collections import deque

from vppd.consensus.messages import Type
from vppd.errors import PeerFault

HARD_BYTES = 4 * 1024 * 1024
"""Beyond this the connection is cut."""
SOFT_BYTES = 1024 * 1024
"""Beyond this gossiped transactions are dropped; whoever waits for one sends it again."""
SHARED_BYTES = 64 * 1024 * 1024
"""Beyond this in all queues of a node together, the soft limit of each is its hard one."""
_TYPE_AT = 4
_GOSSIP = frozenset({Type.TX, Type.TXS})


class SlowReader(PeerFault):
    """The other side does not read what it is sent."""


class Shared:
    """What the queues of one node hold together.

    Args:
        cap: bytes.
    """

    __slots__ = ("cap", "size")

    def __init__(self, cap: int = SHARED_BYTES) -> None:
        self.cap = cap
        self.size = 0
        """Bytes waiting; a frame to many counts for each."""


class Outgoing:
    """Frames that wait for the other side to read.

    Args:
        soft: bytes above which transaction frames go first.
        hard: bytes above which nothing helps.
        shared: with the other queues of this node; ``None``: alone.
    """

    __slots__ = ("_frames", "_gossip", "_hard", "_shared", "_size", "_soft", "dropped")

    def __init__(
        self, soft: int = SOFT_BYTES, hard: int = HARD_BYTES, shared: Shared | None = None
    ) -> None:
        self._frames: deque[bytes] = deque()
        self._gossip = 0
        self._soft = soft
        self._hard = hard
        self._shared = shared or Shared()
        self._size = 0
        self.dropped = 0
        """Transaction frames dropped so far."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def size(self) -> int:
        """Bytes waiting."""
        return self._size

    def put(self, frame: bytes) -> bool:
        """Queue a frame; returns whether it will be sent.

        Raises:
            SlowReader: the hard limit is exceeded even without gossip.
        """
        gossip = frame[_TYPE_AT] in _GOSSIP
        if self._size + len(frame) > self._soft:
            if gossip:
                self.dropped += 1
                return False
            if self._gossip:
                self._drop_gossip()
        shared = self._shared
        limit = self._hard if shared.size + len(frame) <= shared.cap else self._soft
        # An empty queue takes any frame: an answer may be longer than the soft limit.
        if self._size and self._size + len(frame) > limit:
            raise SlowReader(f"does not read: more than {limit} bytes wait for it")
        self._frames.append(frame)
        self._gossip += gossip
        self._grow(len(frame))
        return True

    def take(self, budget: int) -> list[bytes]:
        """Frames from the front, at least one if there is any, about ``budget`` bytes in all."""
        taken: list[bytes] = []
        while self._frames and budget > 0:
            frame = self._frames.popleft()
            taken.append(frame)
            budget -= len(frame)
            self._grow(-len(frame))
            self._gossip -= frame[_TYPE_AT] in _GOSSIP
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._gossip = 0
        self._grow(-self._size)

    def _drop_gossip(self) -> None:
        self.dropped += self._gossip
        self._frames = deque(frame for frame in self._frames if frame[_TYPE_AT] not in _GOSSIP)
        self._gossip = 0
        self._grow(sum(map(len, self._frames)) - self._size)

    def _grow(self, more: int) -> None:
        self._size += more
        self._shared.size += more
