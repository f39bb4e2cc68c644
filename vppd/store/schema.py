"""The database file as such: made once, recognised on every opening."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from vppd.codec import Malformed
from vppd.errors import UserError
from vppd.types import Digest

SCHEMA_VERSION = 1
APPLICATION_ID = 0x76707064
"""``vppd`` in the file's header: this is not just any SQLite database."""

Synchronous: TypeAlias = Literal["full", "normal", "off"]
"""``full`` survives power loss; the others are for benches."""
SYNCHRONOUS: dict[Synchronous, int] = {"off": 0, "normal": 1, "full": 2}
"""As SQLite counts them."""

MISTYPED = (TypeError, ValueError, OverflowError, struct.error)
"""What reading a rotten row raises: its columns may hold any type, its text any bytes."""
_NOT_OURS = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""Primary result codes of a file that is damaged, no database, or without our tables."""


def lay_out(connection: sqlite3.Connection, chain_id: Digest) -> None:
    """Make an empty file a chain store; the caller has begun a transaction."""
    text = resources.files("vppd.store").joinpath("schema.sql").read_text(encoding="utf-8")
    for statement in _statements(text):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)",
        [("schema_version", SCHEMA_VERSION), ("chain_id", chain_id)],
    )


def _statements(text: str) -> Iterator[str]:
    """Statements one by one: ``executescript`` would commit the transaction under way."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def identify(connection: sqlite3.Connection, path: Path, chain_id: Digest) -> None:
    """Whether this is a store of that chain which this build understands.

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
            hint="vppd init makes an empty one for a new node, vppd testnet for a test network; "
            "a node that has voted must never start on an empty store: it could contradict itself",
        )


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turns what a damaged or unreachable file makes SQLite raise into an error for people.

    Raises:
        UserError: E253, damaged; E254, locked; E256, cannot be opened.
    """
    try:
        yield
    except (Malformed, *MISTYPED) as err:
        raise _damaged(path, str(err)) from err
    except sqlite3.DatabaseError as err:
        code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _NOT_OURS:
            raise _damaged(path, str(err)) from err
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise busy(path, str(err)) from err
        raise UserError(
            "E256",
            "the chain store cannot be opened",
            facts={"store": str(path), "reason": str(err)},
            hint="check owner, permissions and free space of the folder",
        ) from err


def busy(path: Path, reason: str) -> UserError:
    """E254 for a store that another process holds at the level of SQLite."""
    return UserError(
        "E254",
        "the chain store is in use by another process",
        facts={"store": str(path), "reason": reason},
        hint="stop the process that reads it (a backup, vppd db), then start again",
    )


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        "E253",
        "the chain store is damaged",
        facts={"store": str(path), "reason": reason},
        hint="keep the file, and do not start this node on a copy or an empty store: it could "
        "contradict what it has signed",
    )
