"""The block header: 258 fixed bytes whose SHA-256 is the block's digest ``d`` (protocol.md, §3).

Fixed width means there is exactly one encoding: two headers with the same digest are the same
header. The view is not in it, so a block proposed again in a later view keeps its digest.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.crypto import sha256
from vppd.types import Digest, Epoch, Height, PublicKey, TimeMs

VERSION = 1
_LAYOUT = struct.Struct(">H32sQQ32sQ32s32s32s32s32sII")
HEADER_BYTES = _LAYOUT.size


class Header(NamedTuple):
    """What a vote agrees on.

    The roots are those *after the parent* (height − 1): blocks are executed after they are decided.
    """

    version: int
    chain_id: Digest
    """SHA-256 of the genesis file."""
    epoch: Epoch
    height: Height
    parent: Digest
    """Digest of the block at height − 1; ``chain_id`` for height 1."""
    time_ms: TimeMs
    """Unix milliseconds, strictly greater than the parent's."""
    proposer: PublicKey
    tx_root: Digest
    """RFC 6962 root over the transactions' received bytes."""
    state_root: Digest
    receipts_root: Digest
    next_validators: Digest
    """Hash of the validator set in force at height + 1."""
    tx_count: int
    body_bytes: int
    """Sum of the transactions' lengths."""

    def encode(self) -> bytes:
        """The one encoding, ``HEADER_BYTES`` long."""
        return _LAYOUT.pack(*self)

    def digest(self) -> Digest:
        """``d``: SHA-256 of the encoding."""
        return sha256(_LAYOUT.pack(*self))


def decode_header(data: bytes) -> Header:
    """Inverse of :meth:`Header.encode`.

    Raises:
        Malformed: wrong length or unknown version.
    """
    if len(data) != HEADER_BYTES:
        raise Malformed(f"a header has {HEADER_BYTES} bytes, this one {len(data)}")
    header = Header(*_LAYOUT.unpack(data))
    if header.version != VERSION:
        raise Malformed(f"header version {header.version}, this build knows {VERSION}")
    return header
