"""What an older version of the protocol has for a frame that only the newest one knows."""

from __future__ import annotations

from vppd.codec import Decoder, encode
from vppd.consensus.messages import Tx, Txs, Type
from vppd.net.frames import HEADER_BYTES, encode_frame, wire_of

_TYPE_AT = 4
_decode_txs = Decoder(Txs)


def in_version(wire: int, frame: bytes) -> tuple[bytes, ...]:
    """The frames of version ``wire`` that say what this one says.

    Transactions that travel together go one by one, so that a leader which has not been upgraded
    has them as soon as any other. What an older version has no word for is left unsaid.
    """
    type_ = frame[_TYPE_AT]
    if wire_of(type_) <= wire:
        return (frame,)
    if type_ == Type.TXS:
        raws = _decode_txs(frame[HEADER_BYTES:]).raws
        return tuple(encode_frame(Type.TX, encode(Tx(raw))) for raw in raws)
    return ()
