"""The index of transactions: runs that are appended, joined, cut, searched and compared."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.store import builders as b
from tests.store import real_chain as real
from vppd.ledger.keeping import KEPT_BYTES
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import make_statement, transaction_id
from vppd.store import places
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.store.check import check_store
from vppd.store.places import Walk, find, id_of, marks
from vppd.store.recover import recover
from vppd.store.rows import TxLocation
from vppd.store.safety import SafetyRow
from vppd.store.schema import lay_out
from vppd.store.verify import Part, verify_chain
from vppd.store.writer import Writer
from vppd.types import Digest, Height

HEIGHTS = 70
OLD_SCHEMA = Path(__file__).parent / "schema_3.sql"
RUNS = "SELECT first, last, ids, counts FROM places ORDER BY last"
SAID = [
    make_statement(1_000, Ready(bytes([n]) * 32, 3, 1, bytes(32), bytes(32), bytes(64)))
    for n in range(3)
]
"""What may be executed again."""


@contextmanager
def empty() -> Iterator[sqlite3.Connection]:
    """The tables of a store without blocks, in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        lay_out(connection, b.CHAIN_ID)
        yield connection


class Chain:
    """Blocks as a writer is handed them, and what the index has to say of them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.writer = Writer(0, SafetyRow())
        self.blocks: list[tuple[tuple[Digest, ...], tuple[int, ...]]] = []
        self.places: dict[Digest, list[TxLocation]] = {}
        """Of every id; none, where it was refused each time."""
        self.pruned = 0

    def add(self, txs: tuple[bytes, ...], refused: tuple[int, ...] = ()) -> None:
        """Decide and execute a block; one without transactions as its leader would make it."""
        height = len(self.blocks) + 1
        ids = tuple(map(id_of, txs))
        body = b.body(height, txs=txs) if txs else replace(b.body(height), txs=())
        receipts = (KEPT_BYTES,) * (len(txs) + 1)
        row = b.execution(height, tx_ids=ids)._replace(refused=refused, receipts=receipts)
        self.writer.write(self.connection, [body, b.decision(body)], [row])
        self.blocks.append((ids, refused))
        for position, tx_id in enumerate(ids):
            where = self.places.setdefault(tx_id, [])
            if position not in refused:
                where.append(TxLocation(height, position))

    def prune(self, through: Height) -> None:
        """Remove what is at or below a height."""
        self.writer.prune(self.connection, through)
        self.pruned = through

    def check(self) -> None:
        """Every id is found where it was executed first, and the runs are what the blocks say."""
        for tx_id, where in self.places.items():
            here = (at for at in where if at.height > self.pruned)
            assert find(self.connection, tx_id) == next(here, None)
        walk = Walk(self.connection, self.pruned + 1)
        heights = itertools.islice(enumerate(self.blocks, 1), self.pruned, None)
        for height, (ids, refused) in heights:
            assert walk.compare(height, ids, refused) is None
        assert walk.end(len(self.blocks), self.pruned) is None

    def runs(self) -> list[tuple[Height, Height, bytes, bytes]]:
        return self.connection.execute(RUNS).fetchall()


# ---------------------------------------------------------------- against a dictionary


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    prefix=st.sampled_from([1, 2, 8]),
    most=st.sampled_from([8, 60, 1 << 20]),
)
def test_it_says_of_any_chain_what_a_dictionary_says(seed: int, prefix: int, most: int) -> None:
    """With a prefix of one byte, most of what is found first is another transaction."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, empty() as connection:
        patch.setattr(places, "PREFIX", prefix)
        patch.setattr(places, "SPANS", (4, 16))
        patch.setattr(places, "MOST_BYTES", most)
        chain = Chain(connection)
        again: list[bytes] = []
        for _ in range(rng.randrange(1, 50)):
            count = rng.choice([0, 0, 1, 2, 5, 40])
            fresh = [b"%d" % rng.getrandbits(64) for _ in range(count)]
            statements = rng.sample(SAID, rng.choice([0, 0, 0, 1]))
            txs = [*fresh, *again[:2], *statements]
            rng.shuffle(txs)
            refused = tuple(i for i, raw in enumerate(txs) if rng.random() < 0.2)
            chain.add(tuple(txs), refused)
            again = [txs[i] for i in refused if txs[i] not in SAID] + again[2:]
            if rng.random() < 0.1 and len(chain.blocks) > chain.pruned + 1:
                chain.prune(rng.randrange(chain.pruned + 1, len(chain.blocks)))
        chain.check()
        for _ in range(20):
            assert find(connection, b.tx_id(rng.getrandbits(64))) is None


def test_an_id_that_begins_with_zeros_is_not_one_that_was_refused() -> None:
    zeros, other = bytes(32), bytes(31) + b"\1"
    assert places.mark(zeros) == places.mark(other) == bytes(7) + b"\1"
    assert marks((zeros, b"\7" * 32, other), {2}) == bytes(7) + b"\1" + b"\7" * 8 + bytes(8)


def test_a_prefix_across_two_entries_is_no_entry() -> None:
    ids = bytes(range(16))
    assert places._hits(ids + ids, bytes(range(8, 16))) == [1, 3]
    assert places._hits(ids + ids, bytes(range(4, 12))) == []


# ---------------------------------------------------------------- runs


def test_runs_are_joined_at_multiples_and_hold_empty_blocks_too() -> None:
    with empty() as connection:
        chain = Chain(connection)
        for height in range(1, 131):
            chain.add((b"tx %d" % height,) if height % 3 else ())
        spans = [(first, last) for first, last, _, _ in chain.runs()]
        assert spans == [(1, 64), (65, 128), (130, 130)]
        counts = chain.runs()[0][3]
        assert [int.from_bytes(counts[i : i + 4], "big") for i in range(0, len(counts), 4)] == [
            1 if height % 3 else 0 for height in range(1, 65)
        ]
        chain.check()


def test_the_longest_runs_are_joined_from_shorter_ones() -> None:
    with empty() as connection:
        chain = Chain(connection)
        for height in range(1, 4_098):
            chain.add((b"tx %d" % height,) if height % 500 == 1 else ())
        assert [(first, last) for first, last, _, _ in chain.runs()] == [(1, 4_001)]
        chain.check()


def test_what_would_be_too_long_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_BYTES", 8 * 64)
    with empty() as connection:
        chain = Chain(connection)
        for height in range(1, 129):
            chain.add(tuple(b"%d %d" % (height, i) for i in range(1 if height <= 64 else 2)))
        assert [(run[0], run[1]) for run in chain.runs()] == [
            (1, 64), *((height, height) for height in range(65, 129)),
        ]  # fmt: skip
        chain.check()


def test_a_join_that_is_cut_short_leaves_nothing_of_its_block() -> None:
    """It is in the transaction of the execution: both are there, or neither is."""
    with empty() as connection:
        chain = Chain(connection)
        for height in range(1, 64):
            chain.add((b"tx %d" % height,))
        before = list(connection.iterdump())
        connection.execute(
            "CREATE TRIGGER cut BEFORE DELETE ON places WHEN OLD.first = 40 "
            "BEGIN SELECT RAISE(ABORT, 'cut short'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="cut short"):
            chain.add((b"tx 64",))
        connection.execute("DROP TRIGGER cut")
        assert list(connection.iterdump()) == before
        chain.writer = Writer(63, SafetyRow())
        chain.add((b"tx 64",))
        assert [(run[0], run[1]) for run in chain.runs()] == [(1, 64)]
        chain.check()


# ---------------------------------------------------------------- a real chain


@pytest.fixture(scope="module")
def maker() -> real.Maker:
    made = real.Maker()
    made.add_typical(HEIGHTS)
    return made


@pytest.fixture(scope="module")
def written(maker: real.Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "chain.db"
    asyncio.run(real.write(path, maker))
    return path


@pytest.fixture
def chain(written: Path, tmp_path: Path) -> Path:
    """A copy, with its guard."""
    for file in written.parent.glob("chain.db*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "chain.db"


@pytest.mark.parametrize("column", ["ids", "counts"])
def test_a_byte_inside_a_run_is_found_at_its_height(
    written: Path, maker: real.Maker, tmp_path: Path, column: str
) -> None:
    heights = {
        "ids": [block.header.height for block in maker.blocks for _ in block.txs],
        "counts": [block.header.height for block in maker.blocks],
    }[column]
    width = {"ids": places.PREFIX, "counts": 4}[column]
    rng = random.Random(column)
    ((row, value),) = b.raw_rows(written, f"SELECT id, {column} FROM places WHERE last = 64")  # noqa: S608 - our names
    assert isinstance(value, bytes)
    for at in rng.sample(range(len(value)), 12):
        copy = Path(shutil.copyfile(written, tmp_path / "copy.db"))
        b.raw_write(copy, "DROP TRIGGER places_no_update")
        bad = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
        b.raw_write(copy, f"UPDATE places SET {column} = ? WHERE id = ?", (bad, row))  # noqa: S608 - our names
        failure = verify_chain(copy, real.GENESIS).failure
        assert failure is not None, f"byte {at}"
        assert (failure.height, failure.part) == (heights[at // width], Part.INDEX), f"byte {at}"


async def test_pruning_in_the_middle_of_a_run_cuts_it(chain: Path, maker: real.Maker) -> None:
    async with await ChainStore.open(chain, real.GENESIS.digest) as store:
        await store.prune(30)
        assert b.raw_rows(chain, "SELECT first, last FROM places ORDER BY last")[0] == (31, 64)
        for block in maker.blocks:
            height, execution = block.header.height, block.execution
            for position, tx_id in enumerate(execution.tx_ids):
                gone = height <= 30 or position in execution.refused
                expected = None if gone else TxLocation(height, position)
                assert await store.tx_location(tx_id) == expected
        await store.prune(64)
        assert b.raw_rows(chain, "SELECT min(first) FROM places") == [(65,)]
    report = verify_chain(chain, real.GENESIS)
    assert (report.failure, report.begins) == (None, 64)
    assert check_store(chain, real.GENESIS).problems == ()


async def test_what_pruning_left_below_is_found(chain: Path) -> None:
    async with await ChainStore.open(chain, real.GENESIS.digest) as store:
        await store.prune(64)
    b.raw_write(chain, "DROP TRIGGER places_in_order")
    b.raw_write(chain, "INSERT INTO places VALUES (999, 3, 3, zeroblob(8), x'00000001')")
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert (failure.height, failure.part) == (64, Part.INDEX)


def test_a_run_inside_of_another_is_named_where_it_is(chain: Path) -> None:
    b.raw_write(chain, "DROP TRIGGER places_in_order")
    b.raw_write(chain, "INSERT INTO places VALUES (999, 40, 40, zeroblob(8), x'00000001')")
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert (failure.height, failure.part) == (40, Part.INDEX)
    assert "there already" in failure.what


# ---------------------------------------------------------------- earlier schema versions


def as_version_3(path: Path, entries: list[tuple[Digest, Height, int]]) -> None:
    """The file that a build with schema version 3 would have written."""
    old = path.with_name("old.db")
    with closing(sqlite3.connect(old)) as made:
        made.executescript(OLD_SCHEMA.read_text(encoding="utf-8"))
        made.execute("PRAGMA application_id = 0x76707064")
        made.execute("ATTACH ? AS new", (str(path),))
        names = made.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        made.execute("DROP TRIGGER executions_in_order")
        made.execute("DROP TRIGGER decisions_in_order")
        for (name,) in names:
            if name not in ("transactions", "pruned"):
                made.execute(f"INSERT INTO {name} SELECT * FROM new.{name}")  # noqa: S608 - our names
        made.execute("INSERT INTO pruned SELECT * FROM new.pruned")
        made.execute("UPDATE meta SET value = 3 WHERE key = 'schema_version'")
        made.executemany("INSERT INTO transactions VALUES (?, ?, ?)", entries)
        made.commit()
    with closing(sqlite3.connect(":memory:")) as sample:
        sample.executescript(OLD_SCHEMA.read_text(encoding="utf-8"))
        triggers = dict(sample.execute("SELECT name, sql FROM sqlite_master"))
    for name in ("executions_in_order", "decisions_in_order"):
        b.raw_write(old, triggers[name])
    old.replace(path)


def entries_of(maker: real.Maker, above: Height = 0) -> list[tuple[Digest, Height, int]]:
    """What schema version 3 had of these blocks."""
    return [
        (tx_id, block.header.height, position)
        for block in maker.blocks
        if block.header.height > above
        for tx_id, position in ExecutionRow.of(block.execution).places()
    ]


@pytest.mark.parametrize("through", [0, 30])
async def test_an_upgraded_store_has_the_runs_of_one_that_always_had_them(
    chain: Path, maker: real.Maker, through: Height
) -> None:
    if through:
        async with await ChainStore.open(chain, real.GENESIS.digest) as store:
            await store.prune(through)
    runs = b.raw_rows(chain, RUNS)
    as_version_3(chain, entries_of(maker, above=through))
    assert verify_chain(chain, real.GENESIS).ok, "before it is upgraded"
    async with await ChainStore.open(chain, real.GENESIS.digest):
        pass
    assert b.raw_rows(chain, RUNS) == runs
    tables = b.raw_rows(chain, "SELECT name FROM sqlite_master WHERE name LIKE 'transactions%'")
    assert tables == []
    report = check_store(chain, real.GENESIS)
    assert (report.problems, report.verified) == ((), HEIGHTS)


async def test_an_entry_of_another_transaction_is_found_before_the_upgrade(
    chain: Path, maker: real.Maker
) -> None:
    entries = entries_of(maker)
    number = next(i for i, entry in enumerate(entries) if entry[1] == 40)
    entries[number] = (b"\7" * 32, *entries[number][1:])
    as_version_3(chain, entries)
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert (failure.height, failure.part) == (40, Part.INDEX)


Entries = list[tuple[Digest, Height, int]]


def without(entries: Entries, *places_: tuple[Height, int]) -> Entries:
    return [entry for entry in entries if entry[1:] not in places_]


@pytest.mark.parametrize(
    ("damage", "height"),
    [
        (lambda entries: without(entries, (40, 0)), 40),
        (lambda entries: entries[:0], None),
        (lambda entries: [*entries, (b"\5" * 32, 40, 900)], 40),
        (lambda entries: [*entries, (b"\5" * 32, 5_000, 0)], HEIGHTS),
        (lambda entries: [*without(entries, (40, 0)), (b"\5" * 32, 40, 900)], 40),
    ],
    ids=["one missing", "all missing", "surplus", "surplus beyond the end", "moved"],
)
async def test_a_damaged_index_of_version_3_is_named_before_the_upgrade(
    chain: Path, maker: real.Maker, damage: Callable[[Entries], Entries], height: Height | None
) -> None:
    """And healed by it: everything in it follows from the blocks."""
    runs = b.raw_rows(chain, RUNS)
    as_version_3(chain, damage(entries_of(maker)))
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert failure.part is Part.INDEX
    assert height in (None, failure.height)
    async with await ChainStore.open(chain, real.GENESIS.digest):
        pass
    assert b.raw_rows(chain, RUNS) == runs


async def test_a_header_that_nothing_vouches_for_takes_no_memory(
    chain: Path, maker: real.Maker
) -> None:
    header = maker.blocks[39].header
    boasting = header._replace(tx_count=2**27).encode()
    as_version_3(chain, entries_of(maker))
    b.raw_write(chain, "DROP TRIGGER bodies_no_update")
    b.raw_write(chain, "UPDATE bodies SET header = ? WHERE digest = ?", (boasting, header.digest()))
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert failure.height == 40


async def test_a_run_that_ends_before_it_begins_is_named(chain: Path) -> None:
    b.raw_write(chain, "DROP TRIGGER places_no_update")
    connection = sqlite3.connect(chain)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE places SET first = last + 1, counts = x'' WHERE first = 65")
    connection.commit()
    connection.close()
    failure = verify_chain(chain, real.GENESIS).failure
    assert failure is not None
    assert failure.part is Part.INDEX
    assert recover(chain, real.GENESIS).changed


async def test_recovering_a_part_of_version_3_builds_its_runs(
    chain: Path, maker: real.Maker
) -> None:
    async with await ChainStore.open(chain, real.GENESIS.digest) as store:
        await store.prune(30)
    runs = b.raw_rows(chain, RUNS)
    as_version_3(chain, entries_of(maker, above=30))
    b.raw_write(chain, "UPDATE safety SET record = x'00'")
    done = recover(chain, real.GENESIS)
    assert (done.changed, done.kept) == (True, HEIGHTS)
    assert b.raw_rows(chain, RUNS) == runs
    assert verify_chain(chain, real.GENESIS).ok


def test_what_version_3_had_only_once_is_in_each_of_its_blocks() -> None:
    """The old index left out what was executed again; a run does not."""
    with empty() as connection:
        chain = Chain(connection)
        for height in (1, 2, 3):
            chain.add((b"tx %d" % height, SAID[0]))
        runs = chain.runs()
        connection.execute("DROP TRIGGER places_no_delete")
        connection.execute("DELETE FROM places")
        connection.execute("CREATE TABLE transactions (id, height, position)")
        entries = [(tx_id, *where[0]) for tx_id, where in chain.places.items()]
        connection.executemany("INSERT INTO transactions VALUES (?, ?, ?)", entries)
        places.build(connection)
        assert chain.runs() == runs
        assert find(connection, transaction_id(SAID[0])) == TxLocation(1, 1)


async def test_a_store_in_the_middle_of_an_upgrade_is_of_one_version(
    chain: Path, maker: real.Maker
) -> None:
    """It is one transaction: what stops it leaves the old index, whole."""
    as_version_3(chain, entries_of(maker))
    b.raw_write(chain, "DROP TRIGGER executions_no_update")
    b.raw_write(chain, "UPDATE executions SET receipts = x'' WHERE height = 69")
    b.raw_write(chain, "DROP TRIGGER transactions_no_delete")
    b.raw_write(chain, "DELETE FROM transactions WHERE height = 69 AND position = 0")
    before = b.raw_rows(chain, "SELECT * FROM transactions ORDER BY id")
    with pytest.raises(Exception, match="damaged") as caught:
        await ChainStore.open(chain, real.GENESIS.digest)
    assert getattr(caught.value, "code", "") == "E253"
    assert b.raw_rows(chain, "SELECT * FROM transactions ORDER BY id") == before
    assert b.raw_rows(chain, "SELECT 1 FROM sqlite_master WHERE name = 'places'") == []
