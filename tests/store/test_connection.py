"""One hop per transaction: the only place that leans on a private name of aiosqlite."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

import aiosqlite
import pytest

from tests.store import builders as b
from vppd.store.chain import ChainStore
from vppd.store.connection import SqliteThread


def test_aiosqlite_still_has_the_queue_we_lean_on() -> None:
    assert hasattr(aiosqlite.Connection, "_execute"), (
        f"aiosqlite {aiosqlite.__version__} has no Connection._execute: "
        "vppd/store/connection.py must find another way to run one function per hop"
    )
    assert hasattr(aiosqlite.Connection, "_conn"), (
        f"aiosqlite {aiosqlite.__version__} has no Connection._conn: see vppd/store/connection.py"
    )


async def test_work_runs_with_the_sqlite_connection_on_one_other_thread(path: Path) -> None:
    connection = await SqliteThread.open(path, "ro")
    try:
        seen = [
            await connection.run(
                lambda c: (isinstance(c, sqlite3.Connection), threading.get_ident())
            )
            for _ in range(3)
        ]
    finally:
        await connection.close()
    assert {kind for kind, _ in seen} == {True}
    assert len({thread for _, thread in seen}) == 1
    assert threading.get_ident() not in {thread for _, thread in seen}


async def test_what_work_raises_reaches_the_caller(path: Path) -> None:
    connection = await SqliteThread.open(path, "ro")
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await connection.run(lambda c: c.execute("CREATE TABLE t (x)"))
    finally:
        await connection.close()


async def test_a_transaction_of_many_records_is_one_hop(
    store: ChainStore, caplog: pytest.LogCaptureFixture
) -> None:
    block = b.body(1)
    caplog.set_level(logging.DEBUG, logger="aiosqlite")
    await store.persist([b.view(0), block, b.proposal(block), b.vote(block), b.prepared(block)])
    hops = [entry for entry in caplog.records if entry.getMessage().startswith("executing")]
    assert len(hops) == 1


async def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await SqliteThread.open(tmp_path / "none.db", "rw")
    assert b.names(tmp_path) == set()
