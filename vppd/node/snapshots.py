"""What a joiner gets from this node: certified states in chunks, and the way through the epochs.

A state after height S is certified by the header of S + 1, which carries its root and is decided
by a certificate (docs/adr/0014). The ledger keeps the states of its last two checkpoints; one is
offered as soon as the block after it is decided.
"""

from __future__ import annotations

from typing import TypeAlias

from vppd.consensus.messages import (
    CAP,
    Absent,
    Chunk,
    Eras,
    GetChunk,
    GetEras,
    GetSnapshot,
    SnapshotOffer,
    SyncMessage,
    Type,
)
from vppd.ledger.execution import Ledger
from vppd.ledger.snapshot import Snapshot
from vppd.node.lane import Lane
from vppd.store.chain import ChainStore
from vppd.types import Height

LINKS_BYTES = CAP[Type.ERAS] - 1024
Answer: TypeAlias = SnapshotOffer | Chunk | Eras | Absent


class Snapshots:
    """Answers joiners.

    Args:
        ledger: keeps the states.
        store: headers, certificates and eras.
    """

    def __init__(self, ledger: Ledger, store: ChainStore) -> None:
        self._ledger = ledger
        self._store = store
        self._lane = Lane()

    async def answer(self, asked: SyncMessage) -> Answer | None:
        """What to send back; ``None``: it was no request."""
        return await self._lane.run(lambda: self._answer(asked))

    async def below(self, first: Height) -> Absent | None:
        """For who asks for blocks: those from ``first`` on are not here any more, or never were."""
        return await self._absent() if first < await self._store.first_block() else None

    async def _answer(self, asked: SyncMessage) -> Answer | None:
        match asked:
            case GetSnapshot(height):
                return await self._offer(height)
            case GetChunk(height, bucket):
                snapshot = await self._kept(height)
                if snapshot is None or snapshot.height != height:
                    return await self._absent()
                return Chunk(height, bucket, snapshot.chunk(bucket))
            case GetEras(epoch):
                return Eras(await self._store.era_links(epoch, LINKS_BYTES))
            case _:
                return None

    async def _kept(self, height: Height) -> Snapshot | None:
        """The state after ``height``, or else the latest one that is certified."""
        decided = await self._store.decided()
        certified = [s for s in self._ledger.snapshots if s.height < decided]
        if not certified:
            return None
        wanted = [s for s in certified if s.height == height]
        return (wanted or certified)[-1]

    async def _offer(self, height: Height) -> SnapshotOffer | Absent:
        snapshot = await self._kept(height)
        if snapshot is None:
            return await self._absent()
        block = await self._store.certified(snapshot.height)
        following = await self._store.certified(snapshot.height + 1)
        if block is None or following is None:
            return await self._absent()
        return SnapshotOffer(*block, *following, snapshot.manifest)

    async def _absent(self) -> Absent:
        latest = await self._kept(0)
        height = 0 if latest is None else latest.height
        return Absent(await self._store.first_block(), height)
