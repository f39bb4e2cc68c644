"""Who may vote after a start: an unbroken record only; anything lost makes an observer (§4)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.consensus.boundary import (
    EvidenceRecord,
    NewViewRecord,
    ObserverRecord,
    Record,
    ViewChangeRecord,
    VoteRecord,
)
from vppd.consensus.messages import Equivocation, NewView, Standing, ViewChange
from vppd.crypto import sha256
from vppd.errors import UserError
from vppd.store.chain import ChainStore, Resume
from vppd.store.guard import guard_file
from vppd.store.recover import mark_observer
from vppd.store.safety import NEW_VIEWS_KEPT
from vppd.types import ZERO_DIGEST

OLD_SCHEMAS = {
    version: (Path(__file__).parent / f"schema_{version}.sql").read_text(encoding="utf-8")
    for version in (1, 2, 3)
}


def new_view(number: int) -> NewViewRecord:
    standing = Standing(0, number, 1, 0, b.CHAIN_ID, None, None, bytes(64))
    return NewViewRecord(NewView(0, number, 1, None, (standing,) * 3, None, None, bytes(64)))


def evidence(signer: int, height: int) -> EvidenceRecord:
    proof = Equivocation(
        1, 0, 0, height, signer, sha256(b"one"), bytes(64), sha256(b"two"), bytes(64)
    )
    return EvidenceRecord(proof)


async def resumed(path: Path) -> Resume:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        return await store.resume()


def observer(resume: Resume) -> ObserverRecord:
    """The record that says so; there is no other promise beside it."""
    found = [record for record in resume.log if isinstance(record, ObserverRecord)]
    assert len(found) == 1
    assert not any(isinstance(record, VoteRecord) for record in resume.log)
    return found[0]


@pytest.fixture
async def voted(path: Path) -> Path:
    """A store with two decisions and a vote at height 3, closed."""
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        for height in (1, 2):
            await store.persist(b.decided(height))
        block = b.body(3)
        await store.persist([block, b.vote(block)])
    return path


def _drop_triggers(path: Path) -> None:
    for (name,) in b.raw_rows(path, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        b.raw_write(path, f"DROP TRIGGER {name}")


def _lose_body(path: Path) -> None:
    b.raw_write(path, "DELETE FROM bodies WHERE height = 3")


def _rot_body(path: Path) -> None:
    _drop_triggers(path)
    b.raw_write(path, "UPDATE bodies SET txs = x'90' WHERE height = 3")


def _rot_page(path: Path) -> None:
    """Turn the page of the safety table into no page at all."""
    (root,) = b.raw_rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'safety'")[0]
    assert isinstance(root, int)
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(b"\xff" * 4096)


def _lose_guard(path: Path) -> None:
    guard_file(path).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: b.raw_write(path, "DELETE FROM safety"), "missing"),
        (lambda path: b.raw_write(path, "DROP TABLE safety"), "no such table"),
        (lambda path: b.raw_write(path, "UPDATE safety SET record = x'90'"), "checksum"),
        (lambda path: b.raw_write(path, "UPDATE safety SET generation = 1"), "checksum"),
        (_rot_page, "cannot be read"),
        (_lose_body, "height 3 is missing"),
        (_rot_body, "height 3 is missing"),
        (_lose_guard, "chain.db-guard is missing"),
    ],
    ids=["row", "table", "record", "generation", "page", "body", "rotten body", "guard"],
)
async def test_a_lost_promise_makes_an_observer_once_and_for_all(
    voted: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(voted)
    first = observer(await resumed(voted))
    assert words in first.reason
    assert first.nonce != ZERO_DIGEST
    again = await resumed(voted)
    assert observer(again) == first
    assert again.decided == 2


async def test_each_loss_has_a_nonce_of_its_own(voted: Path, tmp_path: Path) -> None:
    nonces = set()
    for number in range(3):
        folder = tmp_path / f"copy-{number}"
        folder.mkdir()
        nonces.add(observer(await resumed(Path(shutil.copy(voted, folder)))).nonce)
    assert len(nonces) == 3


async def test_the_lost_record_is_kept_aside(voted: Path) -> None:
    before = b.raw_rows(voted, "SELECT generation, record FROM safety")
    b.raw_write(voted, "UPDATE safety SET checksum = x'00'")
    await resumed(voted)
    assert b.raw_rows(voted, "SELECT generation, record FROM safety_lost_1") == before


async def test_an_observer_keeps_what_it_follows(voted: Path) -> None:
    _lose_guard(voted)
    async with await ChainStore.open(voted, b.CHAIN_ID) as store:
        await store.persist([*b.decided(3), new_view(1)])
    found = await resumed(voted)
    assert found.decided == 3
    assert new_view(1) in found.log
    observer(found)


async def test_a_replica_demoted_while_it_runs_gets_its_nonce_at_the_next_start(
    path: Path,
) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([ObserverRecord("shown a newer vote", ZERO_DIGEST)])
    first = observer(await resumed(path))
    assert first.reason == "shown a newer vote"
    assert first.nonce != ZERO_DIGEST
    assert observer(await resumed(path)) == first


async def test_an_older_image_of_the_database_alone_is_recognised(
    voted: Path, tmp_path: Path
) -> None:
    image = shutil.copy(voted, tmp_path / "image")
    async with await ChainStore.open(voted, b.CHAIN_ID) as store:
        block = b.body(3)
        await store.persist([b.prepared(block)])
    shutil.copy(image, voted)
    assert "older than what was promised" in observer(await resumed(voted)).reason


async def test_a_decision_that_was_lost_is_recognised_too(voted: Path) -> None:
    log = voted.with_name("chain.db-wal")
    async with await ChainStore.open(voted, b.CHAIN_ID) as store:
        image = {file: file.read_bytes() for file in (voted, log)}
        await store.persist([b.decision(b.body(3))])
        guard = guard_file(voted).read_bytes()
    for file, content in image.items():
        file.write_bytes(content)
    guard_file(voted).write_bytes(guard)
    assert "ends at height 2, it had reached 3" in observer(await resumed(voted)).reason


async def test_a_losing_block_below_the_last_decision_may_be_gone(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        loser = b.body(1, salt=1)
        await store.persist([loser, b.vote(loser)])
        await store.persist(b.decided(1))
    found = await resumed(path)
    assert b.vote(loser) in found.log
    assert loser not in found.log


async def test_what_the_rest_lost_is_refused_and_named(voted: Path) -> None:
    _drop_triggers(voted)
    b.raw_write(voted, "UPDATE decisions SET certificate = x'93' WHERE height = 2")
    async with await ChainStore.open(voted, b.CHAIN_ID) as store:
        with pytest.raises(UserError) as caught:
            await store.resume()
    assert caught.value.code == "E253"
    assert "vppd recover" in str(caught.value)


async def test_starting_never_makes_a_store_that_may_vote(voted: Path) -> None:
    for name in ("chain.db", "chain.db-guard"):
        voted.with_name(name).unlink()
    with pytest.raises(UserError) as caught:
        await ChainStore.open(voted, b.CHAIN_ID)
    assert caught.value.code == "E250"


# ---------------------------------------------------------------- the new records


async def test_view_changes_new_views_and_evidence_come_back(path: Path) -> None:
    change = ViewChangeRecord(
        ViewChange(Standing(0, 1, 1, 0, b.CHAIN_ID, None, None, bytes(64)), None, None)
    )
    records: list[Record] = [b.view(1), change, new_view(1), evidence(2, 1)]
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(records)
        await store.persist([evidence(2, 1)])
    assert list((await resumed(path)).log) == records


async def test_a_vote_does_not_rewrite_the_new_view(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        standing = Standing(0, 1, 1, 0, b.CHAIN_ID, None, None, bytes(64))
        big = NewView(0, 1, 1, None, (standing,) * 500, None, None, bytes(64))
        await store.persist([NewViewRecord(big)])
        block = b.body(1)
        await store.persist([block, b.vote(block)])
    assert b.raw_rows(path, "SELECT count(*) FROM new_views") == [(1,)]
    (length,) = b.raw_rows(path, "SELECT length(record) FROM safety")[0]
    assert isinstance(length, int)
    assert length < 300


async def test_the_last_new_views_are_kept(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        for number in range(1, NEW_VIEWS_KEPT + 10):
            await store.persist([new_view(number)])
    assert b.raw_rows(path, "SELECT count(*), max(seq) FROM new_views") == [
        (NEW_VIEWS_KEPT, NEW_VIEWS_KEPT + 9)
    ]
    assert new_view(NEW_VIEWS_KEPT + 9) in (await resumed(path)).log


@pytest.mark.parametrize("change", ["DELETE FROM new_views", "UPDATE new_views SET record = x'93'"])
async def test_a_new_view_that_is_lost_is_a_lost_safety_record(path: Path, change: str) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([new_view(1)])
    _drop_triggers(path)
    b.raw_write(path, change)
    assert "the new view 1" in observer(await resumed(path)).reason


async def test_no_more_evidence_comes_back_than_anybody_counts(path: Path) -> None:
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([evidence(1, height) for height in range(1, 80)])
        await store.persist([evidence(2, 5)])
    found = [r for r in (await resumed(path)).log if isinstance(r, EvidenceRecord)]
    assert len(found) == 64 + 1
    assert found[-1] == evidence(2, 5)


# ---------------------------------------------------------------- older stores


async def as_version(version: int, path: Path, records: list[Record]) -> None:
    """The file that an earlier schema's build wrote: its tables and row; version 1 had no guard."""
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist(records)
    tables = ["safety", "bodies", "decisions", "executions", "state"]
    if version > 1:
        tables += ["evidence", "new_views"]
    old = path.with_name("old.db")
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.executescript(OLD_SCHEMAS[version])
        connection.execute("PRAGMA application_id = 0x76707064")
        connection.execute("ATTACH ? AS new", (str(path),))
        for table in tables:
            connection.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")  # noqa: S608 - ours
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (version,))
        connection.execute("INSERT INTO meta VALUES ('chain_id', ?)", (b.CHAIN_ID,))
    old.replace(path)
    if version == 1:
        guard_file(path).unlink()


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_store_of_an_earlier_version_is_upgraded_with_its_promises(
    path: Path, version: int
) -> None:
    block = b.body(2)
    records = [*b.decided(1), block, b.proposal(block), b.vote(block), b.prepared(block)]
    await as_version(version, path, records)
    first = await resumed(path)
    assert set(records) == set(first.log)
    assert b.raw_rows(path, "SELECT value FROM meta WHERE key = 'schema_version'") == [(4,)]
    async with await ChainStore.open(path, b.CHAIN_ID) as store:
        await store.persist([new_view(1), evidence(1, 2)])
    assert {new_view(1), evidence(1, 2)} <= set((await resumed(path)).log)
    guard_file(path).unlink()
    assert "guard" in observer(await resumed(path)).reason


def _objects(path: Path) -> set[object]:
    return set(b.raw_rows(path, "SELECT type, name, sql FROM sqlite_master"))


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_an_upgraded_store_has_the_layout_of_a_new_one(
    path: Path, tmp_path: Path, version: int
) -> None:
    await ChainStore.create(tmp_path / "new.db", b.CHAIN_ID)
    await as_version(version, path, [])
    await resumed(path)
    assert _objects(path) == _objects(tmp_path / "new.db")


async def test_a_store_of_version_2_without_its_guard_is_no_version_1(path: Path) -> None:
    block = b.body(1)
    await as_version(2, path, [block, b.vote(block)])
    guard_file(path).unlink()
    assert "guard" in observer(await resumed(path)).reason


async def test_a_version_that_is_a_lie_opens_no_back_door(voted: Path) -> None:
    """Else one flipped bit would make a store without a guard a store that never had one."""
    b.raw_write(voted, "UPDATE meta SET value = 1 WHERE key = 'schema_version'")
    guard_file(voted).unlink()
    with pytest.raises(UserError) as caught:
        await ChainStore.open(voted, b.CHAIN_ID)
    assert caught.value.code == "E253"


# ---------------------------------------------------------------- stores from elsewhere


async def test_a_store_that_was_marked_never_votes(voted: Path) -> None:
    made = mark_observer(voted, b.CHAIN_ID, "restored from a backup")
    assert observer(await resumed(voted)) == made
    assert made.reason == "restored from a backup"
    again = mark_observer(voted, b.CHAIN_ID, "x" * 400)
    assert again.nonce != made.nonce
    assert observer(await resumed(voted)).reason == "x" * 256


async def test_marking_works_on_a_copy_without_its_guard(voted: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(voted, tmp_path / "copy.db"))
    made = mark_observer(copy, b.CHAIN_ID, "restored from a backup")
    assert observer(await resumed(copy)) == made


def test_another_chains_store_is_not_marked(voted: Path) -> None:
    with pytest.raises(UserError) as caught:
        mark_observer(voted, sha256(b"another"), "no")
    assert caught.value.code == "E251"
