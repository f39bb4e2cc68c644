"""The bytes that are signed (protocol.md, §3): fixed-width, with a domain and a one-byte tag.

``"VPPD1" ‖ tag ‖ chain_id(32) ‖ epoch(8) ‖ view(8) ‖ height(8) ‖ digest(32) [‖ tag-specific]``
"""

from __future__ import annotations

import struct

from vppd.crypto import DOMAIN
from vppd.types import Digest, Epoch, Height, View

TAG_PROPOSAL = b"P"
TAG_VOTE = b"1"
"""First-round vote: the same signature whichever envelope carries it."""
TAG_COMMIT = b"2"
TAG_REPLY = b"R"

_POSITION = struct.Struct(">QQQ32s")


def sign_bytes(
    tag: bytes, chain_id: Digest, epoch: Epoch, view: View, height: Height, digest: Digest
) -> bytes:
    """What a proposal, first-round vote or commit signs."""
    return DOMAIN + tag + chain_id + _POSITION.pack(epoch, view, height, digest)


def reply_bytes(
    chain_id: Digest,
    epoch: Epoch,
    height: Height,
    digest: Digest,
    state_root: Digest,
    receipts_root: Digest,
) -> bytes:
    """What a ``reply`` signs; its view is 0, so that fast and slow deciders match."""
    return sign_bytes(TAG_REPLY, chain_id, epoch, 0, height, digest) + state_root + receipts_root
