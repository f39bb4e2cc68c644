"""A trace in words: who does what, and by which new view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spec.rules import FREE, NONE, Claim, Selection, Sizes, Standing

HONEST = "ABCDEFGHIJKLMNOP"
LIARS = "ZYXWVU"


class Move(NamedTuple):
    """What one replica does."""

    kind: str
    """``leave``, ``vote``, ``lead``, ``commit``, ``decide``, ``restart`` or ``wipe``."""
    view: int
    height: int = 0
    digest: int = FREE
    bound: Selection | None = None
    """What the new view binds to that allows the move; none in view 0."""


class NewView(NamedTuple):
    """A new view that replicas accept, and what it shows."""

    honest: tuple[Standing, ...]
    lies: tuple[Standing, ...]
    attached: Claim


def block(height: int, digest: int) -> str:
    """A block by the name it has in a trace: ``d1``, ``e1`` at height 1."""
    return f"{'defgh'[digest - 1]}{height}"


def names(indices: Iterable[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    all_ = list(indices)
    return all_[0] if len(all_) == 1 else f"{', '.join(all_[:-1])} and {all_[-1]}"


class Tale:
    """Collects the steps of one trace; equal steps of several replicas become one line."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._lines: list[tuple[list[str], str, str]] = []
        self._told: set[tuple[int, Selection]] = set()

    def _say(self, who: str, one: str, many: str) -> None:
        if self._lines and self._lines[-1][1] == one and one and who not in self._lines[-1][0]:
            self._lines[-1][0].append(who)
        else:
            self._lines.append(([who] if who else [], one, many))

    def add(
        self,
        index: int,
        move: Move,
        standing: Standing,
        opened: NewView | None,
        owners: Sequence[Sequence[Standing]],
    ) -> None:
        """One step.

        Args:
            index: of the replica among the honest ones.
            move: what it does.
            standing: where it stands after the move, as its next view change would say.
            opened: the new view that allows the move, if one is needed.
            owners: for each honest replica, its view changes for ``move.view``.
        """
        who = HONEST[index]
        if opened is not None and move.bound is not None:
            self._open(move.view, move.bound, opened, owners)
        it = block(move.height, move.digest) if move.digest else ""
        if move.kind == "leave":
            said = self._standing(standing)
            self._say(
                who,
                f"leaves for view {move.view} ({said})",
                f"leave for view {move.view} ({said})",
            )
        elif move.kind == "vote":
            self._say(who, f"votes {it} in view {move.view}", f"vote {it} in view {move.view}")
        elif move.kind == "lead":
            self._say(who, f"proposes {it} in view {move.view} and votes for it", "")
        elif move.kind == "commit":
            self._say(who, f"commits {it} in view {move.view}", f"commit {it} in view {move.view}")
        elif move.kind == "decide":
            self._say(who, f"learns that {it} is decided", f"learn that {it} is decided")
        elif move.kind == "restart":
            self._say(who, "loses power and restarts", "lose power and restart")
        else:
            self._say(who, "loses its whole record and starts anew", "lose their records")

    def _standing(self, s: Standing) -> str:
        height = s.decided + 1
        vote = f"vote {block(height, s.vote.digest)}@{s.vote.view}" if s.vote != NONE else "no vote"
        lock = (
            f", prepared {block(height, s.prepared.digest)}@{s.prepared.view}"
            if s.prepared != NONE
            else ""
        )
        return f"L={s.decided}, {vote}{lock}"

    def _open(
        self,
        view: int,
        bound: Selection,
        opened: NewView,
        owners: Sequence[Sequence[Standing]],
    ) -> None:
        if (view, bound) in self._told:
            return
        self._told.add((view, bound))
        free = list(range(len(owners)))
        shown = []
        for standing in opened.honest:
            index = next(i for i in free if standing in owners[i])
            free.remove(index)
            shown.append(f"{HONEST[index]} ({self._standing(standing)})")
        shown += [f"{LIARS[i]} (claims {self._standing(lie)})" for i, lie in enumerate(opened.lies)]
        choice = "free choice"
        if bound.choice != FREE:
            choice = f"choice {block(bound.height, bound.choice)}"
        cert = ""
        if opened.attached != NONE:
            it = block(bound.height, opened.attached.digest)
            cert = f" with the prepared certificate {it}@{opened.attached.view}"
        self._lines.append(
            (
                [],
                f"view {view} opens with H0 = {bound.height}, {choice}, shown by "
                f"{names(shown)}{cert}",
                "",
            )
        )

    def end(self, decided: Iterable[tuple[int, int]]) -> tuple[str, ...]:
        """The whole tale, with the fork it ends in."""
        lines = [
            one if not who else f"{names(who)} {many if len(who) > 1 else one}"
            for who, one, many in self._lines
        ]
        both = sorted(decided)
        forked = [
            names(block(h, d) for h, d in both if h == height)
            for height in sorted({h for h, _ in both})
            if sum(h == height for h, _ in both) > 1
        ]
        liars = names(LIARS[: self._sizes.f]) if self._sizes.f else "nobody"
        lines.append(f"decided: {', '.join(forked)} ({liars} signs whatever is missing)")
        return tuple(lines)
