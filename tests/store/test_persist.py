"""Promises: one transaction each, and a restart finds exactly them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store import builders as b
from vppd.consensus.boundary import BodyRecord, Record
from vppd.consensus.messages import Blocks, DecidedBlock
from vppd.errors import LocalFault
from vppd.store.chain import ChainStore


async def reopened(store: ChainStore, path: Path) -> tuple[Record, ...]:
    await store.close()
    async with await ChainStore.open(path, b.CHAIN_ID) as again:
        return (await again.resume()).log


async def test_the_log_holds_bodies_then_the_last_decision_then_the_safety_record(
    store: ChainStore, path: Path
) -> None:
    await store.persist(b.decided(1))
    await store.persist(b.decided(2))
    mine, other = b.body(3, salt=1), b.body(3, salt=2)
    await store.persist([mine, other])
    await store.persist([b.view(2), b.proposal(mine), b.vote(mine), b.prepared(other)])
    log = await reopened(store, path)
    assert log == (
        b.body(2), mine, other, b.decision(b.body(2)),
        b.view(2), b.vote(mine), b.proposal(mine), b.prepared(other),
    )  # fmt: skip


async def test_slots_are_replaced_one_by_one(store: ChainStore, path: Path) -> None:
    first, second = b.body(1, salt=1), b.body(1, salt=2)
    await store.persist([first, b.view(1), b.vote(first), b.prepared(first)])
    await store.persist([second, b.vote(second)])
    log = await reopened(store, path)
    assert log == (second, first, b.view(1), b.vote(second), b.prepared(first))


async def test_within_one_call_the_last_record_of_a_kind_counts(
    store: ChainStore, path: Path
) -> None:
    await store.persist([b.view(1), b.view(2), b.view(3)])
    assert await reopened(store, path) == (b.view(3),)


async def test_a_body_is_written_once(store: ChainStore, path: Path) -> None:
    block = b.body(1)
    again = BodyRecord(block.digest, 1, 7, block.header, block.txs, b"")
    await store.persist([block, block])
    await store.persist([again])
    assert b.raw_rows(path, "SELECT count(*) FROM bodies") == [(1,)]
    assert await store.body(block.digest) == block


async def test_nothing_to_persist_costs_nothing(store: ChainStore, path: Path) -> None:
    before = b.content(path, "-wal")
    await store.persist([])
    assert b.content(path, "-wal") == before


async def test_a_decision_removes_the_bodies_that_lost_and_no_other(
    store: ChainStore, path: Path
) -> None:
    winner, loser, later = b.body(1, salt=1), b.body(1, salt=2), b.body(2)
    await store.persist([loser, winner, later, b.vote(loser)])
    await store.persist([b.decision(winner)])
    assert await store.body(loser.digest) is None
    assert await store.body(winner.digest) == winner
    assert await store.body(later.digest) == later
    assert b.raw_rows(path, "SELECT count(*) FROM bodies") == [(2,)]


async def test_a_body_that_comes_after_its_height_was_decided_is_not_kept(
    store: ChainStore, path: Path
) -> None:
    await store.persist(b.decided(1))
    await store.persist([b.body(1, salt=5)])
    assert b.raw_rows(path, "SELECT count(*) FROM bodies") == [(1,)]


async def test_many_heights_in_one_transaction(store: ChainStore) -> None:
    records = [record for height in range(1, 6) for record in b.decided(height)]
    await store.persist(records)
    assert await store.decided() == 5
    assert (await store.resume()).decided == 5


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (b.decided(3), "decision 3 after 1"),
        (b.decided(1), "decision 1 after 1"),
        ((b.body(1, salt=1), b.decision(b.body(1, salt=1))), "decision 1 after 1"),
        ((b.decision(b.body(2)),), "needs its body"),
        ((b.body(2), b.decision(b.body(2, salt=1))), "needs its body"),
        (
            (
                b.body(2),
                b.decision(b.body(2)).__class__(2, b.body(2).digest, b.certificate(b.body(1))),
            ),
            "another block",
        ),
    ],
    ids=["gap", "twice", "other-at-height", "no-body", "other-body", "other-certificate"],
)
async def test_a_wrong_decision_is_refused_and_nothing_of_it_written(
    store: ChainStore, path: Path, records: Sequence[Record], why: str
) -> None:
    await store.persist(b.decided(1))
    before = b.raw_rows(path, "SELECT * FROM decisions"), b.raw_rows(path, "SELECT * FROM bodies")
    with pytest.raises(LocalFault, match=why):
        await store.persist([*records, b.view(9)])
    after = b.raw_rows(path, "SELECT * FROM decisions"), b.raw_rows(path, "SELECT * FROM bodies")
    assert after == before
    with pytest.raises(LocalFault, match="earlier write failed"):
        await store.persist([b.view(1)])
    assert await reopened(store, path) == (b.body(1), b.decision(b.body(1)))


async def test_concurrent_calls_are_written_in_their_order(store: ChainStore) -> None:
    await asyncio.gather(*(store.persist(b.decided(height)) for height in range(1, 20)))
    assert await store.decided() == 19


async def test_a_cancelled_caller_leaves_a_whole_transaction(store: ChainStore) -> None:
    task = asyncio.create_task(store.persist(b.decided(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.persist(b.decided(2))
    assert await store.decided() == 2


# ---------------------------------------------------------------- reading blocks


async def test_blocks_by_height_and_digest(store: ChainStore) -> None:
    for height in range(1, 4):
        await store.persist(b.decided(height))
    block = b.body(2)
    assert await store.block(2) == DecidedBlock(block.header, block.txs, b.certificate(block))
    assert await store.certificate(2) == b.certificate(block)
    assert await store.body(block.digest) == block
    assert await store.block(0) is None
    assert await store.block(4) is None
    assert await store.certificate(4) is None
    assert await store.body(bytes(32)) is None


async def test_an_undecided_block_is_no_block(store: ChainStore) -> None:
    block = b.body(1)
    await store.persist([block, b.vote(block)])
    assert await store.block(1) is None
    assert await store.blocks_from(1, 1_000_000) == ()
    assert await store.body(block.digest) == block


async def test_a_range_is_as_long_as_fits_and_never_empty(store: ChainStore) -> None:
    for height in range(1, 9):
        block = b.body(height, txs=(b"x" * 100 * height,))
        await store.persist([block, b.decision(block)])
    everything = await store.blocks_from(1, 1 << 20)
    assert [block.certificate.height for block in everything] == list(range(1, 9))
    for first in range(1, 9):
        for count in range(1, 10 - first):
            exact = b.encoded_size(Blocks(everything[first - 1 : first - 1 + count]))
            # Length prefixes are counted at their longest, so up to 6 bytes stay unused.
            assert len(await store.blocks_from(first, exact + 6)) == count
            assert len(await store.blocks_from(first, exact - 1)) == max(1, count - 1)
    assert len(await store.blocks_from(3, 0)) == 1
    assert await store.blocks_from(9, 1 << 20) == ()


# ---------------------------------------------------------------- any history

_STEPS = st.lists(
    st.tuples(st.sampled_from(["vote", "propose", "lock", "decide", "view"]), st.integers(0, 3)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS)
def test_any_history_is_resumed_as_it_was_written(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("history") / "chain.db"
    asyncio.run(_replay(path, steps))


async def _replay(path: Path, steps: list[tuple[str, int]]) -> None:
    await ChainStore.create(path, b.CHAIN_ID)
    slots: dict[str, Record] = {}
    height, last = 1, None
    winners: set[bytes] = set()
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        for kind, salt in steps:
            block = b.body(height, salt)
            match kind:
                case "vote":
                    slots[kind] = b.vote(block)
                case "propose":
                    slots[kind] = b.proposal(block)
                case "lock":
                    slots[kind] = b.prepared(block)
                case "decide":
                    last = b.decision(block)
                    winners.add(block.digest)
                    height += 1
                case _:
                    slots[kind] = b.view(salt)
            record = last if kind == "decide" and last is not None else slots[kind]
            await store.persist([block, record])
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        resume = await store.resume()
    rest = [record for record in resume.log if not isinstance(record, BodyRecord)]
    order = ("view", "vote", "propose", "lock")
    kept = [slots[kind] for kind in order if kind in slots]
    assert rest == ([last] if last is not None else []) + kept
    assert resume.decided == height - 1
    bodies = {record.digest for record in resume.log if isinstance(record, BodyRecord)}
    needed = {digest for record in rest for digest in _digests(record)}
    undecided = {b.body(height, salt).digest for salt in range(4)}
    assert bodies == needed & (winners | undecided)


def _digests(record: Record) -> list[bytes]:
    match record:
        case _ if hasattr(record, "digest"):
            return [record.digest]
        case _ if hasattr(record, "certificate"):
            return [record.certificate.digest]
        case _:
            return []
