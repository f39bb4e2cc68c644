"""From which share of failing rounds on a fast way is slower than PBFT (P0, §4.2.3).

The model that the paper's three means fit: a round is fast while the link holds, and otherwise a
wait τ and a whole PBFT round, T(p) = (1−p)·T_fast + p·(τ + T_pbft). The fast way is as slow as PBFT
at p* = (T_pbft − T_fast)/(τ + T_pbft − T_fast).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, TypeAlias

SLOWER: Final = 1.02
"""Times that of PBFT: less than two percent more is chance."""
Times: TypeAlias = Mapping[int, float]
"""Percent of the rounds in which the link fails, to the mean time, in any unit."""


def wait(times: Times, pbft: float) -> float | None:
    """The model's τ, by least squares over all shares above zero; ``None`` without any.

    Args:
        times: of one way; 0 must be among the shares.
        pbft: mean of a PBFT round, same unit.
    """
    fast = times[0]
    rest = [(p / 100, t - (1 - p / 100) * fast - p / 100 * pbft) for p, t in times.items() if p]
    if not rest:
        return None
    return sum(p * left for p, left in rest) / sum(p * p for p, _ in rest)


def model_crossover(fast: float, pbft: float, tau: float) -> float | None:
    """p* of the model; ``None``: not slower even if the link always fails; 0: slower throughout."""
    if fast >= pbft:
        return 0.0
    if tau <= 0:
        return None
    return (pbft - fast) / (tau + pbft - fast)


def seen_crossover(times: Times, pbft: Times) -> float | None:
    """Share from which a way is slower than PBFT, on straight lines between what was measured.

    Only more than :data:`SLOWER` counts. ``None``: it never is, or no share was measured of both.
    """
    shares = sorted(set(times) & set(pbft))
    gaps = [(p / 100, times[p] - SLOWER * pbft[p]) for p in shares]
    if gaps and gaps[0][1] > 0:
        return gaps[0][0]
    for (p, gap), (later, next_gap) in pairwise(gaps):
        if next_gap > 0:
            return p + (later - p) * -gap / (next_gap - gap)
    return None
