"""protocol.md, Appendix A: the traces that break weaker protocols, each under its name there.

``s6`` and ``s7`` are in test_epochs.py, ``s4`` once more with decided epochs; ``l9`` is in
test_dpos.py.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.consensus.group import Group, new_views
from tests.consensus.harness import CHAIN, STATE, block, header, kept, prepare, signature
from vppd.consensus.boundary import (
    Applied,
    DecisionRecord,
    NewViewRecord,
    ObserverRecord,
    Pending,
    PreparedRecord,
    ProposalRecord,
    Record,
    TimerKind,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Claim,
    Commit,
    NewView,
    Prepare,
    Standing,
    ViewChange,
)
from vppd.consensus.profile import PBFT
from vppd.consensus.quorum import quorums
from vppd.consensus.schedule import every_der_once, operators_first
from vppd.consensus.selection import Selection, flaw, select
from vppd.header import Header
from vppd.merkle import EMPTY_ROOT
from vppd.types import Mode

FAST = msgspec.structs.replace(PBFT, fast_exit=True)
"""F first-round votes decide at once: where claims of votes have to carry the block."""
OPERATORS = msgspec.structs.replace(
    PBFT, schedule=operators_first, rotation=every_der_once, hands_back=True
)


def standing(
    signer: int, view: int, *, decided: int = 0, vote: Claim | None = None,
    prepared: Claim | None = None,
) -> Standing:  # fmt: skip
    sig = signature(signer, ("V", view))
    return Standing(0, view, signer, decided, CHAIN, vote, prepared, sig)


def change(signer: int, view: int, vote: Claim | None = None) -> ViewChange:
    return ViewChange(standing(signer, view, vote=vote), None, None)


def certificate(kind: CertificateKind, made: Header, view: int, signers: list[int]) -> Certificate:
    signed = {i: signature(i, (kind, view)) for i in signers}
    return assemble(kind, 0, view, made.height, made.digest(), signed, 4, len(signers))


def observer_reason(group: Group, index: int) -> str:
    replica = group.members[index].replica
    assert replica is not None
    return replica.status().observer


# ---------------------------------------------------------------- safety


def test_s1_vote_below_h0() -> None:
    """A and B accept a new view with H0 = 2 while they still stand at height 0."""
    group = Group()
    decided = header(group.validators)
    shown = (
        standing(0, 1, decided=1),
        standing(1, 1, vote=Claim(0, decided.digest())),
        standing(3, 1, vote=Claim(0, decided.digest())),
    )
    proof = certificate(CertificateKind.COMMIT, decided, 0, [0, 1, 3])
    opened = NewView(0, 1, 2, None, shown, proof, None, signature(1, "N"))
    group.isolate(2)
    group.tell(2, opened, sender=1)
    assert (group.views()[2], group.modes()[2]) == (1, Mode.NORMAL)
    other = header(group.validators, txs=(b"other",), proposer=group.validators.members[1].key)
    group.tell(2, block(other, (b"other",), view=1, leader=1), sender=1)
    group.tell(2, *(prepare(i, other, view=1) for i in (0, 1, 3)), sender=1)
    assert not [v for v in group.said(2, Prepare) if v.view == 1]
    assert not [v for v in group.said(2, Commit) if v.view == 1]


def test_s2_leader_own_vote() -> None:
    """The leader's own vote is in the same record as its proposal, and in its view change."""
    group = Group(4, FAST)
    group.isolate(0)
    group.work(0)
    step = next(s for s in group.members[0].steps if kept(s, ProposalRecord))
    (proposal,), (vote,) = kept(step, ProposalRecord), kept(step, VoteRecord)
    assert (proposal.view, proposal.height, proposal.digest) == (0, 1, vote.digest)
    group.power_off(0)
    group.power_on(0)
    group.fire(TimerKind.START, 0)
    group.work(0)
    group.fire(TimerKind.VIEW, 0)
    (asked,) = group.said(0, ViewChange)
    assert asked.standing.vote == Claim(0, vote.digest)


def test_s3_decision_before_next_vote() -> None:
    """The decision of n is on disk before the vote slot is overwritten by n+1."""
    group = Group()
    group.decide(3)
    for member in group.members:
        decided = 0
        for record in member.log:
            match record:
                case DecisionRecord():
                    decided = record.height
                case VoteRecord() | ProposalRecord():
                    assert record.height == decided + 1
                case PreparedRecord():
                    assert record.certificate.height == decided + 1
                case _:
                    pass


def test_s4_amnesia_reentry() -> None:
    """A disk is lost; the whole chain comes again; the node follows it and never votes."""
    group = Group()
    group.decide(3)
    group.power_off(2)
    said = len(group.said(2, Prepare)) + len(group.said(2, Commit))
    group.power_on(2, [ObserverRecord("the store was lost", bytes([7]) * 32)])
    group.fire(TimerKind.START, 2)
    group.tick(3)
    group.decide(2)
    group.tick(2)
    assert group.heights() == [5, 5, 5, 5]
    group.power_off(2)
    group.power_on(2)  # a restart changes nothing
    group.fire(TimerKind.START, 2)
    group.decide(1)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    assert len(group.said(2, Prepare)) + len(group.said(2, Commit)) == said
    assert not group.said(2, ViewChange)
    assert observer_reason(group, 2) == "the store was lost"


def test_s4_amnesia_is_found_by_the_others() -> None:
    """An empty record under an old key: the peers show what it signed before."""
    group = Group()
    group.decide(3)
    group.power_off(2)
    group.power_on(2, [])
    group.fire(TimerKind.START, 2)
    assert "its record is older" in observer_reason(group, 2)


def test_s5_lock_ahead() -> None:
    """A replica at height 0 sees q votes at height 2: it must not commit there."""
    group = Group()
    group.isolate(2)
    first = header(group.validators)
    second = header(group.validators, 2, first.digest(), (b"second",))
    group.tell(2, block(second, (b"second",)), sender=0)
    group.tell(2, *(prepare(i, second) for i in (0, 1, 3)), sender=0)
    assert not group.said(2, Commit)
    assert not [r for r in group.members[2].log if isinstance(r, PreparedRecord)]


def test_s8_nv_claims_outside_r_do_not_count() -> None:
    """(a) A genuine prepared claim of one who stands lower is no reason to refuse."""
    quorum = quorums(4)
    made = header(Group().validators)
    shown = (
        standing(0, 5, decided=1),
        standing(1, 5, decided=0, prepared=Claim(4, made.digest())),
        standing(2, 5, decided=1),
    )
    decision = certificate(CertificateKind.COMMIT, made, 0, [0, 1, 2])
    opened = NewView(0, 5, 2, None, shown, decision, None, signature(1, "N"))
    assert flaw(opened, quorum) == ""


def test_s8_nv_claims_unproved_at_the_highest_view() -> None:
    """(b) A claim of another digest at v* makes the whole new view worthless."""
    quorum = quorums(4)
    one, two = bytes([1]) * 32, bytes([2]) * 32
    proved = Certificate(CertificateKind.PREPARED, 0, 3, 1, one, b"\x07", (bytes(64),) * 3)
    for lie in (Claim(3, two), Claim(4, two)):
        shown = (
            standing(0, 5, prepared=Claim(3, one)),
            standing(1, 5),
            standing(2, 5, prepared=lie),
        )
        opened = NewView(0, 5, 1, one, shown, None, proved, signature(1, "N"))
        assert "replica 2 claims" in flaw(opened, quorum)


def test_a_vote_claimed_by_enough_beats_an_older_certificate_and_loses_to_a_newer_one() -> None:
    quorum = quorums(4)
    old, new = bytes([1]) * 32, bytes([2]) * 32
    votes = [standing(i, 5, vote=Claim(2, new)) for i in (0, 1)]
    third = standing(2, 5)

    def proved(view: int) -> Certificate:
        return Certificate(CertificateKind.PREPARED, 0, view, 1, old, b"\x07", (bytes(64),) * 3)

    assert select([*votes, third], None, quorum) == Selection(1, new)
    assert select([*votes, third], proved(1), quorum) == Selection(1, new)
    assert select([*votes, third], proved(2), quorum) == Selection(1, old)
    assert select([votes[0], third, standing(3, 5)], None, quorum) == Selection(1, None)


def test_the_worked_example() -> None:
    """§14: O and A decide by four votes; C lies; B, opening view 3, must re-propose the block."""
    group = Group(4, FAST)
    group.cut |= {(0, 2), (0, 3)}  # what O decides, B and C do not hear of
    group.dropped |= {Commit, Agree}
    group.work(0)
    assert group.heights()[0] in (0, 1)
    (proposed,) = group.said(0, Block)[:1]
    shown = [
        standing(0, 3, vote=Claim(0, proposed.digest)),
        standing(2, 3, vote=Claim(0, proposed.digest)),
        standing(3, 3, vote=Claim(2, bytes([9]) * 32)),
    ]
    assert select(shown, None, quorums(4)) == Selection(1, proposed.digest)


# ---------------------------------------------------------------- liveness


def test_l1_vc_deadlock() -> None:
    """D silent; A and C ask for view 1, B for view 2: later views count for T_vc."""
    group = Group()
    group.power_off(1)  # the leader of view 1
    group.dropped |= {ViewChange, Block}
    group.work(0, 2, 3)
    group.fire(TimerKind.VIEW, 0, 2, 3)
    group.tell(2, change(0, 1), change(3, 1))
    group.fire(TimerKind.CHANGE, 2)
    assert group.views() == [1, 2, 1]
    for index, other in ((0, 3), (3, 0)):
        group.tell(index, change(2, 2))
        assert not group.armed(index, TimerKind.CHANGE)
        group.tell(index, change(other, 1))
        assert group.armed(index, TimerKind.CHANGE), "the timer runs on views ≥ v′"


def test_l3_fake_work() -> None:
    """A bare vote for an invented digest is no work."""
    group = Group()
    group.isolate(2)
    invented = header(group.validators, txs=(b"nobody has this",))
    group.tell(2, prepare(3, invented), sender=3)
    assert not group.armed(2, TimerKind.VIEW)
    group.give(2, Pending(None))
    assert not group.armed(2, TimerKind.VIEW)


def test_l4_time_trigger() -> None:
    """A time trigger that is overdue is work, and a block that creeps past it stops nothing."""
    group = Group()
    due = group.next_due_ms = group.now().unix_ms + 500
    for member in group.members:
        group.give(member.index, Applied(0, STATE, EMPTY_ROOT, next_due_ms=due))
    assert not group.armed(2, TimerKind.VIEW)
    group.isolate(0)
    group.ms += 3_000
    group.tick()
    assert group.armed(2, TimerKind.VIEW)
    member = group.members[2]
    steps = len(member.steps)
    creeping = header(group.validators)  # decided, but its time is before the trigger
    proof = certificate(CertificateKind.COMMIT, creeping, 0, [0, 1, 3])
    group.tell(2, block(creeping), Agree(proof), sender=0)
    assert group.heights()[2] == 1
    touched = [t for s in member.steps[steps:] for t, _ in s.timers if t.kind is TimerKind.VIEW]
    assert not touched, "T_view goes on as it was"


def test_l5_resend_a_new_view_to_one_who_waits_in_that_view() -> None:
    group = Group()
    group.power_off(0)
    group.dropped.add(NewView)
    group.work()
    group.fire(TimerKind.VIEW)
    assert group.modes().count(Mode.CHANGING) == 2  # all but its leader
    group.heal()
    group.tick(2)
    assert set(group.modes()) == {Mode.NORMAL}
    assert set(group.heights()[1:]) == {1}


def test_l5_resend_an_open_block_to_one_who_reconnects() -> None:
    group = Group()
    group.isolate(2)
    group.cut |= {(0, 3), (3, 0), (1, 3), (3, 1)}
    group.work(0)
    assert group.heights() == [0, 0, 0, 0]
    group.heal()
    group.tick(3)
    assert group.heights() == [1, 1, 1, 1]


def test_l6_vc_window() -> None:
    """A node cut off while the others fail many views takes their view changes all the same."""
    group = Group()
    group.isolate(3)
    group.tell(3, change(0, 900), sender=0)
    group.tell(3, change(1, 901), sender=1)
    assert group.views()[3] == 900


def test_l7_backoff_a_quorum_that_is_back_starts_with_short_timers() -> None:
    """Two of four come back after many failed views: nobody waits for the cap."""
    group = Group()
    group.decide(1)
    group.work()
    for _ in range(3):  # three views fail while everybody is there: k grows
        group.dropped |= {Block, NewView}
        group.work()
        group.fire(TimerKind.VIEW)
        group.fire(TimerKind.CHANGE)
    assert min(group.armed(2, TimerKind.CHANGE)) > 2_000
    group.power_off(0, 1)
    group.ms += 10_000
    group.heal()
    group.tick()
    group.power_on(0)
    group.power_on(1)
    group.fire(TimerKind.START)
    group.tick(2)
    for _ in range(8):
        group.work()
        if min(group.heights()) >= 2:
            break
        assert max(group.armed(2, TimerKind.CHANGE), default=0) <= 4_000
        group.fire(TimerKind.CHANGE)
        group.tick()
    assert min(group.heights()) >= 2
    assert group.agree()


def test_l8_body_of_choice() -> None:
    """n=3: O alone holds d, its view change is in W, and O dies: another W does without it."""
    group = Group(3)
    group.isolate(0)
    group.work(0)  # O proposes and votes; nobody hears it
    (proposed,) = group.said(0, Block)
    group.fire(TimerKind.VIEW, 0)
    (asked,) = group.said(0, ViewChange)
    assert asked.standing.vote == Claim(0, proposed.digest)
    group.heal()
    group.power_off(0)
    group.tell(1, asked, sender=0)
    group.work(1, 2)
    group.fire(TimerKind.VIEW, 1, 2)
    for _ in range(4):
        if set(group.heights()[1:]) == {1}:
            break
        group.fire(TimerKind.CHOICE, 1)
        group.fire(TimerKind.FETCH, 1)
    assert set(group.heights()[1:]) == {1}


# ---------------------------------------------------------------- who leads (§6, §7)


def lone_change(group: Group, index: int, view: int = 1) -> None:
    """One replica times out alone and sits in CHANGING."""
    group.isolate(index)
    group.work(index)
    group.fire(TimerKind.VIEW, index)
    group.heal()
    group.give(index, Pending(None))
    assert group.views()[index] == view


def test_leader_refresh_brings_home_who_timed_out_alone() -> None:
    group = Group()
    lone_change(group, 2)
    group.decide(60)
    group.tick(2)
    assert group.views() == [0, 0, 1, 0], "not before H0+72"
    group.decide(20)
    group.tick(4)
    assert len(set(group.views())) == 1
    assert set(group.modes()) == {Mode.NORMAL}
    replica = group.members[0].replica
    assert replica is not None
    assert replica.status().leader == 0, "no leadership is lost"
    group.decide(1)
    assert len(set(group.heights())) == 1


def test_a_der_hands_back_to_an_operator_that_is_here() -> None:
    group = Group(4, OPERATORS)  # replica 0 is the operator
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    group.power_on(0)
    group.fire(TimerKind.START)
    group.tick(3)
    assert set(group.views()) == {1}
    for _ in range(26):
        group.decide(10)
        group.tick()
    group.tick(3)
    replica = group.members[1].replica
    assert replica is not None
    assert replica.status().leader == 0
    assert set(group.modes()) == {Mode.NORMAL}


def test_a_busy_der_hands_back_when_the_operators_status_comes_not_by_an_old_one() -> None:
    group = Group(4, OPERATORS)
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    group.power_on(0)
    group.fire(TimerKind.START)
    group.tick(3)
    group.decide(300)  # within a second: nobody has said since where it stands
    group.fire(TimerKind.TICK, 1)
    assert set(group.views()) == {1}, "by what it last said, the operator lags"
    group.fire(TimerKind.TICK, 0)
    group.rest()
    assert set(group.views()) == {2}
    replica = group.members[1].replica
    assert replica is not None
    assert replica.status().leader == 0


def test_nobody_hands_back_to_a_dead_operator() -> None:
    group = Group(4, OPERATORS)
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    for _ in range(27):
        group.decide(10)
        group.tick()
    assert group.views() == [1, 1, 1]


def test_operators_lead_before_the_next_der_and_every_replica_leads() -> None:
    for n in range(1, 11):
        validators = Group(n).validators
        rotation = every_der_once(validators)
        leaders = [operators_first(validators, v, 1) for v in range(rotation)]
        assert set(leaders) == set(range(n))
        if n > 1:
            assert leaders[::2] == [0] * (len(leaders[::2]))


# ---------------------------------------------------------------- a record that cannot be trusted


@pytest.mark.parametrize(
    "damage",
    [
        ViewRecord(0, 3, Mode.NORMAL),  # what opened view 3 is missing
        ViewRecord(0, 3, Mode.CHANGING),  # what it said is missing
        VoteRecord(0, 0, 9, bytes(32)),  # a vote far above the last decision
    ],
)
def test_a_record_that_contradicts_itself_makes_an_observer(damage: Record) -> None:
    group = Group()
    group.decide(2)
    group.power_off(2)
    group.power_on(2, [*group.members[2].log, damage])
    group.fire(TimerKind.START, 2)
    assert "contradicts itself" in observer_reason(group, 2)
    assert any(isinstance(r, ObserverRecord) for r in group.members[2].log)
    said = len(group.said(2, Prepare))
    group.decide(2)
    group.tick(2)
    assert len(group.said(2, Prepare)) == said
    assert group.heights() == [4, 4, 4, 4]


def test_the_new_view_a_replica_stands_on_is_in_its_record() -> None:
    group = Group()
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    (shown,) = new_views(group, 1)[:1]
    for member in group.members[1:]:
        kept_views = [r.message for r in member.log if isinstance(r, NewViewRecord)]
        assert kept_views == [shown]
