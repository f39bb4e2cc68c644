"""``vppd recover``: what is left of a store, in a new one that follows and never votes.

Every decided block that verifies from height 1 up is taken over, everything executed again; the
plant has the rest. What the node had promised beyond the decided blocks is gone with the old file,
so the new one is an observer's (protocol.md, §4, Fresh or lost). The old files are moved aside.

It may be killed at any instant. Until the new store is complete, nothing of the old one has
changed; from then on the new one lies beside it as ``chain.db.recovered``, no node starts, and the
next recovery goes on from there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import ObserverRecord
from vppd.errors import LocalFault, UserError
from vppd.ledger.execution import Ledger
from vppd.store import places, reader
from vppd.store.connection import uri
from vppd.store.guard import Guard, Mark
from vppd.store.lock import StoreLock
from vppd.store.owner import give_to_folders_owner
from vppd.store.rows import ExecutionRow
from vppd.store.safety import SafetyRow
from vppd.store.schema import (
    MISTYPED,
    SCHEMA_VERSION,
    altered_layout,
    identify,
    lay_out,
    opening,
    recovered_file,
    unordered,
)
from vppd.store.start import Noted, mark_observer, observer_record, why_unfit
from vppd.store.verify import Part, sound_blocks, verify_chain
from vppd.store.writer import Writer, transaction
from vppd.types import Height

__all__ = ["Recovery", "mark_observer", "recover"]

Progress = Callable[[Height, Height], None]
"""Called with each height done and the last one known."""


class Recovery(NamedTuple):
    """What a recovery did, or found done."""

    changed: bool
    """False: the store was a sound observer's already."""
    kept: Height
    """Blocks 1 to this are in the new store."""
    known: Height | None
    """Highest decision the old file told of, if it could still tell."""
    first_lost: str
    """Why the block after ``kept`` could not be kept; empty: there was none."""
    aside: tuple[Path, ...]
    """Where the old files are now."""
    observer: ObserverRecord
    """Its reason says what was wrong."""


def recover(
    path: Path, genesis: Genesis, *, force: bool = False, progress: Progress = lambda *_: None
) -> Recovery:
    """Rebuild the store at ``path``; no node may be running on it.

    Args:
        path: the database file; it need not exist.
        genesis: of its chain.
        force: also if the store seems sound, as one that was restored from a copy does.
        progress: of checking and copying.

    Raises:
        UserError: E251, the store is another chain's; E252, a newer vppd's; E254, a node runs on
            it; E256, it cannot be opened; E260, it is sound; E262, files cannot be written; E290,
            what a recovery seems to have left is not its work.
    """
    path = path.resolve()
    lock = StoreLock(path)
    try:
        return _recover(path, genesis, force, progress)
    except (OSError, sqlite3.Error) as err:
        raise UserError(
            "E262",
            "the recovery could not be finished",
            facts={"store": str(path), "reason": str(err)},
            hint="check owner, permissions and free space of the folder, then vppd recover again:\n"
            "nothing is lost by that",
        ) from err
    finally:
        lock.release()


def _recover(path: Path, genesis: Genesis, force: bool, progress: Progress) -> Recovery:
    if not recovered_file(path).exists():
        why = _ailment(path, genesis, thorough=not force, progress=progress)
        if not why and _is_observer(path):
            return _report(path, (), changed=False)
        if not why and not force:
            raise UserError(
                "E260",
                "the chain store is sound, there is nothing to recover",
                facts={"store": str(path)},
                hint="vppd start runs it; if it was put back from a copy: vppd recover --force,\n"
                "since this node may have signed more than the copy knows of",
            )
        _rebuild(path, genesis, why or "a recovery was asked for", progress)
    return _report(path, swap(path), changed=True)


# ---------------------------------------------------------------- looking


def _ailment(path: Path, genesis: Genesis, *, thorough: bool, progress: Progress) -> str:
    """What is wrong with the store; empty: nothing, as far as can be seen from here."""
    if not path.exists():
        return "there was no chain store"
    try:
        with opening(path), closing(_read_only(path)) as connection:
            version = identify(connection, path, genesis.digest)
            why = why_unfit(connection, path, reader.decided(connection), Noted.read(path))
            if why:
                return why
            checks = connection.execute("PRAGMA quick_check(1)").fetchone()
            if checks != ("ok",):
                return f"the database is damaged: {checks[0]}"
            if not _is_writable(path):
                return "the database is damaged: its header says that nobody may write it"
            if version == SCHEMA_VERSION and (altered := altered_layout(connection)):
                return f"the database is damaged: {altered} is not as it was made"
            reader.resume(connection)
        if not thorough:
            return ""
        report = verify_chain(path, genesis, progress=progress)
    except UserError as err:
        if err.code != "E253":
            raise
        return err.facts["reason"]
    return report.problem or ""


_WRITE_VERSION_AT = 18
"""Offset in the file; 1 is a journal's, 2 a log's, and with any other SQLite never writes."""


def _is_writable(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_WRITE_VERSION_AT + 1)[_WRITE_VERSION_AT:] in (b"\x01", b"\x02")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None)


def _is_observer(path: Path) -> bool:
    with opening(path), closing(_read_only(path)) as connection:
        return SafetyRow.load(connection).observer is not None


def _report(path: Path, aside: tuple[Path, ...], *, changed: bool) -> Recovery:
    """What the store in its place says of itself."""
    with opening(path), closing(_read_only(path)) as connection:
        observer = SafetyRow.load(connection).observer
        notes = dict(connection.execute("SELECT key, value FROM meta"))
        kept = notes.get(_KEPT, reader.decided(connection))
    if observer is None:
        raise LocalFault(f"{path}: the recovered store is no observer's")
    return Recovery(changed, kept, notes.get(_KNOWN), notes.get(_FIRST_LOST, ""), aside, observer)


# ---------------------------------------------------------------- building the new one


_KEPT, _KNOWN, _FIRST_LOST = "recovered_height", "height_before", "first_lost"
"""Keys in ``meta``: one that is interrupted and goes on tells the same as one that is not."""


def _rebuild(path: Path, genesis: Genesis, why: str, progress: Progress) -> None:
    """Make ``chain.db.recovered`` from what holds of the old file."""
    target = path.with_name(path.name + ".rebuilding")
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(uri(target, "rw"), uri=True, isolation_level=None)) as made:
            # Nobody looks at this file before it is whole and synced.
            made.execute("PRAGMA journal_mode = OFF")
            made.execute("PRAGMA synchronous = OFF")
            with transaction(made):
                lay_out(made, genesis.digest)
            _fill(made, path, genesis, why, progress)
        _sync(target)
        target.rename(recovered_file(path))
    except (OSError, sqlite3.Error):  # a full disk, most likely: room is what is needed
        target.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _fill(
    made: sqlite3.Connection, path: Path, genesis: Genesis, why: str, progress: Progress
) -> None:
    safety = SafetyRow()
    writer = Writer(0, safety)
    notes: dict[str, object] = {}
    why_not = _keep_part(made, path, genesis, progress) if path.exists() else None
    if why_not == "":
        writer.decided = reader.decided(made)
        with closing(_read_only(path)) as old:
            notes[_KNOWN], safety.generation = _known(old)
    else:
        writer.seed(made, Ledger.from_genesis(genesis).entries())
    if path.exists() and why_not != "":
        with closing(_read_only(path)) as old:
            known, safety.generation = _known(old)
            if known is not None:
                notes[_KNOWN] = known
            blocks = sound_blocks(old, genesis)
            while True:
                try:
                    body, decision, execution = next(blocks)
                except StopIteration as end:
                    if why_not or end.value is not None:
                        notes[_FIRST_LOST] = why_not or str(end.value)
                    break
                writer.write(made, (body, decision), (ExecutionRow.of(execution),))
                progress(decision.height, known or decision.height)
    notes[_KEPT] = writer.decided
    writer.write(made, (observer_record(f"recovered: {why}"),), ())
    made.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", notes.items())


_PART = ("base", "links", "eras", "bodies", "decisions", "executions", "pruned")
"""In an order in which their triggers let them be written."""


def _keep_part(
    made: sqlite3.Connection, path: Path, genesis: Genesis, progress: Progress
) -> str | None:
    """Take over a store that begins late, which no block of it could be executed again to rebuild.

    Only as a whole: where anything but its safety record does not hold, the plant has the rest.

    Returns:
        Empty: it was taken over; why not; ``None``: it begins with block 1.
    """
    try:
        with closing(_read_only(path)) as old:
            if reader.first_block(old) == 1:
                return None
        report = verify_chain(path, genesis, progress=progress)
    except (UserError, sqlite3.Error, *MISTYPED):
        return None  # nothing can be told of it; what holds is looked for block by block
    if report.failure is not None and report.failure.part is not Part.SAFETY:
        return str(report.failure)
    decided = report.last
    made.execute("ATTACH ? AS old", (uri(path, "ro"),))
    with transaction(made), unordered(made):
        for table in _PART:
            undecided = f"WHERE height <= {decided}" if table == "bodies" else ""
            made.execute(f"INSERT INTO {table} SELECT * FROM old.{table} {undecided}")  # noqa: S608 - our names
        if places.has_runs(made, "old"):
            made.execute("INSERT INTO places SELECT * FROM old.places")
        else:
            places.build(made, "old")
        made.execute("INSERT INTO state SELECT * FROM old.state")
        made.execute("INSERT INTO meta (key, value) VALUES ('genesis_state', 1)")
    made.execute("DETACH old")
    return ""


def _known(old: sqlite3.Connection) -> tuple[Height | None, int]:
    """Height and generation that the old file tells of, as far as it can be read."""
    try:
        height = reader.decided(old)
    except (sqlite3.Error, *MISTYPED):
        return None, 0
    try:
        generation = SafetyRow.load(old).generation
    except (sqlite3.Error, Malformed, *MISTYPED):
        generation = 0
    return height, generation


# ---------------------------------------------------------------- changing places


_OLD = ("-journal", "-wal", "-guard", "")
"""The database itself goes last: until then its log and guard can still be told to be its own.

SQLite would put the pages of a journal that is left behind into whatever takes the place."""


REPLACED = "replaced"
"""Value of :data:`ASIDE_AS` in a store that takes the place of one that need not be damaged."""
ASIDE_AS = "aside_as"
"""Key in ``meta`` of the store to come; in there, so that whoever goes on uses the same name."""


def swap(path: Path) -> tuple[Path, ...]:
    """Move the old files aside, and the store that waits as ``recovered_file`` into their place.

    The caller holds the lock. May be interrupted at any instant: called again it goes on, and until
    then no node starts (E261).

    Returns:
        Where the old files are now, the database first.

    Raises:
        UserError: E290, what waits there is damaged, or would vote; nothing was moved.
        OSError, sqlite3.Error: a file cannot be moved, read or written.
    """
    _require_finished(recovered_file(path))
    aside = _aside(path, _label(recovered_file(path)))
    for suffix in _OLD:
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(aside.with_name(aside.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)  # an index of the log, no more
    _sync(path.parent)
    give_to_folders_owner(recovered_file(path))
    recovered_file(path).rename(path)
    with opening(path), closing(_read_only(path)) as connection:
        row, decided = SafetyRow.load(connection), reader.decided(connection)
    guard = Guard.create(path)
    try:
        guard.note(Mark(row.generation, decided, row.checksum))
        guard.sync()
    finally:
        guard.close()
    _sync(path.parent)
    moved = (aside.with_name(aside.name + suffix) for suffix in reversed(_OLD))
    return tuple(file for file in moved if file.exists())


def _require_finished(coming: Path) -> None:
    """It is whole and never votes: anything may lie under that name, a copy put there by hand."""
    try:
        with opening(coming), closing(_read_only(coming)) as connection:
            why = "" if SafetyRow.load(connection).observer else "it is not an observer's"
            checks = connection.execute("PRAGMA quick_check(1)").fetchone()
            if checks != ("ok",):
                why = f"it is damaged: {checks[0]}"
    except UserError as err:
        why = err.facts["reason"]
    if why:
        raise UserError(
            "E290",
            "what should take the place of the chain store is no store that never votes",
            facts={"file": str(coming), "reason": why},
            hint="move that file away, then vppd recover again; if files of the store were moved\n"
            "before, they are beside it, under names that end in a number",
        )


def _label(coming: Path) -> str:
    with opening(coming), closing(_read_only(coming)) as connection:
        asked = connection.execute("SELECT value FROM meta WHERE key = ?", (ASIDE_AS,)).fetchone()
    return REPLACED if asked == (REPLACED,) else "damaged"


def _aside(path: Path, label: str) -> Path:
    """The first name under which nothing lies that a file still in its place would replace."""
    for number in count(1):
        aside = path.with_name(f"{path.name}.{label}-{number}")
        taken = aside.exists() or any(
            path.with_name(path.name + suffix).exists()
            and aside.with_name(aside.name + suffix).exists()
            for suffix in _OLD
        )
        if not taken:
            return aside
    raise LocalFault("no number is free")  # pragma: no cover - count has no end


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
