"""What goes into the store and comes out of it, beside the records of the core's log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vppd.codec import Decoder
from vppd.consensus.boundary import Record
from vppd.consensus.messages import Certificate, EraLink
from vppd.era import Era
from vppd.ledger.execution import Execution
from vppd.types import Digest, Height, TimeMs

decode_list = Decoder(tuple[bytes, ...])
"""Transactions of a body, receipts of an execution."""
decode_certificate = Decoder(Certificate)
decode_era = Decoder(Era)
PRUNED = b""
"""Stands for the transactions of a body that are not here; those of an empty block are ``[]``."""


class Resume(NamedTuple):
    """What a restart finds."""

    log: tuple[Record, ...]
    """For ``Engine.start``: bodies first, then the last decision, then the safety record."""
    decided: Height
    executed: Height


class ExecutionRow(NamedTuple):
    """What executing one decided block did."""

    height: Height
    state_root: Digest
    """After ``height``."""
    receipts_root: Digest
    receipts: tuple[bytes, ...]
    """Index 0 is the block's own, then one per transaction."""
    changes: tuple[tuple[bytes, bytes | None], ...]
    """State keys and their new values; ``None`` removes."""
    tx_ids: tuple[Digest, ...]
    """In the order of the block."""
    next_due_ms: TimeMs | None
    refused: tuple[int, ...] = ()
    """Positions of transactions that did not use their nonce; they are not indexed."""
    era: Era | None = None
    """That this block scheduled."""

    @classmethod
    def of(cls, done: Execution) -> ExecutionRow:
        """All of it that is stored."""
        return cls(
            done.height, done.state_root, done.receipts_root, done.receipts, done.changes,
            done.tx_ids, done.next_due_ms, done.refused, done.era,
        )  # fmt: skip

    def places(self) -> Iterator[tuple[Digest, int]]:
        """Transactions to be found by id, with their positions."""
        for position, tx_id in enumerate(self.tx_ids):
            if position not in self.refused:
                yield tx_id, position


class StoredExecution(NamedTuple):
    """An execution as kept: its changes have gone into the state, its ids into the index."""

    height: Height
    state_root: Digest
    receipts_root: Digest
    receipts: tuple[bytes, ...]
    next_due_ms: TimeMs | None


class Certified(NamedTuple):
    """A header and what decided it."""

    header: bytes
    certificate: Certificate


class Base(NamedTuple):
    """A certified snapshot that a store begins with instead of genesis."""

    block: Certified
    """At the snapshot's height."""
    following: Certified
    """At the next height: has the roots after the snapshot's."""
    links: tuple[EraLink, ...]
    """From genesis to the latest epoch known, ascending."""
    next_due_ms: TimeMs | None
    """As the ledger of that state computes it."""


class TxLocation(NamedTuple):
    """Where a transaction was executed first."""

    height: Height
    position: int
    """In the block, from 0; its receipt is at ``position + 1``."""
