"""A member's agent beside its daemon: sends orders and readings, and does not give up.

It holds the member's keys and talks only to its own node, over the node's Unix socket. When the
node dies it waits, connects again, and finds out what became of what it had sent: a transaction
whose fate is unknown is either found committed, or sent again under the same nonce, so that it
can never take effect twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import structlog

from vppd.client.client import Client, Disconnected, RequestFailed, connect
from vppd.crypto import SigningKey, key_text
from vppd.errors import UserError
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.ledger.transaction import (
    Op,
    decode_transaction,
    make_transaction,
    transaction_id,
)
from vppd.net.requests import TxStage
from vppd.types import Digest, TimeMs

T = TypeVar("T")

RETRY_S = 0.2
COMMIT_PATIENCE_S = 10.0
LIFETIME_BLOCKS = 1_000

log = structlog.get_logger("vppd.agent")


def unix_ms() -> TimeMs:
    """Now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Line:
    """A connection to one node that is made again whenever it breaks.

    Args:
        socket: the node's Unix socket.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._client: Client | None = None
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def client(self) -> Client:
        """An open client; waits until the node answers."""
        async with self._lock:
            while self._client is None or self._client.closed:
                await self._stack.aclose()
                try:
                    self._client = await self._stack.enter_async_context(connect(self._socket))
                except UserError:
                    await asyncio.sleep(RETRY_S)
            return self._client

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """What ``work`` makes of a client; done again whenever the node goes away meanwhile."""
        while True:
            client = await self.client()
            try:
                return await work(client)
            except (Disconnected, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Hang up."""
        await self._stack.aclose()


class Wallet:
    """One key and its nonces on one line; sends one transaction at a time.

    Args:
        line: to the member's node.
        key: a member's or a meter's.
        chain_id: in every signature.
    """

    def __init__(self, line: Line, key: SigningKey, chain_id: Digest) -> None:
        self._line = line
        self._key = key
        self._chain_id = chain_id
        self._lock = asyncio.Lock()

    async def send(self, *ops: Op, deadline_ms: TimeMs | None = None) -> Receipt | None:
        """Get operations executed, all of them or none.

        Args:
            ops: what to do, in order.
            deadline_ms: when it is pointless to go on trying (Unix ms).

        Returns:
            Its receipt, or ``None`` if the deadline passed without one.
        """
        async with self._lock:
            raw: bytes | None = None
            while deadline_ms is None or unix_ms() < deadline_ms:
                try:
                    client = await self._line.client()
                    if raw is None:
                        raw = await self._sign(client, ops)
                    receipt = await self._get_done(client, raw)
                    if receipt is not None:
                        return receipt
                except (Disconnected, TimeoutError):
                    pass
                except RequestFailed as err:
                    log.info("transaction_refused", why=err.what)
                    if raw is not None and await self._is_dead(raw):
                        raw = None
                await asyncio.sleep(RETRY_S)
            return None

    async def _sign(self, client: Client, ops: tuple[Op, ...]) -> bytes:
        account = await client.view("account", key_text(self._key.public_key))
        expiry = account["height"] + LIFETIME_BLOCKS
        return make_transaction(self._key, self._chain_id, account["nonce"], expiry, ops)

    async def _get_done(self, client: Client, raw: bytes) -> Receipt | None:
        """Its receipt if it is committed already, or is now; the same bytes every time.

        A transaction signed anew could be executed beside the first: never sign while that one
        may still be.
        """
        tx_id = transaction_id(raw)
        receipt = await self._receipt(client, tx_id)
        if receipt is not None:
            return receipt
        await client.submit(raw)
        async with asyncio.timeout(COMMIT_PATIENCE_S):
            await client.wait(tx_id, raw)
        return await self._receipt(client, tx_id)

    async def _is_dead(self, raw: bytes) -> bool:
        """Whether it can never be executed any more: expired, or its nonce went to another."""
        tx = decode_transaction(raw)

        async def look(client: Client) -> bool:
            if await self._receipt(client, tx.id) is not None:
                return False
            account = await client.view("account", key_text(self._key.public_key))
            return bool(account["height"] >= tx.expiry_height or account["nonce"] > tx.nonce)

        return await self._line.call(look)

    async def _receipt(self, client: Client, tx_id: Digest) -> Receipt | None:
        state = await client.tx(tx_id)
        return decode_receipt(state.receipt) if state.stage == TxStage.COMMITTED else None
