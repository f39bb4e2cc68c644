"""From waiting for everybody to the ordinary two rounds: same view, same height, same digest (§5).

No new proposal, no body again, and no vote cast anew: the first-round votes that went to the leader
are the prepares that now go to everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vppd.consensus.boundary import ALL, ZERO_SIGNATURE
from vppd.consensus.flight import Cause, Flight
from vppd.consensus.messages import Certificate, CertificateKind, Path, PrePrepared, Round
from vppd.consensus.outbox import Outbox
from vppd.consensus.proposer import Proposal
from vppd.consensus.safety import Position, position_of
from vppd.consensus.tally import Cast
from vppd.types import Digest, ReplicaIndex

if TYPE_CHECKING:
    from vppd.consensus.core import Core


class Fallback:
    """When and how a height in flight goes the slow way.

    Args:
        core: whose height it is.
        out: where messages go.
    """

    __slots__ = ("_core", "_ended", "_handed", "_out")

    def __init__(self, core: Core, out: Outbox) -> None:
        self._core = core
        self._out = out
        self._handed: Certificate | None = None
        """A prepared certificate that the leader has shown."""
        self._ended: tuple[Position, Digest] | None = None
        """Where the leader has ended the wait; its word may come before its block."""

    def forget(self) -> None:
        """The height is decided, or the view is another one."""
        self._handed = self._ended = None

    def handed(self, at: Position) -> Certificate | None:
        """The prepared certificate that the leader has shown for ``at``."""
        held = self._handed
        return held if held is not None and position_of(held) == at else None

    def look(self) -> None:
        """Count the votes that are here: timers begin, or f+1 replicas have stopped waiting."""
        core, flight = self._core, self._core.waiting.flight
        if flight is None:
            return
        if flight.collects and self._ended == (flight.at, flight.digest):
            self.hurry(Cause.LEADER)
        tally = core.ballots.find(flight.at.height, flight.at.view, Round.VOTE)
        if tally is None:
            return
        votes = tally.signatures(flight.digest)
        core.waiting.count(len(votes), core.now.monotonic_ms, core.present)
        loud = tally.loud & votes.keys()
        if flight.collects and len(loud) > core.quorum.f:
            self.hurry(Cause.PREPARES)
        if flight.cause is not None and not flight.told and loud:
            self._tell(flight)  # somebody was not shown the votes that we were shown

    def holds_back(self, at: Position, digest: Digest) -> bool:
        """Whether q votes are here, and the lock still waits for the rest of them."""
        core = self._core
        tally = core.ballots.find(at.height, at.view, Round.COMMIT)
        commits = 0 if tally is None else len(tally.signatures(digest))
        return core.waiting.holds_back(commits=commits, present=core.present)

    def on_pre_prepared(self, message: PrePrepared) -> None:
        """The leader ends the wait, and shows the q votes it has, if it has them."""
        core = self._core
        height, view, digest = message.height, message.view, message.digest
        if message.epoch != core.record.epoch or not core.in_window(height, view):
            return
        core.recognise(message.prepared)
        proposal = Proposal(Cast(digest, message.proposal_sig), Path.COLLECT)
        if not core.propose_once(message.epoch, view, height, proposal):
            return
        if message.prepared is not None:
            self._handed = message.prepared
        self._ended = Position(message.epoch, view, height), digest
        core.advance()

    def hurry(self, cause: Cause) -> None:
        """Stop waiting for everybody."""
        core, flight = self._core, self._core.waiting.flight
        if flight is None or not core.waiting.slow(cause) or flight.path is not Path.COLLECT:
            return
        at, digest = flight.at, flight.digest
        if not core.may(at.view, at.height):
            return
        held = self._held(flight)
        if flight.leads:
            self._out.send(ALL, PrePrepared(*at, digest, ZERO_SIGNATURE, held))
        if held is None and self.handed(at) is None:
            self._tell(flight)

    def _tell(self, flight: Flight) -> None:
        """This replica's vote, to everybody."""
        if self._core.may(flight.at.view, flight.at.height):
            flight.told = True
            self._out.send(ALL, self._core.own_vote(flight.at, flight.digest))

    def say_again(self, to: tuple[ReplicaIndex, ...] | Literal["all"]) -> None:
        """The leader's end of the wait, to whom it may have missed."""
        flight = self._core.waiting.flight
        if flight is not None and flight.leads and flight.path is Path.COLLECT and flight.cause:
            held = self._held(flight)
            self._out.send(to, PrePrepared(*flight.at, flight.digest, ZERO_SIGNATURE, held))

    def _held(self, flight: Flight) -> Certificate | None:
        """The prepared certificate of the flight, from the votes that are here."""
        core, at = self._core, flight.at
        tally = core.ballots.find(at.height, at.view, Round.VOTE)
        signatures = {} if tally is None else tally.signatures(flight.digest)
        if len(signatures) < core.quorum.vote:
            return None
        return core.assemble(CertificateKind.PREPARED, at, flight.digest, signatures)
