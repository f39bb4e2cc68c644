"""protocol.md, §5 and §9, sentence by sentence: what test_paths.py leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.consensus.group import Group
from tests.consensus.harness import CHAIN, header, prepare, sent, signature
from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import (
    Applied,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    Received,
    TimerKind,
    VoteRecord,
)
from vppd.consensus.flight import HOLD_STREAK, Cause, Flight, Landing, Waiting
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    GetBlock,
    Path,
    Prepare,
    PrePrepared,
    Round,
    Status,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.policy import BACK_PPM, FAILURES, PROBE_EVERY, SUCCESSES, TRIAL, PathPolicy
from vppd.consensus.profile import BNCM, PBFT
from vppd.consensus.quorum import quorums
from vppd.consensus.safety import Position, SafetyRecord
from vppd.merkle import EMPTY_ROOT
from vppd.types import Mode

COUNTED = (Block, Collected, Prepare, PrePrepared, Commit, Agree)


def plant(path: PathSetting = "collect", n: int = 4) -> Group:
    return Group(n, BNCM, path=path)


def first_block(group: Group) -> Block:
    made: Block = group.said(0, Block)[0]
    return made


def certificate(made: Block, kind: CertificateKind, *signers: int) -> Certificate:
    at = (made.epoch, made.view, made.height, made.digest)
    bitmap = bytes([sum(1 << i for i in signers)])
    return Certificate(kind, *at, bitmap, tuple(signature(i, at) for i in signers))


def end_of_wait(made: Block, *signers: int) -> PrePrepared:
    held = certificate(made, CertificateKind.PREPARED, *signers) if signers else None
    at = (made.epoch, made.view, made.height, made.digest)
    return PrePrepared(*at, made.proposal_sig, held)


def causes(group: Group, index: int) -> dict[str, int]:
    replica = group.members[index].replica
    assert replica is not None
    return dict(replica.status().fallbacks)


def messages(group: Group) -> int:
    """What the group has sent, addressee by addressee, without statuses and requests."""
    others = len(group.members) - 1
    return sum(
        others if send.to == "all" else len(send.to)
        for member in group.members
        for step in member.steps
        for send in step.send
        if isinstance(send.message, COUNTED)
    )


# ---------------------------------------------------------------- positions


def test_positions_compare_by_epoch_before_view_and_view_before_height() -> None:
    record = SafetyRecord()
    assert record.allows(Position(0, 0, 1), CHAIN)  # no vote is smaller than any
    record.fold(VoteRecord(0, 5, 7, CHAIN))
    assert record.allows(Position(1, 0, 1), b"x" * 32)
    assert record.allows(Position(0, 6, 1), b"x" * 32)
    assert not record.allows(Position(0, 4, 8), b"x" * 32)
    assert not record.allows(Position(0, 5, 6), b"x" * 32)


# ---------------------------------------------------------------- propose, cast


def test_a_collecting_leader_keeps_proposal_vote_and_body_in_one_write() -> None:
    group = plant()
    group.work()
    step = next(s for s in group.members[0].steps if sent(s, Block))
    kinds = {type(record).__name__ for record in step.persist}
    assert {"ProposalRecord", "VoteRecord", "BodyRecord"} <= kinds
    proposed = next(r for r in step.persist if isinstance(r, ProposalRecord))
    voted = next(r for r in step.persist if isinstance(r, VoteRecord))
    assert proposed.digest == voted.digest == sent(step, Block)[0].digest


def test_the_leaders_own_vote_counts_when_its_block_comes_back() -> None:
    group = plant(n=1)
    group.work()
    first, then = (s for s in group.members[0].steps if sent(s, Block) or s.commit)
    assert not first.commit
    assert then.commit


def test_who_votes_on_a_path_waits_for_what_that_path_promises() -> None:
    group = plant("collect")
    group.dropped |= {Collected}
    group.work()
    assert group.armed(1, TimerKind.REPLICA)
    group = plant("broadcast")
    group.dropped |= {Prepare}
    group.work()
    for kind in (TimerKind.REPLICA, TimerKind.GRACE):  # broadcast needs no fallback
        assert not group.armed(1, kind)
        assert not group.armed(0, kind)


def test_a_vote_after_f_plus_1_prepares_is_told_to_everybody() -> None:
    group = plant()
    group.cut |= {(0, 3)}
    group.dropped |= {Agree, PrePrepared, Commit, GetBlock}
    group.work()
    group.fire(TimerKind.REPLICA, 1, 2)
    assert not group.said(3, Prepare)
    made = first_block(group)
    step = group.tell(3, made, sender=0)
    assert [m.digest for m in sent(step, Prepare)] == [made.digest]
    assert any(isinstance(record, VoteRecord) for record in step.persist)
    assert causes(group, 3) == {"prepares": 1}


def test_a_block_is_voted_for_whoever_brings_it() -> None:
    """The leader's signature from the end of the wait, the body from anybody who has it."""
    group = plant()
    group.cut |= {(0, 2)}
    group.dropped |= {Agree, PrePrepared}
    group.work()
    made = first_block(group)
    group.tell(2, end_of_wait(made), sender=1)
    assert not group.said(2, Collected)
    group.fire(TimerKind.REPLICA, 1, 3)  # f+1 of them: who has voted has the body
    assert {m.digest for m in group.said(2, Prepare)} == {made.digest}
    assert group.heights()[1:] == [1, 1, 1]


def test_a_choice_needs_neither_clock_nor_proposer() -> None:
    """Decided by one alone, from a leader whose clock was an hour ahead: it is voted for again."""
    group = plant()
    group.dropped |= {Agree, PrePrepared, Prepare, Commit}
    group.work()
    made = first_block(group)
    group.isolate(0)
    group.dropped -= {Prepare, Commit, Agree, PrePrepared}
    group.ms -= 3_600_000  # every clock is an hour back now
    group.fire(TimerKind.VIEW, 1, 2, 3)
    assert group.views()[1:] == [1, 1, 1]
    again = [m for m in group.said(1, Block) if m.view == 1]
    assert again[0].digest == made.digest
    assert {m.digest for m in group.said(2, Collected) if m.view == 1} == {made.digest}


# ---------------------------------------------------------------- first-round votes


def test_two_digests_in_two_envelopes_are_evidence() -> None:
    group = plant()
    group.dropped |= {Collected}
    group.work()
    other = prepare(2, header(group.validators, txs=(b"other",)))
    quiet = Collected(0, 0, 1, first_block(group).digest, 2, signature(2, "quiet"))
    group.tell(0, quiet, sender=2)
    step = group.tell(0, other, sender=2)
    (proof,) = step.faults
    assert (proof.round, proof.signer) == (Round.VOTE, 2)  # type: ignore[union-attr]  # equivocation
    assert group.heights()[0] == 0


def test_f_votes_decide_while_the_view_is_being_changed() -> None:
    group = plant("broadcast")
    group.cut |= {(i, 3) for i in range(3)}
    group.dropped |= {Commit}
    group.work()
    group.cut.clear()
    group.dropped |= {Agree}
    made = first_block(group)
    group.tell(3, made, sender=0)
    group.fire(TimerKind.VIEW, 3)
    assert group.modes()[3] is Mode.CHANGING
    votes = [Prepare(0, 0, 1, made.digest, i, signature(i, "late")) for i in (1, 2)]
    step = group.tell(3, *votes)
    assert [d.certificate.kind for d in step.commit] == [CertificateKind.FAST]


def test_f_votes_of_an_older_view_decide_in_a_later_one() -> None:
    group = plant("broadcast")
    group.dropped |= {Commit, Prepare}
    group.work()
    made = first_block(group)
    group.dropped |= {Block}
    group.fire(TimerKind.VIEW)
    assert group.views() == [1] * 4
    assert group.modes() == [Mode.NORMAL] * 4
    votes = [Prepare(0, 0, 1, made.digest, i, signature(i, "late")) for i in (1, 2)]
    step = group.tell(3, *votes)
    assert [d.certificate.view for d in step.commit] == [0]


# ---------------------------------------------------------------- the wait ends


def test_a_leader_pulled_along_without_q_votes_says_so_without_votes() -> None:
    """And whoever hears that prepares: nobody has been shown anything to lock on."""
    group = plant(n=7)
    group.dropped |= {Collected, Agree}
    group.isolate(3, 4, 5, 6)
    group.work()
    group.cut.clear()
    made = first_block(group)
    group.isolate(1)
    given = [Received(i, Prepare(0, 0, 1, made.digest, i, signature(i, "loud"))) for i in (2, 3, 4)]
    assert not sent(group.give(0, *given[:2]), PrePrepared)  # two may lie
    group.cut.clear()
    step = group.give(0, given[2])
    (shown,) = sent(step, PrePrepared)
    assert shown.prepared is None
    assert causes(group, 0) == {"prepares": 1}
    group.run()
    assert group.said(1, Prepare)
    assert causes(group, 1) == {"leader": 1}


def test_without_votes_shown_a_replica_prepares_and_locks_at_q() -> None:
    group = plant()
    group.dropped |= {Collected, Agree, Commit, Prepare}
    group.work()
    made = first_block(group)
    step = group.tell(1, end_of_wait(made), sender=0)
    assert sent(step, Prepare)
    assert not sent(step, Commit)
    own = Received(1, sent(step, Prepare)[0])
    given = Prepare(0, 0, 1, made.digest, 2, signature(2, "loud"))
    step = group.give(1, own, Received(2, given))
    assert sent(step, Commit)


def test_a_lock_on_votes_shown_is_durable_before_the_commit_leaves() -> None:
    group = plant()
    group.dropped |= {Collected, Agree, Commit}
    group.work()
    made = first_block(group)
    step = group.tell(1, end_of_wait(made, 0, 2, 3), sender=0)
    assert len(sent(step, Commit)) == 1
    (kept,) = (r for r in step.persist if isinstance(r, PreparedRecord))
    assert kept.certificate.digest == made.digest


def test_votes_shown_need_no_own_vote() -> None:
    """The body fits but the clock does not: no vote, and a lock all the same."""
    group = plant()
    group.isolate(1)
    group.dropped |= {Collected, Agree, Commit}
    group.work()
    group.cut.clear()
    group.ms -= 3_600_000
    made = first_block(group)
    assert not sent(group.tell(1, made, sender=0), Collected)
    step = group.tell(1, end_of_wait(made, 0, 2, 3), sender=0)
    assert sent(step, Commit)
    assert not any(isinstance(r, VoteRecord) for r in group.members[1].log)


def test_votes_shown_lock_nobody_who_is_changing_the_view() -> None:
    group = plant()
    group.dropped |= {Collected, Agree, Commit}
    group.work()
    made = first_block(group)
    group.isolate(1)
    group.fire(TimerKind.VIEW, 1)
    assert group.modes()[1] is Mode.CHANGING
    step = group.tell(1, end_of_wait(made, 0, 2, 3), sender=0)
    assert not sent(step, Commit)
    assert not any(isinstance(r, PreparedRecord) for r in group.members[1].log)


def test_votes_shown_too_early_wait_until_the_head_is_executed() -> None:
    group = plant()
    group.isolate(2)
    group.work()
    group.fire(TimerKind.GRACE, 0)
    group.rest()
    group.dropped |= {Collected}
    group.work()
    one, two = (m for m in group.said(0, Block) if m.view == 0)
    member = group.members[2]
    assert member.replica is not None
    agreed = Agree(certificate(one, CertificateKind.COMMIT, 0, 1, 3))
    given = (one, agreed, two, end_of_wait(two, 0, 1, 3))
    early = member.replica.step(group.now(), [Received(0, message) for message in given])
    assert [d.height for d in early.commit] == [1]
    assert not [m for m in sent(early, Commit) if m.height == 2]
    applied = Applied(1, header(group.validators).state_root, EMPTY_ROOT)
    late = member.replica.step(group.now(), [applied])
    assert [m.height for m in sent(late, Commit)] == [2]


def test_the_end_of_a_wait_in_another_view_ends_none() -> None:
    group = plant()
    group.dropped |= {Collected, Agree}
    group.work()
    made = first_block(group)
    later = PrePrepared(0, 2, 1, made.digest, signature(0, "P 2"), None)
    step = group.tell(1, later, sender=0)
    assert not sent(step, Prepare)
    assert not causes(group, 1)


def test_on_broadcast_votes_that_come_by_message_end_the_hold() -> None:
    group = plant("broadcast")
    group.decide(HOLD_STREAK)
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    height = HOLD_STREAK + 1
    assert group.armed(1, TimerKind.HOLD)
    made = next(m for m in group.said(0, Block) if m.height == height)
    step = group.tell(1, end_of_wait(made, 0, 1, 2), sender=0)
    assert [m.height for m in sent(step, Commit)] == [height]


# ---------------------------------------------------------------- decide


def test_only_who_collected_says_agree_and_of_either_kind() -> None:
    group = plant()
    group.isolate(3)
    group.work()
    group.fire(TimerKind.GRACE, 0)
    assert [m.certificate.kind for m in group.said(0, Agree)] == [CertificateKind.COMMIT]
    assert not any(group.said(i, Agree) for i in (1, 2, 3))
    group.rest()
    group.heal()
    group.tick(2)
    before = [len(group.said(i, Agree)) for i in range(4)]
    group.decide(1)
    kinds = [m.certificate.kind for m in group.said(0, Agree)[before[0] :]]
    assert kinds == [CertificateKind.FAST]
    assert [len(group.said(i, Agree)) for i in (1, 2, 3)] == before[1:]


def test_a_decision_is_on_disk_before_the_agree_and_before_any_later_vote() -> None:
    group = plant()
    group.decide(3)
    for member in group.members:
        decided = 0
        for step in member.steps:
            rows = [r.height for r in step.persist if isinstance(r, DecisionRecord)]
            decided = max([decided, *rows])
            for said in (*sent(step, Agree), *sent(step, Collected), *sent(step, Block)):
                about = said.certificate.height if isinstance(said, Agree) else said.height - 1
                assert about <= decided


def test_a_laggard_gets_the_fast_certificate_from_anyone() -> None:
    group = plant()
    group.dropped |= {Agree, PrePrepared}
    group.work()
    assert group.heights() == [1, 0, 0, 0]
    group.dropped.clear()
    group.cut |= {(0, 1), (0, 3)}
    group.tick()  # 0 tells 2 alone
    assert group.heights() == [1, 0, 1, 0]
    group.isolate(0)
    group.tick(2)
    assert group.heights() == [1] * 4
    assert group.said(2, Agree)
    kinds = {d.certificate.kind for s in group.members[3].steps for d in s.commit}
    assert kinds == {CertificateKind.FAST}


# ---------------------------------------------------------------- resend


def test_a_vote_for_the_leader_is_repeated_to_the_leader_alone() -> None:
    group = plant()
    group.dropped |= {Collected}
    group.work()
    group.ms += 300  # T_rep has not run out
    before = len(group.members[1].steps)
    group.dropped.clear()
    group.cut |= {(1, i) for i in (0, 2, 3)}
    group.tell(1, Status(0, 0, 0, Mode.NORMAL), sender=2)
    group.fire(TimerKind.TICK, 1)
    said = [x for s in group.members[1].steps[before:] for x in s.send]
    votes = [x for x in said if isinstance(x.message, Collected | Prepare)]
    assert votes
    assert all(x.to == (0,) and isinstance(x.message, Collected) for x in votes)


# ---------------------------------------------------------------- messages per height at n = 10


def count_one_height(group: Group, *fired: TimerKind) -> int:
    before = messages(group)
    group.work()
    for kind in fired:
        group.fire(kind)
    group.rest()
    group.run()
    return messages(group) - before


def test_broadcast_with_the_commits_held_back_takes_90_messages() -> None:
    group = plant("broadcast", 10)
    group.decide(HOLD_STREAK)
    assert count_one_height(group) == 90


def test_both_rounds_take_180_messages_as_in_pbft() -> None:
    assert count_one_height(Group(10, PBFT)) == 180
    assert count_one_height(plant("broadcast", 10)) == 180


def test_an_early_slow_path_takes_117_messages_and_the_agree() -> None:
    """Block and votes 18, what the leader shows 9, commits of all to all 90, agree 9."""
    group = plant("collect", 10)
    group.cut |= {(9, 0)}
    group.work()
    before = messages(group)
    group.cut.clear()
    group.fire(TimerKind.GRACE, 0)
    assert 18 + messages(group) - before == 117 + 9


# ---------------------------------------------------------------- lengths of waits


def waiting() -> Waiting:
    return Waiting(quorums(4), Outbox(), fast_exit=True, view_timeout_ms=2_000)


def lead(waits: Waiting, height: int, now_ms: int) -> None:
    waits.begin(Flight(Position(0, 0, height), CHAIN, Path.COLLECT, now_ms, leads=True))


def measured(late_ms: list[int], round_ms: int, quorum_ms: int = 0) -> Waiting:
    """A leader after heights.

    Args:
        late_ms: per height, from the q-th vote to the last one.
        round_ms: from its proposal to the decision.
        quorum_ms: and to the q-th vote.
    """
    waits = waiting()
    for height, late in enumerate(late_ms, 1):
        now_ms = 10_000 * height
        lead(waits, height, now_ms)
        waits.count(3, now_ms + quorum_ms, present=4)
        waits.count(4, now_ms + quorum_ms + late, present=4)
        waits.land(CertificateKind.FAST, now_ms + round_ms)
    return waits


def test_until_eight_heights_are_measured_waits_have_given_lengths() -> None:
    waits = waiting()
    assert (waits.grace_ms, waits.replica_ms, waits.hold_ms) == (50, 600, 0)
    waits = measured([5] * 7, 30)
    assert (waits.grace_ms, waits.replica_ms) == (50, 600)


@pytest.mark.parametrize(
    ("late_ms", "grace_ms"),
    [([0] * 8, 2), ([7] * 8, 7), ([900] * 8, 250)],
    ids=["at least 2", "the mean", "at most 250"],
)
def test_t_grace_is_what_the_last_votes_took(late_ms: list[int], grace_ms: int) -> None:
    assert measured(late_ms, 800, quorum_ms=400).grace_ms == grace_ms


def test_t_grace_is_never_longer_than_the_slow_way_would_take() -> None:
    """A block out and a vote back took 20 ms: `pre_prepared` and the commits would, too."""
    assert measured([900] * 8, 30, quorum_ms=20).grace_ms == 20


def test_t_grace_has_four_deviations_of_room() -> None:
    assert measured([20] * 9, 100, quorum_ms=60).grace_ms == 20
    assert (
        measured([20] * 8 + [28], 100, quorum_ms=60).grace_ms == 25
    )  # the mean is 21, the deviation 1 ms


@pytest.mark.parametrize(
    ("round_ms", "replica_ms"), [(1, 100), (33, 100), (34, 102), (80, 240), (900, 1_000)]
)
def test_t_rep_is_three_rounds_from_100_ms_to_half_of_t_view(
    round_ms: int, replica_ms: int
) -> None:
    assert measured([1] * 8, round_ms).replica_ms == replica_ms


@pytest.mark.parametrize(
    ("late_ms", "round_ms", "quorum_ms", "hold_ms"),
    [(7, 80, 60, 7), (200, 80, 200, 60), (200, 300, 60, 30)],
    ids=["T_grace", "a quarter of T_rep", "a leader's way to the q-th vote, halved"],
)
def test_t_hold_is_the_least_of_three(
    late_ms: int, round_ms: int, quorum_ms: int, hold_ms: int
) -> None:
    assert measured([late_ms] * 8, round_ms, quorum_ms).hold_ms == hold_ms


def test_heights_that_fell_back_say_nothing_about_a_round() -> None:
    waits = measured([1] * 8, 80)
    lead(waits, 99, 0)
    assert waits.slow(Cause.GRACE)
    waits.land(CertificateKind.COMMIT, 9_000)
    assert waits.replica_ms == 240


# ---------------------------------------------------------------- which path


def land(policy: PathPolicy, path: Path, *, full: bool, total_ms: int) -> None:
    flight = Flight(Position(0, 0, 1), CHAIN, path, 0, leads=True)
    flight.quorum_ms = 0
    kind = CertificateKind.FAST if full else CertificateKind.COMMIT
    policy.landed(Landing(flight, kind, total_ms, full=full))


def tried(collect_ms: int, broadcast_ms: int) -> PathPolicy:
    """A leader that has had its eight blocks of each path, all of them in time."""
    policy = PathPolicy("auto")
    for path, total_ms in ((Path.BROADCAST, broadcast_ms), (Path.COLLECT, collect_ms)):
        for _ in range(TRIAL):
            assert policy.next() is path
            land(policy, path, full=True, total_ms=total_ms)
    return policy


@pytest.mark.parametrize(
    ("setting", "path"), [("collect", Path.COLLECT), ("broadcast", Path.BROADCAST)]
)
def test_a_path_that_genesis_names_stays(setting: Any, path: Path) -> None:
    policy = PathPolicy(setting)
    for full in (True, False) * 20:
        assert policy.next() is path
        land(policy, path, full=full, total_ms=50)


def test_after_the_trial_the_cheaper_path_is_taken() -> None:
    assert tried(collect_ms=20, broadcast_ms=50).next() is Path.COLLECT
    assert tried(collect_ms=50, broadcast_ms=20).next() is Path.BROADCAST


def test_no_trial_of_collecting_while_votes_go_missing() -> None:
    policy = PathPolicy("auto")
    for count in range(40):
        assert policy.next() is Path.BROADCAST
        land(policy, Path.BROADCAST, full=count % TRIAL > 0, total_ms=50)


def test_three_failures_in_a_row_end_collecting_and_three_successes_above_begin_it() -> None:
    policy = tried(collect_ms=20, broadcast_ms=50)
    for _ in range(FAILURES):
        assert policy.next() is Path.COLLECT
        land(policy, Path.COLLECT, full=False, total_ms=80)
    for _ in range(8):  # it goes on like that
        assert policy.next() is Path.BROADCAST
        land(policy, Path.BROADCAST, full=False, total_ms=50)
    before = successes = 0
    while policy.next() is Path.BROADCAST:
        before, successes = policy.success_ppm, successes + 1
        land(policy, Path.BROADCAST, full=True, total_ms=50)
    begins = 500_000 + BACK_PPM  # (S − P) / (S − F) = (80 − 50) / (80 − 20), and the margin
    assert before <= begins < policy.success_ppm
    assert successes >= SUCCESSES


def test_one_block_in_256_goes_the_other_way() -> None:
    policy = tried(collect_ms=20, broadcast_ms=50)
    paths = []
    for _ in range(2 * PROBE_EVERY):
        path = policy.next()
        paths.append(path)
        land(policy, path, full=True, total_ms=20 if path is Path.COLLECT else 50)
    assert paths.count(Path.BROADCAST) == 2


def test_a_new_leader_starts_afresh() -> None:
    policy = tried(collect_ms=20, broadcast_ms=50)
    assert policy.next() is Path.COLLECT
    policy.restart()
    assert policy.next() is Path.BROADCAST
    assert policy.costs_ms == (0, 0, 0)
