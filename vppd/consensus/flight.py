"""The height in flight: which path its votes take, and when it stops waiting for all of them.

A fast decision needs F votes, an ordinary one q. Between the two a replica waits a little, because
the rest of the votes is usually on its way and one round saved is a third of the time; when they do
not come, it goes on with the q it has (protocol.md, §5, Fallback and Hold-back). Nothing in here is
a promise: whatever it says, the core only locks and decides on what it may.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from vppd.consensus.average import Average
from vppd.consensus.boundary import Timer, TimerKind
from vppd.consensus.messages import CertificateKind, Path
from vppd.consensus.outbox import Outbox
from vppd.consensus.quorum import Quorums
from vppd.consensus.safety import Position
from vppd.types import Digest

GRACE_MS = (2, 250)
"""Bounds of T_grace."""
SLOW_LEGS = 2
"""From ``pre_prepared`` to a decision: it, and the commits."""
FIRST_GRACE_MS = 50
FIRST_ROUND_MS = 200
"""Assumed until SAMPLES heights have been measured."""
SAMPLES = 8
REPLICA_MS = 100
"""Least T_rep."""
HOLD_STREAK = 8
"""Early decisions before a replica holds its commit back: each of them saved half a round or more,
so the one hold that a failure then costs has been paid for (ADR 0012)."""


class Cause(StrEnum):
    """Why a height went the slow way."""

    GRACE = "grace"
    """The leader has q votes, and the others did not come in T_grace."""
    REPLICA = "replica_timer"
    """A replica heard no decision in T_rep."""
    PREPARES = "prepares"
    """f+1 replicas have given up waiting."""
    LEADER = "leader"
    """The leader said so."""
    HOLD = "hold"
    """On the broadcast path: the votes beyond q did not come in T_hold."""


class Flight:
    """One (view, height) from this replica's own vote on.

    Args:
        at: where.
        digest: what it voted for.
        path: as the leader said.
        now_ms: monotonic.
        leads: whether this replica collects the votes.
    """

    __slots__ = (
        "at", "began_ms", "cause", "digest", "full_ms", "leads", "path", "quorum_ms", "told",
    )  # fmt: skip

    def __init__(
        self, at: Position, digest: Digest, path: Path, now_ms: int, *, leads: bool
    ) -> None:
        self.at = at
        self.digest = digest
        self.path = path
        self.leads = leads
        self.began_ms = now_ms
        self.quorum_ms: int | None = None
        """When q votes were here."""
        self.full_ms: int | None = None
        """When F were."""
        self.cause: Cause | None = None
        """Set: it is slow."""
        self.told = leads or path is Path.BROADCAST
        """Everybody has been sent this replica's vote."""

    @property
    def collects(self) -> bool:
        """Votes go to the leader only, as long as it is not slow."""
        return self.path is Path.COLLECT and self.cause is None

    @property
    def waited(self) -> bool:
        """Whether others may have held their votes back from this replica for a while."""
        return self.path is Path.COLLECT or self.cause is not None

    def was_early(self, round_ms: int) -> bool:
        """Whether F votes came well before a round of commits would have ended."""
        if self.quorum_ms is None or self.full_ms is None:
            return False
        return 2 * (self.full_ms - self.quorum_ms) <= round_ms


class Landing:
    """What became of a height in flight, for the leader's policy and for people."""

    __slots__ = ("full", "kind", "path", "quorum_ms", "total_ms")

    def __init__(self, flight: Flight, kind: CertificateKind, now_ms: int, *, full: bool) -> None:
        self.path = flight.path
        self.kind = kind
        self.full = full
        """F votes came in time, whether or not they decided."""
        self.total_ms = now_ms - flight.began_ms
        self.quorum_ms = (
            self.total_ms if flight.quorum_ms is None else flight.quorum_ms - flight.began_ms
        )


class Waiting:
    """The three timers of a height in flight, and what they have learnt.

    Args:
        quorum: of the set in force.
        fast_exit: whether F votes decide; without it there is nothing to wait for.
        out: where timers are armed.
        view_timeout_ms: T_view: a leader whose agrees come later and later must not teach its
            replicas to wait until the view is changed.
    """

    __slots__ = (
        "_armed", "_fast_exit", "_leg", "_most_ms", "_out", "_quorum", "_round", "_spread",
        "_streak", "causes", "decisions", "flight", "last_path",
    )  # fmt: skip

    def __init__(
        self, quorum: Quorums, out: Outbox, *, fast_exit: bool, view_timeout_ms: int
    ) -> None:
        self._quorum = quorum
        self._most_ms = view_timeout_ms // 2
        self._fast_exit = fast_exit
        self._out = out
        self._armed: set[TimerKind] = set()
        self._round = Average()
        """From a vote to the decision, of heights decided on F votes or without falling back."""
        self._spread = Average()
        """From the q-th vote to the F-th."""
        self._leg = Average()
        """From a vote to the q-th: a synced write and a message delay, as a round of commits."""
        self._streak = 0
        self.flight: Flight | None = None
        self.last_path = Path.BROADCAST
        self.causes: Counter[Cause] = Counter()
        self.decisions: Counter[str] = Counter()

    # ------------------------------------------------------------ lengths

    @property
    def grace_ms(self) -> int:
        """T_grace now: never longer than the slow way would take that it may save."""
        if self._leg.samples < SAMPLES:
            return FIRST_GRACE_MS
        least, most = GRACE_MS
        usual = self._spread.high(4) if self._spread.samples >= SAMPLES else FIRST_GRACE_MS
        return min(max(min(usual, SLOW_LEGS * self._leg.value), least), most)

    @property
    def replica_ms(self) -> int:
        """T_rep now."""
        usual = self._round.value if self._round.samples >= SAMPLES else FIRST_ROUND_MS
        return min(max(REPLICA_MS, 3 * usual), self._most_ms)

    @property
    def hold_ms(self) -> int:
        """T_hold now: never longer than the round of commits would take that it may save."""
        return min(self.grace_ms, self.replica_ms // 4, self._leg.value)

    # ------------------------------------------------------------ one height

    def begin(self, flight: Flight) -> None:
        """This replica has voted."""
        self.end()
        self.flight, self.last_path = flight, flight.path
        if flight.collects and not flight.leads:
            self._arm(TimerKind.REPLICA, self.replica_ms)

    def count(self, votes: int, now_ms: int, present: int) -> None:
        """So many votes for its digest are here now.

        Args:
            votes: first-round votes.
            now_ms: monotonic.
            present: replicas heard of lately, this one included; fewer than F cannot all vote.
        """
        flight = self.flight
        if flight is None:
            return
        if votes >= self._quorum.vote and flight.quorum_ms is None:
            flight.quorum_ms = now_ms
            legs = 2 if flight.leads else 1  # the leader's block travels first
            if flight.leads or not flight.waited:
                self._leg.add((now_ms - flight.began_ms) // legs)
            if flight.collects and flight.leads:
                some_missing = present < self._quorum.fast
                self._arm(TimerKind.GRACE, 0 if some_missing else self.grace_ms)
        if votes >= self._quorum.fast and flight.full_ms is None and flight.quorum_ms is not None:
            flight.full_ms = now_ms
            self._spread.add(now_ms - flight.quorum_ms)

    def holds_back(self, *, commits: int, present: int) -> bool:
        """Whether to wait for F votes before locking on the q that are here.

        Args:
            commits: commits of others for the same digest; f+1 end the wait.
            present: replicas heard of lately, this one included; fewer than F cannot all vote.
        """
        flight = self.flight
        if flight is None or not self._fast_exit or flight.cause is not None:
            return False
        if flight.path is Path.COLLECT:
            return True
        if self._streak < HOLD_STREAK or commits > self._quorum.f or present < self._quorum.fast:
            return False
        self._arm(TimerKind.HOLD, self.hold_ms)
        return True

    def locked(self) -> None:
        """Commits are on their way: nothing is held back any more."""
        if TimerKind.HOLD in self._armed and self.flight is not None:
            self._armed.discard(TimerKind.HOLD)
            self._out.cancel(Timer(TimerKind.HOLD, self.flight.at.height))

    def gave_up(self, timer: Timer) -> Cause | None:
        """Which wait a timer that fired has ended, if it is one of this height."""
        flight = self.flight
        if timer.kind not in self._armed or flight is None or flight.at.height != timer.mark:
            return None
        self._armed.discard(timer.kind)
        return _CAUSES[timer.kind]

    def slow(self, cause: Cause) -> bool:
        """Stop waiting.

        Returns:
            Whether it was waiting until now.
        """
        flight = self.flight
        if flight is None or flight.cause is not None:
            return False
        flight.cause = cause
        self.causes[cause] += 1
        self._cancel()
        return True

    def land(self, kind: CertificateKind, now_ms: int) -> Landing | None:
        """The height is decided.

        Returns:
            How it went, if this replica has voted in it.
        """
        flight = self.flight
        self.end()
        fast = kind is CertificateKind.FAST
        if flight is None:
            self.decisions["learnt"] += 1
            return None
        if not fast or flight.cause is not None:
            self._streak = 0
        elif flight.was_early(self._leg.value):
            self._streak += 1
        way = "slow" if not fast else "fast" if flight.path is Path.COLLECT else "fast_exit"
        self.decisions[way] += 1
        if flight.cause is None or fast:  # also one that T_rep was too short for
            self._round.add(now_ms - flight.began_ms)
        return Landing(flight, kind, now_ms, full=fast or flight.full_ms is not None)

    def end(self) -> None:
        """Decided, or the view is another one."""
        self._cancel()
        self.flight = None

    def _arm(self, kind: TimerKind, delay_ms: int) -> None:
        if kind not in self._armed and self.flight is not None:
            self._armed.add(kind)
            self._out.arm(Timer(kind, self.flight.at.height), delay_ms)

    def _cancel(self) -> None:
        if self.flight is not None:
            for kind in sorted(self._armed):
                self._out.cancel(Timer(kind, self.flight.at.height))
        self._armed.clear()


_CAUSES = {
    TimerKind.GRACE: Cause.GRACE,
    TimerKind.REPLICA: Cause.REPLICA,
    TimerKind.HOLD: Cause.HOLD,
}
