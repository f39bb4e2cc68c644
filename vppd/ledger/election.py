"""Who produces blocks next: composite scores, votes, and the election (P4, §3.3; protocol.md, §13).

Pure functions of what the ledger has settled. Every node computes the same agents from the same
committed state: scores in parts per million, one floor per division, ties by public key, and no
result depends on the order of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from vppd.types import PPM, Ppm, PublicKey, Wh

Ranking: TypeAlias = Literal["composite", "largest-producer"]
"""What gives a seat: votes weighted with composite scores (P4), or energy alone (P1)."""
Votes: TypeAlias = int
"""Sums of composite scores, in parts per million."""


class Standing(NamedTuple):
    """What the ledger knows of one node when agents are elected. Energies are not negative."""

    key: PublicKey
    pre_wh: Wh
    """``Epre``: contracted."""
    real_wh: Wh
    """``Ereal``: delivered."""
    energy_wh: Wh
    """``E``: produced or consumed."""
    target: tuple[PublicKey, ...] = ()
    """Whom it votes for; empty: it does not vote."""


def scores(standings: Sequence[Standing], alpha_ppm: Ppm) -> dict[PublicKey, Ppm]:
    """``S_com`` of each node, by ascending key: ``α·S_reputation + (1−α)·S_amount`` (P4, eqs 1–6).

    ``S_reputation`` is 1 less the deviation from the contract relative to it, at least 0; without a
    contract it is 1 for who delivered nothing. ``S_amount`` places a node's energy between the
    least and the most of all standings, and is 1 for everybody where these are equal.

    Args:
        standings: one per node, in any order.
        alpha_ppm: α, 0 to 10⁶.

    Raises:
        ValueError: α out of range, or two standings of one node.
    """
    if not 0 <= alpha_ppm <= PPM:
        raise ValueError(f"alpha_ppm = {alpha_ppm} is not in 0..{PPM}")
    least = min((s.energy_wh for s in standings), default=0)
    span = max((s.energy_wh for s in standings), default=0) - least
    made: dict[PublicKey, Ppm] = {}
    for s in sorted(standings):
        if s.key in made:
            raise ValueError(f"two standings of {s.key.hex()}")
        amount = PPM * (s.energy_wh - least) // span if span else PPM
        made[s.key] = (alpha_ppm * _reputation(s) + (PPM - alpha_ppm) * amount) // PPM
    return made


def _reputation(standing: Standing) -> Ppm:
    """``S_reputation``."""
    if not standing.pre_wh:
        return 0 if standing.real_wh else PPM
    deviation_wh = abs(standing.pre_wh - standing.real_wh)
    return max(0, PPM - PPM * deviation_wh // standing.pre_wh)


def votes(
    standings: Sequence[Standing],
    score: Mapping[PublicKey, Ppm],
    candidates: frozenset[PublicKey],
    delegates: int,
) -> dict[PublicKey, Votes]:
    """Votes received by each candidate, by ascending key.

    A voter's score is split equally over those it votes for, whether they may be elected or not.
    The scores of those who do not vote are pooled and split equally over the ``delegates``
    candidates with the highest scores, ties by ascending key (P4, §3.3.2, 1). What a division
    leaves over is nobody's.

    Args:
        standings: one per node, in any order.
        score: as of :func:`scores`; a candidate without a standing has 0.
        candidates: who may be elected.
        delegates: N, seats.
    """
    received = dict.fromkeys(sorted(candidates), 0)
    pool = 0
    for s in standings:
        targets = dict.fromkeys(s.target)
        if not targets:
            pool += score[s.key]
        for key in targets:
            if key in received:
                received[key] += score[s.key] // len(targets)
    best = sorted(received, key=lambda key: (-score.get(key, 0), key))[:delegates]
    for key in best:
        received[key] += pool // len(best)
    return received


def elect(
    standings: Sequence[Standing],
    *,
    alpha_ppm: Ppm,
    delegates: int,
    eligible: frozenset[PublicKey],
    current: Sequence[PublicKey],
    ready: frozenset[PublicKey],
    quorum: Callable[[int], int],
    ranking: Ranking,
    reserve: Sequence[PublicKey] = (),
) -> tuple[PublicKey, ...]:
    """The next agents, in the order they produce: the paper's ``Q_block``.

    The top N of those who are eligible and ready, by votes received or by energy, ties by ascending
    key. Where they are fewer than N, current agents who are still eligible fill up in their order,
    then the reserve: fewer agents would tolerate fewer faults, and a punishment must not cost that.
    A set too few of whom are ready to decide anything is not elected: the current one stays whole.

    Args:
        standings: one per node, in any order.
        alpha_ppm: α, 0 to 10⁶.
        delegates: N, at least 1.
        eligible: neither revoked nor punished.
        current: agents of the ending epoch, in order.
        ready: who has said in the ending epoch that it is there.
        quorum: votes that decide, by the number of agents.
        ranking: what gives a seat.
        reserve: who is punished, and sits only where there is nobody else, in order.

    Raises:
        ValueError: α or N out of range, or two standings of one node.
    """
    if delegates < 1:
        raise ValueError(f"{delegates} agents cannot be elected")
    score = scores(standings, alpha_ppm)
    candidates = eligible & ready
    if ranking == "composite":
        weight = votes(standings, score, candidates, delegates)
    else:
        weight = {s.key: s.energy_wh for s in standings}
    ranked = sorted(candidates, key=lambda key: (-weight.get(key, 0), key))[:delegates]
    waiting = [key for key in current if key in eligible and key not in ready]
    chosen = [*ranked, *waiting][:delegates]
    chosen += [key for key in reserve if key not in chosen][: delegates - len(chosen)]
    here = sum(key in ready for key in chosen)
    if not here or here < quorum(len(chosen)):
        return tuple(current)
    return tuple(chosen)
