"""Eras are stored with the execution that schedules them, in order, and found again with proof."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.codec import encode
from vppd.era import Era, EraMember
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore

MEMBERS = (EraMember(bytes([7]) * 32, True, "op-0", "10.0.0.1:7440", bytes([8]) * 32),)


def era(epoch: int, first: int) -> Era:
    return Era(epoch, first, "pbft", 0, None, MEMBERS, (("max_block_txs", 100),))


@pytest.fixture
async def chain(store: ChainStore) -> ChainStore:
    """Five heights; the second schedules epoch 1 from height 4 on, the fourth epoch 2 from 6 on."""
    for height in range(1, 6):
        await store.persist(b.decided(height))
        scheduled = {2: era(1, 4), 4: era(2, 6)}.get(height)
        store.put_execution(b.execution(height)._replace(era=scheduled))
    await store.state_entries()  # everything is written
    return store


async def test_eras_come_back_as_they_were_scheduled(chain: ChainStore, path: Path) -> None:
    assert await chain.eras() == (era(1, 4), era(2, 6))
    await chain.close()
    async with await ChainStore.open(path, b.CHAIN_ID) as again:
        assert await again.eras() == (era(1, 4), era(2, 6))


async def test_each_step_comes_with_the_last_header_before_it(chain: ChainStore) -> None:
    links = await chain.era_links(0, 1 << 20)
    assert [link.era.epoch for link in links] == [1, 2]
    for link, height in zip(links, (3, 5), strict=True):
        assert link.header == b.body(height).header
        assert link.certificate == b.certificate(b.body(height))
    assert [link.era.epoch for link in await chain.era_links(2, 1 << 20)] == [2]
    assert await chain.era_links(3, 1 << 20) == ()
    assert len(await chain.era_links(1, len(encode(links[0])))) == 1
    await chain.prune(4)
    assert await chain.era_links(1, 1 << 20) == links, "pruning keeps headers and certificates"


async def test_a_step_whose_header_is_not_decided_yet_is_not_shown(store: ChainStore) -> None:
    await store.persist(b.decided(1))
    store.put_execution(b.execution(1)._replace(era=era(1, 3)))
    await store.state_entries()
    assert await store.eras() == (era(1, 3),)
    assert await store.era_links(1, 1 << 20) == ()
    await store.persist(b.decided(2))
    assert len(await store.era_links(1, 1 << 20)) == 1


async def test_an_era_out_of_order_is_refused(store: ChainStore) -> None:
    await store.persist(b.decided(1))
    store.put_execution(b.execution(1)._replace(era=era(2, 3)))
    with pytest.raises(LocalFault, match="epoch by epoch"):
        await store.persist(b.decided(2))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eras SET first = 9",
        "DELETE FROM eras",
        "INSERT INTO eras VALUES (1, 9, x'00')",
        "REPLACE INTO eras VALUES (2, 9, x'00')",
        "INSERT INTO eras VALUES (4, 9, x'00')",
    ],
)
async def test_an_era_is_never_changed(chain: ChainStore, path: Path, statement: str) -> None:
    await chain.close()
    with pytest.raises(sqlite3.IntegrityError):
        b.raw_write(path, statement)


async def test_a_damaged_era_is_said_so(chain: ChainStore, path: Path) -> None:
    await chain.close()
    b.raw_write(path, "DROP TRIGGER eras_no_update")
    b.raw_write(path, "UPDATE eras SET first = 5 WHERE epoch = 1")
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        with pytest.raises(LocalFault, match="epoch 1 is damaged"):
            await store.eras()
