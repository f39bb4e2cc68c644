"""P0, Figure 15: an operator and one to eight DERs, BNCM and PBFT (§4.2.4)."""

from __future__ import annotations

from typing import Any, Final

from vppd.bench.paper.fig12 import LEFT_OPEN, REAL, SIMULATED
from vppd.bench.paper.figure import Experiment, Result, Say, ratio
from vppd.bench.paper.live import BNCM, PBFT, plant
from vppd.bench.paper.simulated import run_way, summary
from vppd.bench.plots import MARKERS, MUTED, SERIES, legend, plain

DERS: Final = tuple(range(1, 9))
ROUNDS: Final = 30
PAPER: Final = {"bncm_s_at_8": 2.99, "pbft_s_at_8": 9.2}
NOT_PRINTED: Final = "The paper prints its means at eight DERs only; the others are in a picture."

Curve = dict[str, dict[str, Any]]
"""Number of DERs to the summary of its rounds."""


async def real(rounds: int, say: Say, ders: tuple[int, ...] = DERS) -> Experiment:
    """On daemons of this machine.

    Raises:
        UserError: E448, a plant or a round failed.
    """
    curves: dict[str, Curve] = {"bncm": {}, "pbft": {}}
    for count in ders:
        for way in (BNCM, PBFT):
            say(f"{way.engine}: {count} DERs, {rounds} rounds")
            async with plant(1 + count, way, say) as running:
                curves[way.engine][str(count)] = (await running.run(rounds)).summary()
    ours = {"mode": "real", "ders": list(ders), "rounds": rounds, **curves}
    assumed = [NOT_PRINTED, *LEFT_OPEN, *REAL,
               "All daemons share this machine's cores: with more DERs each has less of them, as "
               "in the paper's containers on one PC."]  # fmt: skip
    return _experiment(ours, curves, assumed, ders, "round, mean ms")


def simulated(
    rounds: int, delay_ms: int, seeds: int, say: Say, ders: tuple[int, ...] = DERS
) -> Experiment:
    """In the simulator.

    Raises:
        UserError: E448, an invariant was violated.
    """
    named = {"bncm": "auto", "pbft": "pbft", "bncm_collect": "collect"}
    curves: dict[str, Curve] = {name: {} for name in named}
    for name, way in named.items():
        for count in ders:
            say(f"{way}: {count} DERs, {seeds} seeds of {rounds} rounds")
            curves[name][str(count)] = summary(
                run_way(1 + count, delay_ms, 0, way, rounds, seed) for seed in range(1, seeds + 1)
            )
    ours = {"mode": "sim", "ders": list(ders), "rounds": rounds, "seeds": seeds,
            "delay_ms": delay_ms, **curves}  # fmt: skip
    assumed = [NOT_PRINTED, *LEFT_OPEN, SIMULATED]
    return _experiment(ours, curves, assumed, ders, "commit, mean ms of virtual time")


def slope(curve: Curve) -> float:
    """Least-squares growth of the mean per DER, ms; needs two numbers of DERs."""
    x = [int(count) for count in curve]
    y = [row["mean_ms"] for row in curve.values()]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above: float = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle_x) ** 2 for a in x)


def _experiment(
    ours: dict[str, Any], curves: dict[str, Curve], assumed: list[str], ders: tuple[int, ...],
    label: str,
) -> Experiment:  # fmt: skip
    last = str(max(ders))
    means = {name: curve[last]["mean_ms"] for name, curve in curves.items()}
    ratios = {
        "paper_bncm_over_pbft_at_8": ratio(PAPER["bncm_s_at_8"], PAPER["pbft_s_at_8"]),
        f"ours_bncm_over_pbft_at_{last}": ratio(means["bncm"], means["pbft"]),
    }
    if len(ders) > 1:
        growth = {name: slope(curve) for name, curve in curves.items()}
        ours = {**ours, "growth_ms_per_der": {name: round(g, 4) for name, g in growth.items()}}
        ratios["ours_bncm_growth_over_pbft_growth"] = ratio(growth["bncm"], growth["pbft"])
    rows = [
        (f"{name.upper()}, {count} DERs",
         f"{PAPER[f'{name}_s_at_8']} s" if count == "8" else "–",
         f"{curves[name][count]['mean_ms']} ms")
        for name in ("bncm", "pbft")
        for count in curves[name]
    ]  # fmt: skip
    return Experiment(
        Result(
            figure="fig15",
            paper={"ders": list(DERS), "rounds": ROUNDS, **PAPER},
            ours=ours,
            ratios=ratios,
            assumptions=assumed,
        ),
        "P0, Figure 15: time to agree over the number of DERs",
        lambda figure: _draw(figure, curves, label),
        (8, 3.2),
        rows,
    )


def _draw(figure: Any, curves: dict[str, Curve], label: str) -> None:
    left, right = figure.subplots(1, 2)
    for i, (name, curve) in enumerate(curves.items()):
        x = [int(count) for count in curve]
        left.plot(x, [row["mean_ms"] for row in curve.values()], marker=MARKERS[i], ms=4.5, lw=1.6,
                  color=SERIES[i], label=name.upper().replace("_", ", "))  # fmt: skip
    left.set_ylim(bottom=0)
    plain(left, x="DERs beside one operator", y=label)
    legend(left)
    shares = [
        curves["bncm"][count]["mean_ms"] / row["mean_ms"] for count, row in curves["pbft"].items()
    ]
    right.plot([int(c) for c in curves["pbft"]], shares, marker="o", ms=4.5, color=SERIES[0],
               label="ours")  # fmt: skip
    right.plot([8], [PAPER["bncm_s_at_8"] / PAPER["pbft_s_at_8"]], "*", ms=10, color=SERIES[1],
               label="paper, the one it prints", ls="none")  # fmt: skip
    right.axhline(1, color=MUTED, lw=1, ls="--")
    right.set_ylim(0, 1.1 * max(1, *shares))
    plain(right, x="DERs", y="BNCM over PBFT")
    legend(right)
