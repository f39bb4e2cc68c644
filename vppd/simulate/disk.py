"""A node's disk as the protocol sees it: what was synced survives, what was not is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from vppd.codec import encode
from vppd.consensus.boundary import (
    ZERO_SIGNATURE,
    BodyRecord,
    Decision,
    DecisionRecord,
    EvidenceRecord,
    NewViewRecord,
    ObserverRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewChangeRecord,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import Blocks, DecidedBlock, NewView, ViewChange
from vppd.crypto import sha256
from vppd.errors import LocalFault
from vppd.header import Header, decode_header
from vppd.ledger.execution import Execution
from vppd.merkle import EMPTY_ROOT
from vppd.types import ZERO_DIGEST, Digest, Height

SLOTS = (
    ViewRecord,
    VoteRecord,
    ProposalRecord,
    PreparedRecord,
    ViewChangeRecord,
    NewViewRecord,
    ObserverRecord,
)
MAX_RANGE = 64
"""Blocks in one answer; the real store counts bytes."""


Promise: TypeAlias = tuple[str, int, int, int, Digest]
"""What justifies a signature: kind, epoch, view, height, digest."""


def promises_of(record: Record) -> set[Promise]:
    """The signatures a durable record allows (protocol.md, §4)."""
    match record:
        case VoteRecord(epoch, view, height, digest):
            return {("1", epoch, view, height, digest)}
        case ProposalRecord(epoch, view, height, digest):
            return {("P", epoch, view, height, digest)}
        case PreparedRecord(held):
            return {("2", held.epoch, held.view, held.height, held.digest)}
        case ViewChangeRecord(message):
            return {change_of(message)}
        case NewViewRecord(message):
            return {opening_of(message)}
        case _:
            return set()


def change_of(message: ViewChange) -> Promise:
    """A view change, but for its signature."""
    unsigned = msgspec.structs.replace(
        message, standing=msgspec.structs.replace(message.standing, sig=ZERO_SIGNATURE)
    )
    asked = message.standing
    return ("V", asked.epoch, asked.view, asked.decided, sha256(encode(unsigned)))


def opening_of(message: NewView) -> Promise:
    """A new view, but for its leader's signature."""
    unsigned = msgspec.structs.replace(message, sig=ZERO_SIGNATURE)
    return ("N", message.epoch, message.view, message.height, sha256(encode(unsigned)))


class SimDisk:
    """One database: slots of the safety record, bodies, decisions, executed state.

    ``begin`` stages one transaction; ``sync`` makes it durable; ``lose`` is the power failing in
    between. Execution results promise nothing, so they wait for the next synced transaction.
    """

    def __init__(self) -> None:
        self._slots: dict[type, Record] = {}
        self._evidence: list[EvidenceRecord] = []
        self._bodies: dict[Digest, BodyRecord] = {}
        self._decisions: list[DecisionRecord] = []
        self._staged: tuple[Record, ...] | None = None
        self._executions: list[Execution] = []
        self.promised: set[Promise] = set()
        """Everything that was ever durable here: what may leave."""
        self.state: dict[bytes, bytes] = {}
        self.executed: Height = 0
        self.receipts_root: Digest = EMPTY_ROOT

    @property
    def decided(self) -> Height:
        """Highest durable decision."""
        return len(self._decisions)

    @property
    def first_height(self) -> tuple[int, int, Height]:
        """The last view that was opened here and the first height it may decide."""
        slot = self._slots.get(NewViewRecord)
        if not isinstance(slot, NewViewRecord):
            return 0, 0, 1
        opened = slot.message
        return opened.epoch, opened.view, opened.height

    @property
    def name(self) -> Digest | None:
        """The nonce of the memory kept here, zeros if it has none; ``None``: it is lost."""
        slot = self._slots.get(ObserverRecord)
        if not isinstance(slot, ObserverRecord):
            return ZERO_DIGEST
        return slot.nonce if slot.nonce != ZERO_DIGEST else None

    @property
    def staged(self) -> bool:
        """Whether a transaction is under way."""
        return self._staged is not None

    def seed_state(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """The state of genesis."""
        self.state = dict(entries)

    def begin(self, records: Sequence[Record]) -> None:
        """Stage a transaction."""
        if self._staged is not None:
            raise LocalFault("two transactions at once")
        self._staged = tuple(records)

    def lose(self) -> int:
        """Power fails: staged records and unsynced executions are gone; returns how many."""
        lost = len(self._staged or ()) + len(self._executions)
        self._staged = None
        self._executions.clear()
        return lost

    def sync(self) -> None:
        """Make the staged transaction durable."""
        for record in self._staged or ():
            self._write(record)
        self._staged = None
        for execution in self._executions:
            self.executed, self.receipts_root = execution.height, execution.receipts_root
            for key, value in execution.changes:
                if value is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = value
        self._executions.clear()

    def executed_later(self, execution: Execution) -> None:
        """Keep an execution for the next transaction."""
        self._executions.append(execution)

    def _write(self, record: Record) -> None:
        match record:
            case BodyRecord():
                self._bodies.setdefault(record.digest, record)
            case DecisionRecord():
                if record.height != self.decided + 1:
                    raise LocalFault(f"decision {record.height} after {self.decided}")
                if record.digest not in self._bodies:
                    raise LocalFault(f"decision {record.height} without its body")
                self._decisions.append(record)
            case EvidenceRecord():
                self._evidence.append(record)
            case _:
                self._slots[type(record)] = record
        self.promised |= promises_of(record)

    def rot(self, reason: str, nonce: Digest) -> None:
        """The safety record cannot be read any more: what starts from here is an observer."""
        self._slots.clear()
        self._slots[ObserverRecord] = ObserverRecord(reason, nonce)

    def image(self) -> SimDisk:
        """A copy of everything durable, as a backup would take it."""
        copy = SimDisk()
        copy._slots = dict(self._slots)
        copy._evidence = list(self._evidence)
        copy._bodies = dict(self._bodies)
        copy._decisions = list(self._decisions)
        copy.promised = set(self.promised)
        copy.state = dict(self.state)
        copy.executed, copy.receipts_root = self.executed, self.receipts_root
        return copy

    def log(self) -> list[Record]:
        """What a restart finds: bodies first."""
        slots = [self._slots[kind] for kind in SLOTS if kind in self._slots]
        last = self._decisions[-1:]
        wanted: dict[Digest, None] = {row.digest: None for row in last}
        for slot in slots:
            match slot:
                case VoteRecord() | ProposalRecord():
                    wanted[slot.digest] = None
                case PreparedRecord():
                    wanted[slot.certificate.digest] = None
                case _:
                    pass
        bodies = [self._bodies[digest] for digest in wanted if digest in self._bodies]
        return [*bodies, *last, *slots, *self._evidence]

    def header(self, height: Height) -> Header | None:
        """Header of a decided block."""
        if not 0 < height <= self.decided:
            return None
        return decode_header(self._bodies[self._decisions[height - 1].digest].header)

    def decision(self, height: Height) -> Decision:
        """A decided block."""
        row = self._decisions[height - 1]
        body = self._bodies[row.digest]
        return Decision(height, row.digest, body.header, body.txs, row.certificate)

    def blocks_from(self, first: Height) -> Blocks | None:
        """Answer to ``get_blocks``; within one epoch, whose members the asker knows."""
        last = min(self.decided, first + MAX_RANGE - 1)
        if not 0 < first <= last:
            return None
        rows = [self.decision(first)]
        for height in range(first + 1, last + 1):
            row = self.decision(height)
            if row.certificate.epoch != rows[0].certificate.epoch:
                break
            rows.append(row)
        return Blocks(tuple(DecidedBlock(d.header, d.txs, d.certificate) for d in rows))

    def body(self, digest: Digest) -> BodyRecord | None:
        """A body, decided or not."""
        return self._bodies.get(digest)
