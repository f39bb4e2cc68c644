"""The gate: every check a message from outside must pass before the core sees it.

Cheap first (protocol.md, §14): type and arity → can it still matter → signer index → *then*
ed25519. What passes is shaped, signed by whom it says, and, for blocks, made of transactions that
are statelessly valid. Nothing here depends on chain state, so it may run on any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, assert_never

from vppd.codec import Decoder, Malformed
from vppd.config.genesis import ConsensusRules
from vppd.consensus.boundary import MessageHeader
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Commit,
    ConsensusMessage,
    DecidedBlock,
    GetBlock,
    GetBlocks,
    Ping,
    Prepare,
    Reply,
    Status,
    Tx,
    Type,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    reply_bytes,
    sign_bytes,
)
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import Verify
from vppd.errors import PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.block import check_body
from vppd.ledger.transaction import Transaction, precheck, signature_of
from vppd.types import Digest, Height, PublicKey, ReplicaIndex, Signature, View

PeerMessage: TypeAlias = ConsensusMessage | Tx | Ping

_DECODE: dict[int, Callable[[bytes], PeerMessage]] = {
    Type.BLOCK: Decoder(Block),
    Type.AGREE: Decoder(Agree),
    Type.PREPARE: Decoder(Prepare),
    Type.COMMIT: Decoder(Commit),
    Type.REPLY: Decoder(Reply),
    Type.STATUS: Decoder(Status),
    Type.GET_BLOCK: Decoder(GetBlock),
    Type.BLOCK_BODY: Decoder(BlockBody),
    Type.GET_BLOCKS: Decoder(GetBlocks),
    Type.BLOCKS: Decoder(Blocks),
    Type.TX: Decoder(Tx),
    Type.PING: Decoder(Ping),
}


class BadSignature(PeerFault):
    """A signature that does not hold: whoever passed it on is broken or lying."""


def decode_message(type_: int, payload: bytes) -> PeerMessage:
    """The message in a frame.

    Raises:
        Malformed: unknown type, or not that message.
    """
    decode = _DECODE.get(type_)
    if decode is None:
        raise Malformed(f"frame type {type_} is not a message between nodes")
    return decode(payload)


def header_of(message: PeerMessage, leader: Callable[[View, Height], int]) -> MessageHeader | None:
    """What ``Engine.wants`` asks for; ``None`` for messages that are always taken."""
    match message:
        case Block(epoch, view, height, digest):
            return MessageHeader(Type.BLOCK, epoch, view, height, digest, leader(view, height))
        case BlockBody(epoch, view, height, digest):
            return MessageHeader(Type.BLOCK_BODY, epoch, view, height, digest, leader(view, height))
        case Prepare(epoch, view, height, digest, signer):
            return MessageHeader(Type.PREPARE, epoch, view, height, digest, signer)
        case Commit(epoch, view, height, digest, signer):
            return MessageHeader(Type.COMMIT, epoch, view, height, digest, signer)
        case Agree(c):
            return MessageHeader(Type.AGREE, c.epoch, c.view, c.height, c.digest, 0)
        case Blocks(blocks):
            if not blocks:
                raise Malformed("an empty range of blocks")
            c = blocks[-1].certificate
            return MessageHeader(Type.BLOCKS, c.epoch, c.view, c.height, c.digest, 0)
        case Status() | GetBlock() | GetBlocks() | Reply() | Tx() | Ping():
            return None
        case _:  # pragma: no cover
            assert_never(message)


class Gate:
    """Checks messages for one chain and validator set.

    Args:
        chain_id: in every signature.
        validators: the set in force.
        rules: genesis limits of blocks and transactions.
        leader: who leads a view at a height (the engine's schedule).
        verify: the one verifier.
        seen: whether exactly these transaction bytes were checked before (the mempool knows).
    """

    def __init__(
        self,
        chain_id: Digest,
        validators: ValidatorSet,
        rules: ConsensusRules,
        leader: Callable[[View, Height], ReplicaIndex],
        verify: Verify,
        seen: Callable[[bytes], bool],
    ) -> None:
        self._chain_id = chain_id
        self._validators = validators
        self._rules = rules
        self._leader = leader
        self._verify = verify
        self._seen = seen

    def check(self, message: PeerMessage) -> None:
        """Check everything a message claims.

        Raises:
            Malformed: inconsistent with itself.
            BadSignature: a signature that does not hold.
            InvalidTransaction: a block with a transaction nobody may put into a block.
        """
        match message:
            case Block():
                header = self._check_block(message)
                self._check_signature(
                    message, TAG_VOTE, self._leader(message.view, header.height), message.vote_sig
                )
            case BlockBody():
                self._check_block(message)
            case Prepare():
                self._check_signature(message, TAG_VOTE, message.signer, message.sig)
            case Commit():
                self._check_signature(message, TAG_COMMIT, message.signer, message.sig)
            case Agree(certificate):
                self._check_decision(certificate)
            case Blocks(blocks):
                for block in blocks:
                    self._check_decided(block)
            case Reply():
                self._check_reply(message)
            case Status() | GetBlock() | GetBlocks() | Tx() | Ping():
                pass  # nothing signed; a transaction goes through check_transaction
            case _:  # pragma: no cover
                assert_never(message)

    def check_transaction(self, raw: bytes, height: Height) -> Transaction:
        """A transaction that could stand in the block at ``height``.

        Raises:
            InvalidTransaction: says why.
        """
        tx = precheck(raw, height, self._rules)
        if not self._seen(raw) and not self._verify(*signature_of(tx, self._chain_id)):
            raise BadSignature(f"transaction {tx.id.hex()[:16]}: signature does not hold")
        return tx

    def _member(self, index: ReplicaIndex) -> PublicKey:
        members = self._validators.members
        if index >= len(members):
            raise Malformed(f"replica {index} does not exist, there are {len(members)}")
        return members[index].key

    def _check_signature(
        self,
        message: Block | BlockBody | Prepare | Commit,
        tag: bytes,
        signer: ReplicaIndex,
        signature: Signature,
    ) -> None:
        key = self._member(signer)
        signed = sign_bytes(
            tag, self._chain_id, message.epoch, message.view, message.height, message.digest
        )
        if not self._verify(key, signed, signature):
            raise BadSignature(
                f"replica {signer} did not sign this {type(message).__name__.lower()} "
                f"of height {message.height}, view {message.view}"
            )

    def _check_block(self, message: Block | BlockBody) -> Header:
        header = decode_header(message.header)
        if (
            header.digest() != message.digest
            or header.height != message.height
            or header.epoch != message.epoch
            or header.chain_id != self._chain_id
        ):
            raise Malformed(f"block of height {message.height} does not match its own header")
        leader = self._leader(message.view, header.height)
        self._check_signature(message, TAG_PROPOSAL, leader, message.proposal_sig)
        self._check_txs(header, message.txs)
        return header

    def _check_txs(self, header: Header, txs: tuple[bytes, ...]) -> None:
        check_body(header, txs, self._rules)
        for raw in txs:
            self.check_transaction(raw, header.height)

    def _check_decided(self, block: DecidedBlock) -> None:
        header = decode_header(block.header)
        certificate = block.certificate
        if (
            header.digest() != certificate.digest
            or header.height != certificate.height
            or header.chain_id != self._chain_id
        ):
            raise Malformed(f"block {certificate.height} is not the one its certificate decides")
        self._check_decision(certificate)
        check_body(header, block.txs, self._rules)

    def _check_decision(self, certificate: Certificate) -> None:
        if certificate.kind != CertificateKind.COMMIT:
            raise Malformed(f"certificate kind {certificate.kind} decides nothing")
        check_certificate(certificate, self._validators, self._chain_id, self._verify)

    def _check_reply(self, reply: Reply) -> None:
        signed = reply_bytes(
            self._chain_id, reply.epoch, reply.height, reply.digest,
            reply.state_root, reply.receipts_root,
        )  # fmt: skip
        if not self._verify(self._member(reply.signer), signed, reply.sig):
            raise BadSignature(f"replica {reply.signer} did not sign this reply")
