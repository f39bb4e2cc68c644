"""Which path the next block takes, by what each has cost so far (protocol.md, §9).

The leader's business alone, and never a question of safety: a replica that follows another path
than the leader meant costs time. Costs are from the proposal to the decision as q replicas know of
it, so an ``agree`` that has yet to travel counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from vppd.config.genesis import PathSetting
from vppd.consensus.average import SCALE, Average
from vppd.consensus.flight import Landing
from vppd.consensus.messages import CertificateKind, Path

PPM = 1_000_000
TRIAL = 8
"""Blocks of each path before costs are compared."""
PROBE_EVERY = 256
FAILURES = 3
"""So many in a row, and collecting ends."""
SUCCESSES = 3
"""So many F-votes-in-time in a row before collecting may begin."""
BACK_PPM = 150_000
"""How far above the threshold the success rate must be before collecting begins; at most half of
what is left up to always, or it could never begin where it has never failed."""
FIRST_GUESS = 50 * SCALE
"""What a fallback is taken to cost beyond twice a broadcast until one has been measured."""


class Policy(Protocol):
    """One leader's choice of path: asked before each block, told what became of it.

    Pure and fed by nothing but these calls, so that a recorded trace replays.
    """

    @property
    def success_ppm(self) -> int:
        """Estimated share of heights in which F votes come in time; for people."""

    @property
    def costs_ms(self) -> tuple[int, int, int]:
        """Collected fast, collected slowly, broadcast; 0: not seen; for people."""

    def restart(self) -> None:
        """The view is a new one: what was learnt of the last leader's is void."""

    def next(self) -> Path:
        """The path of the block that is proposed now."""

    def landed(self, landing: Landing) -> None:
        """A block of this leader was decided."""


PolicyMaker: TypeAlias = Callable[[PathSetting], Policy]
"""From genesis' ``path``."""


class PathPolicy:
    """What engine ``bncm`` chooses.

    Args:
        setting: of genesis.
    """

    __slots__ = (
        "_broadcast", "_collecting", "_fast", "_setting", "_slow", "_successes", "blocks",
        "success_ppm",
    )  # fmt: skip

    def __init__(self, setting: PathSetting) -> None:
        self._setting = setting
        self.restart()

    def restart(self) -> None:
        """A new leader knows nothing yet."""
        self.blocks = 0
        self.success_ppm = PPM
        """Estimated share of heights in which F votes come in time."""
        self._fast = Average()
        self._slow = Average()
        self._broadcast = Average()
        self._successes = 0
        """In a row; failures in a row, if negative."""
        self._collecting = False

    def next(self) -> Path:
        """The path of the block that is proposed now."""
        if self._setting != "auto":
            return Path.COLLECT if self._setting == "collect" else Path.BROADCAST
        if self.blocks < TRIAL:
            return Path.BROADCAST
        if self._fast.samples + self._slow.samples < TRIAL:
            # On trial; but not while votes go missing now and then.
            return Path.COLLECT if self._successes >= TRIAL else Path.BROADCAST
        self._decide()
        probe = self.blocks % PROBE_EVERY == 0 and self._successes >= SUCCESSES
        return Path.COLLECT if self._collecting != probe else Path.BROADCAST

    def landed(self, landing: Landing) -> None:
        """A block of this leader was decided."""
        self.blocks += 1
        ok = landing.full
        self.success_ppm += ((PPM if ok else 0) - self.success_ppm) // 10
        run = self._successes
        self._successes = (max(run, 0) + 1) if ok else (min(run, 0) - 1)
        if landing.path is Path.BROADCAST:
            self._broadcast.add(landing.total_ms)
        elif landing.kind is CertificateKind.FAST:
            self._fast.add(landing.total_ms + landing.quorum_ms // 2)  # the agree's way back
        else:
            self._slow.add(landing.total_ms)

    @property
    def costs_ms(self) -> tuple[int, int, int]:
        """Collected fast, collected slowly, broadcast; 0: not seen."""
        return self._fast.value, self._slow.value, self._broadcast.value

    def _decide(self) -> None:
        """Collect while its expected cost is the lower one, with hysteresis."""
        if self._successes <= -FAILURES:
            self._collecting = False
            return
        threshold = self._threshold()
        if self._collecting:
            self._collecting = self.success_ppm >= threshold
        else:
            sure = self._successes >= SUCCESSES
            least = min(threshold + BACK_PPM, (threshold + PPM) // 2)
            self._collecting = sure and self.success_ppm > least

    def _threshold(self) -> int:
        """The success rate from which collecting pays: ``(S − P) / (S − F)``, in ppm."""
        fast, broadcast = self._fast.scaled, self._broadcast.scaled
        if self._fast.samples == 0 or fast >= broadcast:
            return 2 * PPM
        slow = self._slow.scaled if self._slow.samples else 2 * broadcast + FIRST_GUESS
        if slow <= broadcast:
            return 0
        return (slow - broadcast) * PPM // (slow - fast)
