"""A whole plant in one thread: virtual time, one seeded source of chance, real machines.

Every node is the daemon's :class:`~vppd.node.machine.Machine` with a simulated disk and network.
Events are ordered by (time, sequence number), chance comes from one generator, and nothing
iterates over an unordered collection, so a seed replays byte for byte in any process.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import ClassVar, TypeAlias

from vppd.codec import encode
from vppd.consensus.boundary import Now
from vppd.consensus.evidence import charge_of
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Blocks,
    Collected,
    Commit,
    GetBlock,
    GetBlocks,
    NewView,
    Ping,
    Prepare,
    PrePrepared,
    Reply,
    Tx,
    Txs,
    Type,
    ViewChange,
)
from vppd.consensus.profile import founding_validators
from vppd.consensus.quorum import Quorums
from vppd.consensus.replica import Replica
from vppd.errors import PeerFault
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import InvalidTransaction
from vppd.net.gate import BadSignature, Gate, decode_message
from vppd.node.beats import Effects, Frame
from vppd.node.machine import Machine, MakeEngine
from vppd.node.mempool import Refused
from vppd.simulate.byzantine import Shameless, draw_liars
from vppd.simulate.checkers import Checkers, Fork, Violation
from vppd.simulate.crowd import Crowd
from vppd.simulate.disk import Promise, change_of, opening_of
from vppd.simulate.epochs import Chronicle
from vppd.simulate.faults import Crash, Damage, Plan, draw
from vppd.simulate.governors import Governors
from vppd.simulate.mutation import draw_mutations
from vppd.simulate.node import Action, Node
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.plant import node_key, sim_genesis, sim_verify
from vppd.simulate.weather import Cut, FailingLinks, Weather
from vppd.types import Epoch, Height, ReplicaIndex

HOUSEKEEPING_US = 250_000
SUBMIT_US = 150_000
MAX_EVENTS_PER_HEIGHT = 60_000
MAX_EVENTS_PER_LINK = 240
"""Of a height, between each two nodes: in large plants that is more."""
FAULTS_US = 1_200_000
"""Of faults per height asked for, but at least ten of them."""
PPM = 1_000_000
PROGRESS_HEIGHTS = 5
PROGRESS_VIEWS = 20
"""After healing every node decides so many more heights within so many T_view."""
Tamper: TypeAlias = Callable[[ReplicaIndex, Frame], Iterable[Frame]]
"""What really leaves a node instead of a frame."""
COUNTED = frozenset(
    {Type.BLOCK, Type.RECEIVED, Type.PRE_PREPARED, Type.PREPARE, Type.COMMIT, Type.AGREE}
)
"""``messages_per_height`` counts these, without reply, status and sync (protocol.md, §9)."""


class Cluster:
    """One run of one seed.

    Args:
        setup: what to run.
        seed: decides everything else.
        engines: what some nodes run instead of the shipped engine.
        tamper: what really leaves a node instead of each of its frames.
        byzantine: nodes of which nothing is expected.
    """

    make_gate: ClassVar[type[Gate]] = Gate
    make_checkers: ClassVar[type[Checkers]] = Checkers
    make_node: ClassVar[type[Node]] = Node

    def __init__(
        self,
        setup: Setup,
        seed: int,
        engines: Mapping[ReplicaIndex, MakeEngine] | None = None,
        tamper: Tamper | None = None,
        byzantine: Iterable[ReplicaIndex] = (),
    ) -> None:
        self.setup = setup
        self._engines = dict(engines or {})
        self._tamper = tamper
        self.byzantine = frozenset(byzantine)
        self.rng = Random(seed)  # noqa: S311  # reproducible chance is the point
        self.time_us = 0
        self.genesis = sim_genesis(
            setup.n, setup.engine, setup.path, setup.operators, setup.delegates, setup.epoch_blocks
        )
        self.total = setup.n + setup.joiners
        self.keys = tuple(node_key(i).public_key for i in range(self.total))
        """By node, which is also its peer number."""
        self.outcome = Outcome(seed=seed)
        self._missed = {node for node, _ in (*setup.fail, *setup.kill)}
        """Nodes that the others must do without, by what the run is asked to be."""
        # Liars and disks that forget share one budget, f: some seeds have these, some those.
        turn = "storage" not in setup.faults or seed % 2
        sizes = founding_validators(self.genesis).quorum
        most = min(sizes.f, self._spare(sizes))
        chance = Random(seed)  # noqa: S311
        if "byzantine" in setup.faults and turn and tamper is None:
            liars = draw_liars(chance, setup.n, self.genesis.digest, most)
            self._tamper, self.byzantine, self.outcome.lies = liars, liars.nodes, liars.told
            self._engines |= dict.fromkeys(liars.nodes, Shameless)
        elif "mutation" in setup.faults and tamper is None:
            mutations = draw_mutations(chance, setup.n, self.genesis.digest, setup.heights, most)
            self._tamper, self.byzantine, self.outcome.lies = (
                mutations, mutations.nodes, mutations.told,
            )  # fmt: skip
            self._engines |= dict.fromkeys(mutations.nodes, Shameless)
        self._queue: list[tuple[int, int, Action]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        ledger = Ledger.from_genesis(self.genesis, verify=sim_verify)
        self.nodes = [self.make_node(i, self) for i in range(self.total)]
        self.quorum = sizes
        self.checkers = self.make_checkers(self.genesis, sim_verify, ledger.total_micro())
        quiet = setup.faults <= {"none"}
        span_us = 0 if quiet else max(setup.heights, 10) * FAULTS_US
        spare = self._spare(self.quorum)
        f = max(0, self.quorum.f - len(self.byzantine))
        self.plan: Plan = draw(self.rng, setup.faults, self.total, spare, f, span_us)
        drift = self.plan.drift_ppm
        self.weather = Weather(self.total, drift)
        self.governors = Governors(self, seed) if "membership" in setup.faults else None
        self.crowd = Crowd(self, seed)
        self._links = FailingLinks(setup.fail, seed)
        self._kill = dict(setup.kill)
        self._goal: Height | None = None
        """What every node must have decided in time after healing."""
        self.recorder: Callable[[ReplicaIndex, Frame], None] | None = None
        """Sees every frame as it leaves its node."""
        self._arrived: dict[tuple[int, int], int] = {}
        self._proposed_us: dict[Height, int] = {}
        self._counted: Height = 0
        self._chronicle = Chronicle(self.genesis)
        self._decided_by: dict[Height, set[ReplicaIndex]] = {}

    def _spare(self, sizes: Quorums) -> int:
        """How many more may be away for good without stopping decisions or a change of leader."""
        missed = len(self.byzantine | self._missed)
        return max(0, sizes.n - max(sizes.vote, sizes.view_change) - missed)

    # ------------------------------------------------------------ time

    def now(self, node: ReplicaIndex) -> Now:
        """Both clocks of a node."""
        return self.weather.now(node, self.time_us)

    def make_engine(self, node: ReplicaIndex) -> MakeEngine:
        """What this node runs."""
        return self._engines.get(node, Replica)

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
        self._schedule_faults()
        if self.governors is not None:
            self.after(0, self.governors.act)
        per_height = max(MAX_EVENTS_PER_HEIGHT, MAX_EVENTS_PER_LINK * self.total**2)
        limit = self.setup.heights * per_height
        try:
            while self._queue and outcome.events < limit and not self._finished():
                self.time_us, _, action = heapq.heappop(self._queue)
                outcome.events += 1
                action()
            self._require_progress()
            self._require_faults()
        except Violation as violation:
            outcome.violation = str(violation)
            outcome.forks = int(isinstance(violation, Fork))
        for node in self.nodes:
            self.note_triggers(node)
            if node.machine is not None:
                status = node.machine.engine.status()
                outcome.views = max(outcome.views, status.view)
                outcome.observers += status.lost
        outcome.heights = min(node.disk.decided for node in self._expected())
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

    def _require_faults(self) -> None:
        """A run in which nothing went wrong shows nothing."""
        if self.setup.faults <= {"membership", "none"}:
            return
        only_lies = self.setup.faults <= {"byzantine", "mutation", "membership"}
        alone = self.setup.n <= (3 if only_lies else 1)
        possible = not alone or self.setup.faults & {"crash", "clock", "power"}
        struck = self.outcome.faults or self.byzantine
        if self.plan.heal_us and possible and not struck:
            raise Violation(f"no fault of {', '.join(sorted(self.setup.faults))} struck")

    def _finished(self) -> bool:
        if self.time_us < self.plan.heal_us or self._goal is None:
            return False
        lowest = min(node.disk.decided for node in self._expected())
        if self.outcome.healed_views is None:
            waited_ms = (self.time_us - self.plan.heal_us) // 1_000
            t_view_ms = self.genesis.consensus.view_timeout_ms
            if lowest >= self._goal:
                self.outcome.healed_views = round(waited_ms / t_view_ms, 2)
            elif waited_ms > PROGRESS_VIEWS * t_view_ms:
                raise Violation(
                    f"no progress {PROGRESS_VIEWS} T_view after healing: heights "
                    f"{[node.disk.decided for node in self.nodes]}, wanted {self._goal}; "
                    f"{self._where()}"
                )
        return self.outcome.healed_views is not None and lowest >= self.setup.heights

    def _expected(self) -> list[Node]:
        """Nodes that must follow in the end: all that are honest and not gone for good."""
        gone = self.byzantine | {node for node, share in self.setup.fail if share >= PPM}
        return [n for n in self.nodes if not n.away and n.index not in gone]

    def _where(self) -> str:
        said = []
        for node in self.nodes:
            if node.machine is None:
                said.append(f"{node.index} off")
            else:
                s = node.machine.engine.status()
                said.append(
                    f"{node.index} view {s.view} {s.mode.name.lower()} {s.observer}".strip()
                )
        return "; ".join(said)

    def note_triggers(self, node: Node) -> None:
        """Count why a node has asked for views in the life that ends."""
        if node.machine is not None:
            status = node.machine.engine.status()
            self.outcome.view_changes += status.view_changes
            self.outcome.decisions.update(dict(status.decisions))
            self.outcome.fallbacks.update(dict(status.fallbacks))
            self.outcome.triggers.update(dict(status.view_triggers))

    # ------------------------------------------------------------ members and faults

    def _submit_loop(self, node: Node) -> Action:
        def submit() -> None:
            machine = node.machine
            if machine is not None:
                now = self.now(node.index)
                for raw in node.member.transactions(machine, now.unix_ms):
                    self._submit(machine, raw, now.monotonic_ms, own=True)
                self.crowd.submit(node)
                node.wake()
            self.after(SUBMIT_US + self.rng.randrange(SUBMIT_US), submit)

        return submit

    def _submit(self, machine: Machine, raw: bytes, now_ms: int, *, own: bool) -> None:
        try:
            machine.submit(raw, now_ms, own=own)
        except (Refused, InvalidTransaction):  # used, or expired on the way
            self.outcome.effects["refused_transaction"] += 1
        except BadSignature as err:
            raise Violation(f"a node has passed on what it should have refused: {err}") from err

    def _housekeeping_loop(self, node: Node) -> Action:
        def tidy() -> None:
            if node.machine is not None:
                node.machine.housekeeping(self.now(node.index).monotonic_ms)
                node.wake()
            self.after(HOUSEKEEPING_US, tidy)

        return tidy

    def _schedule_faults(self) -> None:
        plan, faults = self.plan, self.outcome.faults
        for crash in plan.crashes:
            self.after(crash.at_us, self._crash(crash))
        for at_us in plan.blackouts_us:
            self.after(at_us, self._blackout)
        for damage in plan.damages:
            image_us = damage.at_us - self.rng.randrange(damage.at_us // 2 + 1)
            self.after(image_us, self._back_up(self.nodes[damage.node]))
            self.after(damage.at_us, self._damage(damage))
        for cut in plan.cuts:
            self.after(cut.at_us, self._cut(cut))
            self.after(cut.until_us, partial(self.weather.end, cut))
        for jump in plan.jumps:
            faults["clock_jump"] += 1
            self.after(jump.at_us, partial(self.weather.jump, jump))
        self.after(plan.heal_us, self._heal)

    def _cut(self, cut: Cut) -> Action:
        def begin() -> None:
            views = [n.machine.engine.status() for n in self.nodes if n.machine is not None]
            leader = max(views, key=lambda s: (s.epoch, s.view)).leader if views else 0
            self.outcome.faults[f"cut_{cut.shape}"] += 1
            self.weather.begin(cut, leader)

        return begin

    def _blackout(self) -> None:
        """All lose power at the same instant, and come back one after the other."""
        self.outcome.faults["blackout"] += 1
        for node in self.nodes:
            if node.machine is not None:
                node.crash()
            self.after(self.rng.randrange(2_000_000), node.start)

    def _back_up(self, node: Node) -> Action:
        def copy() -> None:
            node.backup = node.disk.image()

        return copy

    def _damage(self, damage: Damage) -> Action:
        node = self.nodes[damage.node]

        def strike() -> None:
            self.outcome.faults[damage.kind] += 1
            if node.machine is not None:
                node.crash()
            if damage.kind == "rot":
                node.disk.rot("its checksum does not hold", bytes([node.index + 1]) * 32)
            elif node.backup is not None:
                node.disk = node.backup
                node.suspect = True
                self.checkers.damaged(node.index)
            self.after(self.rng.randrange(1_000_000), node.start)

        return strike

    def _heal(self) -> None:
        """No faults from here on: everybody who is not gone for good comes back."""
        self.weather.heal()
        self._goal = max(node.disk.decided for node in self.nodes) + PROGRESS_HEIGHTS
        for node in self.nodes:
            node.start()

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
        for block in effects.committed:
            if self._kill.get(node.index) == block.decision.height:
                self.after(0, self._crash(Crash(self.time_us, node.index, None)))
        honest = node.index not in self.byzantine and not node.suspect
        for frame in effects.frames:
            if honest:
                self._watch(node, machine, frame)
            self._transmit(node, frame)
        if node.index in self.byzantine:
            for block in effects.committed:
                node.disk.executed_later(block.execution)
            return
        for block in effects.committed:
            self.checkers.committed(node.index, block, machine.ledger)
            node.disk.executed_later(block.execution)
            height = block.decision.height
            if height > self._counted:
                self._counted = height
                self.outcome.epochs.update(self._chronicle.of(block.execution))
                self.outcome.transactions += len(block.execution.tx_ids)
            deciders = self._decided_by.setdefault(height, set())
            first = node.index not in deciders
            deciders.add(node.index)
            enough = first and len(deciders) == self.quorum.vote
            if enough and height in self._proposed_us:
                self.outcome.commit_us.append(self.time_us - self._proposed_us[height])
        for proof in effects.faults:
            signer, kind, epoch, *_ = charge_of(proof)
            signer = self.node_of(machine, epoch, signer)
            if signer not in self.byzantine and not self.nodes[signer].suspect:
                raise Violation(f"node {node.index} convicts honest replica {signer}: {proof}")
            self.outcome.evidence[("concealment", "vote", "commit", "proposal")[kind]] += 1

    def node_of(self, machine: Machine, epoch: Epoch, index: ReplicaIndex) -> int:
        """Which node that replica of an epoch is."""
        term = machine.terms.of(epoch)
        if term is None:
            raise Violation(f"a message of epoch {epoch}, which its sender does not know")
        return self.keys.index(term.validators.members[index].key)

    def _watch(self, node: Node, machine: Machine, frame: Frame) -> None:
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, Agree | Reply):
            height = message.height if isinstance(message, Reply) else message.certificate.height
            self.checkers.spoke_of(node.index, height, node.disk.decided)
        own = node.index
        whose = partial(self.node_of, machine)

        def signed(own: ReplicaIndex, promise: Promise) -> None:
            disk = node.disk
            self.checkers.entitled(own, machine.key, disk.name, promise)
            self.checkers.signed(own, promise, disk.promised, disk.first_height)

        match message:
            case Block(epoch, view, height, digest):
                signed(own, ("P", epoch, view, height, digest))
                signed(own, ("1", epoch, view, height, digest))
                self._proposed_us.setdefault(height, self.time_us)
            case PrePrepared(epoch, view, height, digest) if (
                whose(epoch, machine.terms.leader(epoch, view, height)) == own
            ):
                signed(own, ("P", epoch, view, height, digest))
            case Prepare(epoch, view, height, digest, signer) | Collected(
                epoch, view, height, digest, signer
            ) if whose(epoch, signer) == own:
                signed(own, ("1", epoch, view, height, digest))
            case Commit(epoch, view, height, digest, signer) if whose(epoch, signer) == own:
                signed(own, ("2", epoch, view, height, digest))
            case ViewChange(standing) if whose(standing.epoch, standing.signer) == own:
                signed(own, change_of(message))
            case NewView(epoch, view, height) if (
                whose(epoch, machine.terms.leader(epoch, view, height)) == own
            ):
                opening = opening_of(message)
                # One that has forgotten may be shown what it opened before, and pass that on.
                mute = bool(machine.engine.status().observer)
                if not (mute and self.checkers.has_opened(own, opening)):
                    signed(own, opening)
            case _:  # another replica's, passed on
                pass

    # ------------------------------------------------------------ the network

    def _transmit(self, node: Node, frame: Frame) -> None:
        for sent in (frame,) if self._tamper is None else self._tamper(node.index, frame):
            if self.recorder is not None:
                self.recorder(node.index, sent)
            others = (i for i in range(self.total) if i != node.index)
            for to in others if sent.to == "all" else sent.to:
                self._send(node.index, to, sent.type, sent.payload)

    def _send(self, sender: ReplicaIndex, to: ReplicaIndex, type_: Type, payload: bytes) -> None:
        if type_ in COUNTED:
            self.outcome.messages += 1
            self.outcome.bytes += len(payload) + 5
        rng, outcome, network = self.rng, self.outcome, self.plan.network
        if self._links and self._links.stops(sender, to, self._height_on_links()):
            outcome.faults["link_failed"] += 1
            return
        if self.weather.stops(sender, to, self.time_us):
            outcome.faults["cut_off"] += 1
            return
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

    def _height_on_links(self) -> Height:
        """The height that not all have decided whose links are sound."""
        gone = self.byzantine | {node for node, _ in self.setup.fail}
        sound = (n.disk.decided for n in self.nodes if not n.away and n.index not in gone)
        return 1 + min(sound, default=0)

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
                self._submit(machine, raw, self.now(to).monotonic_ms, own=False)
            case Txs(raws):
                self.crowd.hear(node, sender, raws)
            case Ping():
                pass
            case _:
                if machine.wants(sender, message):
                    if isinstance(message, Blocks):
                        self.outcome.catch_ups += 1
                    try:
                        machine.gate.check(message)
                    except PeerFault as err:
                        if sender not in self.byzantine:
                            what = f"node {to} refuses a message of {sender}: {err}"
                            raise Violation(what) from err
                        self.outcome.effects["refused_lie"] += 1
                        return
                    machine.receive(sender, message)
        node.wake()

    def _answer(
        self, sender: ReplicaIndex, to: ReplicaIndex, message: BlockBody | Blocks | None
    ) -> None:
        if message is not None:
            frame = Frame((to,), TYPE_OF[type(message)], encode(message))
            self._transmit(self.nodes[sender], frame)


def simulate(setup: Setup, seed: int) -> Outcome:
    """One run."""
    return Cluster(setup, seed).run()
