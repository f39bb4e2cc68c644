"""Every reachable state of a small plant, breadth first: can two digests be decided at one height?

The world is made of facts that only grow: who signed which vote and which commit. A certificate
exists as soon as enough signatures do, the f Byzantine replicas counted in each of them; anybody
may hold it, nobody has to. That leaves the network (loss, delay, order, partitions) to the
search, and makes every schedule of leaders the worst one: any replica may be shown any new view
that the view changes signed so far, the liars' claims and any existing certificate allow, and
another one for its next step. An honest replica passes through its views one by one; one that
skips views is one that does nothing in them.

What a replica holds in its safety record is state. What it does follows protocol.md §5 and §7:
``may``, ``cast``, ``lock``, ``decide``, ``start_vc``. States that differ by the names of honest
replicas or of digests are one state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, combinations_with_replacement, permutations, product
from typing import NamedTuple, Protocol

from spec.rules import (
    FREE,
    NONE,
    Claim,
    Rule,
    Selection,
    Sizes,
    Standing,
    admits,
    brings_decisions,
    first_height,
    select,
    sizes,
)
from spec.words import Move, NewView, Tale


class Slot(NamedTuple):
    """A record of a vote or a prepared certificate; compared by view, then height."""

    view: int
    height: int
    digest: int


EMPTY = Slot(-1, 0, FREE)
"""Nothing recorded yet: smaller than any slot."""


class Replica(NamedTuple):
    """An honest replica: its safety record, and what it has signed."""

    view: int
    decided: int
    """L."""
    durable: int
    """The L it would have after a restart."""
    vote: Slot
    prepared: Slot
    led: int
    """Views it led, as bits: one replica each; kept only by the rule that forgets such votes."""
    wiped: bool
    """It lost its record, and went on; one replica does, once."""
    signed: int
    """Votes and commits ever signed: one four-bit counter for each, so that they add up."""
    changes: tuple[tuple[Standing, ...], ...]
    """View changes signed, for each view."""


class Facts(NamedTuple):
    """What certificates exist."""

    prepared: frozenset[Slot]
    decided: frozenset[tuple[int, int]]
    """Height and digest."""


class Verdict(NamedTuple):
    """What a search found."""

    states: int
    """Seen, after symmetry."""
    finished: bool
    """Every reachable state was seen (or a fork was)."""
    fork: tuple[str, ...]
    """The shortest way to two decisions, in words; empty: none."""
    seconds: float


State = tuple[int, ...]
"""The honest replicas, by number."""
Changes = tuple[tuple[Standing, ...], ...]
"""The view changes for one view, of each honest replica."""


class _To(Protocol):
    """Adds a move and what it changes in a replica."""

    def __call__(self, move: Move, **record: object) -> None: ...


class Explorer:
    """A plant, its bounds and its rules.

    Args:
        n: replicas, at most 15.
        f: Byzantine ones; ``None`` for the most.
        p: slack of the fast path; ``None`` for the default.
        views: views 0 … ``views``−1.
        heights: heights 1 … ``heights``.
        digests: different blocks at each height.
        rule: the rule set.
    """

    def __init__(
        self,
        n: int,
        *,
        f: int | None = None,
        p: int | None = None,
        views: int = 2,
        heights: int = 1,
        digests: int = 2,
        rule: Rule = Rule.SHIPPED,
    ) -> None:
        self.sizes: Sizes = sizes(n, f, p, rule)
        self.views, self.heights, self.rule = views, heights, rule
        self.digests = range(1, digests + 1)
        slots = [
            Slot(view, height, digest)
            for height in range(1, heights + 1)
            for view in range(views)
            for digest in self.digests
        ]
        self._lane = {slot: 4 * i for i, slot in enumerate(slots)}
        self._commits = 4 * len(slots)
        self._replicas: list[Replica] = []
        self._number: dict[Replica, int] = {}
        self._renamings = list(product(permutations(self.digests), repeat=heights))[1:]
        self._renamed: list[dict[int, int]] = [{} for _ in self._renamings]
        self.facts = cache(self._facts)
        self.openings = cache(self._openings)
        self._moves = cache(self._compute_moves)

    # ------------------------------------------------------------------ states

    def _intern(self, replica: Replica) -> int:
        number = self._number.get(replica)
        if number is None:
            number = self._number[replica] = len(self._replicas)
            self._replicas.append(replica)
        return number

    def replica(self, number: int) -> Replica:
        """The replica that a state calls ``number``."""
        return self._replicas[number]

    def start(self) -> State:
        """Everybody at view 0 with an empty record."""
        nobody = Replica(0, 0, 0, EMPTY, EMPTY, 0, False, 0, ((),) * self.views)
        return (self._intern(nobody),) * (self.sizes.n - self.sizes.f)

    def _rename(self, number: int, renaming: Sequence[tuple[int, ...]]) -> int:
        def digest(height: int, old: int) -> int:
            return renaming[height - 1][old - 1] if old else FREE

        def slot(old: Slot) -> Slot:
            return old._replace(digest=digest(old.height, old.digest))

        def standing(old: Standing) -> Standing:
            height = old.decided + 1
            vote = Claim(old.vote.view, digest(height, old.vote.digest))
            prepared = Claim(old.prepared.view, digest(height, old.prepared.digest))
            return Standing(old.decided, vote, prepared)

        me = self._replicas[number]
        signed = 0
        for old, lane in self._lane.items():
            new = self._lane[slot(old)]
            signed |= (me.signed >> lane & 15) << new
            signed |= (me.signed >> lane + self._commits & 15) << new + self._commits
        changes = tuple(tuple(sorted(map(standing, each))) for each in me.changes)
        return self._intern(
            me._replace(
                vote=slot(me.vote), prepared=slot(me.prepared), signed=signed, changes=changes
            )
        )

    def canonical(self, state: State) -> State:
        """The one name of all states that differ by names of replicas and digests."""
        best = tuple(sorted(state))
        for renaming, known in zip(self._renamings, self._renamed, strict=True):
            other = []
            for number in state:
                new = known.get(number)
                if new is None:
                    new = known[number] = self._rename(number, renaming)
                other.append(new)
            other.sort()
            best = min(best, tuple(other))
        return best

    # ------------------------------------------------------------------ facts

    def total(self, state: State) -> int:
        """All signatures of honest replicas, added up."""
        return sum(self._replicas[number].signed for number in state)

    def _facts(self, total: int) -> Facts:
        f, prepared, decided = self.sizes.f, set(), set()
        for slot, lane in self._lane.items():
            votes = (total >> lane & 15) + f
            commits = (total >> lane + self._commits & 15) + f
            if votes >= self.sizes.q:
                prepared.add(slot)
            if votes >= self.sizes.F or commits >= self.sizes.q:
                decided.add((slot.height, slot.digest))
        return Facts(frozenset(prepared), frozenset(decided))

    def forked(self, facts: Facts) -> bool:
        """Two digests decided at one height."""
        return len({height for height, _ in facts.decided}) < len(facts.decided)

    def _openings(self, view: int, changes: Changes, facts: Facts) -> dict[Selection, NewView]:
        """Every new view of ``view`` that can be shown, by what it binds to.

        A lie about a vote is as good at the latest view as at any other, or it is no lie at all.
        """
        levels = [0, *sorted({height for height, _ in facts.decided})]
        votes = [NONE, *(Claim(view - 1, digest) for digest in self.digests)]
        lies = [Standing(level, vote, NONE) for level in levels for vote in votes]
        asked = [each for each in changes if each]
        found: dict[Selection, NewView] = {}
        for liars in range(min(self.sizes.f, self.sizes.w) + 1):
            for chosen in set(combinations(asked, self.sizes.w - liars)):
                for honest in product(*chosen):
                    for told in combinations_with_replacement(lies, liars):
                        shown = (*honest, *told)
                        h0 = first_height(shown, self.rule)
                        certificates = [
                            Claim(slot.view, slot.digest)
                            for slot in sorted(facts.prepared)
                            if slot.height == h0 and slot.view < view
                        ]
                        for attached in (NONE, *certificates):
                            if admits(shown, attached, h0, self.rule):
                                bound = select(shown, attached, self.sizes.tau, self.rule)
                                found.setdefault(bound, NewView(honest, told, attached))
        return found

    # ------------------------------------------------------------------ moves

    def _votable(
        self, view: int, height: int, openings: dict[Selection, NewView]
    ) -> dict[int, Selection | None]:
        """Digests a replica may vote for at ``height`` of ``view``, and by which new view."""
        if view == 0:
            return dict.fromkeys(self.digests)
        allowed: dict[int, Selection | None] = {}
        for bound in sorted(openings):
            h0, choice = bound
            if height < h0 and self.rule is not Rule.VOTE_BELOW_H0:
                continue
            if height == h0 and choice != FREE:
                allowed.setdefault(choice, bound)
            else:
                for digest in self.digests:
                    allowed.setdefault(digest, bound)
        return allowed

    def _compute_moves(
        self, number: int, facts: Facts, changes: Changes, taken: bool
    ) -> list[tuple[Move, int]]:
        me = self._replicas[number]
        moves: list[tuple[Move, int]] = []

        def to(move: Move, **record: object) -> None:
            moves.append((move, self._intern(me._replace(**record))))  # type: ignore[arg-type]  # fields of Replica

        if me.view + 1 < self.views:
            asked = list(me.changes)
            asked[me.view + 1] = (*asked[me.view + 1], self._standing(me))
            durable = self._disk(me, "view")
            to(
                Move("leave", me.view + 1),
                view=me.view + 1,
                changes=tuple(asked),
                durable=durable,
            )
        for height, digest in sorted(facts.decided):
            if height == me.decided + 1:
                durable = height if brings_decisions(self.rule, "decision") else me.durable
                to(Move("decide", me.view, height, digest), decided=height, durable=durable)
        openings = self.openings(me.view, changes, facts) if me.view else {}
        self._voting(me, openings, taken, to)
        self._committing(me, openings, facts, to)
        if me.durable < me.decided:
            self._restart(me, to)
        if self.rule is Rule.AMNESIA and me.signed and not taken:
            to(
                Move("wipe", me.view),
                view=0,
                decided=0,
                durable=0,
                vote=EMPTY,
                prepared=EMPTY,
                wiped=True,
            )
        return moves

    def _disk(self, me: Replica, kind: str) -> int:
        """L after a restart, once a record of ``kind`` is written."""
        return me.decided if brings_decisions(self.rule, kind) else me.durable

    def _standing(self, me: Replica) -> Standing:
        def claim(slot: Slot) -> Claim:
            return Claim(slot.view, slot.digest) if slot.height == me.decided + 1 else NONE

        omitted = me.vote.view >= 0 and me.led >> me.vote.view & 1
        return Standing(me.decided, NONE if omitted else claim(me.vote), claim(me.prepared))

    def _voting(
        self, me: Replica, openings: dict[Selection, NewView], taken: bool, to: _To
    ) -> None:
        height = me.decided + 1
        if height > self.heights:
            return
        if me.vote[:2] >= (me.view, height):
            return
        for digest, bound in self._votable(me.view, height, openings).items():
            slot = Slot(me.view, height, digest)
            signed = me.signed + (1 << self._lane[slot])
            durable = self._disk(me, "vote")
            move = Move("vote", me.view, height, digest, bound)
            to(move, vote=slot, signed=signed, durable=durable)
            if self.rule is Rule.LEADER_VOTE_OMITTED and not taken:
                to(
                    move._replace(kind="lead"),
                    vote=slot,
                    signed=signed,
                    led=me.led | 1 << me.view,
                )

    def _committing(
        self, me: Replica, openings: dict[Selection, NewView], facts: Facts, to: _To
    ) -> None:
        for slot in sorted(facts.prepared):
            height = slot.height
            ahead = self.rule is Rule.COMMIT_AHEAD and height > me.decided
            if slot.view != me.view or not (height == me.decided + 1 or ahead):
                continue
            if me.prepared[:2] >= slot[:2]:
                continue
            bound = min((b for b in openings if height >= b.height), default=None)
            if me.view and bound is None:
                continue
            durable = self._disk(me, "commit")
            to(
                Move("commit", me.view, height, slot.digest, bound),
                prepared=slot,
                signed=me.signed + (1 << self._lane[slot] + self._commits),
                durable=durable,
            )

    def _restart(self, me: Replica, to: _To) -> None:
        """Power fails; a replica that is changing views signs its view change again (§4)."""
        back = me._replace(decided=me.durable)
        changes = list(me.changes)
        fresh = self._standing(back)
        changing = max(me.vote.view, me.prepared.view) < me.view
        if me.view and changing and fresh not in changes[me.view]:
            changes[me.view] = tuple(sorted((*changes[me.view], fresh)))
        to(Move("restart", me.view), decided=me.durable, changes=tuple(changes))

    def _asked(self, state: State, view: int) -> Changes:
        return tuple(sorted(self._replicas[number].changes[view] for number in state))

    def successors(self, state: State, facts: Facts) -> Iterator[tuple[int, Move, int]]:
        """Who can do what next: index in the state, move, and the replica it becomes."""
        changes = [self._asked(state, view) for view in range(self.views)]
        led, wiped = 0, False
        for number in state:
            led |= self._replicas[number].led
            wiped |= self._replicas[number].wiped
        last = None
        for index, number in enumerate(state):
            if number == last:  # its twin has just done the same
                continue
            last = number
            view = self._replicas[number].view
            for move, new in self._moves(
                number, facts, changes[view], wiped or bool(led >> view & 1)
            ):
                yield index, move, new

    # ------------------------------------------------------------------ search

    def run(self, limit: int = 10_000_000) -> Verdict:
        """Search until a fork, the end, or ``limit`` states."""
        began = time.perf_counter()
        first = self.canonical(self.start())
        came: dict[State, State | None] = {first: None}
        level = [first]
        while level:
            following: list[State] = []
            for state in level:
                facts = self.facts(self.total(state))
                if self.forked(facts):
                    tale = self._tell(state, came)
                    return Verdict(len(came), True, tale, time.perf_counter() - began)
                for index, _, new in self.successors(state, facts):
                    after = self.canonical((*state[:index], new, *state[index + 1 :]))
                    if after not in came:
                        came[after] = state
                        following.append(after)
                if len(came) > limit:
                    return Verdict(len(came), False, (), time.perf_counter() - began)
            level = following
        return Verdict(len(came), True, (), time.perf_counter() - began)

    def _tell(self, last: State, came: dict[State, State | None]) -> tuple[str, ...]:
        """The way to ``last`` with one name for each replica and digest throughout."""
        path: list[State] = []
        step: State | None = last
        while step is not None:
            path.append(step)
            step = came[step]
        state = self.start()
        tale = Tale(self.sizes)
        for wanted in reversed(path[:-1]):
            facts = self.facts(self.total(state))
            index, move, new = next(
                (index, move, new)
                for index, move, new in self.successors(state, facts)
                if self.canonical((*state[:index], new, *state[index + 1 :])) == wanted
            )
            opened = None
            if move.bound is not None:
                changes = self._asked(state, move.view)
                opened = self.openings(move.view, changes, facts)[move.bound]
            owners = [self._replicas[i].changes[move.view] for i in state]
            after_me = self._replicas[new]
            said = (
                self._standing(after_me)
                if move.kind != "leave"
                else after_me.changes[move.view][-1]
            )
            tale.add(index, move, said, opened, owners)
            state = (*state[:index], new, *state[index + 1 :])
        return tale.end(self.facts(self.total(state)).decided)
