"""The simulator's plant with processors, uplinks and sites, so that its time means something.

Each node has one core that does one thing after the other: frames in, turns, signatures, frames
out, execution. What that costs was measured (:mod:`vppd.bench.scale.costs`); what is done, the
shipped machine decides. Frames leave one after the other through the node's uplink. The checkers
of the simulator watch as ever.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

from vppd.bench.scale.costs import Costs
from vppd.bench.scale.sites import JITTER, Sites
from vppd.consensus.messages import Type
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.net.frames import HEADER_BYTES
from vppd.net.gate import decode_message
from vppd.node.beats import Effects, Frame, Turn
from vppd.node.machine import Machine
from vppd.simulate.cluster import COUNTED, Cluster
from vppd.simulate.node import Action, Node
from vppd.simulate.outcome import Setup
from vppd.simulate.plant import node_key
from vppd.types import Height, ReplicaIndex

Task: TypeAlias = Callable[[], float]
"""Does something at once and says how many microseconds the core is busy with it."""
LIFETIME = 5_000
LOOK_EVERY = 10_000
"""Events between two looks at whether the run is over."""
SIGNED = frozenset(
    {
        Type.BLOCK, Type.RECEIVED, Type.PRE_PREPARED, Type.PREPARE, Type.COMMIT, Type.REPLY,
        Type.VIEW_CHANGE, Type.NEW_VIEW,
    }
)  # fmt: skip
"""Frames whose sender signs them; a block twice."""


class Core:
    """One core: tasks in the order in which they come.

    Args:
        cluster: whose time it takes.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tasks: deque[Task] = deque()
        self._busy = False
        self.used_us = 0.0

    def put(self, task: Task) -> None:
        """Do this when everything before it is done."""
        self._tasks.append(task)
        if not self._busy:
            self._busy = True
            self._next()

    def _next(self) -> None:
        if not self._tasks:
            self._busy = False
            return
        cost_us = self._tasks.popleft()()
        self.used_us += cost_us
        self._cluster.after(round(cost_us), self._next)


class ScaleNode(Node):
    """A node whose turns and effects take a core's time."""

    def __init__(self, index: ReplicaIndex, cluster: ScaleCluster) -> None:
        super().__init__(index, cluster)
        self._scale = cluster
        self.core = Core(cluster)
        self.taken = 0
        """Messages that wait for the next turn."""
        self.spent_us = 0.0
        """By the task under way, so far."""
        self.uplink_us = 0.0
        """Until when the uplink is busy."""

    def _soon(self, turn: Action) -> None:
        costs = self._scale.costs

        def task() -> float:
            taken, self.taken = self.taken, 0
            turn()
            return costs.turn_us + costs.step_us * taken

        self.core.put(task)

    def _write_us(self) -> int:
        return round(self._scale.rng.choice(self._scale.costs.write_us))

    def _release(self, turn: Turn) -> None:
        def task() -> float:
            self.spent_us = self._scale.costs.release_us
            super(ScaleNode, self)._release(turn)
            spent_us, self.spent_us = self.spent_us, 0.0
            return spent_us

        self.core.put(task)


class Totals(NamedTuple):
    """What was counted up to some moment."""

    messages: int
    bytes: int
    core_us: tuple[float, ...]
    """By node."""


class ScaleCluster(Cluster):
    """One plant, one block after the other, as fast as it goes.

    Args:
        setup: engine, path, size and heights; no faults.
        sites: where the nodes are.
        costs: of one core.
        txs: transfers in each block.
        skip: heights before anything is counted: the plant comes together, ``auto`` makes up its
            mind.
        seed: of jitter and disk.
    """

    make_node: ClassVar[type[Node]] = ScaleNode

    def __init__(
        self, setup: Setup, sites: Sites, costs: Costs, *, txs: int, skip: Height, seed: int = 1
    ) -> None:
        self.costs = costs
        self.sites = sites
        self._txs = txs
        self._skip = skip
        self._offered: Height = 0
        self._nonces: Counter[int] = Counter()
        self.marks: dict[Height, Totals] = {}
        """At the moment each height was decided by enough nodes."""
        self.commits: dict[Height, int] = {}
        """Microseconds from the proposal until enough nodes had decided."""
        self._decided_anew = self._over = False
        self._last: dict[tuple[ReplicaIndex, ReplicaIndex], int] = {}
        """When the last frame on each link arrives: none overtakes another."""
        super().__init__(setup, seed)

    def _finished(self) -> bool:
        """Looked at when somebody has decided, and now and then: it looks at every node.

        A node has decided before its core has had the time to say so, so the last height has to
        be marked, too.
        """
        if not self._over and (self._decided_anew or self.outcome.events % LOOK_EVERY == 0):
            self._decided_anew = False
            self._over = super()._finished() and self.setup.heights in self.marks
        return self._over

    def _cores(self) -> list[ScaleNode]:
        return [node for node in self.nodes if isinstance(node, ScaleNode)]

    # ------------------------------------------------------------ load

    def _submit_loop(self, node: Node) -> Action:
        """Nobody submits for himself; the first leader is given the first block's work."""

        def begin() -> None:
            if node.machine is not None:
                self._offer(node, node.machine)

        return begin

    def _offer(self, node: Node, machine: Machine) -> None:
        """The next block's transactions to its leader, as if they had been there all along."""
        height = machine.ledger.height + 1
        leads = machine.own is not None and machine.own == machine.terms.leader(
            machine.term.epoch, machine.engine.status().view, height
        )
        if not leads or height <= self._offered:
            return
        self._offered = height
        now = self.now(node.index)
        for i in range(self._txs):
            payer = (height * self._txs + i) % self.setup.n
            key, to = node_key(payer), node_key((payer + 1) % self.setup.n)
            nonce, self._nonces[payer] = self._nonces[payer], self._nonces[payer] + 1
            op = Transfer(to.public_key, 1)
            raw = make_transaction(key, self.genesis.digest, nonce, height + LIFETIME, [op])
            self._submit(machine, raw, now.monotonic_ms, own=False)
        node.wake()

    # ------------------------------------------------------------ what things take

    def _deliver(self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes) -> None:
        node = self.nodes[to]
        if not isinstance(node, ScaleNode):
            raise TypeError("a plant of scale has nodes of scale")

        def take() -> float:
            machine = node.machine
            frame_us = self.costs.frame(len(payload) + HEADER_BYTES)
            if machine is None:
                return frame_us
            message = decode_message(type_, payload)
            wanted = machine.wants(sender, message)
            signatures = machine.gate.cost(message) if wanted else 0
            node.taken += wanted
            super(ScaleCluster, self)._deliver(sender, to, type_, payload)
            if not wanted:
                return frame_us + self.costs.unwanted_us
            return frame_us + self.costs.receive(message, signatures)

        node.core.put(take)

    def released(self, node: Node, machine: Machine, effects: Effects) -> None:
        """A node's second beat takes its core's time, frame by frame."""
        before, heights = (
            len(self.outcome.commit_us),
            [c.decision.height for c in effects.committed],
        )
        if isinstance(node, ScaleNode):
            for block in effects.committed:
                txs = len(block.decision.txs)
                node.spent_us += self.costs.decide_us + txs * self.costs.execute_tx_us
        super().released(node, machine, effects)
        reached = [h for h in heights if h not in self.marks and self._is_enough(h)]
        for height, took_us in zip(reached, self.outcome.commit_us[before:], strict=True):
            self._mark(height, took_us)
        if effects.committed:
            self._decided_anew = True
            self._offer(node, machine)

    def _is_enough(self, height: Height) -> bool:
        return len(self._decided_by[height]) == self.quorum.vote and height in self._proposed_us

    def _mark(self, height: Height, took_us: int) -> None:
        used = tuple(node.core.used_us for node in self._cores())
        self.marks[height] = Totals(self.outcome.messages, self.outcome.bytes, used)
        self.commits[height] = took_us

    def _transmit(self, node: Node, frame: Frame) -> None:
        if isinstance(node, ScaleNode):
            if frame.type in SIGNED:
                node.spent_us += self.costs.sign_us * (2 if frame.type is Type.BLOCK else 1)
            if frame.type is Type.BLOCK:
                node.spent_us += self.costs.pack_tx_us * self._txs
        super()._transmit(node, frame)

    def _send(self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes) -> None:
        node = self.nodes[sender]
        if not isinstance(node, ScaleNode):
            raise TypeError("a plant of scale has nodes of scale")
        size = len(payload) + HEADER_BYTES
        if type_ in COUNTED:
            self.outcome.messages += 1
            self.outcome.bytes += size
        node.spent_us += self.costs.frame(size)
        ready_us = self.time_us + node.spent_us
        left_us = max(ready_us, node.uplink_us) + size * 8 / self.sites.uplink_mbit
        node.uplink_us = left_us
        way_us = self.sites.delay_us(sender, to)
        way_us += round(self.rng.expovariate(1 / (JITTER * way_us)))
        arrives_us = max(round(left_us) + way_us, self._last.get((sender, to), 0))
        self._last[sender, to] = arrives_us
        self.after(arrives_us - self.time_us, self._delivery(sender, to, type_, payload))
