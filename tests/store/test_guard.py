"""The guard file: what it keeps, what tears it, and that it is written before a promise is out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.consensus.boundary import Record
from vppd.crypto import sha256
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore
from vppd.store.guard import Guard, Mark, guard_file, read_guard


def mark(number: int) -> Mark:
    return Mark(number, 2 * number, sha256(b"%d" % number))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


def test_the_latest_note_counts(database: Path) -> None:
    guard = Guard.create(database)
    assert read_guard(database) is None
    for number in range(1, 6):
        guard.note(mark(number))
        assert read_guard(database) == mark(number)
    guard.sync()
    guard.close()


def test_a_guard_opened_again_overwrites_its_older_note_first(database: Path) -> None:
    for written in (1, 2, 3):
        guard = Guard.create(database)
        for number in range(1, written + 1):
            guard.note(mark(number))
        guard.close()
        before = guard_file(database).read_bytes()
        guard = Guard.open(database)
        guard.note(mark(9))
        guard.close()
        torn = bytearray(guard_file(database).read_bytes())
        assert torn != before
        for at in (0, 4_096):
            if torn[at : at + 4_096] != before[at : at + 4_096]:
                torn[at : at + 4_096] = bytes(4_096)
        guard_file(database).write_bytes(torn)
        assert read_guard(database) == mark(written)


@pytest.mark.parametrize("size", [0, 1, 60, 511])
def test_a_guard_cut_within_its_first_note_says_nothing(database: Path, size: int) -> None:
    guard = Guard.create(database)
    guard.note(mark(1))
    guard.close()
    os.truncate(guard_file(database), min(size, 87))
    assert read_guard(database) is None


def test_no_single_bit_changes_a_note(database: Path) -> None:
    guard = Guard.create(database)
    guard.note(mark(1))
    guard.close()
    whole = guard_file(database).read_bytes()
    for bit in range(88 * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        guard_file(database).write_bytes(flipped)
        assert read_guard(database) is None


def test_a_guard_that_is_missing_is_no_guard_without_a_note(database: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_guard(database)
    with pytest.raises(FileNotFoundError):
        Guard.open(database)


async def test_each_promise_is_noted_when_persist_returns(path: Path) -> None:
    block = b.body(1)
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        seen = [read_guard(path)]
        steps: tuple[list[Record], ...] = (
            [block, b.vote(block)],
            [b.prepared(block)],
            [b.decision(block)],
        )
        for records in steps:
            await store.persist(records)
            seen.append(read_guard(path))
        stored = b.raw_rows(path, "SELECT generation, checksum FROM safety")[0]
    marks = [mark for mark in seen if mark is not None]
    assert [m.decided for m in marks] == [0, 0, 0, 1]
    assert [m.generation for m in marks] == [2, 3, 4, 4]
    assert (marks[-1].generation, marks[-1].checksum) == stored


async def test_a_promise_that_cannot_be_noted_is_the_last_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await ChainStore.open(path, b.CHAIN_ID)
    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", _no_space)
        with pytest.raises(LocalFault, match="No space left"):
            await store.persist([b.view(1)])
    with pytest.raises(LocalFault, match="earlier write failed"):
        await store.persist([b.view(2)])
    await store.close()


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")
