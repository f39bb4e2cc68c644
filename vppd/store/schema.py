"""The database file as such: made once, recognised on every opening."""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from vppd.codec import Malformed
from vppd.errors import LocalFault, UserError
from vppd.store import places
from vppd.types import Digest

SCHEMA_VERSION = 4
APPLICATION_ID = 0x76707064
"""``vppd`` in the file's header: this is not just any SQLite database."""

Synchronous: TypeAlias = Literal["full", "normal", "off"]
"""``full`` survives power loss; the others are for benches."""
SYNCHRONOUS: dict[Synchronous, int] = {"off": 0, "normal": 1, "full": 2}
"""As SQLite counts them."""

MISTYPED = (TypeError, ValueError, OverflowError, struct.error)
"""What reading a rotten row raises: its columns may hold any type, its text any bytes."""
_ADDED = {1: ("evidence", "new_views"), 2: ("base", "pruned", "eras", "links"), 3: ("places",)}
"""How the names begin that this version and those before it did not have."""
_LATER = {1: "new_views", 2: "eras", 3: "places"}
"""A table that no file of this version or one before it has."""
_CHANGED = (
    "bodies_no_update",
    "decisions_in_order",
    "executions_in_order",
    "executions_no_delete",
)
"""Triggers of versions 1 and 2 that knew of no base and no pruning."""
_CREATES = re.compile(r"^CREATE (?:TABLE|INDEX|TRIGGER) (\w+)", re.MULTILINE)
_NOT_OURS = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""Primary result codes of a file that is damaged, no database, or without our tables."""


def lay_out(connection: sqlite3.Connection, chain_id: Digest) -> None:
    """Make an empty file a chain store; the caller has begun a transaction."""
    for statement in _layout().values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)",
        [("schema_version", SCHEMA_VERSION), ("chain_id", chain_id)],
    )


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the file of an older vppd to this build's layout; the caller has begun a transaction.

    Version 2 added ``new_views``, and ``evidence`` as far as late builds of version 1 had none.
    Version 3 added ``base``, ``pruned``, ``eras`` and ``links``, and triggers that know of them.
    Version 4 has ``places`` where those before had ``transactions``; no other row is touched.

    Raises:
        Malformed: it has tables that came later than its version says; or it is damaged.
    """
    layout = _layout()
    present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if any(name in present for at, name in _LATER.items() if at >= version):
        raise Malformed(f"it says schema version {version} and has tables of a later one")
    added = tuple(name for at, names in _ADDED.items() if at >= version for name in names)
    for name, statement in layout.items():
        if name in _CHANGED and name in present:
            connection.execute(f"DROP TRIGGER {name}")
            connection.execute(statement)
        elif name not in present and name.startswith(added):
            connection.execute(statement)
    places.build(connection)
    connection.execute("DROP TABLE transactions")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (SCHEMA_VERSION,))


def altered_layout(connection: sqlite3.Connection) -> str:
    """Which table, index or trigger is not as this build makes it; empty: none.

    SQLite itself looks at some of their text only when it is about to write.

    Raises:
        sqlite3.Error: not readable.
    """
    with closing(sqlite3.connect(":memory:")) as sample:
        for statement in _layout().values():
            sample.execute(statement)
        ours = sample.execute("SELECT name, sql FROM sqlite_master").fetchall()
    held = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    return next((name for name, sql in ours if name not in held or held[name] != sql), "")


@contextmanager
def unordered(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes executions from where a store begins, in the transaction under way.

    For a file that nobody else looks at: the trigger is back afterwards.
    """
    connection.execute("DROP TRIGGER executions_in_order")
    yield
    connection.execute(_layout()["executions_in_order"])


def make_safety_table(connection: sqlite3.Connection) -> None:
    """An empty safety table, in the transaction under way; one that is there is kept aside.

    Renaming touches none of its pages, so this works however rotten they are.
    """
    present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "safety" in present:
        number = sum(name.startswith("safety_lost_") for name in present) + 1
        connection.execute(f"ALTER TABLE safety RENAME TO safety_lost_{number}")
    connection.execute(_layout()["safety"])


def _layout() -> dict[str, str]:
    """Statements of schema.sql in order, by the name of what they create."""
    text = resources.files("vppd.store").joinpath("schema.sql").read_text(encoding="utf-8")
    return {_name_of(statement): statement for statement in _statements(text)}


def _name_of(statement: str) -> str:
    found = _CREATES.search(statement)
    if found is None:
        raise LocalFault("schema.sql holds a statement that creates nothing")
    return found[1]


def _statements(text: str) -> Iterator[str]:
    """Statements one by one: ``executescript`` would commit the transaction under way."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def identify(connection: sqlite3.Connection, path: Path, chain_id: Digest) -> int:
    """Whether this is a store of that chain which this build understands; its schema version.

    Raises:
        UserError: E251, another chain; E252, a newer build's schema.
        Malformed: no chain store, or damaged.
    """
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise Malformed("it is not a chain store")
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    version, held = meta.get("schema_version"), meta.get("chain_id")
    if not isinstance(version, int) or not isinstance(held, bytes):
        raise Malformed("its meta table is incomplete")
    if version > SCHEMA_VERSION:
        raise UserError(
            "E252",
            "the chain store was written by a newer vppd",
            facts={
                "store": str(path),
                "schema": f"version {version}, this build knows {SCHEMA_VERSION}",
            },
            hint="install the newer vppd again; a store is not converted backwards",
        )
    if version < 1:
        raise Malformed(f"schema version {version} never existed")
    if held != chain_id:
        raise UserError(
            "E251",
            "the chain store belongs to another chain",
            facts={
                "store": str(path),
                "its chain": held.hex(),
                "genesis": chain_id.hex(),
            },
            hint="use the genesis.toml this store was made with, or another folder",
        )
    return version


def require_file(path: Path) -> None:
    """A store is only ever made on purpose, together with the node's key (protocol.md, §4).

    Raises:
        UserError: E250, there is none.
    """
    if not path.is_file():
        raise UserError(
            "E250",
            "there is no chain store",
            facts={"store": str(path)},
            hint="vppd init makes an empty one for a new node, vppd testnet for a test network;\n"
            "a node that has voted must never start on an empty one, it could contradict itself:\n"
            "vppd recover makes one that follows and does not vote",
        )


def require_settled(path: Path) -> None:
    """No recovery has stopped half-way: it may have moved some of the files already.

    Raises:
        UserError: E261, one has.
    """
    if recovered_file(path).exists():
        raise UserError(
            "E261",
            "a recovery of the chain store was interrupted",
            facts={"store": str(path), "recovered": str(recovered_file(path))},
            hint="vppd recover again: it goes on where it stopped",
        )


def recovered_file(path: Path) -> Path:
    """A recovered store that is complete and not in its place yet."""
    return path.with_name(path.name + ".recovered")


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turns what a damaged or unreachable file makes SQLite raise into an error for people.

    Raises:
        UserError: E253, damaged; E254, locked; E256, cannot be opened.
    """
    try:
        yield
    except (Malformed, *MISTYPED) as err:
        raise _damaged(path, _words(err)) from err
    except sqlite3.DatabaseError as err:
        code = primary_code(err)
        if code in _NOT_OURS:
            raise _damaged(path, _words(err)) from err
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise busy(path, str(err)) from err
        raise _closed(path, _words(err)) from err
    except OSError as err:
        raise _closed(path, str(err)) from err


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Notes on whatever is raised what was being read, for :func:`opening` to say."""
    try:
        yield
    except (Malformed, sqlite3.Error, *MISTYPED) as err:
        err.add_note(what)
        raise


def primary_code(err: sqlite3.Error) -> int:
    """SQLite's result code without its extension."""
    return getattr(err, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _words(err: Exception) -> str:
    return ": ".join([*getattr(err, "__notes__", ()), str(err)])


def busy(path: Path, reason: str) -> UserError:
    """E254 for a store that another process holds at the level of SQLite."""
    return UserError(
        "E254",
        "the chain store is in use by another process",
        facts={"store": str(path), "reason": reason},
        hint="stop the process that reads it (a backup, vppd db), then start again",
    )


def _closed(path: Path, reason: str) -> UserError:
    return UserError(
        "E256",
        "the chain store cannot be opened",
        facts={"store": str(path), "reason": reason},
        hint="check owner, permissions and free space of the folder, and the disk's health",
    )


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        "E253",
        "the chain store is damaged",
        facts={"store": str(path), "reason": reason},
        hint="vppd recover keeps every block that still holds and puts the damaged file aside;\n"
        "never start this node on a copy or an empty store: it could contradict itself",
    )
