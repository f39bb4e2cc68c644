"""Dead processes and full disks: no promise is lost without a word. Damage: test_torn.py."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store.child import block_of
from vppd.consensus.boundary import PreparedRecord, VoteRecord
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore, Resume
from vppd.store.places import Walk


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
    with closing(sqlite3.connect(path)) as connection:
        walk = Walk(connection, 1)
        for height in range(1, resume.executed + 1):
            assert walk.compare(height, (b.tx_id(height),), ()) is None
        assert walk.end(resume.executed) is None
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
