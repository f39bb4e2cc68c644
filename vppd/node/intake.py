"""Transactions on their way into the mempool: looked at here, verified on threads, then taken.

Many at a time: one look at each, one hop to a thread for all signatures of a batch, one frame to
the leader. A lone one is verified on the spot, since the hop costs more than half a verification.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol, TypeAlias

import structlog

from vppd.consensus.boundary import Now
from vppd.errors import PeerFault
from vppd.ledger.transaction import InvalidTransaction, Transaction
from vppd.net.gate import CHUNK, BadSignature, Gate
from vppd.node.clock import now
from vppd.node.machine import Machine
from vppd.node.mempool import Refused

log = structlog.get_logger("vppd.node")

INLINE = 8
"""So many signatures are verified on the spot."""

Outcome: TypeAlias = Transaction | PeerFault | Refused
"""What was taken (or waits here already), or why it was not."""


class Checks(Protocol):
    """What verifies; the simulator has threads of its own."""

    async def check(self, gate: Gate, txs: Sequence[Transaction]) -> list[BadSignature | None]:
        """For each what is wrong with its signature; ``None``: nothing."""
        ...


class Verifier:
    """Verifies transactions on as many threads as there are cores."""

    def __init__(self) -> None:
        self._cores = os.cpu_count() or 1
        self.threads: Executor = ThreadPoolExecutor(self._cores, "verify")

    async def check(self, gate: Gate, txs: Sequence[Transaction]) -> list[BadSignature | None]:
        """For each what is wrong with its signature; ``None``: nothing."""
        if len(txs) <= INLINE or not gate.signed:
            return gate.check_senders(txs)
        size = max(CHUNK, -(-len(txs) // self._cores))
        chunks = [txs[first : first + size] for first in range(0, len(txs), size)]
        loop = asyncio.get_running_loop()
        done = await asyncio.gather(
            *(loop.run_in_executor(self.threads, gate.check_senders, chunk) for chunk in chunks)
        )
        return [outcome for part in done for outcome in part]

    def close(self) -> None:
        """Begin nothing more."""
        self.threads.shutdown(wait=False, cancel_futures=True)


class Intake:
    """Takes transactions for one node.

    Args:
        machine: whose mempool they go to.
        verifier: checks signatures.
        wake: called when something was taken.
        clock: both clocks.
    """

    def __init__(
        self,
        machine: Machine,
        verifier: Checks,
        wake: Callable[[], None],
        clock: Callable[[], Now] = now,
    ) -> None:
        self._machine = machine
        self._verifier = verifier
        self._wake = wake
        self._clock = clock
        self._hearing = asyncio.Lock()

    async def take(self, raws: Sequence[bytes], *, own: bool) -> list[Outcome]:
        """Take what can be taken, each by itself; those of one sender in this order.

        Args:
            raws: as received.
            own: from a client of this node.
        """
        machine = self._machine
        outcomes: list[Outcome] = list(machine.consider(raws))
        # By its bytes and never by its id: under the same id there may be a signature that does not
        # hold, and what waits now may have made room when this one is taken.
        waiting = machine.mempool
        fresh = {
            position: tx
            for position, tx in enumerate(outcomes)
            if isinstance(tx, Transaction) and waiting.known(raws[position]) is not tx
        }
        checked = await self._verifier.check(machine.gate, tuple(fresh.values()))
        for position, wrong in zip(fresh, checked, strict=True):
            if wrong is not None:
                outcomes[position] = wrong
        txs = [outcome for outcome in outcomes if isinstance(outcome, Transaction)]
        refused = machine.take(txs, self._clock().monotonic_ms, own=own)
        if any(refused):
            sound = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Transaction)]
            for position, why in zip(sound, refused, strict=True):
                if why is not None:
                    outcomes[position] = why
        if txs:
            self._wake()
        return outcomes

    def hear(self, raw: bytes) -> None:
        """Take one that another node has passed on, if it can be taken.

        Raises:
            BadSignature: its sender did not sign it.
        """
        try:
            self._machine.submit(raw, self._clock().monotonic_ms, own=False)
        except (Refused, InvalidTransaction) as err:
            log.debug("gossip_refused", why=str(err))
        else:
            self._wake()

    async def hear_many(self, raws: Sequence[bytes]) -> int:
        """Take those of several that can be taken; how many signatures did not hold.

        In the order they came: while the first of one sender are being verified, the next would
        look as if they were too far ahead.
        """
        bad = 0
        async with self._hearing:
            outcomes = await self.take(raws, own=False)
        for outcome in outcomes:
            if isinstance(outcome, BadSignature):
                bad += 1
            elif not isinstance(outcome, Transaction):
                log.debug("gossip_refused", why=str(outcome))
        return bad
