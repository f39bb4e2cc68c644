"""Random walks over a group: any message at any time, late, twice or never; crashes; early timers.

There is no clock in here at all, so every timer may run out at any moment: what holds in these
walks holds under any timing. ``python -m tests.consensus.walk --seeds 1..2000``
(``--engine``, ``--path``) walks further.
"""

from __future__ import annotations

import argparse
from collections import Counter
from random import Random
from typing import get_args

from tests.consensus.group import Group, Member
from vppd.config.genesis import Engine, PathSetting
from vppd.consensus.boundary import Fired, Pending, Received, Step
from vppd.consensus.flight import HOLD_STREAK
from vppd.consensus.messages import (
    Block,
    Collected,
    Commit,
    GetBlock,
    GetBlocks,
    NewView,
    Prepare,
    PrePrepared,
    ViewChange,
)
from vppd.consensus.profile import PBFT, EngineProfile, profile_of
from vppd.types import Digest


class Walk(Group):
    """A group whose messages wait until chance picks them."""

    def __init__(
        self, n: int, seed: int, profile: EngineProfile = PBFT, path: PathSetting = "auto"
    ) -> None:
        self.rng = Random(seed)
        self._walking = False
        self._signed: dict[tuple[int, str, int, int], Digest] = {}
        self._asked: dict[tuple[int, int], ViewChange] = {}
        self._checked = [0] * n
        self._ways: Counter[str] = Counter()
        super().__init__(n, profile, path=path)
        if seed % 2:  # some begin where commits are held back
            self.decide(HOLD_STREAK)
        self._walking = True

    def run(self) -> None:
        if not self._walking:
            super().run()

    def step(self) -> None:
        """One random event."""
        rng, roll = self.rng, self.rng.randrange(1_000)
        alive = [m for m in self.members if m.replica is not None]
        if roll < 880 and self._queue:
            self._deliver(rng.randrange(len(self._queue)))
        elif roll < 900 and self._queue:
            at = rng.randrange(len(self._queue))
            if self._queue[at][0] != self._queue[at][1]:  # what one says to oneself arrives
                del self._queue[at]
        elif roll < 985 and alive:
            member = rng.choice(alive)
            if member.timers:
                timer = rng.choice(sorted(member.timers))
                del member.timers[timer]
                self.ms += rng.randrange(200)
                self.give(member.index, Fired(timer))
            else:
                self.give(member.index, Pending(self.ms))
        elif roll < 992 and alive:
            self.give(rng.choice(alive).index, Pending(self.ms))
        elif roll < 996 and len(alive) > self.quorum.vote:
            self.power_off(rng.choice(alive).index)
        else:
            down = [m.index for m in self.members if m.replica is None]
            if down:
                self.power_on(rng.choice(down))
        self.check()

    def _take(self, member: Member, step: Step) -> None:
        """Now and then the power fails: before the step is durable, or just after."""
        if self._walking and not self.rng.randrange(400):
            if self.rng.randrange(2):
                member.log += step.persist
            self.power_off(member.index)
        else:
            super()._take(member, step)

    def _deliver(self, at: int) -> None:
        sender, to, message = self._queue[at]
        if sender == to or self.rng.randrange(20):
            del self._queue[at]
        member = self.members[to]
        if member.replica is None:
            return
        if isinstance(message, GetBlock | GetBlocks):
            answer = self._answer(member, message)
            if answer is not None:
                self._post(to, sender, answer)
            return
        self._take(member, member.replica.step(self.now(), [Received(sender, message)]))

    def settle(self, rounds: int = 400) -> None:
        """Good weather: everything arrives in order, timers run out one second at a time."""
        self._walking = False
        for member in self.members:
            if member.replica is None:
                self.power_on(member.index)
        goal = max(self.heights()) + 3
        for _ in range(rounds):
            self.work()
            self.ms += 100
            for member in self.members:
                due = {t: d - 100 for t, d in member.timers.items()}
                member.timers = {t: d for t, d in due.items() if d > 0}
                for timer in sorted(t for t, d in due.items() if d <= 0):
                    self.give(member.index, Fired(timer))
            self.run()
            self.check()
            if min(self.heights()) >= goal:
                return
        raise AssertionError(f"no progress: {self.heights()} {self.views()} {self.modes()}")

    def check(self) -> None:
        """Agreement; no promise given twice; nobody goes back to a view it has left."""
        assert self.agree(), "two blocks at one height"
        for member in self.members:
            said, member.sent = member.sent, []
            for message in said:
                if isinstance(message, Block | Prepare | Collected):
                    self._once(member.index, "1", message.view, message.height, message.digest)
                if isinstance(message, Block | PrePrepared):
                    self._once(member.index, "P", message.view, message.height, message.digest)
                if isinstance(message, Commit):
                    self._once(member.index, "2", message.view, message.height, message.digest)
                if isinstance(message, NewView):
                    digest = message.choice or b""
                    self._once(member.index, "N", message.view, message.height, digest)
                if isinstance(message, ViewChange):
                    asked = self._asked.setdefault((member.index, message.standing.view), message)
                    assert asked == message, "two view changes for one view"

    def ways(self) -> Counter[str]:
        """Decisions by path and fallbacks by cause, of all lives of all replicas."""
        ways = self._ways.copy()
        for member in self.members:
            ways += _ways_of(member)
        return ways

    def power_off(self, *indices: int) -> None:
        """Power off; what the replica counted is kept for :meth:`ways`."""
        for index in indices:
            self._ways += _ways_of(self.members[index])
        super().power_off(*indices)

    def _once(self, signer: int, round_: str, view: int, height: int, digest: Digest) -> None:
        held = self._signed.setdefault((signer, round_, view, height), digest)
        assert held == digest, f"replica {signer} signs {round_} twice at view {view}"
        if round_ != "N":
            left = [v for (i, v) in self._asked if i == signer and v > view]
            first = (signer, round_, view, height) in self._signed
            assert first or not left, f"replica {signer} votes in view {view} after leaving it"


def _ways_of(member: Member) -> Counter[str]:
    if member.replica is None:
        return Counter()
    status = member.replica.status()
    return Counter(dict(status.decisions)) + Counter(dict(status.fallbacks))


def walk(
    n: int,
    seed: int,
    profile: EngineProfile = PBFT,
    steps: int = 3_000,
    path: PathSetting = "auto",
) -> Walk:
    """One walk, then good weather until three more heights are decided everywhere."""
    group = Walk(n, seed, profile, path)
    for _ in range(steps):
        group.step()
    group.settle()
    return group


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="1..200")
    parser.add_argument("--engine", default="bncm")
    parser.add_argument("--path", default="auto", choices=get_args(PathSetting))
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    profile = profile_of(Engine(options.engine))
    views = heights = 0
    ways: Counter[str] = Counter()
    for seed in range(int(first), int(last or first) + 1):
        n = 1 + seed % 10
        try:
            group = walk(n, seed, profile, path=options.path)
        except Exception:
            print(f"seed {seed}, n = {n}:")  # noqa: T201
            raise
        views, heights = views + max(group.views()), heights + max(group.heights())
        ways += group.ways()
    said = ", ".join(f"{way} {count}" for way, count in sorted(ways.items()))
    print(f"{views} views, {heights} heights, no violation; {said}")  # noqa: T201


if __name__ == "__main__":
    main()
