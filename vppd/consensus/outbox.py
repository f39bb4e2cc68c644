"""Collects what one call of the engine wants done, and hands it out as one Step."""

from __future__ import annotations

from typing import Literal

from vppd.consensus.boundary import ZERO_SIGNATURE, Decision, Record, Send, Step, Timer
from vppd.consensus.messages import (
    Block,
    Collected,
    Commit,
    ConsensusMessage,
    NewView,
    Prepare,
    PrePrepared,
    Proof,
    ViewChange,
)
from vppd.types import Height, ReplicaIndex


def _is_promise(message: ConsensusMessage) -> bool:
    """Whether this node's own P, 1, 2, V or N would go out with it."""
    if isinstance(message, NewView):
        return message.sig == ZERO_SIGNATURE  # else its leader's, passed on
    return isinstance(message, Block | Collected | PrePrepared | Prepare | Commit | ViewChange)


class Outbox:
    """Write-only for the core; :meth:`take` empties it."""

    __slots__ = ("_armed", "_commit", "_faults", "_persist", "_send", "_timers", "_want")

    def __init__(self) -> None:
        self._armed: set[Timer] = set()
        """Those that may still run out."""
        self._empty()

    def _empty(self) -> None:
        self._persist: list[Record] = []
        self._send: list[Send] = []
        self._commit: list[Decision] = []
        self._timers: dict[Timer, int | None] = {}
        self._want: Height | None = None
        self._faults: list[Proof] = []

    def persist(self, *records: Record) -> None:
        """Write these before anything of this step leaves."""
        self._persist += records

    def send(
        self, to: tuple[ReplicaIndex, ...] | Literal["all"], message: ConsensusMessage
    ) -> None:
        """Send after the write."""
        if to:
            self._send.append(Send(to, message))

    def retract(self) -> None:
        """Nothing leaves in this step that this node has promised: it is an observer now (§4)."""
        self._send = [send for send in self._send if not _is_promise(send.message)]
        self._want = None

    def commit(self, decision: Decision) -> None:
        """Hand a decided block to the ledger."""
        self._commit.append(decision)

    def arm(self, timer: Timer, delay_ms: int) -> None:
        """Run ``timer`` out in ``delay_ms``, replacing it if armed."""
        self._timers[timer] = max(0, delay_ms)
        self._armed.add(timer)

    def cancel(self, timer: Timer) -> None:
        """Disarm."""
        self._timers[timer] = None
        self._armed.discard(timer)

    def cancel_all(self, keep: tuple[Timer, ...]) -> None:
        """Disarm whatever may run, but for some."""
        for timer in sorted(self._armed.difference(keep)):
            self.cancel(timer)

    def fired(self, timer: Timer) -> None:
        """It has run out."""
        self._armed.discard(timer)

    def want(self, height: Height) -> None:
        """Ask for a block."""
        self._want = height

    def fault(self, evidence: Proof) -> None:
        """Report proof of misbehaviour."""
        self._faults.append(evidence)

    def take(self) -> Step:
        """Everything collected since the last call."""
        step = Step(
            tuple(self._persist),
            tuple(self._send),
            tuple(self._commit),
            tuple(self._timers.items()),
            self._want,
            tuple(self._faults),
        )
        self._empty()
        return step
