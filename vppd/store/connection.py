"""One SQLite connection on a thread of its own; a whole transaction costs one hop to it.

aiosqlite's public methods run one statement per hop between event loop and thread; a vote with
its body would take four, on the critical path of every block. ``Connection._execute`` is the
queue underneath them, and takes any function. It is private, so this module is the only one that
knows it, and tests/store/test_connection.py fails by name if a new aiosqlite changes it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import aiosqlite

from vppd.errors import LocalFault

T = TypeVar("T")

BUSY_S = 5.0
"""How long a statement waits for a lock of another process (a checkpoint, a backup)."""


def uri(path: Path, mode: Literal["ro", "rw"]) -> str:
    """Names a database that must exist: SQLite creates files only in mode ``rwc``."""
    return f"{path.absolute().as_uri()}?mode={mode}"


class SqliteThread:
    """Runs functions on the thread that owns a connection, one after the other.

    Args:
        connection: opened and not yet used.
    """

    __slots__ = ("_connection", "_counting", "_queue", "_queued")

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._queue: Callable[..., Awaitable[Any]] = connection._execute
        self._queued = 0
        self._counting = threading.Lock()
        """Both threads count, and a count that is off would let both of them write."""

    @classmethod
    async def open(cls, path: Path, mode: Literal["ro", "rw"]) -> Self:
        """Connect to an existing database; transactions are begun by hand.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        failures: list[sqlite3.Error] = []

        def connect() -> sqlite3.Connection:
            try:
                return sqlite3.connect(
                    uri(path, mode), uri=True, isolation_level=None, timeout=BUSY_S,
                    check_same_thread=False,  # see run_here
                )  # fmt: skip
            except sqlite3.Error as err:
                failures.append(err)
                return sqlite3.connect(":memory:")

        # When connecting fails, aiosqlite lets go of its thread without waiting for it, and that
        # thread may then report to a loop that is closed. So connecting does not fail, for it.
        connection = await aiosqlite.Connection(connect, iter_chunk_size=64)
        if failures:
            await connection.close()
            raise failures[0]
        return cls(connection)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns or raises, called with the connection on its thread.

        A caller that is cancelled stops waiting; ``work`` runs to its end all the same.
        """
        with self._counting:
            self._queued += 1

        def counted(connection: sqlite3.Connection) -> T:
            try:
                return work(connection)
            finally:
                with self._counting:
                    self._queued -= 1

        result: T = await self._queue(counted, self._connection._conn)
        return result

    @property
    def idle(self) -> bool:
        """Nothing is queued or under way, so that :meth:`run_here` may be called."""
        return self._queued == 0

    def run_here(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns or raises, on the caller's thread, which waits for the disk.

        It waits for nothing else: what another process holds is busy at once.

        Raises:
            LocalFault: the connection is in use.
        """
        if not self.idle:
            raise LocalFault("a connection was to be used on two threads at once")
        connection = self._connection._conn
        connection.execute("PRAGMA busy_timeout = 0")  # the loop does not wait for a backup
        try:
            return work(connection)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1_000:.0f}")

    async def close(self) -> None:
        """Finish what is queued, disconnect, end the thread."""
        with self._counting:
            self._queued += 1  # for good
        await self._connection.close()
