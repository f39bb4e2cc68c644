"""Every test with an event loop runs on plain asyncio and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
import uvloop

from tests.net.plant import Certificates, Log, Plant, write_certificates


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,  # noqa: ARG001
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Two plants' authorities and some leaves of theirs, written once."""
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged during the test."""
    before = structlog.get_config()
    lines = Log()
    structlog.configure(processors=[lines])
    yield lines
    structlog.configure(**before)


@pytest.fixture
async def plant(certificates: Certificates, tmp_path: Path, log: Log) -> AsyncIterator[Plant]:
    """Makes nodes that are stopped at the end of the test."""
    async with AsyncExitStack() as stack:
        yield Plant(certificates, tmp_path, stack, log)
