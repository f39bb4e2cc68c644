"""Executions: readable at once, written with the next promise or after a while."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.errors import LocalFault
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import make_statement, transaction_id
from vppd.store import chain
from vppd.store.chain import ChainStore, StoredExecution, TxLocation


@pytest.fixture
async def patient(store: ChainStore, monkeypatch: pytest.MonkeyPatch) -> ChainStore:
    """A store that does not flush by itself."""
    monkeypatch.setattr(chain, "FLUSH_S", 3_600)
    return store


async def state(store: ChainStore) -> dict[bytes, bytes]:
    return dict(await store.state_entries())


async def test_an_execution_waits_for_the_next_promise(patient: ChainStore, path: Path) -> None:
    await patient.persist(b.decided(1))
    patient.put_execution(b.execution(1))
    assert b.raw_rows(path, "SELECT height FROM executions") == []
    await patient.persist([b.view(1)])
    assert b.raw_rows(path, "SELECT height FROM executions") == [(1,)]
    assert b.raw_rows(path, "SELECT first, last, ids, counts FROM places") == [
        (1, 1, b.tx_id(1)[:8], b"\0\0\0\1")
    ]


async def test_it_costs_no_transaction_of_its_own(
    patient: ChainStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiosqlite")
    for height in range(1, 6):
        await patient.persist(b.decided(height))
        patient.put_execution(b.execution(height))
    hops = [entry for entry in caplog.records if entry.getMessage().startswith("executing")]
    assert len(hops) == 5


async def test_what_waits_is_readable(patient: ChainStore) -> None:
    await patient.persist(b.decided(1))
    row = b.execution(1)
    patient.put_execution(row)
    expected = StoredExecution(1, row.state_root, row.receipts_root, row.receipts, row.next_due_ms)
    for _ in ("waiting", "written"):
        assert await patient.executed() == 1
        assert await patient.execution(1) == expected
        assert await patient.tx_location(b.tx_id(1)) == TxLocation(1, 0)
        assert await patient.tx_location(b.tx_id(2)) is None
        assert await patient.execution(2) is None
        await patient.persist([b.view(1)])


async def test_reading_the_state_writes_what_waits_first(patient: ChainStore, path: Path) -> None:
    await patient.persist(b.decided(1))
    patient.put_execution(b.execution(1, ((b"account/a", b"50"), (b"account/b", None))))
    assert await state(patient) == {b"account/a": b"50"}
    assert b.raw_rows(path, "SELECT height FROM executions") == [(1,)]


async def test_without_a_promise_it_is_written_after_a_while(
    store: ChainStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "FLUSH_S", 0)
    await store.persist(b.decided(1))
    store.put_execution(b.execution(1))
    while store._flushing is None:
        await store.resume()  # any await that lets the loop's timers run
    await store._flushing
    assert b.raw_rows(path, "SELECT height FROM executions") == [(1,)]


async def test_closing_writes_what_waits(patient: ChainStore, path: Path) -> None:
    await patient.persist(b.decided(1))
    patient.put_execution(b.execution(1))
    await patient.close()
    assert b.raw_rows(path, "SELECT height FROM executions") == [(1,)]


async def test_changes_are_applied_in_order(store: ChainStore) -> None:
    for height in range(1, 5):
        await store.persist(b.decided(height))
    store.put_execution(b.execution(1, ((b"x", b"1"), (b"y", b"1"))))
    store.put_execution(b.execution(2, ((b"x", None), (b"z", b"2"))))
    store.put_execution(b.execution(3, ((b"x", b"3"), (b"y", b"3"))))
    store.put_execution(b.execution(4, ((b"never there", None), (b"empty", b""))))
    assert await state(store) == {
        **dict(b.GENESIS_STATE), b"x": b"3", b"y": b"3", b"z": b"2", b"empty": b"",
    }  # fmt: skip


async def test_the_state_is_sorted_by_key(store: ChainStore) -> None:
    await store.persist(b.decided(1))
    changes = tuple((bytes([n]), b"v") for n in (9, 255, 0, 128, 3))
    store.put_execution(b.execution(1, changes))
    keys = [key for key, _ in await store.state_entries()]
    assert keys == sorted(keys)


async def test_what_proves_itself_and_is_executed_twice_stays_where_it_was_first(
    store: ChainStore,
) -> None:
    """Without a nonce, ``ready`` may be said again by the same bytes once its effect is gone."""
    said = make_statement(1_000, Ready(bytes(32), 3, 1, bytes(32), bytes(32), bytes(64)))
    same = transaction_id(said)
    for height in (1, 2, 3):
        block = b.body(height, txs=(b"tx %d 0" % height, said))
        await store.persist([block, b.decision(block)])
        store.put_execution(b.execution(height, tx_ids=(b.tx_id(height), same)))
        for _ in ("waiting", "written"):
            assert await store.tx_location(same) == TxLocation(1, 1)
            assert await store.tx_location(b.tx_id(height)) == TxLocation(height, 0)
            await store.persist([b.view(height)])


@pytest.mark.parametrize("height", [1, 3, 4])
async def test_executions_follow_each_other(store: ChainStore, height: int) -> None:
    for decided in range(1, 4):
        await store.persist(b.decided(decided))
    store.put_execution(b.execution(1))
    with pytest.raises(LocalFault, match=f"execution {height} after 1, decided is 3"):
        store.put_execution(b.execution(height))
    store.put_execution(b.execution(2))
    assert await store.executed() == 2


async def test_only_decided_blocks_are_executed(store: ChainStore) -> None:
    block = b.body(1)
    await store.persist([block, b.vote(block)])
    with pytest.raises(LocalFault, match="decided is 0"):
        store.put_execution(b.execution(1))


async def test_the_state_of_genesis_comes_first(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(b.decided(1))
        with pytest.raises(LocalFault, match="seed_state"):
            store.put_execution(b.execution(1))
        await store.seed_state(b.GENESIS_STATE)
        store.put_execution(b.execution(1))


async def test_the_state_of_genesis_is_stored_once(store: ChainStore, path: Path) -> None:
    await store.persist(b.decided(1))
    store.put_execution(b.execution(1, ((b"account/a", b"1"),)))
    await store.seed_state(b.GENESIS_STATE)
    await store.close()
    async with await ChainStore.open(path, b.CHAIN_ID) as again:
        await again.seed_state(b.GENESIS_STATE)
        assert (await state(again))[b"account/a"] == b"1"
        assert await again.executed() == 1
