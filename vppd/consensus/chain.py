"""Where the chain stands for the core: the last decision, the block bodies that may follow it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import Applied, BodyRecord
from vppd.consensus.messages import Block, BlockBody, Certificate, DecidedBlock
from vppd.consensus.outbox import Outbox
from vppd.header import Header, decode_header
from vppd.types import Digest, Epoch, Height, Signature, TimeMs, View


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Genesis values the core works with."""

    chain_id: Digest
    path: PathSetting = "auto"
    clock_tolerance_ms: int = 500
    idle_block_interval_ms: int = 60_000
    checkpoint_blocks: int = 128
    view_timeout_ms: int = 2_000
    view_timeout_max_ms: int = 10_000
    max_block_txs: int = 4_096
    max_block_bytes: int = 524_288
    max_tx_bytes: int = 16_384


class Body(NamedTuple):
    """A block this node holds, with the proposal that carried it."""

    header: Header
    raw_header: bytes
    txs: tuple[bytes, ...]
    view: View
    proposal_sig: Signature
    """Empty for a block of one's own, or one that came with a certificate."""

    @classmethod
    def of_message(cls, message: Block | BlockBody) -> Body:
        """From a proposal the gate has checked."""
        header = decode_header(message.header)
        return cls(header, message.header, message.txs, message.view, message.proposal_sig)

    @classmethod
    def of_decided(cls, block: DecidedBlock) -> Body:
        """From a decided block the gate has checked."""
        view = block.certificate.view
        return cls(decode_header(block.header), block.header, block.txs, view, b"")

    @classmethod
    def of_record(cls, record: BodyRecord) -> Body:
        """From the store."""
        header = decode_header(record.header)
        return cls(header, record.header, record.txs, record.view, record.proposal_sig)

    def record(self, digest: Digest) -> BodyRecord:
        """For the store."""
        height = self.header.height
        return BodyRecord(digest, height, self.view, self.raw_header, self.txs, self.proposal_sig)


class Bodies:
    """Bodies of heights that are not decided, by digest; each is written once.

    Args:
        out: where they are made durable.
    """

    __slots__ = ("_held", "_kept", "_out")

    def __init__(self, out: Outbox) -> None:
        self._held: dict[Digest, Body] = {}
        self._kept: set[Digest] = set()
        """On disk."""
        self._out = out

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._held

    def __getitem__(self, digest: Digest) -> Body:
        return self._held[digest]

    def get(self, digest: Digest) -> Body | None:
        """A body, if it is here."""
        return self._held.get(digest)

    def add(self, digest: Digest, body: Body) -> None:
        """Hold a body, unless it is held."""
        self._held.setdefault(digest, body)

    def resume(self, record: BodyRecord) -> None:
        """A body from the store."""
        self._held[record.digest] = Body.of_record(record)
        self._kept.add(record.digest)

    def keep(self, digest: Digest) -> None:
        """Make a held body durable with this step, before anything refers to it."""
        if digest not in self._kept:
            self._kept.add(digest)
            self._out.persist(self._held[digest].record(digest))

    def forget_through(self, height: Height) -> None:
        """Bodies at or below a decided height are the store's business."""
        for digest in [d for d, body in self._held.items() if body.header.height <= height]:
            del self._held[digest]
            self._kept.discard(digest)


class Head(NamedTuple):
    """The last decided block; at genesis height 0, digest = chain id, no certificate."""

    height: Height
    digest: Digest
    time_ms: TimeMs
    certificate: Certificate | None


def follows(body: Header, head: Head, applied: Applied, epoch: Epoch, next_set: Digest) -> str:
    """Whether a block may stand on ``head``: a function of block and chain state alone (§5).

    Returns:
        Why not, or an empty string.
    """
    if body.height != head.height + 1:
        return f"height {body.height} on head {head.height}"
    if body.epoch != epoch:
        return f"epoch {body.epoch}, in force is {epoch}"
    if body.parent != head.digest:
        return "another parent"
    if body.time_ms <= head.time_ms:
        return f"time {body.time_ms} not after the parent's {head.time_ms}"
    if body.state_root != applied.state_root:
        return "another state root after the parent"
    if body.receipts_root != applied.receipts_root:
        return "another receipts root after the parent"
    if body.next_validators != next_set:
        return "another next validator set"
    return ""
