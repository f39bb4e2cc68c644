"""protocol.md, §5: one test per sentence of the normal case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.consensus.harness import (
    CHAIN,
    STATE,
    UNIX_MS,
    Lab,
    block,
    commit,
    equivocations,
    header,
    kept,
    prepare,
    sent,
    sent_to,
)
from vppd.consensus.boundary import (
    Applied,
    BodyRecord,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    TimerKind,
    VoteRecord,
)
from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import Block, Commit, Prepare, Reply, Round
from vppd.crypto import sha256
from vppd.errors import LocalFault
from vppd.merkle import EMPTY_ROOT

# ---------------------------------------------------------------- propose


def test_the_leader_asks_for_a_block_when_there_is_work() -> None:
    lab = Lab(own=0)
    assert lab.pending().want == 1


def test_the_leader_asks_once() -> None:
    lab = Lab(own=0)
    lab.pending()
    assert lab.pending().want is None


def test_without_work_nobody_asks() -> None:
    assert Lab(own=0).pending(None).want is None


def test_only_the_leader_of_the_view_asks() -> None:
    for own in (1, 2, 3):
        assert Lab(own=own).pending().want is None


def test_an_observer_never_asks_votes_or_replies() -> None:
    lab = Lab(own=None)
    made = header(lab.validators)
    assert lab.pending().want is None
    assert not lab.hear(block(made)).persist
    step = lab.decide(made)
    assert [d.height for d in step.commit] == [1]
    assert not sent(lab.applied(1), Reply)


def test_an_empty_block_is_asked_for_after_the_idle_interval() -> None:
    assert Lab(own=0).fire(TimerKind.IDLE).want == 1


def test_an_empty_block_is_asked_for_when_a_time_trigger_is_due() -> None:
    lab = Lab(own=0)
    step = lab.give(Applied(0, STATE, EMPTY_ROOT, next_due_ms=UNIX_MS + 50))
    assert step.want is None
    assert {t.kind: ms for t, ms in step.timers}[TimerKind.DUE] == 50
    lab.ms = 50
    assert lab.fire(TimerKind.DUE).want == 1


def test_a_due_timer_that_rings_early_is_armed_again() -> None:
    lab = Lab(own=0)
    lab.give(Applied(0, STATE, EMPTY_ROOT, next_due_ms=UNIX_MS + 50))
    lab.ms = 49
    step = lab.fire(TimerKind.DUE)
    assert step.want is None
    assert {t.kind: ms for t, ms in step.timers}[TimerKind.DUE] == 1


def test_proposal_vote_and_body_are_one_write_before_the_block_leaves() -> None:
    lab = Lab(own=0)
    lab.pending()
    made = header(lab.validators)
    step = lab.offer(made)
    d = made.digest()
    assert kept(step, ProposalRecord) == [ProposalRecord(0, 0, 1, d)]
    assert kept(step, VoteRecord) == [VoteRecord(0, 0, 1, d)]
    assert [r.digest for r in kept(step, BodyRecord)] == [d]
    assert [b.digest for b in sent(step, Block)] == [d]


def test_a_leader_proposes_once_per_view_and_height() -> None:
    lab = Lab(own=0)
    lab.offer(header(lab.validators))
    second = lab.offer(header(lab.validators, txs=(b"other",)), (b"other",))
    assert not second.persist
    assert not second.send


def test_a_block_of_its_own_that_nobody_could_accept_stops_the_leader() -> None:
    lab = Lab(own=0)
    lab.pending()
    with pytest.raises(LocalFault, match="another state root"):
        lab.offer(header(lab.validators, state_root=sha256(b"else")))


# ---------------------------------------------------------------- vote


def test_a_valid_block_is_voted_for_and_the_vote_is_in_the_same_step_as_its_record() -> None:
    lab = Lab()
    made = header(lab.validators)
    step = lab.hear(block(made))
    assert kept(step, VoteRecord) == [VoteRecord(0, 0, 1, made.digest())]
    assert [r.digest for r in kept(step, BodyRecord)] == [made.digest()]
    assert [p.digest for p in sent(step, Prepare)] == [made.digest()]


def test_a_body_is_written_before_the_vote_that_refers_to_it() -> None:
    lab = Lab()
    kinds = [type(r) for r in lab.hear(block(header(lab.validators))).persist]
    assert kinds.index(BodyRecord) < kinds.index(VoteRecord)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        pytest.param("parent", sha256(b"another parent"), id="parent"),
        pytest.param("epoch", 1, id="epoch"),
        pytest.param("time_ms", 0, id="time-not-after-parent"),
        pytest.param("time_ms", UNIX_MS + 501, id="time-too-far-ahead"),
        pytest.param("state_root", sha256(b"another state"), id="state-root"),
        pytest.param("receipts_root", sha256(b"other receipts"), id="receipts-root"),
        pytest.param("next_validators", sha256(b"other set"), id="next-validators"),
        pytest.param("proposer", sha256(b"not the leader"), id="proposer"),
    ],
)
def test_no_vote_for_a_block_that_does_not_fit(field: str, wrong: Any) -> None:
    lab = Lab()
    step = lab.hear(block(header(lab.validators, **{field: wrong})))
    assert not step.persist
    assert not sent(step, Prepare)


def test_clocks_that_differ_are_seen() -> None:
    lab = Lab()
    lab.hear(block(header(lab.validators, time_ms=UNIX_MS + 600_000)))
    assert lab.replica.status().ahead_ms == 600_000
    lab = Lab()
    lab.hear(block(header(lab.validators)))
    assert lab.replica.status().ahead_ms is None


def test_a_block_at_most_half_a_second_ahead_is_fresh() -> None:
    lab = Lab()
    assert sent(lab.hear(block(header(lab.validators, time_ms=UNIX_MS + 500))), Prepare)


def test_a_block_from_the_future_is_voted_for_when_its_time_comes() -> None:
    lab = Lab()
    made = header(lab.validators, time_ms=UNIX_MS + 900)
    assert not sent(lab.hear(block(made)), Prepare)
    lab.ms = 400
    assert sent(lab.fire(TimerKind.TICK), Prepare)


def test_clocks_behind_after_a_blackout_chain_time_creeps() -> None:
    lab = Lab()
    ahead = header(lab.validators, time_ms=UNIX_MS + 10_000)
    lab.decide(ahead)
    creeping = header(lab.validators, 2, ahead.digest(), time_ms=UNIX_MS + 10_001)
    assert sent(lab.hear(block(creeping)), Prepare)


def test_a_replica_votes_once_per_view_and_height() -> None:
    lab = Lab()
    lab.hear(block(header(lab.validators)))
    other = header(lab.validators, txs=(b"other",))
    step = lab.hear(block(other, (b"other",)))
    assert not kept(step, VoteRecord)
    assert not sent(step, Prepare)


def test_two_proposals_of_one_leader_are_evidence() -> None:
    lab = Lab()
    first, second = header(lab.validators), header(lab.validators, txs=(b"other",))
    lab.hear(block(first))
    step = lab.hear(block(second, (b"other",)))
    assert [(e.round, e.signer) for e in equivocations(step)] == [(Round.PROPOSAL, 0)]
    (proof,) = equivocations(step)
    assert (proof.first, proof.second) == (first.digest(), second.digest())


def test_no_vote_before_the_head_is_executed() -> None:
    lab = Lab()
    first = header(lab.validators)
    lab.hear(block(first), *(commit(i, first) for i in (0, 2, 3)))
    second = header(lab.validators, 2, first.digest())
    assert not sent(lab.hear(block(second)), Prepare)
    assert sent(lab.applied(1), Prepare)


def test_no_vote_two_heights_ahead() -> None:
    lab = Lab()
    made = header(lab.validators, 2, sha256(b"unknown"))
    assert not lab.hear(block(made)).persist


def test_no_vote_before_the_start_rule_allows_it() -> None:
    lab = Lab(ready=False)
    lab.applied(0)
    made = header(lab.validators)
    assert not sent(lab.hear(block(made)), Prepare)
    assert sent(lab.fire(TimerKind.START), Prepare)


def test_statuses_of_w_minus_1_peers_allow_voting_at_once() -> None:
    lab = Lab(ready=False)
    lab.applied(0)
    lab.hear(block(header(lab.validators)))
    assert not sent(lab.status_of(0, 0), Prepare)
    assert sent(lab.status_of(2, 0), Prepare)


# ---------------------------------------------------------------- lock


def test_q_votes_lock_and_the_certificate_is_written_before_commit_leaves() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))  # the leader's vote
    assert not sent(lab.hear(prepare(2, made)), Commit)
    step = lab.hear(prepare(3, made))
    (record,) = kept(step, PreparedRecord)
    assert signers_of(record.certificate) == (0, 2, 3)
    assert [c.digest for c in sent(step, Commit)] == [made.digest()]


def test_own_vote_counts_only_when_it_comes_back() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    step = lab.hear(prepare(2, made))
    assert not sent(step, Commit), "leader and one other are two; the own vote is not durable yet"
    assert sent(lab.hear(prepare(1, made), sender=1), Commit)


def test_a_signer_counts_once() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    for _ in range(5):
        assert not sent(lab.hear(prepare(2, made)), Commit)


def test_votes_of_another_view_do_not_lock() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    step = lab.hear(*(prepare(i, made, view=1) for i in (0, 2, 3)))
    assert not sent(step, Commit)


def test_lock_needs_no_own_vote_but_the_body() -> None:
    lab = Lab()
    made = header(lab.validators, proposer=sha256(b"a clock or proposer this replica dislikes"))
    assert not sent(lab.hear(block(made)), Prepare)
    step = lab.hear(prepare(2, made), prepare(3, made))
    assert [r.digest for r in kept(step, BodyRecord)] == [made.digest()]
    assert sent(step, Commit)


def test_two_votes_of_one_signer_are_evidence_and_the_second_does_not_count() -> None:
    lab = Lab()
    first, second = header(lab.validators), header(lab.validators, txs=(b"other",))
    lab.hear(block(first), prepare(2, first))
    step = lab.hear(prepare(2, second))
    assert [(e.round, e.signer, e.height) for e in equivocations(step)] == [(Round.VOTE, 2, 1)]


# ---------------------------------------------------------------- decide


def test_q_commits_decide_and_the_decision_is_written_before_it_is_executed() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    assert not lab.hear(commit(0, made), commit(2, made)).commit
    step = lab.hear(commit(3, made))
    (row,) = kept(step, DecisionRecord)
    assert (row.height, row.digest) == (1, made.digest())
    assert [(d.height, d.digest) for d in step.commit] == [(1, made.digest())]


@pytest.mark.parametrize("n", range(1, 11))
def test_quorum_of_every_plant_size(n: int) -> None:
    lab = Lab(n, own=None)
    made = header(lab.validators)
    lab.hear(block(made))
    q = lab.quorum.vote
    for i in range(q - 1):
        assert not lab.hear(commit(i, made)).commit
    assert lab.hear(commit(q - 1, made)).commit


def test_commits_of_different_views_do_not_add_up() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    assert not lab.hear(commit(0, made), commit(2, made), commit(3, made, view=1)).commit


def test_commits_for_the_next_height_wait_for_their_turn() -> None:
    lab = Lab()
    first = header(lab.validators)
    second = header(lab.validators, 2, first.digest())
    lab.hear(block(second), *(commit(i, second) for i in (0, 2, 3)))
    step = lab.hear(block(first), *(commit(i, first) for i in (0, 2, 3)))
    assert [d.height for d in step.commit] == [1, 2]


def test_a_single_node_decides_on_its_own_vote() -> None:
    lab = Lab(1, own=0)
    lab.pending()
    made = header(lab.validators)
    (proposed,) = sent(lab.offer(made), Block)
    (own_commit,) = sent(lab.hear(proposed), Commit)
    assert [d.height for d in lab.hear(own_commit).commit] == [1]


def test_a_decision_on_another_parent_is_a_local_fault() -> None:
    lab = Lab()
    made = header(lab.validators, parent=sha256(b"a fork"))
    with pytest.raises(LocalFault, match="not our head"):
        lab.hear(block(made), *(commit(i, made) for i in (0, 2, 3)))


def test_after_execution_the_roots_are_said_to_the_leader() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made), *(commit(i, made) for i in (0, 2, 3)))
    step = lab.applied(1)
    replies = [(to, m.height, m.state_root) for to, m in sent_to(step, Reply)]
    assert replies == [((0,), 1, STATE)]


def test_the_next_height_starts_at_once_when_work_is_waiting() -> None:
    lab = Lab(own=0)
    lab.pending()
    made = header(lab.validators)
    (proposed,) = sent(lab.offer(made), Block)
    lab.hear(proposed, sender=0)
    lab.hear(*(commit(i, made) for i in (1, 2, 3)))
    assert lab.applied(1).want == 2


def test_messages_of_decided_heights_change_nothing() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.decide(made)
    before = lab.replica.status()
    step = lab.hear(block(made), prepare(2, made), commit(3, made))
    assert step == type(step)()
    assert lab.replica.status() == before


def test_chain_id_is_the_parent_of_height_1() -> None:
    lab = Lab()
    assert header(lab.validators).parent == CHAIN
    assert lab.replica.status().head == CHAIN
