"""What a damaged store must not tell others."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.store import real_chain as real
from vppd.store import reader


def test_a_range_ends_at_a_gap(tmp_path: Path) -> None:
    maker = real.Maker()
    maker.add_typical(5)
    path = tmp_path / "chain.db"
    asyncio.run(real.write(path, maker))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM decisions WHERE height = 3")
        found = reader.blocks_from(connection, 1, 1 << 20)
    assert [block.certificate.height for block in found] == [1, 2]
