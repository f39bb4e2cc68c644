"""Twins: a Byzantine replica as two honest ones with one key (Bano et al., 2020).

An identity that runs twice signs two things at one place without anybody writing an attack. A
scenario says, view by view, which of the running copies can hear each other and who leads. There is
no clock, no disk and no ledger here: engines are stepped directly, messages travel in whole rounds
until nothing is under way, then every replica runs out of patience and the next view begins. What
must hold whatever the scenario: one block per height, and nobody but the doubled identities is
caught signing twice.

``vppd simulate --twins VIEWS`` runs this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import gcd
from multiprocessing import get_context
from random import Random
from typing import NamedTuple, TypeAlias

import msgspec

from vppd.config.genesis import Engine as EngineName
from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import (
    ALL,
    Applied,
    BodyRecord,
    Engine,
    Fired,
    Input,
    Now,
    Offered,
    Pending,
    Received,
    Step,
    Timer,
    TimerKind,
)
from vppd.consensus.chain import Settings
from vppd.consensus.messages import (
    Block,
    BlockBody,
    Blocks,
    Commit,
    ConsensusMessage,
    DecidedBlock,
    Equivocation,
    GetBlock,
    GetBlocks,
    Path,
    Prepare,
    ViewChange,
)
from vppd.consensus.policy import PathPolicy, PolicyMaker
from vppd.consensus.profile import profile_of
from vppd.consensus.replica import Replica
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.crypto import sha256
from vppd.errors import LocalFault
from vppd.header import VERSION, Header
from vppd.merkle import EMPTY_ROOT, merkle_root
from vppd.simulate.byzantine import unashamed
from vppd.simulate.checkers import Violation
from vppd.types import Digest, Height, ReplicaIndex, Role, View

CHAIN = sha256(b"a chain that only twins know")
STATE = sha256(b"the state after every block")
UNIX_MS = 1_750_000_000_000
MAX_HOPS = 60
"""Message delays in one view; honest replicas come to rest long before."""
CHANGES = 9
"""Message delays within which the network of a drawn scenario changes."""
LOOPS = (Block, Prepare, Commit, ViewChange)
WAITS = (TimerKind.GRACE, TimerKind.REPLICA, TimerKind.HOLD)
"""What ends a wait for everybody's vote."""

Sides: TypeAlias = tuple[bool, ...]
"""Which of two sides each running copy is on."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which plant, which identities run twice."""

    n: int = 4
    doubled: int = 1
    """Identities 0 … ``doubled`` − 1 run twice; at most f."""
    engine: EngineName = EngineName("bncm")
    path: PathSetting = "auto"
    """Where the engine has more than one; ``auto``: both in turn, and second copies of an identity
    begin with the other one, so that a leader also contradicts itself about paths."""

    @property
    def identities(self) -> tuple[ReplicaIndex, ...]:
        """Identity of every running copy; the second copies come last."""
        return (*range(self.n), *range(self.doubled))

    def splits(self) -> list[Sides]:
        """Every way to put the copies on two sides, nobody left out: 15 for 4 + 1."""
        copies = self.n + self.doubled
        return [
            tuple(bool(number >> i & 1) for i in range(copies))
            for number in range(1, 1 << copies - 1)
        ]


class Round(NamedTuple):
    """One view of a scenario."""

    leader: ReplicaIndex
    """Who leads the view of that number."""
    splits: tuple[Sides, ...]
    """One per message delay; the last one stays until nothing is under way."""
    patience: int | None = None
    """Message delays after which every wait for all votes ends; ``None``: when nothing is under
    way any more."""


Scenario: TypeAlias = tuple[Round, ...]


def size(scope: Scope, views: int) -> int:
    """How many scenarios there are with one split per view: 216,000 for 4 + 1 and three views."""
    count: int = (scope.n * len(scope.splits())) ** views
    return count


def spread(total: int, count: int) -> list[int]:
    """``count`` of the numbers below ``total``, each once, far apart; all of them if it is more.

    The step is prime to the total: a plain stride would repeat the same rounds.
    """
    step = total * 618 // 1_000 | 1
    while gcd(step, total) > 1:
        step += 2
    return [k * step % total for k in range(min(count, total))]


def numbered(scope: Scope, views: int, number: int) -> Scenario:
    """Scenario ``number`` of :func:`size`."""
    splits, rounds = scope.splits(), []
    for _ in range(views):
        number, choice = divmod(number, scope.n * len(splits))
        leader, split = divmod(choice, len(splits))
        rounds.append(Round(leader, (splits[split],)))
    return tuple(rounds)


def drawn(scope: Scope, views: int, seed: int) -> Scenario:
    """A scenario by chance; the network may also change in the middle of a view."""
    rng = Random(seed)  # noqa: S311  # reproducible chance is the point
    splits = scope.splits()
    everybody = (False,) * len(scope.identities)
    rounds = []
    for _ in range(views):
        hops = [rng.choice(splits)]
        while len(hops) < CHANGES and rng.randrange(4):
            hops.append(rng.choice((hops[-1], rng.choice(splits), everybody)))
        leader, patience = rng.randrange(scope.n), rng.choice((None, 1, 2, 3, 4))
        rounds.append(Round(leader, tuple(hops), patience))
    return tuple(rounds)


class _InTurn(PathPolicy):
    """Both paths, one after the other."""

    __slots__ = ("_turn",)

    def __init__(self, first: int) -> None:
        super().__init__("auto")
        self._turn = first

    def next(self) -> Path:
        """The path of the block that is proposed now."""
        self._turn += 1
        return Path.COLLECT if self._turn % 2 else Path.BROADCAST


class Copy:
    """One running engine of an identity, with everything around it that a node would be."""

    __slots__ = (
        "bodies", "engine", "identity", "inbox", "number", "offers", "parent", "rows", "said",
        "timers",
    )  # fmt: skip

    def __init__(self, number: int, identity: ReplicaIndex, engine: Engine) -> None:
        self.number = number
        self.identity = identity
        self.engine = engine
        self.inbox: list[Input] = []
        self.timers: dict[Timer, None] = {}
        self.bodies: dict[Digest, BodyRecord] = {}
        self.rows: list[DecidedBlock] = []
        self.parent = CHAIN
        self.offers = 0
        """Blocks it may still build in this view."""
        self.said: list[tuple[ReplicaIndex | None, ConsensusMessage]] = []
        """What waits to travel: to one identity, or to all."""

    def due(self, *kinds: TimerKind) -> list[Input]:
        """Timers of these kinds run out."""
        late = [timer for timer in self.timers if timer.kind in kinds]
        for timer in late:
            del self.timers[timer]
        return [Fired(timer) for timer in late]


class Stage:
    """All copies of one scenario, and the network between them.

    Args:
        scope: which plant.
        scenario: who leads its views; afterwards everybody leads in turn.
        make_engine: builds every engine; broken ones must be found.
    """

    def __init__(
        self, scope: Scope, scenario: Scenario, make_engine: type[Replica] = Replica
    ) -> None:
        self.scope = scope
        self._rounds = scenario
        self.ms = 0
        self.hops = 0
        self.equivocations = 0
        """Proof found against doubled identities."""
        self._chain: dict[Height, Digest] = {0: CHAIN}
        members = (
            Validator(sha256(b"twin %d" % i), Role.OPERATOR if i == 0 else Role.DER)
            for i in range(scope.n)
        )
        shipped = profile_of(scope.engine)
        # Slack for the fast path is for engines that have one.
        self.validators = ValidatorSet.of(0, members, p=None if shipped.fast_exit else 0)
        settings = Settings(chain_id=CHAIN, path=scope.path)
        self.copies: list[Copy] = []
        for number, identity in enumerate(scope.identities):
            profile = msgspec.structs.replace(shipped, schedule=self._leader)
            if scope.path == "auto":
                first = identity + (number >= scope.n)
                profile = msgspec.structs.replace(profile, policy=_in_turn(first))
            engine = make_engine(profile, settings, self.validators, identity)
            if identity < scope.doubled:
                unashamed(engine)  # else each falls silent when it hears of its double
            self.copies.append(Copy(number, identity, engine))
        for copy in self.copies:
            self._take(copy, copy.engine.start(self._now(), ()))
            start = Fired(Timer(TimerKind.START))
            self._step(copy, [start, Applied(0, STATE, EMPTY_ROOT)])

    def _leader(self, validators: ValidatorSet, view: View, height: Height) -> ReplicaIndex:
        del validators, height
        return self._rounds[view].leader if view < len(self._rounds) else view % self.scope.n

    def count(self, report: TwinsReport) -> None:
        """Decisions of all copies by the way they were reached, and why waits ended."""
        for copy in self.copies:
            status = copy.engine.status()
            report.decisions.update(dict(status.decisions))
            report.fallbacks.update(dict(status.fallbacks))

    @property
    def heights(self) -> list[Height]:
        """What each copy has decided."""
        return [len(copy.rows) for copy in self.copies]

    @property
    def views(self) -> list[View]:
        """Where each copy stands."""
        return [copy.engine.status().view for copy in self.copies]

    def run(self) -> None:
        """Every round of the scenario.

        Raises:
            Violation: an invariant does not hold.
        """
        for round_ in self._rounds:
            self.play(round_.splits, round_.patience)

    def heal(self) -> None:
        """Everybody hears everybody, doubled identities included: soon all decide one more.

        Raises:
            Violation: they do not, or an invariant does not hold.
        """
        everybody = ((False,) * len(self.copies),)
        goal = max(self.heights) + 1
        for _ in range(max(self.views) - min(self.views) + 2 * self.scope.n):
            self.play(everybody)
            if min(self.heights) >= goal:
                return
        raise Violation(f"no progress: heights {self.heights} of {goal}, views {self.views}")

    # ------------------------------------------------------------ one view

    def play(self, splits: Sequence[Sides], patience: int | None = None) -> None:
        """One view: patience runs out (but for the first one), then messages travel.

        Args:
            splits: one per message delay, at least one; the last one stays.
            patience: message delays after which waits end, if that is not when all is quiet.

        Raises:
            Violation: an invariant does not hold.
        """
        first, self.ms = self.ms == 0, self.ms + 1_000
        for copy in self.copies:
            copy.offers = 1
            late: list[Input] = [Pending(self.ms)]  # there is always work
            if not first:
                late = copy.due(TimerKind.VIEW, TimerKind.CHANGE, TimerKind.FETCH)
            self._step(copy, [*late, Fired(Timer(TimerKind.TICK))])
        reminded = False
        for hop in range(MAX_HOPS):
            if hop == patience:
                self._run_out(*WAITS)
            if self._deliver(splits[min(hop, len(splits) - 1)]) or self._run_out(*WAITS):
                continue
            # What did not come is asked for elsewhere, once.
            if reminded or not self._run_out(TimerKind.CHOICE, TimerKind.FETCH):
                return
            reminded = True
        raise Violation(f"the copies never come to rest: {self.heights}")

    def _run_out(self, *kinds: TimerKind) -> bool:
        """Timers of these kinds run out everywhere; whether there were any."""
        ran = False
        for copy in self.copies:
            if late := copy.due(*kinds):
                ran = True
                self._step(copy, late)
        return ran

    def _deliver(self, sides: Sides) -> bool:
        """One message delay; whether anything travelled."""
        travelled = False
        for sender in self.copies:
            said, sender.said = sender.said, []
            for to, message in said:
                for copy in self.copies:
                    if copy is sender:
                        if to is None and isinstance(message, LOOPS):
                            copy.inbox.append(Received(sender.identity, message))
                    elif (
                        to in (None, copy.identity)
                        and copy.identity != sender.identity  # a copy never hears its double
                        and sides[copy.number] == sides[sender.number]
                    ):
                        self._hand_over(sender, copy, message)
        for copy in self.copies:
            if copy.inbox:
                travelled = True
                inputs, copy.inbox = copy.inbox, []
                self._step(copy, inputs)
        self.hops += travelled
        return travelled

    def _hand_over(self, sender: Copy, copy: Copy, message: ConsensusMessage) -> None:
        match message:
            case GetBlock(digest):
                held = copy.bodies.get(digest)
                if held is not None:
                    at = (0, held.view, held.height)
                    body = BlockBody(*at, digest, held.header, held.txs, held.proposal_sig)
                    sender.inbox.append(Received(copy.identity, body))
            case GetBlocks(first):
                if first <= len(copy.rows):
                    rows = tuple(copy.rows[first - 1 :])
                    sender.inbox.append(Received(copy.identity, Blocks(rows)))
            case _:
                copy.inbox.append(Received(sender.identity, message))

    # ------------------------------------------------------------ one copy

    def _now(self) -> Now:
        return Now(self.ms, UNIX_MS + self.ms)

    def _step(self, copy: Copy, inputs: list[Input]) -> None:
        try:
            self._take(copy, copy.engine.step(self._now(), inputs))
        except LocalFault as fault:
            raise Violation(f"copy {copy.number} stops: {fault}") from fault

    def _take(self, copy: Copy, step: Step) -> None:
        for record in step.persist:
            if isinstance(record, BodyRecord):
                copy.bodies[record.digest] = record
        for to, message in step.send:
            if to == ALL:
                copy.said.append((None, message))
            else:
                copy.said += ((index, message) for index in to)
        for timer, delay_ms in step.timers:
            if delay_ms is None:
                copy.timers.pop(timer, None)
            else:
                copy.timers[timer] = None
        for proof in step.faults:
            signer = proof.signer if isinstance(proof, Equivocation) else proof.standing.signer
            if signer >= self.scope.doubled:
                raise Violation(f"copy {copy.number} has proof against replica {signer}: {proof}")
            self.equivocations += 1
        if copy.identity >= self.scope.doubled and copy.engine.status().observer:
            raise Violation(f"copy {copy.number} gives up: {copy.engine.status().observer}")
        for decision in step.commit:
            height, digest = decision.height, decision.digest
            known = self._chain.setdefault(height, digest)
            if known != digest:
                raise Violation(
                    f"fork at height {height}: copy {copy.number} decided {digest.hex()[:16]}, "
                    f"others {known.hex()[:16]}"
                )
            copy.parent = digest
            copy.rows.append(DecidedBlock(decision.header, decision.txs, decision.certificate))
            self._step(copy, [Applied(height, STATE, EMPTY_ROOT)])
        if step.want == len(copy.rows) + 1 and copy.offers:
            copy.offers -= 1
            self._step(copy, [self._build(copy, step.want)])

    def _build(self, copy: Copy, height: Height) -> Offered:
        """A block only this copy would build."""
        txs = (b"built by copy %d at %d" % (copy.number, self.ms),)
        header = Header(
            version=VERSION,
            chain_id=CHAIN,
            epoch=0,
            height=height,
            parent=copy.parent,
            time_ms=UNIX_MS + self.ms + height,  # later than its parent, in one view too
            proposer=self.validators.members[copy.identity].key,
            tx_root=merkle_root(txs),
            state_root=STATE,
            receipts_root=EMPTY_ROOT,
            next_validators=self.validators.digest,
            tx_count=1,
            body_bytes=len(txs[0]),
        )
        return Offered(header.encode(), txs)


def _in_turn(first: int) -> PolicyMaker:
    return lambda _: _InTurn(first)


class TwinsReport(msgspec.Struct, kw_only=True):
    """What some scenarios showed; the JSON of ``vppd simulate --twins -o json`` (docs/json.md)."""

    scenarios: int = 0
    violations: list[dict[str, int | str]] = msgspec.field(default_factory=list)
    """Per violation: scenario (its number, or the seed that drew it) and what."""
    decided: int = 0
    """Scenarios in which somebody decided something."""
    heights: int = 0
    """Highest decision of each, summed."""
    views: int = 0
    """Highest view of each, summed."""
    convicted: int = 0
    """Scenarios in which somebody proved that an identity runs twice."""
    decisions: Counter[str] = msgspec.field(default_factory=Counter)
    """Of all copies, by path: as in ``vppd simulate``."""
    fallbacks: Counter[str] = msgspec.field(default_factory=Counter)
    """Waits that a copy gave up, by cause."""
    message_delays: int = 0
    scenarios_per_s: int = 0
    """Per core."""

    def add(self, other: TwinsReport) -> None:
        """Sum up."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def run_numbered(scope: Scope, views: int, numbers: Sequence[int]) -> TwinsReport:
    """Scenarios with one split per view, by their numbers below :func:`size`."""
    report = TwinsReport()
    for number in numbers:
        play(Stage(scope, numbered(scope, views, number)), number, report, heal=False)
    return report


def run_drawn(scope: Scope, views: int, seeds: Sequence[int]) -> TwinsReport:
    """Scenarios by chance, healed at the end: then there must be progress."""
    report = TwinsReport()
    for seed in seeds:
        play(Stage(scope, drawn(scope, views, seed)), seed, report, heal=True)
    return report


def play(stage: Stage, number: int, report: TwinsReport, *, heal: bool) -> None:
    """One scenario, into ``report``."""
    report.scenarios += 1
    try:
        stage.run()
        report.views += max(stage.views)
        report.heights += max(stage.heights)
        report.decided += max(stage.heights) > 0
        report.convicted += stage.equivocations > 0
        if heal:
            stage.heal()
    except Violation as violation:
        report.violations.append({"scenario": number, "what": str(violation)})
    stage.count(report)
    report.message_delays += stage.hops


def run_twins(
    scope: Scope, views: int, scenarios: Sequence[int], jobs: int, *, by_chance: bool
) -> Iterator[TwinsReport]:
    """Reports on parts of the scenarios, as they come.

    Args:
        scope: which plant.
        views: per scenario.
        scenarios: numbers below :func:`size`, or seeds if ``by_chance``.
        jobs: processes.
        by_chance: whether scenarios are drawn, and healed at the end.
    """
    run = partial(run_drawn if by_chance else run_numbered, scope, views)
    step = max(1, min(500, len(scenarios) // (8 * jobs)))
    parts = [scenarios[i : i + step] for i in range(0, len(scenarios), step)]
    if jobs <= 1:
        yield from map(run, parts)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, parts)
