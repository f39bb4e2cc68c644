"""Reading SQLite's log: what a torn transaction looks like, and what only damage looks like."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vppd.store.log import Frame, Log, read_log

OURS, OLD = b"salt now", b"salt old"
PAGE = Frame(OURS, ends=False)
END = Frame(OURS, ends=True)
STALE = Frame(OLD, ends=True)
ROTTEN = Frame(b"whatever", ends=True)


def lost(valid: int, *frames: Frame, salts: bytes | None = OURS) -> int:
    return Log(salts, frames).lost(valid)


@pytest.mark.parametrize(
    ("valid", "frames"),
    [
        (0, ()),
        (2, (PAGE, END)),
        (2, (PAGE, END, STALE, STALE)),
        (2, (PAGE, END, PAGE)),
        (2, (PAGE, END, PAGE, PAGE, END)),
        (2, (PAGE, END, ROTTEN, PAGE, END)),
        (2, (PAGE, END, PAGE, END, STALE, STALE)),
        (0, (STALE, STALE, STALE)),
        (0, (PAGE, END)),
    ],
    ids=[
        "empty",
        "whole",
        "begun again",
        "torn at once",
        "torn, its end has landed",
        "torn in the middle",
        "torn, and older frames behind",
        "a new header, no frame yet",
        "the first transaction torn",
    ],
)
def test_one_torn_transaction_is_no_loss(valid: int, frames: tuple[Frame, ...]) -> None:
    assert lost(valid, *frames) == 0


@pytest.mark.parametrize(
    ("valid", "frames", "gone"),
    [
        (2, (PAGE, END, PAGE, END, PAGE), 3),
        (2, (PAGE, END, ROTTEN, END, PAGE, END), 4),
        (0, (ROTTEN, END, END, STALE), 3),
    ],
)
def test_what_follows_a_lost_commit_proves_that_it_was_synced(
    valid: int, frames: tuple[Frame, ...], gone: int
) -> None:
    assert lost(valid, *frames) == gone


def test_a_damaged_header_hides_a_whole_log() -> None:
    assert lost(0, END, END, STALE, salts=None) == 2
    assert lost(0, END, STALE, STALE, salts=None) == 0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A database whose log was begun again and holds three transactions."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        for _ in range(20):
            connection.execute("INSERT INTO t VALUES (randomblob(3000))")
        connection.execute("PRAGMA wal_checkpoint").fetchall()
        for _ in range(3):
            connection.execute("INSERT INTO t VALUES (1)")
        yield path, connection


def test_frames_are_read_as_sqlite_wrote_them(database: tuple[Path, sqlite3.Connection]) -> None:
    path, connection = database
    found = read_log(path)
    ours = [frame for frame in found.frames if frame.salts == found.salts]
    _, valid, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert len(ours) == valid == 3
    assert all(frame.ends for frame in ours)
    assert found.frames[:3] == tuple(ours)
    assert len(found.frames) > 20
    assert found.lost(valid) == 0
    assert found.lost(0) == 3


@pytest.mark.parametrize("size", [0, 31, 32, 40])
def test_a_log_without_a_frame_holds_nothing(tmp_path: Path, size: int) -> None:
    (tmp_path / "x.db-wal").write_bytes(bytes(size))
    assert read_log(tmp_path / "x.db").frames == ()


def test_a_flipped_header_is_noticed(database: tuple[Path, sqlite3.Connection]) -> None:
    path, _ = database
    log = path.with_name("x.db-wal")
    whole = log.read_bytes()
    for bit in range(32 * 8):
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        (path.parent / "y.db-wal").write_bytes(turned)
        assert read_log(path.parent / "y.db").salts is None, bit


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_log(tmp_path / "x.db") == (None, ())
