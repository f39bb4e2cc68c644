"""``vppd db backup`` and ``restore``: a copy of a store that can never vote.

What is promised after the copy was taken is not in it, so a node that voted with it could
contradict itself (protocol.md, §4). The copy is marked as an observer's before it gets its name.
Its nonce is left empty on purpose: the one that counts is drawn when the copy is put to use, by
``restore``, or by the start of a node in whose folder somebody has put the file by hand.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import ObserverRecord
from vppd.errors import UserError
from vppd.store import reader
from vppd.store.check import StoreState, damage_of, look
from vppd.store.connection import BUSY_S, uri
from vppd.store.guard import guard_file
from vppd.store.lock import StoreLock
from vppd.store.recover import ASIDE_AS, REPLACED, swap
from vppd.store.safety import SafetyRow
from vppd.store.schema import identify, opening, recovered_file, require_file, require_settled
from vppd.store.start import mark_observer
from vppd.store.verify import verify_chain
from vppd.store.writer import transaction
from vppd.types import ZERO_DIGEST, Digest, Height

Pages = Callable[[int, int], None]
"""Called with pages copied and pages in all."""
Blocks = Callable[[Height, Height], None]
"""Called with each height verified and the last one."""

PAGES_AT_ONCE = 256
_SUFFIXES = ("", "-wal", "-shm", "-guard", "-journal")
"""What SQLite and the guard put beside a database."""


class Backup(NamedTuple):
    """A copy that was made."""

    file: Path
    size_bytes: int
    decided: Height
    """Last height in it."""


class Restored(NamedTuple):
    """A copy that was put in place."""

    decided: Height
    observer: ObserverRecord
    """Why the node does not vote, and under which nonce."""
    aside: tuple[Path, ...]
    """Where the files of the store before are now."""
    replaced: StoreState | None
    """What that store was; ``None``: there was none, or nothing of it could be read."""


# ---------------------------------------------------------------- backup


def backup(
    path: Path,
    genesis: Genesis,
    out: Path,
    *,
    keep_free_bytes: int = 0,
    progress: Pages = lambda *_: None,
) -> Backup:
    """Copy a store, of a running node or of one that is stopped, as it is at this moment.

    The copy is checked (structure, chain, height), synced, and gets its name last, so a file of
    that name is whole. A running node goes on; its log grows meanwhile.

    Args:
        path: the database file.
        genesis: of its chain.
        out: the file to make.
        keep_free_bytes: what must be left of ``out``'s disk: a node stops signing below its
            ``min_free``.
        progress: of copying.

    Raises:
        UserError: E250–E254, E256, E261 as opening the store; E280, there is something at ``out``;
            E281, it cannot be written; E282, the copy is damaged, hence the store.
    """
    require_file(path)
    path = path.resolve()  # the log is beside the file, not beside a link to it
    require_settled(path)
    _require_free(out)
    with _writing("E281", "the backup", out):
        _require_room(path, out, keep_free_bytes)
        fd, name = tempfile.mkstemp(".partial", f".{out.name}.", out.parent)
        os.close(fd)
        made = Path(name)
        try:
            decided = _copy(path, made, genesis.digest, progress)
            _check(made, genesis.digest, decided, path)
            _mark(made, genesis.digest, f"from a backup that ends at height {decided}")
            _seal(made)
            _publish(made, out)
        finally:
            _remove(made)
        return Backup(out, out.stat().st_size, decided)


def _copy(path: Path, made: Path, chain_id: Digest, progress: Pages = lambda *_: None) -> Height:
    """One snapshot of a store into an empty file, through SQLite; its last height."""
    source = sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None, timeout=BUSY_S)
    with closing(source):
        with opening(path):
            source.execute("BEGIN")  # a page-wise copy begins anew whenever the node writes
            identify(source, path, chain_id)
            decided = reader.decided(source)
        with closing(sqlite3.connect(uri(made, "rw"), uri=True)) as target:
            try:
                source.backup(
                    target,
                    pages=PAGES_AT_ONCE,
                    progress=lambda _, left, total: progress(total - left, total),
                )
            except sqlite3.DatabaseError as err:
                if _is_damage(err):
                    raise _unsound(path, str(err)) from err
                raise
    return decided


def _check(made: Path, chain_id: Digest, decided: Height, path: Path) -> None:
    """Whether the copy is a sound file of that chain and height."""
    with closing(sqlite3.connect(uri(made, "ro"), uri=True)) as connection:
        try:
            problems = [str(problem) for problem in damage_of(connection)]
            if not problems:
                identify(connection, made, chain_id)
                ends = reader.decided(connection)
                problems = [] if ends == decided else [f"it ends at height {ends}, not {decided}"]
        except (sqlite3.DatabaseError, Malformed) as err:
            if isinstance(err, sqlite3.DatabaseError) and not _is_damage(err):
                raise
            problems = [str(err)]
    if problems:
        raise _unsound(path, "\n".join(problems))


def _mark(made: Path, chain_id: Digest, why: str) -> ObserverRecord:
    """:func:`mark_observer`, whose failure to write is one of the copy's disk."""
    try:
        return mark_observer(made, chain_id, why)
    except UserError as err:
        if err.code != "E256":
            raise
        raise OSError(err.facts["reason"]) from err


def _seal(made: Path) -> None:
    """One file that may lie on a medium nobody can write to, with the nonce left to be drawn."""
    with closing(sqlite3.connect(uri(made, "rw"), uri=True, isolation_level=None)) as connection:
        row = SafetyRow.load(connection)
        if row.observer is None:
            raise Malformed("the copy is no observer's")
        with transaction(connection):
            row.put(ObserverRecord(row.observer.reason, ZERO_DIGEST))
            row.save(connection)
        connection.execute("PRAGMA journal_mode = DELETE")
    guard_file(made).unlink()
    _sync(made)


def _publish(made: Path, out: Path) -> None:
    """Give the copy its name, unless somebody else has taken it meanwhile."""
    try:
        os.link(made, out)
    except FileExistsError:
        _require_free(out)
        raise  # gone again in between
    except OSError:  # a medium without hard links
        _require_free(out)
        made.rename(out)
    _sync(out.parent)


def _require_free(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UserError(
            "E280",
            "a backup never overwrites anything",
            facts={"file": str(out)},
            hint="name another file, or move this one away first",
        )


def _require_room(path: Path, out: Path, keep_free_bytes: int) -> None:
    """Whether the copy fits, before a byte of it takes room from a running node."""
    log = path.with_name(path.name + "-wal")
    needed = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    free = shutil.disk_usage(out.parent).free
    if free < needed + keep_free_bytes:
        raise UserError(
            "E281",
            "there is no room for the backup",
            facts={
                "file": str(out),
                "needed": f"{needed} bytes, and {keep_free_bytes} that must stay free (min_free)",
                "free": f"{free} bytes",
            },
            hint="name a file on another disk; nothing was written",
        )


# ---------------------------------------------------------------- restore


def restore(
    path: Path,
    genesis: Genesis,
    source: Path,
    *,
    replace: bool = False,
    progress: Blocks = lambda *_: None,
) -> Restored:
    """Put a backup in the place of a node's store; the node then follows and never votes.

    The copy is verified from genesis before anything is moved. What was there is kept aside. It may
    be interrupted at any instant: until the copy is whole nothing has changed, from then on no node
    starts until ``vppd recover`` has finished the move.

    Args:
        path: the database file of the node, which must not run.
        genesis: of its chain.
        source: the backup; not changed.
        replace: also if there is a store.
        progress: of verifying.

    Raises:
        UserError: E251, the backup is another chain's; E252, a newer vppd's; E254, a node runs
            here; E261, a recovery was interrupted; E283, there is no such backup; E284, there is a
            store and ``replace`` is not set; E285, the backup is damaged; E286, files cannot be
            written.
    """
    if not source.is_file():
        raise UserError(
            "E283",
            "there is no backup of that name",
            facts={"file": str(source)},
            hint="vppd db backup FILE makes one",
        )
    path = path.resolve()
    lock = StoreLock(path)
    try:
        require_settled(path)
        there, replaced = _what_is_there(path, genesis.digest)
        if there and not replace:
            raise _in_the_way(path, replaced)
        made = path.with_name(path.name + ".restoring")
        _remove(made)
        try:
            with _writing("E286", "the restored store", path):
                decided, observer = _bring(source, made, genesis, progress)
                made.rename(recovered_file(path))
                _sync(path.parent)
        finally:
            _remove(made)
        goes_on = "vppd recover goes on where this stopped; no node starts before that"
        with _writing("E286", "the restored store", path, goes_on):
            aside = swap(path)
    finally:
        lock.release()
    return Restored(decided, observer, aside, replaced)


def _bring(
    source: Path, made: Path, genesis: Genesis, progress: Blocks
) -> tuple[Height, ObserverRecord]:
    """A sound copy of the backup, marked with a nonce of its own."""
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        decided = _copy(source, made, genesis.digest)
        _check(made, genesis.digest, decided, source)
        report = verify_chain(made, genesis, progress=progress)
    except UserError as err:
        if err.code in ("E253", "E282"):
            raise _useless(source, err.facts["reason"]) from err
        raise
    # The safety record in it is about to be replaced, whatever it is worth.
    if report.failure is not None:
        raise _useless(source, str(report.failure))
    why = f"restored from a backup that ends at height {decided}"
    observer = _mark(made, genesis.digest, why)
    with closing(sqlite3.connect(uri(made, "rw"), uri=True, isolation_level=None)) as connection:
        with transaction(connection):
            connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (ASIDE_AS, REPLACED)
            )
        connection.execute("PRAGMA journal_mode = DELETE")
    guard_file(made).unlink()  # swap makes one under the right name
    _sync(made)
    return decided, observer


def _what_is_there(path: Path, chain_id: Digest) -> tuple[bool, StoreState | None]:
    """Whether there is anything of a store, and what it is, if that can be told."""
    there = any(path.with_name(path.name + suffix).exists() for suffix in _SUFFIXES)
    try:
        return there, look(path, chain_id)
    except UserError:  # none, another chain's, or beyond reading: it is only kept aside
        return there, None


def _in_the_way(path: Path, state: StoreState | None) -> UserError:
    facts = {"store": str(path)}
    hint = "vppd db restore --replace keeps the old files aside"
    if state is None:
        facts["it"] = "cannot be read"
    elif state.may_vote:
        facts["it"] = f"is sound, ends at height {state.decided}, and this node votes with it"
        hint += ";\nreplacing it costs this node its vote: vppd start goes on with what is there"
    elif state.observer is not None:
        facts["it"] = f"ends at height {state.decided} and does not vote: {state.observer}"
    else:
        facts["it"] = f"is damaged: {state.problems[0]}"
        hint = "vppd recover keeps every block of it that holds;\n" + hint
    return UserError("E284", "there is a chain store here already", facts=facts, hint=hint)


# ---------------------------------------------------------------- both


_UNCHANGED = "check owner, permissions and free space of the folder; nothing was changed"


@contextmanager
def _writing(code: str, what: str, file: Path, hint: str = _UNCHANGED) -> Iterator[None]:
    """Turns a disk that is full or fails into an error for people.

    Raises:
        UserError: of that code.
    """
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as err:
        raise UserError(
            code,
            f"{what} cannot be written",
            facts={"file": str(file), "reason": getattr(err, "strerror", None) or str(err)},
            hint=hint,
        ) from err


def _is_damage(err: sqlite3.DatabaseError) -> bool:
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _unsound(path: Path, reason: str) -> UserError:
    return UserError(
        "E282",
        "the store is damaged, and so would be its backup",
        facts={"store": str(path), "reason": reason},
        hint="vppd db check says how badly; nothing was written",
    )


def _useless(source: Path, reason: str) -> UserError:
    return UserError(
        "E285",
        "the backup is damaged",
        facts={"backup": str(source), "reason": reason},
        hint="use another backup; without one, vppd recover begins with what holds of the store.\n"
        "nothing was changed",
    )


def _remove(made: Path) -> None:
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            made.with_name(made.name + suffix).unlink()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
