"""Old blocks go while the node runs, in pieces, and never more than may."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.real_chain import GENESIS, Maker, write
from vppd.node import retention
from vppd.node.retention import Retention
from vppd.store.chain import ChainStore
from vppd.store.verify import verify_chain

HEIGHTS = 30
EVERY = 8
"""``checkpoint_blocks``."""


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    maker = Maker()
    maker.add_typical(HEIGHTS)
    made = tmp_path / "chain.db"
    await write(made, maker)
    return made


@pytest.mark.parametrize(
    ("keep", "first"), [(0, 1), (10, 21), (1, 25), (6, 25), (7, 24), (29, 2), (30, 1), (99, 1)]
)
async def test_so_many_stay_and_all_since_the_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch, keep: int, first: int
) -> None:
    monkeypatch.setattr(retention, "PIECE", 4)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        kept = Retention(store, keep, EVERY)
        await kept.look()
        assert kept.first_block == first
        assert await store.first_block() == first
        assert await store.block(HEIGHTS) is not None
        await kept.look()
        assert kept.first_block == first, "a second look finds nothing"
    report = verify_chain(path, GENESIS)
    assert (report.ok, report.begins) == (True, first - 1)
