"""Small promises are written by who waits for them while the disk is quick, and only then."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore
from vppd.store.connection import SqliteThread
from vppd.store.pace import QUICK_S, SMALL_BYTES, SMALL_ITEMS, STREAK, Pace, is_small


class Clock:
    """Goes on by what the next work is said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def done(pace: Pace, clock: Clock, seconds: float) -> None:
    def work(_: sqlite3.Connection) -> None:
        clock.now += seconds

    pace.timed(work)(sqlite3.connect(":memory:"))


def test_only_a_run_of_quick_writes_is_quick() -> None:
    pace = Pace(clock := Clock())
    for _ in range(STREAK):
        assert not pace.is_quick
        done(pace, clock, QUICK_S / 2)
    assert pace.is_quick
    done(pace, clock, QUICK_S * 1.5)
    assert not pace.is_quick


def test_what_fails_counts_by_its_time_too() -> None:
    pace = Pace(clock := Clock())
    for _ in range(STREAK):
        done(pace, clock, 0)

    def fail(_: sqlite3.Connection) -> None:
        clock.now += 2 * QUICK_S
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        pace.timed(fail)(sqlite3.connect(":memory:"))
    assert not pace.is_quick


def test_large_bodies_and_many_transactions_are_not_small() -> None:
    assert is_small([b.body(1), b.view(0)], [])
    assert not is_small([b.body(1, txs=(bytes(SMALL_BYTES + 1),))], [])
    assert not is_small([b.body(1, txs=(b"x",) * (SMALL_ITEMS + 1))], [])
    many = tuple(b.tx_id(1, salt) for salt in range(SMALL_ITEMS + 1))
    assert not is_small([], [b.execution(1, tx_ids=many)])


async def test_a_quick_store_writes_on_the_loop_and_a_slow_one_does_not(
    store: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    write = store._writer.write

    def watched(*args: object) -> None:
        threads.append(threading.get_ident())
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store._writer), "write", lambda _, *args: watched(*args))
    for number in range(3):
        await store.persist([b.view(number)])
    assert threading.get_ident() not in threads, "before it is known to be quick"
    store._pace._streak = STREAK
    await store.persist([b.view(3)])
    assert threads[-1] == threading.get_ident()
    store._pace._streak = 0
    await store.persist([b.view(4)])
    assert threads[-1] != threading.get_ident()


async def test_nothing_is_written_here_while_the_thread_has_work(path: Path) -> None:
    connection = await SqliteThread.open(path, "ro")
    begun, go = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait()

    try:
        assert connection.idle
        busy = [asyncio.ensure_future(connection.run(wait)) for _ in range(2)]
        await asyncio.to_thread(begun.wait)
        busy[0].cancel()  # the work goes on all the same
        assert not connection.idle
        with pytest.raises(LocalFault, match="two threads"):
            connection.run_here(lambda c: c.total_changes)
        go.set()
        await asyncio.wait(busy)
        await connection.run(lambda c: c.total_changes)
        assert connection.idle
        assert connection.run_here(lambda c: c.total_changes) == 0
    finally:
        go.set()
        await connection.close()


async def test_many_at_once_from_both_sides_lose_no_count(path: Path) -> None:
    connection = await SqliteThread.open(path, "ro")
    try:
        for _ in range(20):
            await asyncio.gather(*(connection.run(lambda c: c.total_changes) for _ in range(50)))
        assert connection.idle
    finally:
        await connection.close()


async def test_promises_are_written_in_the_order_they_were_handed_in(store: ChainStore) -> None:
    """Also when the first is small and waits a moment for what is to be sent, and the next not."""
    store._pace._streak = STREAK
    large = b.body(1, txs=(bytes(SMALL_BYTES + 1),))
    await asyncio.gather(store.persist([b.view(5)]), store.persist([large, b.view(9)]))
    assert (await store.resume()).log[-1] == b.view(9)


async def test_what_another_process_holds_is_waited_for_on_the_thread(
    store: ChainStore, path: Path
) -> None:
    store._pace._streak = STREAK
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    turns = 0
    writing = asyncio.create_task(store.persist([b.view(1)]))
    while turns < 100:
        await asyncio.sleep(0.001)
        turns += 1
    assert not writing.done(), "and the loop has gone on"
    other.execute("ROLLBACK")
    other.close()
    await writing
    assert (await store.resume()).log[-1] == b.view(1)
