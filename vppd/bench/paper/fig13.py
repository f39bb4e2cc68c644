"""P0, Figure 13: an operator and nine DERs, none to five of them faulty (§4.2.2)."""

from __future__ import annotations

from statistics import fmean
from typing import Any, Final

from vppd.bench.paper.figure import Experiment, Result, Say, ratio
from vppd.bench.paper.live import BNCM, ROUND_PATIENCE_S, did_not_run, plant
from vppd.bench.plots import INK, MUTED, SERIES, legend, plain
from vppd.simulate.outcome import Setup
from vppd.simulate.tolerance import FAULTS, bear

NODES: Final = 10
MOST_FAULTY: Final = 5
BORNE: Final = 3
"""By the paper, and by n = 3f+1."""
PAPER: Final = {str(faulty): faulty <= BORNE for faulty in range(MOST_FAULTY + 1)}
LEFT_OPEN: Final = (
    "The paper does not say what its faulty nodes do, nor which ones they are; that the operator "
    "is not among them follows from its fixed leader."
)


async def real(rounds: int, say: Say) -> Experiment:
    """On daemons of this machine; the faulty DERs are never started.

    Raises:
        UserError: E448, a plant did not come up.
    """
    means: dict[str, float | None] = {}
    for faulty in range(MOST_FAULTY + 1):
        say(f"{faulty} of {NODES} daemons missing")
        async with plant(NODES, BNCM, say, missing=faulty) as running:
            taken = []
            for _ in range(1 + rounds):
                ms = await running.round()
                if ms is None:
                    break
                taken.append(ms)
            if 0 < len(taken) < 1 + rounds:
                raise did_not_run(f"with {faulty} faulty, round {len(taken) + 1} was not decided")
            means[str(faulty)] = round(fmean(taken[1:]), 3) if taken else None
    assumed = [
        LEFT_OPEN,
        "Real daemons on this machine; the last DERs are the faulty ones, and they never start.",
        f"Mean of {rounds} rounds after one that does not count. No decision in "
        f"{ROUND_PATIENCE_S:.0f} s, ten view timeouts, counts as none ever.",
    ]
    reached = {faulty: mean is not None for faulty, mean in means.items()}
    ours = {"mode": "real", "nodes": NODES, "rounds": rounds, "reaches_consensus": reached,
            "mean_ms": means}  # fmt: skip
    return _experiment(ours, assumed, {"not started": means}, "round, ms")


def simulated(rounds: int, delay_ms: int, seeds: int, say: Say) -> Experiment:
    """In the simulator, three kinds of faulty nodes, drawn anew with each seed.

    Raises:
        UserError: E448, an invariant was violated although few enough were faulty.
    """
    setup = Setup(n=NODES, heights=rounds, delay_us=delay_ms * 1_000)
    means: dict[str, dict[str, float | None]] = {fault: {} for fault in FAULTS}
    reached = {}
    for faulty in range(MOST_FAULTY + 1):
        say(f"{faulty} of {NODES} nodes faulty: {seeds} seeds of each kind")
        every = []
        for fault in FAULTS:
            runs = [bear(setup, faulty, fault, seed) for seed in range(1, seeds + 1)]
            samples = [us / 1_000 for run in runs for us in run.outcome.commit_us]
            low, high = min(r.lowest for r in runs), max(r.highest for r in runs)
            if low < rounds and high > 0:
                said = next(r for r in runs if r.lowest < rounds).outcome
                raise did_not_run(f"{faulty} {fault}, seed {said.seed}: {said.violation}")
            every.append(low >= rounds)
            means[fault][str(faulty)] = round(fmean(samples), 3) if low >= rounds else None
        reached[str(faulty)] = all(every)
    assumed = [
        LEFT_OPEN,
        f"Simulated, {delay_ms} ms one way, {rounds} heights, {seeds} seeds. Faulty nodes are "
        "drawn by the seed, the operator among them or not: silent, crashed from the start, or "
        "lying (they vote for what nobody proposed, and as leaders propose two blocks).",
        "No decision in 20 view timeouts counts as none ever.",
    ]  # fmt: skip
    ours = {"mode": "sim", "nodes": NODES, "rounds": rounds, "seeds": seeds, "delay_ms": delay_ms,
            "reaches_consensus": reached, "mean_ms": means}  # fmt: skip
    return _experiment(ours, assumed, means, "commit, ms of virtual time")


def _experiment(
    ours: dict[str, Any], assumed: list[str], curves: dict[str, dict[str, float | None]], label: str
) -> Experiment:
    reached: dict[str, bool] = ours["reaches_consensus"]
    borne = max((int(f) for f, yes in reached.items() if yes), default=-1)
    said = {True: "decides", False: "never"}
    return Experiment(
        Result(
            figure="fig13",
            paper={"nodes": NODES, "reaches_consensus": PAPER},
            ours=ours,
            ratios={
                "faulty_borne": ratio(borne, BORNE),
                "cases_that_agree": ratio(sum(reached[f] == PAPER[f] for f in PAPER), len(PAPER)),
            },
            assumptions=assumed,
        ),
        f"P0, Figure 13: faulty nodes among {NODES}",
        lambda figure: _draw(figure, curves, label),
        (6, 3),
        [(f"{f} faulty", said[PAPER[f]], said[reached[f]]) for f in PAPER],
    )


def _draw(figure: Any, curves: dict[str, dict[str, float | None]], label: str) -> None:
    axes = figure.subplots()
    width = 0.8 / len(curves)
    for i, (name, means) in enumerate(curves.items()):
        at = [int(f) + (i - (len(curves) - 1) / 2) * width for f in means]
        axes.bar(at, [ms or 0 for ms in means.values()], 0.9 * width, color=SERIES[i], label=name)
    axes.margins(y=0.15)
    never = [int(f) for f in PAPER if all(means[f] is None for means in curves.values())]
    for faulty in never:
        axes.text(faulty, 0, "never", ha="center", va="bottom", color=INK)
    axes.axvline(BORNE + 0.5, color=MUTED, ls="--", lw=1)
    axes.text(BORNE + 0.55, 0.97, "paper: never", transform=axes.get_xaxis_transform(), va="top",
              fontsize=8, color=MUTED)  # fmt: skip
    axes.set_xlim(-0.6, MOST_FAULTY + 0.6)
    axes.set_xticks(range(MOST_FAULTY + 1))
    plain(axes, x="faulty nodes", y=label)
    legend(axes)
