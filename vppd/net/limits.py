"""How much of this node's time another one may take: rates of a link, and the record of a peer.

A link has three budgets that refill with time: frames, bytes and signature verifications. Who has
used one up is not read from until it has refilled; the transport's back-pressure does the rest, and
nothing is lost. Only who leaves no pause for a whole minute is cut: that is a flood.

A signature that does not hold costs us a verification and its sender nothing, so it is counted
against the *identity* that handed it over, and stays counted when that identity reconnects. After
twenty the link is cut, and the identity is refused for a while that doubles each time. Shapes that
are wrong cut the link at once, as ever, and count like five: nothing that an honest node says is
malformed, and a liar that reconnects at once to be cut again would cost us handshakes.

No clock in here: times are passed in, in seconds on a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from vppd.errors import PeerFault
from vppd.net.hello import Refusal

FLOOD_SECONDS = 60.0
"""So long over its rate without a pause, and it is no burst."""
BAD_SIGNATURES = 20
"""Faults that cut and bar an identity; a signature that does not hold is one."""
CUT_FAULTS = 5
"""What a link cut for a fault counts."""
FORGIVE_SECONDS = 60.0
"""One fault is forgotten after so long."""
BAR_SECONDS = 10.0
"""The first time; doubles with each next one."""
LONGEST_BAR_SECONDS = 3_600.0
IDENTITIES = 1_024
"""Records kept; beyond, the one that has been quiet longest is forgotten."""


class Rates(NamedTuple):
    """What a link may do per second, and at once after a pause."""

    frames: float = 10_000
    frames_burst: float = 20_000
    bytes: float = 16 * 1024 * 1024
    bytes_burst: float = 32 * 1024 * 1024
    verifications: float = 10_000
    verifications_burst: float = 30_000


RATES = Rates()
"""Well above what an honest node can need, on every count.

Frames: 5,000 transactions a second one by one, beside a few hundred votes and a status; a peer
that comes back sends at most a full mempool, 5,000, at once. Bytes: such transactions and the
blocks that hold them are 2 MB/s; an answer in catching up is 1 MiB and takes us 0.09 s or more to
execute. Verifications: of each of those transactions one, when it comes or with its block, which is
two fifths of a core at the 26,000 a second that a core was measured to do; the burst is seven
blocks of 4,096 transactions none of which were seen before.
"""


class Flood(PeerFault):
    """Far more than an honest node sends, for far too long."""


class Bucket:
    """Tokens that refill with time; may be overdrawn once, since what has arrived has arrived.

    Args:
        rate: tokens per second.
        burst: most that can be saved up; the bucket begins full.
        now: seconds.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def level(self, now: float) -> float:
        """Tokens left; below zero when overdrawn."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def spend(self, amount: float, now: float) -> float:
        """Take tokens, there or not; seconds until none is missing."""
        left = self._level = self.level(now) - amount
        return -left / self.rate if left < 0 else 0.0


class Meter:
    """The three budgets of one link.

    Args:
        rates: of them.
        now: seconds.
    """

    __slots__ = ("_bytes", "_frames", "_over_since", "_verifications")

    def __init__(self, rates: Rates, now: float) -> None:
        self._frames = Bucket(rates.frames, rates.frames_burst, now)
        self._bytes = Bucket(rates.bytes, rates.bytes_burst, now)
        self._verifications = Bucket(rates.verifications, rates.verifications_burst, now)
        self._over_since: float | None = None

    def spend(self, now: float, *, frames: int = 0, size: int = 0, verifications: int = 0) -> float:
        """Account for what the other side has sent, or made this node do.

        Args:
            now: seconds.
            frames: so many.
            size: bytes.
            verifications: of signatures.

        Returns:
            Seconds for which not to read from it; 0 while it is within its rates.

        Raises:
            Flood: it has not let its budgets half refill since a minute ago.
        """
        wait = max(
            self._frames.spend(frames, now),
            self._bytes.spend(size, now),
            self._verifications.spend(verifications, now),
        )
        if wait > 0:
            if self._over_since is None:
                self._over_since = now
            elif now - self._over_since >= FLOOD_SECONDS:
                raise Flood(f"a flood: over its rate for {FLOOD_SECONDS:.0f} s without a pause")
        elif self._over_since is not None and self._has_paused(now):
            self._over_since = None
        return wait

    def _has_paused(self, now: float) -> bool:
        buckets = (self._frames, self._bytes, self._verifications)
        return all(2 * bucket.level(now) >= bucket.burst for bucket in buckets)


class Barred(Refusal):
    """Refused for what it has done before."""


class _Record:
    """What is held against one identity."""

    __slots__ = ("bar", "faults", "times", "until")

    def __init__(self, now: float) -> None:
        self.faults = Bucket(1 / FORGIVE_SECONDS, BAD_SIGNATURES, now)
        """Those it may still commit."""
        self.bar = 0.0
        """Seconds of the latest bar."""
        self.until = now
        """Its end."""
        self.times = 0
        """It was barred."""


class Offences:
    """Faults by identity, across connections."""

    def __init__(self) -> None:
        self._records: dict[Hashable, _Record] = {}

    def note(self, identity: Hashable, faults: int, now: float) -> bool:
        """Count so many faults more; whether that was too much, and the identity is barred now."""
        record = self._records.pop(identity, None) or _Record(now)
        while len(self._records) >= IDENTITIES:
            del self._records[next(iter(self._records))]
        self._records[identity] = record
        record.faults.spend(faults, now)
        if record.faults.level(now) >= 1:
            return False
        quiet = now - record.until
        record.times = max(0, record.times - int(max(0.0, quiet) // LONGEST_BAR_SECONDS)) + 1
        record.bar = min(LONGEST_BAR_SECONDS, BAR_SECONDS * 2 ** min(record.times - 1, 16))
        record.until = now + record.bar
        record.faults = Bucket(1 / FORGIVE_SECONDS, BAD_SIGNATURES, now)
        return True

    def barred_seconds(self, identity: Hashable, now: float) -> float:
        """For how much longer an identity is refused."""
        record = self._records.get(identity)
        return max(0.0, record.until - now) if record is not None else 0.0

    def admit(self, identity: Hashable, now: float) -> None:
        """Let an identity in.

        Raises:
            Barred: not now; the text says for how long in all.
        """
        if self.barred_seconds(identity, now) > 0:
            bar = self._records[identity].bar
            raise Barred(f"barred for {bar:.0f} s: too many bad signatures or faults before")
