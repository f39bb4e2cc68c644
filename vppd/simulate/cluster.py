"""A whole plant in one thread: virtual time, one seeded source of chance, real machines.

Every node is the daemon's :class:`~vppd.node.machine.Machine` with a simulated disk and network.
Events are ordered by (time, sequence number), chance comes from one generator, and nothing
iterates over an unordered collection, so a seed replays byte for byte in any process.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TypeAlias

import msgspec

from vppd.codec import encode
from vppd.config.genesis import Engine
from vppd.consensus.boundary import Now, ProposalRecord, Timer, VoteRecord
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Blocks,
    Commit,
    GetBlock,
    GetBlocks,
    Ping,
    Prepare,
    Reply,
    Tx,
    Type,
)
from vppd.errors import PeerFault
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import InvalidTransaction
from vppd.net.gate import decode_message
from vppd.node.machine import Effects, Frame, Machine, Turn
from vppd.node.mempool import Refused
from vppd.simulate.checkers import Checkers, Violation
from vppd.simulate.disk import SimDisk
from vppd.simulate.faults import Crash, FaultSet, Plan, draw, parse_sets
from vppd.simulate.plant import START_UNIX_MS, node_key, sim_genesis, sim_verify
from vppd.simulate.workload import Member
from vppd.types import Height, ReplicaIndex

Action: TypeAlias = Callable[[], None]

HOUSEKEEPING_US = 250_000
SUBMIT_US = 150_000
TURN_US = 100
"""A node's turn begins so long after its first input: what arrives in between shares it."""
MAX_EVENTS_PER_HEIGHT = 20_000
COUNTED = frozenset({Type.BLOCK, Type.PREPARE, Type.COMMIT, Type.AGREE})
"""``messages_per_height`` counts these, without reply, status and sync (protocol.md, §9)."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is, but for its seed."""

    engine: Engine = "pbft"
    n: int = 4
    heights: Height = 12
    """Every node must decide so many."""
    delay_us: int | None = None
    """Fixed one-way delay; ``None``: 0.2–5 ms at random."""
    faults: frozenset[FaultSet] = parse_sets("all")


class Outcome(msgspec.Struct, kw_only=True):
    """What happened in a run."""

    seed: int
    violation: str | None = None
    events: int = 0
    heights: Height = 0
    """What every node has decided."""
    decided: Height = 0
    """What some node has decided."""
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    effects: Counter[str] = msgspec.field(default_factory=Counter)
    """What followed from faults and chance, without being one."""
    commit_us: list[int] = msgspec.field(default_factory=list)
    """Per height: first proposal sent → decision known at q replicas."""
    messages: int = 0
    bytes: int = 0
    view_changes: int = 0
    catch_ups: int = 0
    transactions: int = 0
    trace: str = ""
    """Hash over every event, in order."""


class Node:
    """One simulated gateway: a disk that survives, a machine that does not."""

    def __init__(self, index: ReplicaIndex, cluster: Cluster) -> None:
        self.index = index
        self.disk = SimDisk()
        self.machine: Machine | None = None
        self.life = 0
        """Counts starts; an event of an earlier life is void."""
        self.busy = False
        self.away = False
        """Gone for good."""
        self.timers: dict[Timer, int] = {}
        self._cluster = cluster
        genesis_ledger = Ledger.from_genesis(cluster.genesis)
        self.disk.seed_state(genesis_ledger.entries())
        self.member = Member(index, cluster.genesis, cluster.rng)

    def start(self) -> None:
        """Power on: resume from whatever the disk kept."""
        cluster, disk = self._cluster, self.disk
        if self.away:
            return
        cluster.checkers.restarted(self.index, disk.decided)
        self.life += 1
        self.busy = False
        self.timers.clear()
        entries = sorted(disk.state.items())
        ledger = Ledger.load(
            cluster.genesis, disk.executed, entries, disk.header(disk.executed), disk.receipts_root
        )
        self.machine = Machine(cluster.genesis, node_key(self.index), sim_verify, ledger)
        missed = [disk.decision(h) for h in range(disk.executed + 1, disk.decided + 1)]
        turn = self.machine.start(cluster.now(), disk.log(), disk.header(disk.executed), missed)
        self._hold(turn)

    def crash(self) -> None:
        """Power off; a write under way survives or not."""
        cluster = self._cluster
        if self.disk.staged and cluster.rng.randrange(2):
            self.disk.sync()
        if self.disk.lose():
            cluster.outcome.faults["unsynced_lost"] += 1
        self.machine = None
        self.life += 1

    def wake(self) -> None:
        """Something has arrived: take a turn soon, unless one is under way."""
        if not self.busy and self.machine is not None and self.machine.has_work:
            self.busy = True
            self._cluster.after(TURN_US, self._mine(self._turn))

    def _mine(self, action: Action) -> Action:
        life = self.life

        def run() -> None:
            if self.life == life:
                action()

        return run

    def _turn(self) -> None:
        if self.machine is not None:
            self._hold(self.machine.turn(self._cluster.now()))

    def _hold(self, turn: Turn) -> None:
        """First beat: nothing leaves before the disk says so."""
        if not turn.records:
            self._release(turn)
            return
        self.busy = True
        self.disk.begin(turn.records)

        def synced() -> None:
            self.disk.sync()
            self._release(turn)

        self._cluster.after(self._cluster.rng.randint(100, 3_000), self._mine(synced))

    def _release(self, turn: Turn) -> None:
        cluster, machine = self._cluster, self.machine
        if machine is None:
            return
        effects = machine.release(turn, cluster.now())
        self.busy = False
        cluster.released(self, machine, effects)
        for timer, delay_ms in effects.timers:
            if delay_ms is None:
                self.timers.pop(timer, None)
            else:
                self._arm(timer, delay_ms)
        self.wake()

    def _arm(self, timer: Timer, delay_ms: int) -> None:
        cluster = self._cluster
        due = cluster.time_us + delay_ms * 1_000
        self.timers[timer] = due

        def ring() -> None:
            if self.timers.get(timer) == due and self.machine is not None:
                del self.timers[timer]
                self.machine.fire(timer)
                self.wake()

        cluster.after(delay_ms * 1_000, self._mine(ring))


class Cluster:
    """One run of one seed.

    Args:
        setup: what to run.
        seed: decides everything else.
    """

    def __init__(self, setup: Setup, seed: int) -> None:
        self.setup = setup
        self.rng = Random(seed)  # noqa: S311  # reproducible chance is the point
        self.time_us = 0
        self.genesis = sim_genesis(setup.n, setup.engine)
        self.outcome = Outcome(seed=seed)
        self._queue: list[tuple[int, int, Action]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        ledger = Ledger.from_genesis(self.genesis)
        self.nodes = [Node(i, self) for i in range(setup.n)]
        probe = Machine(self.genesis, node_key(0), sim_verify, ledger)
        self.quorum = probe.validators.quorum
        self.checkers = Checkers(
            self.genesis.digest, probe.validators, sim_verify, ledger.total_micro()
        )
        span_us = setup.heights * 600_000
        self.plan: Plan = draw(self.rng, setup.faults, setup.n, setup.n - self.quorum.vote, span_us)
        self._arrived: dict[tuple[int, int], int] = {}
        self._proposed_us: dict[Height, int] = {}
        self._counted: Height = 0
        self._decided_by: dict[Height, set[ReplicaIndex]] = {}

    # ------------------------------------------------------------ time

    def now(self) -> Now:
        """Both clocks of every node."""
        ms = self.time_us // 1_000
        return Now(ms, START_UNIX_MS + ms)

    def after(self, delay_us: int, action: Action) -> None:
        """Do something later."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.time_us + delay_us, self._sequence, action))

    def run(self) -> Outcome:
        """Until every node has decided enough after the faults ended, or an invariant breaks."""
        outcome = self.outcome
        for node in self.nodes:
            self.after(self.rng.randrange(50_000), node.start)
            self.after(self.rng.randrange(SUBMIT_US), self._submit_loop(node))
            self.after(self.rng.randrange(HOUSEKEEPING_US), self._housekeeping_loop(node))
        for crash in self.plan.crashes:
            self.after(crash.at_us, self._crash(crash))
        limit = self.setup.heights * MAX_EVENTS_PER_HEIGHT
        try:
            while self._queue and outcome.events < limit and not self._finished():
                self.time_us, _, action = heapq.heappop(self._queue)
                outcome.events += 1
                action()
            self._require_progress()
        except Violation as violation:
            outcome.violation = str(violation)
        outcome.heights = min(node.disk.decided for node in self.nodes if not node.away)
        outcome.decided = max(node.disk.decided for node in self.nodes)
        outcome.trace = self._trace.hexdigest()
        return outcome

    def _require_progress(self) -> None:
        if not self._finished():
            heights = [node.disk.decided for node in self.nodes]
            raise Violation(
                f"no progress: {self.outcome.events} events, {self.time_us / 1e6:.1f} s, "
                f"heights {heights} of {self.setup.heights}"
            )

    def _finished(self) -> bool:
        return self.time_us >= self.plan.heal_us and all(
            node.away or node.disk.decided >= self.setup.heights for node in self.nodes
        )

    # ------------------------------------------------------------ members and faults

    def _submit_loop(self, node: Node) -> Action:
        def submit() -> None:
            machine = node.machine
            if machine is not None:
                now = self.now()
                for raw in node.member.transactions(machine, now.unix_ms):
                    self._submit(machine, raw, now.monotonic_ms, own=True)
                node.wake()
            self.after(SUBMIT_US + self.rng.randrange(SUBMIT_US), submit)

        return submit

    def _submit(self, machine: Machine, raw: bytes, now_ms: int, *, own: bool) -> None:
        try:
            machine.submit(raw, now_ms, own=own)
        except (Refused, InvalidTransaction):  # used, or expired on the way
            self.outcome.effects["refused_transaction"] += 1

    def _housekeeping_loop(self, node: Node) -> Action:
        def tidy() -> None:
            if node.machine is not None:
                node.machine.housekeeping(self.now().monotonic_ms)
                node.wake()
            self.after(HOUSEKEEPING_US, tidy)

        return tidy

    def _crash(self, crash: Crash) -> Action:
        node = self.nodes[crash.node]

        def power_off() -> None:
            if node.away or (node.machine is None and crash.down_us is not None):
                return
            self.outcome.faults["crash" if crash.down_us is not None else "outage"] += 1
            if node.machine is not None:
                node.crash()
            if crash.down_us is None:
                node.away = True
            else:
                self.after(crash.down_us, node.start)

        return power_off

    # ------------------------------------------------------------ what nodes do

    def released(self, node: Node, machine: Machine, effects: Effects) -> None:
        """A node's second beat, watched by the checkers."""
        for frame in effects.frames:
            self._watch(node, frame)
            self._transmit(node, frame)
        for block in effects.committed:
            self.checkers.committed(node.index, block, machine.ledger)
            node.disk.executed_later(block.execution)
            height = block.decision.height
            if height > self._counted:
                self._counted = height
                self.outcome.transactions += len(block.execution.tx_ids)
            deciders = self._decided_by.setdefault(height, set())
            first = node.index not in deciders
            deciders.add(node.index)
            enough = first and len(deciders) == self.quorum.vote
            if enough and height in self._proposed_us:
                self.outcome.commit_us.append(self.time_us - self._proposed_us[height])
        if effects.faults:
            raise Violation(f"node {node.index} found equivocation: {effects.faults[0]}")

    def _watch(self, node: Node, frame: Frame) -> None:
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, Agree | Reply):
            height = message.height if isinstance(message, Reply) else message.certificate.height
            self.checkers.spoke_of(node.index, height, node.disk.decided)
        if not isinstance(message, Block | Prepare | Commit):
            return
        at = (message.epoch, message.view, message.height)
        digest = message.digest
        disk = node.disk
        if isinstance(message, Commit):
            durable = disk.holds_lock(*at, digest)
            self.checkers.signed(node.index, "2", at, digest, durable=durable)
            return
        durable = disk.holds_vote(VoteRecord(*at, digest))
        self.checkers.signed(node.index, "1", at, digest, durable=durable)
        if isinstance(message, Block):
            durable = disk.holds_proposal(ProposalRecord(*at, digest))
            self.checkers.signed(node.index, "P", at, digest, durable=durable)
            self._proposed_us.setdefault(message.height, self.time_us)

    # ------------------------------------------------------------ the network

    def _transmit(self, node: Node, frame: Frame) -> None:
        others = (i for i in range(self.setup.n) if i != node.index)
        for to in others if frame.to == "all" else frame.to:
            self._send(node.index, to, frame.type, frame.payload)

    def _send(self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes) -> None:
        if type_ in COUNTED:
            self.outcome.messages += 1
            self.outcome.bytes += len(payload) + 5
        rng, outcome, network = self.rng, self.outcome, self.plan.network
        copies = 1
        extra_us = 0
        if self.time_us < self.plan.heal_us:
            if rng.randrange(1_000) < network.loss:
                outcome.faults["lost"] += 1
                return
            if rng.randrange(1_000) < network.duplicate:
                outcome.faults["duplicated"] += 1
                copies = 2
            if rng.randrange(1_000) < network.slow:
                outcome.faults["delayed"] += 1
                extra_us = rng.randrange(network.slow_us)
        for _ in range(copies):
            base_us = self.setup.delay_us
            delay_us = rng.randint(200, 5_000) if base_us is None else base_us
            self.after(delay_us + extra_us, self._delivery(sender, to, type_, payload))

    def _delivery(
        self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes
    ) -> Action:
        sent_at = self._sequence

        def deliver() -> None:
            last = self._arrived.get((sender, to), 0)
            if sent_at < last:
                injected = "network" in self.setup.faults
                counts = self.outcome.faults if injected else self.outcome.effects
                counts["reordered"] += 1
            self._arrived[sender, to] = max(sent_at, last)
            self._deliver(sender, to, type_, payload)

        return deliver

    def _deliver(self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes) -> None:
        node = self.nodes[to]
        machine = node.machine
        if machine is None:
            self.outcome.effects["to_dead_node"] += 1
            return
        self._trace.update(b"%d %d %d %d " % (self.time_us, sender, to, type_))
        self._trace.update(payload)
        message = decode_message(type_, payload)
        match message:
            case GetBlock(digest):
                record = node.disk.body(digest)
                if record is not None:
                    body = machine.body_of(record) or node.disk.blocks_from(record.height)
                    self._answer(to, sender, body)
            case GetBlocks(first):
                self._answer(to, sender, node.disk.blocks_from(first))
            case Tx(raw):
                self._submit(machine, raw, self.now().monotonic_ms, own=False)
            case Ping():
                pass
            case _:
                if machine.wants(message):
                    if isinstance(message, Blocks):
                        self.outcome.catch_ups += 1
                    try:
                        machine.gate.check(message)
                    except PeerFault as err:
                        raise Violation(f"node {to} refuses a message of {sender}: {err}") from err
                    machine.receive(sender, message)
        node.wake()

    def _answer(
        self, sender: ReplicaIndex, to: ReplicaIndex, message: BlockBody | Blocks | None
    ) -> None:
        if message is not None:
            self._send(sender, to, TYPE_OF[type(message)], encode(message))


def simulate(setup: Setup, seed: int) -> Outcome:
    """One run."""
    return Cluster(setup, seed).run()
