"""One running node: store, machine, network and clients put together, started and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

from vppd.codec import encode
from vppd.config.home import Home
from vppd.consensus.boundary import Decision
from vppd.consensus.messages import (
    TYPE_OF,
    Block,
    BlockBody,
    Blocks,
    GetBlock,
    GetBlocks,
    Ping,
    Reply,
    Status,
    Tx,
    Type,
)
from vppd.crypto import verify
from vppd.errors import LocalFault, PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.execution import Ledger
from vppd.net.frames import PUSH, REQUEST, RESPONSE, encode_frame
from vppd.net.gate import PeerMessage, decode_message
from vppd.node.clock import now
from vppd.node.driver import Driver
from vppd.node.http import Health, serve_http
from vppd.node.machine import Committed, Frame, Machine, Turn
from vppd.node.mempool import Refused
from vppd.node.metrics import Metrics
from vppd.node.notify import notify, watchdog_interval_s
from vppd.node.replies import Replies
from vppd.node.service import Service, committed_push
from vppd.node.views import Views
from vppd.store.chain import ChainStore
from vppd.types import ReplicaIndex

INLINE_TXS = 8
"""A block with more transactions than this is checked on a thread: libsodium releases the GIL."""
CHECKS_PER_PEER = 4
"""Blocks of one peer being checked at once; more are dropped, and come again."""
ANSWERS_PER_PEER = 2

log = structlog.get_logger("vppd.node")


async def run_node(home: Home) -> None:
    """Run the node of ``home`` until SIGTERM or SIGINT.

    Raises:
        UserError: it cannot start: store, port, certificates.
        LocalFault: it had to stop: disk, or a ledger that diverged.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        store = await ChainStore.open(
            home.node.store, home.genesis.digest, home.node.synchronous
        )
        stack.push_async_callback(store.close)
        daemon = Daemon(home, store)
        await daemon.run(stop)


class Daemon:
    """The running node.

    Args:
        home: its files.
        store: open.
    """

    def __init__(self, home: Home, store: ChainStore) -> None:
        self._home = home
        self._store = store
        self._metrics = Metrics()
        self._tasks: set[asyncio.Task[None]] = set()
        self._checks: dict[ReplicaIndex | None, int] = {}
        self._answers: dict[ReplicaIndex | None, int] = {}
        self._heights: dict[ReplicaIndex, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set or something of ours fails."""
