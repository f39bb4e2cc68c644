"""Where the knee is: the highest rate that a plant keeps up with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from vppd.bench.summary import Summary

KEEPS_UP = 0.98
"""Of the rate that was offered."""
SHARP = 0.05
"""The search ends when the knee is known to such a share."""
MOST_TRIES = 24


class Try(NamedTuple):
    """One rate that was offered."""

    rate: float
    summary: Summary
    holds: bool


def keeps_up(summary: Summary, offered: float, p99_limit_ms: float) -> bool:
    """Whether goodput is near what was due per second, latency within its limit, and nothing lost.

    Arrivals at random are seldom exactly as many as their rate says: ``offered`` is how many.
    """
    p99 = summary.latency_ms["p99"]
    enough = summary.goodput_tx_s >= KEEPS_UP * offered
    lost = summary.dropped or summary.timeouts
    return enough and p99 is not None and p99 <= p99_limit_ms and not lost and summary.valid


async def find_knee(
    first: float, p99_limit_ms: float, offer: Callable[[float], Awaitable[tuple[Summary, float]]]
) -> list[Try]:
    """Double the rate until the plant falls behind, then bisect; also downwards from ``first``.

    Args:
        first: rate to begin with, per second.
        p99_limit_ms: beyond this latency a rate does not count as kept up with.
        offer: runs the load at a rate; what came of it, and how many per second were due.

    Returns:
        Every try in order; none of them holds if even a 64th of ``first`` is too much.
    """
    tries: list[Try] = []

    async def holds(rate: float) -> bool:
        summary, offered = await offer(rate)
        tries.append(Try(rate, summary, keeps_up(summary, offered, p99_limit_ms)))
        return tries[-1].holds

    low, high = 0.0, first
    while await holds(high) and len(tries) < MOST_TRIES:
        low, high = high, 2 * high
    while low == 0.0 and high > first / 64:  # not even the first rate
        if await holds(high / 2):
            low = high / 2
        else:
            high /= 2
    while low and high - low > SHARP * low and len(tries) < MOST_TRIES:
        middle = (low + high) / 2
        if await holds(middle):
            low = middle
        else:
            high = middle
    return tries


def knee(tries: list[Try]) -> float | None:
    """The highest rate that was kept up with."""
    return max((one.rate for one in tries if one.holds), default=None)
