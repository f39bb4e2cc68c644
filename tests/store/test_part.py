"""Stores that begin with a snapshot, and stores that were pruned: served, verified, copied."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.store import builders as b
from tests.store import real_chain as real
from tests.store.real_chain import Maker, write
from vppd.codec import encode
from vppd.consensus.boundary import BodyRecord, DecisionRecord, VoteRecord
from vppd.errors import LocalFault, UserError
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import transaction_id
from vppd.store.backup import backup, restore
from vppd.store.chain import ChainStore
from vppd.store.check import check_store
from vppd.store.prune import prunable, prune_store
from vppd.store.recover import recover
from vppd.store.rows import Base, Certified
from vppd.store.verify import Part, verify_chain

HEIGHTS, AT = 12, 6
GENESIS = real.GENESIS


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(HEIGHTS)
    return made


def entries_at(maker: Maker, height: int) -> list[tuple[bytes, bytes]]:
    ledger = Ledger.from_genesis(GENESIS)
    for block in maker.blocks[:height]:
        ledger.execute(block.header, block.txs)
    return ledger.entries()


def base_of(maker: Maker, height: int = AT) -> Base:
    block, following = maker.blocks[height - 1], maker.blocks[height]
    return Base(
        Certified(block.header.encode(), block.certificate),
        Certified(following.header.encode(), following.certificate),
        (),
        block.execution.next_due_ms,
    )


async def install(path: Path, maker: Maker) -> None:
    """A joiner's store, with the snapshot after :data:`AT` and every block since."""
    await ChainStore.create(path, GENESIS.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.install(base_of(maker), entries_at(maker, AT))
        for block in maker.blocks[AT:]:
            body = block.body
            await store.persist([body, DecisionRecord(body.height, body.digest, block.certificate)])
            store.put_execution(block.row)


@pytest.fixture
async def based(tmp_path: Path, maker: Maker) -> Path:
    path = tmp_path / "based.db"
    await install(path, maker)
    return path


@pytest.fixture
async def pruned(tmp_path: Path, maker: Maker) -> Path:
    path = tmp_path / "pruned.db"
    await write(path, maker)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.prune(AT)
    return path


@pytest.fixture(params=["based", "pruned"])
def part(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


# ---------------------------------------------------------------- what is there


async def test_only_what_came_after_is_whole(part: Path, maker: Maker) -> None:
    async with await ChainStore.open(part, GENESIS.digest) as store:
        assert await store.first_block() == AT + 1
        assert await store.block(AT) is None
        assert await store.blocks_from(AT, 1 << 20) == ()
        blocks = await store.blocks_from(AT + 1, 1 << 20)
        assert [block.certificate.height for block in blocks] == [*range(AT + 1, HEIGHTS + 1)]
        below, above = maker.blocks[1].txs[0], maker.blocks[AT + 1].txs[0]
        assert await store.tx_location(transaction_id(below)) is None
        assert await store.tx_location(transaction_id(above)) == (AT + 2, 0)
        header = await store.certified(AT)
        assert header is not None
        assert header.header == maker.blocks[AT - 1].header.encode()
        assert await store.certified(AT + 1) is not None
        resume = await store.resume()
        assert (resume.decided, resume.executed) == (HEIGHTS, HEIGHTS)


async def test_a_fresh_base_is_where_a_node_goes_on(tmp_path: Path, maker: Maker) -> None:
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.install(base_of(maker), entries_at(maker, AT))
    async with await ChainStore.open(path, GENESIS.digest) as store:
        resume = await store.resume()
        assert (resume.decided, resume.executed) == (AT, AT)
        body, decision = resume.log
        assert isinstance(body, BodyRecord)
        assert (body.header, body.txs) == (maker.blocks[AT - 1].header.encode(), ())
        assert isinstance(decision, DecisionRecord)
        assert decision.certificate == maker.blocks[AT - 1].certificate
        assert await store.state_entries() == tuple(entries_at(maker, AT))
        execution = await store.execution(AT)
        assert execution is not None
        assert execution.state_root == maker.blocks[AT].header.state_root
    report = verify_chain(path, GENESIS)
    assert (report.ok, report.last, report.begins) == (True, AT, AT)


async def test_a_base_is_only_for_an_empty_store(based: Path, maker: Maker) -> None:
    async with await ChainStore.open(based, GENESIS.digest) as store:
        with pytest.raises(LocalFault, match="a snapshot for a store that has height"):
            await store.install(base_of(maker), [])
    assert verify_chain(based, GENESIS).ok


async def test_installing_is_all_or_nothing(tmp_path: Path, maker: Maker) -> None:
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    twice = entries_at(maker, AT) * 2
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.seed_state(maker.genesis_state)
        with pytest.raises(LocalFault):
            await store.install(base_of(maker), twice)
    assert b.raw_rows(path, "SELECT count(*) FROM base") == [(0,)]
    assert b.raw_rows(path, "SELECT count(*) FROM decisions") == [(0,)]
    assert b.raw_rows(path, "SELECT * FROM state ORDER BY 1") == list(maker.genesis_state)


async def test_a_vote_before_the_snapshot_is_kept(tmp_path: Path, maker: Maker) -> None:
    """A node that voted at height 1 and was then cut off remembers it."""
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    body = maker.blocks[0].body
    vote = VoteRecord(0, 0, 1, body.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.persist([body, vote])
        await store.install(base_of(maker), entries_at(maker, AT))
    async with await ChainStore.open(path, GENESIS.digest) as store:
        assert vote in (await store.resume()).log


# ---------------------------------------------------------------- verifying


def test_what_can_be_checked_holds(part: Path, maker: Maker) -> None:
    report = verify_chain(part, GENESIS)
    assert report.ok, report.failure
    assert (report.last, report.executed, report.begins) == (HEIGHTS, HEIGHTS, AT)
    assert report.transactions == sum(len(block.txs) for block in maker.blocks[AT:])
    assert not check_store(part, GENESIS).problems


COLUMNS = {
    ("decisions", "certificate"): Part.CERTIFICATE,
    ("decisions", "digest"): Part.BODY,
    ("bodies", "header"): Part.HEADER,
    ("bodies", "txs"): Part.BODY,
    ("executions", "state_root"): Part.STATE,
    ("executions", "receipts_root"): Part.RECEIPTS,
    ("executions", "receipts"): Part.RECEIPTS,
    ("places", "ids"): Part.INDEX,
    ("places", "counts"): Part.INDEX,
    ("state", "value"): Part.STATE,
    ("safety", "record"): Part.SAFETY,
}


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_byte_of_what_is_kept_is_found(part: Path, table: str, column: str) -> None:
    chance = random.Random(f"{table}.{column}")
    query = f"SELECT rowid, {column} FROM {table}"  # noqa: S608 - our names
    key = "rowid"
    if table == "state":
        key = "key"
        query = f"SELECT {key}, {column} FROM {table}"  # noqa: S608 - our names
    rows = [(k, v) for k, v in b.raw_rows(part, query) if isinstance(v, bytes) and len(v) > 1]
    for place, value in chance.sample(rows, min(4, len(rows))):
        copy = Path(shutil.copyfile(part, part.with_name("copy.db")))
        at = chance.randrange(len(value))
        bad = value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
        for (name,) in b.raw_rows(copy, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            b.raw_write(copy, f"DROP TRIGGER {name}")
        b.raw_write(copy, f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (bad, place))  # noqa: S608 - our names
        report = verify_chain(copy, GENESIS)
        assert report.failure is not None, f"{table}.{column} of {place!r}, byte {at}"


@pytest.mark.parametrize("column", ["header", "certificate", "height"])
def test_a_byte_of_the_base_is_found(based: Path, column: str) -> None:
    b.raw_write(based, "DROP TRIGGER base_no_update")
    ((value,),) = b.raw_rows(based, f"SELECT {column} FROM base")  # noqa: S608 - our names
    if isinstance(value, bytes):
        value = value[:-1] + bytes([value[-1] ^ 1])
    else:
        assert isinstance(value, int)
        value += 1
    b.raw_write(based, f"UPDATE base SET {column} = ?", (value,))  # noqa: S608 - our names
    assert verify_chain(based, GENESIS).failure is not None


def test_a_base_with_another_state_is_found(based: Path) -> None:
    """Root and state changed together: only the certified header still tells."""
    for (name,) in b.raw_rows(based, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        b.raw_write(based, f"DROP TRIGGER {name}")
    b.raw_write(based, "UPDATE executions SET state_root = ? WHERE height = ?", (bytes(32), AT))
    failure = verify_chain(based, GENESIS).failure
    assert failure is not None
    assert failure.part is Part.STATE


# ---------------------------------------------------------------- pruning is the one way


REFUSED = (
    "UPDATE bodies SET txs = x'' WHERE height = 8",
    "UPDATE bodies SET txs = x'90' WHERE height = 2",
    "UPDATE bodies SET header = x'00' WHERE height = 2",
    "DELETE FROM bodies WHERE height = 2",
    "DELETE FROM decisions WHERE height = 2",
    "DELETE FROM executions WHERE height = 8",
    "DELETE FROM places",
    "DELETE FROM pruned",
    "UPDATE pruned SET through = 5",
    "UPDATE pruned SET through = 12",
    "UPDATE pruned SET id = 1, through = 40",
    "INSERT INTO pruned VALUES (1, 8)",
    "REPLACE INTO pruned VALUES (1, 40)",
    "INSERT INTO base SELECT 1, 4, x'00', x'00'",
    "INSERT INTO links VALUES (1, x'00', x'00')",
    "INSERT INTO eras VALUES (2, 9, x'00')",
)


@pytest.mark.parametrize("statement", REFUSED)
def test_nothing_else_is_removed_or_changed(pruned: Path, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        b.raw_write(pruned, statement)
    assert verify_chain(pruned, GENESIS).ok


@pytest.mark.parametrize("statement", ["DELETE FROM base", "UPDATE base SET height = 5"])
def test_a_base_stays(based: Path, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        b.raw_write(based, statement)


async def test_the_last_block_is_never_pruned(pruned: Path) -> None:
    async with await ChainStore.open(pruned, GENESIS.digest) as store:
        with pytest.raises(LocalFault, match="before the last block"):
            await store.prune(HEIGHTS)
    assert verify_chain(pruned, GENESIS).begins == AT


async def test_pruning_takes_executions_that_wait_into_account(
    tmp_path: Path, maker: Maker
) -> None:
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.seed_state(maker.genesis_state)
        for block in maker.blocks:
            body = block.body
            await store.persist([body, DecisionRecord(body.height, body.digest, block.certificate)])
            store.put_execution(block.row)
        await store.prune(HEIGHTS - 1)
        assert await store.first_block() == HEIGHTS
    assert verify_chain(path, GENESIS).ok


@pytest.mark.parametrize(
    ("executed", "every", "keep", "through"),
    [
        (1_000, 128, 100, 896),
        (1_000, 128, 104, 896),
        (1_000, 128, 105, 895),
        (1_024, 128, 1, 1_023),
        (1_024, 128, 2_000, 0),
        (100, 128, 1, 0),
        (0, 128, 1, 0),
    ],
)
def test_how_far_pruning_goes(executed: int, every: int, keep: int, through: int) -> None:
    assert prunable(executed, every, keep) == through


def test_pruning_a_stopped_node_frees_the_bytes(tmp_path: Path) -> None:
    maker = Maker()
    maker.add_typical(300)
    path = tmp_path / "chain.db"
    asyncio.run(write(path, maker))
    done = prune_store(path, GENESIS, 20)
    assert (done.first, done.kept_from, done.decided) == (1, 257, 300)
    assert done.bytes_after < 0.7 * done.bytes_before
    assert path.stat().st_size == done.bytes_after
    report = verify_chain(path, GENESIS)
    assert (report.ok, report.begins) == (True, 256)
    again = prune_store(path, GENESIS, 20)
    assert (again.first, again.kept_from) == (257, 257)
    assert again.bytes_after == done.bytes_after


# ---------------------------------------------------------------- copies


def test_a_part_of_a_chain_is_backed_up_and_restored(part: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.backup"
    assert backup(part, GENESIS, copy).decided == HEIGHTS
    target = tmp_path / "home" / "chain.db"
    target.parent.mkdir()
    assert restore(target, GENESIS, copy).decided == HEIGHTS
    report = verify_chain(target, GENESIS)
    assert (report.ok, report.begins) == (True, AT)


def test_recovering_a_part_keeps_it_if_all_of_it_holds(part: Path, maker: Maker) -> None:
    with closing(sqlite3.connect(part)) as connection, connection:
        connection.execute("UPDATE safety SET record = x'00'")
    done = recover(part, GENESIS)
    assert (done.changed, done.kept) == (True, HEIGHTS)
    report = verify_chain(part, GENESIS)
    assert (report.ok, report.last, report.begins) == (True, HEIGHTS, AT)
    assert b.raw_rows(part, "SELECT count(*) FROM state") == [(len(entries_at(maker, HEIGHTS)),)]


def test_recovering_a_part_that_is_damaged_begins_with_nothing(part: Path) -> None:
    with closing(sqlite3.connect(part)) as connection, connection:
        connection.execute("UPDATE state SET value = ?", (encode((1,)),))
    done = recover(part, GENESIS)
    assert (done.kept, done.known) == (0, HEIGHTS)
    assert "state" in done.first_lost
    assert verify_chain(part, GENESIS).last == 0


def test_a_range_of_a_part_is_checked(part: Path) -> None:
    report = verify_chain(part, GENESIS, first=AT + 2, last=AT + 3)
    assert (report.ok, report.last) == (True, AT + 3)


def test_restoring_says_what_is_wrong_with_a_part(based: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.backup"
    backup(based, GENESIS, copy)
    b.raw_write(copy, "DROP TRIGGER decisions_no_update")
    b.raw_write(
        copy,
        "UPDATE decisions SET certificate = "
        "(SELECT certificate FROM decisions WHERE height = 8) WHERE height = 9",
    )
    with pytest.raises(UserError) as caught:
        restore(tmp_path / "chain.db", GENESIS, copy)
    assert caught.value.code == "E285"
