"""Making, recognising, locking and closing a store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tests.store import builders as b
from vppd.codec import encode
from vppd.crypto import sha256
from vppd.errors import LocalFault, UserError
from vppd.store.chain import ChainStore
from vppd.store.schema import APPLICATION_ID, opening, reading


async def refused(path: Path, chain_id: bytes = b.CHAIN_ID) -> UserError:
    with pytest.raises(UserError) as caught:
        await ChainStore.open(path, chain_id)
    return caught.value


async def test_a_fresh_store_has_nothing_to_resume(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        assert await store.resume() == ((), 0, 0)
        assert (await store.decided(), await store.executed()) == (0, 0)
        assert await store.state_entries() == ()


async def test_opening_never_creates(tmp_path: Path) -> None:
    error = await refused(tmp_path / "chain.db")
    assert error.code == "E250"
    assert "vppd init" in str(error)
    assert "vppd testnet" in str(error)
    assert b.names(tmp_path) == set()


async def test_creating_never_overwrites(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(b.decided(1))
    with pytest.raises(UserError) as caught:
        await ChainStore.create(path, b.CHAIN_ID)
    assert caught.value.code == "E255"
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        assert await store.decided() == 1


async def test_a_store_is_for_its_owner_only(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID):
        modes = {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()}
    assert modes.keys() >= {"chain.db", "chain.db-wal", "chain.db-guard", "chain.db.lock"}
    assert set(modes.values()) == {0}


async def test_a_folder_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        await ChainStore.create(tmp_path / "none" / "chain.db", b.CHAIN_ID)
    assert caught.value.code == "E256"


async def test_another_chain_is_refused_and_both_are_named(path: Path) -> None:
    other = sha256(b"another genesis")
    error = await refused(path, other)
    assert error.code == "E251"
    assert b.CHAIN_ID.hex() in str(error)
    assert other.hex() in str(error)


async def test_a_newer_schema_is_refused(path: Path) -> None:
    b.raw_write(path, "UPDATE meta SET value = 5 WHERE key = 'schema_version'")
    error = await refused(path)
    assert error.code == "E252"
    assert "version 5" in str(error)


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _other_database(path: Path) -> None:
    path.unlink()
    b.raw_write(path, "CREATE TABLE t (x)")


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database at all" * 500),
        _other_database,
        lambda path: b.raw_write(path, "DELETE FROM meta WHERE key = 'chain_id'"),
        lambda path: b.raw_write(path, "DROP TABLE decisions"),
        lambda path: b.raw_write(path, "PRAGMA application_id = 1"),
        lambda path: b.raw_write(path, "UPDATE meta SET value = 0 WHERE key = 'schema_version'"),
    ],
    ids=[
        "truncated",
        "empty",
        "garbage",
        "other",
        "no-chain-id",
        "no-table",
        "not-ours",
        "version-0",
    ],
)
async def test_a_damaged_file_is_refused(path: Path, damage: Callable[[Path], object]) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        for height in range(1, 30):
            await store.persist(b.decided(height))
    damage(path)
    error = await refused(path)
    assert error.code == "E253"
    assert str(path) in str(error)
    assert "vppd recover" in str(error)


async def test_a_disk_that_cannot_be_read_is_named_with_what_was_read(path: Path) -> None:
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    with pytest.raises(UserError) as caught, opening(path), reading("the safety record"):
        raise failed
    assert caught.value.code == "E256"
    assert caught.value.facts["reason"] == "the safety record: disk I/O error"


@pytest.mark.parametrize("column", ["header", "txs"])
async def test_a_body_is_checked_against_its_digest(path: Path, column: str) -> None:
    block, other = b.body(1), b.body(1, salt=1)
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([block, b.vote(block)])
        await store.persist([b.decision(block)])
    b.raw_write(path, "DROP TRIGGER bodies_no_update")
    value = other.header if column == "header" else encode(other.txs)
    b.raw_write(path, f"UPDATE bodies SET {column} = ?", (value,))  # noqa: S608  # our names
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        with pytest.raises(UserError) as caught:
            await store.resume()
        with pytest.raises(LocalFault, match=block.digest.hex()[:16]):
            await store.block(1)
        with pytest.raises(LocalFault, match="damaged"):
            await store.body(block.digest)
    assert caught.value.code == "E253"


async def test_a_damaged_certificate_is_our_fault_and_no_peers(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(b.decided(1))
        b.raw_write(path, "DROP TRIGGER decisions_no_update")
        b.raw_write(path, "UPDATE decisions SET certificate = x'93'")
        with pytest.raises(LocalFault, match="not readable"):
            await store.certificate(1)


async def test_one_process_at_a_time(path: Path) -> None:
    holder = subprocess.Popen(  # noqa: ASYNC220  # the pipe below orders the two processes
        [sys.executable, "-c", _HOLDER, str(path), b.CHAIN_ID.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"open\n"
        error = await refused(path)
        assert error.code == "E254"
        assert str(holder.pid) in str(error)
        holder.stdin.close()
        assert holder.wait() == 0
    async with await ChainStore.open(path, b.CHAIN_ID):
        assert (await refused(path)).code == "E254"


_HOLDER = """
import asyncio, pathlib, sys
from vppd.store.chain import ChainStore

async def main():
    path, chain_id = pathlib.Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
    async with await ChainStore.open(path, chain_id):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_a_refused_store_is_let_go(path: Path) -> None:
    await refused(path, sha256(b"another genesis"))
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        assert await store.decided() == 0


async def test_a_reader_that_keeps_the_log_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.store.connection.BUSY_S", 0.05)
    connection = sqlite3.connect(path)
    try:
        connection.execute("INSERT INTO meta VALUES ('x', 1)")
        connection.commit()
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM meta").fetchall()
        b.raw_write(path, "DELETE FROM meta WHERE key = 'x'")
        assert (await refused(path)).code == "E254"
    finally:
        connection.close()


async def test_opening_empties_the_log_and_writes_the_safety_record_again(path: Path) -> None:
    block = b.body(1)
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([block, b.vote(block)])
    before = b.raw_rows(path, "SELECT generation, record, checksum FROM safety")[0]
    b.raw_write(path, "INSERT INTO meta VALUES ('left in the log', 1)")
    async with await ChainStore.open(path, b.CHAIN_ID):
        main_file = b.content(path)
        log = b.content(path, "-wal")
        after = b.raw_rows(path, "SELECT generation, record, checksum FROM safety")[0]
    assert b"left in the log" in main_file
    assert after[0] == before[0] + 1  # type: ignore[operator]  # sqlite3 rows are untyped
    assert after[1] == before[1]
    assert after[2] != before[2]
    assert isinstance(after[2], bytes)
    assert after[2] in log
    assert after[2] not in main_file


async def test_full_sync_unless_a_bench_asks_for_less(path: Path) -> None:
    for synchronous, level in (("full", 2), ("normal", 1), ("off", 0)):
        async with await ChainStore.open(path, b.CHAIN_ID, synchronous) as store:  # type: ignore[arg-type]  # a loop over its literals
            found = await store._writing.run(
                lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS]
            )
        assert found == [level, "wal", APPLICATION_ID]


_PRAGMAS = ("synchronous", "journal_mode", "application_id")


async def test_closing_twice_is_closing_once(path: Path) -> None:
    store = await ChainStore.open(path, b.CHAIN_ID)
    await store.close()
    await store.close()
    with pytest.raises(LocalFault):
        await store.persist(b.decided(1))


async def test_a_closed_store_is_one_file_its_guard_and_a_lock(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(b.decided(1))
    assert b.names(path.parent) == {"chain.db", "chain.db-guard", "chain.db.lock"}


async def test_nothing_blocks_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    with blockbuster_ctx():
        await ChainStore.create(path, b.CHAIN_ID)
        async with await ChainStore.open(path, b.CHAIN_ID) as store:
            await store.seed_state(b.GENESIS_STATE)
            await store.persist(b.decided(1))
            store.put_execution(b.execution(1))
            assert len(await store.blocks_from(1, 1_000)) == 1
            assert await store.execution(1) is not None
            assert await store.size_bytes() > 0
            assert await store.state_entries()
            await store.resume()
