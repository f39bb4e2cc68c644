"""Counting votes: one per (round, signer, view, height), two heights at most (protocol.md, §8)."""

from __future__ import annotations

from typing import NamedTuple

from vppd.consensus.messages import Round
from vppd.types import Digest, Height, ReplicaIndex, Signature, View


class Cast(NamedTuple):
    """One signed vote."""

    digest: Digest
    signature: Signature


class Tally:
    """Votes of one round at one (view, height)."""

    __slots__ = ("by_digest", "by_signer", "loud")

    def __init__(self) -> None:
        self.by_signer: dict[ReplicaIndex, Cast] = {}
        self.by_digest: dict[Digest, dict[ReplicaIndex, Signature]] = {}
        self.loud: set[ReplicaIndex] = set()
        """Who has told everybody, and not only the leader who collects."""

    def add(self, signer: ReplicaIndex, cast: Cast, *, loud: bool = True) -> Cast | None:
        """Count a vote.

        Returns:
            The signer's earlier vote for *another* digest: equivocation, the new one is ignored.
        """
        earlier = self.by_signer.setdefault(signer, cast)
        if earlier.digest != cast.digest:
            return earlier
        if loud:
            self.loud.add(signer)
        self.by_digest.setdefault(cast.digest, {}).setdefault(signer, cast.signature)
        return None

    def signatures(self, digest: Digest) -> dict[ReplicaIndex, Signature]:
        """Who voted for ``digest``."""
        return self.by_digest.get(digest, {})

    def all_loud(self, digest: Digest, own: ReplicaIndex | None) -> bool:
        """Whether everybody but this replica told everybody that it voted for ``digest``."""
        return self.signatures(digest).keys() - {own} <= self.loud


class Ballots:
    """All tallies that may still matter."""

    __slots__ = ("_tallies",)

    def __init__(self) -> None:
        self._tallies: dict[tuple[Height, View, Round], Tally] = {}

    def at(self, height: Height, view: View, round_: Round) -> Tally:
        """The tally of one round, made on first use."""
        key = (height, view, round_)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        return tally

    def find(self, height: Height, view: View, round_: Round) -> Tally | None:
        """The tally of one round if anything was counted there."""
        return self._tallies.get((height, view, round_))

    def views(self, height: Height, round_: Round) -> tuple[View, ...]:
        """Views with votes of that round at that height, ascending."""
        return tuple(sorted(v for h, v, r in self._tallies if h == height and r == round_))

    def reached(
        self, height: Height, round_: Round, size: int
    ) -> tuple[View, Digest, dict[ReplicaIndex, Signature]] | None:
        """The first view in which so many votes of a round are for one digest, and those votes."""
        for view in self.views(height, round_):
            for digest, signatures in self.at(height, view, round_).by_digest.items():
                if len(signatures) >= size:
                    return view, digest, signatures
        return None

    def drop_below(self, view: View) -> None:
        """Forget views that are too long gone to matter."""
        for key in [key for key in self._tallies if key[1] < view]:
            del self._tallies[key]

    def drop_through(self, height: Height) -> None:
        """Forget everything at or below a decided height (§10, GC)."""
        for key in [key for key in self._tallies if key[0] <= height]:
            del self._tallies[key]
