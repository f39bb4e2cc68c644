"""How long each phase of a height took here: proposal, q votes, F votes, decision, execution.

Kept in memory for the last heights, for people alone: nothing of it is state, and no timer looks at
it. Times are of this node: with votes that go to a leader who collects them, the leader alone sees
when q of them were there.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from vppd.codec import U8, U63, Bytes32, Decoder, Message
from vppd.consensus.boundary import Decision
from vppd.consensus.messages import Block, CertificateKind, Collected, Path, Prepare, Type
from vppd.consensus.terms import Terms
from vppd.net.gate import PeerMessage, decode_message
from vppd.types import Digest, Epoch, Height, ReplicaIndex, View

KEPT = 1_024
"""Heights."""


class HeightTimes(NamedTuple):
    """One decided height; microseconds since the proposal was sent or first seen here."""

    height: Height
    view: View
    """In which it was decided."""
    path: str
    """``collect`` or ``broadcast``; empty: this node never saw the proposal."""
    way: str
    """As ``EngineStatus.decisions`` names it; ``learnt`` here: without a proposal in that view."""
    votes_us: int | None
    """q first-round votes were here."""
    all_votes_us: int | None
    """F were."""
    decided_us: int | None
    """The decision was on disk."""
    executed_us: int | None
    persist_us: int | None = None
    """Spent in synced writes since the height before."""
    fallback: str | None = None
    """Why it went the slow way, if this node gave up waiting for the fast one."""


class _BlockHead(Message, frozen=True):
    """A block of which only the beginning is of interest: the rest is skipped, not decoded."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32
    path: U8
    header: msgspec.Raw
    txs: msgspec.Raw
    proposal_sig: msgspec.Raw
    vote_sig: msgspec.Raw


_head_of = Decoder(_BlockHead)


class _Height:
    """What is known of a height that is not decided."""

    __slots__ = ("decided_ns", "full_ns", "paths", "quorum_ns", "seen_ns", "votes")

    def __init__(self) -> None:
        self.seen_ns: int | None = None
        self.decided_ns: int | None = None
        self.paths: dict[View, Path] = {}
        self.votes: dict[tuple[View, Digest], set[ReplicaIndex]] = {}
        self.quorum_ns: dict[tuple[View, Digest], int] = {}
        self.full_ns: dict[tuple[View, Digest], int] = {}


class Phases:
    """The heights in flight, and the last ones decided.

    Args:
        terms: how many votes it takes in each epoch.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._open: dict[Height, _Height] = {}
        self._cause: str | None = None
        """Of a fallback whose height is not decided."""
        self.done: deque[HeightTimes] = deque(maxlen=KEPT)
        """Oldest first."""

    def proposed(self, height: Height, now_ns: int) -> None:
        """A proposal has left this node, or reached it."""
        known = self._at(height)
        if known.seen_ns is None:
            known.seen_ns = now_ns

    def heard(self, message: PeerMessage, leader: ReplicaIndex, now_ns: int) -> None:
        """A message whose signatures hold.

        Args:
            message: anything.
            leader: of its view and height, if it is a block.
            now_ns: monotonic.
        """
        match message:
            case Block(epoch, view, height, digest, path):
                self._proposal(epoch, height, view, digest, path, leader, now_ns)
            case Prepare(epoch, view, height, digest, signer) | Collected(
                epoch, view, height, digest, signer
            ):
                self._vote(epoch, height, (view, digest), signer, now_ns)
            case _:
                pass

    def sent(self, type_: Type, payload: bytes, own: ReplicaIndex, now_ns: int) -> None:
        """A frame of this node has left it."""
        if type_ is Type.BLOCK:
            head = _head_of(payload)
            self._proposal(head.epoch, head.height, head.view, head.digest, head.path, own, now_ns)
        elif type_ in (Type.PREPARE, Type.RECEIVED):
            self.heard(decode_message(type_, payload), own, now_ns)

    def decided(self, height: Height, now_ns: int) -> None:
        """Its decision is durable."""
        if height in self._open:
            self._open[height].decided_ns = now_ns

    def executed(
        self, decision: Decision, now_ns: int, persist_us: int | None = None
    ) -> HeightTimes:
        """It is executed: done with.

        Args:
            decision: that was.
            now_ns: monotonic.
            persist_us: see :class:`HeightTimes`.
        """
        height, certificate = decision.height, decision.certificate
        known = self._open.get(height)
        seen_ns = None if known is None else known.seen_ns
        if known is None or seen_ns is None:
            marks = (None, None, None, None)
            times = HeightTimes(height, certificate.view, "", "learnt", *marks, persist_us)
        else:
            at = (certificate.view, certificate.digest)
            path = known.paths.get(certificate.view)
            reached = (known.quorum_ns.get(at), known.full_ns.get(at), known.decided_ns, now_ns)
            votes, all_votes, decided, done = (
                None if mark is None else (mark - seen_ns) // 1_000 for mark in reached
            )
            times = HeightTimes(
                height,
                certificate.view,
                "" if path is None else path.name.lower(),
                _way(certificate.kind, path),
                votes,
                all_votes,
                decided,
                done,
                persist_us,
            )
        self.done.append(times)
        self._explain()
        for past in [h for h in self._open if h <= height]:
            del self._open[past]
        return times

    def fell_back(self, cause: str) -> None:
        """The engine has counted a fallback: of the last height, or of the one in flight."""
        self._cause = cause
        self._explain()

    def _explain(self) -> None:
        if self._cause is not None and self.done:
            last = self.done[-1]
            if last.way == "slow" and last.fallback is None:
                self.done[-1] = last._replace(fallback=self._cause)
                self._cause = None

    def _proposal(
        self, epoch: Epoch, height: Height, view: View, digest: Digest, path: int,
        leader: ReplicaIndex, now_ns: int,
    ) -> None:  # fmt: skip
        self.proposed(height, now_ns)
        collects = path == Path.COLLECT  # any other number broadcasts, as in the core
        self._at(height).paths.setdefault(view, Path.COLLECT if collects else Path.BROADCAST)
        self._vote(epoch, height, (view, digest), leader, now_ns)

    def _vote(
        self, epoch: Epoch, height: Height, at: tuple[View, Digest], signer: ReplicaIndex,
        now_ns: int,
    ) -> None:  # fmt: skip
        term = self._terms.of(epoch)
        if term is None:
            return
        quorum = term.validators.quorum
        known = self._at(height)
        votes = known.votes.setdefault(at, set())
        votes.add(signer)
        if len(votes) >= quorum.vote:
            known.quorum_ns.setdefault(at, now_ns)
        if len(votes) >= quorum.fast:
            known.full_ns.setdefault(at, now_ns)

    def _at(self, height: Height) -> _Height:
        return self._open.setdefault(height, _Height())


def _way(kind: int, path: Path | None) -> str:
    if path is None:
        return "learnt"
    if kind != CertificateKind.FAST:
        return "slow"
    return "fast" if path is Path.COLLECT else "fast_exit"
