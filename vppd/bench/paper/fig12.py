"""P0, Figure 12: an operator and four DERs agree 50 times, under BNCM and under PBFT (§4.2.1)."""

from __future__ import annotations

from statistics import fmean
from typing import Any, Final

from vppd.bench.paper.figure import Experiment, Result, Say, ratio
from vppd.bench.paper.live import BNCM, PBFT, Rounds, plant
from vppd.bench.paper.simulated import run_way, summary
from vppd.bench.plots import MARKERS, SERIES, legend, plain

NODES: Final = 5
ROUNDS: Final = 50
PAPER: Final = {"bncm_s": 2.5992, "pbft_s": 5.2409}
LEFT_OPEN: Final = [
    "The paper states no block content, block interval or timer. Here a round is one transaction, "
    "cut into a block at once.",
    "The paper's seconds are those of Ethereum clients in containers on one desktop PC; only the "
    "ratios compare.",
    "The paper's fast stage is believed on the operator's word. Here every decision shows the "
    "signatures it rests on, and every promise is on disk before it is sent.",
    "n = 5 is not 3f+1: f = 1, and votes need 4 of 5, because two groups of 2f+1 = 3 may share the "
    "faulty node alone.",
]
"""Of the experiments in §4.2 that compare times."""
REAL: Final = [
    "Real daemons on this machine, TLS, every promise synced to disk; a round is from handing a "
    "transaction to the operator's node until that node pushes the decided and executed block; "
    "the first five rounds do not count.",
    "commit_* is from the proposal until the decision is durable at a quorum, by the nodes' own "
    "marks: the part of a round that the engines differ in.",
]
SIMULATED: Final = (
    "Simulated: every message takes the link's fixed delay, whatever their number, and computing "
    "takes no time. On such links collected votes (the paper's messages) take three delays, as "
    "PBFT does; broadcast votes take two."
)


async def real(rounds: int, say: Say) -> Experiment:
    """On daemons of this machine.

    Raises:
        UserError: E448, the plant or a round failed.
    """
    taken: dict[str, Rounds] = {}
    for way in (BNCM, PBFT):
        say(f"{way.engine}: {rounds} rounds of {NODES} daemons")
        async with plant(NODES, way, say) as running:
            taken[way.engine] = await running.run(rounds)
    ours = {"mode": "real", "nodes": NODES, "rounds": rounds,
            **{name: run.summary() for name, run in taken.items()}}  # fmt: skip
    bncm, pbft = taken["bncm"], taken["pbft"]
    ratios = {
        "paper_bncm_over_pbft": ratio(PAPER["bncm_s"], PAPER["pbft_s"]),
        "ours_bncm_over_pbft": ratio(fmean(bncm.round_ms), fmean(pbft.round_ms)),
        "ours_commit_bncm_over_pbft": ratio(fmean(bncm.commit_ms), fmean(pbft.commit_ms)),
    }
    series = {name: run.round_ms for name, run in taken.items()}
    return _experiment(ours, ratios, [*LEFT_OPEN, *REAL], series, "round, ms")


def simulated(rounds: int, delay_ms: int, seeds: int, say: Say) -> Experiment:
    """In the simulator: ``rounds`` heights of each seed.

    Raises:
        UserError: E448, an invariant was violated.
    """
    ways = ("pbft", "auto", "broadcast", "collect")
    runs = {}
    for way in ways:
        say(f"{way}: {seeds} seeds of {rounds} rounds")
        runs[way] = [run_way(NODES, delay_ms, 0, way, rounds, s) for s in range(1, seeds + 1)]
    sums = {way: summary(runs[way]) for way in ways}
    ours = {"mode": "sim", "nodes": NODES, "rounds": rounds, "seeds": seeds, "delay_ms": delay_ms,
            "bncm": sums["auto"], "pbft": sums["pbft"], "bncm_broadcast": sums["broadcast"],
            "bncm_collect": sums["collect"]}  # fmt: skip
    pbft = sums["pbft"]["mean_ms"]
    messages = sums["pbft"]["messages_per_height"]
    ratios = {
        "paper_bncm_over_pbft": ratio(PAPER["bncm_s"], PAPER["pbft_s"]),
        "ours_bncm_over_pbft": ratio(sums["auto"]["mean_ms"], pbft),
        "ours_collect_over_pbft": ratio(sums["collect"]["mean_ms"], pbft),
        "ours_collect_messages_over_pbft": ratio(sums["collect"]["messages_per_height"], messages),
    }
    series = {
        name: [us / 1_000 for us in runs[way][0].commit_us]
        for name, way in (("bncm", "auto"), ("pbft", "pbft"))
    }
    assumed = [*LEFT_OPEN, SIMULATED, "Means of all seeds; the figure shows the first."]
    return _experiment(ours, ratios, assumed, series, "commit, ms of virtual time")


def _experiment(
    ours: dict[str, Any], ratios: dict[str, float | None], assumed: list[str],
    series: dict[str, list[float]], label: str,
) -> Experiment:  # fmt: skip
    paper = {"nodes": NODES, "rounds": ROUNDS, **PAPER}
    rows = [
        (f"{name.upper()}, mean of {ours['rounds']} rounds (paper: {ROUNDS})",
         f"{PAPER[f'{name}_s']} s", f"{ours[name]['mean_ms']} ms")
        for name in ("bncm", "pbft")
    ]  # fmt: skip
    return Experiment(
        Result(figure="fig12", paper=paper, ours=ours, ratios=ratios, assumptions=assumed),
        f"P0, Figure 12: {NODES} nodes agree, BNCM and PBFT",
        lambda figure: _draw(figure, series, label),
        (8, 3),
        rows,
    )


def _draw(figure: Any, series: dict[str, list[float]], label: str) -> None:
    mine, papers = figure.subplots(1, 2, width_ratios=(3, 1))
    for i, (name, samples) in enumerate(series.items()):
        mine.plot(range(1, len(samples) + 1), samples, lw=1, marker=MARKERS[i], ms=3,
                  color=SERIES[i], label=f"{name.upper()}, mean {fmean(samples):.1f}")  # fmt: skip
    mine.set_ylim(bottom=0)
    plain(mine, x="round", y=label)
    legend(mine)
    means = [fmean(samples) for samples in series.values()]
    for i, (name, value) in enumerate(zip(series, means, strict=True)):
        theirs, own = PAPER[f"{name}_s"] / PAPER["pbft_s"], value / means[-1]
        bars = papers.bar([i - 0.2, i + 0.2], [theirs, own], 0.36, color=["none", SERIES[i]],
                          edgecolor=SERIES[i], hatch=["///", ""])  # fmt: skip
        papers.bar_label(bars, [f"{theirs:.2f}", f"{own:.2f}"], fontsize=8, padding=2)
    papers.set_xticks(range(len(series)), [name.upper() for name in series])
    papers.set_ylim(0, 1.25)
    plain(papers, y="over PBFT: paper (hatched), ours")
