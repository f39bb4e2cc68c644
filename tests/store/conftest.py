from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.builders import CHAIN_ID, GENESIS_STATE
from vppd.store.chain import ChainStore


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """An empty store, closed."""
    made = tmp_path / "chain.db"
    await ChainStore.create(made, CHAIN_ID)
    return made


@pytest.fixture
async def store(path: Path) -> AsyncIterator[ChainStore]:
    """An open store with the state of genesis."""
    opened = await ChainStore.open(path, CHAIN_ID)
    await opened.seed_state(GENESIS_STATE)
    yield opened
    await opened.close()
