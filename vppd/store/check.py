"""``vppd db check``: everything a store holds, looked at; what is wrong, and where.

The file's structure is SQLite's to judge, the safety record its checksum's and the guard's, and the
chain is verified from genesis. Reads only, beside a running node too. A flipped bit in the free
pages of the file, or in a signature inside the evidence, harms nobody and is not found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from vppd.codec import Decoder, Malformed
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import EvidenceRecord
from vppd.consensus.evidence import charge_of
from vppd.errors import UserError
from vppd.store import reader
from vppd.store.connection import BUSY_S, uri
from vppd.store.lock import holder
from vppd.store.log import frames_taken, read_log
from vppd.store.safety import SafetyRow
from vppd.store.schema import (
    identify,
    opening,
    primary_code,
    require_file,
    require_settled,
)
from vppd.store.start import Noted, why_unfit
from vppd.store.verify import Part, verify_chain
from vppd.types import Digest, Height

_decode_evidence = Decoder(EvidenceRecord)

_SHOWN = 20
"""Findings that SQLite lists before it gives up."""
_WRITE_VERSION_AT = 18
"""In the file's header: 1 is a journal's, 2 a log's (sqlite.org/fileformat2.html, 1.3.4)."""


class Problem(NamedTuple):
    """Something that is not as it was written."""

    where: str
    """The file, a table, the safety record, the log, or a height."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class StoreState(NamedTuple):
    """What a store says of itself, as far as it can be read at a glance."""

    running: str | None
    """The process that has it open; ``None``: none has."""
    schema: int | None
    decided: Height | None
    executed: Height | None
    generation: int | None
    """Of the safety record: how often it was written; an observer's counts from 2**62."""
    observer: str | None
    """Why it never votes; ``None``: it may, if nothing is wrong."""
    problems: tuple[Problem, ...]

    @property
    def may_vote(self) -> bool:
        """Whether a node started on it would vote."""
        return not self.problems and self.observer is None


class StoreReport(NamedTuple):
    """What was checked and what came out of it."""

    state: StoreState
    """With everything that is wrong."""
    verified: Height
    """Heights 1 to this hold."""
    transactions: int
    """Checked with their signatures."""
    begins: Height = 0
    """See :class:`~vppd.store.verify.VerifyReport`."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong; empty: the store is sound."""
        return self.state.problems


def check_store(
    path: Path, genesis: Genesis, progress: Callable[[Height, Height], None] = lambda *_: None
) -> StoreReport:
    """Check all of a store.

    Args:
        path: the database file.
        genesis: of its chain.
        progress: called with each height verified and the last one.

    Raises:
        UserError: E250, there is none; E251, it is another chain's; E252, a newer vppd's; E254,
            locked; E256, it cannot be opened; E261, a recovery was interrupted.
    """
    state = look(path, genesis.digest, thorough=True)
    problems = list(state.problems)
    if state.schema is None:
        return StoreReport(state, 0, 0)
    at = 0

    def advance(height: Height, last: Height) -> None:
        nonlocal at
        at = height
        progress(height, last)

    verified = transactions = begins = 0
    chain: list[Problem] = []
    with _noting(chain, path, ""):
        report = verify_chain(path, genesis, progress=advance)
        verified, transactions, begins = report.last, report.transactions, report.begins
        failure = report.failure
        # An unfit safety record has been named already, and more precisely.
        if failure is not None and not (failure.part is Part.SAFETY and problems):
            chain.append(Problem(f"height {failure.height}", f"{failure.part}: {failure.what}"))
    for where, what in chain:
        beyond = state.decided is not None and at >= state.decided
        here = "after the last height" if beyond else f"height {at + 1}"
        problems.append(Problem(where or here, what))
    verified = verified or at
    return StoreReport(state._replace(problems=tuple(problems)), verified, transactions, begins)


def look(path: Path, chain_id: Digest, *, thorough: bool = False) -> StoreState:
    """What a store is, without verifying its chain.

    Args:
        path: the database file.
        chain_id: SHA-256 of the genesis file.
        thorough: whether to read every page, index and piece of evidence, too.

    Raises:
        UserError: E250, E251, E252, E254, E256, E261 as :func:`check_store`.
    """
    require_file(path)
    path = path.resolve()  # log, guard and lock are beside the file, not beside a link to it
    require_settled(path)
    problems: list[Problem] = []
    schema = decided = executed = generation = None
    observer = None
    with opening(path):
        running = holder(path)
        guard = Noted.read(path)  # before the transaction: a running node writes both
    with _noting(problems, path, "file"), closing(_connect(path)) as connection:
        schema = identify(connection, path, chain_id)
        connection.execute("BEGIN")
        problems += damage_of(connection, thorough=thorough)
        problems += _read_only_header(path)
        with _noting(problems, path, "table decisions"):
            decided = reader.decided(connection)
        with _noting(problems, path, "table executions"):
            executed = reader.executed(connection)
        with _noting(problems, path, "safety record"):
            why = why_unfit(connection, path, decided or 0, guard)
            if why:
                problems.append(Problem("safety record", why))
            else:
                row = SafetyRow.load(connection)
                generation = row.generation
                observer = None if row.observer is None else row.observer.reason
        with _noting(problems, path, "table evidence"):
            if thorough:
                _read_evidence(connection)
        connection.execute("ROLLBACK")
        if running is None and observer is None:
            problems += _lost_log(connection, path)
    return StoreState(running, schema, decided, executed, generation, observer, tuple(problems))


def damage_of(connection: sqlite3.Connection, *, thorough: bool = True) -> list[Problem]:
    """What SQLite finds wrong with the file, by table; empty: nothing.

    Args:
        connection: to the database.
        thorough: also whether each index has what its table has.

    Raises:
        sqlite3.Error: it cannot be read at all.
    """
    found = _verdict(connection, "integrity_check" if thorough else "quick_check", str(_SHOWN))
    if not found:
        return []
    names = [
        str(name)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    problems: list[Problem] = []
    for name in names:
        quoted = name.replace("'", "''")
        wrong = _verdict(connection, "integrity_check", f"'{quoted}'")
        if wrong:
            problems.append(Problem(f"table {name}", wrong))
    return problems or [Problem("file", found)]


def _verdict(connection: sqlite3.Connection, pragma: str, argument: str) -> str:
    """The first finding, and how many there are; empty: ok."""
    try:
        rows = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}({argument})")]
    except sqlite3.DatabaseError as err:
        if primary_code(err) != sqlite3.SQLITE_CORRUPT:
            raise
        return str(err)
    if rows == ["ok"]:
        return ""
    first = " ".join(rows[0].split()) if rows else "SQLite gives no answer"
    return first if len(rows) < 2 else f"{first} (and {len(rows) - 1} more)"


def _read_only_header(path: Path) -> list[Problem]:
    """A byte of the header that makes SQLite refuse every write: the node could not start."""
    with path.open("rb") as file:
        version = file.read(_WRITE_VERSION_AT + 1)[_WRITE_VERSION_AT]
    if version in (1, 2):
        return []
    return [Problem("file", f"its header says write version {version}, so that nobody may write")]


def _read_evidence(connection: sqlite3.Connection) -> None:
    """Every piece, also beyond those that anybody counts."""
    rows = connection.execute("SELECT signer, kind, epoch, view, height, record FROM evidence")
    for *charge, encoded in rows:
        if charge_of(_decode_evidence(encoded).proof) != tuple(charge):
            raise Malformed(f"the evidence against replica {charge[0]} is damaged")


def _lost_log(connection: sqlite3.Connection, path: Path) -> list[Problem]:
    """Synced transactions that SQLite no longer takes, in the log of a node that does not run."""
    found = read_log(path)
    lost = found.lost(frames_taken(connection, path)) if found.frames else 0
    if not lost or holder(path) is not None:  # started just now, and empties it
        return []
    return [Problem("log", f"{lost} of its last pages are lost, and were synced")]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None, timeout=BUSY_S)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


@contextmanager
def _noting(problems: list[Problem], path: Path, where: str) -> Iterator[None]:
    """Makes a problem of what :func:`~vppd.store.schema.opening` would call damage (E253)."""
    try:
        with opening(path):
            yield
    except UserError as err:
        if err.code != "E253":
            raise
        problems.append(Problem(where, err.facts["reason"]))
