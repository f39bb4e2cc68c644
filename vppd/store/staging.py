"""What a joiner has fetched so far, in ``chain.db.sync`` beside the store: a kill loses none of it.

Nothing in here is trusted again: the whole state is checked against the certified root before it
goes into the store, and a file that does not hold is thrown away and fetched anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from vppd.codec import Decoder, Malformed, encode
from vppd.consensus.messages import EraLink, SnapshotOffer
from vppd.errors import LocalFault
from vppd.ledger.buckets import BUCKETS, Pair
from vppd.store.connection import SqliteThread
from vppd.store.schema import MISTYPED
from vppd.store.writer import transaction
from vppd.types import Digest

T = TypeVar("T")
_SUFFIXES = ("", "-wal", "-shm")
_LAYOUT = """
CREATE TABLE plan (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    chain_id BLOB NOT NULL,
    offer    BLOB,
    links    BLOB
) STRICT;
CREATE TABLE buckets (
    number INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL,
    pairs  BLOB NOT NULL
) STRICT;
"""
_decode_offer = Decoder(SnapshotOffer)
_decode_links = Decoder(tuple[EraLink, ...])
_decode_pairs = Decoder(tuple[tuple[bytes, bytes], ...])


class Plan(NamedTuple):
    """Which snapshot is being fetched."""

    offer: SnapshotOffer
    links: tuple[EraLink, ...]
    """From genesis to its epoch."""


def staging_file(path: Path) -> Path:
    """Where the staging file of the store at ``path`` is."""
    return path.with_name(path.name + ".sync")


class Staging:
    """The staging file; made by :meth:`open`."""

    def __init__(self, path: Path, connection: SqliteThread) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    async def open(cls, store: Path, chain_id: Digest) -> Self:
        """The file beside ``store``, as it was left, or a new one if there is none that holds.

        Raises:
            LocalFault: it cannot be made.
        """
        path = staging_file(store)
        try:
            await asyncio.to_thread(_prepare, path, chain_id)
            connection = await SqliteThread.open(path, "rw")
            # What a power cut takes of it is fetched again.
            await connection.run(lambda c: c.execute("PRAGMA synchronous = NORMAL").close())
            return cls(path, connection)
        except (OSError, sqlite3.Error) as err:
            raise LocalFault(f"{path}: {err}") from err

    async def close(self) -> None:
        """Let go of the file."""
        await self._connection.close()

    async def discard(self) -> None:
        """Close, and remove the file."""
        await self.close()
        await asyncio.to_thread(remove, self._path)

    async def forget(self) -> None:
        """Begin again: what is here does not hold."""

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute("DELETE FROM buckets")
                connection.execute("UPDATE plan SET offer = NULL, links = NULL")

        await self._run(write)

    async def plan(self) -> Plan | None:
        """Which snapshot was being fetched; ``None``: none, or it cannot be read."""

        def read(connection: sqlite3.Connection) -> Plan | None:
            offer, links = connection.execute("SELECT offer, links FROM plan").fetchone()
            if offer is None:
                return None
            with suppress(Malformed, *MISTYPED):
                return Plan(_decode_offer(offer), _decode_links(links))
            return None

        return await self._run(read)

    async def begin(self, plan: Plan, hashes: Sequence[Digest]) -> None:
        """Fetch this snapshot from now on; buckets that are the same in it are kept."""

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                held = connection.execute("SELECT number, hash FROM buckets").fetchall()
                connection.executemany(
                    "DELETE FROM buckets WHERE number = ?",
                    [(number,) for number, hash_ in held if hash_ != hashes[number]],
                )
                connection.execute(
                    "UPDATE plan SET offer = ?, links = ?", (encode(plan.offer), encode(plan.links))
                )

        await self._run(write)

    async def keep(
        self, first: int, buckets: Sequence[Sequence[Pair]], hashes: Sequence[Digest]
    ) -> None:
        """Keep buckets that were verified.

        Args:
            first: number of the first.
            buckets: their pairs.
            hashes: of all buckets.
        """
        rows = [(i, hashes[i], encode(tuple(pairs))) for i, pairs in enumerate(buckets, first)]

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany("REPLACE INTO buckets VALUES (?, ?, ?)", rows)

        await self._run(write)

    async def held(self) -> list[Digest | None]:
        """The hash of each bucket that is here."""

        def read(connection: sqlite3.Connection) -> list[Digest | None]:
            found: list[Digest | None] = [None] * BUCKETS
            for number, hash_ in connection.execute("SELECT number, hash FROM buckets"):
                found[number] = hash_
            return found

        return await self._run(read)

    async def entries(self) -> list[Pair]:
        """All keys and values that are here, in key order.

        Raises:
            Malformed: they are not as they were written.
        """

        def read(connection: sqlite3.Connection) -> list[Pair]:
            rows = connection.execute("SELECT pairs FROM buckets")
            return sorted(pair for (pairs,) in rows for pair in _decode_pairs(pairs))

        return await self._run(read)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._connection.run(work)
        except (OSError, sqlite3.Error) as err:
            raise LocalFault(f"{self._path}: {err}") from err


def remove(path: Path) -> None:
    """Remove a staging file, if there is one."""
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _prepare(path: Path, chain_id: Digest) -> None:
    if path.exists() and not _is_sound(path, chain_id):
        remove(path)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            with transaction(connection):
                for statement in _LAYOUT.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO plan (id, chain_id) VALUES (1, ?)", (chain_id,))


def _is_sound(path: Path, chain_id: Digest) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
            held = connection.execute("SELECT chain_id FROM plan WHERE id = 1").fetchone()
            connection.execute("SELECT number, hash, pairs FROM buckets LIMIT 1").fetchone()
            return bool(held == (chain_id,))
    except (sqlite3.DatabaseError, *MISTYPED):
        return False
