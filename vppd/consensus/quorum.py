"""Quorum sizes (protocol.md, §1)."""

from __future__ import annotations

from typing import NamedTuple


class Quorums(NamedTuple):
    """How many of ``n`` replicas it takes.

    For every n ≤ 200 and admissible f, p (tests/consensus/test_quorum.py): two ``vote`` quorums
    share at least f+1 replicas, and ``vote`` and ``view_change`` can be reached without f of them.
    """

    n: int
    f: int
    """Byzantine replicas tolerated."""
    p: int
    """Further silent replicas the fast path tolerates; n ≥ 3f+2p+1."""
    vote: int
    """``q = ⌈(n+f+1)/2⌉`` prepares make a prepared certificate, q commits decide."""
    fast: int
    """``F = n − p`` first-round votes decide at once."""
    view_change: int
    """``w = max(q, 2f+2p+1)`` view changes let a new leader start."""
    claim: int
    """``τ = f+p+1`` claims of a vote force its digest on a new leader."""


def quorums(n: int, f: int | None = None, p: int | None = None) -> Quorums:
    """Quorum sizes for ``n`` replicas.

    Args:
        n: replicas, at least 1.
        f: Byzantine replicas to tolerate; ``None`` for the most, ⌊(n−1)/3⌋.
        p: fast-path slack; ``None`` for the largest that keeps a view change possible with
            ⌊(n−1)/3⌋ replicas dead.

    Raises:
        ValueError: the plant is too small for that f or p.
    """
    if n < 1:
        raise ValueError(f"a plant needs at least one replica, n = {n}")
    most = (n - 1) // 3
    f = most if f is None else f
    if not 0 <= f <= most:
        raise ValueError(f"f = {f} needs n ≥ {3 * f + 1}, the plant has n = {n} (f ≤ {most})")
    q = (n + f + 2) // 2
    if p is None:
        p = 0
        if f > 0:
            while n >= 3 * f + 2 * (p + 1) + 1 and max(q, 2 * f + 2 * (p + 1) + 1) <= n - most:
                p += 1
    if p < 0 or n < 3 * f + 2 * p + 1:
        raise ValueError(
            f"p = {p} with f = {f} needs n ≥ {3 * f + 2 * p + 1}, the plant has n = {n}"
        )
    return Quorums(n, f, p, q, n - p, max(q, 2 * f + 2 * p + 1), f + p + 1)
