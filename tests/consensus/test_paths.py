"""protocol.md, §5 Fallback and Hold-back, §9: where votes go, and when the wait for all ends."""

from __future__ import annotations

import pytest

from tests.consensus.group import Group
from tests.consensus.harness import block, header, prepare, signature
from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import PreparedRecord, TimerKind, VoteRecord
from vppd.consensus.flight import HOLD_STREAK
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Path,
    Prepare,
    PrePrepared,
)
from vppd.consensus.profile import BNCM, PBFT
from vppd.types import Mode


def plant(
    path: PathSetting = "collect", n: int = 4, *, f: int | None = None, p: int | None = None
) -> Group:
    return Group(n, BNCM, f, p, path)


def silence(group: Group, *indices: int) -> None:
    """From here on these are dead."""
    group.power_off(*indices)


def certificates(group: Group, index: int) -> list[int]:
    """Kinds of the certificates by which a replica decided."""
    member = group.members[index]
    return [d.certificate.kind for step in member.steps for d in step.commit]


def statuses(group: Group, index: int) -> dict[str, int]:
    replica = group.members[index].replica
    assert replica is not None
    return dict(replica.status().decisions)


def causes(group: Group, index: int) -> dict[str, int]:
    replica = group.members[index].replica
    assert replica is not None
    return dict(replica.status().fallbacks)


# ---------------------------------------------------------------- collect, everybody answers


def test_votes_go_to_the_leader_and_an_agree_comes_back() -> None:
    group = plant()
    group.decide()
    assert group.heights() == [1] * 4
    assert [m.path for m in group.said(0, Block)] == [Path.COLLECT]
    for index in (1, 2, 3):
        assert len(group.said(index, Collected)) == 1
        assert not group.said(index, Prepare)
    assert [m.certificate.kind for m in group.said(0, Agree)] == [CertificateKind.FAST]
    assert not any(group.said(i, Commit) for i in range(4))


def test_the_collector_path_takes_3n_minus_3_messages() -> None:
    group = plant(n=10)
    counted = (Block, Collected, Prepare, PrePrepared, Commit, Agree)
    before = [len(m.sent) for m in group.members]
    group.decide()
    messages = 0
    for member, start in zip(group.members, before, strict=True):
        for step in member.steps:
            messages += sum(
                9 if send.to == "all" else len(send.to)
                for send in step.send
                if isinstance(send.message, counted)
            )
        assert start <= len(member.sent)
    assert messages == 27


def test_the_agree_leaves_after_the_decision_is_kept_and_before_execution() -> None:
    group = plant()
    group.decide()
    step = next(s for s in group.members[0].steps if s.commit)
    assert any(isinstance(send.message, Agree) for send in step.send)
    assert step.persist


def test_a_vote_for_the_leader_is_as_durable_as_one_for_all() -> None:
    group = plant()
    group.decide()
    step = next(
        s for s in group.members[2].steps if any(isinstance(x.message, Collected) for x in s.send)
    )
    assert any(isinstance(record, VoteRecord) for record in step.persist)


def test_both_envelopes_carry_the_same_signature() -> None:
    """A replica that falls back signs nothing anew: the record allows exactly that digest."""
    group = plant()
    group.dropped.add(Agree)
    silence(group, 3)
    group.work()
    group.fire(TimerKind.REPLICA, 2)
    (quiet,) = group.said(2, Collected)
    loud = group.said(2, Prepare)
    assert loud
    assert {(m.view, m.height, m.digest) for m in loud} == {
        (quiet.view, quiet.height, quiet.digest)
    }


# ---------------------------------------------------------------- the wait ends


def test_the_leader_gives_the_rest_a_grace_and_then_shows_q_votes() -> None:
    group = plant()
    silence(group, 3)
    group.work()
    assert group.heights()[:3] == [0, 0, 0]
    assert group.armed(0, TimerKind.GRACE)
    group.fire(TimerKind.GRACE, 0)
    assert group.heights()[:3] == [1, 1, 1]
    (shown,) = group.said(0, PrePrepared)
    assert shown.prepared is not None
    assert causes(group, 0) == {"grace": 1}
    assert causes(group, 1) == {"leader": 1}
    assert certificates(group, 1) == [CertificateKind.COMMIT]
    assert statuses(group, 0) == {"slow": 1}


def test_who_is_shown_q_votes_commits_without_preparing() -> None:
    group = plant()
    silence(group, 3)
    group.work()
    group.fire(TimerKind.GRACE, 0)
    for index in (1, 2):
        assert not group.said(index, Prepare)
        assert len(group.said(index, Commit)) == 1


def test_the_grace_begins_once_with_the_vote_that_makes_q() -> None:
    group = plant()
    group.isolate(2, 3)
    group.work()
    assert not group.armed(0, TimerKind.GRACE)
    group.heal()
    group.isolate(3)
    group.tick()
    assert group.armed(0, TimerKind.GRACE)


def test_a_replica_that_hears_no_decision_tells_everybody() -> None:
    group = plant()
    group.dropped |= {Agree, PrePrepared}
    group.isolate(0)
    group.cut.clear()
    group.work()
    assert statuses(group, 0) == {"fast": 1}
    assert group.heights() == [1, 0, 0, 0]  # the agree was lost
    group.fire(TimerKind.REPLICA, 1)
    assert group.said(1, Prepare)
    assert causes(group, 1) == {"replica_timer": 1}


def test_f_plus_1_who_have_given_up_pull_in_the_rest() -> None:
    group = plant()
    group.dropped |= {Agree, PrePrepared}
    group.work()
    group.fire(TimerKind.REPLICA, 1)
    assert not causes(group, 3)  # one may lie
    group.fire(TimerKind.REPLICA, 2)
    assert group.said(3, Commit)  # with theirs and the leader's it has q votes already
    assert causes(group, 3) == {"prepares": 1}


def test_q_replicas_finish_without_a_leader_that_has_gone_silent() -> None:
    group = plant()
    group.dropped |= {Collected}  # nothing is collected
    group.work()
    silence(group, 0)
    group.fire(TimerKind.REPLICA)
    assert group.heights()[1:] == [1, 1, 1]
    assert group.modes() == [Mode.NORMAL] * 3


def test_falling_back_moves_neither_view_nor_digest() -> None:
    group = plant()
    silence(group, 3)
    group.work()
    (opened,) = group.said(0, Block)
    group.fire(TimerKind.GRACE, 0)
    assert group.views() == [0, 0, 0]
    assert group.members[1].decided == {1: opened.digest}
    assert len(group.said(0, Block)) == 1  # no body again


def test_a_fast_decision_stays_possible_after_the_wait_has_ended() -> None:
    group = plant()
    group.dropped.add(Commit)
    group.isolate(3)
    group.work()
    group.fire(TimerKind.GRACE, 0)
    assert group.heights() == [0, 0, 0, 0]
    group.cut.clear()
    group.tick(2)
    assert group.heights() == [1, 1, 1, 1]
    assert certificates(group, 0) == [CertificateKind.FAST]


def test_what_the_leader_shows_must_be_for_its_one_proposal() -> None:
    """A second proposal in this envelope is proof as good as in the other."""
    group = plant()
    group.dropped.add(Collected)
    group.work()
    other = header(group.validators, txs=(b"other",))
    made = block(other, (b"other",))
    lie = PrePrepared(0, 0, 1, other.digest(), made.proposal_sig, None)
    step = group.tell(1, lie, sender=0)
    assert step.faults
    assert group.modes()[1] is Mode.CHANGING


def test_a_replica_without_the_body_fetches_what_the_leader_shows() -> None:
    group = plant()
    group.isolate(2)
    group.work()
    group.heal()
    made = group.said(0, Block)[0]
    at = (made.epoch, made.view, made.height, made.digest)
    signed = {i: signature(i, at) for i in (0, 1, 3)}
    held = Certificate(CertificateKind.PREPARED, *at, bytes([0b1011]), tuple(signed.values()))
    group.tell(2, PrePrepared(*at, made.proposal_sig, held), sender=0)
    group.run()
    assert any(isinstance(r, PreparedRecord) for r in group.members[2].log)
    assert group.said(2, Commit)


def test_after_a_restart_a_vote_is_told_to_everybody() -> None:
    group = plant()
    group.dropped |= {Agree, Collected}
    group.work()
    group.power_off(2)
    group.power_on(2)
    group.run()
    group.fire(TimerKind.START, 2)
    group.tick()
    assert group.said(2, Prepare)


def test_the_leader_repeats_the_end_of_the_wait_once_it_has_the_votes() -> None:
    group = plant()
    group.dropped |= {Commit}
    group.isolate(3)
    group.work()
    group.fire(TimerKind.GRACE, 0)
    shown = len(group.said(0, PrePrepared))
    group.tick(2)
    assert len(group.said(0, PrePrepared)) > shown


# ---------------------------------------------------------------- broadcast


def test_f_votes_decide_at_once_and_nobody_commits() -> None:
    group = plant("broadcast")
    group.decide(HOLD_STREAK + 2)
    assert group.heights() == [HOLD_STREAK + 2] * 4
    for index in range(4):
        assert set(certificates(group, index)) == {CertificateKind.FAST}
        assert not group.said(index, Agree)
    late = [m for i in range(4) for m in group.said(i, Commit) if m.height > HOLD_STREAK]
    assert not late


def warm(path: PathSetting = "broadcast") -> Group:
    """A plant in which the last decisions were fast ones."""
    group = plant(path)
    group.decide(HOLD_STREAK)
    return group


def test_a_commit_waits_for_the_rest_of_the_votes() -> None:
    group = warm()
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    height = HOLD_STREAK + 1
    assert not [m for m in group.said(1, Commit) if m.height == height]
    assert group.armed(1, TimerKind.HOLD)
    group.fire(TimerKind.HOLD, 0, 1, 2)
    assert group.heights() == [height] * 4
    assert causes(group, 1) == {"hold": 1}


def test_after_one_fast_exit_that_failed_nobody_holds_back() -> None:
    group = warm()
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    group.fire(TimerKind.HOLD, 0, 1, 2)
    group.rest()
    group.run()
    group.work()
    assert group.heights()[:3] == [HOLD_STREAK + 2] * 3
    assert not group.armed(1, TimerKind.HOLD)


def test_until_enough_have_succeeded_nobody_holds_back() -> None:
    group = plant("broadcast")
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    assert group.heights()[:3] == [1, 1, 1]


def test_nobody_holds_back_while_f_votes_cannot_come() -> None:
    group = warm()
    silence(group, 3)
    group.tick(5)  # its status is stale
    group.work()
    assert group.heights()[:3] == [HOLD_STREAK + 1] * 3


def test_f_plus_1_commits_end_the_hold() -> None:
    group = warm()
    group.cut |= {(3, i) for i in range(3)}
    group.work()
    group.fire(TimerKind.HOLD, 0)
    assert group.armed(2, TimerKind.HOLD)  # one may lie
    group.fire(TimerKind.HOLD, 1)
    assert group.heights()[:3] == [HOLD_STREAK + 1] * 3
    assert "hold" not in causes(group, 2)


def test_with_slack_the_fast_path_survives_a_dead_gateway() -> None:
    group = plant("broadcast", n=6)
    assert group.quorum.p == 1
    silence(group, 5)
    group.decide(3)
    assert certificates(group, 0) == [CertificateKind.FAST] * 3
    assert group.heights()[:5] == [3] * 5


def test_a_lower_f_buys_slack() -> None:
    group = plant("collect", n=10, f=2)
    assert group.quorum.p == 1
    silence(group, 9)
    group.decide(2)
    assert set(certificates(group, 0)) == {CertificateKind.FAST}


# ---------------------------------------------------------------- pbft is what it was


def test_pbft_has_no_fast_exit_holds_nothing_back_and_ignores_the_path() -> None:
    group = Group(4, PBFT, path="collect")
    group.decide(HOLD_STREAK + 1)
    for index in range(4):
        assert set(certificates(group, index)) == {CertificateKind.COMMIT}
        assert len(group.said(index, Commit)) == HOLD_STREAK + 1
        assert not group.said(index, Collected)


# ---------------------------------------------------------------- size one


@pytest.mark.parametrize("path", ["collect", "broadcast", "auto"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_plants(n: int, path: PathSetting) -> None:
    group = plant(path, n)
    group.decide(30)
    assert group.heights() == [30] * n


def test_a_prepare_after_a_received_is_counted_once() -> None:
    group = plant()
    group.dropped |= {Agree, PrePrepared}
    group.isolate(3)
    group.work()
    made = group.said(0, Block)[0]
    for _ in range(2):
        loud = prepare(1, header(group.validators))
        group.tell(0, type(loud)(0, 0, 1, made.digest, 1, signature(1, "again")), sender=1)
    assert group.heights()[0] == 0  # three votes, however often one of them is told
