"""Dead processes, full disks, torn logs, rotten bytes: no promise is lost without a word."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store.child import block_of
from vppd.consensus.boundary import BodyRecord, PreparedRecord, Record, VoteRecord
from vppd.errors import LocalFault, UserError
from vppd.store.chain import ChainStore, Resume
from vppd.store.safety import SLOTS


def child(what: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.child", what, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )


async def resumed(path: Path) -> Resume:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        resume = await store.resume()
        for height in range(1, resume.decided + 1):
            block = await store.block(height)
            assert block is not None
            assert block.certificate.height == height
        executed = [await store.execution(height) for height in range(1, resume.executed + 1)]
        assert None not in executed
        state = dict(await store.state_entries())
        if resume.executed:
            assert state[b"height"] == b"%d" % resume.executed
        return resume


def check_acknowledged(resume: Resume, line: str) -> None:
    """The last line a child said is a promise kept, or overtaken by later ones."""
    what, number = line.split()
    height = int(number)
    vote = next((r for r in resume.log if isinstance(r, VoteRecord)), None)
    prepared = next((r for r in resume.log if isinstance(r, PreparedRecord)), None)
    assert vote is not None
    assert vote.height >= height
    assert resume.decided >= height - (what != "decided")
    if what != "vote":
        assert prepared is not None
        assert prepared.certificate.height >= height
    assert vote.height <= resume.decided + 1
    assert block_of(vote.height).digest == vote.digest
    assert resume.executed <= resume.decided


@pytest.mark.slow
async def test_kill_at_any_moment(path: Path) -> None:
    rng = random.Random(7)
    for _ in range(8):
        with child("persist", path) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(rng.randint(1, 60))]
            process.kill()
            said += process.stdout.readlines()
        check_acknowledged(await resumed(path), said[-1])


@pytest.mark.slow
async def test_a_full_disk_stops_the_store_for_good(path: Path) -> None:
    with child("limited", path) as process:
        output, _ = process.communicate()
    lines = output.splitlines()
    promised = [line for line in lines if line.split()[0] in ("vote", "prepared", "decided")]
    faults = lines[len(promised) :]
    assert process.returncode == 0, output
    assert [line.split()[0] for line in faults] == ["fault", "refused", "refused"], output
    assert all("earlier write failed" in line for line in faults[1:]), output
    check_acknowledged(await resumed(path), promised[-1])


async def test_an_idle_write_that_fails_is_heard_of_at_the_next_promise(
    store: ChainStore, path: Path
) -> None:
    await store.persist(b.decided(1))
    b.raw_write(path, "DROP TABLE state")
    store.put_execution(b.execution(1))
    store._flush_soon()
    assert store._flushing is not None
    await store._flushing
    with pytest.raises(LocalFault, match="earlier write failed"):
        await store.persist([b.view(1)])
    with pytest.raises(LocalFault, match="no more writes"):
        store.put_execution(b.execution(2))
    with pytest.raises(LocalFault):
        await store.state_entries()
    await store.close()
    assert b.raw_rows(path, "SELECT count(*) FROM executions") == [(0,)]


class History:
    """A store's files in the middle of its life, and everything it ever held."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "chain.db"
        self.main = b""
        self.wal = b""
        self.moments: list[Resume] = []

    async def live(self) -> None:
        await ChainStore.create(self.path, b.CHAIN_ID)
        async with await ChainStore.open(self.path, b.CHAIN_ID) as store:
            await store.seed_state(b.GENESIS_STATE)
            self.moments.append(await store.resume())
            for height in range(1, 25):
                block = b.body(height, txs=(b"x" * 3_000,))
                steps: tuple[list[Record], ...] = (
                    [block, b.proposal(block), b.vote(block)],
                    [b.prepared(block)],
                    [b.decision(block), b.view(height % 3)],
                )
                for records in steps:
                    await store.persist(records)
                    self.moments.append(await store.resume())
                store.put_execution(b.execution(height))
                if height == 12:
                    await store._writing.run(
                        lambda c: c.execute("PRAGMA wal_checkpoint").fetchall()
                    )
            self.main, self.wal = b.content(self.path), b.content(self.path, "-wal")

    def restore(self, folder: Path, main: bytes, wal: bytes) -> Path:
        folder.mkdir()
        path = folder / "chain.db"
        path.write_bytes(main)
        path.with_name("chain.db-wal").write_bytes(wal)
        return path


@pytest.fixture
async def history(tmp_path: Path) -> History:
    made = History(tmp_path)
    await made.live()
    return made


async def test_an_intact_copy_is_the_last_moment(history: History, tmp_path: Path) -> None:
    path = history.restore(tmp_path / "copy", history.main, history.wal)
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        resume = await store.resume()
    assert resume.log == history.moments[-1].log


async def reopened(path: Path) -> Resume | UserError:
    try:
        async with await ChainStore.open(path, b.CHAIN_ID) as store:
            return await store.resume()
    except UserError as error:
        return error


async def test_a_torn_log_is_an_earlier_moment(history: History, tmp_path: Path) -> None:
    """What power loss can do to a disk that honours fsync is less than this."""
    logs = [moment.log for moment in history.moments]
    rng = random.Random(11)
    for number in range(60):
        torn = bytearray(history.wal)
        offset = rng.randrange(len(torn))
        if number % 2:
            torn[offset] ^= 1 << rng.randrange(8)
        else:
            del torn[offset:]
        found = await reopened(
            history.restore(tmp_path / f"torn-{number}", history.main, bytes(torn))
        )
        if isinstance(found, UserError):
            assert found.code == "E253", f"offset {offset}"
        else:
            assert found.log in logs, f"offset {offset}"


async def test_a_rotten_byte_never_changes_a_promise(history: History, tmp_path: Path) -> None:
    """SQLite's main file has no checksums; ours cover what could make a node vote twice."""
    whole = history.moments[-1].log
    assert isinstance(await reopened(history.path), Resume)  # closing moved all into the main file
    main = b.content(history.path)
    rng = random.Random(13)
    refused = 0
    for number in range(150):
        rotten = bytearray(main)
        offset = rng.randrange(len(rotten))
        rotten[offset] ^= rng.randrange(1, 256)
        found = await reopened(history.restore(tmp_path / f"rotten-{number}", bytes(rotten), b""))
        if isinstance(found, UserError):
            assert found.code in ("E251", "E252", "E253", "E256"), f"offset {offset}: {found}"
            refused += 1
        else:
            assert slots_of(found.log) == slots_of(whole), f"offset {offset}"
            assert bodies_of(found.log) <= bodies_of(whole), f"offset {offset}"
    assert refused


def slots_of(log: tuple[Record, ...]) -> tuple[Record, ...]:
    return tuple(record for record in log if isinstance(record, SLOTS))


def bodies_of(log: tuple[Record, ...]) -> set[tuple[bytes, tuple[bytes, ...]]]:
    return {(record.header, record.txs) for record in log if isinstance(record, BodyRecord)}
