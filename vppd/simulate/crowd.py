"""Many transactions at once, as a busy plant has them: through the daemon's own intake.

In some seeds. A node takes them in two steps, with a hop to a thread in between, and meanwhile
blocks are decided, others arrive and the power fails. They go on to the leader several in a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Generator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from vppd.ledger.transaction import Transaction, Transfer, make_transaction
from vppd.net.gate import BadSignature, Gate
from vppd.node.intake import INLINE, Intake
from vppd.simulate.checkers import Violation
from vppd.simulate.plant import node_key
from vppd.types import ReplicaIndex

if TYPE_CHECKING:
    from vppd.simulate.cluster import Cluster
    from vppd.simulate.node import Node

ONE_SEED_IN = 4
MOST = 40
"""Transactions handed over together; all of one account."""
LIFETIME_BLOCKS = 40


class _Hop:
    """Awaited until the simulated thread is done."""

    def __init__(self, delay_us: int) -> None:
        self._delay_us = delay_us

    def __await__(self) -> Generator[int, None, None]:
        yield self._delay_us


class _Threads:
    """Verifies later, as :class:`~vppd.node.intake.Verifier` does; few on the spot."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    async def check(self, gate: Gate, txs: Sequence[Transaction]) -> list[BadSignature | None]:
        """For each what is wrong with its signature; ``None``: nothing."""
        if len(txs) > INLINE:
            await _Hop(self._rng.randint(100, 5_000))
        return gate.check_senders(txs)


class Crowd:
    """Whoever hands over many transactions at a time.

    Args:
        cluster: their plant.
        seed: of the run.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = Random(seed ^ 0xC0DE)  # noqa: S311
        self._comes = seed % ONE_SEED_IN == 3 and not cluster.setup.faults <= {"none"}
        self._threads = _Threads(self._rng)
        self._heard: dict[ReplicaIndex, deque[tuple[ReplicaIndex, tuple[bytes, ...]]]] = {}
        """What waits at a node for its turn, the first one being verified."""

    def submit(self, node: Node) -> None:
        """Perhaps hand over many to this node: mostly right, now and then used, or forged."""
        rng, machine = self._rng, node.machine
        if not self._comes or machine is None or rng.randrange(3):
            return
        key, chain = node_key(node.index), self._cluster.genesis.digest
        nonce = machine.ledger.nonce(key.public_key) or 0
        first = nonce + machine.mempool.waiting(key.public_key) - rng.randrange(2)
        expiry = machine.ledger.height + LIFETIME_BLOCKS
        raws = []
        for i in range(rng.randint(2, MOST)):
            to = node_key(rng.randrange(len(self._cluster.genesis.validators))).public_key
            ops = (Transfer(to, 1 + rng.randrange(1_000_000)),)
            raws.append(make_transaction(key, chain, max(0, first + i), expiry, ops))
        if rng.randrange(4) == 0:
            raws[-1] = raws[-1][:-1] + bytes([raws[-1][-1] ^ 1])
        self._cluster.outcome.effects["burst"] += 1
        self._run(node, self._take(node, raws, own=True))

    def hear(self, node: Node, sender: ReplicaIndex, raws: tuple[bytes, ...]) -> None:
        """Several transactions have come from another node: they wait for those before them."""
        waiting = self._heard.setdefault(node.index, deque())
        waiting.append((sender, raws))
        if len(waiting) == 1:
            self._run(node, self._hear_in_turn(node, waiting))

    def lost(self, node: Node) -> None:
        """The power has failed."""
        self._heard.pop(node.index, None)

    async def _hear_in_turn(
        self, node: Node, waiting: deque[tuple[ReplicaIndex, tuple[bytes, ...]]]
    ) -> None:
        while waiting:
            sender, raws = waiting[0]
            bad = await self._take(node, raws, own=False)
            if bad and sender not in self._cluster.byzantine:
                raise Violation(
                    f"node {sender} has passed on what it should have refused: {bad} forged"
                )
            waiting.popleft()

    async def _take(self, node: Node, raws: Sequence[bytes], *, own: bool) -> int:
        """How many signatures did not hold."""
        machine, cluster = node.machine, self._cluster
        if machine is None:
            return 0
        intake = Intake(machine, self._threads, node.wake, lambda: cluster.now(node.index))
        outcomes = await intake.take(raws, own=own)
        refused = sum(not isinstance(outcome, Transaction) for outcome in outcomes)
        cluster.outcome.effects["refused_transaction"] += refused
        return sum(isinstance(outcome, BadSignature) for outcome in outcomes)

    def _run(self, node: Node, work: Coroutine[Any, Any, Any]) -> None:
        """As far as it goes without waiting; the rest, if the node lives until then, later."""
        try:
            delay_us = work.send(None)
        except StopIteration:
            return
        self._cluster.after(delay_us, node.mine(lambda: self._run(node, work)))
