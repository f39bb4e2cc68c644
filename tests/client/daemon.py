"""A whole node in this process: the daemon itself, alone on its chain, on its own sockets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from tests.e2e.plant import eventually_async, free_base_port
from vppd.cli.testnet import Testnet, write_testnet
from vppd.client.client import Client, connect
from vppd.config.home import Home, load_home
from vppd.crypto import SigningKey, key_text
from vppd.ledger.transaction import Op, Transfer, make_transaction
from vppd.node.daemon import Daemon
from vppd.store.chain import ChainStore
from vppd.types import Digest


class Alone:
    """One node that decides on its own vote."""

    def __init__(self, testnet: Testnet, home: Home) -> None:
        self.testnet = testnet
        self.genesis = testnet.genesis
        self.home = home
        self.socket: Path = home.node.socket
        self.key: SigningKey = home.signer
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run, until it answers and votes."""
        self._stop.clear()
        self._task = asyncio.create_task(self._run())

        async def voting() -> bool:
            if self._task is not None and self._task.done():
                self._task.result()
            if not self.socket.exists():
                return False
            async with connect(self.socket) as client:
                votes: bool = (await client.view("status"))["voting"]
                return votes

        await eventually_async(voting, "the node votes")

    async def _run(self) -> None:
        async with await ChainStore.open(self.home.node.store, self.genesis.digest) as store:
            await Daemon(self.home, store, secrets.token_bytes(16)).run(self._stop)

    async def stop(self) -> None:
        """As after SIGTERM; raises what it ended with."""
        self._stop.set()
        if self._task is not None:
            task, self._task = self._task, None
            await task

    async def pay(self, client: Client, amount: int = 1) -> Digest:
        """Submit a payment to itself; its id."""
        account = await client.view("account", key_text(self.key.public_key))
        return await client.submit(self.sign(account["nonce"], amount))

    def sign(self, nonce: int, amount: int = 1, expiry: int = 1_000) -> bytes:
        """A payment to itself."""
        op: Op = Transfer(self.key.public_key, amount)
        return make_transaction(self.key, self.genesis.digest, nonce, expiry, (op,))


@asynccontextmanager
async def alone(out: Path) -> AsyncIterator[Alone]:
    """A running node; stopped at the end."""
    testnet = await asyncio.to_thread(
        write_testnet, out, 1, base_port=free_base_port(1), transport="plain"
    )
    node = Alone(testnet, replace(load_home(testnet.nodes[0].home), http_listen=None))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
