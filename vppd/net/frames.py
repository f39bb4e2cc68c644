"""Frames: ``u32 big-endian length | u8 type | payload``; the length counts type and payload.

Every type has a cap, and five bytes are enough to refuse a frame: nothing is buffered or allocated
for one that is too long, of an unknown type, or empty (reliability.md, Part 3, "Oversized frame").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vppd.consensus.messages import CAP
from vppd.errors import PeerFault

HELLO = 32
PROOF = 33
REFUSE = 34
REQUEST = 48
RESPONSE = 49
PUSH = 50

OLDEST_WIRE = 2
NEWEST_WIRE = 3
"""Versions of the protocol that this release speaks; 3 is 2 with the frames of state sync."""
_SINCE_3 = range(18, 32)
"""Types that version 2 does not know."""

HEADER_BYTES = 5
_HEADER = struct.Struct(">IB")
_KIB = 1024
_REFUSE_CAP = 320

OPENING_CAPS: Mapping[int, int] = {HELLO: 512, PROOF: 128, REFUSE: _REFUSE_CAP}
"""Before the other side has proven who it is."""
PEER_CAPS: Mapping[int, int] = {
    **{int(kind): cap for kind, cap in CAP.items()},
    REFUSE: _REFUSE_CAP,
}
"""Between nodes, afterwards."""
REQUEST_CAPS: Mapping[int, int] = {REQUEST: 64 * _KIB, REFUSE: _REFUSE_CAP}
"""What a node takes from a client."""
ANSWER_CAPS: Mapping[int, int] = {
    RESPONSE: 1088 * _KIB,
    PUSH: 1088 * _KIB,
    REFUSE: _REFUSE_CAP,
}
"""What a client takes from a node: a block of 1 MiB and what belongs to it."""


def wire_of(type_: int) -> int:
    """The version of the protocol that a frame type came with; a link of an older one has none."""
    return NEWEST_WIRE if type_ in _SINCE_3 else OLDEST_WIRE


def peer_caps(wire: int) -> Mapping[int, int]:
    """:data:`PEER_CAPS` without the types that version ``wire`` does not know."""
    return {type_: cap for type_, cap in PEER_CAPS.items() if wire_of(type_) <= wire}


class Frame(NamedTuple):
    """One frame, taken apart."""

    type: int
    payload: bytes


class FrameError(PeerFault):
    """An announced frame that will not be read.

    Args:
        size: announced length in bytes, type byte included.
        type_: announced type; ``None`` when the length already leaves no room for one.
        cap: largest payload of that type in bytes; ``None``: the type is not spoken here.
    """

    def __init__(self, size: int, type_: int | None, cap: int | None) -> None:
        if type_ is None:
            what = "a frame of length 0 has no type"
        elif cap is None:
            what = f"frame type {type_} ({size} bytes) is not spoken here"
        else:
            what = f"frame type {type_} announces {size} bytes, its cap is {cap + 1}"
        super().__init__(what)
        self.size = size
        self.type = type_
        self.cap = cap


def encode_frame(type_: int, payload: bytes) -> bytes:
    """The bytes of one frame; whether they fit the cap is the caller's business."""
    return _HEADER.pack(len(payload) + 1, type_) + payload


def announced(header: bytes | bytearray, caps: Mapping[int, int]) -> tuple[int, int]:
    """Payload bytes to come, and their type, as :data:`HEADER_BYTES` bytes announce them.

    Raises:
        FrameError: the type's cap does not allow it.
    """
    size, type_ = _HEADER.unpack(header)
    if size == 0:
        raise FrameError(size, None, None)
    cap = caps.get(type_)
    if cap is None or size - 1 > cap:
        raise FrameError(size, type_, cap)
    return size - 1, type_


class FrameParser:
    """Cuts a byte stream into frames, however it arrives in pieces.

    Memory is what has been received of one frame, never what it announces; each byte is copied
    at most twice, whatever the pieces.

    Args:
        caps: largest payload in bytes per type; may be exchanged between two frames.
    """

    __slots__ = ("_missing", "_part", "_type", "caps")

    def __init__(self, caps: Mapping[int, int]) -> None:
        self.caps = caps
        self._part = bytearray()
        """Part of a header while ``_missing`` is ``None``, else of a payload."""
        self._missing: int | None = None
        self._type = 0

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._missing is not None or bool(self._part)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Complete frames, in order; consume the iterator before feeding more.

        Raises:
            FrameError: at the first frame that is refused; what came before it has been yielded.
                The stream has no meaning from there on.
        """
        at, end = 0, len(data)
        while at < end:
            if self._missing is None:
                taken = min(HEADER_BYTES - len(self._part), end - at)
                self._part += data[at : at + taken]
                at += taken
                if len(self._part) < HEADER_BYTES:
                    return
                self._missing, self._type = announced(self._part, self.caps)
                self._part.clear()
            if not self._part and end - at >= self._missing:
                payload = data[at : at + self._missing]
                at += self._missing
            else:
                piece = data[at : at + self._missing]
                self._part += piece
                self._missing -= len(piece)
                at += len(piece)
                if self._missing:
                    return
                payload = bytes(self._part)
                self._part = bytearray()
            self._missing = None
            yield Frame(self._type, payload)
