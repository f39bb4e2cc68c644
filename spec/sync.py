"""View synchronisation (protocol.md §5, T_vc; §7, join and the store of view changes).

Before the network settles anything may happen: timers fire, view changes are late or lost,
replicas restart and lose those they held, liars ask for any view. Then (GST) the liars fall
silent and every honest replica's newest message is sent again until it arrives. Two questions
for every reachable state:

* **Does a timer run?** A replica in NORMAL runs T_view, there being work; one that is CHANGING
  runs T_vc once it holds view changes of w signers. If nobody runs one, nothing ever happens again.
* **Does it settle?** With every running timer fired, round by round, w replicas must meet in a
  view whose leader is honest, within two rounds of leaders.

The shipped rule counts view changes for views ≥ v′; counting exactly v′ deadlocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from typing import NamedTuple

from spec.rules import Sizes, sizes


class Replica(NamedTuple):
    """An honest replica: its view, and the view changes it holds."""

    view: int
    changing: bool
    held: tuple[int, ...]
    """Highest view asked for by each signer, as far as it is above ``view`` or equal; else 0."""
    asked: int
    """Views it has ever asked for, as bits: any of them may still arrive somewhere."""


State = tuple[Replica, ...]


class Verdict(NamedTuple):
    """What the search found."""

    states: int
    finished: bool
    stuck: str
    """``no timer runs``, ``never settles`` or nothing."""
    tale: tuple[str, ...]
    slowest: int
    """Rounds of timers until a settled view, at worst."""
    seconds: float


class Synchroniser:
    """A plant that changes views.

    Args:
        n: replicas, with f = ⌊(n−1)/3⌋; the liars are the last ones.
        views: views 0 … ``views`` before the network settles.
        exact: the broken rule: T_vc counts view changes for exactly v′.
        restarts: replicas may restart and lose the view changes they hold.
    """

    def __init__(self, n: int, views: int, *, exact: bool = False, restarts: bool = True) -> None:
        self.sizes: Sizes = sizes(n)
        self.honest = n - self.sizes.f
        self.views, self.exact, self.restarts = views, exact, restarts

        self._rounds = cache(self.settles)

    def start(self) -> State:
        """Everybody NORMAL in view 0."""
        nobody = Replica(0, changing=False, held=(0,) * self.sizes.n, asked=0)
        return (nobody,) * self.honest

    # ------------------------------------------------------------------ the rules

    def running(self, me: Replica, index: int) -> bool:
        """Whether T_view or T_vc runs."""
        if not me.changing:
            return True
        signers = {index} | {
            signer
            for signer, view in enumerate(me.held)
            if (view == me.view if self.exact else view >= me.view)
        }
        return len(signers) >= self.sizes.w

    def ask(self, me: Replica, view: int) -> Replica:
        """start_vc."""
        held = tuple(v if v >= view else 0 for v in me.held)
        return Replica(view, changing=True, held=held, asked=me.asked | 1 << view)

    def enter(self, me: Replica, view: int) -> Replica:
        """A new view of ``view``, if it is news."""
        if view < me.view or (view == me.view and not me.changing):
            return me
        held = tuple(v if v >= view else 0 for v in me.held)
        return Replica(view, changing=False, held=held, asked=me.asked)

    def receive(self, me: Replica, signer: int, view: int) -> Replica:
        """A view change: the highest of each signer is kept; f+1 above the own view pull it in."""
        if view < me.view or view <= me.held[signer]:
            return me
        held = (*me.held[:signer], view, *me.held[signer + 1 :])
        me = me._replace(held=held)
        above = sorted((v for v in held if v > me.view), reverse=True)
        if len(above) > self.sizes.f:
            return self.ask(me, above[self.sizes.f])
        return me

    # ------------------------------------------------------------------ before GST

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Everything that can happen next."""
        n, f = self.sizes.n, self.sizes.f
        for i, me in enumerate(state):
            name = f"{i}"

            def to(new: Replica, i: int = i) -> State:
                return (*state[:i], new, *state[i + 1 :])

            if me.view < self.views and self.running(me, i):
                timer = "T_vc" if me.changing else "T_view"
                yield f"{name}: {timer}, asks for view {me.view + 1}", to(self.ask(me, me.view + 1))
            for view in range(max(1, me.view), self.views + 1):
                for signer in range(n):
                    liar = signer >= self.honest
                    if signer != i and (liar or state[signer].asked >> view & 1):
                        new = self.receive(me, signer, view)
                        if new != me:
                            yield f"{name} hears {signer} ask for view {view}", to(new)
                if sum(r.asked >> view & 1 for r in state) + f >= self.sizes.w:
                    new = self.enter(me, view)
                    if new != me:
                        yield f"{name} enters view {view}", to(new)
            if self.restarts and any(me.held):
                yield f"{name} restarts", to(me._replace(held=(0,) * n))

    def canonical(self, state: State) -> State:
        """The one name of states that differ by names of honest replicas, and of liars."""
        n, f = self.sizes.n, self.sizes.f
        best: State | None = None
        for order in permutations(range(self.honest)):
            for liars in permutations(range(self.honest, n)):
                signers = (*order, *liars)
                other = tuple(
                    state[i]._replace(held=tuple(state[i].held[s] for s in signers)) for i in order
                )
                best = other if best is None else min(best, other)
        if best is None:  # pragma: no cover - there is at least one order
            raise AssertionError(f, n)
        return best

    # ------------------------------------------------------------------ after GST

    def deliver(self, state: State) -> State:
        """Everybody's newest message arrives: view changes of those CHANGING, else the new view."""
        while True:
            before = state
            for sender in range(self.honest):
                said = state[sender]
                state = tuple(
                    me
                    if i == sender
                    else self.receive(me, sender, said.view)
                    if said.changing
                    else self.enter(me, said.view)
                    if said.view
                    else me
                    for i, me in enumerate(state)
                )
            state = self._lead(state)
            if state == before:
                return state

    def _lead(self, state: State) -> State:
        """An honest leader opens its view once every honest replica is there, itself among them.

        Names of replicas are lost to symmetry, so who leads is not known: it has to do for each.
        """
        (view, *others) = {me.view for me in state}
        if others or view % self.sizes.n >= self.honest:
            return state
        return tuple(self.enter(me, view) for me in state)

    def settles(self, state: State) -> int:
        """Rounds of timers until w replicas are NORMAL under an honest leader; −1: never.

        After a round in which no timer ran there is no further one: the answer is −1 too.
        """
        for rounds in range(2 * self.sizes.n):
            state = self.deliver(state)
            for view in {r.view for r in state}:
                there = sum(r.view == view and not r.changing for r in state)
                if view % self.sizes.n < self.honest and there >= min(self.sizes.w, self.honest):
                    return rounds
            fired = tuple(
                self.ask(me, me.view + 1) if self.running(me, i) else me
                for i, me in enumerate(state)
            )
            if fired == state:
                return -1
            state = fired
        return -1

    # ------------------------------------------------------------------ search

    def run(self, limit: int = 3_000_000) -> Verdict:
        """Every reachable state, breadth first, until a stuck one."""
        began = time.perf_counter()
        first = self.start()
        came: dict[State, State | None] = {first: None}
        level, slowest = [first], 0
        while level:
            following: list[State] = []
            for state in level:
                settled = self.deliver(state)
                rounds = self._rounds(settled)
                slowest = max(slowest, rounds)
                if rounds < 0:
                    idle = not any(self.running(r, i) for i, r in enumerate(settled))
                    stuck = "no timer runs" if idle else "never settles"
                    tale = self._tell(state, came)
                    seconds = time.perf_counter() - began
                    return Verdict(len(came), True, stuck, tale, slowest, seconds)
                for _, after in self.moves(state):
                    named = self.canonical(after)
                    if named not in came:
                        came[named] = state
                        following.append(named)
                if len(came) > limit:
                    return Verdict(len(came), False, "", (), slowest, time.perf_counter() - began)
            level = following
        return Verdict(len(came), True, "", (), slowest, time.perf_counter() - began)

    def _tell(self, last: State, came: dict[State, State | None]) -> tuple[str, ...]:
        path: list[State] = []
        step: State | None = last
        while step is not None:
            path.append(step)
            step = came[step]
        state = self.start()
        tale = []
        for wanted in reversed(path[:-1]):
            words, state = next(
                (words, after)
                for words, after in self.moves(state)
                if self.canonical(after) == wanted
            )
            tale.append(words)
        settled = self.deliver(state)
        ends = [
            f"{i} {'CHANGING to' if r.changing else 'NORMAL in'} view {r.view}"
            for i, r in enumerate(settled)
        ]
        return (*tale, "everything sent arrives; then " + ", ".join(ends))
