"""Frames of state sync: shapes only, since whoever has asked checks what they say (ADR 0014)."""

from __future__ import annotations

from collections.abc import Callable

from vppd.codec import Decoder, Malformed
from vppd.consensus.messages import (
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

_DECODE: dict[int, Callable[[bytes], SyncMessage]] = {
    Type.GET_SNAPSHOT: Decoder(GetSnapshot),
    Type.SNAPSHOT_OFFER: Decoder(SnapshotOffer),
    Type.GET_CHUNK: Decoder(GetChunk),
    Type.CHUNK: Decoder(Chunk),
    Type.GET_ERAS: Decoder(GetEras),
    Type.ERAS: Decoder(Eras),
    Type.ABSENT: Decoder(Absent),
}
REQUESTS = frozenset({Type.GET_SNAPSHOT, Type.GET_CHUNK, Type.GET_ERAS})
"""What a node answers; the other types are answers."""
SYNC_TYPES = frozenset(_DECODE)


def decode_sync(type_: int, payload: bytes) -> SyncMessage:
    """The message in a frame of one of :data:`SYNC_TYPES`.

    Raises:
        Malformed: another type, or not that message.
    """
    decode = _DECODE.get(type_)
    if decode is None:
        raise Malformed(f"frame type {type_} is none of state sync")
    return decode(payload)
