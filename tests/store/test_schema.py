"""The schema travels with the program, and reads as the documentation of the file."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

import vppd
from tests.store import builders as b
from vppd.store.schema import SCHEMA_VERSION, lay_out

ROOT = Path(vppd.__file__).parents[1]


@pytest.mark.slow
def test_the_schema_is_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "vppd/store/schema.sql" in archive.namelist()


def test_the_file_says_which_version_it_lays_out() -> None:
    text = resources.files("vppd.store").joinpath("schema.sql").read_text(encoding="utf-8")
    found = re.search(r"schema version (\d+)", text)
    assert found is not None
    assert int(found[1]) == SCHEMA_VERSION


def test_laying_out_is_one_transaction() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute("BEGIN")
        lay_out(connection, b.CHAIN_ID)
        assert connection.in_transaction
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    finally:
        connection.close()


def test_every_table_of_decided_things_is_guarded() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        lay_out(connection, b.CHAIN_ID)
        rows = connection.execute("SELECT tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
        guards = {(table, sql.split(" BEFORE ")[1].split()[0]) for table, sql in rows}
    finally:
        connection.close()
    guarded = (
        "bodies", "decisions", "executions", "places", "base", "pruned", "eras", "links",
    )  # fmt: skip
    for table in guarded:
        assert {(table, "INSERT"), (table, "UPDATE"), (table, "DELETE")} <= guards
