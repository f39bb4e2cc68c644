"""Seeded random walks over the rules of protocol.md §5 and §7, for plants too large to search.

More is kept than in :mod:`spec.explore`: each replica stands in the new view it accepted (H0 and
choice), may jump over views, accept a later new view without having asked for it, replace one
within a view, and lose power between a write and the message that tells of it. Blocks name their
parents. The network and the leaders are the worst: a vote that has been sent may count for
anybody at any time, and every new view that can be shown may be.

A walk is a row of episodes: some replicas vote, some commit, some learn a decision, some leave,
some are shown a new view, some lose power. How many they are is drawn around the sizes that
matter, how likely each episode is, before the walk starts, so that some walks starve what others
overdo; and whoever leads wants, in most of them, to contradict what has been decided. A walk
proves nothing. It is run with every broken rule too, and says which ones it finds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

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


class Slot(NamedTuple):
    """A vote or a prepared certificate in a safety record; ordered by view, then height."""

    view: int
    height: int
    digest: int


EMPTY = Slot(-1, 0, FREE)
_ANY = Selection(1, FREE)


@dataclass(frozen=True, slots=True)
class Record:
    """A safety record (§4)."""

    view: int = 0
    changing: bool = False
    new_view: Selection = _ANY
    """H0 and choice; view 0 has none and binds nobody."""
    vote: Slot = EMPTY
    prepared: Slot = EMPTY
    chain: tuple[int, ...] = ()
    """Digests decided, from height 1."""

    @property
    def decided(self) -> int:
        """L."""
        return len(self.chain)


@dataclass(slots=True)
class Replica:
    """What it goes by, and what is on its disk."""

    live: Record = field(default_factory=Record)
    disk: Record = field(default_factory=Record)


class Outcome(NamedTuple):
    """How one walk ended."""

    fault: str
    """``fork``, ``unvotable`` (a choice that does not follow from what is decided), or nothing."""
    heights: int
    """Decided by somebody's certificate."""
    steps: tuple[str, ...]


class Tally(NamedTuple):
    """What many walks found."""

    walks: int
    steps: int
    heights: int
    """Decided, over all walks."""
    fault: str
    seed: int
    """Of the first walk with a fault."""
    tale: tuple[str, ...]
    seconds: float


_EPISODES = ("leave", "open", "vote", "commit", "learn", "resend", "restart")
_TRIES = 12
"""New views that a spiteful leader looks at before it shows one."""


class Walk:
    """One random walk.

    Args:
        plant: sizes under the rule.
        rule: the rule set.
        seed: decides everything.
        views: views 0 … ``views``−1.
        heights: heights that may be voted on.
    """

    def __init__(self, plant: Sizes, rule: Rule, seed: int, views: int, heights: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - walks are to be repeated
        self._sizes, self._rule = plant, rule
        self._views, self._heights = views, heights
        self._replicas = [Replica() for _ in range(plant.n - plant.f)]
        self._votes: dict[Slot, set[int]] = {}
        self._commits: dict[Slot, set[int]] = {}
        self._changes: list[dict[int, list[Standing]]] = [{} for _ in range(views)]
        self._parents: dict[int, tuple[int, int]] = {}
        self._digests: dict[tuple[int, int, int], int] = {}
        self._certified: dict[int, set[int]] = {}
        self._prepared: dict[int, list[Claim]] = {}
        self._led: set[Slot] = set()
        self._wiped = False
        self._fault = ""
        self._steps: list[str] = []
        draw = self._random
        self._weights = [draw.choice((1, 3, 9)) for _ in _EPISODES]
        self._power = draw.choice((0.0, 0.0, 0.02, 0.2))
        """How often power fails between a write and what it allows to be sent."""
        self._spite = draw.choice((0.0, 0.8, 1.0))
        """How often whoever leads wants to contradict what is decided."""

    def run(self, episodes: int) -> Outcome:
        """Take up to ``episodes`` episodes."""
        play = {
            "leave": self._depart, "open": self._open, "vote": self._poll,
            "commit": self._each(self._commit), "learn": self._each(self._learn),
            "resend": self._each(self._resend), "restart": self._each(self._restart),
        }  # fmt: skip
        for _ in range(episodes):
            (episode,) = self._random.choices(_EPISODES, self._weights)
            play[episode](self._group(few=episode in {"learn", "restart"}))
            if self._fault:
                break
        return Outcome(self._fault, len(self._certified), tuple(self._steps))

    def _group(self, *, few: bool) -> list[int]:
        """Whom an episode is about: often just as many as it takes."""
        everybody = len(self._replicas)
        s = self._sizes
        size = self._random.choice((s.q - s.f, s.F - s.f, s.w - s.f, 1, everybody, everybody - 1))
        if few and self._random.random() < 0.6:
            size = 1
        return self._random.sample(range(everybody), max(1, min(size, everybody)))

    def _each(self, action: Callable[[int], None]) -> Callable[[list[int]], None]:
        def act(group: list[int]) -> None:
            for who in group:
                if not self._fault:
                    action(who)

        return act

    # ------------------------------------------------------------------ disk and wire

    def _write(self, who: int, record: Record, kind: str) -> bool:
        """Persist a record; whether the power holds until it can be told of."""
        me = self._replicas[who]
        chain = record.chain
        if not brings_decisions(self._rule, kind):
            chain = me.disk.chain
        me.live = record
        if kind != "decision" or chain == record.chain:
            me.disk = replace(record, chain=chain)
        if self._random.random() < self._power:
            self._say(who, f"loses power before it can tell of its {kind}")
            me.live = me.disk
            return False
        return True

    def _say(self, who: int, what: str) -> None:
        self._steps.append(f"{who} {what}")

    def _send(self, who: int, slot: Slot, kind: str) -> None:
        facts = self._votes if kind == "votes" else self._commits
        signers = facts.setdefault(slot, set())
        if who in signers:
            return
        signers.add(who)
        self._say(who, f"{kind} {self._name(slot.digest)} in view {slot.view}")
        count = len(signers) + self._sizes.f
        claim = Claim(slot.view, slot.digest)
        if kind == "votes" and count >= self._sizes.q:
            known = self._prepared.setdefault(slot.height, [])
            if claim not in known:
                known.append(claim)
        if count >= (self._sizes.F if kind == "votes" else self._sizes.q):
            certified = self._certified.setdefault(slot.height, set())
            certified.add(slot.digest)
            if len(certified) > 1:
                self._fault = "fork"
                self._steps.append(
                    "decided: " + " and ".join(self._name(d) for d in sorted(certified))
                )

    # ------------------------------------------------------------------ blocks

    def _block(self, height: int, parent: int, number: int) -> int:
        digest = self._digests.setdefault((height, parent, number), len(self._digests) + 1)
        self._parents[digest] = (height, parent)
        return digest

    def _name(self, digest: int) -> str:
        height, parent = self._parents[digest]
        return f"block {digest} (height {height} after {parent or 'genesis'})"

    # ------------------------------------------------------------------ actions

    def _depart(self, group: list[int]) -> None:
        """start_vc: ask for a later view, and never vote in an older one again."""
        latest = max(self._replicas[who].live.view for who in group)
        view = latest + (0 if self._random.random() < 0.3 else self._random.choice((1, 1, 1, 2)))
        if view >= self._views:
            return
        for who in group:
            me = self._replicas[who].live
            if me.view < view and self._write(who, replace(me, view=view, changing=True), "view"):
                self._ask(who)

    def _ask(self, who: int) -> None:
        me = self._replicas[who].live
        height = me.decided + 1

        def claim(slot: Slot) -> Claim:
            return Claim(slot.view, slot.digest) if slot.height == height else NONE

        vote = NONE if me.vote in self._led else claim(me.vote)
        standing = Standing(me.decided, vote, claim(me.prepared))
        signed = self._changes[me.view].setdefault(who, [])
        if standing not in signed:
            signed.append(standing)
            self._say(who, f"asks for view {me.view}: {standing}")

    def _open(self, group: list[int]) -> None:
        """A new view: of their view or a later one, and perhaps instead of another."""
        ready = [
            view
            for view in range(1, self._views)
            if len(self._changes[view]) + self._sizes.f >= self._sizes.w
        ]
        if not ready:
            return
        view = ready[-1] if self._random.random() < 0.7 else self._random.choice(ready)
        height = 1 + min(self._replicas[who].live.decided for who in group)
        bound = self._worst(view, height)
        if bound is None:
            return
        for who in group:
            me = self._replicas[who].live
            if view < me.view or (view == me.view and bound == me.new_view and not me.changing):
                continue
            record = replace(me, view=view, changing=False, new_view=bound)
            if self._write(who, record, "view"):
                self._say(who, f"enters view {view}: H0 = {bound.height}, choice {bound.choice}")

    def _worst(self, view: int, height: int) -> Selection | None:
        """A new view of ``view``: for spite, one that leaves room for another block."""
        spite = self._random.random() < self._spite
        best: Selection | None = None
        for _ in range(_TRIES if spite else 1):
            bound = self._shown(view, height)
            if bound is None:
                continue
            if best is None or self._harm(bound, height) > self._harm(best, height):
                best = bound
        return best

    def _harm(self, bound: Selection, height: int) -> int:
        """How well a new view suits whoever wants another block decided at ``height``."""
        if bound.height > height:
            return 2 if self._rule is Rule.VOTE_BELOW_H0 else 0
        if bound.height < height or bound.choice == FREE:
            return 2
        return 1 if bound.choice in self._certified.get(height, set()) else 3

    def _shown(self, view: int, height: int) -> Selection | None:
        """One random new view, from what was signed and what liars may claim."""
        draw = self._random
        liars = self._sizes.f if draw.random() < 0.8 else draw.randint(0, self._sizes.f)
        liars = min(liars, self._sizes.w)
        asked = self._changes[view]
        if len(asked) < self._sizes.w - liars:
            return None
        signers = draw.sample(sorted(asked), self._sizes.w - liars)
        shown = [draw.choice(asked[i]) for i in signers]
        levels = [0, *sorted(self._certified)]
        top = max((s.decided for s in shown), default=0)
        blocks = [digest for digest, (at, _) in self._parents.items() if at == height]
        target = draw.choice([FREE, *blocks])
        for _ in range(liars):
            level = draw.choice(levels) if draw.random() < 0.2 else top
            lie = Claim(view - 1, target) if target else NONE
            shown.append(Standing(level, lie, NONE))
        h0 = first_height(shown, self._rule)
        attachable = [
            c
            for c in (NONE, *self._prepared.get(h0, ()))
            if c.view < view and admits(shown, c, h0, self._rule)
        ]
        if not attachable:
            return None
        return select(shown, draw.choice(attachable), self._sizes.tau, self._rule)

    def _may(self, me: Record, height: int) -> bool:
        """``may`` of §5."""
        if me.changing or height > self._heights:
            return False
        above = me.view == 0 or height >= me.new_view.height or self._rule is Rule.VOTE_BELOW_H0
        return height == me.decided + 1 and above

    def _poll(self, group: list[int]) -> None:
        """The leader, whoever that is, shows some of them a block."""
        number = self._random.randrange(2)
        for who in group:
            if not self._fault:
                self._vote(who, number)

    def _vote(self, who: int, number: int) -> None:
        """``cast``: a vote for the block a leader shows."""
        me = self._replicas[who].live
        height = me.decided + 1
        if not self._may(me, height) or me.vote[:2] >= (me.view, height):
            return
        head = me.chain[-1] if me.chain else 0
        if me.view and height == me.new_view.height and me.new_view.choice != FREE:
            digest = me.new_view.choice
            if self._parents[digest] != (height, head):
                self._fault = "unvotable"
                self._say(who, f"is bound to {self._name(digest)} and stands on {head}")
                return
        else:
            digest = self._block(height, head, number)
            if digest in self._certified.get(height, ()) and self._random.random() < self._spite:
                digest = self._block(height, head, 1 - number)
        slot = Slot(me.view, height, digest)
        if self._rule is Rule.LEADER_VOTE_OMITTED and who == me.view % len(self._replicas):
            self._led.add(slot)
        if self._write(who, replace(me, vote=slot), "vote"):
            self._send(who, slot, "votes")

    def _commit(self, who: int) -> None:
        """lock: a prepared certificate of this view and height."""
        me = self._replicas[who].live
        for height in sorted(self._prepared, reverse=True):
            ahead = self._rule is Rule.COMMIT_AHEAD and height > me.decided and not me.changing
            if not (self._may(me, height) or ahead):
                continue
            for view, digest in self._prepared[height]:
                if view != me.view or me.prepared[:2] >= (view, height):
                    continue
                slot = Slot(view, height, digest)
                if self._write(who, replace(me, prepared=slot), "commit"):
                    self._send(who, slot, "commits")
                return

    def _learn(self, who: int) -> None:
        """decide: any view, any mode."""
        me = self._replicas[who].live
        head = me.chain[-1] if me.chain else 0
        for digest in sorted(self._certified.get(me.decided + 1, ())):
            if self._parents[digest][1] == head:
                self._say(who, f"learns that {self._name(digest)} is decided")
                self._write(who, replace(me, chain=(*me.chain, digest)), "decision")
                return

    def _resend(self, who: int) -> None:
        """The tick of §5: its view change, or its votes at the height in flight."""
        me = self._replicas[who].live
        if me.changing:
            self._ask(who)
            return
        for slot, kind in ((me.vote, "votes"), (me.prepared, "commits")):
            if (
                slot.view == me.view
                and slot.height == me.decided + 1
                and self._may(me, slot.height)
            ):
                self._send(who, slot, kind)

    def _restart(self, who: int) -> None:
        me = self._replicas[who]
        if self._rule is Rule.AMNESIA and not self._wiped and me.live.vote != EMPTY:
            self._wiped = True
            me.live = me.disk = Record()
            self._say(who, "loses its record")
        elif me.live != me.disk:
            me.live = me.disk
            self._say(who, f"restarts with L = {me.disk.decided}")


def walks(
    n: int,
    count: int,
    *,
    f: int | None = None,
    p: int | None = None,
    rule: Rule = Rule.SHIPPED,
    seed: int = 1,
    views: int = 5,
    heights: int = 4,
) -> Tally:
    """Up to ``count`` walks, with seeds from ``seed`` on; stops at the first fault."""
    plant = sizes(n, f, p, rule)
    began = time.perf_counter()
    steps = decided = 0
    for number in range(count):
        walk = Walk(plant, rule, seed + number, views, heights)
        outcome = walk.run(80)
        steps += len(outcome.steps)
        decided += outcome.heights
        if outcome.fault:
            seconds = time.perf_counter() - began
            return Tally(
                number + 1, steps, decided, outcome.fault, seed + number, outcome.steps, seconds
            )
    return Tally(count, steps, decided, "", 0, (), time.perf_counter() - began)


def plants() -> Sequence[tuple[int, int, int]]:
    """The (n, f, p) that are walked: every size up to 10, and lowered f."""
    default = [tuple(sizes(n)[:3]) for n in range(2, 11)]
    return [*((n, f, p) for n, f, p in default), (7, 1, 1), (10, 2, 1), (10, 1, 2)]
