"""``vppd db prune``: old transactions and receipts go, and their bytes with them.

Headers and certificates stay, so that the chain can still be followed from genesis to its head and
joiners cross every epoch. What is gone cannot be executed again here; others may still have it.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from vppd.config.genesis import Genesis
from vppd.errors import UserError
from vppd.store.chain import ChainStore
from vppd.store.connection import BUSY_S, uri
from vppd.store.lock import StoreLock
from vppd.store.schema import opening
from vppd.types import Height

Progress = Callable[[Height, Height], None]
"""Called with each height reached and the last one."""

PIECE = 1_024
"""Heights in one transaction, with no node beside."""


def prunable(executed: Height, checkpoint_blocks: int, keep: int) -> Height:
    """Up to which height may be removed: never beyond the last checkpoint, never the last block."""
    checkpoint = executed // checkpoint_blocks * checkpoint_blocks
    return max(0, min(checkpoint, executed - max(keep, 1)))


class Pruned(NamedTuple):
    """What was done."""

    first: Height
    """The lowest height whose transactions were here before."""
    kept_from: Height
    """The lowest height whose transactions are here now."""
    decided: Height
    bytes_before: int
    bytes_after: int


def prune_store(
    path: Path, genesis: Genesis, keep: int, progress: Progress = lambda *_: None
) -> Pruned:
    """Keep the last ``keep`` blocks whole, at least those since the last checkpoint.

    May be interrupted at any instant and called again. Needs as much free room as the store will
    take, for the database is written anew.

    Args:
        path: the database file of a node that does not run.
        genesis: of its chain.
        keep: blocks, at least 1.
        progress: of removing.

    Raises:
        UserError: E250–E256, E261 as opening the store; E263, no room to write it anew.
        LocalFault: the disk failed.
    """
    before = _size(path)
    first, kept_from, decided = asyncio.run(_remove(path, genesis, keep, progress))
    if kept_from > 1:
        _vacuum(path)
    return Pruned(first, kept_from, decided, before, _size(path))


async def _remove(
    path: Path, genesis: Genesis, keep: int, progress: Progress
) -> tuple[Height, Height, Height]:
    async with await ChainStore.open(path, genesis.digest) as store:
        executed = await store.executed()
        first = at = await store.first_block()
        through = prunable(executed, genesis.consensus.checkpoint_blocks, keep)
        while at <= through:
            await store.prune(min(at + PIECE - 1, through))
            at = await store.first_block()
            progress(at - 1, through)
        return first, at, await store.decided()


def _vacuum(path: Path) -> None:
    """Give the free pages back to the disk."""
    path = path.resolve()
    lock = StoreLock(path)
    try:
        with (
            opening(path),
            closing(
                sqlite3.connect(uri(path, "rw"), uri=True, isolation_level=None, timeout=BUSY_S)
            ) as connection,
        ):
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            # It is written into the log first, and from there over the old file.
            _require_room(path, 2 * (pages - unused) * page_bytes)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        lock.release()


def _require_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise UserError(
            "E263",
            "the blocks are removed, but there is no room to write the store anew",
            facts={"store": str(path), "needed": f"{needed} bytes", "free": f"{free} bytes"},
            hint="the node uses the room inside the file for new blocks; to give it back to the\n"
            "disk, make room and call vppd db prune again",
        )


def _size(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
