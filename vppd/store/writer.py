"""Everything that writes: one function, one transaction, on the connection's thread.

Decided rows are guarded twice: here, with an error that says what is wrong, and by the triggers
of schema.sql against everything else that may ever open the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import assert_never

from vppd.codec import encode
from vppd.consensus.boundary import (
    BodyRecord,
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
from vppd.consensus.evidence import charge_of
from vppd.era import Era
from vppd.errors import LocalFault
from vppd.header import decode_header
from vppd.store import places, reader
from vppd.store.guard import Guard, Mark
from vppd.store.rows import PRUNED, Base, ExecutionRow
from vppd.store.safety import SafetyRow
from vppd.store.schema import primary_code
from vppd.types import Height


class Busy(Exception):
    """Another process holds the database for longer than the connection waits."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it, durable, or nothing.

    Raises:
        Busy: another process writes; nothing has begun.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as err:
        if primary_code(err) == sqlite3.SQLITE_BUSY:
            raise Busy(str(err)) from err
        raise
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # what failed first is what matters
            connection.execute("ROLLBACK")
        raise


class Writer:
    """What the write connection's thread knows; nothing else touches it while that runs.

    A transaction that failed leaves the disk behind what this process believes, so the first
    failure is the last: every later call is refused.

    Args:
        decided: highest decision on disk.
        safety: the safety record on disk.
        guard: told of each promise once it is durable; ``None``: nobody needs to know.
    """

    __slots__ = ("_guard", "_safety", "broken", "decided")

    def __init__(self, decided: Height, safety: SafetyRow, guard: Guard | None = None) -> None:
        self.decided = decided
        self.broken = False
        self._safety = safety
        self._guard = guard

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        if self.broken:
            raise LocalFault("an earlier write failed, nothing more is written")
        try:
            with transaction(connection):
                yield
        except Busy:
            raise  # nothing was tried
        except BaseException:
            self.broken = True
            raise

    def seed(self, connection: sqlite3.Connection, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """The state of genesis."""
        with self._transaction(connection):
            connection.executemany("INSERT INTO state (key, value) VALUES (?, ?)", entries)
            connection.execute("INSERT INTO meta (key, value) VALUES ('genesis_state', 1)")

    def install(
        self,
        connection: sqlite3.Connection,
        base: Base,
        entries: Iterable[tuple[bytes, bytes]],
    ) -> Height:
        """Begin with a snapshot instead of genesis, in one transaction; its height.

        The caller has verified all of it.

        Raises:
            LocalFault: something was decided here before.
        """
        header = decode_header(base.block.header)
        after = decode_header(base.following.header)
        height, digest = header.height, header.digest()
        if self.decided:
            raise LocalFault(f"a snapshot for a store that has height {self.decided}")
        with self._transaction(connection):
            connection.execute(
                "INSERT INTO base (id, height, header, certificate) VALUES (1, ?, ?, ?)",
                (height, base.following.header, encode(base.following.certificate)),
            )
            for era, last, certificate in ((e.era, e.header, e.certificate) for e in base.links):
                _insert_era(connection, era)
                if era.first <= height:
                    connection.execute(
                        "INSERT INTO links (epoch, header, certificate) VALUES (?, ?, ?)",
                        (era.epoch, last, encode(certificate)),
                    )
            connection.execute("DELETE FROM bodies WHERE height <= ?", (height,))
            connection.execute(
                "INSERT INTO bodies (digest, height, view, header, txs, proposal_sig) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (digest, height, base.block.certificate.view, base.block.header, PRUNED, b""),
            )
            connection.execute(
                "INSERT INTO decisions (height, digest, certificate) VALUES (?, ?, ?)",
                (height, digest, encode(base.block.certificate)),
            )
            connection.execute(
                "INSERT INTO executions "
                "(height, state_root, receipts_root, receipts, next_due_ms) VALUES (?, ?, ?, ?, ?)",
                (height, after.state_root, after.receipts_root, encode(()), base.next_due_ms),
            )
            connection.execute("DELETE FROM state")
            connection.executemany("INSERT INTO state (key, value) VALUES (?, ?)", entries)
            connection.execute(
                "INSERT OR IGNORE INTO meta (key, value) VALUES ('genesis_state', 1)"
            )
        self._note(height)
        self.decided = height
        return height

    def prune(self, connection: sqlite3.Connection, through: Height) -> int:
        """Remove transactions, receipts and index up to a height, in one transaction.

        Headers and certificates stay. Small pieces are the caller's business.

        Returns:
            Heights that had anything to remove.
        """
        with self._transaction(connection):
            return prune(connection, through)

    def write(
        self,
        connection: sqlite3.Connection,
        records: Sequence[Record],
        executions: Sequence[ExecutionRow],
    ) -> None:
        """One transaction: records first, since an execution may need its decision."""
        with self._transaction(connection):
            decided = self.decided
            promised = False
            for record in records:
                match record:
                    case BodyRecord():
                        if record.height > decided:
                            _insert_body(connection, record)
                    case DecisionRecord():
                        _insert_decision(connection, record, decided)
                        decided = record.height
                    case EvidenceRecord():
                        _insert_evidence(connection, record)
                        promised = True  # so that the guard knows of it, too
                    case (
                        ViewRecord()
                        | VoteRecord()
                        | ProposalRecord()
                        | PreparedRecord()
                        | ViewChangeRecord()
                        | NewViewRecord()
                        | ObserverRecord()
                    ):
                        self._safety.put(record)
                        promised = True
                    case _:  # pragma: no cover
                        assert_never(record)
            if promised:
                self._safety.save(connection)
            for row in executions:
                _insert_execution(connection, row)
        if promised or decided != self.decided:
            self._note(decided)
        self.decided = decided

    def _note(self, decided: Height) -> None:
        """Tell the guard what is durable now, before anybody else hears of it."""
        if self._guard is not None:
            try:
                self._guard.note(Mark(self._safety.generation, decided, self._safety.checksum))
            except OSError:
                self.broken = True
                raise


def _insert_body(connection: sqlite3.Connection, body: BodyRecord) -> None:
    """Once; a trigger ignores a digest that is there."""
    connection.execute(
        "INSERT INTO bodies (digest, height, view, header, txs, proposal_sig) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (body.digest, body.height, body.view, body.header, encode(body.txs), body.proposal_sig),
    )


def _insert_evidence(connection: sqlite3.Connection, record: EvidenceRecord) -> None:
    """Once per charge; a trigger ignores what is there."""
    signer, kind, epoch, view, height = charge_of(record.proof)
    connection.execute(
        "INSERT INTO evidence (signer, kind, epoch, view, height, record) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (signer, kind, epoch, view, height, encode(record)),
    )


def _insert_decision(connection: sqlite3.Connection, row: DecisionRecord, decided: Height) -> None:
    if row.height != decided + 1:
        raise LocalFault(f"decision {row.height} after {decided}")
    if (row.certificate.height, row.certificate.digest) != (row.height, row.digest):
        raise LocalFault(f"decision {row.height} with a certificate for another block")
    connection.execute(
        "INSERT INTO decisions (height, digest, certificate) VALUES (?, ?, ?)",
        (row.height, row.digest, encode(row.certificate)),
    )
    connection.execute(
        "DELETE FROM bodies WHERE height = ? AND digest <> ?", (row.height, row.digest)
    )


def _insert_execution(connection: sqlite3.Connection, row: ExecutionRow) -> None:
    connection.execute(
        "INSERT INTO executions (height, state_root, receipts_root, receipts, next_due_ms) "
        "VALUES (?, ?, ?, ?, ?)",
        (row.height, row.state_root, row.receipts_root, encode(row.receipts), row.next_due_ms),
    )
    places.append(connection, row.height, row.tx_ids, row.refused)
    connection.executemany(
        "REPLACE INTO state (key, value) VALUES (?, ?)",
        [change for change in row.changes if change[1] is not None],
    )
    connection.executemany(
        "DELETE FROM state WHERE key = ?", [(key,) for key, value in row.changes if value is None]
    )
    if row.era is not None:
        _insert_era(connection, row.era)


def _insert_era(connection: sqlite3.Connection, era: Era) -> None:
    connection.execute(
        "INSERT INTO eras (epoch, first, record) VALUES (?, ?, ?)",
        (era.epoch, era.first, encode(era)),
    )


def prune(connection: sqlite3.Connection, through: Height) -> int:
    """Remove transactions, receipts and index up to ``through``, in the transaction under way.

    Returns:
        Heights that had anything to remove.
    """
    first = reader.first_block(connection)
    if through < first:
        return 0
    if reader.pruned(connection):
        connection.execute("UPDATE pruned SET through = ?", (through,))
    else:
        connection.execute("INSERT INTO pruned (id, through) VALUES (1, ?)", (through,))
    changed = connection.execute(
        "UPDATE bodies SET txs = ?, proposal_sig = ? WHERE height BETWEEN ? AND ?",
        (PRUNED, b"", first, through),
    )
    places.prune(connection, through)
    connection.execute("DELETE FROM executions WHERE height <= ?", (through,))
    return changed.rowcount
