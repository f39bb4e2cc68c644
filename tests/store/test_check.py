"""``vppd db check``: what is damaged is named; what is sound is not called damaged."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store import flips
from tests.store import real_chain as real
from vppd.consensus.boundary import DecisionRecord, VoteRecord
from vppd.errors import UserError
from vppd.store.chain import ChainStore
from vppd.store.check import check_store, look
from vppd.store.guard import guard_file
from vppd.store.recover import mark_observer
from vppd.store.schema import recovered_file

HEIGHTS = 5
CASES = 60


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    folder = tmp_path_factory.mktemp("written") / "home"
    folder.mkdir()
    asyncio.run(real.write(folder / "chain.db", maker))
    return folder


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "home")
    return tmp_path / "home" / "chain.db"


def tamper(path: Path, statement: str) -> None:
    for (name,) in b.raw_rows(path, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        b.raw_write(path, f"DROP TRIGGER {name}")
    b.raw_write(path, statement)


def test_a_sound_store(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_store(path, real.GENESIS, lambda *at: seen.append(at))
    assert report.problems == ()
    assert (report.verified, report.state.decided, report.state.executed) == (HEIGHTS,) * 3
    assert report.state.may_vote
    assert report.state.running is None
    assert seen == [(height, HEIGHTS) for height in range(1, HEIGHTS + 1)]


def _rot_index(path: Path) -> None:
    tamper(path, "PRAGMA user_version = 1")
    (root,) = b.raw_rows(
        path, "SELECT rootpage FROM sqlite_master WHERE name = 'bodies_by_height'"
    )[0]
    assert isinstance(root, int)
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(bytes(64))


def _lose_guard(path: Path) -> None:
    guard_file(path).unlink()


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("UPDATE decisions SET certificate = zeroblob(300) WHERE height = 3", "height 3"),
        ("UPDATE bodies SET txs = x'90' WHERE height = 4", "height 4"),
        ("UPDATE executions SET receipts = x'90' WHERE height = 2", "height 2"),
        ("UPDATE state SET value = zeroblob(8)", f"height {HEIGHTS}"),
        ("UPDATE safety SET record = zeroblob(8)", "safety record"),
        ("UPDATE safety SET generation = 3", "safety record"),
        ("INSERT INTO evidence VALUES (1, 0, 0, 0, 1, x'90')", "table evidence"),
        ("DELETE FROM decisions WHERE height = 5", "safety record"),
        (_rot_index, "table bodies"),
        (_lose_guard, "safety record"),
    ],
)
def test_damage_is_named(path: Path, damage: str | Callable[[Path], None], where: str) -> None:
    if isinstance(damage, str):
        tamper(path, damage)
    else:
        damage(path)
    report = check_store(path, real.GENESIS)
    assert [problem.where for problem in report.problems][:1] == [where], report.problems
    assert not report.state.may_vote


def test_a_log_with_a_hole_is_noticed_even_if_the_guard_cannot_be_read(tmp_path: Path) -> None:
    """The guard's last note was lost with the power, so that only the log itself can tell."""
    flips.write_killed(tmp_path)
    path = tmp_path / "chain.db"
    guard_file(path).write_bytes(bytes(1024))
    assert check_store(path, real.GENESIS).problems == ()
    log = path.with_name("chain.db-wal")
    path.with_name("chain.db-shm").unlink()
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        file.write(b"rotten")
    assert "log" in [problem.where for problem in check_store(path, real.GENESIS).problems]


def test_an_observer_is_sound_and_does_not_vote(path: Path) -> None:
    mark_observer(path, real.GENESIS.digest, "came from elsewhere")
    report = check_store(path, real.GENESIS)
    assert report.problems == ()
    assert report.state.observer == "came from elsewhere"
    assert not report.state.may_vote


def look_often(path: Path) -> None:
    for _ in range(10):
        state = look(path, real.GENESIS.digest)
        assert state.problems == ()
        assert state.running is not None


async def test_a_store_in_use_is_judged_as_it_is_at_one_moment(tmp_path: Path) -> None:
    """Promises are made while it is looked at; none of them makes the guard look ahead."""
    path = tmp_path / "chain.db"
    maker = real.Maker()
    maker.add_typical(8)
    await ChainStore.create(path, real.GENESIS.digest)
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        await store.seed_state(maker.genesis_state)
        for block in maker.blocks:
            height, digest = block.header.height, block.body.digest
            looking = asyncio.create_task(asyncio.to_thread(look_often, path))
            while not looking.done():
                await store.persist([block.body, VoteRecord(0, 0, height, digest)])
            await looking
            await store.persist([DecisionRecord(height, digest, block.certificate)])


def test_what_is_no_damage_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    def code() -> str:
        with pytest.raises(UserError) as caught:
            check_store(path, real.GENESIS)
        return caught.value.code

    b.raw_write(path, "UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    assert code() == "E252"
    shutil.copy(path, recovered_file(path))
    assert code() == "E261"
    recovered_file(path).unlink()
    path.rename(tmp_path / "elsewhere")
    assert code() == "E250"


def test_a_link_to_a_store_is_that_store(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert check_store(link, real.GENESIS).state.may_vote


def test_flipped_and_cut_files_are_named_or_hold_what_was_written(tmp_path: Path) -> None:
    outcomes = list(flips.run(tmp_path / "flips", CASES, seed=5))
    assert [violation for _, violation in outcomes if violation] == []
    assert {said.rpartition(": ")[2].split()[0] for said, _ in outcomes} >= {"named", "sound"}
