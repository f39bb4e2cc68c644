"""Checking a node's answer without trusting it: signatures, Merkle path, certificate or replies.

A light client needs genesis and this module: no store, no ledger. Where members have changed, it
crosses the epochs as a joiner does, each by the votes of the one before.
"""

from __future__ import annotations

from typing import Any

from vppd.client.epochs import AskLinks, BadProof, Crossing
from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.messages import Reply
from vppd.consensus.signing import reply_bytes
from vppd.consensus.terms import Term
from vppd.crypto import verify
from vppd.header import Header, decode_header
from vppd.ledger.codes import Status
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import decode_transaction
from vppd.merkle import verify_path
from vppd.net.requests import TxProof, TxStage, TxState
from vppd.store.epochs import Epochs
from vppd.types import Digest, Epoch, Height


class Prover:
    """Checks what one node answers, from genesis on.

    Args:
        genesis: the chain.
        links: asks that node how to get from epoch to epoch; :meth:`.client.Client.links`.
    """

    def __init__(self, genesis: Genesis, links: AskLinks) -> None:
        self._genesis = genesis
        self._crossing = Crossing(genesis, links)

    async def check(self, tx_id: Digest, state: TxState) -> dict[str, Any]:
        """See :func:`check_proof`; asks for the way into the epochs it takes.

        Raises:
            BadProof: as there, or that way is missing or not vouched for.
            ConfigError: E107, E125, an engine that is not installed here, or unusable.
        """
        epochs = await self._crossing.reach(_last_epoch(state))
        return check_proof(tx_id, state, self._genesis, epochs)


def check_proof(
    tx_id: Digest, state: TxState, genesis: Genesis, epochs: Epochs | None = None
) -> dict[str, Any]:
    """Prove that a transaction was executed with the receipt shown.

    Args:
        tx_id: of the transaction.
        state: what the node answered.
        genesis: the chain.
        epochs: those up to the one that the headers in ``state`` name; ``None``: the founding one.

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
    root, how = _proved_root(state, proof, genesis, epochs or Epochs(genesis))
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


def _last_epoch(state: TxState) -> Epoch:
    """The last epoch that the headers of a proof name; they prove nothing yet."""
    if state.proof is None:
        return 0
    headers = [_header(state.proof.header, state.height)]
    if state.proof.next_certificate is not None:
        headers.append(_header(state.proof.next_header, state.height + 1))
    return max(header.epoch for header in headers)


def _proved_root(
    state: TxState, proof: TxProof, genesis: Genesis, epochs: Epochs
) -> tuple[Digest | None, str]:
    """The receipts root after ``state.height``, and what proves it; ``None``: nothing does yet."""
    block = _header(proof.header, state.height)
    certificate = proof.next_certificate
    if certificate is None:
        if not proof.replies:
            return None, ""
        term = epochs.at(block.height)
        return _agreed(block, proof.replies, genesis, term), "f+1 replies"
    following = _header(proof.next_header, state.height + 1)
    if following.parent != block.digest():
        raise BadProof("the next block does not follow the transaction's")
    try:
        epochs.check_decided(proof.next_header, certificate, verify)
    except Malformed as err:
        raise BadProof(f"the next block is not decided: {err}") from err
    return following.receipts_root, f"certificate of height {following.height}"


def _agreed(block: Header, replies: tuple[Reply, ...], genesis: Genesis, term: Term) -> Digest:
    validators = term.validators
    if block.epoch != term.epoch or any(reply.epoch != term.epoch for reply in replies):
        raise BadProof(f"height {block.height} is in epoch {term.epoch}")
    signers = {reply.signer for reply in replies}
    if len(signers) != len(replies) or len(signers) <= validators.quorum.f:
        raise BadProof(f"{len(signers)} replies, {validators.quorum.f + 1} are needed")
    if len({(r.digest, r.state_root, r.receipts_root) for r in replies}) != 1:
        raise BadProof("the replies do not agree")
    if replies[0].digest != block.digest():
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
