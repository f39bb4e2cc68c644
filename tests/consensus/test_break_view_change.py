"""Attacks on the view change: lost memory, replicas left behind, work for nothing."""

from __future__ import annotations

import pytest

from tests.consensus.group import Group, Member, new_views
from tests.consensus.harness import Lab, block, commit, header, kept, prepare, sent
from tests.consensus.test_review import body_of
from tests.node.plant import LEADER, Host, N, payment, settle
from tests.node.test_gate import Checked, signed
from tests.node.test_gate_views import ONE, TWO, opened, standing
from vppd.codec import Malformed, encode
from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    Fired,
    MessageHeader,
    ObserverRecord,
    Pending,
    PreparedRecord,
    Received,
    Record,
    Timer,
    TimerKind,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import (
    Block,
    Blocks,
    Claim,
    Commit,
    DecidedBlock,
    Equivocation,
    Evidence,
    GetBlock,
    NewView,
    Prepare,
    Round,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.replica import Replica
from vppd.consensus.signing import TAG_VOTE
from vppd.net.gate import header_of
from vppd.node.beats import Frame
from vppd.types import Mode

PROMISES = (Block, Prepare, Commit, ViewChange, NewView)
"""What carries P, 1, 2, V or N: an observer signs none of them (protocol.md, §4)."""


def replica_of(group: Group, index: int) -> Replica:
    replica = group.members[index].replica
    assert replica is not None
    return replica


def why_observer(group: Group, index: int) -> str:
    return replica_of(group, index).status().observer


def silent_restart(group: Group, index: int, log: list[Record]) -> None:
    """Start from an older disk while nobody has last words to show: all others are cut off."""
    group.isolate(index)
    group.power_off(index)
    group.power_on(index, log)
    group.members[index].sent.clear()
    group.fire(TimerKind.START, index)
    group.heal()


def log_before(member: Member, kind: type[Record]) -> list[Record]:
    """An image of this disk as it was before the first record of that kind."""
    first = next(i for i, record in enumerate(member.log) if isinstance(record, kind))
    return member.log[:first]


# ---------------------------------------------------------------- an observer signs nothing


def test_what_was_queued_before_the_demotion_does_not_leave() -> None:
    """A batch holds the leader's block and, from another link, this replica's own later vote.

    The step writes VoteRecord *and* ObserverRecord, and its sends still carry the vote: the
    replica learns that it has forgotten what it signed, and signs the contradiction anyway.
    At a start all links open in one turn of the loop, so that this batch is the normal one.
    """
    group = Group()
    group.isolate(2)
    one = header(group.validators)
    two = header(group.validators, txs=(b"other",))
    step = group.tell(2, block(one), prepare(2, two), sender=0)
    assert kept(step, ObserverRecord)
    assert not [s.message for s in step.send if isinstance(s.message, PROMISES)]


def opened_by_one() -> Group:
    """Replica 1 leads view 1; replica 3 has not heard of it."""
    group = Group()
    group.decide(1)
    group.isolate(3)
    group.power_off(0)
    group.work(1, 2)
    group.tell(1, *group_changes(group, 3), sender=3)
    group.fire(TimerKind.VIEW, 1, 2)
    assert new_views(group, 1)
    return group


def group_changes(group: Group, index: int) -> list[ViewChange]:
    """The view change this replica sends when its leader is silent."""
    group.work(index)
    group.fire(TimerKind.VIEW, index)
    return group.said(index, ViewChange)[-1:]


def test_an_observer_does_not_sign_its_own_new_view_again() -> None:
    """The NV a leader has built lies in its record without a signature, and is signed when sent.

    ``_remind`` sends it to whoever stands lower without asking whether this node still votes, so
    the machine signs tag N with the key of an observer.
    """
    group = opened_by_one()
    group.tell(1, prepare(1, header(group.validators, 9), view=7), sender=2)  # forgotten long ago
    assert why_observer(group, 1)
    group.members[1].sent.clear()
    group.heal()
    group.tick(3)
    signed = [m for m in group.members[1].sent if isinstance(m, PROMISES)]
    assert not signed


def test_an_observer_does_not_sign_its_old_proposal_again() -> None:
    """``get_block`` is answered with the own proposal under a P signature made on the spot."""
    group = Group()
    group.isolate(0)
    group.work(0)
    (proposed,) = group.said(0, Block)
    assert replica_of(group, 0).proposed(proposed.digest) is not None
    group.tell(0, prepare(0, header(group.validators, 9), view=7), sender=2)
    assert why_observer(group, 0)
    assert replica_of(group, 0).proposed(proposed.digest) is None


# ---------------------------------------------------------------- proof of lost memory


def test_own_view_change_inside_a_new_view_is_recognised() -> None:
    """Every replica keeps the new view it stands on, with w signed view changes in it.

    A replica whose disk is older than its own one of them is shown it by each peer's reminder
    (even when all peers have restarted and hold nothing else), enters the view, and votes: the
    vote that its view change claims is forgotten, and its next view change hides it.
    """
    group = Group()
    group.dropped.add(Commit)
    group.work()  # everybody has locked height 1
    group.heal()
    before = log_before(group.members[2], PreparedRecord)
    before = [r for r in before if not isinstance(r, VoteRecord)]
    group.power_off(0)
    group.dropped |= {Block, Prepare, Commit}
    group.fire(TimerKind.VIEW)
    shown = new_views(group, 1)[0]
    assert 2 in {s.signer for s in shown.standings}
    silent_restart(group, 2, before)
    group.tell(2, shown, sender=3)
    assert why_observer(group, 2)


def test_own_new_view_is_recognised() -> None:
    """A leader whose disk has lost the view it opened is shown it, signed by itself.

    Nobody needs to have seen its first proposal there: it accepts the new view like a stranger's,
    and proposes and votes a second time at the same (view, height).
    """
    group = opened_by_one()
    (shown,) = new_views(group, 1)[:1]
    log = group.members[1].log
    before = log[: log.index(ViewRecord(0, 1, Mode.NORMAL))]
    silent_restart(group, 1, before)
    assert (group.views()[0], group.modes()[0]) == (1, Mode.CHANGING)
    group.tell(1, shown, sender=2)
    assert why_observer(group, 1)


def test_own_vote_inside_a_certificate_is_recognised() -> None:
    """After a blackout certificates are all that the others have kept of anybody's votes."""
    group = Group()
    group.decide(1)
    before = [list(member.log) for member in group.members]
    group.decide(2)
    blocks = decided_blocks(group, 0)[1:]
    signer = signers_of(blocks[-1].certificate)[-1]
    silent_restart(group, signer, before[signer])
    group.tell(signer, Blocks(tuple(blocks)), sender=0)
    assert why_observer(group, signer)


def decided_blocks(group: Group, index: int) -> list[DecidedBlock]:
    log = group.members[index].log
    bodies = {r.digest: r for r in log if isinstance(r, BodyRecord)}
    rows = [r for r in log if isinstance(r, DecisionRecord)]
    return [
        DecidedBlock(bodies[r.digest].header, bodies[r.digest].txs, r.certificate) for r in rows
    ]


def test_last_words_survive_a_restart_of_those_who_keep_them() -> None:
    """All lose power at once, one disk comes back older: the others' locks hold its vote.

    ``resume`` notes the votes in the certificate of the head only. The prepared certificate of
    the height in flight and the standings of the new view are in the record too, and are exactly
    the signatures that the replica with the old disk must be shown (protocol.md, §4: the highest
    position a peer *holds*).
    """
    group = Group()
    group.decide(1)
    before = list(group.members[2].log)
    group.dropped.add(Commit)
    group.work()
    assert [len(group.said(i, Commit)) for i in range(4)] == [2, 2, 2, 2], "all have locked"
    group.power_off(0, 1, 2, 3)
    for index in (0, 1, 3):
        group.power_on(index)
    group.power_on(2, before)
    group.run()
    group.fire(TimerKind.START)
    assert why_observer(group, 2)


@pytest.mark.parametrize("found", ["shown", "met"])
def test_proof_against_oneself_is_taken_seriously(found: str) -> None:
    """No honest record allows it: valid evidence against the own key means lost memory, or a twin.

    Shown by a peer, or met by this replica itself: a body under its own P signature that is not
    what it has proposed there. It writes the evidence, tells everybody, and goes on voting.
    """
    group = Group()
    group.isolate(0)
    group.work(0)
    (proposed,) = group.said(0, Block)
    forgotten = block(header(group.validators, 1, txs=(b"forgotten",)), (b"forgotten",))
    if found == "shown":
        pair = (forgotten.digest, forgotten.vote_sig, proposed.digest, proposed.vote_sig)
        group.tell(0, Evidence(Equivocation(Round.PROPOSAL, 0, 0, 1, 0, *pair)), sender=1)
    else:
        group.tell(0, body_of(forgotten), sender=1)
    assert why_observer(group, 0)


# ---------------------------------------------------------------- replicas left behind


def test_a_replica_cut_off_does_not_climb_through_the_views() -> None:
    """T_vc waits for w view changes so that who is alone stays within reach of a refresh.

    ``_on_tick`` calls ``start(view + 1, "censorship")`` in CHANGING too: a DER that is cut off
    with a transaction of its own asks for another view each minute, for as long as it is cut off.
    """
    group = Group()
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    group.tick(600)
    assert group.views()[2] == 1, "ten minutes alone"


def test_who_was_cut_off_comes_home_and_does_not_stop_the_plant() -> None:
    """What the climb leads to: no refresh reaches beyond one rotation, so it stays away for good.

    When one more replica dies, the others meet no w view changes for one view until they have
    climbed up to it, view by view, each T_vc at its cap: minutes to hours without a decision.
    """
    group = Group()
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    group.tick(1_200)
    group.heal()
    group.give(2, Pending(None))
    for _ in range(20):
        group.decide(10)
        group.tick()
    assert set(group.modes()) == {Mode.NORMAL}, f"after 200 heights: views {group.views()}"


def test_a_timer_that_a_decision_in_the_same_batch_has_stopped_does_nothing() -> None:
    """Inputs wait while the disk syncs: commits and the T_view they beat arrive as one batch.

    The decision is made while the batch is taken, but the pacemaker hears of it only in
    ``_finish``: the replica decides and leaves its leader in one step, and stays away alone until
    a refresh 72 heights later.
    """
    lab = Lab()
    lab.pending()
    made = header(lab.validators)
    lab.hear(block(made))
    commits = [Received(i, commit(i, made)) for i in (0, 2, 3)]
    lab.give(*commits, Fired(Timer(TimerKind.VIEW, 0)))
    status = lab.replica.status()
    assert status.decided == 1
    assert (status.view, status.mode) == (0, Mode.NORMAL)


def test_a_transaction_kept_from_the_leader_alone_reaches_it() -> None:
    """Whoever gives a transaction to all but the leader deposes it, transaction by transaction.

    It is work for those who have it, and only the node that took it from a client sends it on:
    an honest leader is given up after T_view (under load after 10 s) without having heard of it.
    """
    hosts = [Host(i) for i in range(N)]
    for host in hosts:
        host.start()
    raw = payment(3)
    for host in hosts[1:3]:
        host.machine.submit(raw, 0, own=False)
    settle(hosts)
    for ms in range(0, 2_000, 250):  # less than T_view
        for host in hosts:
            host.ms = ms
            host.machine.housekeeping(ms)
    settle(hosts)
    assert hosts[LEADER].machine.engine.status().decided == 1


def test_a_new_leader_that_lost_power_fetches_its_choice_again() -> None:
    """NV(choice) is durable, the body it was built upon is not, and nobody asks for it again.

    The leader opens the view while the ledger is still at the head, so that the block does not
    leave in the same step; after the restart it stands in its view, bound to a digest whose body
    it lacks, and waits for T_view.
    """
    lab = Lab(own=1)
    first = header(lab.validators)
    lab.hear(block(first), *(commit(i, first) for i in (0, 2, 3)))  # decided, not executed yet
    second = header(lab.validators, 2, first.digest(), (b"second",))
    lab.hear(block(second, (b"second",)))
    (row,) = [r for r in lab.log if isinstance(r, DecisionRecord)]
    claim = Claim(0, second.digest())
    asked = [
        ViewChange(
            Standing(0, 1, i, 1, first.digest(), claim, None, bytes(64)), row.certificate, None
        )
        for i in (2, 3)
    ]
    step = lab.hear(*asked)
    (own,) = sent(step, ViewChange)
    (shown,) = sent(lab.hear(own, sender=1), NewView)
    assert shown.choice == second.digest()
    steps = [lab.restart(), lab.applied(1), lab.status_of(2, 1, view=1)]
    assert any(sent(step, Block) or sent(step, GetBlock) for step in steps)


# ---------------------------------------------------------------- work for nothing


def test_a_body_that_nobody_has_asked_for_is_not_checked() -> None:
    """A body costs a signature per transaction, 4,096 of them, and the core drops it.

    ``wants`` lets every digest through that is not held, at any height and view, also a third one
    for a place where the leader is known to have lied. Any replica can sign such bodies: it leads
    some view.
    """
    replica = replica_of(Group(), 2)
    assert not replica.wants(MessageHeader(Type.BLOCK_BODY, 0, 10**6 + 1, 10**6, bytes(32), 1))
    assert not replica.wants(MessageHeader(Type.BLOCK_BODY, 0, 0, 1, bytes(32), 0))


def test_a_new_view_of_one_replica_shown_w_times_costs_no_signatures() -> None:
    """Cheap first (protocol.md, §14): what follows from the standings needs no key to be refused.

    The leader of some later view shows its own view change w times, with certificates that hold.
    The gate verifies 1 + w + 2q signatures, the core ignores it, nobody is blamed, and it may come
    again at once.
    """
    checked = Checked()
    made = standing(1)
    with pytest.raises(Malformed):
        checked.gate.check(opened(made, made, made))
    assert checked.count == 0


def test_evidence_that_is_known_is_not_checked_again() -> None:
    """Evidence is always wanted: two signatures for every repetition of the same 300 bytes."""
    host = Host(2)
    host.start()
    votes = [signed(TAG_VOTE, 1, digest, 3) for digest in (ONE, TWO)]
    proof = Equivocation(Round.VOTE, 0, 0, 1, 3, ONE, votes[0], TWO, votes[1])
    frame = Frame((2,), Type.EVIDENCE, encode(Evidence(proof)))
    host.take(1, frame)
    host.turn()
    assert host.machine.engine.status().evidence == 1
    assert not host.machine.wants(1, Evidence(proof))


def test_the_own_view_change_shown_again_is_not_checked_again() -> None:
    """Any peer may show it any number of times: 1 + 2q signatures each, for what is known."""
    group = Group()
    group.decide(1)
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    assert group.modes()[1] is Mode.NORMAL
    (asked, *_) = group.said(2, ViewChange)
    replica = replica_of(group, 2)
    shown = header_of(asked, lambda _, *at: replica.leader(*at))
    assert shown is not None
    assert not replica.wants(shown)


def test_a_new_view_that_does_not_follow_is_looked_at_once() -> None:
    """Its leader has signed it: nothing else that one says about this view is worth a check."""
    group = Group()
    group.isolate(3)
    lie = opened(*(standing(i) for i in range(3)), choice=ONE)
    replica = replica_of(group, 3)
    header_ = header_of(lie, lambda _, *at: replica.leader(*at))
    assert header_ is not None
    assert replica.wants(header_)
    group.tell(3, lie, sender=1)
    assert group.views()[3] == 0
    assert not replica.wants(header_)
