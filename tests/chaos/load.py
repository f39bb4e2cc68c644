"""Clients that never stop: they pay, fail over between nodes, and remember what they were told.

Each client has one account and one transaction under way. It submits the same bytes again, to
whichever node answers, until a node says that they are committed: that is an acknowledgement, and
from then on the transaction must be at every node, at that height, for good.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.e2e.plant import Node
from vppd.client.client import Client, Disconnected, RequestFailed, connect
from vppd.errors import UserError
from vppd.ledger.transaction import Transfer, make_transaction, transaction_id
from vppd.net.requests import TxStage
from vppd.types import Digest, Height

LIFETIME = 5_000
"""Blocks that a transaction may wait; no fault here lasts so long."""
PATIENCE_S = 3.0
"""With a node that has taken a transaction and does not say what becomes of it."""
ANOTHER_S = 0.02
"""Before another node is asked."""


class Acknowledged(NamedTuple):
    """What a client was told."""

    height: Height
    payer: str
    seconds: float
    """On the monotonic clock of the test's process."""


class Load:
    """Payments of 1 micro-currency, as many at a time as there are payers.

    Args:
        nodes: to submit to.
        payers: whose accounts pay; the first node's account is paid.
        chain_id: of the plant.
        seed: chooses the nodes.
    """

    def __init__(
        self, nodes: Sequence[Node], payers: Sequence[Node], chain_id: Digest, seed: int
    ) -> None:
        self._nodes = nodes
        self._payers = payers
        self._chain_id = chain_id
        self._seed = seed
        self._nonces = dict.fromkeys((payer.name for payer in payers), 0)
        self._flowing = asyncio.Event()
        self._idle = {payer.name: asyncio.Event() for payer in payers}
        self._height: Height = 0
        self.acknowledged: dict[Digest, Acknowledged] = {}
        self.failovers = 0
        """Times that a client gave up on a node."""

    async def run(self) -> None:
        """Until cancelled; begins stopped.

        Raises:
            AssertionError: a node called a transaction impossible that must be possible.
        """
        async with asyncio.TaskGroup() as group:
            for payer in self._payers:
                group.create_task(self._pay(payer))

    def flow(self) -> None:
        """Go on paying."""
        self._flowing.set()

    async def pause(self) -> None:
        """No new payments; returns when each of those under way has been acknowledged."""
        self._flowing.clear()
        for idle in self._idle.values():
            await idle.wait()

    def of(self, payer: Node) -> int:
        """How many payments of one account have been acknowledged."""
        return self._nonces[payer.name]

    # ------------------------------------------------------------ inside

    async def _pay(self, payer: Node) -> None:
        chance = random.Random(f"{self._seed} {payer.name}")
        idle = self._idle[payer.name]
        raw = b""
        while True:
            node = chance.choice(self._nodes)
            try:
                async with connect(node.socket) as client:
                    while True:
                        if not raw:
                            if not self._flowing.is_set():
                                idle.set()
                                await self._flowing.wait()
                                idle.clear()
                            raw = self._next(payer)
                        async with asyncio.timeout(PATIENCE_S):
                            height = await self._until_committed(client, raw)
                        self._note(payer, raw, height)
                        raw = b""
            except (UserError, Disconnected, TimeoutError):
                self.failovers += bool(raw)
                await asyncio.sleep(ANOTHER_S)

    def _next(self, payer: Node) -> bytes:
        nonce, expiry = self._nonces[payer.name], self._height + LIFETIME
        paid = self._nodes[0].key.public_key
        return make_transaction(payer.key, self._chain_id, nonce, expiry, (Transfer(paid, 1),))

    async def _until_committed(self, client: Client, raw: bytes) -> Height:
        tx_id = transaction_id(raw)
        try:
            await client.submit(raw)
        except RequestFailed:
            # Perhaps its nonce is used because another node had it committed before it died.
            state = await client.tx(tx_id)
            if state.stage != TxStage.COMMITTED:
                raise
        else:
            state = await client.wait(tx_id)
            assert state.stage == TxStage.COMMITTED, f"{tx_id.hex()} is {state.stage!r}"
        return state.height

    def _note(self, payer: Node, raw: bytes, height: Height) -> None:
        now = time.monotonic()
        self.acknowledged[transaction_id(raw)] = Acknowledged(height, payer.name, now)
        self._nonces[payer.name] += 1
        self._height = max(self._height, height)
