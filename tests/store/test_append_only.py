"""What was decided is refused to change by the database itself, whoever connects."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.store import builders as b
from vppd.store.chain import ChainStore

REFUSED = {
    "UPDATE decisions SET certificate = x'00' WHERE height = 1": "a decision is never changed",
    "UPDATE decisions SET height = 9 WHERE height = 2": "a decision is never changed",
    "DELETE FROM decisions WHERE height = 2": "a decision is never removed",
    "DELETE FROM decisions": "a decision is never removed",
    "INSERT INTO decisions VALUES (4, zeroblob(32), x'00')": "height by height|needs its body",
    "INSERT INTO decisions VALUES (3, zeroblob(32), x'00')": "needs its body",
    "REPLACE INTO decisions SELECT 1, digest, x'00' FROM decisions WHERE height = 1": (
        "appended height by height"
    ),
    "INSERT INTO decisions SELECT 1, digest, x'00' FROM decisions WHERE height = 1 "
    "ON CONFLICT DO UPDATE SET certificate = x'00'": "appended height by height",
    "UPDATE bodies SET txs = x'90' WHERE height = 1": "a block body is never changed",
    "UPDATE bodies SET txs = x'90' WHERE height = 3": "a block body is never changed",
    "DELETE FROM bodies WHERE height = 1": "never removed",
    "DELETE FROM bodies": "never removed",
    "UPDATE executions SET receipts = x'90' WHERE height = 1": "an execution is never changed",
    "DELETE FROM executions WHERE height = 1": "an execution is never removed",
    "REPLACE INTO executions VALUES (1, zeroblob(32), zeroblob(32), x'90', NULL)": (
        "appended height by height"
    ),
    "INSERT INTO executions VALUES (2, zeroblob(32), zeroblob(32), 'text', NULL)": "cannot store",
    "INSERT INTO executions VALUES (4, zeroblob(32), zeroblob(32), x'90', NULL)": (
        "height by height|only a decided block"
    ),
    "UPDATE places SET ids = zeroblob(8)": "never changed",
    "UPDATE places SET last = 2": "never changed",
    "DELETE FROM places": "never removed",
    "INSERT INTO places VALUES (2, 2, 2, zeroblob(8), x'00000001')": "of executed blocks",
    "INSERT INTO places VALUES (2, 1, 2, zeroblob(8), x'00000001')": "of executed blocks",
    "REPLACE INTO places SELECT id, 1, 1, zeroblob(8), counts FROM places": "appended, or joined",
}
WITHOUT_EFFECT = (
    "REPLACE INTO bodies SELECT id, digest, 9, 9, x'00', x'90', x'' FROM bodies WHERE height = 1",
    "REPLACE INTO bodies "
    "SELECT id, zeroblob(32), 9, 9, x'00', x'90', x'' FROM bodies WHERE height = 1",
    "REPLACE INTO bodies SELECT NULL, digest, 9, 9, x'00', x'90', x'' FROM bodies WHERE height = 1",
)
LATER = ("base", "pruned", "eras", "links")
TABLES = ("decisions", "bodies", "executions", "places")


@pytest.fixture
async def chain(store: ChainStore, path: Path) -> Path:
    """Two decided blocks, the first executed, and an open body at height 3."""
    await store.persist(b.decided(1))
    store.put_execution(b.execution(1))
    await store.persist(b.decided(2))
    await store.persist([b.body(3)])
    await store.close()
    return path


def dump(path: Path) -> list[list[tuple[object, ...]]]:
    return [b.raw_rows(path, f"SELECT * FROM {table}") for table in TABLES]  # noqa: S608  # our names


@pytest.mark.parametrize(("statement", "why"), REFUSED.items())
async def test_refused(chain: Path, statement: str, why: str) -> None:
    before = dump(chain)
    with pytest.raises(sqlite3.IntegrityError, match=why):
        b.raw_write(chain, statement)
    assert dump(chain) == before


@pytest.mark.parametrize("statement", WITHOUT_EFFECT)
async def test_without_effect(chain: Path, statement: str) -> None:
    before = dump(chain)
    b.raw_write(chain, statement)
    assert dump(chain) == before


async def test_an_execution_needs_its_decision(store: ChainStore, path: Path) -> None:
    await store.close()
    with pytest.raises(sqlite3.IntegrityError, match="only a decided block"):
        b.raw_write(path, "INSERT INTO executions VALUES (1, zeroblob(32), zeroblob(32), x'90', 1)")


async def test_a_body_that_is_not_decided_may_go(chain: Path) -> None:
    b.raw_write(chain, "DELETE FROM bodies WHERE height = 3")
    assert b.raw_rows(chain, "SELECT height FROM bodies") == [(1,), (2,)]


async def test_every_table_is_strict(chain: Path) -> None:
    tables = b.raw_rows(chain, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    ours = {name: strict for name, strict in tables if not str(name).startswith("sqlite_")}
    assert set(ours) == {"meta", "safety", "state", "evidence", "new_views", *LATER, *TABLES}
    assert set(ours.values()) == {1}
