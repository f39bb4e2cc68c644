"""P4, Figure 3: malicious agents under votes by stake and under the composite score (§4.2).

150 nodes elect 50 agents, 24 rounds, each normal node turns malicious with 10 % a round. The
elections are the ledger's own; what the paper leaves open is stated and can be varied, one thing at
a time (:data:`VARIED`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, NamedTuple

from vppd.bench.paper.figure import Experiment, Result, Say, ratio
from vppd.bench.plots import MARKERS, MUTED, SERIES, legend, plain
from vppd.simulate.delegates import SCHEMES, Curve, Plant, Scheme, run_experiment

SEEDS: Final = 400
HALF: Final = 0.5
TWICE: Final = (1.5, 2.5)
"""DPoS starts so many times as high: "about twice"."""
ASSUMED: Final = [
    "Who turns malicious: agents, in the round they serve. The paper: each normal node.",
    "An election every round. The paper: when Q_block is empty, which is once in 50 rounds.",
    "α = 0.7, β = 0.3. The paper does not say.",
    "One in ten of all nodes is malicious at the start, and none turns back. The paper does not "
    "say.",
    "A malicious node delivers 20 to 80 % less than its contract, drawn each round; an honest one "
    "delivers exactly its contract. The paper does not say.",
    "A node's energy is 10 to 50 kWh, the same in every round. The paper does not say.",
    "A score is of the round before; one round is traded before the first election.",
    "Nobody votes, so that the default votes decide; plain DPoS elects the 50 with most stake, and "
    "stakes do not change.",
    "The share is counted among the 50 agents. The paper: of the total nodes in the consensus.",
]

VARIED: tuple[tuple[str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    ("as assumed", (("α = .7, 10 % malicious at the start", {}),)),
    (
        "α, the weight of reliability",
        (("α = .5", {"alpha": 500_000}), ("α = .6", {"alpha": 600_000}),
         ("α = .9", {"alpha": 900_000}), ("α = 1", {"alpha": 1_000_000})),
    ),
    (
        "malicious at the start",
        (("none", {"initial": 0}), ("20 %", {"initial": 200_000}),
         ("none, α = .5", {"initial": 0, "alpha": 500_000}),
         ("none, α = .9", {"initial": 0, "alpha": 900_000}),
         ("20 %, α = .5", {"initial": 200_000, "alpha": 500_000}),
         ("20 %, α = .9", {"initial": 200_000, "alpha": 900_000})),
    ),
    ("who may turn", (("all 150 nodes", {"who_turns": "all"}),)),
    ("election", (("when Q_block is empty", {"election": "queue empty"}),)),
    (
        "how far malicious nodes deliver off",
        (("not at all", {"off": (0, 0)}), ("5 to 20 %", {"off": (50_000, 200_000)}),
         ("half to all", {"off": (500_000, 1_000_000)})),
    ),
    (
        "how far honest nodes deliver off",
        (("up to 5 %", {"noise": 50_000}), ("up to 20 %", {"noise": 200_000})),
    ),
    (
        "what a score looks at",
        (("all rounds so far", {"scored": "all rounds"}),
         ("energies drawn anew each round", {"energy": "drawn anew"}),
         ("nothing at the first election", {"history": False})),
    ),
    (
        "nodes that vote, at random",
        (("half", {"voters": 500_000}), ("all", {"voters": 1_000_000})),
    ),
    ("whom plain DPoS elects", (("anybody, each round anew", {"dpos": "random"}),)),
    ("rounds", (("48", {"rounds": 48}),)),
)  # fmt: skip
"""What is varied, and how; everything else stays as assumed."""


class Row(NamedTuple):
    """One set of assumptions, and what came out."""

    group: str
    name: str
    changed: dict[str, Any]
    curves: dict[Scheme, Curve]


def vary(seeds: int, say: Say) -> list[Row]:
    """All variations on the same seeds, 1 to ``seeds``."""
    rows = []
    for group, variants in VARIED:
        for name, changed in variants:
            curves = run_experiment(Plant(**changed), range(1, seeds + 1))
            rows.append(Row(group, name, changed, curves))
            ends = ", ".join(f"{scheme} {curves[scheme].mean[-1]:.3f}" for scheme in SCHEMES)
            say(f"{group}: {name}: {ends}")
    return rows


def missed(curves: dict[Scheme, Curve]) -> list[str]:
    """What the paper says of its Figure 3 and these curves do not show."""
    dpos, ours = curves["dpos"].mean, curves["composite"].mean
    found = []
    if max(ours) >= HALF:
        found.append(f"composite reaches {max(ours):.3f}")
    if not TWICE[0] <= dpos[0] / ours[0] <= TWICE[1]:
        found.append(f"DPoS starts {dpos[0] / ours[0]:.2f} times as high")
    if any(later <= earlier for earlier, later in pairwise(dpos)):
        found.append("DPoS does not rise throughout")
    return found


def simulated(seeds: int) -> Experiment:
    """The curves of Figure 3 under :data:`ASSUMED`."""
    plant = Plant()
    curves = run_experiment(plant, range(1, seeds + 1))
    dpos, ours = curves["dpos"], curves["composite"]
    beyond = missed(curves)
    rises = all(later > earlier for earlier, later in pairwise(dpos.mean))
    result = Result(
        figure="dpos",
        paper={
            "nodes": 150, "agents": 50, "rounds": 24, "turning": 0.1,
            "composite_never_above": HALF, "dpos_starts_much_higher": True,
            "dpos_rises_throughout": True,
        },
        ours={
            "mode": "sim", "nodes": plant.nodes, "agents": plant.agents, "rounds": plant.rounds,
            "turning": plant.turning / 1e6, "seeds": seeds,
            "composite_mean": ours.mean, "dpos_mean": dpos.mean,
            "composite_p10": ours.low, "composite_p90": ours.high,
            "composite_highest_mean": max(ours.mean), "composite_error": ours.error,
            "composite_runs_never_above_half": ours.never_above_half,
            "dpos_rises_throughout": rises, "claims_missed": beyond,
        },
        ratios={
            "dpos_over_composite_round_1": ratio(dpos.mean[0], ours.mean[0]),
            "dpos_over_composite_last_round": ratio(dpos.mean[-1], ours.mean[-1]),
            "composite_highest_over_bound": ratio(max(ours.mean), HALF),
        },
        assumptions=ASSUMED,
    )  # fmt: skip
    table = [
        ("malicious agents, composite score, highest of 24 rounds", "below 50 %",
         f"{max(ours.mean):.0%} (mean of {seeds} runs)"),
        ("runs in which no round has more than half", "the one shown",
         f"{ours.never_above_half:.0%}"),
        ("malicious agents, DPoS, round 1", "much higher", f"{dpos.mean[0]:.0%}, composite "
         f"{ours.mean[0]:.0%}"),
        ("malicious agents, DPoS, round 24", "keeps rising", f"{dpos.mean[-1]:.0%}"),
    ]  # fmt: skip
    return Experiment(
        result, "P4, Figure 3: malicious agents among 50 elected of 150",
        lambda figure: _draw(figure, curves), (6.5, 3.6), table,
    )  # fmt: skip


NAMES: Final[dict[Scheme, str]] = {"dpos": "DPoS, by stake", "composite": "composite score"}


def _draw(figure: Any, curves: dict[Scheme, Curve]) -> None:
    axes = figure.subplots()
    for i, scheme in enumerate(SCHEMES):
        curve, colour = curves[scheme], SERIES[1 - i]
        rounds = range(1, len(curve.mean) + 1)
        low, high = ([100 * v for v in band] for band in (curve.low, curve.high))
        axes.fill_between(rounds, low, high, color=colour, alpha=0.18, lw=0)
        axes.plot(rounds, [100 * v for v in curve.mean], color=colour, marker=MARKERS[i], ms=4,
                  lw=1.6, label=NAMES[scheme])  # fmt: skip
    axes.axhline(100 * HALF, color=MUTED, ls="--", lw=1)
    axes.text(1, 100 * HALF + 1, "the paper's bound", fontsize=8, color=MUTED)
    axes.set_ylim(0, 100)
    plain(axes, x="round (bands: four of five runs)", y="malicious agents, %")
    legend(axes)
