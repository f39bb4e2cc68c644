"""One DER's link fails in a share of the heights: what that costs BNCM, and what it costs PBFT.

The experiment of P0, §4.2.3, in the simulator: all frames to and from the last DER are lost until
the others have decided, in 0 to 100 % of the heights; plants of 4, 5, 7 and 10 nodes, one-way
delays of 1, 10 and 50 ms, a synced write of 0.1 to 3 ms per promise. The same seeds run through
PBFT, the paths of BNCM, and the published timing: the operator waits for everybody until a fixed
timer ends, and only then starts PBFT. That timer is taken as short as it can be without cutting off
fast decisions (a round trip and 10 ms), which flatters it. Beside it how many faulty nodes a plant
of ten bears (P0, §4.2.2). The figures are virtual time, the same on every machine::

    python bench/link_failure.py             # about an hour; writes bench/results/link_failure
    python bench/link_failure.py --resume    # only cells missing, not sharp, or of other code
    python bench/link_failure.py --render    # table and picture from the figures that are there
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise, product
from math import log
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from vppd.bench.paper.simulated import WAYS, mean_ms, run_way
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.tolerance import FAULTS, bear

FOLDER = Path(__file__).parent / "results" / "link_failure"
SIZES = (4, 5, 7, 10)
DELAYS_MS = (1, 10, 50)
SHARES = (0, 20, 40, 60, 80, 100)
HEIGHTS = 200
"""Per seed."""
BATCH = 20
"""Neighbouring heights are no independent samples: the error is that of the means of so many."""
ERROR = {"pbft": 0.005, "broadcast": 0.005, "auto": 0.005, "collect": 0.03, "published": 0.03}
"""Seeds are added until the standard error is below this share of the mean."""
LEAST_SEEDS = 2
LIMIT, BEST = 1.02, 0.70


def run(n: int, delay_ms: int, share: int, way: str, seed: int) -> Outcome:
    """One seed; a violated invariant ends the whole measurement."""
    return run_way(n, delay_ms, share, way, HEIGHTS, seed)


def holds(key: tuple[int, int, int, str], held: dict[str, Any] | None, most_seeds: int) -> bool:
    """Whether a figure is there, sharp, and of this code: its first seed still gives the same."""
    if held is None:
        return False
    sharp = held["error_ms"] < ERROR[key[3]] * held["commit_ms"] or held["seeds"] >= most_seeds
    return sharp and held.get("first_seed_ms") == mean_ms(run(*key, seed=1))


def cell(n: int, delay_ms: int, share: int, way: str, most_seeds: int) -> dict[str, Any]:
    """Seeds until the error is small enough: the mean of ``commit_ms`` and its standard error."""
    samples: list[float] = []
    first = 0.0
    batches: list[float] = []
    messages = decided = fast = votes = seed = 0
    while True:
        seed += 1
        outcome = run(n, delay_ms, share, way, seed)
        commit_ms = [us / 1_000 for us in outcome.commit_us]
        samples += commit_ms
        first = first or mean_ms(outcome)
        batches += [fmean(commit_ms[i : i + BATCH]) for i in range(0, HEIGHTS, BATCH)]
        messages += outcome.messages
        decided += outcome.decided
        fast += outcome.decisions["fast"] + outcome.decisions["fast_exit"]
        votes += outcome.decisions.total()
        mean, error = fmean(samples), stdev(batches) / len(batches) ** 0.5
        sharp = seed >= LEAST_SEEDS and error < ERROR[way] * mean
        if sharp or seed >= most_seeds:
            break
    return {
        "n": n, "delay_ms": delay_ms, "failing_percent": share, "way": way, "seeds": seed,
        "heights": decided, "commit_ms": round(mean, 3), "error_ms": round(error, 3),
        "first_seed_ms": first,
        "messages_per_height": round(messages / decided, 1), "fast_share": round(fast / votes, 3),
    }  # fmt: skip


def tolerance() -> list[dict[str, Any]]:
    """P0, §4.2.2: ten nodes, none to five of them faulty."""
    setup = Setup(n=10, heights=20, delay_us=10_000)
    rows = []
    for fault in FAULTS:
        for faulty in range(6):
            for seed in (1, 2, 3):
                borne = bear(setup, faulty, fault, seed)
                rows.append(
                    {"fault": fault, "faulty": faulty, "seed": seed, "nodes": borne.faulty,
                     "lowest": borne.lowest, "highest": borne.highest}
                )  # fmt: skip
    return rows


# ---------------------------------------------------------------- what is written


Cells = dict[tuple[int, int, int, str], dict[str, Any]]


def load() -> tuple[Cells, list[dict[str, Any]]]:
    """The figures that are there."""
    path = FOLDER / "link_failure.json"
    if not path.exists():
        return {}, []
    held = json.loads(path.read_text(encoding="utf-8"))
    cells = {(c["n"], c["delay_ms"], c["failing_percent"], c["way"]): c for c in held["cells"]}
    return cells, held["tolerance"]


def save(cells: Cells, borne: list[dict[str, Any]]) -> None:
    """All figures, one cell a line."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = {"cells": [cells[key] for key in sorted(cells)], "tolerance": borne}
    lines = [
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]"
        for name, rows in parts.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / "link_failure.json").write_text(text, encoding="utf-8")


def ratio(cells: Cells, n: int, delay_ms: int, share: int, way: str) -> float | None:
    """``commit_ms`` of a way over that of PBFT."""
    mine, pbft = cells.get((n, delay_ms, share, way)), cells.get((n, delay_ms, share, "pbft"))
    if mine is None or pbft is None:
        return None
    return float(mine["commit_ms"] / pbft["commit_ms"])


def missed(cells: Cells) -> list[str]:
    """Cells beyond what BNCM promises."""
    found = []
    for n, delay_ms, share, way in sorted(cells):
        got = ratio(cells, n, delay_ms, share, way)
        if got is None or way not in ("broadcast", "auto"):
            continue
        best = share == 0 and delay_ms >= 10 and way == "broadcast"
        limit = BEST if best else LIMIT
        if got > limit:
            found.append(f"{way}, n={n}, {delay_ms} ms, {share} %: {got:.3f} > {limit}")
    return found


def largest(cells: Cells, way: str) -> str:
    """The cell in which a way does worst against PBFT."""
    ratios = {key: got for key in cells if key[3] == way if (got := ratio(cells, *key))}
    n, delay_ms, share, _ = worst = max(ratios, key=lambda key: ratios[key])
    return f"{way} {ratios[worst]:.3f} (n = {n}, {delay_ms} ms, {share} %)"


def crossing(cells: Cells, n: int, delay_ms: int, way: str) -> str:
    """From which share of failing heights on a way is slower than PBFT, read off a straight line.

    More than ``LIMIT`` counts as slower: below it the two are told apart by chance alone.
    """
    held = [(s, got) for s in SHARES if (got := ratio(cells, n, delay_ms, s, way)) is not None]
    if len(held) < len(SHARES):
        return "–"
    if held[0][1] > LIMIT:
        return "always"
    for (share, below), (later, above) in pairwise(held):
        if above > LIMIT:
            at = share + (later - share) * (LIMIT - below) / (above - below)
            return f"{at:.0f} %"
    return "never"


def summary(cells: Cells) -> list[str]:
    """What was promised, what came out, and where each way begins to lose."""
    beyond = missed(cells)
    whole = len(SIZES) * len(DELAYS_MS) * len(SHARES) * len(WAYS)
    verdict = f"missed in {len(beyond)}:" if beyond else "kept in every one."
    out = [
        f"{len(cells)} of {whole} cells are measured. Promised: auto and broadcast ≤ {LIMIT}",
        f"everywhere, broadcast ≤ {BEST:.2f} without failures from 10 ms on: {verdict}",
        *(["", *(f"- {line}" for line in beyond), ""] if beyond else []),
        f"Largest: {largest(cells, 'broadcast')}, {largest(cells, 'auto')},",
        f"{largest(cells, 'collect')}, {largest(cells, 'published')}.",
        "",
    ]
    most = max(SIZES)
    both = [cells.get((most, DELAYS_MS[0], 0, way)) for way in ("collect", "pbft")]
    if both[0] is not None and both[1] is not None:
        out += [
            f"At n = {most} without failures the collector path takes "
            f"{both[0]['messages_per_height']:.1f} messages a height,",
            f"PBFT {both[1]['messages_per_height']:.1f}; by the rules alone it is "
            f"{3 * (most - 1)} and {2 * most * (most - 1)}, the rest are reminders.",
            "",
        ]
    out += [
        "From which share of failing heights on a way is slower than PBFT (by more than "
        f"{LIMIT - 1:.0%}):",
        "",
        "| n | one-way delay | " + " | ".join(WAYS[1:]) + " |",
        "|---:|---:|" + "---:|" * len(WAYS[1:]),
    ]
    for n, delay_ms in product(SIZES, DELAYS_MS):
        said = " | ".join(crossing(cells, n, delay_ms, way) for way in WAYS[1:])
        out.append(f"| {n} | {delay_ms} ms | {said} |")
    return [*out, ""]


def widest(cells: Cells, ways: tuple[str, ...]) -> float:
    """The largest standard error among some ways, as a share of the mean."""
    return float(max(c["error_ms"] / c["commit_ms"] for c in cells.values() if c["way"] in ways))


def table(cells: Cells, borne: list[dict[str, Any]]) -> str:
    """The page."""
    heights = [c["heights"] for c in cells.values()]
    out = [
        "# One DER's link fails in a share of the heights",
        "",
        "`commit_ms` (proposal sent → decision known at q replicas), mean, over that of PBFT on",
        "the same seeds; in brackets consensus messages per height, reminders included. A cell is",
        f"{min(heights)} to {max(heights)} heights; the standard error is at most "
        f"{widest(cells, WAYS[:3]):.1%} of the mean of PBFT,",
        f"broadcast and auto, and at most {widest(cells, WAYS[3:]):.1%} of that of the others. "
        "This page and its picture",
        "are made by `make link-failure` (P0, §4.2.3, in virtual time).",
        "",
        "*published*: the operator waits for everybody until a fixed timer (a round trip and",
        "10 ms), then runs PBFT: the paper's timing on the same links and disks. Collected votes",
        "take three message delays, as PBFT does: on links where a message costs its delay, not",
        "its number, neither *collect* nor *published* can be faster. What they save is messages.",
        "",
        "![BNCM over PBFT](link_failure.svg)",
        "",
        *summary(cells),
    ]
    for delay_ms in DELAYS_MS:
        out += [f"## One-way delay {delay_ms} ms", "",
                "| n | link fails | PBFT, ms | broadcast | auto | collect | published |",
                "|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
        for n in SIZES:
            for share in SHARES:
                pbft = cells.get((n, delay_ms, share, "pbft"))
                if pbft is None:
                    continue
                row = [str(n), f"{share} %",
                       f"{pbft['commit_ms']:.1f} [{pbft['messages_per_height']:.0f}]"]  # fmt: skip
                for way in WAYS[1:]:
                    got = ratio(cells, n, delay_ms, share, way)
                    held = cells.get((n, delay_ms, share, way))
                    said = "–"
                    if got is not None and held is not None:
                        said = f"{got:.3f} [{held['messages_per_height']:.0f}]"
                    row.append(said)
                out.append(f"| {' | '.join(row)} |")
        out.append("")
    if borne:
        out += [
            "## Faulty nodes among ten",
            "",
            "Drawn by the seed, the operator among them or not; three seeds each, 20 heights asked",
            "for. Decided by honest nodes, least and most, or within 20·T_view where nothing is.",
            "",
            "| faulty | " + " | ".join(FAULTS) + " |",
            "|---:|" + "---:|" * len(FAULTS),
        ]
        for faulty in range(6):
            counts = []
            for fault in FAULTS:
                rows = [r for r in borne if (r["fault"], r["faulty"]) == (fault, faulty)]
                low, high = min(r["lowest"] for r in rows), max(r["highest"] for r in rows)
                counts.append(f"{low}" if low == high else f"{low}–{high}")
            out.append(f"| {faulty} | {' | '.join(counts)} |")
        out.append("")
    return "\n".join(out)


# ---------------------------------------------------------------- the picture

COLOURS = {"broadcast": "#0b7a75", "auto": "#e09f3e", "collect": "#3d5a98", "published": "#d1495b"}
WIDTHS = {"broadcast": 4.5}
"""It lies under auto, which chooses it nearly always."""
WIDTH, HEIGHT, LEFT, TOP, GAP = 190, 130, 58, 74, 34
LOW, HIGH = 0.5, 8.0


def picture(cells: Cells) -> str:
    """Small multiples: sizes across, delays down; the ratio on a logarithmic axis."""

    def y_of(value: float) -> float:
        at = (log(value) - log(LOW)) / (log(HIGH) - log(LOW))
        return HEIGHT * (1 - at)

    width = LEFT + len(SIZES) * (WIDTH + GAP)
    height = TOP + len(DELAYS_MS) * (HEIGHT + GAP + 4) + 8
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">Time to a decision over that of PBFT, '
        "one DER's link failing in a share of the heights</text>",
    ]
    for k, (way, colour) in enumerate(COLOURS.items()):
        x = LEFT + 130 * k
        said = "published timing" if way == "published" else way
        out.append(f'<path d="M{x} 36h22" stroke="{colour}" '
                   f'stroke-width="{WIDTHS.get(way, 1.8)}"/>'
                   f'<text x="{x + 27}" y="40">{said}</text>')  # fmt: skip
    for row, delay_ms in enumerate(DELAYS_MS):
        for column, n in enumerate(SIZES):
            x0 = LEFT + column * (WIDTH + GAP)
            y0 = TOP + row * (HEIGHT + GAP + 4)
            out.append(f'<g transform="translate({x0} {y0})">')
            out.append(f'<text x="0" y="-6">n = {n}, {delay_ms} ms one way</text>')
            for tick in (0.5, 0.7, 1, 2, 4, 8):
                dark = ' stroke="black"' if tick == 1 else ' stroke="#dddddd"'
                y = y_of(tick)
                out.append(f'<path d="M0 {y:.1f}H{WIDTH}"{dark} stroke-width="0.8"/>')
                if column == 0:
                    out.append(f'<text x="-6" y="{y + 3:.1f}" text-anchor="end">{tick}</text>')
            out += [
                f'<text x="{WIDTH * share / 100:.0f}" y="{HEIGHT + 12}" '
                f'text-anchor="middle">{share}</text>'
                for share in SHARES
            ]
            for way, colour in COLOURS.items():
                points = [
                    (WIDTH * share / 100, y_of(got))
                    for share in SHARES
                    if (got := ratio(cells, n, delay_ms, share, way)) is not None
                ]
                if points:
                    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                    out.append(
                        f'<polyline points="{line}" fill="none" stroke="{colour}" '
                        f'stroke-width="{WIDTHS.get(way, 1.8)}"/>'
                    )
                out += [
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" fill="{colour}" '
                    f'r="{WIDTHS.get(way, 1.8) / 2 + 1.3:.2f}"/>'
                    for x, y in points
                ]
            out.append("</g>")
    out.append(f'<text x="{LEFT}" y="{height - 10}">heights in which the link fails, %</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def main() -> None:
    """Measure, write, and say what was promised and missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--resume", action="store_true", help="only what is missing or has changed")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--seeds", type=int, default=20, help="at most so many per cell")
    chosen = parser.parse_args()
    cells, borne = load() if chosen.resume or chosen.render else ({}, [])
    if not chosen.render:
        borne = borne or tolerance()
        for key in product(SIZES, DELAYS_MS, SHARES, WAYS):
            if not holds(key, cells.get(key), chosen.seeds):
                made = cells[key] = cell(*key, chosen.seeds)
                save(cells, borne)
                print(" ".join(f"{name}={value}" for name, value in made.items()), flush=True)
    (FOLDER / "README.md").write_text(table(cells, borne), encoding="utf-8")
    (FOLDER / "link_failure.svg").write_text(picture(cells), encoding="utf-8")
    for line in missed(cells):
        print(f"missed: {line}")
    if missed(cells):
        sys.exit(1)


if __name__ == "__main__":
    main()
