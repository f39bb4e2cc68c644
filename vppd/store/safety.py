"""The safety record on disk: one checksummed row, always written whole (protocol.md, §4).

A rotten byte in it could make this node vote twice, so it is either read exactly as it was written
or not at all. A new view is large and a vote is small: the row names the new view by its hash, and
its content has a table of its own.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from typing import Any, TypeAlias

from vppd.codec import U63, Bytes32, Decoder, Malformed, Message, encode
from vppd.consensus.boundary import (
    NewViewRecord,
    ObserverRecord,
    PreparedRecord,
    ProposalRecord,
    ViewChangeRecord,
    ViewRecord,
    VoteRecord,
)
from vppd.crypto import sha256
from vppd.errors import LocalFault
from vppd.types import ZERO_DIGEST, Digest, Height

SlotRecord: TypeAlias = (
    ViewRecord
    | VoteRecord
    | ProposalRecord
    | PreparedRecord
    | ViewChangeRecord
    | NewViewRecord
    | ObserverRecord
)
SLOTS = (
    ViewRecord,
    VoteRecord,
    ProposalRecord,
    PreparedRecord,
    ViewChangeRecord,
    NewViewRecord,
    ObserverRecord,
)
"""One slot per kind; the last record written is the one that counts."""

OBSERVER_GENERATION = 2**62
"""An observer's record counts from here: no record that voted before the loss looks newer."""

NEW_VIEWS_KEPT = 64
"""Contents kept beside the one that counts (§10, GC)."""


class NewViewReference(Message, frozen=True, tag=136):
    """Stands in the row for a new view whose content is in ``new_views``."""

    epoch: U63
    view: U63
    digest: Bytes32
    """SHA-256 of the content."""


_decode_row = Decoder(tuple[SlotRecord | NewViewReference, ...])
_decode_new_view = Decoder(NewViewRecord)
_GENERATION = struct.Struct(">Q")


def body_of(record: SlotRecord) -> tuple[Height, Digest] | None:
    """The block a slot refers to."""
    match record:
        case VoteRecord() | ProposalRecord():
            return record.height, record.digest
        case PreparedRecord():
            return record.certificate.height, record.certificate.digest
        case _:
            return None


class SafetyRow:
    """The row as the writer holds it: loaded once, then changed only together with the disk.

    Args:
        generation: how often the row has been written.
        slots: at most one record per kind.
    """

    __slots__ = ("_content", "_reference", "_slots", "_stored", "checksum", "generation")

    def __init__(self, generation: int = 0, slots: Iterable[SlotRecord] = ()) -> None:
        self.generation = generation
        """How often it was written."""
        self.checksum: Digest = ZERO_DIGEST
        """Of what was written or read last."""
        self._stored: int | None = None
        """The generation on disk; ``None``: there is no row yet."""
        self._slots: dict[type[SlotRecord], SlotRecord] = {}
        self._reference: NewViewReference | None = None
        self._content: bytes | None = None
        """Of a new view that is not in its table yet."""
        for slot in slots:
            self.put(slot)

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> SafetyRow:
        """Read and check the row, with the content it refers to.

        Raises:
            Malformed: missing, or not what was written.
            sqlite3.Error: not readable.
        """
        rows: list[Any] = connection.execute(
            "SELECT generation, record, checksum FROM safety"
        ).fetchmany(2)
        if not rows:
            raise Malformed("the safety record is missing")
        generation, record, checksum = rows[0]
        whole = len(rows) == 1 and isinstance(generation, int) and isinstance(record, bytes)
        if not whole or not 0 <= generation < 2**63 or _checksum(generation, record) != checksum:
            raise Malformed("the safety record is damaged: its checksum does not hold")
        row = cls(generation)
        row.checksum = checksum
        row._stored = generation
        for slot in _decode_row(record):
            if isinstance(slot, NewViewReference):
                row.put(_new_view(connection, slot))
            else:
                row.put(slot)
        row._content = None
        return row

    @property
    def records(self) -> tuple[SlotRecord, ...]:
        """What is held, in the order of :data:`SLOTS`."""
        return tuple(self._slots[kind] for kind in SLOTS if kind in self._slots)

    @property
    def observer(self) -> ObserverRecord | None:
        """Why this node only follows, if it does."""
        slot = self._slots.get(ObserverRecord)
        return slot if isinstance(slot, ObserverRecord) else None

    def put(self, record: SlotRecord) -> None:
        """Replace the record of that kind; :meth:`save` writes it."""
        self._slots[type(record)] = record
        if isinstance(record, NewViewRecord):
            self._content = encode(record)
            message = record.message
            self._reference = NewViewReference(message.epoch, message.view, sha256(self._content))

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the row, in the transaction under way; its generation goes up.

        Raises:
            LocalFault: the row is not the one read or written last: a second process writes it.
        """
        if self._content is not None and self._reference is not None:
            _keep_new_view(connection, self._reference.digest, self._content)
            self._content = None
        record = encode(
            tuple(self._reference if type(s) is NewViewRecord else s for s in self.records)
        )
        last = self.generation if self.observer is None else OBSERVER_GENERATION
        self.generation = max(self.generation, last) + 1
        self.checksum = _checksum(self.generation, record)
        values = (self.generation, record, self.checksum)
        if self._stored is None:
            connection.execute(
                "INSERT INTO safety (id, generation, record, checksum) VALUES (1, ?, ?, ?)", values
            )
        else:
            done = connection.execute(
                "UPDATE safety SET generation = ?, record = ?, checksum = ? WHERE generation = ?",
                (*values, self._stored),
            )
            if done.rowcount != 1:
                raise LocalFault("another process has written the safety record")
        self._stored = self.generation


def _new_view(connection: sqlite3.Connection, reference: NewViewReference) -> NewViewRecord:
    row = connection.execute(
        "SELECT record FROM new_views WHERE digest = ?", (reference.digest,)
    ).fetchone()
    if row is None:
        raise Malformed(f"the new view {reference.view} of the safety record is missing")
    content = row[0]
    if not isinstance(content, bytes) or sha256(content) != reference.digest:
        raise Malformed(f"the new view {reference.view} of the safety record is damaged")
    return _decode_new_view(content)


def _keep_new_view(connection: sqlite3.Connection, digest: Digest, content: bytes) -> None:
    """Once per content; the oldest make room, the one the row will name never does."""
    connection.execute("INSERT INTO new_views (digest, record) VALUES (?, ?)", (digest, content))
    connection.execute(
        "DELETE FROM new_views WHERE digest <> ? AND seq <= (SELECT max(seq) FROM new_views) - ?",
        (digest, NEW_VIEWS_KEPT),
    )


def _checksum(generation: int, record: bytes) -> Digest:
    return sha256(b"VPPD1 safety" + _GENERATION.pack(generation) + record)
