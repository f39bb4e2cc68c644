"""The safety record: what a replica has promised and must never contradict (protocol.md, §4).

All comparisons are lexicographic on (epoch, view, height); "no vote" is smaller than any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    EvidenceRecord,
    NewViewRecord,
    ObserverRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewChangeRecord,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import Certificate, NewView, ViewChange
from vppd.types import ZERO_DIGEST, Digest, Epoch, Height, Mode, View


class Position(NamedTuple):
    """One place in the protocol; compares as §5 says."""

    epoch: Epoch
    view: View
    height: Height


class Promise(NamedTuple):
    """A digest promised at a position."""

    at: Position
    digest: Digest


class SafetyRecord:
    """The slots of §4, folded from the log; :meth:`allows` is the only judge of a new vote."""

    __slots__ = (
        "_change", "_new_view", "epoch", "mode", "nonce", "observer", "prepared", "proposal",
        "view", "vote",
    )  # fmt: skip

    def __init__(self) -> None:
        self.epoch: Epoch = 0
        self.view: View = 0
        self.mode = Mode.NORMAL
        self.vote: Promise | None = None
        self.proposal: Promise | None = None
        self.prepared: Certificate | None = None
        self.observer: str | None = None
        """Why this node signs nothing but in epochs that name its nonce."""
        self.nonce: Digest = ZERO_DIGEST
        """Drawn when its memory began; zeros: with genesis."""
        self._change: ViewChange | None = None
        self._new_view: NewView | None = None

    def fold(self, record: Record) -> None:
        """Take over one record, from the log or just written."""
        match record:
            case VoteRecord():
                at = Position(record.epoch, record.view, record.height)
                self.vote = Promise(at, record.digest)
            case ProposalRecord():
                at = Position(record.epoch, record.view, record.height)
                self.proposal = Promise(at, record.digest)
            case PreparedRecord():
                self.prepared = record.certificate
            case ViewRecord():
                self.epoch, self.view, self.mode = record.epoch, record.view, Mode(record.mode)
            case ViewChangeRecord():
                self._change = record.message
            case NewViewRecord():
                self._new_view = record.message
            case ObserverRecord():
                self.observer, self.nonce = record.reason, record.nonce
            case BodyRecord() | DecisionRecord() | EvidenceRecord():
                pass
            case _:  # pragma: no cover
                assert_never(record)

    def speaks(self, nonce: Digest) -> bool:
        """Whether an epoch that names ``nonce`` for this node's key means this very memory (§4).

        A memory that was lost, copied or begun later than genesis has a nonce of its own; decided
        blocks of earlier epochs name another one, or none, and cannot wake it.
        """
        if self.observer is None:
            return nonce == ZERO_DIGEST
        return self.nonce != ZERO_DIGEST and nonce == self.nonce

    @property
    def change(self) -> ViewChange | None:
        """The view change this replica stands by: it has asked for the view it is in."""
        change = self._change
        if self.mode is Mode.CHANGING and change is not None:
            asked = change.standing
            if (asked.epoch, asked.view) == (self.epoch, self.view):
                return change
        return None

    @property
    def new_view(self) -> NewView | None:
        """What opened the view this replica is in; view 0 needs nothing."""
        held = self._new_view
        if self.mode is Mode.NORMAL and held is not None:
            return held if (held.epoch, held.view) == (self.epoch, self.view) else None
        return None

    def opens(self, view: View, height: Height) -> bool:
        """Whether ``view`` may vote at ``height``: not below the H0 of its new view (§5, may)."""
        if view == 0:
            return True
        opened = self.new_view
        return opened is not None and opened.view == view and height >= opened.height

    def allows(self, at: Position, digest: Digest) -> bool:
        """``vote < (epoch,v,n) or vote == (v,n,d)``: never two digests at one position."""
        return self.vote is None or self.vote.at < at or self.vote == (at, digest)

    def proposed(self, at: Position) -> Digest | None:
        """What this node proposed at ``at``, if anything."""
        if self.proposal is not None and self.proposal.at == at:
            return self.proposal.digest
        return None

    def voted(self, at: Position) -> Digest | None:
        """What this node voted for at ``at``, if anything."""
        return self.vote.digest if self.vote is not None and self.vote.at == at else None

    def locked(self, at: Position) -> Certificate | None:
        """The prepared certificate of ``at``, if that is the one held."""
        held = self.prepared
        return held if held is not None and position_of(held) == at else None

    def covers_vote(self, at: Position, digest: Digest) -> bool:
        """Whether a first-round vote of this node's key is one this record knows of."""
        return self.vote is not None and (self.vote.at > at or self.vote == (at, digest))

    def covers_commit(self, at: Position, digest: Digest) -> bool:
        """Whether a commit of this node's key is one this record knows of."""
        held = self.prepared
        if held is None:
            return False
        own = position_of(held)
        return own > at or (own == at and held.digest == digest)

    def covers_change(self, epoch: Epoch, view: View) -> bool:
        """Whether a view change of this node's key is one this record knows of."""
        return (self.epoch, self.view) >= (epoch, view)


def position_of(certificate: Certificate) -> Position:
    """Where a certificate's votes were cast."""
    return Position(certificate.epoch, certificate.view, certificate.height)


def flaw(record: SafetyRecord, decided: Height) -> str:
    """Start rule (1), §4: what makes a record one that must not vote; empty: nothing does."""
    vote, prepared = record.vote, record.prepared
    if vote is not None and vote.at.height > decided + 1:
        return f"its vote is at height {vote.at.height}, its last decision is {decided}"
    if prepared is not None and prepared.height > decided + 1:
        return f"its lock is at height {prepared.height}, its last decision is {decided}"
    if record.mode is Mode.CHANGING and record.change is None:
        return f"it asked for view {record.view}, and what it said is missing"
    if record.mode is Mode.NORMAL and record.view > 0 and record.new_view is None:
        return f"what opened its view {record.view} is missing"
    return ""


def last_decision(log: Sequence[Record]) -> DecisionRecord | None:
    """The highest decision row in a log."""
    rows = [record for record in log if isinstance(record, DecisionRecord)]
    return max(rows, key=lambda row: row.height, default=None)
