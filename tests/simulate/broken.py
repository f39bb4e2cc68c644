"""Engines with one rule broken, each caught by the checkers that watch every simulated plant.

Every one is the real engine with one method of one part overridden, or with one number of its
quorums changed in its whole node, gate included. Chance catches most; for the others there are
directed adversaries (:mod:`tests.simulate.broken_schedules`). ``python -m tests.simulate.broken``
prints what it took to catch each, and what the sound engine did on the same seed or schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec

from tests.simulate import broken_schedules as schedules
from tests.simulate.plants import Plant
from vppd.consensus.boundary import (
    ALL,
    DecisionRecord,
    Input,
    Now,
    PreparedRecord,
    ProposalRecord,
    Record,
    Seat,
    Step,
    VoteRecord,
)
from vppd.consensus.chain import Body, Settings
from vppd.consensus.core import Core
from vppd.consensus.fallback import Fallback
from vppd.consensus.flight import Cause, Flight
from vppd.consensus.messages import (
    Certificate,
    Collected,
    NewView,
    Path,
    PrePrepared,
    ViewChange,
)
from vppd.consensus.profile import EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.safety import SafetyRecord
from vppd.consensus.selection import Selection, flaw, select
from vppd.consensus.validators import ValidatorSet
from vppd.consensus.viewchange import ViewChanger
from vppd.crypto import sha256
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.forge import shortened
from vppd.simulate.outcome import Outcome
from vppd.types import Digest, Height, ReplicaIndex, View

SEEDS = range(1, 21)
"""Within so many seeds chance must strike."""
FAULTS = "network,crash,partition,power,byzantine"


class Broken(Replica):
    """The real engine, some of whose parts are of another class.

    It builds its parts itself, and a part of a subclass differs in its methods alone: so the part
    that was built changes its class.
    """

    core: ClassVar[type[Core]] = Core
    changer: ClassVar[type[ViewChanger]] = ViewChanger
    record: ClassVar[type[SafetyRecord]] = SafetyRecord
    fallback: ClassVar[type[Fallback]] = Fallback
    miscounted: ClassVar[tuple[str, ...]] = ()
    """Quorums that are one too small in the whole node."""

    def _sit_down(self, seat: Seat) -> None:
        validators = seat.validators
        validators.__dict__.pop("quorum", None)  # another node may share the set
        right = validators.quorum
        wrong = {name: getattr(right, name) - 1 for name in self.miscounted}
        validators.__dict__["quorum"] = right._replace(**wrong)
        super()._sit_down(seat)
        self._core.__class__ = self.core
        self._changer.__class__ = self.changer
        self._core.record.__class__ = self.record
        self._core.fallback.__class__ = self.fallback


# ---------------------------------------------------------------- promises


class _ForgetfulCore(Core):
    def resume(self, log: Sequence[Record]) -> None:
        super().resume([r for r in log if not isinstance(r, VoteRecord | ProposalRecord)])


class VotesTwice(Broken):
    """After a restart it does not know what it voted for and proposed."""

    core: ClassVar[type[Core]] = _ForgetfulCore


class SkipsPersist(Replica):
    """Its promises are not in ``Step.persist``."""

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        return self._hasty(super().start(now, log))

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        return self._hasty(super().step(now, inputs))

    def _hasty(self, step: Step) -> Step:
        promises = (VoteRecord, ProposalRecord, PreparedRecord)
        return step._replace(persist=tuple(r for r in step.persist if not isinstance(r, promises)))


class VoteForTheLeaderUnkept(Replica):
    """What goes to the leader alone it does not take for a promise."""

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        step = super().step(now, inputs)
        if any(isinstance(send.message, Collected) for send in step.send):
            kept = tuple(r for r in step.persist if not isinstance(r, VoteRecord))
            step = step._replace(persist=kept)
        return step


class AgreesEarly(Replica):
    """What it has decided it writes with its next step, and tells the others in this one."""

    def __init__(
        self, profile: EngineProfile, settings: Settings, validators: ValidatorSet,
        own: ReplicaIndex | None,
    ) -> None:  # fmt: skip
        super().__init__(profile, settings, validators, own)
        self._late = Step()

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        step = super().step(now, inputs)
        rows = tuple(r for r in step.persist if isinstance(r, DecisionRecord))
        rest = tuple(r for r in step.persist if not isinstance(r, DecisionRecord))
        late, self._late = self._late, Step(persist=rows, commit=step.commit)
        return step._replace(persist=(*late.persist, *rest), commit=late.commit)


class _OwnVoteOmitted(Core):
    def promise(self, *records: Record) -> None:
        if any(isinstance(r, ProposalRecord) for r in records):
            records = tuple(r for r in records if not isinstance(r, VoteRecord))
        super().promise(*records)


class OmitsLeaderVote(Broken):
    """A leader keeps its proposal, but not the vote that goes with it."""

    core: ClassVar[type[Core]] = _OwnVoteOmitted


class _LocklessCore(Core):
    def resume(self, log: Sequence[Record]) -> None:
        super().resume([r for r in log if not isinstance(r, PreparedRecord)])


class _Lockless(ViewChanger):
    def start(self, view: View, why: str) -> None:
        record = self._core.record
        prepared, record.prepared = record.prepared, None
        super().start(view, why)
        record.prepared = prepared


class ForgetsLock(Broken):
    """Its view changes and its restarts do not know its prepared certificate."""

    core: ClassVar[type[Core]] = _LocklessCore
    changer: ClassVar[type[ViewChanger]] = _Lockless


class _OpenRecord(SafetyRecord):
    __slots__ = ()

    def opens(self, view: View, height: Height) -> bool:
        del view, height
        return True


class VotesBelowH0(Broken):
    """In a new view it votes at heights that the view may not decide."""

    record: ClassVar[type[SafetyRecord]] = _OpenRecord


# ---------------------------------------------------------------- the end of a wait


class _ForAnother(Fallback):
    __slots__ = ()

    def hurry(self, cause: Cause) -> None:
        core, flight = self._core, self._core.waiting.flight
        collecting = flight is not None and flight.collects and not flight.leads
        if flight is None or not collecting or not core.may(flight.at.view, flight.at.height):
            super().hurry(cause)
            return
        core.waiting.slow(cause)
        other = sha256(flight.digest)
        core.promise(VoteRecord(*flight.at, other))
        self._out.send(ALL, core.own_vote(flight.at, other))


class FallsBackToAnother(Broken):
    """Who has voted to the leader in vain votes to everybody, for another block."""

    fallback: ClassVar[type[Fallback]] = _ForAnother


class _FromTheStart(Fallback):
    __slots__ = ()

    def hurry(self, cause: Cause) -> None:
        core, flight = self._core, self._core.waiting.flight
        if flight is None or cause is not Cause.GRACE:
            super().hurry(cause)
            return
        at, txs = flight.at, core.bodies[flight.digest].txs
        header = core.bodies[flight.digest].header
        header = header._replace(time_ms=header.time_ms + 1)
        digest = header.digest()
        core.bodies.add(digest, Body(header, header.encode(), txs, at.view, b""))
        core.bodies.keep(digest)
        core.promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))
        begun = Flight(at, digest, Path.BROADCAST, core.now.monotonic_ms, leads=True)
        core.waiting.begin(begun)
        core.proposer.send(digest)


class ProposesAgain(Broken):
    """A leader whose grace has run out begins the height from the start, as published."""

    fallback: ClassVar[type[Fallback]] = _FromTheStart


class _OneVoteLess(Fallback):
    __slots__ = ()

    def _held(self, flight: Flight) -> Certificate | None:
        held = super()._held(flight)
        return None if held is None else shortened(held)


class ShowsTooFew(Broken):
    """A leader ends the wait with q − 1 votes."""

    fallback: ClassVar[type[Fallback]] = _OneVoteLess


class _Unbound(Fallback):
    __slots__ = ()

    def on_pre_prepared(self, message: PrePrepared) -> None:
        core, flight = self._core, self._core.waiting.flight
        if flight is not None and message.prepared is None and flight.at.height == message.height:
            core.promise(VoteRecord(*flight.at, message.digest))
            self._out.send(ALL, core.own_vote(flight.at, message.digest))
            return
        super().on_pre_prepared(message)


class ObeysTheLeader(Broken):
    """Whatever block the leader ends the wait with, it prepares that."""

    fallback: ClassVar[type[Fallback]] = _Unbound


# ---------------------------------------------------------------- the change of view


class _Claimless(ViewChanger):
    def start(self, view: View, why: str) -> None:
        record = self._core.record
        vote, record.vote = record.vote, None
        super().start(view, why)
        record.vote = vote


class ClaimsNothing(Broken):
    """Its view changes do not say what it voted for."""

    changer: ClassVar[type[ViewChanger]] = _Claimless


class _CertificateFirst(ViewChanger):
    def _bound_by(self, chosen: list[ViewChange]) -> tuple[Certificate | None, Selection]:
        prepared, right = super()._bound_by(chosen)
        return prepared, right if prepared is None else right._replace(choice=prepared.digest)

    def _flaw(self, message: NewView) -> str:
        if message.prepared is not None and message.choice == message.prepared.digest:
            right = select(message.standings, message.prepared, self._quorum)
            message = msgspec.structs.replace(message, choice=right.choice)
        return flaw(message, self._quorum)


class PrefersCertificate(Broken):
    """A prepared certificate beats votes of later views."""

    changer: ClassVar[type[ViewChanger]] = _CertificateFirst


class _Credulous(ViewChanger):
    def _flaw(self, message: NewView) -> str:
        del message
        return ""


class AcceptsAnyNewView(Broken):
    """It follows every new view that its leader has signed."""

    changer: ClassVar[type[ViewChanger]] = _Credulous


# ---------------------------------------------------------------- counting


class SmallQuorum(Broken):
    """q = 2f+1 at n = 5: three votes instead of four."""

    miscounted: ClassVar[tuple[str, ...]] = ("vote",)


class LowThreshold(Broken):
    """τ − 1 claims force a digest."""

    miscounted: ClassVar[tuple[str, ...]] = ("claim",)


class SmallViewChange(Broken):
    """w − 1 view changes open a view."""

    miscounted: ClassVar[tuple[str, ...]] = ("view_change",)


class DecidesOnFewer(Broken):
    """F − 1 first-round votes decide."""

    miscounted: ClassVar[tuple[str, ...]] = ("fast",)


# ---------------------------------------------------------------- epochs


class _AnyName(SafetyRecord):
    __slots__ = ()

    def speaks(self, nonce: Digest) -> bool:
        del nonce
        return True


class IgnoresNonce(Broken):
    """It votes wherever its key is listed, whatever memory the epoch means."""

    record: ClassVar[type[SafetyRecord]] = _AnyName


class VotesAfterRemoval(Broken):
    """An epoch without it leaves it the index it had."""

    def _sit_down(self, seat: Seat) -> None:
        before = getattr(self, "_core", None)
        if seat.own is None and before is not None and before.own is not None:
            seat = seat._replace(own=min(before.own, len(seat.validators.members) - 1))
        super()._sit_down(seat)


class _Unending(Core):
    def _begin(self) -> None:
        record = self.record
        kept = record.epoch, record.view, record.mode
        super()._begin()
        if kept[0] < record.epoch:
            _, record.view, record.mode = kept


class NoReset(Broken):
    """It enters an epoch in the view in which it left the one before."""

    core: ClassVar[type[Core]] = _Unending
    record: ClassVar[type[SafetyRecord]] = _OpenRecord


# ---------------------------------------------------------------- catching them


class Case(NamedTuple):
    """A broken engine and the plant in which it is caught."""

    make_engine: type[Replica]
    plant: Plant
    n: int = 4
    schedule: type[schedules.Schedule] | None = None
    """The directed adversary; ``None``: chance."""
    faults: str = FAULTS
    joiners: int = 0
    """Nodes that may be admitted, where members change."""

    def __str__(self) -> str:
        return f"{self.make_engine.__name__}-{self.plant}-{self.n}"


PBFT, COLLECT, BROADCAST = Plant("pbft"), Plant("bncm", "collect"), Plant("bncm", "broadcast")
EVERYWHERE = (PBFT, COLLECT, BROADCAST)
FAST = (COLLECT, BROADCAST)
ELECTED = (Plant("dpos"),)
COME_AND_GO = "membership,network,crash,partition,storage"


def _cases(
    make_engine: type[Replica],
    plants: Sequence[Plant],
    n: int = 4,
    schedule: type[schedules.Schedule] | None = None,
    faults: str = FAULTS,
    joiners: int = 0,
) -> tuple[Case, ...]:
    return tuple(Case(make_engine, p, n, schedule, faults, joiners) for p in plants)


CASES = (
    *_cases(VotesTwice, EVERYWHERE, schedule=schedules.LostProposal),
    *_cases(SkipsPersist, EVERYWHERE),
    *_cases(VoteForTheLeaderUnkept, (COLLECT,)),
    *_cases(AgreesEarly, (COLLECT,)),
    *_cases(OmitsLeaderVote, EVERYWHERE),
    *_cases(ForgetsLock, EVERYWHERE, schedule=schedules.LockAlone),
    *_cases(VotesBelowH0, EVERYWHERE, schedule=schedules.BelowTheFirst),
    *_cases(FallsBackToAnother, (COLLECT,)),
    *_cases(ProposesAgain, (COLLECT,)),
    *_cases(ShowsTooFew, (COLLECT,)),
    *_cases(ObeysTheLeader, (COLLECT,), schedule=schedules.EndForAnother),
    *_cases(ClaimsNothing, (PBFT, BROADCAST)),
    *_cases(ClaimsNothing, (COLLECT,), schedule=schedules.AgreeLost),
    *_cases(PrefersCertificate, FAST, schedule=schedules.LaterVotes),
    *_cases(AcceptsAnyNewView, EVERYWHERE, schedule=schedules.UnboundNewView),
    *_cases(SmallQuorum, EVERYWHERE, n=5),
    *_cases(LowThreshold, FAST, schedule=schedules.InventedVote),
    *_cases(SmallViewChange, EVERYWHERE),
    *_cases(DecidesOnFewer, FAST),
    *_cases(DecidesOnFewer, FAST, n=7),
    *_cases(VotesTwice, ELECTED),
    *_cases(SkipsPersist, ELECTED),
    *_cases(OmitsLeaderVote, ELECTED),
    *_cases(ClaimsNothing, ELECTED),
    *_cases(SmallQuorum, ELECTED, n=5),
    *_cases(SmallViewChange, ELECTED),
    *_cases(IgnoresNonce, (PBFT, BROADCAST), faults=COME_AND_GO, joiners=3),
    *_cases(VotesAfterRemoval, (PBFT, BROADCAST), faults=COME_AND_GO, joiners=3),
    *_cases(NoReset, (PBFT, BROADCAST), faults=COME_AND_GO, joiners=3),
    *_cases(NoReset, ELECTED),
)


def run(case: Case, make_engine: type[Replica], seed: int) -> Outcome:
    """One seed, or the schedule, with that engine on every node."""
    if case.schedule is not None:
        return schedules.run(case.schedule(), make_engine, seed, case.plant)
    faults, joiners = parse_sets(case.faults), case.joiners
    setup = case.plant.setup(n=case.n, faults=faults, joiners=joiners)
    return Cluster(setup, seed, dict.fromkeys(range(case.n + joiners), make_engine)).run()


def catch(case: Case) -> Outcome:
    """The first run in which a checker notices, or the last one."""
    outcome = Outcome(seed=0)
    for seed in SEEDS:
        outcome = run(case, case.make_engine, seed)
        if outcome.violation is not None:
            break
    return outcome


def main() -> None:
    """Print the table; fails unless all are caught, and the sound engine never."""
    wrong = 0
    for case in CASES:
        caught = catch(case)
        sound = run(case, Replica, caught.seed)
        how = f"seed {caught.seed}" if case.schedule is None else case.schedule.__name__
        wrong += caught.violation is None or sound.violation is not None
        print(  # noqa: T201  # a script's output
            f"{case!s:<42} {how:<14} {caught.events:>6} events: "
            f"{(caught.violation or 'NOT CAUGHT')[:110]}\n"
            f"{'  sound':<42} {how:<14} {sound.events:>6} events: {sound.violation or 'passes'}",
            flush=True,
        )
    print(f"{len(CASES)} cases, {wrong} wrong")  # noqa: T201
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
