"""Saying something else under one's own key: what liars and mutations have in common."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from vppd.codec import encode
from vppd.consensus.boundary import ALL
from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import (
    TYPE_OF,
    Block,
    Certificate,
    Collected,
    Commit,
    ConsensusMessage,
    NewView,
    Prepare,
    PrePrepared,
    Reply,
    ViewChange,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    new_view_bytes,
    reply_bytes,
    sign_bytes,
    standing_bytes,
)
from vppd.header import Header
from vppd.merkle import EMPTY_ROOT
from vppd.net.gate import PeerMessage
from vppd.node.beats import Frame
from vppd.simulate.plant import node_key
from vppd.types import Digest, ReplicaIndex, Signature

M = TypeVar("M", bound=ConsensusMessage)


def resign(message: M, index: ReplicaIndex, chain_id: Digest) -> M:
    """The message with every signature its sender can make, made by replica ``index``.

    Certificates and other replicas' view changes stay as they are: nobody can re-sign those.
    """
    sign = node_key(index).sign
    replace = msgspec.structs.replace

    def position(tag: bytes, at: Block | Prepare | Collected | PrePrepared | Commit) -> Signature:
        return sign(sign_bytes(tag, chain_id, at.epoch, at.view, at.height, at.digest))

    match message:
        case Block():
            signed = {
                "proposal_sig": position(TAG_PROPOSAL, message),
                "vote_sig": position(TAG_VOTE, message),
            }
            return replace(message, **signed)
        case Prepare() | Collected():
            return replace(message, sig=position(TAG_VOTE, message))
        case PrePrepared():
            return replace(message, proposal_sig=position(TAG_PROPOSAL, message))
        case Commit():
            return replace(message, sig=position(TAG_COMMIT, message))
        case Reply(epoch, height, digest, state_root, receipts_root):
            said = reply_bytes(chain_id, epoch, height, digest, state_root, receipts_root)
            return replace(message, sig=sign(said))
        case ViewChange(standing):
            sig = sign(standing_bytes(chain_id, standing))
            return replace(message, standing=replace(standing, sig=sig))
        case NewView():
            return replace(message, sig=sign(new_view_bytes(chain_id, message)))
        case _:
            return message


def another_block(block: Block, header: Header, *, empty: bool) -> Block:
    """A valid block that is not ``block``: later, or without its transactions; unsigned."""
    txs = () if empty else block.txs
    if empty:
        header = header._replace(tx_root=EMPTY_ROOT, tx_count=0, body_bytes=0)
    header = header._replace(time_ms=header.time_ms + 1)
    return with_header(msgspec.structs.replace(block, txs=txs), header)


def with_header(block: Block, header: Header) -> Block:
    """The block under another header, unsigned."""
    return msgspec.structs.replace(
        block,
        epoch=header.epoch, height=header.height, digest=header.digest(), header=header.encode(),
    )  # fmt: skip


def shortened(certificate: Certificate) -> Certificate:
    """The certificate without its last signer."""
    last = signers_of(certificate)[-1]
    bitmap = bytearray(certificate.signers)
    bitmap[last // 8] &= ~(1 << last % 8)
    return msgspec.structs.replace(
        certificate, signers=bytes(bitmap), signatures=certificate.signatures[:-1]
    )


def framed(message: PeerMessage, to: tuple[ReplicaIndex, ...] | None = None) -> Frame:
    """A frame to some, or to all."""
    return Frame(ALL if to is None else to, TYPE_OF[type(message)], encode(message))
