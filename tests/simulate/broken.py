"""Engines with one rule broken, each caught by the checkers that watch every simulated plant.

Every one is the real engine with one method of one part overridden, or with one number of its
quorums changed in its whole node, gate included. Chance catches most; for the others there are
directed adversaries (:mod:`tests.simulate.broken_schedules`). ``python -m tests.simulate.broken``
prints what it took to catch each, and what the sound engine did on the same seed or schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import msgspec

from tests.simulate import broken_schedules as schedules
from vppd.config.genesis import Engine
from vppd.consensus.boundary import (
    Input,
    Now,
    PreparedRecord,
    ProposalRecord,
    Record,
    Step,
    VoteRecord,
)
from vppd.consensus.chain import Settings
from vppd.consensus.core import Core
from vppd.consensus.messages import Certificate, NewView, ViewChange
from vppd.consensus.profile import PBFT, PROFILES, EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.safety import SafetyRecord
from vppd.consensus.selection import Selection, flaw, select
from vppd.consensus.validators import ValidatorSet
from vppd.consensus.viewchange import ViewChanger
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Outcome, Setup
from vppd.types import Height, ReplicaIndex, View

FAST: Engine = "fast"  # type: ignore[assignment]  # a profile of the tests' own, see fast_exit()
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
    miscounted: ClassVar[tuple[str, ...]] = ()
    """Quorums that are one too small in the whole node."""

    def __init__(
        self, profile: EngineProfile, settings: Settings, validators: ValidatorSet,
        own: ReplicaIndex | None,
    ) -> None:  # fmt: skip
        validators.__dict__.pop("quorum", None)  # another node may share the set
        right = validators.quorum
        wrong = {name: getattr(right, name) - 1 for name in self.miscounted}
        validators.__dict__["quorum"] = right._replace(**wrong)
        super().__init__(profile, settings, validators, own)
        self._core.__class__ = self.core
        self._changer.__class__ = self.changer
        self._core.record.__class__ = self.record


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


class DecidesOnVotes(Broken):
    """q first-round votes decide, where it takes F."""

    miscounted: ClassVar[tuple[str, ...]] = ("fast",)


# ---------------------------------------------------------------- catching them


class Case(NamedTuple):
    """A broken engine and the plant in which it is caught."""

    make_engine: type[Replica]
    n: int = 4
    engine: Engine = "pbft"
    schedule: type[schedules.Schedule] | None = None
    """The directed adversary; ``None``: chance."""

    @property
    def name(self) -> str:
        """Of the broken engine."""
        return self.make_engine.__name__


CASES = (
    Case(VotesTwice, schedule=schedules.LostProposal),
    Case(SkipsPersist),
    Case(OmitsLeaderVote),
    Case(ForgetsLock, schedule=schedules.LockAlone),
    Case(VotesBelowH0, schedule=schedules.BelowTheFirst),
    Case(ClaimsNothing),
    Case(PrefersCertificate, engine=FAST, schedule=schedules.LaterVotes),
    Case(AcceptsAnyNewView, schedule=schedules.UnboundNewView),
    Case(SmallQuorum, n=5),
    Case(LowThreshold, engine=FAST, schedule=schedules.InventedVote),
    Case(SmallViewChange),
    Case(DecidesOnVotes, engine=FAST),
)


@contextmanager
def fast_exit() -> Iterator[None]:
    """Meanwhile there is an engine ``fast``: ``pbft`` in which F first-round votes decide.

    Claims of votes, τ and their order against certificates matter to such an engine alone.
    """
    PROFILES[FAST] = msgspec.structs.replace(PBFT, name=FAST, fast_exit=True)
    try:
        yield
    finally:
        del PROFILES[FAST]


def run(case: Case, make_engine: type[Replica], seed: int) -> Outcome:
    """One seed, or the schedule, with that engine on every node."""
    with fast_exit():
        if case.schedule is not None:
            return schedules.run(case.schedule(), make_engine, seed, case.engine)
        setup = Setup(engine=case.engine, n=case.n, faults=parse_sets(FAULTS))
        return Cluster(setup, seed, dict.fromkeys(range(case.n), make_engine)).run()


def catch(case: Case) -> Outcome:
    """The first run in which a checker notices, or the last one."""
    outcome = Outcome(seed=0)
    for seed in SEEDS:
        outcome = run(case, case.make_engine, seed)
        if outcome.violation is not None:
            break
    return outcome


def main() -> None:
    """Print the table."""
    for case in CASES:
        caught = catch(case)
        sound = run(case, Replica, caught.seed)
        how = f"seed {caught.seed}" if case.schedule is None else case.schedule.__name__
        print(  # noqa: T201  # a script's output
            f"{case.name:<20} n={case.n} {case.engine:<5} {how:<16} {caught.events:>6} events: "
            f"{(caught.violation or 'NOT CAUGHT')[:110]}\n"
            f"{'  sound':<37} {how:<16} {sound.events:>6} events: {sound.violation or 'passes'}"
        )


if __name__ == "__main__":
    main()
