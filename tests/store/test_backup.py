"""Backups hold every block and no vote; a restored node follows, whatever interrupts it."""

from __future__ import annotations

import asyncio
import errno
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
from vppd.consensus.boundary import DecisionRecord, ObserverRecord, VoteRecord
from vppd.errors import UserError
from vppd.store import backup as module
from vppd.store import recover as recovering
from vppd.store.backup import Restored, backup, restore
from vppd.store.chain import ChainStore, Resume
from vppd.store.check import check_store, look
from vppd.store.guard import Guard
from vppd.store.lock import StoreLock
from vppd.store.recover import recover
from vppd.store.schema import recovered_file
from vppd.types import ZERO_DIGEST, Height

HEIGHTS = 5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a stopped node, and a backup of it beside."""
    maker = real.Maker()
    maker.add_typical(HEIGHTS)
    base = tmp_path_factory.mktemp("written")
    (base / "home").mkdir()
    asyncio.run(real.write(base / "home" / "chain.db", maker))
    backup(base / "home" / "chain.db", real.GENESIS, base / "kept.backup")
    return base


@pytest.fixture
def base(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def path(base: Path) -> Path:
    return base / "home" / "chain.db"


@pytest.fixture
def kept(base: Path) -> Path:
    return base / "kept.backup"


def resume(path: Path) -> Resume:
    """As a node that starts on it."""

    async def scenario() -> Resume:
        async with await ChainStore.open(path, real.GENESIS.digest) as store:
            return await store.resume()

    return asyncio.run(scenario())


def observers(found: Resume) -> list[ObserverRecord]:
    return [record for record in found.log if isinstance(record, ObserverRecord)]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.code


# ---------------------------------------------------------------- backup


def test_a_backup_is_one_file_with_every_block_and_no_vote(path: Path, tmp_path: Path) -> None:
    before = b.content(path), b.content(path, "-guard")
    out = tmp_path / "out" / "node.backup"
    out.parent.mkdir()
    steps: list[tuple[int, int]] = []
    made = backup(path, real.GENESIS, out, progress=lambda *at: steps.append(at))
    assert (b.content(path), b.content(path, "-guard")) == before
    assert b.names(out.parent) == {"node.backup"}
    assert out.stat().st_mode & 0o777 == 0o600
    assert (made.decided, made.size_bytes) == (HEIGHTS, out.stat().st_size)
    assert steps[-1][0] == steps[-1][1] > 0
    report = check_store(out, real.GENESIS)
    assert (report.verified, report.problems) == (HEIGHTS, ())
    assert report.state.observer == f"from a backup that ends at height {HEIGHTS}"
    assert b.names(out.parent) == {"node.backup"}, "looking at a backup leaves nothing beside it"


def test_a_backup_put_in_place_by_hand_does_not_vote_and_draws_a_nonce(
    path: Path, kept: Path
) -> None:
    nonces = set()
    for _ in range(2):
        for suffix in ("", "-wal", "-guard"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(kept, path)
        found = resume(path)
        assert found.decided == HEIGHTS
        (observer,) = observers(found)
        nonces.add(observer.nonce)
    assert len(nonces) == 2
    assert ZERO_DIGEST not in nonces


async def test_a_node_that_runs_is_copied_as_it_is_at_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    maker = real.Maker()
    maker.add_typical(8)
    await ChainStore.create(path, real.GENESIS.digest)
    async with await ChainStore.open(path, real.GENESIS.digest) as store:
        await store.seed_state(maker.genesis_state)
        for block in maker.blocks:
            height, digest = block.header.height, block.body.digest
            out = tmp_path / f"{height}.backup"
            copying = asyncio.create_task(asyncio.to_thread(backup, path, real.GENESIS, out))
            while not copying.done():
                await store.persist([block.body, VoteRecord(0, 0, height, digest)])
            await copying
            await store.persist([DecisionRecord(height, digest, block.certificate)])
            store.put_execution(block.row)
            report = await asyncio.to_thread(check_store, out, real.GENESIS)
            assert report.problems == ()
            assert report.state.observer is not None
            assert report.verified == height - 1


def test_nothing_is_overwritten(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "diary.txt"
    out.write_text("dear diary")
    assert code_of(lambda: backup(path, real.GENESIS, out)) == "E280"
    assert out.read_text() == "dear diary"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert code_of(lambda: backup(path, real.GENESIS, tmp_path / "link")) == "E280"
    assert code_of(lambda: backup(path, real.GENESIS, tmp_path)) == "E280"


def test_a_name_that_is_taken_while_the_copy_is_made_stays_taken(
    path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "node.backup"

    def take(*_: int) -> None:
        out.write_text("mine")

    assert code_of(lambda: backup(path, real.GENESIS, out, progress=take)) == "E280"
    assert out.read_text() == "mine"
    assert b.names(tmp_path) == {"base", "node.backup"}


def test_a_medium_without_links(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    out = tmp_path / "out" / "node.backup"
    out.parent.mkdir()
    assert backup(path, real.GENESIS, out).decided == HEIGHTS
    assert b.names(out.parent) == {"node.backup"}


def test_a_damaged_store_makes_no_backup(path: Path, tmp_path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(bytes(4096))
    out = tmp_path / "out" / "node.backup"
    out.parent.mkdir()
    assert code_of(lambda: backup(path, real.GENESIS, out)) in {"E253", "E282"}
    assert b.names(out.parent) == set()


@pytest.mark.parametrize("pages", [1, 2, 5, 8])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    path: Path, kept: Path, tmp_path: Path, pages: int
) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses the same writes."""
    limit = kept.stat().st_size - 4096 * pages
    out = tmp_path / "out" / "node.backup"
    out.parent.mkdir()
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from tests.store import real_chain as real\nfrom vppd.store.backup import backup\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n    backup(Path(sys.argv[1]), real.GENESIS, Path(sys.argv[2]))\n"
        "except Exception as err:\n    sys.exit(str(err))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("error[E281]: the backup cannot be written"), done.stderr
    assert b.names(out.parent) == set()
    assert look(path, real.GENESIS.digest).may_vote


def test_room_that_a_running_node_needs_is_not_taken(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "node.backup"
    needed = 2**60
    assert code_of(lambda: backup(path, real.GENESIS, out, keep_free_bytes=needed)) == "E281"
    assert not out.exists()


def test_a_folder_that_is_not_there(path: Path, tmp_path: Path) -> None:
    assert code_of(lambda: backup(path, real.GENESIS, tmp_path / "no" / "x.backup")) == "E281"


# ---------------------------------------------------------------- restore


def check_restored(path: Path, done: Restored) -> None:
    found = resume(path)
    assert observers(found) == [done.observer]
    assert (found.decided, done.decided) == (HEIGHTS, HEIGHTS)
    assert done.observer.nonce != ZERO_DIGEST
    assert check_store(path, real.GENESIS).problems == ()
    assert not recovered_file(path).exists()
    assert not list(path.parent.glob("*restoring*"))


def test_into_an_empty_folder(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    done = restore(path, real.GENESIS, kept)
    assert (done.aside, done.replaced) == ((), None)
    check_restored(path, done)


def test_every_restore_has_a_nonce_of_its_own(kept: Path, tmp_path: Path) -> None:
    nonces = set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        nonces.add(restore(tmp_path / name / "chain.db", real.GENESIS, kept).observer.nonce)
    assert len(nonces) == 3


def test_a_store_that_is_there_stays_unless_it_is_to_be_replaced(path: Path, kept: Path) -> None:
    before = b.content(path), b.content(path, "-guard")
    with pytest.raises(UserError) as caught:
        restore(path, real.GENESIS, kept)
    assert caught.value.code == "E284"
    assert "costs this node its vote" in str(caught.value)
    assert (b.content(path), b.content(path, "-guard")) == before
    done = restore(path, real.GENESIS, kept, replace=True)
    assert done.replaced is not None
    assert done.replaced.may_vote
    assert [file.name for file in done.aside][:2] == [
        "chain.db.replaced-1",
        "chain.db.replaced-1-guard",
    ]
    assert (done.aside[0].read_bytes(), done.aside[1].read_bytes()) == before
    check_restored(path, done)
    again = restore(path, real.GENESIS, kept, replace=True)
    assert again.aside[0].name == "chain.db.replaced-2"
    assert again.replaced is not None
    assert not again.replaced.may_vote


def test_a_lone_log_is_a_store_too(kept: Path, tmp_path: Path) -> None:
    """Its database is lost; it may be all that is left of a vote."""
    path = tmp_path / "chain.db"
    path.with_name("chain.db-wal").write_bytes(b"frames")
    assert code_of(lambda: restore(path, real.GENESIS, kept)) == "E284"
    done = restore(path, real.GENESIS, kept, replace=True)
    assert [file.read_bytes() for file in done.aside] == [b"frames"]
    check_restored(path, done)


def test_the_raw_copy_of_a_store_does_not_vote_either(base: Path, tmp_path: Path) -> None:
    """What an image of a disk or `cp` has kept is taken, and marked here."""
    path = tmp_path / "chain.db"
    check_restored(path, restore(path, real.GENESIS, base / "home" / "chain.db"))


def test_a_damaged_backup_changes_nothing(path: Path, kept: Path) -> None:
    whole, before = kept.read_bytes(), path.read_bytes()
    chance = random.Random(3)
    refused = 0
    for case in range(40):
        if case % 4:
            at = chance.randrange(len(whole))
            kept.write_bytes(whole[:at] + chance.randbytes(64) + whole[at + 64 :])
        else:
            kept.write_bytes(whole[: chance.randrange(len(whole))])
        try:
            done = restore(path, real.GENESIS, kept, replace=True)
        except UserError as err:
            assert err.code in {"E251", "E252", "E285"}, err  # noqa: PT017 - either is right
            refused += 1
            assert path.read_bytes() == before
        else:
            check_restored(path, done)
            before = path.read_bytes()
    assert refused > 10


def test_what_cannot_be_restored_is_refused(path: Path, kept: Path, tmp_path: Path) -> None:
    lock = StoreLock(path)
    try:
        assert code_of(lambda: restore(path, real.GENESIS, kept, replace=True)) == "E254"
    finally:
        lock.release()
    assert code_of(lambda: restore(path, real.GENESIS, tmp_path / "no", replace=True)) == "E283"
    other = tmp_path / "other.db"
    asyncio.run(ChainStore.create(other, b.CHAIN_ID))
    assert code_of(lambda: restore(path, real.GENESIS, other, replace=True)) == "E251"
    shutil.copy(path, recovered_file(path))
    assert code_of(lambda: restore(path, real.GENESIS, kept, replace=True)) == "E261"
    recovered_file(path).unlink()
    assert look(path, real.GENESIS.digest).may_vote


# ---------------------------------------------------------------- interrupted


def settle(path: Path, kept: Path) -> Height:
    """Either nothing has changed, or `vppd recover` ends the move; how many stores are aside."""
    if recovered_file(path).exists():
        assert code_of(lambda: resume(path)) == "E261"
        recover(path, real.GENESIS)
    elif look(path, real.GENESIS.digest).may_vote:
        restore(path, real.GENESIS, kept, replace=True)
    found = resume(path)
    assert found.decided == HEIGHTS
    assert len(observers(found)) == 1
    return len(list(path.parent.glob("chain.db.replaced-?")))


def interrupted(monkeypatch: pytest.MonkeyPatch, step: int, work: Callable[[], object]) -> bool:
    """Dies before its n-th link, rename, removal or sync of a file; whether it came to that."""
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
        patch.setattr("os.link", dying(os.link))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(module, "_sync", dying(module._sync))
        patch.setattr(recovering, "_sync", dying(recovering._sync))
        patch.setattr(Guard, "create", dying(Guard.create))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("step", range(1, 10))
def test_a_backup_that_is_interrupted_is_whole_or_not_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out = tmp_path / "out" / "node.backup"
    out.parent.mkdir()
    died = interrupted(monkeypatch, step, lambda: backup(path, real.GENESIS, out))
    assert died or step > 5, "a backup has more steps than that"
    if out.exists():
        assert check_store(out, real.GENESIS).verified == HEIGHTS
        assert not look(out, real.GENESIS.digest).may_vote
    assert died or out.exists()
    assert look(path, real.GENESIS.digest).may_vote


@pytest.mark.parametrize("step", range(1, 32))
def test_a_restore_that_is_interrupted_is_none_or_can_be_ended(
    path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    voted = path.read_bytes()
    died = interrupted(monkeypatch, step, lambda: restore(path, real.GENESIS, kept, replace=True))
    assert died or step > 15, "a restore has more steps than that"
    assert settle(path, kept) == 1
    assert path.with_name("chain.db.replaced-1").read_bytes() == voted


@pytest.mark.slow
def test_killed_at_random_moments(path: Path, kept: Path) -> None:
    chance = random.Random(5)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.store.restorer", str(path), str(kept)],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, HEIGHTS + 1)):
                process.stdout.readline()
            process.kill()
    assert settle(path, kept) >= 1
