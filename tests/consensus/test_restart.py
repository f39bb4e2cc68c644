"""protocol.md, §4 On restart, §5 Resend, §10 Catch-up: what a replica does with its record."""

from __future__ import annotations

from tests.consensus.harness import (
    Lab,
    block,
    commit,
    header,
    kept,
    prepare,
    sent,
    sent_to,
)
from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    ProposalRecord,
    TimerKind,
    VoteRecord,
)
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    CertificateKind,
    Commit,
    DecidedBlock,
    GetBlock,
    GetBlocks,
    Prepare,
    Status,
)
from vppd.header import Header


def decided(lab: Lab, made: Header, txs: tuple[bytes, ...] = (b"tx",)) -> DecidedBlock:
    q = lab.quorum
    signatures = {i: commit(i, made).sig for i in range(q.vote)}
    proof = assemble(
        CertificateKind.COMMIT, 0, 0, made.height, made.digest(), signatures, q.n, q.vote
    )
    return DecidedBlock(made.encode(), txs, proof)


def test_after_a_restart_the_same_vote_is_said_again_and_no_other() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    lab.restart()
    step = lab.applied(0)
    assert [p.digest for p in sent(step, Prepare)] == [made.digest()]
    other = header(lab.validators, txs=(b"other",))
    step = lab.hear(block(other, (b"other",)))
    assert not step.persist
    assert not sent(step, Prepare)


def test_a_vote_whose_write_was_lost_was_never_sent_so_another_is_allowed() -> None:
    lab = Lab()
    lab.hear(block(header(lab.validators)))
    lab.restart([])
    lab.applied(0)
    other = header(lab.validators, txs=(b"other",))
    assert sent(lab.hear(block(other, (b"other",))), Prepare)


def test_after_a_restart_the_leader_sends_exactly_its_proposal() -> None:
    lab = Lab(own=0)
    lab.pending()
    made = header(lab.validators)
    lab.offer(made)
    lab.restart()
    step = lab.applied(0)
    assert [(b.digest, b.txs) for b in sent(step, Block)] == [(made.digest(), (b"tx",))]
    assert lab.pending().want is None, "no second proposal at this height"
    assert not kept(step, ProposalRecord)


def test_after_a_restart_a_locked_replica_says_commit_again() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made), prepare(2, made), prepare(3, made))
    lab.restart()
    step = lab.applied(0)
    assert [c.digest for c in sent(step, Commit)] == [made.digest()]


def test_after_a_restart_the_head_is_the_last_decision() -> None:
    lab = Lab()
    first = header(lab.validators)
    lab.decide(first)
    lab.restart()
    assert lab.replica.status().decided == 1
    assert lab.replica.status().head == first.digest()
    second = header(lab.validators, 2, first.digest())
    lab.applied(1)
    assert sent(lab.hear(block(second)), Prepare)


def test_a_record_beyond_the_next_height_makes_an_observer() -> None:
    lab = Lab()
    lab.restart([VoteRecord(0, 0, 5, b"\x07" * 32)])
    lab.applied(0)
    assert not sent(lab.hear(block(header(lab.validators))), Prepare)


def test_status_says_where_a_replica_stands_every_tick_and_at_start() -> None:
    lab = Lab()
    assert [s.decided for s in sent(lab.boot, Status)] == [0]
    step = lab.fire(TimerKind.TICK)
    assert [s.decided for s in sent(step, Status)] == [0]
    assert TimerKind.TICK in {timer.kind for timer, _ in step.timers}


def test_a_laggard_gets_the_decision() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.decide(made)
    step = lab.status_of(3, 0)
    assert [(to, m.certificate.height) for to, m in sent_to(step, Agree)] == [((3,), 1)]


def test_a_peer_beside_us_gets_our_vote_again_while_undecided() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    lab.ms = 1_000
    step = lab.status_of(3, 0)
    assert [to for to, _ in sent_to(step, Prepare)] == [(3,)]


def test_the_leader_sends_its_open_block_again() -> None:
    lab = Lab(own=0)
    lab.pending()
    lab.offer(header(lab.validators))
    lab.ms = 1_000
    step = lab.status_of(2, 0)
    assert [to for to, _ in sent_to(step, Block)] == [(2,)]


def test_what_has_just_left_is_not_sent_again() -> None:
    lab = Lab()
    lab.hear(block(header(lab.validators)))
    lab.ms = 50
    assert not sent(lab.status_of(3, 0), Prepare)


def test_a_node_that_is_behind_asks_a_peer_that_is_ahead() -> None:
    lab = Lab()
    step = lab.status_of(2, 7)
    assert [(to, m.first) for to, m in sent_to(step, GetBlocks)] == [((2,), 1)]


def test_one_request_at_a_time_and_the_next_peer_after_a_silence() -> None:
    lab = Lab()
    lab.status_of(2, 7)
    assert not sent(lab.status_of(3, 7), GetBlocks)
    step = lab.fire(TimerKind.FETCH, 0)
    assert [to for to, _ in sent_to(step, GetBlocks)] == [(3,)]


def test_decided_blocks_are_taken_with_their_certificates() -> None:
    lab = Lab()
    first = header(lab.validators)
    second = header(lab.validators, 2, first.digest())
    lab.status_of(2, 3)
    step = lab.hear(Blocks((decided(lab, first), decided(lab, second))), sender=2)
    assert [d.height for d in step.commit] == [1, 2]
    assert [r.height for r in kept(step, DecisionRecord)] == [1, 2]
    assert [m.first for m in sent(step, GetBlocks)] == [3]


def test_blocks_out_of_order_change_nothing() -> None:
    lab = Lab()
    first = header(lab.validators)
    second = header(lab.validators, 2, first.digest())
    step = lab.hear(Blocks((decided(lab, second),)), sender=2)
    assert not step.persist
    assert not step.commit


def test_agree_decides_when_the_body_is_held() -> None:
    lab = Lab()
    made = header(lab.validators)
    lab.hear(block(made))
    step = lab.hear(Agree(decided(lab, made).certificate), sender=3)
    assert [d.height for d in step.commit] == [1]


def test_agree_without_the_body_fetches_it_and_then_decides() -> None:
    lab = Lab()
    made = header(lab.validators)
    step = lab.hear(Agree(decided(lab, made).certificate), sender=3)
    assert [m.digest for m in sent(step, GetBlock)] == [made.digest()]
    answer = block(made)
    body = BlockBody(
        answer.epoch, answer.view, answer.height, answer.digest, answer.header, answer.txs,
        answer.proposal_sig,
    )  # fmt: skip
    step = lab.hear(body, sender=0)
    assert [d.height for d in step.commit] == [1]
    assert [type(r) for r in step.persist].index(BodyRecord) == 0


def test_f_plus_1_votes_for_an_unknown_digest_fetch_its_body() -> None:
    lab = Lab()
    made = header(lab.validators)
    assert not sent(lab.hear(prepare(2, made)), GetBlock)
    step = lab.hear(prepare(3, made))
    assert [(to, m.digest) for to, m in sent_to(step, GetBlock)] == [((2,), made.digest())]
    step = lab.fire(TimerKind.FETCH, 1)
    assert [to for to, _ in sent_to(step, GetBlock)] == [(3,)]
