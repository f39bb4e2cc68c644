"""The safety record on disk: one checksummed row, always written whole (protocol.md, §4).

A rotten byte in it could make this node vote twice, so it is either read exactly as it was written
or not at all.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from typing import TypeAlias

from vppd.codec import Decoder, Malformed, encode
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
from vppd.types import Digest

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

_decode = Decoder(tuple[SlotRecord, ...])
_GENERATION = struct.Struct(">Q")


def digest_of(record: SlotRecord) -> Digest | None:
    """The block a slot refers to."""
    match record:
        case VoteRecord() | ProposalRecord():
            return record.digest
        case PreparedRecord():
            return record.certificate.digest
        case _:
            return None


class SafetyRow:
    """The row as the writer holds it: loaded once, then changed only together with the disk.

    Args:
        generation: how often the store has been opened.
        slots: at most one record per kind.
    """

    __slots__ = ("_generation", "_slots")

    def __init__(self, generation: int = 0, slots: Iterable[SlotRecord] = ()) -> None:
        self._generation = generation
        self._slots: dict[type[SlotRecord], SlotRecord] = {type(slot): slot for slot in slots}

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> SafetyRow:
        """Read and check the row.

        Raises:
            Malformed: missing, or not what was written.
        """
        row = connection.execute("SELECT generation, record, checksum FROM safety").fetchone()
        if row is None:
            raise Malformed("the safety record is missing")
        generation, record, checksum = row
        if generation < 0 or _checksum(generation, record) != checksum:
            raise Malformed("the safety record is damaged: its checksum does not hold")
        return cls(generation, _decode(record))

    @property
    def records(self) -> tuple[SlotRecord, ...]:
        """What is held, in the order of :data:`SLOTS`."""
        return tuple(self._slots[kind] for kind in SLOTS if kind in self._slots)

    def put(self, record: SlotRecord) -> None:
        """Replace the record of that kind; :meth:`save` writes it."""
        self._slots[type(record)] = record

    def reopened(self) -> None:
        """Count an opening, so that writing the row again changes it."""
        self._generation += 1

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the row, in the transaction under way."""
        record = encode(self.records)
        connection.execute(
            "REPLACE INTO safety (id, generation, record, checksum) VALUES (1, ?, ?, ?)",
            (self._generation, record, _checksum(self._generation, record)),
        )


def _checksum(generation: int, record: bytes) -> Digest:
    return sha256(b"VPPD1 safety" + _GENERATION.pack(generation) + record)
