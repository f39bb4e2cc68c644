"""``vppd recover``: what holds is kept, nothing is deleted, nothing votes, and it may be killed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store import real_chain as real
from vppd.consensus.boundary import DecisionRecord, ObserverRecord
from vppd.errors import UserError
from vppd.store import recover as module
from vppd.store.chain import ChainStore, Resume
from vppd.store.guard import Guard, guard_file
from vppd.store.lock import StoreLock
from vppd.store.recover import Recovery, recover
from vppd.store.schema import recovered_file
from vppd.store.verify import verify_chain
from vppd.types import ZERO_DIGEST, Height

HEIGHTS = 8


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of eight blocks; tests copy its folder."""
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    path = tmp_path_factory.mktemp("written") / "home" / "chain.db"
    path.parent.mkdir()
    asyncio.run(real.write(path, maker))
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written.parent, tmp_path / "home")
    return tmp_path / "home" / "chain.db"


def tamper(path: Path, statement: str) -> None:
    for (name,) in b.raw_rows(path, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        b.raw_write(path, f"DROP TRIGGER {name}")
    b.raw_write(path, statement)


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _remove(path: Path) -> None:
    path.unlink()


def _rot_certificate(path: Path) -> None:
    tamper(path, "UPDATE decisions SET certificate = zeroblob(300) WHERE height = 6")


def _rot_body(path: Path) -> None:
    tamper(path, "UPDATE bodies SET txs = x'90' WHERE height = 6")


def _gap(path: Path) -> None:
    tamper(path, "DELETE FROM decisions WHERE height = 6")


def _rot_state(path: Path) -> None:
    tamper(path, "UPDATE state SET value = zeroblob(8)")


def _rot_meta(path: Path) -> None:
    tamper(path, "DELETE FROM meta")


def _lose_index(path: Path) -> None:
    tamper(path, "DROP INDEX bodies_by_height")
    tamper(path, "DELETE FROM safety")


def _lose_guard(path: Path) -> None:
    guard_file(path).unlink()


def resume(path: Path) -> Resume:
    async def main() -> Resume:
        async with await ChainStore.open(path, real.GENESIS.digest) as store:
            return await store.resume()

    return asyncio.run(main())


def check_recovered(path: Path, done: Recovery, kept: Height) -> None:
    """A whole chain up to there, executed, which never votes."""
    assert (done.changed, done.kept) == (True, kept)
    report = verify_chain(path, real.GENESIS)
    assert (report.ok, report.last, report.executed) == (True, kept, kept), report.problem
    found = resume(path)
    assert (found.decided, found.executed) == (kept, kept)
    slots = [record for record in found.log if isinstance(record, ObserverRecord)]
    assert slots == [done.observer]
    assert done.observer.nonce != ZERO_DIGEST
    assert not path.with_name("chain.db.rebuilding").exists()
    assert not recovered_file(path).exists()


@pytest.mark.parametrize(
    ("damage", "kept", "lost"),
    [
        (_cut, None, None),
        (_nothing, 0, ""),
        (_remove, 0, ""),
        (_rot_certificate, 5, "height 6: certificate"),
        (_rot_body, 5, "height 6: body"),
        (_gap, 5, ""),
        (_rot_state, HEIGHTS, ""),
        (_rot_meta, HEIGHTS, ""),
        (_lose_index, HEIGHTS, ""),
        (_lose_guard, HEIGHTS, ""),
    ],
)
def test_every_block_that_holds_is_kept_and_nothing_is_deleted(
    path: Path, damage: Callable[[Path], object], kept: Height | None, lost: str | None
) -> None:
    damage(path)
    before = path.read_bytes() if path.exists() else None
    done = recover(path, real.GENESIS)
    check_recovered(path, done, done.kept if kept is None else kept)
    if lost:
        assert done.first_lost.startswith(lost)
    assert done.observer.reason.startswith("recovered: ")
    aside = path.with_name("chain.db.damaged-1")
    assert (aside.read_bytes() if aside.exists() else None) == before
    assert all(file.exists() for file in done.aside)


def test_what_was_in_the_log_is_kept_too(path: Path, tmp_path: Path) -> None:
    """A node that was killed: its last blocks are in the log only."""
    killed = tmp_path / "killed"
    killed.mkdir()

    async def scenario() -> None:
        maker = real.Maker()
        maker.add_typical(3)
        await ChainStore.create(killed / "chain.db", real.GENESIS.digest)
        async with await ChainStore.open(killed / "chain.db", real.GENESIS.digest) as store:
            await store.seed_state(maker.genesis_state)
            for block in maker.blocks:
                await store.persist([block.body])
                await store.persist([DecisionRecord(
                    block.header.height, block.body.digest, block.certificate
                )])  # fmt: skip
            for name in ("chain.db", "chain.db-wal", "chain.db-guard"):
                shutil.copy(killed / name, path.parent / name)

    asyncio.run(scenario())
    log = path.with_name("chain.db-wal").read_bytes()
    guard_file(path).unlink()
    done = recover(path, real.GENESIS)
    assert path.with_name("chain.db.damaged-1-wal").read_bytes() == log
    check_recovered(path, done, 3)


def test_a_sound_store_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        recover(path, real.GENESIS)
    assert caught.value.code == "E260"
    assert path.read_bytes() == before


def test_a_store_put_back_from_a_copy_looks_sound_and_needs_force(path: Path) -> None:
    done = recover(path, real.GENESIS, force=True)
    check_recovered(path, done, HEIGHTS)


def test_a_second_recovery_changes_nothing(path: Path) -> None:
    _rot_body(path)
    done = recover(path, real.GENESIS)
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    again = recover(path, real.GENESIS)
    assert again == done._replace(changed=False, aside=())
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == files


def test_the_next_damage_goes_to_a_place_of_its_own(path: Path) -> None:
    for number in (1, 2, 3):
        _nothing(path)
        recover(path, real.GENESIS)
        assert path.with_name(f"chain.db.damaged-{number}").exists()


def test_not_while_the_node_runs(path: Path) -> None:
    _rot_body(path)
    lock = StoreLock(path)
    try:
        with pytest.raises(UserError) as caught:
            recover(path, real.GENESIS)
    finally:
        lock.release()
    assert caught.value.code == "E254"


def test_another_chains_store_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    asyncio.run(ChainStore.create(path, b.CHAIN_ID))
    with pytest.raises(UserError) as caught:
        recover(path, real.GENESIS, force=True)
    assert caught.value.code == "E251"


def test_a_disk_without_room_is_named_and_the_old_file_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rot_body(path)
    before = path.read_bytes()

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_sync", full)
        with pytest.raises(UserError, match="E262") as caught:
            recover(path, real.GENESIS)
    assert "No space left" in str(caught.value)
    assert path.read_bytes() == before
    check_recovered(path, recover(path, real.GENESIS), 5)


def test_no_node_starts_on_half_a_recovery(path: Path) -> None:
    shutil.copy(path, recovered_file(path))
    with pytest.raises(UserError) as caught:
        resume(path)
    assert caught.value.code == "E261"
    assert "vppd recover" in str(caught.value)


# ---------------------------------------------------------------- killed at any instant


def settle(path: Path, kept: Height) -> None:
    """After whatever was left behind, one recovery is enough; the damaged file is somewhere."""
    done = recover(path, real.GENESIS)
    check_recovered(path, done._replace(changed=True), kept)
    assert len(list(path.parent.glob("chain.db.damaged-?"))) == 1


@pytest.mark.parametrize("step", range(1, 20))
def test_stopped_before_any_change_of_a_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Dies before its n-th rename, removal or sync of a file, for every n there is."""
    _rot_body(path)
    damaged = path.read_bytes()
    done = 0

    def dying(real_one: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal done
            done += 1
            if done == step:
                raise KeyboardInterrupt
            return real_one(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(module, "_sync", dying(module._sync))
        patch.setattr(Guard, "create", dying(Guard.create))
        try:
            recover(path, real.GENESIS)
        except KeyboardInterrupt:
            pass
        else:
            assert step > 10, "a recovery has more steps than that"
    settle(path, 5)
    assert path.with_name("chain.db.damaged-1").read_bytes() == damaged


@pytest.mark.slow
def test_killed_at_random_moments(path: Path) -> None:
    _rot_body(path)
    damaged = path.read_bytes()
    chance = random.Random(5)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.store.recoverer", str(path)],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 2 * HEIGHTS)):
                process.stdout.readline()
            process.kill()
    settle(path, 5)
    assert path.with_name("chain.db.damaged-1").read_bytes() == damaged


def test_what_root_recovers_belongs_to_the_owner_of_the_folder(path: Path) -> None:
    """The daemon runs as that; anybody but root is the owner already."""
    if os.geteuid() == 0:
        for file in (path.parent, *path.parent.iterdir()):
            os.chown(file, 4_321, 4_321)
    path.unlink()
    recover(path, real.GENESIS)
    owner = path.parent.stat()
    for file in path.parent.iterdir():
        assert (file.stat().st_uid, file.stat().st_gid) == (owner.st_uid, owner.st_gid), file.name
