"""Attacks on the paths of bncm that work: each test says what should hold, and fails today."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from tests.consensus.group import LOOPS, Group
from tests.consensus.harness import CHAIN, STATE, UNIX_MS, block, header, prepare, validator_set
from vppd.consensus.boundary import (
    ZERO_SIGNATURE,
    Applied,
    Fired,
    Input,
    MessageHeader,
    Now,
    Offered,
    Pending,
    Received,
    Step,
    Timer,
    TimerKind,
)
from vppd.consensus.chain import Settings
from vppd.consensus.flight import HOLD_STREAK, Cause, Flight, Landing, Waiting
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
    Status,
    Type,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.policy import PathPolicy
from vppd.consensus.profile import BNCM, PBFT, EngineProfile
from vppd.consensus.quorum import quorums
from vppd.consensus.replica import Replica
from vppd.consensus.safety import Position
from vppd.merkle import EMPTY_ROOT
from vppd.types import Mode


def plant(path: Any = "collect", n: int = 4) -> Group:
    return Group(n, BNCM, path=path)


def forged(opened: Block) -> PrePrepared:
    """What anybody who has seen a block can make of it: nothing in here is signed anew."""
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    return PrePrepared(*at, opened.proposal_sig, None)


# ---------------------------------------------------------------- one liar, no forged signature


def blocked(path: Any) -> tuple[Group, Block]:
    """A leader has proposed; its block has reached replica 1 (the liar) only."""
    group = plant(path)
    group.cut |= {(0, 2), (0, 3), (1, 2), (1, 3)}
    group.work(0)
    group.cut = {(1, 2), (1, 3)}  # the liar's own vote is for the leader alone
    return group, group.said(0, Block)[0]


def test_a_bystander_cannot_turn_broadcast_into_collect() -> None:
    group, opened = blocked("broadcast")
    group.tell(2, forged(opened), sender=1)
    group.tell(3, forged(opened), sender=1)
    group.tell(2, opened, sender=0)
    group.tell(3, opened, sender=0)
    group.run()
    assert group.said(2, Prepare), "the leader said: to all"
    assert group.heights() == [1] * 4, "every vote is cast, and three replicas know nothing"


def test_a_bystander_cannot_pass_a_block_on_with_another_path() -> None:
    group, opened = blocked("broadcast")
    for index in (2, 3):
        group.tell(index, replace(opened, path=Path.COLLECT), sender=1)
        group.tell(index, opened, sender=0)
    group.run()
    assert group.said(2, Prepare)
    assert group.heights() == [1] * 4


def test_who_decides_on_votes_that_were_given_to_it_alone_shows_them() -> None:
    """Whatever the path was meant to be: a ``received`` says its sender sees no other votes."""
    group, opened = blocked("broadcast")
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    for index in (2, 3):
        group.tell(0, Collected(*at, index, ZERO_SIGNATURE), sender=index)
    assert group.heights()[0] == 1
    assert group.said(0, Agree)


def test_a_bystander_cannot_end_the_wait_of_the_others() -> None:
    group = plant(n=6)  # p = 1: fast although one is silent, so one liar should not end it either
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[0]
    group.tell(1, forged(opened), sender=5)
    assert not group.said(1, Prepare)


def test_a_bystander_cannot_end_the_wait_of_the_leader() -> None:
    group = plant(n=6)
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[0]
    group.tell(0, forged(opened), sender=5)
    assert not group.said(0, PrePrepared)


def test_the_leaders_vote_shown_by_another_is_not_the_leader_giving_up() -> None:
    """f+1 prepares, one of them the vote every block carries: that is f liars, not f+1."""
    group = plant()
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[0]
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    group.tell(1, Prepare(*at, 0, opened.vote_sig), sender=3)
    group.tell(1, Prepare(*at, 3, ZERO_SIGNATURE), sender=3)
    assert not group.said(1, Prepare)


# ---------------------------------------------------------------- one crash, no tick


def test_a_leader_that_dies_while_it_ends_the_wait_costs_no_tick() -> None:
    """n = 4, one dead: A and B are shown q votes and commit; C needs one more prepare."""
    group = plant()
    group.work()  # something to measure by; everything is decided
    group.rest()
    group.run()
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[-1]
    group.dropped.clear()
    group.power_off(0)
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    shown = Certificate(CertificateKind.PREPARED, *at, bytes([0b0111]), (ZERO_SIGNATURE,) * 3)
    for index in (1, 2):
        group.tell(index, PrePrepared(*at, opened.proposal_sig, shown), sender=0)
    group.run()
    group.fire(TimerKind.REPLICA)
    assert group.heights()[1:] == [2, 2, 2]


def test_a_leader_that_comes_back_shows_what_it_collects() -> None:
    group = plant()
    group.dropped.add(Collected)
    group.work()
    group.power_off(0)
    group.dropped.clear()
    group.power_on(0)
    group.run()
    group.fire(TimerKind.START, 0)
    opened = group.said(0, Block)[0]
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    for index in (1, 2, 3):
        group.tell(0, Collected(*at, index, ZERO_SIGNATURE), sender=index)
    group.run()
    assert group.heights()[0] == 1
    assert group.said(0, Agree)


# ---------------------------------------------------------------- timers that learn from a liar


def test_t_rep_never_outlasts_t_view() -> None:
    """A leader whose agrees come later and later teaches its replicas never to fall back."""
    group = plant()
    limit = Settings(chain_id=CHAIN).view_timeout_ms
    for _ in range(24):
        group.dropped.add(Agree)
        group.work()
        (delay,) = group.armed(1, TimerKind.REPLICA)
        assert delay < limit, "the view is changed first: no fallback is left"
        group.ms += delay - 1
        group.dropped.clear()
        group.tell(1, group.said(0, Agree)[-1], sender=0)
        group.tell(2, group.said(0, Agree)[-1], sender=0)
        group.tell(3, group.said(0, Agree)[-1], sender=0)
        group.rest()
        group.run()


class Race:
    """Replicas in virtual time, every link one delay; the votes of ``late`` come when told to."""

    def __init__(self, profile: EngineProfile, n: int, delay_ms: int) -> None:
        self.validators = validator_set(n)
        self.n, self.delay_ms, self.ms = n, delay_ms, 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = count()
        self.timers: list[dict[Timer, int]] = [{} for _ in range(n)]
        self.heads = [(0, CHAIN)] * n
        self.decided: dict[int, list[int]] = {}
        self.opened: dict[int, int] = {}
        self.extra: Callable[[int], int] = lambda _: 0
        """What the last replica's prepare of a height is held back by."""
        settings = Settings(chain_id=CHAIN, path="broadcast")
        self.replicas = [Replica(profile, settings, self.validators, i) for i in range(n)]
        for i, replica in enumerate(self.replicas):
            self.take(i, replica.start(self.now(), []))
            self.give(i, Applied(0, STATE, EMPTY_ROOT))
        self.run(500)

    def now(self) -> Now:
        return Now(self.ms, UNIX_MS + self.ms)

    def after(self, delay_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.ms + delay_ms, next(self.order), what))

    def give(self, i: int, *inputs: Input) -> None:
        self.take(i, self.replicas[i].step(self.now(), inputs))

    def take(self, i: int, step: Step) -> None:
        for send in step.send:
            message = send.message
            if isinstance(message, Block):
                self.opened.setdefault(message.height, self.ms)
            extra = 0
            if isinstance(message, Prepare) and i == self.n - 1:
                extra = self.extra(message.height)  # noqa: S610
            for to in range(self.n) if isinstance(send.to, str) else send.to:
                if to != i:
                    item = Received(i, message)
                    self.after(self.delay_ms + extra, partial(self.give, to, item))
            if isinstance(send.to, str) and isinstance(message, LOOPS):
                own = Received(i, message)
                self.after(0, partial(self.give, i, own))
        for timer, delay in step.timers:
            self.timers[i].pop(timer, None)
            if delay is not None:
                mark = next(self.order)
                self.timers[i][timer] = mark

                def ring(timer: Timer = timer, mark: int = mark) -> None:
                    if self.timers[i].get(timer) == mark:
                        del self.timers[i][timer]
                        self.give(i, Fired(timer))

                self.after(delay, ring)
        for made in step.commit:
            self.heads[i] = (made.height, made.digest)
            self.decided.setdefault(made.height, []).append(self.ms)
            self.after(0, partial(self.executed, i, made.height))
        height, parent = self.heads[i]
        if step.want == height + 1:
            made_ = header(
                self.validators, step.want, parent, txs=(b"x",), time_ms=UNIX_MS + step.want
            )
            self.after(0, lambda: self.give(i, Offered(made_.encode(), (b"x",))))

    def executed(self, i: int, height: int) -> None:
        self.give(i, Pending(self.ms), Applied(height, STATE, EMPTY_ROOT))

    def run(self, until_ms: int) -> None:
        while self.queue and self.queue[0][0] <= until_ms:
            self.ms, _, what = heapq.heappop(self.queue)
            what()
        self.ms = until_ms

    def measure(self, heights: int) -> list[int]:
        """Until so many are decided: proposal to decision at q replicas, of each."""
        for i in range(self.n):
            self.give(i, Pending(self.ms))
        while len(self.decided) <= heights:
            self.run(self.ms + 1)
        q = self.validators.quorum.vote
        return [sorted(self.decided[h])[q - 1] - self.opened[h] for h in range(1, heights + 1)]

    def hold_ms(self) -> int:
        return self.replicas[1]._core.waiting.hold_ms


def compare(race: Race, delay_ms: int) -> None:
    """Every vote comes, in every height; the same lateness for both engines."""
    told: dict[int, int] = {}
    late = race.extra

    def extra(height: int) -> int:
        return told.setdefault(height, late(height))

    race.extra = extra
    mine = race.measure(300)[-50:]
    rival = Race(PBFT, 4, delay_ms)
    rival.extra = lambda height: told.get(height, 0)
    theirs = rival.measure(300)[-50:]
    assert sum(mine) <= 1.02 * sum(theirs), f"{sum(mine) / 50} ms against {sum(theirs) / 50}"


@pytest.mark.parametrize("delay_ms", [1, 5, 10, 20, 50])
def test_one_that_votes_just_in_time_does_not_make_every_height_slow(delay_ms: int) -> None:
    """It answers always, F votes always come, and bncm is slower than pbft for ever."""
    race = Race(BNCM, 4, delay_ms)
    race.extra = lambda height: 0 if height <= HOLD_STREAK + 8 else race.hold_ms()
    compare(race, delay_ms)


@pytest.mark.parametrize("delay_ms", [1, 5, 10])
def test_an_honest_link_that_slows_down_bit_by_bit_does_not_make_every_height_slow(
    delay_ms: int,
) -> None:
    """No liar: one link becomes a millisecond slower every eight heights, up to 24, and stays."""
    race = Race(BNCM, 4, delay_ms)
    race.extra = lambda height: min(24, height // 8)
    compare(race, delay_ms)


def test_what_was_only_learnt_saves_no_delay_and_pays_for_no_hold() -> None:
    """ADR 0012: each fast decision of a streak has come one delay early."""
    group = plant("broadcast", n=6)
    group.isolate(1)
    group.decide(HOLD_STREAK)
    group.heal()
    assert group.heights()[1] == 0
    group.tick(2)
    waiting = group.members[1].replica._core.waiting  # type: ignore[union-attr]
    assert group.heights()[1] == group.heights()[0] > 0
    assert waiting._streak == 0


# ---------------------------------------------------------------- what is worth its signatures


def test_the_end_of_a_wait_does_not_make_us_deaf_to_the_block() -> None:
    """It carries no body; with the leader's vote beside it the block itself is refused."""
    group = plant(n=5)
    made = header(group.validators)
    opened = block(made)
    group.tell(1, forged(opened), prepare(0, made), sender=0)
    replica = group.members[1].replica
    assert replica is not None
    assert replica.wants(MessageHeader(Type.BLOCK, 0, 0, 1, opened.digest, 0))


def test_a_bystander_cannot_make_a_pbft_replica_deaf_to_the_block() -> None:
    """Both messages are made of the block's own two signatures, by anybody who has it."""
    group = Group(5, PBFT)
    made = header(group.validators)
    opened = block(made)
    shown = Prepare(0, 0, 1, opened.digest, 0, opened.vote_sig)
    group.tell(1, forged(opened), shown, sender=3)
    replica = group.members[1].replica
    assert replica is not None
    assert replica.wants(MessageHeader(Type.BLOCK, 0, 0, 1, opened.digest, 0))


def test_the_end_of_a_wait_is_worth_its_signatures_once() -> None:
    group = plant()
    group.dropped |= {Commit, Collected}
    group.work()
    opened = group.said(0, Block)[0]
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    shown = Certificate(CertificateKind.PREPARED, *at, bytes([0b0111]), (ZERO_SIGNATURE,) * 3)
    group.tell(1, PrePrepared(*at, opened.proposal_sig, shown), sender=0)
    replica = group.members[1].replica
    assert replica is not None
    assert group.said(1, Commit), "it has locked: nothing is left to be said"
    assert not replica.wants(MessageHeader(Type.PRE_PREPARED, *at, 0))


def test_a_vote_that_another_shows_is_worth_its_signature_once() -> None:
    group = plant()
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[0]
    at = (opened.epoch, opened.view, opened.height, opened.digest)
    group.tell(1, Prepare(*at, 0, opened.vote_sig), sender=3)
    replica = group.members[1].replica
    assert replica is not None
    assert not replica.wants(MessageHeader(Type.PREPARE, *at, 0), firsthand=False)


def test_a_leaders_word_that_came_before_its_block_still_ends_the_wait() -> None:
    group = plant(n=5)
    group.cut.add((0, 1))
    group.dropped.add(Collected)
    group.work()
    opened = group.said(0, Block)[0]
    group.tell(1, forged(opened), opened, sender=0)
    assert group.said(1, Prepare)


# ---------------------------------------------------------------- estimates that never recover


def test_t_rep_follows_links_that_became_slower() -> None:
    waits = Waiting(quorums(4), Outbox(), fast_exit=True, view_timeout_ms=2_000)
    ms = 0
    for height in range(1, 520):
        took = 10 if height < 20 else 150
        waits.begin(Flight(Position(0, 0, height), CHAIN, Path.COLLECT, ms, leads=False))
        if took > waits.replica_ms:
            assert waits.gave_up(Timer(TimerKind.REPLICA, height)) is Cause.REPLICA
            waits.slow(Cause.REPLICA)
        ms += took
        waits.land(CertificateKind.FAST, ms)
    assert waits.causes[Cause.REPLICA] < 50


@pytest.mark.parametrize(
    ("fast_ms", "broadcast_ms"), [(10, 12), (10, 15), (10, 20), (20, 30), (30, 45), (10, 30)]
)
def test_auto_collects_where_collecting_is_cheaper_and_never_fails(
    fast_ms: int, broadcast_ms: int
) -> None:
    policy = PathPolicy("auto")
    taken = []
    for height in range(2_000):
        path = policy.next()
        taken.append(path)
        flight = Flight(Position(0, 0, height), CHAIN, path, 0, leads=True)
        flight.quorum_ms = 0
        total_ms = fast_ms if path is Path.COLLECT else broadcast_ms
        policy.landed(Landing(flight, CertificateKind.FAST, total_ms, full=True))
    assert taken[1_000:].count(Path.COLLECT) > 900


def test_an_operator_that_is_here_and_leads_nowhere_gets_the_lead_back_ever_later() -> None:
    group = plant("broadcast")
    group.isolate(0)
    others = (1, 2, 3)
    group.work(*others)
    group.fire(TimerKind.VIEW, *others)
    group.fire(TimerKind.CHANGE, *others)
    gaps = []
    for _ in range(2):
        began = group.heights()[1]
        while set(group.modes()[1:]) == {Mode.NORMAL}:
            group.decide()
            height, view = group.heights()[1], group.views()[1]
            for index in others:
                group.tell(index, Status(0, height, view, 0), sender=0)
            group.run()
        gaps.append(group.heights()[1] - began)
        assert {d for i in others for d in group.armed(i, TimerKind.CHANGE)} == {2_000}
        group.fire(TimerKind.CHANGE, *others)
        group.run()
    assert gaps == [256, 513], "twice, and the height that was open when it was given up"
