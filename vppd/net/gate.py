"""The gate: every check a message from outside must pass before the core sees it.

Cheap first (protocol.md, §14): type and arity → can it still matter → signer index → *then*
ed25519. What passes is shaped, signed by whom it says, and, for blocks, made of transactions that
are statelessly valid. Nothing here depends on chain state, so it may run on any thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import pairwise
from typing import TypeAlias, assert_never

from vppd.codec import Decoder, Malformed
from vppd.config.genesis import ConsensusRules
from vppd.consensus.boundary import MessageHeader
from vppd.consensus.certificate import check_certificate
from vppd.consensus.evidence import charge_of
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Claim,
    Collected,
    Commit,
    ConsensusMessage,
    DecidedBlock,
    Evidence,
    GetBlock,
    GetBlocks,
    NewView,
    Ping,
    Prepare,
    PrePrepared,
    Proof,
    Reply,
    Standing,
    Status,
    Tx,
    Txs,
    Type,
    ViewChange,
)
from vppd.consensus.proving import NotSigned, check_proof, check_standing
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    new_view_bytes,
    reply_bytes,
    sign_bytes,
)
from vppd.consensus.terms import Term, Terms
from vppd.crypto import Verify
from vppd.errors import PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.block import check_body
from vppd.ledger.statements import MOST_STATEMENTS
from vppd.ledger.transaction import (
    NO_SIGNATURE,
    NOBODY,
    InvalidTransaction,
    Transaction,
    check_fits,
    precheck,
    precheck_all,
    signature_holds,
)
from vppd.ledger.transaction import (
    sign_bytes as sign_bytes_of_tx,
)
from vppd.types import (
    ZERO_DIGEST,
    Digest,
    Epoch,
    Height,
    PublicKey,
    ReplicaIndex,
    Signature,
    View,
)

PeerMessage: TypeAlias = ConsensusMessage | Tx | Txs | Ping

_DECODE: dict[int, Callable[[bytes], PeerMessage]] = {
    Type.BLOCK: Decoder(Block),
    Type.RECEIVED: Decoder(Collected),
    Type.PRE_PREPARED: Decoder(PrePrepared),
    Type.AGREE: Decoder(Agree),
    Type.PREPARE: Decoder(Prepare),
    Type.COMMIT: Decoder(Commit),
    Type.REPLY: Decoder(Reply),
    Type.VIEW_CHANGE: Decoder(ViewChange),
    Type.NEW_VIEW: Decoder(NewView),
    Type.STATUS: Decoder(Status),
    Type.GET_BLOCK: Decoder(GetBlock),
    Type.BLOCK_BODY: Decoder(BlockBody),
    Type.GET_BLOCKS: Decoder(GetBlocks),
    Type.BLOCKS: Decoder(Blocks),
    Type.TX: Decoder(Tx),
    Type.TXS: Decoder(Txs),
    Type.EVIDENCE: Decoder(Evidence),
    Type.PING: Decoder(Ping),
}


OPENED_BLOCKS = 4
"""Blocks whose transactions are kept decoded: those that may yet be decided."""
CHUNK = 64
"""Signatures that one thread verifies at a time."""
HEAD_BYTES = 64
"""A transaction's sender is named within so many."""
STANDING_BYTES = 107
"""The least that a signed view change takes in a statement, which may hold many."""


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


def header_of(
    message: PeerMessage, leader: Callable[[Epoch, View, Height], int]
) -> MessageHeader | None:
    """What ``Engine.wants`` asks for; ``None`` for messages that are always taken."""
    match message:
        case Block(epoch, view, height, digest):
            signer = leader(epoch, view, height)
            return MessageHeader(Type.BLOCK, epoch, view, height, digest, signer)
        case BlockBody(epoch, view, height, digest):
            signer = leader(epoch, view, height)
            return MessageHeader(Type.BLOCK_BODY, epoch, view, height, digest, signer)
        case Prepare(epoch, view, height, digest, signer):
            return MessageHeader(Type.PREPARE, epoch, view, height, digest, signer)
        case Collected(epoch, view, height, digest, signer):
            return MessageHeader(Type.RECEIVED, epoch, view, height, digest, signer)
        case PrePrepared(epoch, view, height, digest):
            signer = leader(epoch, view, height)
            return MessageHeader(Type.PRE_PREPARED, epoch, view, height, digest, signer)
        case Commit(epoch, view, height, digest, signer):
            return MessageHeader(Type.COMMIT, epoch, view, height, digest, signer)
        case Agree(c):
            return MessageHeader(Type.AGREE, c.epoch, c.view, c.height, c.digest, 0)
        case Blocks(blocks):
            if not blocks:
                raise Malformed("an empty range of blocks")
            c = blocks[-1].certificate
            return MessageHeader(Type.BLOCKS, c.epoch, c.view, c.height, c.digest, 0)
        case ViewChange(s):
            return MessageHeader(Type.VIEW_CHANGE, s.epoch, s.view, s.decided, s.head, s.signer)
        case NewView(epoch, view, height, choice):
            signer = leader(epoch, view, height)
            return MessageHeader(Type.NEW_VIEW, epoch, view, height, choice or ZERO_DIGEST, signer)
        case Evidence(proof):
            who, kind, epoch, view, height = charge_of(proof)
            return MessageHeader(Type.EVIDENCE, epoch, view, height, ZERO_DIGEST, who, kind)
        case Status() | GetBlock() | GetBlocks() | Reply() | Tx() | Txs() | Ping():
            return None
        case _:  # pragma: no cover
            assert_never(message)


def _opened(raw: bytes, height: Height, rules: ConsensusRules) -> Transaction | InvalidTransaction:
    try:
        return precheck(raw, height, rules)
    except InvalidTransaction as err:
        return err


def _signatures(*certificates: Certificate | None) -> int:
    return sum(len(c.signatures) for c in certificates if c is not None)


class Gate:
    """Checks messages of one chain.

    Args:
        chain_id: in every signature.
        terms: the epochs this node knows: who may sign what in each.
        verify: the one verifier.
        known: the transaction in exactly these bytes, if it was checked before (the mempool's).
    """

    def __init__(
        self,
        chain_id: Digest,
        terms: Terms,
        verify: Verify,
        known: Callable[[bytes], Transaction | None],
    ) -> None:
        self._chain_id = chain_id
        self._terms = terms
        self._verify = verify
        self._known = known
        self.crew: Executor | None = None
        """Threads that share the signatures of a block; ``None``: whoever checks does it alone."""
        self._opened: OrderedDict[Digest, tuple[Transaction, ...]] = OrderedDict()
        """Transactions of the last blocks that passed, by the block's digest."""

    def check(self, message: PeerMessage) -> None:
        """Check everything a message claims.

        Raises:
            Malformed: inconsistent with itself.
            BadSignature: a signature that does not hold.
            InvalidTransaction: a block with a transaction nobody may put into a block.
        """
        match message:
            case Block():
                self._check_block(message)
                leader = self._term(message.epoch).leader(message.view, message.height)
                self._check_signature(message, TAG_VOTE, leader, message.vote_sig)
            case BlockBody():
                self._check_block(message)
            case Prepare() | Collected():
                self._check_signature(message, TAG_VOTE, message.signer, message.sig)
            case PrePrepared():
                self._check_end_of_wait(message)
            case Commit():
                self._check_signature(message, TAG_COMMIT, message.signer, message.sig)
            case Agree(certificate):
                self._check_decision(certificate)
            case Blocks(blocks):
                for block in blocks:
                    self._check_decided(block)
            case Reply():
                self._check_reply(message)
            case ViewChange():
                self._check_view_change(message)
            case NewView():
                self._check_new_view(message)
            case Evidence(proof):
                self._check_proof(proof)
            case Status() | GetBlock() | GetBlocks() | Tx() | Txs() | Ping():
                pass  # nothing signed; a transaction goes through check_transaction
            case _:  # pragma: no cover
                assert_never(message)

    def check_transaction(
        self, raw: bytes, height: Height, admit: Callable[[Transaction], None] | None = None
    ) -> Transaction:
        """A transaction that could stand in the block at ``height``.

        Args:
            raw: as received.
            height: of the block.
            admit: asked before the signature is verified; what it raises is passed on.

        Raises:
            InvalidTransaction: says why.
            BadSignature: not its sender's.
        """
        tx = self.open_transaction(raw, height)
        if admit is not None:
            admit(tx)
        if self._known(raw) is None:
            self.check_sender(tx)
        return tx

    def open_transaction(self, raw: bytes, height: Height) -> Transaction:
        """Everything about a transaction for the block at ``height`` but who signed it.

        Raises:
            InvalidTransaction: says why.
        """
        return precheck(raw, height, self._terms.at(height).rules)

    def open_all(
        self, raws: Sequence[bytes], height: Height
    ) -> list[Transaction | InvalidTransaction]:
        """:meth:`open_transaction` for many: each by itself, or why it is none."""
        rules = self._terms.at(height).rules
        try:
            return list(precheck_all(raws, height, rules))
        except InvalidTransaction:  # whose fault it is takes another look
            return [_opened(raw, height, rules) for raw in raws]

    @property
    def signed(self) -> bool:
        """Whether senders sign, so that looking at one is worth being asked for first."""
        return self._terms.signed

    def check_senders(self, txs: Sequence[Transaction]) -> list[BadSignature | None]:
        """:meth:`check_sender` for many: for each what is wrong; safe on any thread."""
        head, verify, signed = sign_bytes_of_tx(self._chain_id, b""), self._verify, self.signed
        return [
            None
            if tx.sender != NOBODY
            and (verify(tx.sender, head + tx.id, tx.sig) if signed else tx.sig == NO_SIGNATURE)
            else self._wrong(tx)
            for tx in txs
        ]

    def _spread(self, txs: Sequence[Transaction]) -> Iterable[BadSignature | None]:
        """:meth:`check_senders`, on all threads there are where that is worth the hop."""
        if self.crew is None or len(txs) < 2 * CHUNK or not self.signed:
            return self.check_senders(txs)
        parts = [txs[first : first + CHUNK] for first in range(0, len(txs), CHUNK)]
        return [wrong for part in self.crew.map(self.check_senders, parts) for wrong in part]

    def _wrong(self, tx: Transaction) -> BadSignature | None:
        """The long way, for statements, and to say what is wrong."""
        try:
            self.check_sender(tx)
        except BadSignature as err:
            return err
        return None

    def check_sender(self, tx: Transaction) -> None:
        """Check who signed; safe on any thread.

        Raises:
            BadSignature: not its sender.
        """
        if not signature_holds(tx, self._chain_id, self._verify, signed=self._terms.signed):
            raise BadSignature(f"transaction {tx.id.hex()[:16]}: signature does not hold")

    def opened(self, digest: Digest) -> tuple[Transaction, ...] | None:
        """The transactions of a block that has passed lately, so that nobody decodes them again."""
        return self._opened.get(digest)

    def keep_opened(self, digest: Digest, txs: tuple[Transaction, ...]) -> None:
        """Remember what is in a block: one that has passed, or that this node has built."""
        self._opened[digest] = txs
        while len(self._opened) > OPENED_BLOCKS:
            self._opened.popitem(last=False)

    def cost(self, message: PeerMessage) -> int:
        """How many signatures :meth:`check` verifies at most, or ``check_transaction`` for a Tx.

        For the sender's budget (:mod:`vppd.net.limits`); transactions that wait here are free.
        """
        match message:
            case Block(digest=digest) | BlockBody(digest=digest) if digest in self._opened:
                return 2
            case Block(txs=txs) | BlockBody(txs=txs):
                return 2 + (self._unknown(txs) if self.signed else MOST_STATEMENTS)
            case Tx(raw):
                return self._cost_of(raw)
            case Txs(raws):
                return sum(map(self._cost_of, raws))
            case Prepare() | Collected() | Commit():
                return 1
            case PrePrepared(prepared=prepared):
                return 1 + _signatures(prepared)
            case Agree(certificate):
                return len(certificate.signatures)
            case Blocks(blocks):
                return sum(len(block.certificate.signatures) for block in blocks)
            case ViewChange(_, decision, prepared):
                return 1 + _signatures(decision, prepared)
            case NewView(standings=standings, decision=decision, prepared=prepared):
                return 1 + len(standings) + _signatures(decision, prepared)
            case Evidence():
                return 2
            case Reply() | Status() | GetBlock() | GetBlocks() | Ping():
                return 0  # a reply is only checked when somebody asks for a proof
            case _:  # pragma: no cover
                assert_never(message)

    def _unknown(self, raws: Sequence[bytes]) -> int:
        return list(map(self._known, raws)).count(None)

    def _cost_of(self, raw: bytes) -> int:
        if self._known(raw) is not None:
            return 0
        if not self._terms.signed and NOBODY not in raw[:HEAD_BYTES]:
            return 0
        # Of statements admission checks all signatures; these end without one of their own.
        if raw.endswith(NO_SIGNATURE):
            return max(1, len(raw) // STANDING_BYTES)
        return 1

    def _term(self, epoch: Epoch) -> Term:
        term = self._terms.of(epoch)
        if term is None:
            raise Malformed(f"epoch {epoch} is not known here")
        return term

    def _member(self, epoch: Epoch, index: ReplicaIndex) -> PublicKey:
        members = self._term(epoch).validators.members
        if index >= len(members):
            raise Malformed(f"replica {index} does not exist, there are {len(members)}")
        return members[index].key

    def _check_signature(
        self,
        message: Block | BlockBody | PrePrepared | Prepare | Collected | Commit,
        tag: bytes,
        signer: ReplicaIndex,
        signature: Signature,
    ) -> None:
        key = self._member(message.epoch, signer)
        signed = sign_bytes(
            tag, self._chain_id, message.epoch, message.view, message.height, message.digest
        )
        if not self._verify(key, signed, signature):
            raise BadSignature(
                f"replica {signer} did not sign this {type(message).__name__.lower()} "
                f"of height {message.height}, view {message.view}"
            )

    def _check_end_of_wait(self, message: PrePrepared) -> None:
        leader = self._term(message.epoch).leader(message.view, message.height)
        self._check_signature(message, TAG_PROPOSAL, leader, message.proposal_sig)
        held = message.prepared
        if held is not None:
            at = (message.epoch, message.view, message.height, message.digest)
            if (held.epoch, held.view, held.height, held.digest) != at:
                raise Malformed("the end of a wait with the votes of another block")
            self._check_attached(message.epoch, None, held)

    def _check_block(self, message: Block | BlockBody) -> Header:
        header = decode_header(message.header)
        if (
            header.digest() != message.digest
            or header.height != message.height
            or header.epoch != message.epoch
            or header.chain_id != self._chain_id
        ):
            raise Malformed(f"block of height {message.height} does not match its own header")
        term = self._term(message.epoch)
        if not self._terms.covers(term, header.height):
            raise Malformed(f"height {header.height} is not in epoch {header.epoch}")
        leader = term.leader(message.view, header.height)
        self._check_signature(message, TAG_PROPOSAL, leader, message.proposal_sig)
        self._check_txs(header, message.digest, message.txs)
        return header

    def _check_txs(self, header: Header, digest: Digest, raws: tuple[bytes, ...]) -> None:
        """Shapes before signatures, and of those only what did not wait here.

        A block may come more than once, by itself and when its body was asked for: what has passed
        under this digest, byte for byte, is not verified again.
        """
        passed = self._opened.get(digest)
        if passed is not None and [tx.raw for tx in passed] == list(raws):
            return
        rules, height = self._term(header.epoch).rules, header.height
        txs: list[Transaction] = []
        fresh: list[Transaction] = []

        def ids() -> Iterator[Digest]:
            known = list(map(self._known, raws))
            unknown = [raw for raw, tx in zip(raws, known, strict=True) if tx is None]
            fresh.extend(precheck_all(unknown, height, rules))
            for tx in known:
                if tx is not None:
                    check_fits(tx, height, rules)
            opened = iter(fresh)
            txs.extend(next(opened) if tx is None else tx for tx in known)
            yield from (tx.id for tx in txs)

        check_body(header, raws, rules, ids())
        for wrong in self._spread(fresh):
            if wrong is not None:
                raise wrong
        self.keep_opened(digest, tuple(txs))

    def _check_decided(self, block: DecidedBlock) -> None:
        header = decode_header(block.header)
        certificate = block.certificate
        if (
            header.digest() != certificate.digest
            or header.height != certificate.height
            or header.epoch != certificate.epoch
            or header.chain_id != self._chain_id
        ):
            raise Malformed(f"block {certificate.height} is not the one its certificate decides")
        self._check_decision(certificate)
        check_body(header, block.txs, self._term(header.epoch).rules)

    def _check_decision(self, certificate: Certificate) -> None:
        term = self._term(certificate.epoch)
        if certificate.kind not in term.decisive:
            raise Malformed(f"certificate kind {certificate.kind} decides nothing")
        if not self._terms.covers(term, certificate.height):
            raise Malformed(f"height {certificate.height} is not in epoch {certificate.epoch}")
        check_certificate(certificate, term.validators, self._chain_id, self._verify)

    # ------------------------------------------------------------ view changes

    def _check_standing(self, standing: Standing) -> None:
        """Claims below the view asked for, signature."""
        validators = self._term(standing.epoch).validators
        try:
            check_standing(standing, validators, self._chain_id, self._verify)
        except NotSigned as err:
            raise BadSignature(str(err)) from err

    def _check_view_change(self, message: ViewChange) -> None:
        standing, decision = message.standing, message.decision
        if decision is None:
            if (standing.decided, standing.head) != (0, self._chain_id):
                raise Malformed("a view change without the decision it stands on")
        elif (decision.height, decision.digest) != (standing.decided, standing.head):
            raise Malformed("a view change with the decision of another block")
        claim, prepared = standing.prepared, message.prepared
        if (claim is None) != (prepared is None):
            raise Malformed("a prepared claim and its certificate come together")
        if claim is not None and prepared is not None:
            height = standing.decided + 1
            if (prepared.height, Claim(prepared.view, prepared.digest)) != (height, claim):
                raise Malformed("a prepared claim with another certificate")
        self._check_standing(standing)
        self._check_attached(standing.epoch, decision, prepared)

    def _check_new_view(self, message: NewView) -> None:
        """Shapes, signatures and certificates; what follows from them is the core's business."""
        term = self._term(message.epoch)
        size = term.validators.quorum.view_change
        if len(message.standings) != size:
            raise Malformed(f"{len(message.standings)} view changes, it takes exactly {size}")
        if any(a.signer >= b.signer for a, b in pairwise(message.standings)):
            raise Malformed("view changes that are not of distinct replicas in order")
        if any((s.epoch, s.view) != (message.epoch, message.view) for s in message.standings):
            raise Malformed("a view change for another view")
        leader = term.leader(message.view, message.height)
        signed = new_view_bytes(self._chain_id, message)
        if not self._verify(self._member(message.epoch, leader), signed, message.sig):
            raise BadSignature(f"replica {leader} did not open view {message.view}")
        for standing in message.standings:
            self._check_standing(standing)
        self._check_attached(message.epoch, message.decision, message.prepared)

    def _check_attached(
        self, epoch: Epoch, decision: Certificate | None, prepared: Certificate | None
    ) -> None:
        if decision is not None:
            self._check_decision(decision)
        if prepared is not None:
            if prepared.kind != CertificateKind.PREPARED:
                raise Malformed(f"certificate kind {prepared.kind} prepares nothing")
            validators = self._term(epoch).validators
            check_certificate(prepared, validators, self._chain_id, self._verify)

    def _check_proof(self, proof: Proof) -> None:
        """Evidence proves what it says."""
        _, _, epoch, _, _ = charge_of(proof)
        validators = self._term(epoch).validators
        try:
            check_proof(proof, validators, self._chain_id, self._verify)
        except NotSigned as err:
            raise BadSignature(f"evidence: {err}") from err

    def _check_reply(self, reply: Reply) -> None:
        signed = reply_bytes(
            self._chain_id, reply.epoch, reply.height, reply.digest,
            reply.state_root, reply.receipts_root,
        )  # fmt: skip
        if not self._verify(self._member(reply.epoch, reply.signer), signed, reply.sig):
            raise BadSignature(f"replica {reply.signer} did not sign this reply")
