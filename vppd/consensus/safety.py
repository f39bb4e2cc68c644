"""The safety record: what a replica has promised and must never contradict (protocol.md, §4).

All comparisons are lexicographic on (epoch, view, height); "no vote" is smaller than any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import Certificate
from vppd.types import Digest, Epoch, Height, Mode, View


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

    __slots__ = ("epoch", "mode", "prepared", "proposal", "view", "vote")

    def __init__(self) -> None:
        self.epoch: Epoch = 0
        self.view: View = 0
        self.mode = Mode.NORMAL
        self.vote: Promise | None = None
        self.proposal: Promise | None = None
        self.prepared: Certificate | None = None

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
            case BodyRecord() | DecisionRecord():
                pass

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
        if held is not None and Position(held.epoch, held.view, held.height) == at:
            return held
        return None


def consistent(record: SafetyRecord, decided: Height) -> bool:
    """Start rule (1), §4: nothing promised beyond the height after the last decision."""
    vote, prepared = record.vote, record.prepared
    return (vote is None or vote.at.height <= decided + 1) and (
        prepared is None or prepared.height <= decided + 1
    )


def last_decision(log: Sequence[Record]) -> DecisionRecord | None:
    """The highest decision row in a log."""
    rows = [record for record in log if isinstance(record, DecisionRecord)]
    return max(rows, key=lambda row: row.height, default=None)
