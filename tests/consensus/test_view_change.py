"""protocol.md, §7: one test per sentence of the view change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.consensus.group import Group, new_views
from tests.consensus.harness import CHAIN, block, header, kept, prepare, signature
from vppd.consensus.boundary import (
    NewViewRecord,
    ObserverRecord,
    Pending,
    TimerKind,
    ViewChangeRecord,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import (
    Agree,
    Block,
    Claim,
    Commit,
    Concealment,
    NewView,
    Prepare,
    Standing,
    ViewChange,
)
from vppd.types import Mode


def change(signer: int, view: int, *, vote: Claim | None = None) -> ViewChange:
    sig = signature(signer, ("V", view))
    return ViewChange(Standing(0, view, signer, 0, CHAIN, vote, None, sig), None, None)


# ---------------------------------------------------------------- a dead leader


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 10])
def test_a_dead_leader_is_replaced_and_the_next_one_decides(n: int) -> None:
    group = Group(n)
    group.decide(2)
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    assert group.views() == [1] * (n - 1)
    assert set(group.modes()) == {Mode.NORMAL}
    group.run()
    assert set(group.heights()[1:]) == {3}
    assert group.agree()


def test_leader_after_leader_is_replaced_until_one_lives() -> None:
    group = Group(7)
    group.power_off(0, 1)
    group.work()
    group.fire(TimerKind.VIEW)
    assert set(group.views()) == {1}
    assert set(group.modes()) == {Mode.CHANGING}
    group.fire(TimerKind.CHANGE)
    assert set(group.views()) == {2}
    assert set(group.heights()[2:]) == {1}


def test_no_work_no_timer() -> None:
    group = Group()
    assert not group.armed(1, TimerKind.VIEW)
    group.isolate(0)  # the leader decides nothing
    group.work(1)
    assert group.armed(1, TimerKind.VIEW) == [2_000]
    group.give(1, Pending(None))
    assert not group.armed(1, TimerKind.VIEW)


def test_the_view_change_is_durable_before_it_leaves_and_resent_unchanged() -> None:
    group = Group()
    group.decide(1)
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    (asked,) = group.said(2, ViewChange)
    step = next(s for s in group.members[2].steps if kept(s, ViewChangeRecord))
    assert kept(step, ViewRecord) == [ViewRecord(0, 1, Mode.CHANGING)]
    assert kept(step, ViewChangeRecord) == [ViewChangeRecord(asked)]
    group.heal()
    group.decide(1)  # the others go on; replica 2 decides with them
    assert group.heights()[2] == 2
    group.tick(2)
    assert {m == asked for m in group.said(2, ViewChange)} == {True}
    assert len(group.said(2, ViewChange)) > 1


def test_a_restart_while_changing_says_the_same_again() -> None:
    group = Group()
    group.decide(1)
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    (asked,) = group.said(2, ViewChange)
    group.power_on(2)
    group.fire(TimerKind.START, 2)
    assert group.said(2, ViewChange)[1:] == [asked]


def test_while_changing_nothing_is_voted_for_in_an_older_view() -> None:
    group = Group()
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    before = len(group.said(2, Prepare)) + len(group.said(2, Commit))
    made = header(group.validators, proposer=group.validators.members[0].key)
    group.tell(2, block(made), *(prepare(i, made) for i in (0, 1, 3)), sender=0)
    assert len(group.said(2, Prepare)) + len(group.said(2, Commit)) == before


def test_it_still_decides_while_changing() -> None:
    group = Group()
    group.isolate(2)
    group.work(2)
    group.fire(TimerKind.VIEW, 2)
    group.heal()
    group.work(0)
    group.rest()
    group.tick()
    assert group.heights() == [1, 1, 1, 1]
    assert group.modes()[2] is Mode.CHANGING


# ---------------------------------------------------------------- join


def test_f_changes_move_nobody_and_one_more_does() -> None:
    group = Group(7)
    group.tell(3, change(4, 5), change(5, 3), sender=4)
    assert group.views()[3] == 0
    group.tell(3, change(6, 4), sender=6)
    assert group.views()[3] == 3, "the (f+1)-th largest of 5, 4, 3"


def test_only_the_highest_change_of_a_signer_counts() -> None:
    group = Group(4)
    group.tell(3, change(1, 5), change(1, 6), change(1, 2), sender=1)
    assert group.views()[3] == 0
    group.tell(3, change(2, 9), sender=2)
    assert group.views()[3] == 6


# ---------------------------------------------------------------- timers


def test_the_timer_of_the_new_view_waits_for_w_view_changes() -> None:
    group = Group()
    group.isolate(3)
    group.work(3)
    group.fire(TimerKind.VIEW, 3)
    assert not group.armed(3, TimerKind.CHANGE)
    group.tell(3, change(1, 1), sender=1)
    assert not group.armed(3, TimerKind.CHANGE)
    group.tell(3, change(2, 4), sender=2)  # a later view counts as well
    assert group.armed(3, TimerKind.CHANGE)


def test_a_leader_not_heard_of_lately_gets_300_ms_and_does_not_count() -> None:
    group = Group()
    group.power_off(0, 1, 2)
    group.ms += 10_000
    group.tick()
    group.work(3)
    assert group.armed(3, TimerKind.VIEW) == [2_000]
    group.fire(TimerKind.VIEW, 3)
    lengths = []
    for view in (1, 2):
        group.tell(3, *(change(i, view) for i in (0, 1, 2)))
        lengths += group.armed(3, TimerKind.CHANGE)
        group.fire(TimerKind.CHANGE, 3)
    assert lengths == [300, 300]


def test_a_leader_heard_of_lately_gets_the_time_doubled_up_to_the_cap() -> None:
    group = Group(7)
    group.dropped.add(type(change(0, 1)))  # nobody hears of view changes
    group.work()
    group.isolate(0)
    group.work()
    lengths = []
    group.fire(TimerKind.VIEW, 6)
    for view in range(1, 4):
        group.tell(6, *(change(i, view) for i in range(1, 6)), sender=1)
        lengths += group.armed(6, TimerKind.CHANGE)
        group.fire(TimerKind.CHANGE, 6)
    assert lengths == [4_000, 8_000, 10_000]


# ---------------------------------------------------------------- new view


def test_the_new_view_is_durable_before_anything_in_it_leaves() -> None:
    group = Group()
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    for member in group.members[1:]:
        opened = next(s for s in member.steps if kept(s, NewViewRecord))
        assert kept(opened, ViewRecord) == [ViewRecord(0, 1, Mode.NORMAL)]
        first_vote = next(i for i, r in enumerate(member.log) if isinstance(r, VoteRecord))
        assert first_vote > member.log.index(kept(opened, NewViewRecord)[0])


def shown_to_one_cut_off() -> tuple[Group, NewView]:
    """A new view for view 1, and replica 3, which has not heard of it."""
    group = Group()
    group.power_off(0)
    group.isolate(3)
    group.work()
    group.fire(TimerKind.VIEW, 1, 2)
    group.tell(1, change(0, 1), sender=0)
    group.run()
    return group, new_views(group, 1)[0]


def test_a_new_view_that_follows_from_what_it_shows_is_followed() -> None:
    group, shown = shown_to_one_cut_off()
    group.tell(3, shown, sender=2)
    assert (group.views()[2], group.modes()[2]) == (1, Mode.NORMAL)


@pytest.mark.parametrize(
    "lie",
    [
        lambda shown: replace(shown, height=2),
        lambda shown: replace(shown, choice=bytes(32)),
        lambda shown: replace(shown, standings=shown.standings[:-1]),
        lambda shown: replace(shown, standings=(*shown.standings[:-1], shown.standings[0])),
    ],
    ids=["height", "choice", "too few", "one twice"],
)
def test_a_new_view_that_does_not_follow_from_what_it_shows_is_ignored(
    lie: Callable[[NewView], NewView],
) -> None:
    group, shown = shown_to_one_cut_off()
    group.tell(3, lie(shown), sender=1)
    assert (group.views()[2], group.modes()[2]) == (0, Mode.NORMAL)


def test_an_older_new_view_is_ignored() -> None:
    group = Group()
    group.power_off(0)
    group.work()
    group.fire(TimerKind.VIEW)
    (first, *_) = new_views(group, 1)
    group.work()
    group.power_off(1)
    group.power_on(0)
    group.tick()
    group.work()
    group.fire(TimerKind.VIEW)
    assert set(group.views()) == {2}
    group.tell(3, first, sender=2)
    assert set(group.views()) == {2}


def test_a_replica_left_behind_gets_the_new_view_from_anyone() -> None:
    group = Group()
    group.power_off(3)
    group.isolate(0)
    group.members[0].replica = None
    group.power_on(3)
    group.fire(TimerKind.START)
    group.heal()
    group.power_off(3)
    group.power_on(0)
    group.fire(TimerKind.START)
    group.run()
    group.cut |= {(0, 1), (1, 0), (0, 2), (2, 0)}
    group.power_on(3)
    group.fire(TimerKind.START)
    group.isolate(0)
    group.work(1, 2, 3)
    group.fire(TimerKind.VIEW, 1, 2, 3)
    assert group.views() == [0, 1, 1, 1]
    group.heal()
    group.power_off(1)  # the leader of view 1 is gone; the others hold its new view
    group.tick(2)
    assert group.views() == [1, 1, 1]


# ---------------------------------------------------------------- what was promised survives


def test_a_locked_block_is_proposed_again_in_the_next_view() -> None:
    group = Group()
    group.dropped.add(Commit)
    group.work()
    (proposed,) = group.said(0, Block)[:1]
    assert group.heights() == [0, 0, 0, 0]
    group.power_off(0)
    group.heal()
    group.fire(TimerKind.VIEW)
    again = group.said(1, Block)[0]
    assert again.digest == proposed.digest
    assert again.view == 1
    assert set(group.heights()[1:]) == {1}


def test_a_block_decided_by_one_alone_is_not_lost() -> None:
    group = Group()
    group.dropped.add(Agree)
    group.cut |= {(i, j) for i in range(1, 4) for j in range(1, 4) if i != j}
    group.work()  # replica 0 hears everybody; the others hear replica 0 only
    assert group.heights()[0] == 1 or group.heights()[0] == 0
    decided = dict(group.members[0].decided)
    group.power_off(0)
    group.heal()
    group.fire(TimerKind.VIEW)
    group.run()
    assert set(group.heights()[1:]) == {1}
    group.power_on(0)
    group.fire(TimerKind.START, 0)
    group.tick(2)
    assert group.agree()
    assert all(group.members[1].decided[h] == d for h, d in decided.items())


# ---------------------------------------------------------------- evidence


def test_a_lying_leader_is_left_at_once() -> None:
    group = Group()
    group.isolate(0)
    one = header(group.validators)
    two = header(group.validators, txs=(b"other",))
    group.tell(1, block(one), block(two, (b"other",)), sender=0)
    assert group.views()[1] == 1
    assert group.modes()[1] is Mode.CHANGING


def test_a_view_change_that_hides_a_vote_is_evidence() -> None:
    group = Group()
    group.isolate(3)
    made = header(group.validators)
    group.tell(1, block(made), prepare(3, made), sender=0)
    step = group.tell(1, change(3, 2), sender=3)
    (proof,) = step.faults
    assert isinstance(proof, Concealment)
    assert proof.standing.signer == 3
    honest = group.tell(1, change(2, 2, vote=Claim(0, made.digest())), sender=2)
    assert not honest.faults


# ---------------------------------------------------------------- lost memory


def test_a_vote_of_ours_that_we_do_not_know_of_makes_us_an_observer() -> None:
    group = Group()
    group.decide(1)
    kept_log = list(group.members[2].log)
    group.work()
    group.power_off(2)
    group.power_on(2, kept_log)  # an old disk image: the votes at height 2 are gone
    group.fire(TimerKind.START, 2)
    group.run()
    replica = group.members[2].replica
    assert replica is not None
    assert replica.status().observer
    assert kept(group.members[2].steps[-1], ObserverRecord) or any(
        isinstance(r, ObserverRecord) for r in group.members[2].log
    )
    said = len(group.said(2, Prepare))
    group.decide(2)
    group.tick(2)
    assert len(group.said(2, Prepare)) == said
    assert group.heights()[2] == max(group.heights()), "it still follows"


def test_the_right_disk_stays_a_voter() -> None:
    group = Group()
    group.decide(3)
    group.power_off(2)
    group.power_on(2)
    group.fire(TimerKind.START, 2)
    group.run()
    replica = group.members[2].replica
    assert replica is not None
    assert not replica.status().observer
    group.decide(1)
    assert group.heights() == [4, 4, 4, 4]
