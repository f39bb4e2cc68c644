"""What replicas say to each other (protocol.md, §3): shapes, type numbers, size caps.

Votes carry (epoch, view, height, digest) in full and a signature over exactly that, never over
MessagePack. A message here is *shaped*; whether its signatures hold is the gate's business, and
whether it matters is the core's.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta

from vppd.codec import U8, U32, U63, Bytes32, Bytes64, Message
from vppd.era import Era


class Type(IntEnum):
    """The type byte of a frame."""

    BLOCK = 1
    RECEIVED = 2
    AGREE = 3
    PRE_PREPARED = 4
    PREPARE = 5
    COMMIT = 6
    REPLY = 7
    VIEW_CHANGE = 8
    NEW_VIEW = 9
    STATUS = 10
    GET_BLOCK = 11
    BLOCK_BODY = 12
    GET_BLOCKS = 13
    BLOCKS = 14
    TX = 15
    EVIDENCE = 16
    PING = 17
    GET_SNAPSHOT = 18
    SNAPSHOT_OFFER = 19
    GET_CHUNK = 20
    CHUNK = 21
    GET_ERAS = 22
    ERAS = 23
    ABSENT = 24
    TXS = 25


class Round(IntEnum):
    """What a replica signs about a digest at one (epoch, view, height): at most one each."""

    VOTE = 1
    """First-round vote: ``prepare``, ``received``."""
    COMMIT = 2
    """Second-round vote."""
    PROPOSAL = 3
    """The leader's block."""


class Path(IntEnum):
    """Where first-round votes go (``pbft`` and ``dpos`` only ever broadcast)."""

    BROADCAST = 0
    """To everybody."""
    COLLECT = 1
    """To the leader, who shows them to everybody as an ``agree``."""


class CertificateKind(IntEnum):
    """Which votes a certificate collects, and how many."""

    PREPARED = 1
    """PCert: q first-round votes."""
    COMMIT = 2
    """CommitCert: q commits; a decision."""
    FAST = 3
    """FastCert: F first-round votes; a decision, where the engine has a fast exit."""


Bitmap = Annotated[bytes, Meta(min_length=1, max_length=32)]


class Certificate(Message, frozen=True):
    """Signatures of distinct replicas on one (epoch, view, height, digest).

    Bit ``i % 8`` of byte ``i // 8`` is set when replica ``i`` signed; signatures stand in
    ascending index order. The bitmap has ⌈n/8⌉ bytes, and there are exactly as many
    signatures as the kind asks for: one encoding per certificate.
    """

    kind: U8
    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    signers: Bitmap
    signatures: tuple[Bytes64, ...]


class Block(Message, frozen=True):
    """``block``: the leader's proposal and, in the same breath, its own first-round vote."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    path: U8
    header: bytes
    txs: tuple[bytes, ...]
    proposal_sig: Bytes64
    vote_sig: Bytes64


class Prepare(Message, frozen=True):
    """``prepare``: a first-round vote, to everybody."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    signer: U32
    sig: Bytes64


class Collected(Message, frozen=True):
    """``received``: the same first-round vote, same signature, to the leader who collects them."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    signer: U32
    sig: Bytes64


class PrePrepared(Message, frozen=True):
    """``pre_prepared``: the leader ends the wait for everybody's vote (§5, Fallback).

    The proposal it repeats is the one it has made: same signature, no body.
    """

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    proposal_sig: Bytes64
    prepared: Certificate | None
    """The q votes it has, if so many have come."""


class Commit(Message, frozen=True):
    """``commit``: second-round vote; its sender has stored a prepared certificate."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    signer: U32
    sig: Bytes64


class Agree(Message, frozen=True):
    """``agree``: a decision certificate; transferable, so any replica may pass it on."""

    certificate: Certificate


class Reply(Message, frozen=True):
    """``reply``: the roots after executing ``height``; f+1 equal ones prove a result."""

    epoch: U63
    height: U63
    digest: Bytes32
    state_root: Bytes32
    receipts_root: Bytes32
    signer: U32
    sig: Bytes64


class Claim(Message, frozen=True):
    """A digest that a replica voted for, or holds prepared, in a view."""

    view: U63
    digest: Bytes32


class Standing(Message, frozen=True):
    """Where a replica stands when it leaves for ``view``: what a view change signs (§7).

    ``vote`` and ``prepared`` are the signer's latest ones at height ``decided`` + 1.
    """

    epoch: U63
    view: U63
    signer: U32
    decided: U63
    head: Bytes32
    """Digest of the block at ``decided``; the chain id at height 0."""
    vote: Claim | None
    prepared: Claim | None
    sig: Bytes64


class ViewChange(Message, frozen=True):
    """``view_change``: a replica asks for ``standing.view`` and proves what it claims."""

    standing: Standing
    decision: Certificate | None
    """Of height ``standing.decided``; none at height 0."""
    prepared: Certificate | None
    """Of the claim ``standing.prepared``, if there is one."""


class NewView(Message, frozen=True):
    """``new_view``: the leader of ``view`` shows w view changes and what follows from them."""

    epoch: U63
    view: U63
    height: U63
    """H0: the first height that ``view`` may decide."""
    choice: Bytes32 | None
    """The digest that must be proposed at ``height``; none: the leader is free."""
    standings: tuple[Standing, ...]
    """Of exactly w replicas for exactly this view, by ascending signer."""
    decision: Certificate | None
    """Of height ``height`` − 1; none at height 0."""
    prepared: Certificate | None
    """The prepared certificate of highest view among those who stand at ``height`` − 1."""
    sig: Bytes64


class Equivocation(Message, frozen=True, tag=1):
    """Two signatures of one replica on one (epoch, view, height), for two digests."""

    round: U8
    """1: first-round votes, 2: commits, 3: proposals (:class:`Round`)."""
    epoch: U63
    view: U63
    height: U63
    signer: U32
    first: Bytes32
    first_sig: Bytes64
    second: Bytes32
    second_sig: Bytes64


class Concealment(Message, frozen=True, tag=2):
    """A view change that hides a vote its signer had cast: older, another, or none claimed."""

    standing: Standing
    vote: Claim
    """What was voted for at height ``standing.decided`` + 1, in a view below ``standing.view``."""
    vote_sig: Bytes64


Proof: TypeAlias = Equivocation | Concealment


class Evidence(Message, frozen=True):
    """``evidence``: proof that a replica broke the rules; anyone may pass it on."""

    proof: Proof


class Status(Message, frozen=True):
    """``status``: where the sender stands; each second, on connect, and when asked."""

    epoch: U63
    decided: U63
    view: U63
    mode: U8


class GetBlock(Message, frozen=True):
    """``get_block``: who holds the body of this digest?"""

    digest: Bytes32


class BlockBody(Message, frozen=True):
    """Answer to ``get_block``: the proposal without the leader's vote."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    header: bytes
    txs: tuple[bytes, ...]
    proposal_sig: Bytes64


class GetBlocks(Message, frozen=True):
    """``get_blocks``: decided blocks from ``first`` on, as many as fit one frame."""

    first: U63


class DecidedBlock(Message, frozen=True):
    """One decided block with the certificate that decided it."""

    header: bytes
    txs: tuple[bytes, ...]
    certificate: Certificate


class Blocks(Message, frozen=True):
    """Answer to ``get_blocks``: consecutive decided blocks."""

    blocks: tuple[DecidedBlock, ...]


class EraLink(Message, frozen=True):
    """One step from an epoch to the next, checked by the older one's validators alone (§10)."""

    era: Era
    """That begins."""
    header: bytes
    """Of the last height before it: names the hash of its validators."""
    certificate: Certificate
    """Of that header."""


class GetSnapshot(Message, frozen=True):
    """``get_snapshot``: which state can be had from you?"""

    height: U63
    """The one wanted; 0: the latest."""


class SnapshotOffer(Message, frozen=True):
    """Answer to ``get_snapshot``: a certified state, by the hashes of its buckets.

    The roots after ``header`` stand in ``next_header``; that one's certificate proves them.
    """

    header: bytes
    certificate: Certificate
    next_header: bytes
    next_certificate: Certificate
    hashes: Annotated[bytes, Meta(min_length=32 * 4_096, max_length=32 * 4_096)]
    """Of all buckets, in order, 32 bytes each."""


class GetChunk(Message, frozen=True):
    """``get_chunk``: buckets of the state after ``height``, from bucket ``bucket`` on."""

    height: U63
    bucket: Annotated[int, Meta(ge=0, lt=4_096)]


class Chunk(Message, frozen=True):
    """Answer to ``get_chunk``: consecutive buckets, at least one."""

    height: U63
    bucket: Annotated[int, Meta(ge=0, lt=4_096)]
    buckets: Annotated[
        tuple[tuple[tuple[bytes, bytes], ...], ...], Meta(min_length=1, max_length=4_096)
    ]
    """Keys and values of each, in key order."""


class GetEras(Message, frozen=True):
    """``get_eras``: how to get from epoch ``epoch`` − 1 to ``epoch``, and on from there?"""

    epoch: U63


class Eras(Message, frozen=True):
    """Answer to ``get_eras``: consecutive steps, as many as fit; none: there is no later epoch."""

    links: tuple[EraLink, ...]


class Absent(Message, frozen=True):
    """Answer to a request for what the sender does not have, so that nobody waits for it."""

    first: U63
    """The lowest height whose block it has."""
    snapshot: U63
    """The height of the latest state it offers; 0: none."""


class Tx(Message, frozen=True):
    """``tx``: a signed transaction on its way to the leader, as received."""

    raw: bytes


class Txs(Message, frozen=True):
    """``txs``: several signed transactions on their way to the leader, each as received."""

    raws: Annotated[tuple[Annotated[bytes, Meta(min_length=64)], ...], Meta(min_length=1)]
    """None is shorter than its signature: a frame of nothing but beginnings opens none of them."""


class Ping(Message, frozen=True):
    """``ping``: what the sender's clock shows; goes with each ``status``."""

    unix_ms: U63


Vote: TypeAlias = Prepare | Commit
ConsensusMessage: TypeAlias = (
    Block
    | Collected
    | PrePrepared
    | Prepare
    | Commit
    | Agree
    | Reply
    | ViewChange
    | NewView
    | Status
    | GetBlock
    | BlockBody
    | GetBlocks
    | Blocks
    | Evidence
)
SyncMessage: TypeAlias = GetSnapshot | SnapshotOffer | GetChunk | Chunk | GetEras | Eras | Absent
"""Of state sync: between a node's snapshots and a joiner, never for the core."""

TYPE_OF: dict[type[Message], Type] = {
    Block: Type.BLOCK,
    Collected: Type.RECEIVED,
    PrePrepared: Type.PRE_PREPARED,
    Agree: Type.AGREE,
    Prepare: Type.PREPARE,
    Commit: Type.COMMIT,
    Reply: Type.REPLY,
    ViewChange: Type.VIEW_CHANGE,
    NewView: Type.NEW_VIEW,
    Status: Type.STATUS,
    GetBlock: Type.GET_BLOCK,
    BlockBody: Type.BLOCK_BODY,
    GetBlocks: Type.GET_BLOCKS,
    Blocks: Type.BLOCKS,
    Tx: Type.TX,
    Evidence: Type.EVIDENCE,
    Ping: Type.PING,
    GetSnapshot: Type.GET_SNAPSHOT,
    SnapshotOffer: Type.SNAPSHOT_OFFER,
    GetChunk: Type.GET_CHUNK,
    Chunk: Type.CHUNK,
    GetEras: Type.GET_ERAS,
    Eras: Type.ERAS,
    Absent: Type.ABSENT,
    Txs: Type.TXS,
}

TXS_BYTES = 64 * 1024
"""Of transactions in one frame; the last may go beyond."""
_VOTE, _SMALL, _CERTIFICATE, _BLOCK = 512, 16 * 1024, 32 * 1024, 1024 * 1024
_NEW_VIEW = 256 * 1024
CAP: dict[Type, int] = {
    Type.BLOCK: _BLOCK,
    Type.RECEIVED: _VOTE,
    Type.PRE_PREPARED: _CERTIFICATE,
    Type.AGREE: _CERTIFICATE,
    Type.PREPARE: _VOTE,
    Type.COMMIT: _VOTE,
    Type.REPLY: _VOTE,
    Type.VIEW_CHANGE: _CERTIFICATE,
    Type.NEW_VIEW: _NEW_VIEW,
    Type.STATUS: _VOTE,
    Type.GET_BLOCK: _VOTE,
    Type.BLOCK_BODY: _BLOCK,
    Type.GET_BLOCKS: _VOTE,
    Type.BLOCKS: _BLOCK,
    Type.TX: _SMALL + 64,
    Type.EVIDENCE: _SMALL,
    Type.PING: _VOTE,
    Type.GET_SNAPSHOT: _VOTE,
    Type.SNAPSHOT_OFFER: _NEW_VIEW,
    Type.GET_CHUNK: _VOTE,
    Type.CHUNK: _BLOCK,
    Type.GET_ERAS: _VOTE,
    Type.ERAS: _BLOCK,
    Type.ABSENT: _VOTE,
    Type.TXS: TXS_BYTES + _SMALL + 1024,
}
"""Largest payload in bytes per type (architecture.md, §7); checked before anything is allocated."""
