"""Attempts to make a store vote on an older record, or to lose the proof that it must not."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store import real_chain as real
from vppd.consensus.boundary import ObserverRecord
from vppd.errors import LocalFault, UserError
from vppd.store import chain, start
from vppd.store.chain import ChainStore, Resume
from vppd.store.guard import guard_file, read_guard
from vppd.store.lock import StoreLock
from vppd.store.recover import recover
from vppd.store.safety import OBSERVER_GENERATION
from vppd.store.schema import recovered_file
from vppd.types import ZERO_DIGEST

FRAME, LOG_HEADER = 4096 + 24, 32
OTHER_CHAIN = bytes(32)


async def resumed(path: Path) -> Resume:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        return await store.resume()


def follows(resume: Resume) -> bool:
    return any(isinstance(record, ObserverRecord) for record in resume.log)


def copy_files(path: Path, folder: Path) -> Path:
    """The store as the next start finds it after a cut at this instant: no index of the log."""
    folder.mkdir(parents=True)
    for suffix in ("", "-wal", "-guard"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            shutil.copy(file, folder / file.name)
    return folder / path.name


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def rot(log: Path, frame: int) -> None:
    """One byte in the page of a frame."""
    with log.open("r+b") as file:
        file.seek(LOG_HEADER + frame * FRAME + 1_000)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.fixture
async def rotten(path: Path, tmp_path: Path) -> Path:
    """Power was lost, and with it the guard's last notes; the log has rotted in its middle.

    What is left is consistent in itself, and older than what this node has promised.
    """
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        guard = guard_file(path).read_bytes()
        for number in range(1, 6):
            await store.persist([b.view(number)])
        left = copy_files(path, tmp_path / "left")
    guard_file(left).write_bytes(guard)
    rot(left.with_name("chain.db-wal"), 1)
    return left


async def test_a_log_rotten_in_its_middle_is_an_observers(rotten: Path) -> None:
    assert follows(await resumed(rotten))


# ---------------------------------------------------------------- the proof must outlive a cut


@contextmanager
def snapshots(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[tuple[str, Path]]]:
    """Copies of the files before every statement and every write of a start."""
    taken: list[tuple[str, Path]] = []

    def take(what: str) -> None:
        taken.append((what, copy_files(path, folder / str(len(taken)))))

    def traced(connection: sqlite3.Connection, *rest: object) -> object:
        connection.set_trace_callback(take)
        return prepare(connection, *rest)  # type: ignore[arg-type]

    def writing(fd: int, data: bytes, at: int) -> int:
        take("pwrite")
        return pwrite(fd, data, at)

    prepare, pwrite = start.prepare, os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(chain, "prepare", traced)
        patch.setattr(os, "pwrite", writing)
        yield taken


async def test_a_start_that_is_cut_short_leaves_the_proof_of_the_damage(
    rotten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with snapshots(rotten, tmp_path / "cut", monkeypatch) as taken:
        assert follows(await resumed(rotten))
    votes = [f"{n}: {what}" for n, (what, at) in enumerate(taken) if not follows(await resumed(at))]
    assert len(taken) > 10
    assert votes == []


async def test_a_store_without_a_guard_gets_one_that_keeps_the_proof(rotten: Path) -> None:
    """As one of the first schema, which had none, would."""
    guard_file(rotten).unlink()
    with pytest.raises(UserError, match="E251"):
        await ChainStore.open(rotten, OTHER_CHAIN)
    mark = read_guard(rotten)
    assert mark is not None
    assert mark.generation == OBSERVER_GENERATION
    assert follows(await resumed(rotten))


async def test_a_start_that_is_refused_leaves_the_proof_of_the_damage(rotten: Path) -> None:
    with pytest.raises(UserError, match="E251"):
        await ChainStore.open(rotten, OTHER_CHAIN)
    assert follows(await resumed(rotten))


async def test_a_start_beside_a_reader_leaves_the_proof_of_the_damage(
    rotten: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.store.connection.BUSY_S", 0.1)
    with closing(sqlite3.connect(f"{rotten.as_uri()}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        with pytest.raises(UserError, match="E254"):
            await ChainStore.open(rotten, b.CHAIN_ID)
    assert follows(await resumed(rotten))


async def test_reading_a_store_leaves_the_proof_of_the_damage(rotten: Path) -> None:
    with closing(sqlite3.connect(f"{rotten.as_uri()}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM meta").fetchone()
    assert follows(await resumed(rotten))


# ---------------------------------------------------------------- older files beside newer ones


@pytest.fixture
async def voted(path: Path) -> Path:
    """Closed after a decision and a few promises."""
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(b.decided(1))
        for number in range(1, 6):
            await store.persist([b.view(number)])
    return path


async def test_an_observers_guard_outlives_a_recovery_of_a_record_that_cannot_be_read(
    tmp_path: Path,
) -> None:
    """The damaged file is thought better than nothing and put back: it must still not vote."""
    maker = real.Maker()
    maker.add_typical(2)
    path = tmp_path / "real" / "chain.db"
    path.parent.mkdir()
    await real.write(path, maker)
    sound = path.read_bytes()
    b.raw_write(path, "UPDATE safety SET checksum = x'00'")
    assert recover(path, real.GENESIS).changed
    path.write_bytes(sound)
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        assert follows(await store.resume())


async def test_an_observers_guard_outlives_an_image_from_before(voted: Path) -> None:
    sound = b.content(voted)
    b.raw_write(voted, "DELETE FROM safety")
    guard_file(voted).unlink()
    first = await resumed(voted)
    assert follows(first)
    put(voted, sound)
    again = [r for r in (await resumed(voted)).log if isinstance(r, ObserverRecord)]
    assert "from before" in again[0].reason


async def test_a_replica_demoted_while_it_runs_stays_so_with_an_older_image(voted: Path) -> None:
    sound = b.content(voted)
    async with await ChainStore.open(voted, b.CHAIN_ID) as store:
        await store.persist([ObserverRecord("shown a newer vote", ZERO_DIGEST)])
    guard = guard_file(voted).read_bytes()
    put(voted, sound)
    guard_file(voted).write_bytes(guard)
    assert follows(await resumed(voted))


# ---------------------------------------------------------------- two processes, one file


async def test_two_processes_never_both_promise(path: Path) -> None:
    """The lock file was thought to be left over, and removed."""
    block, other = b.body(1), b.body(1, salt=1)
    async with await ChainStore.open(path, b.CHAIN_ID) as first:
        await first.persist([b.view(1)])
        path.with_name("chain.db.lock").unlink()
        async with await ChainStore.open(path, b.CHAIN_ID) as second:
            await second.persist([block, b.vote(block)])
            with pytest.raises(LocalFault, match="another process"):
                await first.persist([other, b.vote(other)])
    assert b.vote(block) in (await resumed(path)).log


async def test_a_link_to_a_store_is_that_store(rotten: Path, tmp_path: Path) -> None:
    """Its log, guard and lock are beside the file itself, not beside the link."""
    (tmp_path / "home").mkdir()
    link = tmp_path / "home" / "chain.db"
    link.symlink_to(rotten)
    lock = StoreLock(rotten)
    with pytest.raises(UserError, match="E254"):
        await ChainStore.open(link, b.CHAIN_ID)
    with pytest.raises(UserError, match="E254"):
        recover(link, real.GENESIS)
    lock.release()
    found = [r for r in (await resumed(link)).log if isinstance(r, ObserverRecord)]
    assert "the log is damaged" in found[0].reason
    assert list(link.parent.iterdir()) == [link]


def test_recovery_through_a_link_replaces_the_store_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "chain.db").write_bytes(b"")
    link = tmp_path / "chain.db"
    link.symlink_to(tmp_path / "disk" / "chain.db")
    assert recover(link, real.GENESIS).changed
    assert link.is_symlink()
    assert (tmp_path / "disk" / "chain.db.damaged-1").exists()
    assert not recover(link, real.GENESIS).changed


# ---------------------------------------------------------------- the lock


async def test_a_lock_on_a_full_disk_is_a_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        lock = StoreLock(path)
    with pytest.raises(UserError, match="E254"):
        StoreLock(path)
    lock.release()


def test_a_file_system_without_locks_is_not_taken_for_a_second_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.raises(UserError, match="E256") as caught:
        StoreLock(tmp_path / "chain.db")
    assert "No locks available" in str(caught.value)


# ---------------------------------------------------------------- recovery


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    """Three real blocks, closed."""
    maker = real.Maker()
    maker.add_typical(3)
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "chain.db"
    await real.write(path, maker)
    return path


async def of_real_chain(path: Path) -> Resume:
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        return await store.resume()


async def test_recovery_never_puts_a_store_that_votes_in_place(written: Path) -> None:
    """What lies where a finished recovery would lie may be anything, such as a copy."""
    shutil.copy(written, recovered_file(written))
    before = b.content(written)
    with pytest.raises(UserError, match="E290"):
        recover(written, real.GENESIS)
    assert b.content(written) == before
    assert guard_file(written).exists()
    recovered_file(written).unlink()
    assert not follows(await of_real_chain(written))


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda data: data[: len(data) // 2]], ids=["empty", "half"]
)
def test_recovery_does_not_give_up_the_old_store_for_half_a_new_one(
    written: Path, damage: Callable[[bytes], bytes]
) -> None:
    recovered_file(written).write_bytes(damage(b.content(written)))
    before = b.content(written)
    with pytest.raises(UserError, match="E290"):
        recover(written, real.GENESIS)
    assert b.content(written) == before


async def test_a_journal_of_the_old_store_does_not_spoil_the_new_one(written: Path) -> None:
    """Cut while SQLite was changing to its log: pages of the old file wait to be put back."""
    journal = written.with_name("chain.db-journal")
    with closing(sqlite3.connect(written, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE spill (x)")
        connection.executemany("INSERT INTO spill VALUES (zeroblob(4000))", [()] * 50)
        hot = journal.read_bytes()
        connection.execute("ROLLBACK")
    journal.write_bytes(hot)
    remove(written)
    recover(written, real.GENESIS)
    assert not journal.exists()
    assert follows(await of_real_chain(written))


async def test_a_failed_recovery_gives_its_room_back(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b.raw_write(written, "DELETE FROM safety")

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = b.names(written.parent)
    monkeypatch.setattr("vppd.store.recover._sync", full)
    with pytest.raises(UserError, match="E262"):
        recover(written, real.GENESIS)
    assert b.names(written.parent) <= before | {"chain.db-wal", "chain.db-shm"}


HEADER_BYTES = 100


@pytest.mark.slow
@pytest.mark.parametrize("at", range(0, HEADER_BYTES, 7))
async def test_a_damaged_header_never_leaves_a_store_that_neither_starts_nor_recovers(
    written: Path, at: int
) -> None:
    promised = (await of_real_chain(written)).log
    whole = b.content(written)
    guard = guard_file(written).read_bytes()
    for index in range(at, min(at + 7, HEADER_BYTES)):
        for value in {3, 0xFF, whole[index] ^ 1} - {whole[index]}:
            clear(written.parent)
            put(written, whole[:index] + bytes([value]) + whole[index + 1 :])
            guard_file(written).write_bytes(guard)
            where = f"byte {index} = {value}"
            code, found = await opened(written)
            assert code in {None, "E251", "E252", "E253", "E256"}, where
            if code in {"E253", "E256"}:
                assert recover(written, real.GENESIS).changed, where
                assert follows(await of_real_chain(written)), where
            elif found is not None:
                assert follows(found) or found.log == promised, where


async def opened(path: Path) -> tuple[str | None, Resume | None]:
    """Why it does not open, or what it holds."""
    try:
        return None, await of_real_chain(path)
    except UserError as err:
        return err.code, None


async def test_a_rotten_layout_that_only_a_writer_trips_over_is_recovered(written: Path) -> None:
    """SQLite takes it when it reads, and not when it is to write."""
    data = b.content(written)
    sound = b"CHECK (last >= first)"
    assert data.count(sound) == 1
    put(written, data.replace(sound, b"CHECK (las\xf9 >= first)"))
    with pytest.raises(UserError, match="E253"):
        await of_real_chain(written)
    assert recover(written, real.GENESIS).changed
    assert follows(await of_real_chain(written))


# ---------------------------------------------------------------- a disk that takes nothing


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from tests.store.test_break_store import follows, resumed
from vppd.errors import LocalFault, UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    sys.exit(10 if follows(asyncio.run(resumed(Path(sys.argv[1])))) else 11)
except LocalFault:
    sys.exit(12)
except UserError as err:
    sys.exit(12 if err.code == "E256" else 13)
"""
OBSERVER, VOTER, REFUSED = 10, 11, 12


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1, 600, 1_024, 4_096, 32_768, 61_440, 66_000, 90_000])
async def test_a_start_on_a_full_disk_changes_nothing_of_what_was_promised(
    rotten: Path, path: Path, tmp_path: Path, limit: int
) -> None:
    """No file grows beyond the limit: a start ends there at one write or another, by name."""
    killed = tmp_path / "killed"
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        for height in (1, 2, 3):
            await store.persist([*b.decided(height), b.view(height)])
        promised = await store.resume()
        copy_files(path, killed)
    for store_file, verdict in ((killed / "chain.db", VOTER), (rotten, OBSERVER)):
        command = [sys.executable, "-c", LIMITED, str(store_file), str(limit)]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() in (verdict, REFUSED)
    assert (await resumed(killed / "chain.db")).log == promised.log
    assert follows(await resumed(rotten))
