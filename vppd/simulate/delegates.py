"""How many elected agents turn malicious (P4, §4.2): votes by stake against the composite score.

A model of nodes and rounds, not of messages; the elections are the ledger's own
(:mod:`vppd.ledger.election`). The paper leaves most of the experiment open; every choice is a field
of :class:`Plant`, and ``vppd/bench/paper/dpos.py`` varies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import fmean, quantiles, stdev
from typing import Literal, TypeAlias

import msgspec

from vppd.consensus.quorum import quorums
from vppd.crypto import sha256
from vppd.ledger.election import Standing, elect
from vppd.types import PPM, Ppm, Wh

Scheme: TypeAlias = Literal["dpos", "composite"]
"""Agents by stake alone, or by composite score."""
SCHEMES: tuple[Scheme, ...] = ("dpos", "composite")
LEAST_WH, MOST_WH = 10_000, 50_000
"""Of energy per node and round."""


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the experiment assumes; the paper's own figures first."""

    nodes: int = 150
    agents: int = 50
    rounds: int = 24
    turning: Ppm = 100_000
    """Chance of each normal node to turn malicious in a round; none turns back."""

    alpha: Ppm = 700_000
    initial: Ppm = 100_000
    """Share of all nodes that is malicious at the start."""
    who_turns: Literal["agents", "all"] = "agents"
    election: Literal["every round", "queue empty"] = "every round"
    """The paper elects when ``Q_block`` is empty: after so many rounds as there are agents."""
    off: tuple[Ppm, Ppm] = (200_000, 800_000)
    """How far malicious nodes stay below their contracts: least and most, drawn each round."""
    noise: Ppm = 0
    """How far honest nodes may."""
    energy: Literal["kept", "drawn anew"] = "kept"
    """Each node's energy: the same in every round, or not."""
    scored: Literal["last round", "all rounds"] = "last round"
    """Contracts and deliveries that a score looks at."""
    history: bool = True
    """Whether a round was traded, and scored, before the first election."""
    voters: Ppm = 0
    """Share of nodes that vote, for one node drawn each round; the others leave it to the rule."""
    dpos: Literal["same stakes", "random"] = "same stakes"
    """Whom plain DPoS elects: whoever has most stake, the same each time; or anybody."""


def play(plant: Plant, scheme: Scheme, seed: int) -> list[int]:
    """Malicious agents in each round of one run.

    A round is: election, if one is due; honest nodes turn; agents are counted; all nodes deliver
    and are scored.
    """
    rng = Random(seed)  # noqa: S311  # reproducible chance is the point
    keys = [sha256(f"node {i} of {seed}".encode()) for i in range(plant.nodes)]
    everybody = frozenset(keys)
    malicious = set(rng.sample(range(plant.nodes), plant.nodes * plant.initial // PPM))
    energy = _energies(plant, rng)
    stakes = _energies(plant, rng)
    contracted, delivered = [0] * plant.nodes, [0] * plant.nodes

    def trade() -> None:
        if plant.energy == "drawn anew":
            energy[:] = _energies(plant, rng)
        for i in range(plant.nodes):
            low, high = plant.off if i in malicious else (0, plant.noise)
            real = energy[i] - energy[i] * rng.randint(low, high) // PPM
            before = (contracted[i], delivered[i]) if plant.scored == "all rounds" else (0, 0)
            contracted[i], delivered[i] = before[0] + energy[i], before[1] + real

    def standings() -> list[Standing]:
        if scheme == "dpos":
            if plant.dpos == "random":
                stakes[:] = _energies(plant, rng)
            return [Standing(k, 0, 0, stake) for k, stake in zip(keys, stakes, strict=True)]
        made = []
        for i, key in enumerate(keys):
            votes = rng.randrange(PPM) < plant.voters
            target = (keys[rng.randrange(plant.nodes)],) if votes else ()
            made.append(Standing(key, contracted[i], delivered[i], energy[i], target))
        return made

    if plant.history:
        trade()
    index = {key: i for i, key in enumerate(keys)}
    agents: tuple[bytes, ...] = ()
    counts = []
    for round_ in range(plant.rounds):
        if plant.election == "every round" or round_ % plant.agents == 0:
            agents = elect(
                standings(), alpha_ppm=plant.alpha, delegates=plant.agents, eligible=everybody,
                current=agents, ready=everybody, quorum=lambda n: quorums(n).vote,
                ranking="largest-producer" if scheme == "dpos" else "composite",
            )  # fmt: skip
        seated = [index[key] for key in agents]
        exposed = sorted(seated) if plant.who_turns == "agents" else range(plant.nodes)
        turned = [i for i in exposed if i not in malicious and rng.randrange(PPM) < plant.turning]
        malicious.update(turned)
        counts.append(sum(i in malicious for i in seated))
        trade()
    return counts


def _energies(plant: Plant, rng: Random) -> list[Wh]:
    return [rng.randint(LEAST_WH, MOST_WH) for _ in range(plant.nodes)]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of malicious agents by round, over many runs."""

    mean: list[float]
    low: list[float]
    """10th percentile of the runs."""
    high: list[float]
    """90th percentile."""
    error: float
    """Standard error of the last mean."""
    never_above_half: float
    """Share of the runs in which no round had more than half malicious agents."""


def curve(plant: Plant, scheme: Scheme, seeds: Sequence[int]) -> Curve:
    """One scheme over at least two seeds."""
    runs = [[count / plant.agents for count in play(plant, scheme, seed)] for seed in seeds]
    spread = [quantiles(shares, n=10, method="inclusive") for shares in zip(*runs, strict=True)]
    return Curve(
        mean=[round(fmean(shares), 4) for shares in zip(*runs, strict=True)],
        low=[round(deciles[0], 4) for deciles in spread],
        high=[round(deciles[-1], 4) for deciles in spread],
        error=round(stdev(run[-1] for run in runs) / len(runs) ** 0.5, 4),
        never_above_half=round(fmean(max(run) <= 0.5 for run in runs), 4),
    )


def run_experiment(plant: Plant, seeds: Sequence[int]) -> dict[Scheme, Curve]:
    """Both schemes on the same seeds."""
    return {scheme: curve(plant, scheme, seeds) for scheme in SCHEMES}
