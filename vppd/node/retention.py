"""Removing old transactions and receipts beside the writer (protocol.md, §10, GC)."""

from __future__ import annotations

import asyncio

import structlog

from vppd.config.home import Home
from vppd.config.node import RETENTION
from vppd.store.chain import ChainStore
from vppd.store.prune import prunable
from vppd.types import Height

LOOK_S = 5.0
"""Between two looks at how much there is to remove."""
PIECE = 64
"""Heights removed in one transaction: promises wait no longer for the writer than that takes."""
REST_S = 0.02
"""Between two pieces, for promises to go first."""

log = structlog.get_logger("vppd.node")


class Retention:
    """Keeps as many blocks whole as this node's files say; 0: all.

    Args:
        home: its files.
        store: open.
    """

    def __init__(self, home: Home, store: ChainStore) -> None:
        said = home.node.retention_blocks
        self._keep = RETENTION[home.role] if said is None else said
        self._checkpoint_blocks = home.genesis.consensus.checkpoint_blocks
        self._store = store
        self.first_block: Height = 1
        """The lowest height whose transactions are here."""

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            LocalFault: the disk failed.
        """
        while True:
            self.first_block = await self._store.first_block()
            if self._keep:
                await self._remove()
            await asyncio.sleep(LOOK_S)

    async def _remove(self) -> None:
        executed = await self._store.executed()
        through = prunable(executed, self._checkpoint_blocks, self._keep)
        first = self.first_block
        while self.first_block <= through:
            await self._store.prune(min(self.first_block + PIECE - 1, through))
            self.first_block = await self._store.first_block()
            await asyncio.sleep(REST_S)
        if self.first_block > first:
            log.info("pruned", first=first, last=self.first_block - 1)
