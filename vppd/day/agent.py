"""A member's agent beside its daemon: sends orders and readings, and does not give up.

It holds the member's keys and talks only to its own node, over the node's Unix socket. When the
node dies it waits, connects again, and finds out what became of what it had sent: a transaction
whose fate is unknown is either found committed, or sent again under the same nonce, so that it
can never take effect twice.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from vppd.client.client import Client, Disconnected, RequestFailed, connect
from vppd.crypto import SigningKey, key_text
from vppd.errors import UserError
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.ledger.transaction import Op, make_transaction
from vppd.net.requests import FailureCode, TxStage
from vppd.types import Digest, TimeMs

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

    async def send(self, op: Op, deadline_ms: TimeMs | None = None) -> Receipt | None:
        """Get one operation executed.

        Args:
            op: what to do.
            deadline_ms: when it is pointless to go on trying (Unix ms).

        Returns:
            Its receipt, or ``None`` if the deadline passed without one.
        """
        async with self._lock:
            sent: Digest | None = None
            while deadline_ms is None or unix_ms() < deadline_ms:
                try:
                    client = await self._line.client()
                    if sent is not None:
                        receipt = await self._receipt(client, sent)
                        if receipt is not None:
                            return receipt
                    sent = await self._submit(client, op)
                    async with asyncio.timeout(COMMIT_PATIENCE_S):
                        await client.wait(sent)
                    return await self._receipt(client, sent)
                except (Disconnected, TimeoutError):
                    await asyncio.sleep(RETRY_S)
                except RequestFailed as err:
                    if err.reason is FailureCode.INVALID:
                        log.info("transaction_refused", why=err.what)
                    await asyncio.sleep(RETRY_S)
            return None

    async def _submit(self, client: Client, op: Op) -> Digest:
        account = await client.view("account", key_text(self._key.public_key))
        expiry = account["height"] + LIFETIME_BLOCKS
        raw = make_transaction(self._key, self._chain_id, account["nonce"], expiry, (op,))
        return await client.submit(raw)

    async def _receipt(self, client: Client, tx_id: Digest) -> Receipt | None:
        state = await client.tx(tx_id)
        return decode_receipt(state.receipt) if state.stage == TxStage.COMMITTED else None
