"""Removing old transactions and receipts beside the writer (protocol.md, §10, GC)."""

from __future__ import annotations

import asyncio
import time

import structlog

from vppd.store.chain import ChainStore
from vppd.store.prune import prunable
from vppd.types import Height

LOOK_S = 5.0
"""Between two looks at how much there is to remove."""
PIECE = 64
"""Heights removed in one transaction, at most."""
PIECE_S = 0.02
"""About so long a piece may take: promises wait for the writer meanwhile."""
REST_S = 0.02
"""Between two pieces, for promises to go first."""

log = structlog.get_logger("vppd.node")


class Retention:
    """Keeps so many blocks whole.

    Args:
        store: open.
        keep: blocks; 0: all.
        checkpoint_blocks: of genesis.
    """

    def __init__(self, store: ChainStore, keep: int, checkpoint_blocks: int) -> None:
        self._keep = keep
        self._checkpoint_blocks = checkpoint_blocks
        self._store = store
        self.first_block: Height = 1
        """The lowest height whose transactions are here."""

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            LocalFault: the disk failed.
        """
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Remove what there is to remove now, in small pieces.

        Raises:
            LocalFault: the disk failed.
        """
        self.first_block = await self._store.first_block()
        if not self._keep:
            return
        executed = await self._store.executed()
        through = prunable(executed, self._checkpoint_blocks, self._keep)
        first = self.first_block
        piece = 1
        while self.first_block <= through:
            begun = time.monotonic()
            await self._store.prune(min(self.first_block + piece - 1, through))
            taken = time.monotonic() - begun
            piece = min(PIECE, 2 * piece) if 2 * taken < PIECE_S else max(1, piece // 2)
            self.first_block = await self._store.first_block()
            await asyncio.sleep(REST_S)
        if self.first_block > first:
            log.info("pruned", first=first, last=self.first_block - 1)
