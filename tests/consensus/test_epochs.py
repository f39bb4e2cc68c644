"""protocol.md, §10 Activation and Membership, as far as the core is concerned; §4, epoch reset."""

from __future__ import annotations

from typing import Any

import pytest

from tests.consensus.group import Group, nonce_of
from tests.consensus.harness import (
    CHAIN,
    UNIX_MS,
    Lab,
    block,
    commit,
    equivocations,
    era_set,
    header,
    kept,
    prepare,
    sent,
    sent_to,
    signature,
)
from tests.consensus.test_break_view_change import replica_of
from vppd.consensus.boundary import (
    Applied,
    DecisionRecord,
    Drawn,
    ObserverRecord,
    Timer,
    TimerKind,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import (
    Agree,
    Block,
    Blocks,
    Certificate,
    Collected,
    Commit,
    GetBlocks,
    Prepare,
    Standing,
    Status,
    ViewChange,
)
from vppd.consensus.replica import RESEND_AFTER_MS
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import sha256
from vppd.header import Header
from vppd.types import Digest, Mode

SAME = era_set(1, 3, 0, 1, 2, 3)
TURNED = era_set(1, 3, 1, 2, 3, 0)
"""The same replicas, each with another index."""


def change(signer: int, view: int, epoch: int = 0, cert: Certificate | None = None) -> ViewChange:
    """The view change of one who has nothing to claim."""
    decided, head = (0, CHAIN) if cert is None else (cert.height, cert.digest)
    sig = signature(signer, ("V", epoch, view))
    return ViewChange(Standing(epoch, view, signer, decided, head, None, None, sig), cert, None)


def crossed(after: ValidatorSet = SAME, own: int | None = 1, **options: Any) -> tuple[Lab, Header]:
    """A replica in the first view of ``after``, and a block that may be its first."""
    lab = Lab(own=own)
    lab.last_of_epoch(after)
    lab.enter(after, **options)
    return lab, next_block(lab)


def next_block(lab: Lab, **changes: Any) -> Header:
    status = lab.replica.status()
    changes.setdefault("proposer", lab.validators.members[status.leader].key)
    return header(lab.validators, status.decided + 1, status.head, **changes)


def propose(lab: Lab, made: Header) -> Block:
    return block(made, leader=lab.replica.leader(0, made.height))


def named(lab: Lab) -> str:
    return lab.replica.status().observer


# ---------------------------------------------------------------- when an epoch begins


def test_the_block_before_an_epoch_is_decided_by_the_old_set_and_names_the_new_one() -> None:
    lab = Lab()
    lab.decided(first := header(lab.validators))
    lab.applied(1, SAME)
    old = header(lab.validators, 2, first.digest())
    assert not sent(lab.hear(block(old)), Prepare), "it names who votes now"
    lab = Lab()
    lab.decided(first)
    lab.applied(1, SAME)
    right = header(lab.validators, 2, first.digest(), next_validators=SAME.digest)
    (vote,) = sent(lab.hear(block(right)), Prepare)
    assert (vote.epoch, vote.height) == (0, 2)
    step = lab.hear(*(commit(i, right) for i in (0, 2, 3)))
    (row,) = kept(step, DecisionRecord)
    assert row.certificate.epoch == 0


def test_what_follows_in_another_epoch_is_not_announced_one_height_too_early() -> None:
    """Executed in n, in force from n + 2: the header of n itself still names the old set."""
    lab = Lab()
    early = header(lab.validators, next_validators=SAME.digest)
    assert not sent(lab.hear(block(early)), Prepare)


@pytest.mark.parametrize(
    "other",
    [
        era_set(1, 3, 0, 1, 2, 4),
        era_set(1, 4, 0, 1, 2, 3),
        era_set(2, 3, 0, 1, 2, 3),
        era_set(1, 3, 0, 1, 3, 2),
        era_set(1, 3, 0, 1, 2, 3, nonces={2: nonce_of(2)}),
    ],
    ids=["key", "first", "epoch", "order", "nonce"],
)
def test_s7_membership_provable(other: ValidatorSet) -> None:
    """Who crosses by headers alone learns each set from one that the set before has decided."""
    lab = Lab()
    lab.last_of_epoch(SAME)
    rows = [record for record in lab.log if isinstance(record, DecisionRecord)]
    known = lab.validators
    for row in rows:
        check_certificate(row.certificate, known, CHAIN, lambda *_: True)
    assert lab.replica.status().head == rows[-1].digest
    announced = header(lab.validators, 2, rows[0].digest, next_validators=SAME.digest)
    assert announced.digest() == rows[-1].digest
    assert other.digest != SAME.digest
    lab.enter(SAME)
    made = next_block(lab, next_validators=other.digest)
    assert not sent(lab.hear(propose(lab, made)), Prepare), "no set announces itself"


def test_each_height_has_one_epoch() -> None:
    lab, made = crossed()
    stale = header(Lab().validators, 3, made.parent)
    assert not lab.hear(block(stale)).send, "of the old epoch, above its last height"
    assert sent(lab.hear(propose(lab, made)), Prepare)


def test_certificates_of_the_old_epoch_decide_nothing_above_its_end() -> None:
    lab, made = crossed()
    lab.hear(propose(lab, made))
    head = lab.replica.status().decided
    old = header(Lab().validators, 3, made.parent)
    votes = {i: commit(i, old).sig for i in (0, 2, 3)}
    forged = Certificate(2, 0, 0, 3, made.digest(), b"\x0d", tuple(votes.values()))
    lab.hear(Agree(forged))
    lab.hear(*(commit(i, old) for i in (0, 2, 3)))
    assert lab.replica.status().decided == head


def test_nothing_is_voted_for_between_the_last_decision_and_its_execution() -> None:
    lab = Lab()
    lab.last_of_epoch(SAME)
    made = next_block(lab)
    step = lab.hear(block(made), *(prepare(i, made) for i in (0, 2, 3)))
    assert not sent(step, Prepare)
    assert not sent(step, Commit)
    assert lab.pending().want is None


def test_an_ended_epoch_changes_no_view_and_takes_no_time_over_those_who_ask() -> None:
    """f+1 who have not decided its last block yet ask for another view: nothing follows."""
    lab = Lab()
    lab.last_of_epoch(SAME)
    step = lab.hear(change(2, 1), change(3, 1))
    assert not sent(step, ViewChange)
    assert lab.replica.status().view == 0


def test_who_decides_the_last_block_in_one_batch_with_calls_for_a_view_goes_on() -> None:
    lab = Lab()
    lab.last_of_epoch(era_set(1, 2, 0, 1, 2, 3))
    lab = Lab()
    lab.decided(first := header(lab.validators))
    lab.applied(1, SAME)
    last = header(lab.validators, 2, first.digest(), next_validators=SAME.digest)
    lab.hear(block(last))
    lab.hear(*(commit(i, last) for i in (0, 2, 3)), change(2, 1), change(3, 2))
    assert lab.replica.status().decided == 2
    lab.enter(SAME)
    assert (lab.replica.status().epoch, lab.replica.status().view) == (1, 0)


# ---------------------------------------------------------------- epoch reset


def test_s6_epoch_resets_view() -> None:
    """A vote at view 5, and a new epoch at view 0: its votes are later than all before it."""
    group = Group(eras=[SAME])
    group.decide(1)
    group.dropped = {Block}
    group.work()
    for _ in range(5):
        group.fire(TimerKind.VIEW)
    group.dropped = {Commit}
    group.tick()
    group.rest()
    votes = [r for r in group.members[2].log if isinstance(r, VoteRecord)]
    assert (votes[-1].epoch, votes[-1].view, votes[-1].height) == (0, 5, 2)
    group.heal()
    group.tick(2)
    assert set(group.heights()) == {2}
    assert {m.replica.status().epoch for m in group.members if m.replica} == {1}
    assert set(group.views()) == {0}
    group.decide(2)
    assert set(group.heights()) == {4}
    votes = [r for r in group.members[2].log if isinstance(r, VoteRecord)]
    assert (votes[-1].epoch, votes[-1].view, votes[-1].height) == (1, 0, 4)


def test_the_reset_is_durable_before_anything_of_the_epoch_leaves() -> None:
    lab = Lab()
    lab.last_of_epoch(SAME)
    step = lab.enter(SAME, ready=False)
    assert step.persist == (ViewRecord(1, 0, Mode.NORMAL),)
    assert [m.epoch for m in sent(step, Status)] == [1]


def test_a_restart_before_the_switch_begins_in_the_new_epoch() -> None:
    lab = Lab()
    lab.last_of_epoch(SAME)
    lab.validators, lab.quorum = SAME, SAME.quorum
    step = lab.restart(ready=False)
    assert kept(step, ViewRecord) == [ViewRecord(1, 0, Mode.NORMAL)]
    lab.fire(TimerKind.START, 1)
    lab.applied(2)
    assert sent(lab.hear(propose(lab, made := next_block(lab))), Prepare)
    assert kept(lab.restart(), ViewRecord) == [], "once"
    assert not sent(lab.hear(block(next_block(lab, time_ms=made.time_ms + 1))), Prepare)


def test_a_restart_in_an_epoch_does_not_reset_it() -> None:
    lab, made = crossed()
    lab.hear(propose(lab, made))
    step = lab.restart(ready=False)
    assert not kept(step, ViewRecord)
    lab.applied(2)
    lab.fire(TimerKind.START, 1)
    other = next_block(lab, time_ms=made.time_ms + 5)
    assert not sent(lab.hear(propose(lab, other)), Prepare), "it has voted at this place"


def test_what_was_asked_for_in_the_old_epoch_is_void() -> None:
    """View changes, timers and failed views are of one epoch."""
    lab = Lab()
    lab.pending()
    lab.fire(TimerKind.VIEW, 0)
    lab.fire(TimerKind.VIEW, 0)
    assert lab.replica.status().mode is Mode.CHANGING
    lab.last_of_epoch(SAME)
    step = lab.enter(SAME, ready=False)
    assert lab.replica.status().mode is Mode.NORMAL
    cancelled = {timer.kind for timer, ms in step.timers if ms is None}
    assert TimerKind.TICK not in cancelled
    step = lab.fire(TimerKind.START, 1)
    assert dict(step.timers)[Timer(TimerKind.VIEW, 0)] == 2_000, "k = 0"


# ---------------------------------------------------------------- one epoch's messages, in another


OTHERS = (0, 2)
"""In the old epoch replica 1 is another one than in ``TURNED``: 1 was index 1, and is index 0."""


@pytest.mark.parametrize("kind", [Prepare, Collected, Commit])
def test_a_vote_of_another_epoch_is_no_vote_and_no_witness(kind: type[Any]) -> None:
    """Checked before the switch, taken after it: its signer's index is another replica's now."""
    for epoch in (0, 2):
        lab, made = crossed(TURNED)
        assert lab.own == 0
        stray = kind(epoch, 0, 3, sha256(b"another"), 0, signature(0, epoch))
        lab.hear(stray, sender=2)
        assert named(lab) == "", f"a vote of epoch {epoch} by another made it doubt its own memory"
        stray = kind(epoch, 0, 3, sha256(b"another"), 2, signature(2, epoch))
        step = lab.hear(stray, kind(1, 0, 3, made.digest(), 2, signature(2, 1)), sender=2)
        assert not equivocations(step), f"a vote of epoch {epoch} is proof against another replica"


def test_votes_of_another_epoch_do_not_lock_or_decide() -> None:
    lab, made = crossed()
    lab.hear(propose(lab, made))
    for kind, round_ in ((Prepare, "1"), (Commit, "2")):
        at = (0, 0, 3, made.digest())
        strays = [kind(*at, i, signature(i, (round_, 0))) for i in (0, 2, 3)]
        step = lab.hear(*strays)
        assert not sent(step, Commit)
        assert not kept(step, DecisionRecord)


def test_a_view_change_of_another_epoch_counts_for_nothing() -> None:
    lab, made = crossed(TURNED)
    lab.hear(prepare(2, made))
    for epoch in (0, 2):
        # What would hide the vote above, if it were of this epoch.
        said = Standing(epoch, 4, 2, 2, made.parent, None, None, signature(2, "V"))
        step = lab.hear(ViewChange(said, None, None), change(0, 5, epoch), change(3, 4, epoch))
        assert not step.faults
        assert lab.replica.status().view == 0
    assert named(lab) == ""
    words = lab.replica.last_words(TURNED.members[2].key)
    assert words[-1] == prepare(2, made), "no view change after it"


def test_a_certificate_of_another_epoch_is_no_witness_against_us() -> None:
    lab, _ = crossed(TURNED)
    row = [r for r in lab.log if isinstance(r, DecisionRecord)][-1]
    assert row.certificate.epoch == 0
    lab.hear(Agree(row.certificate))
    assert named(lab) == ""


def test_who_is_ahead_is_asked_by_its_index_in_the_new_epoch() -> None:
    lab = Lab()
    lab.last_of_epoch(TURNED)
    assert sent_to(lab.hear(Status(0, 9, 0, 0), sender=2), GetBlocks) == [((2,), GetBlocks(3))]
    lab.enter(TURNED)
    assert sent_to(lab.fire(TimerKind.TICK), GetBlocks) == [((1,), GetBlocks(3))]


# ---------------------------------------------------------------- voting waits


def test_voting_waits_until_enough_peers_are_in_the_epoch() -> None:
    lab = Lab()
    lab.last_of_epoch(SAME)
    lab.enter(SAME, ready=False)
    made = next_block(lab)
    assert not sent(lab.hear(propose(lab, made)), Prepare)
    step = lab.hear(Status(0, 2, 0, 0), sender=0)
    step = lab.hear(Status(0, 2, 0, 0), sender=3)
    assert not sent(step, Prepare), "they have not said anything of this epoch"
    assert not sent(lab.hear(Status(1, 2, 0, 0), sender=2), Prepare), "w − 1 is two"
    assert sent(lab.hear(Status(1, 2, 0, 0), sender=3), Prepare)


def test_a_start_timer_of_the_epoch_before_does_not_end_the_wait() -> None:
    """It ran out as the epoch ended: that was for peers of that epoch."""
    lab = Lab(ready=False)
    lab.give(Applied(0, lab_root(lab), lab_receipts(lab)))
    lab.last_of_epoch(SAME)
    lab.enter(SAME, ready=False)
    lab.fire(TimerKind.START, 0)
    assert not lab.replica.status().voting
    lab.fire(TimerKind.START, 1)
    assert lab.replica.status().voting


def test_who_enters_the_epoch_is_shown_what_it_has_signed_in_it_before_our_status() -> None:
    lab, made = crossed()
    lab.hear(Status(1, 2, 0, 0), sender=2)
    lab.hear(propose(lab, made), prepare(2, made))
    lab.hear(Status(0, 1, 0, 0), sender=2)
    step = lab.hear(Status(1, 2, 0, 0), sender=2)
    shown = [send.message for send in step.send if send.to == (2,)]
    assert shown[0] == prepare(2, made)
    assert isinstance(shown[1], Status)
    again = lab.hear(Status(1, 2, 0, 0), sender=2)
    assert prepare(2, made) not in [send.message for send in again.send], "once"


def test_a_memory_older_than_its_votes_is_told_as_it_enters_the_epoch() -> None:
    """An image of the disk from the epoch before, put back: it knows nothing of its vote in 1."""
    group = Group(eras=[SAME])
    group.decide(1)
    image = list(group.members[1].log)
    group.decide(1)
    group.tick()
    group.decide(1)
    assert any(v.epoch == 1 for v in group.said(1, Prepare))
    group.power_off(1)
    group.members[1].sent.clear()
    group.dropped = {Commit}  # nobody decides the height
    group.work()
    group.dropped = set()
    group.power_on(1, image)
    group.tick(3)
    member = group.members[1].replica
    assert member is not None
    assert member.status().epoch == 1
    assert "record is older" in member.status().observer
    assert not [v for v in group.said(1, Prepare) if v.epoch == 1]


@pytest.mark.parametrize("after", [SAME, TURNED], ids=["same", "turned"])
def test_a_memory_of_the_epoch_before_is_told_what_it_has_signed_there(after: ValidatorSet) -> None:
    """All others are in the next epoch; what decides the old one has not come, and a liar is near.

    It could give its vote at the old height once more, to somebody who was away as long.
    """
    group = Group(eras=[after])
    group.decide(1)
    image = list(group.members[1].log)
    group.decide(1)
    group.tick()
    assert [replica_of(group, i).status().epoch for i in range(4)] == [1] * 4
    group.power_off(1)
    group.members[1].sent.clear()
    group.dropped = {Agree, Blocks, Commit}
    group.power_on(1, image)
    group.run()
    assert replica_of(group, 1).status().epoch == 0
    assert "record is older" in replica_of(group, 1).status().observer
    group.fire(TimerKind.START)
    assert not group.said(1, Prepare)


@pytest.mark.parametrize(
    "nodes", [(0, 1, 2, 3), (0, 2, 3), (0, 2, 3, 4)], ids=["stays", "removed", "replaced"]
)
def test_one_that_forgot_one_that_was_away_and_a_liar_decide_nothing_else(
    nodes: tuple[int, ...],
) -> None:
    """The last height of an epoch, decided where node 1 voted, which is then put back."""
    after = era_set(1, 3, *nodes)
    group = Group(eras=[after], joiners=1)
    group.decide(1)
    image = list(group.members[1].log)
    group.isolate(3)
    group.decide(1)
    group.tick()
    assert 2 in group.members[2].decided
    assert 2 not in group.members[3].decided
    group.power_off(1, 0)  # 0 lies from here on
    group.cut = {(2, 3), (3, 2)}
    group.dropped = {Agree, Blocks}
    group.power_on(1, image)
    group.run()
    group.fire(TimerKind.START, 1)
    parent = group.members[1].decided[1]
    made = header(
        group.validators, 2, parent, txs=(b"other",), time_ms=UNIX_MS + 2,
        next_validators=after.digest,
    )  # fmt: skip
    for i in (1, 3):
        group.tell(i, block(made, (b"other",)), sender=0)
    group.run()
    for i in (1, 3):
        group.tell(i, commit(0, made), sender=0)
    group.run()
    assert group.agree()
    assert "record is older" in replica_of(group, 1).status().observer


def test_a_peer_whose_status_flickers_is_not_welcomed_each_time() -> None:
    """Each welcome shows up to two votes and a view change with its certificates."""
    lab, made = crossed()
    lab.hear(propose(lab, made), prepare(2, made))
    shown = 0
    for _ in range(10):
        lab.hear(Status(0, 1, 0, 0), sender=2)
        step = lab.hear(Status(1, 2, 0, 0), sender=2)
        shown += prepare(2, made) in [send.message for send in step.send]
    assert shown == 1
    lab.ms += RESEND_AFTER_MS
    lab.hear(Status(0, 1, 0, 0), sender=2)
    step = lab.hear(Status(1, 2, 0, 0), sender=2)
    assert prepare(2, made) in [send.message for send in step.send]


# ---------------------------------------------------------------- who belongs


def test_a_removed_replica_follows_and_signs_nothing() -> None:
    gone = era_set(1, 3, 0, 2, 3)
    lab, made = crossed(gone)
    assert lab.own is None
    steps = [
        lab.hear(propose(lab, made)), lab.hear(*(prepare(i, made) for i in (0, 1, 2))),
        lab.fire(TimerKind.VIEW), lab.fire(TimerKind.IDLE), lab.fire(TimerKind.TICK),
    ]  # fmt: skip
    assert not any(sent(s, kind) for s in steps for kind in (Prepare, Commit, ViewChange, Block))
    assert "no member in epoch 1" in named(lab)
    lab.hear(*(commit(i, made) for i in (0, 1, 2)))
    assert lab.replica.status().decided == 3


def test_an_old_key_does_not_vote_where_its_replica_has_a_new_one() -> None:
    rekeyed = era_set(1, 3, 0, 4, 2, 3, nonces={4: nonce_of(4)})
    group = Group(eras=[rekeyed], joiners=1)
    group.decide(2)
    group.tick(3)
    group.decide(2)
    assert set(group.heights()) == {4}
    assert not [v for v in group.said(1, Prepare) if v.epoch == 1]
    assert [v.signer for v in group.said(4, Prepare) if v.epoch == 1][:1] == [1]


def test_one_that_joins_votes_from_its_first_height_on() -> None:
    grown = era_set(1, 3, 0, 1, 2, 3, 4, nonces={4: nonce_of(4)})
    group = Group(eras=[grown], joiners=1)
    group.decide(2)
    assert not group.said(4, Prepare)
    group.tick(3)
    group.power_off(3)  # q = 4 of 5: the new one's vote is needed
    group.decide(2)
    assert [h for i, h in enumerate(group.heights()) if i != 3] == [4, 4, 4, 4]
    assert {v.height for v in group.said(4, Prepare)} == {3, 4}


def test_s4_amnesia_reentry_in_decided_epochs() -> None:
    """A lost memory meets, replayed, the blocks that once admitted its key under another name."""
    admitted = era_set(1, 3, 0, 1, 2, 3, nonces={1: sha256(b"before the loss")})
    again = era_set(2, 5, 0, 1, 2, 3, nonces={1: nonce_of(1)})
    for era, speaks in ((SAME, False), (admitted, False), (again, True)):
        lab = Lab(own=1)
        blocks = lab_chain(era)
        lab.restart([ObserverRecord("its safety record is gone", nonce_of(1))], ready=False)
        lab.applied(0)
        for made in blocks:
            lab.decided(made, leader=0)
            if made.height < era.first - 1:
                lab.applied(made.height, era if made.height == era.first - 2 else None)
        lab.enter(era)
        assert lab.replica.status().voting is speaks, era
        made = next_block(lab)
        assert bool(sent(lab.hear(propose(lab, made)), Prepare)) is speaks, era


def test_a_lost_memory_without_a_name_votes_nowhere() -> None:
    """Not even in an epoch that lists its key as genesis does."""
    lab = Lab()
    lab.restart([ObserverRecord("its safety record is gone", bytes(32))])
    lab.last_of_epoch(SAME)
    lab.enter(SAME)
    assert not lab.replica.status().voting
    assert not sent(lab.hear(propose(lab, next_block(lab))), Prepare)


def test_a_sound_memory_does_not_vote_under_anothers_name() -> None:
    """It was admitted as another memory of the key: this one is a copy from before that."""
    lab, made = crossed(era_set(1, 3, 0, 1, 2, 3, nonces={1: nonce_of(1)}))
    assert not lab.replica.status().voting
    assert not sent(lab.hear(propose(lab, made)), Prepare)


def test_a_memory_is_named_once_and_only_where_it_may_not_vote() -> None:
    lab = Lab()
    assert not lab.give(Drawn(nonce_of(1))).persist, "one that votes needs no name"
    lab.last_of_epoch(gone := era_set(1, 3, 0, 2, 3))
    lab.enter(gone)
    (record,) = kept(lab.give(Drawn(nonce_of(1))), ObserverRecord)
    assert record.nonce == lab.replica.status().nonce == nonce_of(1)
    assert not lab.give(Drawn(nonce_of(2))).persist, "a name is for good"
    lab.restart()
    assert lab.replica.status().nonce == nonce_of(1)


def test_a_member_that_loses_its_memory_gets_another_name() -> None:
    lab, made = crossed(era_set(1, 3, 0, 1, 2, 3))
    lab.hear(prepare(1, made), sender=2)  # never cast by this record
    assert "record is older" in named(lab)
    assert lab.replica.status().nonce == bytes(32)
    assert kept(lab.give(Drawn(nonce_of(7))), ObserverRecord)[0].nonce == nonce_of(7)
    assert not sent(lab.hear(propose(lab, made)), Prepare)


# ---------------------------------------------------------------- helpers


def lab_root(lab: Lab) -> Digest:
    return header(lab.validators).state_root


def lab_receipts(lab: Lab) -> Digest:
    return header(lab.validators).receipts_root


def lab_chain(after: ValidatorSet) -> list[Header]:
    """Blocks of the founding set up to the epoch's first height."""
    validators = Lab().validators
    blocks: list[Header] = []
    parent = CHAIN
    for height in range(1, after.first):
        nxt = after if height == after.first - 1 else validators
        made = header(validators, height, parent, next_validators=nxt.digest)
        blocks.append(made)
        parent = made.digest()
    return blocks
