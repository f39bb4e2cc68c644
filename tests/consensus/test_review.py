"""Regressions: each of these once stopped a replica, or let a peer make it work for nothing."""

from __future__ import annotations

from tests.consensus.harness import Lab, block, commit, header, prepare, sent, sent_to
from tests.consensus.test_restart import decided
from vppd.consensus.boundary import MessageHeader, Offered, TimerKind, VoteRecord
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Commit,
    GetBlocks,
    Prepare,
    Type,
)


def body_of(proposal: Block) -> BlockBody:
    return BlockBody(
        proposal.epoch, proposal.view, proposal.height, proposal.digest, proposal.header,
        proposal.txs, proposal.proposal_sig,
    )  # fmt: skip


def test_a_body_from_elsewhere_does_not_make_us_deaf_to_the_leaders_vote() -> None:
    """The leader's first-round vote travels in ``block`` only."""
    lab = Lab(5)
    made = header(lab.validators)
    proposal = block(made)
    lab.hear(body_of(proposal), sender=3)
    wanted = MessageHeader(Type.BLOCK, 0, 0, 1, made.digest(), 0)
    assert lab.replica.wants(wanted)
    lab.hear(proposal)
    assert not lab.replica.wants(wanted), "now it has nothing new to say"
    lab.hear(prepare(2, made))
    assert not sent(lab.hear(prepare(1, made), sender=1), Commit)
    assert sent(lab.hear(prepare(3, made)), Commit), "leader, 1, 2 and 3 are q = 4"


def test_a_leaders_vote_for_anything_does_not_make_us_deaf_to_its_block() -> None:
    """A vote makes no proposal: without the block nobody here could ever vote."""
    lab = Lab(5)
    made = header(lab.validators)
    lab.hear(prepare(0, header(lab.validators, txs=(b"other",))))
    assert lab.replica.wants(MessageHeader(Type.BLOCK, 0, 0, 1, made.digest(), 0))
    assert sent(lab.hear(block(made)), Prepare), "it votes for what was proposed"


def test_a_record_with_a_vote_but_no_proposal_never_asks_for_a_block() -> None:
    """An old disk image of a leader: asking again and again would spin for ever."""
    lab = Lab(own=0)
    made = header(lab.validators)
    lab.restart([VoteRecord(0, 0, 1, made.digest())])
    lab.applied(0)
    assert lab.pending().want is None
    step = lab.give(Offered(header(lab.validators, txs=(b"x",)).encode(), (b"x",)))
    assert not step.persist


def test_an_answer_that_brings_nothing_is_the_next_peers_turn() -> None:
    lab = Lab()
    lab.status_of(2, 7)
    lab.status_of(3, 7)
    step = lab.hear(Blocks((decided(lab, header(lab.validators, 5)),)), sender=2)
    assert [to for to, _ in sent_to(step, GetBlocks)] == [(3,)]


def test_a_range_that_was_decided_meanwhile_is_not_waited_for() -> None:
    lab = Lab()
    lab.status_of(2, 7)
    lab.decide(header(lab.validators))
    step = lab.status_of(3, 9)
    assert [(to, m.first) for to, m in sent_to(step, GetBlocks)] == [((3,), 2)]


def test_the_same_equivocation_is_one_piece_of_evidence() -> None:
    lab = Lab()
    first, second = header(lab.validators), header(lab.validators, txs=(b"other",))
    lab.hear(block(first), prepare(2, first))
    assert len(lab.hear(prepare(2, second)).faults) == 1
    assert not lab.hear(prepare(2, second)).faults
    assert lab.replica.status().evidence == 1
    assert not lab.replica.wants(MessageHeader(Type.PREPARE, 0, 0, 1, second.digest(), 2))


def test_a_flickering_status_does_not_buy_more_reminders() -> None:
    lab = Lab(own=0)
    lab.pending()
    lab.offer(header(lab.validators))
    lab.ms = 1_000
    blocks = 0
    for flicker in range(100):
        blocks += len(sent(lab.status_of(2, 0, view=0), Block)) + len(
            sent(lab.status_of(2, flicker % 2, view=0), Block)
        )
    assert blocks <= 1


def test_commits_beyond_the_quorum_are_not_verified() -> None:
    lab = Lab(7, own=None)
    made = header(lab.validators)
    lab.hear(*(commit(i, made) for i in range(5)))
    assert not lab.replica.wants(MessageHeader(Type.COMMIT, 0, 0, 1, made.digest(), 6))


def test_the_tick_goes_on_whatever_happens() -> None:
    lab = Lab()
    for _ in range(5):
        step = lab.fire(TimerKind.TICK)
        assert TimerKind.TICK in {timer.kind for timer, _ in step.timers}


def test_who_has_said_nothing_since_a_decision_is_not_told_of_it_again() -> None:
    """Under load every status is older than the last decision: no certificate for each of them."""
    lab = Lab()
    lab.ms = 100
    for peer in (1, 2, 3):
        lab.status_of(peer, 0)
    lab.ms = 200
    lab.decide(header(lab.validators))
    lab.ms = 2_200
    assert not sent(lab.fire(TimerKind.TICK), Agree)
    lab.ms = 2_300
    late = lab.status_of(2, 0)
    lab.ms = 4_400
    for peer in (1, 3):
        lab.status_of(peer, 1)
    later = lab.fire(TimerKind.TICK)
    told = [
        send.to for step in (late, later) for send in step.send if isinstance(send.message, Agree)
    ]
    assert set(told) == {(2,)}, told
