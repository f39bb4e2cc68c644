"""The one place where clocks are read."""

from __future__ import annotations

import time

from vppd.consensus.boundary import Now


def now() -> Now:
    """Both clocks, in milliseconds: monotonic for timers, Unix for block time."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)
