"""Guards that only a liar, a broken disk or bad luck tries: each stood untested before a mutant."""

from __future__ import annotations

import msgspec
import pytest

from tests.consensus.group import Group
from tests.consensus.harness import (
    CHAIN,
    Lab,
    block,
    commit,
    header,
    kept,
    prepare,
    sent,
    signature,
)
from vppd.codec import Malformed
from vppd.consensus.boundary import (
    Fired,
    MessageHeader,
    NewViewRecord,
    Offered,
    PreparedRecord,
    ProposalRecord,
    Timer,
    TimerKind,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.certificate import check_certificate
from vppd.consensus.flight import HOLD_STREAK
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Certificate,
    CertificateKind,
    Claim,
    Collected,
    Commit,
    GetBlock,
    NewView,
    Prepare,
    PrePrepared,
    Round,
    Standing,
    Type,
)
from vppd.consensus.profile import BNCM
from vppd.consensus.quorum import quorums
from vppd.consensus.safety import Position, SafetyRecord
from vppd.consensus.selection import Selection, flaw, select
from vppd.consensus.tally import Ballots, Cast
from vppd.types import Mode

ZERO = bytes(64)


def standing(
    signer: int, *, view: int = 3, decided: int = 0, vote: Claim | None = None,
    prepared: Claim | None = None,
) -> Standing:  # fmt: skip
    return Standing(0, view, signer, decided, CHAIN, vote, prepared, ZERO)


def prepared_by(made: Block, *signers: int, height: int | None = None) -> Certificate:
    at = (made.epoch, made.view, height or made.height, made.digest)
    bitmap = bytes([sum(1 << i for i in signers)])
    return Certificate(
        CertificateKind.PREPARED, *at, bitmap, tuple(signature(i, at) for i in signers)
    )


# ---------------------------------------------------------------- votes


def test_no_vote_below_one_that_the_record_holds() -> None:
    """A record that lost its view, not its vote: the vote alone forbids another."""
    lab = Lab()
    lab.restart([VoteRecord(0, 3, 1, bytes(32))])
    lab.applied(0)
    step = lab.hear(block(header(lab.validators)))
    assert not sent(step, Prepare)
    assert not kept(step, VoteRecord)


def test_in_a_view_with_a_choice_only_the_choice_is_voted_for() -> None:
    """Whoever leads it: the choice may have been decided already."""
    group = Group()
    group.isolate(0)
    group.dropped |= {Block, Commit}  # nothing is decided, and the next leader's proposal is lost
    made = header(group.validators)
    for index in (1, 2, 3):
        group.tell(index, block(made), *(prepare(i, made) for i in (0, 1, 2)), sender=0)
    group.work(1, 2, 3)
    group.fire(TimerKind.VIEW, 1, 2, 3)
    assert group.views()[1:] == [1, 1, 1]
    assert group.modes()[1:] == [Mode.NORMAL] * 3
    other = header(
        group.validators, txs=(b"x",), proposer=group.validators.members[1].key
    )  # fmt: skip
    step = group.tell(2, block(other, (b"x",), view=1, leader=1), sender=1)
    assert not sent(step, Prepare)
    step = group.tell(3, block(made, view=1, leader=1), sender=1)
    assert sent(step, Prepare)


def test_a_leader_bound_by_a_choice_takes_no_block_of_its_own_node() -> None:
    """Asked for in an older view, or made by a node that does not know better."""
    lab = Lab()
    made = header(lab.validators)
    standings = tuple(
        standing(i, view=1, vote=Claim(0, made.digest()) if i else None) for i in (0, 1, 2)
    )
    opened = NewView(0, 1, 1, made.digest(), standings, None, None, ZERO)
    lab.restart([ViewRecord(0, 1, Mode.NORMAL), NewViewRecord(opened)])
    lab.applied(0)
    own = header(lab.validators, proposer=lab.validators.members[1].key)
    step = lab.give(Offered(own.encode(), (b"tx",)))
    assert not sent(step, Block)
    assert not kept(step, ProposalRecord)


def test_a_leader_opens_its_view_only_with_the_body_of_its_choice() -> None:
    """Else nobody could be asked for another W in time."""
    group = Group()
    group.isolate(0)
    group.dropped |= {Commit, BlockBody}
    made = header(group.validators)
    for index in (2, 3):
        group.tell(index, block(made), sender=0)
    group.work(1, 2, 3)
    group.fire(TimerKind.VIEW, 1, 2, 3)
    assert not group.said(1, NewView)
    group.dropped.clear()
    group.fire(TimerKind.FETCH, 1)
    assert [m.choice for m in group.said(1, NewView)] == [made.digest()]


def test_a_block_offered_before_the_head_is_executed_is_let_go() -> None:
    lab = Lab(own=0)
    first = header(lab.validators)
    lab.pending()
    lab.offer(first)
    lab.hear(*(commit(i, first) for i in (1, 2, 3)))
    assert lab.replica.status().decided == 1
    assert not lab.replica.status().applied
    second = header(lab.validators, 2, first.digest())
    assert not sent(lab.offer(second), Block)


def test_a_block_of_another_epoch_is_not_this_views_proposal() -> None:
    lab = Lab()
    strange = header(lab.validators, epoch=1)
    assert not lab.hear(block(strange)).faults
    step = lab.hear(block(header(lab.validators)))
    assert sent(step, Prepare)
    assert not step.faults


# ---------------------------------------------------------------- locks


def test_q_votes_do_not_lock_a_block_that_does_not_fit() -> None:
    lab = Lab()
    wrong = header(lab.validators, state_root=bytes(32))
    step = lab.hear(block(wrong), *(prepare(i, wrong) for i in (0, 2, 3)))
    assert not kept(step, PreparedRecord)
    assert not sent(step, Commit)


def test_what_a_leader_shows_for_another_height_is_not_fetched() -> None:
    group = Group(4, BNCM, path="collect")
    next_block = block(header(group.validators, 2))
    shown = prepared_by(next_block, 0, 1, 2)
    at = (0, 0, 2, next_block.digest)
    step = group.tell(1, PrePrepared(*at, next_block.proposal_sig, shown), sender=0)
    assert not sent(step, GetBlock)


# ---------------------------------------------------------------- what is looked at


def wanted(lab: Lab, type_: Type, view: int, height: int, signer: int = 2) -> bool:
    return lab.replica.wants(MessageHeader(type_, 0, view, height, bytes(32), signer))


def test_only_two_heights_and_one_rotation_ahead_are_looked_at() -> None:
    lab = Lab()
    for type_ in (Type.BLOCK, Type.PREPARE, Type.COMMIT):
        assert wanted(lab, type_, 0, 2)
        assert not wanted(lab, type_, 0, 3)
        assert wanted(lab, type_, 4, 1)
        assert not wanted(lab, type_, 5, 1)


def test_what_is_too_far_ahead_is_not_counted_either() -> None:
    lab = Lab()
    far = header(lab.validators, 3)
    lab.hear(*(commit(i, far) for i in (0, 2, 3)))
    for height in (1, 2):
        made = header(lab.validators, height, lab.replica.status().head)
        lab.decide(made)
    assert lab.replica.status().decided == 2
    assert not sent(lab.fire(TimerKind.TICK), GetBlock)


def test_one_vote_for_an_unknown_block_makes_nobody_fetch() -> None:
    lab = Lab()
    made = header(lab.validators)
    assert not sent(lab.hear(prepare(2, made)), GetBlock)
    assert sent(lab.hear(prepare(3, made)), GetBlock)


def test_the_vote_that_makes_q_is_looked_at() -> None:
    lab = Lab()
    made = header(lab.validators)
    asked = MessageHeader(Type.COMMIT, 0, 0, 1, made.digest(), 3)
    lab.hear(commit(0, made), commit(2, made))
    assert lab.replica.wants(asked)


def test_a_second_commit_is_looked_at_as_evidence() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(commit(2, made))
    assert wanted(lab, Type.COMMIT, 0, 1, signer=2)  # another digest
    at = (0, 0, 1, made.digest())
    assert not lab.replica.wants(MessageHeader(Type.COMMIT, *at, 2))


def test_a_body_nobody_asked_for_is_not_looked_at() -> None:
    lab = Lab()
    assert not wanted(lab, Type.BLOCK_BODY, 0, 1)


def test_who_stops_waiting_is_heard_although_its_vote_is_known() -> None:
    group = Group(4, BNCM, path="collect")
    group.dropped |= {Agree, PrePrepared}
    group.isolate(3)
    group.work()
    made = group.said(0, Block)[0]
    replica = group.members[0].replica
    assert replica is not None
    told = MessageHeader(Type.PREPARE, 0, 0, 1, made.digest, 1)
    assert replica.wants(told)
    quiet = told._replace(type=Type.RECEIVED)
    assert not replica.wants(quiet)


# ---------------------------------------------------------------- timers of a height


def collecting() -> Group:
    """A plant in which the votes for the first block are on their way to the leader."""
    group = Group(4, BNCM, path="collect")
    group.dropped |= {Agree, PrePrepared, Collected}
    group.work()
    return group


def test_a_decision_stops_the_timers_of_its_height() -> None:
    group = collecting()
    assert group.armed(1, TimerKind.REPLICA)
    group.heal()
    group.tick(2)
    assert group.heights() == [1] * 4
    assert not group.armed(1, TimerKind.REPLICA)
    assert not group.armed(0, TimerKind.GRACE)


def test_a_new_view_stops_the_timers_of_the_old_one() -> None:
    group = collecting()
    group.isolate(0)
    assert group.armed(2, TimerKind.REPLICA)
    group.dropped.add(Block)  # nobody votes in the new one
    group.fire(TimerKind.VIEW, 1, 2, 3)
    assert group.views()[1:] == [1, 1, 1]
    assert not group.armed(2, TimerKind.REPLICA)


def test_a_timer_of_another_height_ends_no_wait() -> None:
    group = collecting()
    group.give(1, Fired(Timer(TimerKind.REPLICA, 7)))
    assert not group.said(1, Prepare)
    group.give(1, Fired(Timer(TimerKind.REPLICA, 1)))
    assert group.said(1, Prepare)


def test_the_end_of_another_wait_ends_no_wait() -> None:
    group = collecting()
    other = block(header(group.validators, 2))
    step = group.tell(
        1, PrePrepared(0, 0, 2, other.digest, other.proposal_sig, None), sender=0
    )  # fmt: skip
    assert not sent(step, Prepare)
    replica = group.members[1].replica
    assert replica is not None
    assert not replica.status().fallbacks


def test_an_observer_ends_no_wait() -> None:
    """It was demoted while its vote was on its way: the timer it armed speaks for nobody."""
    group = collecting()
    made = group.said(0, Block)[0]
    foreign = Commit(0, 0, 1, made.digest, 1, signature(1, "a lock it never had"))
    group.tell(1, foreign)
    replica = group.members[1].replica
    assert replica is not None
    assert replica.status().observer
    step = group.give(1, Fired(Timer(TimerKind.REPLICA, 1)))
    assert not sent(step, Prepare)


def test_a_plant_that_has_failed_once_pays_for_the_next_hold_first() -> None:
    group = Group(4, BNCM, path="broadcast")
    group.decide(HOLD_STREAK)
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    group.fire(TimerKind.HOLD, 0, 1, 2)
    group.rest()
    group.heal()
    group.tick(2)
    group.decide(1)
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    assert not group.armed(1, TimerKind.HOLD)


# ---------------------------------------------------------------- what binds a new leader

FIVE = quorums(6)
"""f = 1, p = 1: w = 5, τ = 3."""
HERE, THERE = b"h" * 32, b"t" * 32


def test_h0_follows_the_highest() -> None:
    asked = [standing(i, decided=int(i == 4)) for i in range(5)]
    assert select(asked, None, FIVE) == Selection(2, None)


def test_claims_of_those_behind_do_not_count() -> None:
    claim = Claim(2, HERE)
    asked = [standing(i, decided=int(i > 2), vote=claim) for i in range(5)]
    assert select(asked, None, FIVE) == Selection(2, None)


def test_tau_claims_force_a_block_and_one_less_does_not() -> None:
    asked = [standing(i, vote=Claim(2, HERE) if i < 3 else None) for i in range(5)]
    assert select(asked, None, FIVE).choice == HERE
    asked[2] = standing(2)
    assert select(asked, None, FIVE).choice is None


def test_claims_of_the_certificates_own_view_do_not_beat_it() -> None:
    made = block(header(Lab().validators), view=2)
    shown = msgspec.structs.replace(prepared_by(made, 0, 1, 2, 3), digest=THERE)
    asked = [standing(i, vote=Claim(2, HERE)) for i in range(5)]
    assert select(asked, shown, FIVE).choice == THERE


def opened(asked: list[Standing], shown: Certificate | None) -> NewView:
    height, choice = select(asked, shown, FIVE)
    return NewView(0, 3, height, choice, tuple(asked), None, shown, ZERO)


def test_a_new_view_hides_no_later_certificate() -> None:
    made = block(header(Lab().validators), view=1)
    shown = prepared_by(made, 0, 1, 2, 3)
    asked = [standing(i) for i in range(5)]
    assert flaw(opened(asked, shown), FIVE) == ""
    asked[4] = standing(4, prepared=Claim(2, THERE))
    assert "claims a later prepared certificate" in flaw(opened(asked, shown), FIVE)


def test_a_new_view_names_each_replica_once() -> None:
    asked = [standing(i) for i in (0, 1, 2, 3, 3)]
    assert "not of distinct replicas" in flaw(opened(asked, None), FIVE)


def test_a_new_view_shows_no_certificate_of_its_own_view() -> None:
    made = block(header(Lab().validators), view=3)
    shown = prepared_by(made, 0, 1, 2, 3)
    asked = [standing(i) for i in range(5)]
    assert "of this view or a later one" in flaw(opened(asked, shown), FIVE)


# ---------------------------------------------------------------- the safety record


def test_two_digests_at_one_position_are_not_allowed() -> None:
    record = SafetyRecord()
    record.fold(VoteRecord(0, 1, 5, HERE))
    at = record.vote.at if record.vote is not None else None
    assert at is not None
    assert record.allows(at, HERE)
    assert not record.allows(at, THERE)
    assert record.allows(at._replace(height=6), THERE)


def test_a_commit_for_another_digest_is_not_this_records() -> None:
    made = block(header(Lab().validators))
    record = SafetyRecord()
    held = prepared_by(made, 0, 1, 2)
    record.fold(PreparedRecord(held))
    at = Position(0, 0, 1)
    assert record.covers_commit(at, made.digest)
    assert not record.covers_commit(at, THERE)


# ---------------------------------------------------------------- counting and certificates


def test_votes_of_decided_heights_are_forgotten() -> None:
    ballots = Ballots()
    for height in (1, 2):
        ballots.at(height, 0, Round.VOTE).add(1, Cast(HERE, ZERO))
    ballots.drop_through(1)
    assert ballots.find(1, 0, Round.VOTE) is None
    assert ballots.find(2, 0, Round.VOTE) is not None


def test_a_certificate_of_another_epoch_proves_nothing() -> None:
    lab = Lab()
    made = block(header(lab.validators))
    held = prepared_by(made, 0, 1, 2)

    def holds(*_: bytes) -> bool:
        return True

    check_certificate(held, lab.validators, CHAIN, holds)
    with pytest.raises(Malformed, match="of epoch 1"):
        check_certificate(msgspec.structs.replace(held, epoch=1), lab.validators, CHAIN, holds)
