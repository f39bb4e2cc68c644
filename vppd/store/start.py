"""The start rules: what a store must be for its node to vote again (protocol.md, §4).

A safety record that is missing, damaged, or older than what the node has promised makes the node an
observer: it follows and serves, and signs nothing. Any other damage refuses the start. What is
recognised here, and what only the plant can tell (docs/adr/0011), is in docs/adr/0009.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from vppd.codec import Malformed
from vppd.consensus.boundary import ObserverRecord
from vppd.store import reader
from vppd.store.connection import uri
from vppd.store.guard import Guard, Mark, guard_file, read_guard
from vppd.store.log import frames_taken, read_log
from vppd.store.safety import OBSERVER_GENERATION, SafetyRow
from vppd.store.schema import (
    MISTYPED,
    SCHEMA_VERSION,
    SYNCHRONOUS,
    Synchronous,
    busy,
    identify,
    make_safety_table,
    opening,
    primary_code,
    reading,
    upgrade,
)
from vppd.store.writer import Writer, transaction
from vppd.types import ZERO_DIGEST, Digest, Height

log = structlog.get_logger("vppd.store")

REASON_BYTES = 256


def prepare(
    connection: sqlite3.Connection, path: Path, chain_id: Digest, synchronous: Synchronous
) -> tuple[Writer, Guard]:
    """Recognise the file, judge it, and write its safety record again, synced (§4, Start 2).

    Args:
        connection: may write, and has not been used: its first use, and its end, change the log.
        path: the database file, no link to it.
        chain_id: SHA-256 of the genesis file.
        synchronous: from the return on.

    Raises:
        UserError: E251, another chain; E252, a newer vppd's; E254, it is being read.
        Malformed, sqlite3.Error: damaged, beyond the safety record.
        OSError: the guard or the log cannot be read or written.
    """
    lost = _lost_of_log(path)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    version = identify(connection, path, chain_id)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS['full']}")
    if not checkpoint(connection):
        raise busy(path, "it is being read, so that its log cannot be emptied")
    if version < SCHEMA_VERSION:
        _upgrade(connection, path, version)
    with reading("the last decision"):
        decided = reader.decided(connection)
    row = _judge(connection, path, decided, lost)
    if row.observer is not None:
        log.error("observer", why=row.observer.reason, store=str(path))
        guard = Guard.create(path)
    else:
        guard = Guard.open(path)
    try:
        with transaction(connection):
            row.save(connection)
        guard.note(Mark(row.generation, decided, row.checksum))
        guard.sync()
    except BaseException:
        guard.close()
        raise
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[synchronous]}")
    return Writer(decided, row, guard), guard


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Move the log into the database and empty it; false when a reader is in the way."""
    blocked, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not blocked


def _lost_of_log(path: Path) -> int:
    """How many synced frames of the log SQLite does not take; if any, the guard knows it, too.

    The log is the only proof of that, and does not live long: the first use of a connection that
    writes may overwrite it, its end removes it, even when the start is refused or cut short. So it
    is looked at before by one that only reads, and the proof is moved to the guard, synced.
    """
    found = read_log(path)
    if not found.frames:
        return 0
    with closing(sqlite3.connect(uri(path, "ro"), uri=True)) as looking:
        lost = found.lost(frames_taken(looking, path))
    if lost:
        there = guard_file(path).exists()  # a store of version 1 has none
        guard = Guard.open(path) if there else Guard.create(path)
        try:
            guard.note(Mark(OBSERVER_GENERATION, 0, ZERO_DIGEST))
            guard.sync()
        finally:
            guard.close()
    return lost


def _upgrade(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Version 1 had no guard; from then on one that is missing is a loss."""
    if version == 1 and not guard_file(path).exists():
        Guard.create(path).close()
    log.info("upgrading", store=str(path), schema=version, to=SCHEMA_VERSION)
    with transaction(connection):
        upgrade(connection, version)
    log.info("upgraded", store=str(path), schema=SCHEMA_VERSION)


# ---------------------------------------------------------------- judging


class Noted(NamedTuple):
    """What lies beside a store as its guard."""

    there: bool
    mark: Mark | None
    """``None``: there is no guard, or nothing in it can be read."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Beside a running node, before the transaction begins that the guard is compared with.

        Raises:
            OSError: it is there and cannot be read.
        """
        try:
            return cls(True, read_guard(path))
        except FileNotFoundError:
            return cls(False, None)


def why_unfit(connection: sqlite3.Connection, path: Path, decided: Height, guard: Noted) -> str:
    """Why the safety record of a store must not vote; empty: it may, or is an observer's.

    Writes nothing. Damage in the middle of the log is not looked for.
    """
    row, why = _load(connection)
    return why if row is None else _why_older(connection, path, row, decided, guard)


def _judge(connection: sqlite3.Connection, path: Path, decided: Height, lost: int) -> SafetyRow:
    """The safety record to go on with: the stored one, or one that does not vote."""
    row, why = _load(connection)
    if row is not None and not why:
        why = _why_older(connection, path, row, decided, Noted.read(path))
        if lost and row.observer is None:
            why = f"the log is damaged: {lost} of its last pages are lost, and were synced"
    if row is None or why:
        return _begin_again(connection, path, observer_record(why), row)
    if row.observer is not None and row.observer.nonce == ZERO_DIGEST:
        row.put(observer_record(row.observer.reason))
    return row


def _load(connection: sqlite3.Connection) -> tuple[SafetyRow | None, str]:
    try:
        with reading("the safety record"):
            return SafetyRow.load(connection), ""
    except (Malformed, *MISTYPED) as err:
        return None, str(err)
    except sqlite3.DatabaseError as err:
        if primary_code(err) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            raise
        return None, f"the safety record cannot be read: {err}"


def _why_older(
    connection: sqlite3.Connection, path: Path, row: SafetyRow, decided: Height, guard: Noted
) -> str:
    """Why a record that is sound in itself is not the last one; an observer's need not be."""
    if row.observer is not None:
        return ""
    mark = guard.mark
    if not guard.there:
        return f"{guard_file(path).name} is missing: the store was copied or restored without it"
    if mark is None:
        if row.generation > 1:
            log.warning("guard_unreadable", file=str(guard_file(path)))
        return reader.dangling(connection, row)
    if row.generation < OBSERVER_GENERATION <= mark.generation:
        return "this node had lost what it promised before, and this store is from before that"
    if row.generation < mark.generation:
        return (
            f"the safety record is older than what was promised: version {row.generation}, "
            f"there was a version {mark.generation}"
        )
    if row.generation == mark.generation and row.checksum != mark.checksum:
        return "the safety record is not the one that was promised last"
    if decided < mark.decided:
        return f"the store ends at height {decided}, it had reached {mark.decided}"
    return reader.dangling(connection, row)


# ---------------------------------------------------------------- observers


def _begin_again(
    connection: sqlite3.Connection, path: Path, observer: ObserverRecord, lost: SafetyRow | None
) -> SafetyRow:
    """Put the safety record aside and write one that never votes, synced.

    Its generation goes on where any known one ended, so that no older record looks newer.
    """
    try:
        mark = read_guard(path)
    except OSError:
        mark = None
    known = max(lost.generation if lost else 0, mark.generation if mark else 0)
    with transaction(connection):
        make_safety_table(connection)
        row = SafetyRow(known, [observer])
        row.save(connection)
    return row


def observer_record(why: str) -> ObserverRecord:
    """With a nonce that did not exist before the loss (§4, Fresh or lost)."""
    short = why.encode()[:REASON_BYTES].decode(errors="ignore")
    return ObserverRecord(short, secrets.token_bytes(32))


def mark_observer(path: Path, chain_id: Digest, why: str) -> ObserverRecord:
    """Make a store that nobody has open one that never votes, whatever it holds now.

    For a store that comes from elsewhere: a backup, another machine. The caller holds its lock, or
    has not yet put it where a daemon would look. Returns when it is durable.

    Args:
        path: the database file.
        chain_id: SHA-256 of the genesis file.
        why: for people; cut to 256 bytes.

    Raises:
        UserError: E251–E256, as opening the store.
    """
    path = path.resolve()
    with opening(path), closing(sqlite3.connect(uri(path, "rw"), uri=True)) as connection:
        connection.isolation_level = None
        version = identify(connection, path, chain_id)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if version < SCHEMA_VERSION:
            _upgrade(connection, path, version)
        row, _ = _load(connection)
        observer = observer_record(why)
        made = _begin_again(connection, path, observer, row)
        guard = Guard.create(path)
        try:
            guard.note(Mark(made.generation, reader.decided(connection), made.checksum))
            guard.sync()
        finally:
            guard.close()
        if not checkpoint(connection):
            raise busy(path, "it is being read")
        return observer
