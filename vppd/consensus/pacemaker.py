"""How long a leader is given, and when the next one is asked for (protocol.md, §5, Timers).

Holds no promise and knows no message: it turns "there is work", "so many ask for this view" and
"a block was decided" into two timers. Lengths double with every view that brought nothing, up to
a cap, so that slow plants find a common view and dead leaders still cost little.
"""

from __future__ import annotations

from vppd.consensus.boundary import Timer, TimerKind
from vppd.consensus.outbox import Outbox
from vppd.types import View

ABSENT_LEADER_MS = 300
"""T_vc of a view whose leader has not been heard of lately."""


class Pacemaker:
    """T_view and T_vc of one replica.

    Args:
        timeout_ms: T_view after a decision.
        cap_ms: its largest value.
        out: where timers are armed.
    """

    __slots__ = ("_cap_ms", "_change", "_failed", "_out", "_timeout_ms", "_view", "_work_since_ms")

    def __init__(self, timeout_ms: int, cap_ms: int, out: Outbox) -> None:
        self._timeout_ms = timeout_ms
        self._cap_ms = max(cap_ms, timeout_ms)
        self._out = out
        self._failed = 0
        """k: views since the last decision, but those given up after ABSENT_LEADER_MS."""
        self._view: View | None = None
        """The view whose T_view runs."""
        self._change: View | None = None
        """The view whose T_vc runs or has run out."""
        self._work_since_ms: int | None = None

    @property
    def length_ms(self) -> int:
        """T_view and T_vc now."""
        return min(self._timeout_ms << min(self._failed, 20), self._cap_ms)

    def stuck_ms(self, now_ms: int) -> int | None:
        """How long there has been work without a decision."""
        return None if self._work_since_ms is None else max(0, now_ms - self._work_since_ms)

    def restart_backoff(self) -> None:
        """A quorum is reachable again: k = 0."""
        self._failed = 0

    def decided(self, *, restart: bool) -> None:
        """A block was decided; ``restart``: it was progress on what T_view waits for."""
        self._failed = 0
        if restart:
            self._stop_view()
            self._work_since_ms = None

    def work(self, view: View, now_ms: int, *, working: bool) -> None:
        """T_view runs in a view while there is work, from when there is."""
        if not working:
            self._stop_view()
            self._work_since_ms = None
            return
        if self._work_since_ms is None:
            self._work_since_ms = now_ms
        if self._view != view:
            self._stop_view()
            self._view = view
            self._out.arm(Timer(TimerKind.VIEW, view), self.length_ms)

    def left_for(self, *, failed: bool) -> None:
        """The replica asks for a new view: T_view and an older T_vc stop.

        Args:
            failed: whether the old one has brought nothing; k counts one more then.
        """
        self._stop_view()
        self.stop_change()
        self._failed += failed

    def asked(self, view: View, *, enough: bool, leader_absent: bool) -> None:
        """While CHANGING: T_vc runs from when w replicas ask for ``view`` or later ones."""
        if not enough or self._change == view:
            return
        self._change = view
        delay_ms = self.length_ms
        if leader_absent and delay_ms > ABSENT_LEADER_MS:
            delay_ms = ABSENT_LEADER_MS
            self._failed = max(0, self._failed - 1)
        self._out.arm(Timer(TimerKind.CHANGE, view), delay_ms)

    def stop_change(self) -> None:
        """A new view was accepted, or another is asked for."""
        if self._change is not None:
            self._out.cancel(Timer(TimerKind.CHANGE, self._change))
            self._change = None

    def runs_view(self, timer: Timer) -> bool:
        """Whether a T_view that fired is the one that runs; it stops running."""
        if self._view != timer.mark:
            return False
        self._view = None
        return True

    def runs_change(self, timer: Timer) -> bool:
        """Whether a T_vc that fired is that of the view asked for."""
        return self._change == timer.mark

    def _stop_view(self) -> None:
        if self._view is not None:
            self._out.cancel(Timer(TimerKind.VIEW, self._view))
            self._view = None
