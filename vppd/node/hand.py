"""This node's signatures: fills in what the core left open, once the promise is durable."""

from __future__ import annotations

import msgspec

from vppd.consensus.boundary import ZERO_SIGNATURE
from vppd.consensus.messages import (
    Block,
    Collected,
    Commit,
    ConsensusMessage,
    NewView,
    Prepare,
    PrePrepared,
    Reply,
    Standing,
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
from vppd.crypto import Signer
from vppd.ledger.proofs import ready_bytes
from vppd.types import Digest, Epoch, Height, PublicKey, Signature, View


class Hand:
    """Signs for one node of one chain.

    Args:
        signer: the node's key.
        chain_id: in every signature.
    """

    def __init__(self, signer: Signer, chain_id: Digest) -> None:
        self._signer = signer
        self._chain_id = chain_id

    @property
    def key(self) -> PublicKey:
        """The node's."""
        return self._signer.public_key

    def ready(self, epoch: Epoch, height: Height, root: Digest, nonce: Digest) -> Signature:
        """Under what asks for admission."""
        return self._signer.sign(ready_bytes(self._chain_id, epoch, height, root, nonce))

    def proposal(self, epoch: Epoch, view: View, height: Height, digest: Digest) -> Signature:
        """Under a block this node has proposed; the promise is on disk."""
        return self._signer.sign(self._bytes(TAG_PROPOSAL, epoch, view, height, digest))

    def sign(self, message: ConsensusMessage) -> ConsensusMessage:
        """Fill in this node's signatures; what needs none passes, or has another's."""
        sign = self._signer.sign
        match message:
            case Prepare(sig=sig) | Commit(sig=sig) | NewView(sig=sig) if sig != ZERO_SIGNATURE:
                return message
            case ViewChange(Standing(sig=sig)) if sig != ZERO_SIGNATURE:
                return message
            case Block(epoch, view, height, digest, path, header, txs):
                proposal = sign(self._bytes(TAG_PROPOSAL, epoch, view, height, digest))
                vote = sign(self._bytes(TAG_VOTE, epoch, view, height, digest))
                return Block(epoch, view, height, digest, path, header, txs, proposal, vote)
            case Prepare(epoch, view, height, digest, signer):
                sig = sign(self._bytes(TAG_VOTE, epoch, view, height, digest))
                return Prepare(epoch, view, height, digest, signer, sig)
            case Collected(epoch, view, height, digest, signer):
                sig = sign(self._bytes(TAG_VOTE, epoch, view, height, digest))
                return Collected(epoch, view, height, digest, signer, sig)
            case PrePrepared(epoch, view, height, digest, _, prepared):
                sig = sign(self._bytes(TAG_PROPOSAL, epoch, view, height, digest))
                return PrePrepared(epoch, view, height, digest, sig, prepared)
            case Commit(epoch, view, height, digest, signer):
                sig = sign(self._bytes(TAG_COMMIT, epoch, view, height, digest))
                return Commit(epoch, view, height, digest, signer, sig)
            case Reply(epoch, height, digest, state_root, receipts_root, signer):
                chain_id = self._chain_id
                sig = sign(reply_bytes(chain_id, epoch, height, digest, state_root, receipts_root))
                return Reply(epoch, height, digest, state_root, receipts_root, signer, sig)
            case ViewChange(standing, decision, prepared):
                return ViewChange(self._sign_standing(standing), decision, prepared)
            case NewView():
                sig = sign(new_view_bytes(self._chain_id, message))
                return msgspec.structs.replace(message, sig=sig)
            case _:
                return message

    def _sign_standing(self, standing: Standing) -> Standing:
        sig = self._signer.sign(standing_bytes(self._chain_id, standing))
        return msgspec.structs.replace(standing, sig=sig)

    def _bytes(self, tag: bytes, epoch: int, view: int, height: int, digest: Digest) -> bytes:
        return sign_bytes(tag, self._chain_id, epoch, view, height, digest)
