"""The bytes that are signed (protocol.md, §3): fixed-width, with a domain and a one-byte tag.

``"VPPD1" ‖ tag ‖ chain_id(32) ‖ epoch(8) ‖ view(8) ‖ height(8) ‖ digest(32) [‖ tag-specific]``
"""

from __future__ import annotations

import struct

from vppd.consensus.messages import Claim, NewView, Standing
from vppd.crypto import DOMAIN, sha256
from vppd.types import U64_NONE, ZERO_DIGEST, Digest, Epoch, Height, View

TAG_PROPOSAL = b"P"
TAG_VOTE = b"1"
"""First-round vote: the same signature whichever envelope carries it."""
TAG_COMMIT = b"2"
TAG_REPLY = b"R"
TAG_VIEW_CHANGE = b"V"
TAG_NEW_VIEW = b"N"

_POSITION = struct.Struct(">QQQ32s")
_CLAIM = struct.Struct(">Q32s")
_INDEX = struct.Struct(">I")


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


def standing_bytes(chain_id: Digest, standing: Standing) -> bytes:
    """What a view change signs: (v′, L, dL), then the vote claim and the prepared claim."""
    at = (standing.epoch, standing.view, standing.decided, standing.head)
    claims = _claim_bytes(standing.vote) + _claim_bytes(standing.prepared)
    return sign_bytes(TAG_VIEW_CHANGE, chain_id, *at) + claims


def _claim_bytes(claim: Claim | None) -> bytes:
    return _CLAIM.pack(U64_NONE, ZERO_DIGEST) if claim is None else _CLAIM.pack(*_pair(claim))


def _pair(claim: Claim) -> tuple[View, Digest]:
    return claim.view, claim.digest


def new_view_bytes(chain_id: Digest, message: NewView) -> bytes:
    """What a new view signs: (v′, H0, choice), then the digest of its view changes.

    That digest is SHA-256 over ``signer(4) ‖ signed bytes ‖ signature`` of each, in order.
    """
    shown = b"".join(
        _INDEX.pack(s.signer) + standing_bytes(chain_id, s) + s.sig for s in message.standings
    )
    at = (message.epoch, message.view, message.height, message.choice or ZERO_DIGEST)
    return sign_bytes(TAG_NEW_VIEW, chain_id, *at) + sha256(shown)
