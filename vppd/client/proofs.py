"""Checking a node's answer without trusting it: signatures, Merkle path, certificate or replies.

A light client needs genesis and this module: no store, no ledger.
"""

from __future__ import annotations

from typing import Any

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import Reply
from vppd.consensus.profile import decisive, founding_validators
from vppd.consensus.signing import reply_bytes
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import verify
from vppd.errors import UserError
from vppd.header import Header, decode_header
from vppd.ledger.receipts import Status, decode_receipt
from vppd.ledger.transaction import decode_transaction
from vppd.merkle import verify_path
from vppd.net.requests import TxProof, TxStage, TxState
from vppd.types import Digest, Height


class BadProof(UserError):
    """The node's answer does not hold."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "E354",
            f"the node's answer does not prove what it says: {why}",
            hint="ask another node; this one is broken or lying",
        )


def check_proof(tx_id: Digest, state: TxState, genesis: Genesis) -> dict[str, Any]:
    """Prove that a transaction was executed with the receipt shown.

    Returns:
        How it was proved; ``{"pending": …}`` if the proof is not complete yet.

    Raises:
        BadProof: something does not hold; says what.
    """
    if state.stage != TxStage.COMMITTED or state.proof is None:
        return {"pending": "not decided yet"}
    try:
        if decode_transaction(state.raw).id != tx_id:
            raise BadProof("it shows another transaction")
    except Malformed as err:
        raise BadProof(str(err)) from err
    proof = state.proof
    root, how = _proved_root(state, proof, genesis)
    if root is None:
        return {"pending": "the next block, or f+1 replies, will prove it"}
    header = _header(proof.header, state.height)
    count = header.tx_count
    if not verify_path(header.tx_root, state.raw, state.index, count, proof.tx_path):
        raise BadProof("the transaction is not in that block")
    if not verify_path(root, state.receipt, state.index + 1, count + 1, proof.receipt_path):
        raise BadProof("the receipt is not the transaction's")
    if decode_receipt(state.receipt).status == Status.REFUSED:
        return {"pending": "refused in that block, which is not final: its nonce is unused"}
    return {"proved_by": how, "block": header.digest().hex(), "receipts_root": root.hex()}


def _header(raw: bytes, height: Height) -> Header:
    try:
        header = decode_header(raw)
    except Malformed as err:
        raise BadProof(str(err)) from err
    if header.height != height:
        raise BadProof(f"it shows the header of height {header.height} for {height}")
    return header


def _proved_root(state: TxState, proof: TxProof, genesis: Genesis) -> tuple[Digest | None, str]:
    """The receipts root after ``state.height``, and what proves it; ``None``: nothing does yet."""
    validators = founding_validators(genesis)
    block = _header(proof.header, state.height).digest()
    certificate = proof.next_certificate
    if certificate is None:
        if not proof.replies:
            return None, ""
        return _agreed(block, proof.replies, genesis, validators), "f+1 replies"
    following = _header(proof.next_header, state.height + 1)
    if following.parent != block:
        raise BadProof("the next block does not follow the transaction's")
    if certificate.kind not in decisive(genesis) or (
        (certificate.height, certificate.digest) != (following.height, following.digest())
    ):
        raise BadProof("the certificate does not decide the next block")
    try:
        check_certificate(certificate, validators, genesis.digest, verify)
    except Malformed as err:
        raise BadProof(str(err)) from err
    return following.receipts_root, f"certificate of height {following.height}"


def _agreed(
    block: Digest, replies: tuple[Reply, ...], genesis: Genesis, validators: ValidatorSet
) -> Digest:
    signers = {reply.signer for reply in replies}
    if len(signers) != len(replies) or len(signers) <= validators.quorum.f:
        raise BadProof(f"{len(signers)} replies, {validators.quorum.f + 1} are needed")
    if len({(r.digest, r.state_root, r.receipts_root) for r in replies}) != 1:
        raise BadProof("the replies do not agree")
    if replies[0].digest != block:
        raise BadProof("the replies are about another block")
    for reply in replies:
        if reply.signer >= validators.quorum.n:
            raise BadProof(f"there is no replica {reply.signer}")
        signed = reply_bytes(
            genesis.digest, reply.epoch, reply.height, reply.digest, reply.state_root,
            reply.receipts_root,
        )  # fmt: skip
        if not verify(validators.members[reply.signer].key, signed, reply.sig):
            raise BadProof(f"replica {reply.signer} did not sign its reply")
    return replies[0].receipts_root
