"""protocol.md, §13: producers in order, skips, finality; who leads moves with the height."""

from __future__ import annotations

import msgspec

from tests.consensus.group import Group, new_views
from tests.consensus.harness import (
    CHAIN,
    Lab,
    block,
    commit,
    era_set,
    header,
    kept,
    key_of,
    prepare,
    sent,
    signature,
)
from vppd.consensus.boundary import BodyRecord, DecisionRecord, MessageHeader, TimerKind
from vppd.consensus.messages import (
    Block,
    Certificate,
    CertificateKind,
    Commit,
    NewView,
    Prepare,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.profile import DPOS
from vppd.consensus.quorum import quorums
from vppd.consensus.schedule import producers_in_order
from vppd.header import decode_header
from vppd.ledger.election import Standing as Candidate
from vppd.ledger.election import elect
from vppd.types import PPM, Mode

AFTER = era_set(1, 3, 3, 2, 1, 0)


def proposers(group: Group, member: int = 0) -> dict[int, int]:
    """Who made the block of each height that a member has decided."""
    log = group.members[member].log
    bodies = {r.digest: decode_header(r.header) for r in log if isinstance(r, BodyRecord)}
    rows = [r for r in log if isinstance(r, DecisionRecord)]
    keys = [key_of(i) for i in range(len(group.members))]
    return {r.height: keys.index(bodies[r.digest].proposer) for r in rows}


def changed(signer: int, view: int, cert: Certificate | None = None) -> ViewChange:
    decided, head = (0, CHAIN) if cert is None else (cert.height, cert.digest)
    sig = signature(signer, ("V", view))
    return ViewChange(Standing(0, view, signer, decided, head, None, None, sig), cert, None)


def ask(lab: Lab) -> ViewChange:
    """The replica runs out of patience; what it says comes back to it."""
    lab.pending()
    (asked,) = sent(lab.fire(TimerKind.VIEW, 0), ViewChange)
    assert isinstance(asked, ViewChange)
    return asked


# ---------------------------------------------------------------- production


def test_producers_take_turns_in_order_from_the_epochs_first_height_on() -> None:
    group = Group(profile=DPOS, eras=[AFTER])
    group.decide(2)
    group.tick(2)
    group.decide(5)
    assert proposers(group) == {1: 0, 2: 1, 3: 3, 4: 2, 5: 1, 6: 0, 7: 3}
    assert set(group.views()) == {0}


def test_the_order_is_the_elected_one_shifted_by_the_view() -> None:
    first = AFTER.first
    turns = [producers_in_order(AFTER, 0, first + i) for i in range(5)]
    assert turns == [0, 1, 2, 3, 0]
    assert [producers_in_order(AFTER, 2, first + i) for i in range(3)] == [2, 3, 0]


def test_nobody_produces_out_of_turn() -> None:
    lab = Lab(profile=DPOS)
    made = header(lab.validators, proposer=key_of(2))
    assert not sent(lab.hear(block(made, leader=2), sender=2), Prepare)


# ---------------------------------------------------------------- finality


def test_first_round_votes_of_everybody_decide_nothing_and_q_commits_do() -> None:
    lab = Lab(profile=DPOS)
    made = header(lab.validators)
    lab.hear(block(made))
    step = lab.hear(*(prepare(i, made) for i in (1, 2, 3)))
    assert not kept(step, DecisionRecord)
    assert sent(step, Commit), "locked at once"
    step = lab.hear(commit(0, made), commit(2, made))
    assert not kept(step, DecisionRecord)
    (row,) = kept(lab.hear(commit(3, made)), DecisionRecord)
    assert row.certificate.kind == CertificateKind.COMMIT


# ---------------------------------------------------------------- skip


def test_a_silent_producer_is_skipped_and_the_next_one_takes_over() -> None:
    group = Group(profile=DPOS)
    group.decide(1)
    group.power_off(1)
    group.work()
    group.fire(TimerKind.VIEW)
    group.rest()
    assert proposers(group) == {1: 0, 2: 2}, "the producer after it"
    (opened,) = new_views(group, 2)
    assert (opened.view, opened.height) == (1, 2)
    group.decide(1)
    assert proposers(group)[3] == 3, "and so on from there"


def test_whoever_skips_is_bound_by_what_was_locked() -> None:
    group = Group(profile=DPOS)
    group.dropped = {Commit}
    group.work()
    held = group.said(0, Block)[0].digest
    group.isolate(0)
    group.dropped = set()
    group.fire(TimerKind.VIEW)
    assert {m.decided[1] for m in group.members[1:]} == {held}
    group.heal()
    group.tick(2)
    assert group.agree()


def test_of_view_changes_of_several_heights_the_leader_of_the_next_one_opens() -> None:
    """One of the three is a height ahead, so that H0 is a height later, and another's to lead."""
    lab = Lab(own=3, profile=DPOS)
    first = header(lab.validators)
    lab.decide(first)
    step = lab.hear(ask(lab), changed(0, 1), changed(2, 1))
    assert not sent(step, NewView), "height 2 in view 1 is 2's"
    lab = Lab(own=2, profile=DPOS)
    lab.decide(first)
    row = next(r for r in lab.log if isinstance(r, DecisionRecord))
    (opened,) = sent(lab.hear(ask(lab), changed(0, 1), changed(3, 1)), NewView)
    assert (opened.height, opened.decision) == (2, row.certificate)


def test_who_leads_below_may_open_without_those_who_are_ahead() -> None:
    """Three say that nothing is decided: the one who leads height 1 need not wait for the other."""
    lab = Lab(own=1, profile=DPOS)
    first = header(lab.validators)
    votes = tuple(commit(i, first).sig for i in (0, 2, 3))
    ahead = Certificate(CertificateKind.COMMIT, 0, 0, 1, first.digest(), b"\x0d", votes)
    step = lab.hear(ask(lab), changed(0, 1, ahead), changed(2, 1), changed(3, 1))
    (opened,) = sent(step, NewView)
    assert (opened.view, opened.height) == (1, 1)
    assert [s.signer for s in opened.standings] == [1, 2, 3]


def test_one_that_leads_another_height_has_the_view_refused_for_itself_alone() -> None:
    """Every producer leads every view at some height: else any of them could stop all skips."""
    group = Group(profile=DPOS)
    group.dropped = {Block, NewView}
    group.work()
    group.fire(TimerKind.VIEW)
    (right,) = new_views(group, 1)
    assert (right.view, right.height) == (1, 1)
    group.heal()
    lie = msgspec.structs.replace(right, height=3)  # in view 1 that is replica 3's to open
    for member in (0, 2):
        replica = group.members[member].replica
        assert replica is not None
        group.tell(member, lie, sender=3)
        assert replica.status().mode is Mode.CHANGING
        again = MessageHeader(Type.NEW_VIEW, 0, 1, 3, bytes(32), 3)
        assert not replica.wants(again), "of that one nothing more is looked at"
        honest = MessageHeader(Type.NEW_VIEW, 0, 1, 1, bytes(32), 1)
        assert replica.wants(honest)
        group.tell(member, right, sender=1)
        assert replica.status().mode is Mode.NORMAL


# ---------------------------------------------------------------- election, for what the core needs


def test_l9_dpos_offline() -> None:
    """The highest scores are offline nodes': a set that could not decide is not elected."""
    keys = [key_of(i) for i in range(7)]
    current, away = keys[:4], keys[4:]

    def chosen(ready: list[bytes]) -> tuple[bytes, ...]:
        standings = [
            Candidate(key, 1_000, 1_000, 9_000 if key in away else 1_000, ()) for key in keys
        ]
        return elect(
            standings, alpha_ppm=PPM // 2, delegates=4, eligible=frozenset(keys), current=current,
            ready=frozenset(ready), quorum=lambda n: quorums(n, None, 0).vote, ranking="composite",
        )  # fmt: skip

    assert set(chosen(keys)) > set(away), "ready, they would be"
    assert set(chosen(current)) == set(current), "nobody is elected who has not said it is there"
    assert set(chosen([*current[:2], away[0]])) == {*current[:2], away[0], current[2]}
    assert chosen([current[0], away[0]]) == tuple(current), "fewer than q: all stay"
