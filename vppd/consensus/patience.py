"""How long a transaction bears a leader that passes it over (protocol.md, §5, Censorship)."""

from __future__ import annotations

from collections import deque

from vppd.consensus.chain import Settings
from vppd.header import Header

PASSED_OVER_MS = 10_000
"""After this, and so many blocks that had room, the leader is taken for a censor."""
BLOCKS_WITH_ROOM = 3
FOREVER_MS = 60_000
"""After this in any case."""


class Patience:
    """Remembers what the leader of this view could have decided while something waited.

    Args:
        settings: what a full block is.
    """

    __slots__ = ("_roomy", "_settings", "_since_ms")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since_ms = 0
        self._roomy: deque[int] = deque(maxlen=BLOCKS_WITH_ROOM)
        """When the last blocks with room were decided."""

    def restart(self, now_ms: int) -> None:
        """Another leader: a new count."""
        self._since_ms = now_ms
        self._roomy.clear()

    def saw(self, header: Header, now_ms: int) -> None:
        """A block was decided: would the largest transaction have fitted as well?"""
        settings = self._settings
        left = settings.max_block_bytes - header.body_bytes
        if header.tx_count < settings.max_block_txs and left >= settings.max_tx_bytes:
            self._roomy.append(now_ms)

    def exhausted(self, waiting_since_ms: int | None, now_ms: int) -> bool:
        """Whether what waits has waited for too long under this leader."""
        if waiting_since_ms is None:
            return False
        since_ms = max(waiting_since_ms, self._since_ms)
        passed_over = len(self._roomy) == BLOCKS_WITH_ROOM and self._roomy[0] >= since_ms
        waited_ms = now_ms - since_ms
        return waited_ms >= FOREVER_MS or (passed_over and waited_ms >= PASSED_OVER_MS)
