"""The plots of a run's report, each from what the run's folder holds; none where it holds nothing.

Every function takes a :class:`~vppd.bench.readback.RunFolder`; one that has nothing to show returns
``None``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from vppd.bench.crossover import seen_crossover
from vppd.bench.plots import (
    FAINT,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    inline,
    legend,
    missing_extra,
    plain,
)
from vppd.bench.readback import Facts, RunFolder

WIDTH = 7.4
"""Inches of a plot that takes the whole column."""
BINS = 240
"""Most points along an axis of heights: more cannot be told apart."""
LEAST_SHOWN = 0.05
"""Frames per height: a type with fewer would be a bar of nothing."""
SHOWN_SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


class Plot(NamedTuple):
    """One plot on the page."""

    title: str
    note: str
    """How to read it; may be empty."""
    svg: str


def knee(run: RunFolder) -> Plot | None:
    """Latency over goodput along the search of ``saturate``."""
    points = sorted(
        (
            (e["summary"]["goodput_tx_s"], e["summary"]["latency_ms"], e["rate"])
            for e in run.search
            if e["summary"]["latency_ms"].get("p50") is not None
        ),
        key=lambda point: point[2],
    )
    if not points:
        return None
    found = [goodput for goodput, _, rate in points if rate == run.knee]
    kept = [point for point in points if run.knee is None or point[2] <= run.knee]
    beyond = points[len(kept) :]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for i, (name, said) in enumerate((("p50", "p50"), ("p99", "p99"))):
            how: dict[str, Any] = {"marker": MARKERS[i], "ms": 5, "color": SERIES[i]}
            axes.plot([p[0] for p in kept], [p[1][name] for p in kept], lw=1.6, label=said, **how)
            axes.plot([p[0] for p in beyond], [p[1][name] for p in beyond], ls="none", mfc="none",
                      **how)  # fmt: skip
        for at in found[:1]:
            axes.axvline(at, color=MUTED, lw=1, ls="--")
            axes.annotate(
                f"knee: {at:,.0f}/s", (at, 1), xycoords=("data", "axes fraction"),
                xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8,
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        plain_log(axes)
        plain(axes, x="goodput, transactions/s", y="latency, ms", grid="both")
        legend(axes)

    title = "Latency and throughput"
    note = (
        "Each point is one offered rate; hollow ones are beyond the knee, where more load brings "
        "waiting, not work."
    )
    return Plot(title, note, inline(draw, WIDTH, 3.2, title))


def spectrum(run: RunFolder) -> Plot | None:
    """Latency by percentile, the tail stretched out."""
    curves = [curve for text in run.histograms if (curve := _percentiles(text))]
    known = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    latency = run.summary["latency_ms"]
    if not curves:
        curve = [(q, latency[p]) for p, q in known.items() if latency.get(p) is not None]
        curves = [curve] if curve else []
    if not curves:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for i, curve in enumerate(curves):
            axes.plot(
                [1 / (1 - q) for q, _ in curve], [ms for _, ms in curve], lw=1.5, color=SERIES[0],
                alpha=1 if len(curves) == 1 else 0.55,
                label=f"{len(curves)} runs" if i == 0 and len(curves) > 1 else None,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        last = max(1 / (1 - q) for curve in curves for q, _ in curve)
        ticks = [q for q in SHOWN_SHARES if 1 / (1 - q) <= last * 1.01]
        axes.set_xticks([1 / (1 - q) for q in ticks], [f"{100 * q:.6g} %" for q in ticks])
        axes.minorticks_off()
        plain_log(axes)
        plain(axes, x="share of the transactions that were at least so fast", y="latency, ms",
              grid="both")  # fmt: skip
        if len(curves) > 1:
            legend(axes)

    title = "Percentile spectrum"
    note = "From the intended send time to the pushed commit, warm-up left out."
    if not any(curves):
        return None  # nothing was committed
    return Plot(title, note, inline(draw, WIDTH, 3.0, title))


def _percentiles(text: str) -> list[tuple[float, float]]:
    try:
        from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
    except ImportError as err:
        raise missing_extra("hdrhistogram") from err
    histogram = HdrHistogram.decode(text)
    total = histogram.get_total_count()
    if not total:
        return []
    shares, left = [0.0], 1.0
    while left * total > 1:
        shares += [1 - left * (1 - step / 40) for step in range(1, 36)]
        left /= 10
        shares.append(1 - left)
    found = [(q, histogram.get_value_at_percentile(100 * q) / 1e3) for q in sorted(set(shares))]
    return [(q, ms) for q, ms in found if (1 - q) * total >= 1]


def phases(run: RunFolder) -> Plot | None:
    """What each height's time was made of, at the node that proposed it."""
    rows = [row for row in run.heights if row.get("propose_to_decide_ms") is not None]
    if not rows:
        return None
    bins = _binned(len(rows))
    at = [rows[b[0]]["height"] for b in bins]
    stacks = [[fmean(part(rows[i]) for i in b) for b in bins] for _, part in PHASES]
    written = [fmean(rows[i].get("persist_ms") or 0.0 for i in b) for b in bins]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        labels = [said for said, _ in PHASES]
        made = axes.stackplot(at, stacks, labels=labels, colors=SERIES, alpha=0.85, lw=0)
        for area, hatch in zip(made, ("", "///", "..."), strict=True):
            area.set_hatch(hatch)
            area.set_edgecolor(FAINT)
        axes.plot(at, written, color=INK, lw=1.2, ls="--", label="in synced writes")
        axes.set_xlim(at[0], max(at[-1], at[0] + 1))
        axes.set_ylim(bottom=0)
        plain(axes, x="height", y="ms since the proposal")
        legend(axes, 4)

    title = "Phases of a height"
    note = "At the node that proposed it; the dashed line runs from the decision before."
    if len(bins) < len(rows):
        note += f" Each point is the mean of up to {max(map(len, bins))} heights."
    return Plot(title, note, inline(draw, WIDTH, 3.0, title))


def _votes_ms(row: Facts) -> float:
    """Never beyond the decision: a node may decide on others' word before it has the votes."""
    collected, decided = row.get("collect_ms"), row["propose_to_decide_ms"]
    return float(decided if collected is None else min(collected, decided))


def _rest_ms(row: Facts) -> float:
    return float(row["propose_to_decide_ms"] - _votes_ms(row))


def _execute_ms(row: Facts) -> float:
    return float(row.get("execute_ms") or 0)


PHASES: tuple[tuple[str, Callable[[Facts], float]], ...] = (
    ("until q votes were there", _votes_ms),
    ("until decided", _rest_ms),
    ("until executed", _execute_ms),
)


def over_time(run: RunFolder) -> Plot | None:
    """Latency by second; fallbacks and view changes in a strip below."""
    rows = [row for row in run.seconds if row.get("p50_ms") is not None]
    if not rows:
        return None
    fell = [row["t_s"] for row in run.heights if row.get("fallback")]
    changed = [b["t_s"] for a, b in pairwise(run.heights) if b.get("view", 0) > a.get("view", 0)]

    def draw(figure: Any) -> None:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
        seconds = [row["t_s"] for row in rows]
        for i, name in enumerate(("p50", "p99", "max")):
            axes.plot(
                seconds, [row[f"{name}_ms"] for row in rows], lw=1.4, color=SERIES[i],
                marker=MARKERS[i], ms=3, markevery=max(1, len(rows) // 20), label=name,
            )  # fmt: skip
        _shade(axes, run, rows)
        axes.set_yscale("log")
        plain_log(axes)
        plain(axes, y="latency, ms")
        legend(axes)
        for y, (times, colour) in enumerate(((changed, SERIES[3]), (fell, SERIES[5]))):
            strip.vlines(times, y - 0.4, y + 0.4, color=colour, lw=1.1)
        strip.set_ylim(-0.6, 1.6)
        strip.set_yticks((0, 1), (f"view changes: {len(changed)}", f"fallbacks: {len(fell)}"))
        plain(strip, x="seconds", grid="")

    title = "Latency over time"
    note = (
        "A fallback is a height that went the slow way; a view change replaces the leader. Shaded: "
        "warm-up, and what was still under way afterwards; neither counts."
    )
    return Plot(title, note, inline(draw, WIDTH, 3.6, title))


def _shade(axes: Any, run: RunFolder, rows: Sequence[Facts]) -> None:
    """What of the time was not measured."""
    plan = run.plan.get("plan", {})
    warm_s, measured_s = plan.get("warm_up_s"), plan.get("duration_s")
    if warm_s is None or measured_s is None:
        return
    for first, last in ((0, warm_s), (warm_s + measured_s, rows[-1]["t_s"])):
        if last > first:
            axes.axvspan(first, last, color=FAINT, alpha=0.6, lw=0, zorder=0)


def goodput(run: RunFolder) -> Plot | None:
    """Offered and committed transactions by second."""
    rows = run.seconds
    if not rows:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        seconds = [row["t_s"] for row in rows]
        axes.plot(seconds, [row["sent"] for row in rows], lw=1.4, ls="--", color=SERIES[6],
                  label="sent")  # fmt: skip
        axes.plot(seconds, [row["committed"] for row in rows], lw=1.6, color=SERIES[0],
                  label="committed")  # fmt: skip
        _shade(axes, run, rows)
        axes.set_ylim(bottom=0)
        plain(axes, x="seconds", y="transactions/s")
        legend(axes)

    title = "Sent and committed"
    return Plot(title, "", inline(draw, WIDTH, 2.4, title))


def messages(run: RunFolder) -> Plot | None:
    """Frames of each type per height, all nodes together."""
    frames: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for node in run.nodes:
        frames.update(node.get("frames_sent") or {})
        sizes.update(node.get("bytes_sent") or {})
    if not frames or not run.heights:
        return None
    count = len(run.heights)
    shown = [(name, sent / count) for name, sent in frames.most_common(14)]
    rows = [(name, each) for name, each in reversed(shown) if each >= LEAST_SHOWN] or shown

    names = [name for name, _ in rows]
    panels = [("frames per height, all nodes", [each for _, each in rows])]
    if sizes:
        kib = [sizes[name] / 1024 / count for name in names]
        panels.append(("KiB per height, all nodes", kib))

    def draw(figure: Any) -> None:
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for i, (axes, (label, values)) in enumerate(zip(every, panels, strict=True)):
            bars = axes.barh(names, values, 0.7, color=SERIES[i])
            said = [f"{v:,.1f}" if v >= LEAST_SHOWN else f"{v:.2g}" for v in values]
            axes.bar_label(bars, said, padding=3, fontsize=8)
            axes.margins(x=0.15)
            plain(axes, x=label, grid="x")

    title = "Messages and bytes per height"
    said = run.summary.get("messages_per_height")
    note = f"Consensus messages per height: {said:,.1f}." if said is not None else ""
    return Plot(title, note, inline(draw, WIDTH, 0.8 + 0.22 * len(rows), title))


def block_bytes(run: RunFolder) -> Plot | None:
    """Bytes and transactions of each block."""
    rows = [row for row in run.heights if row.get("bytes") is not None]
    if not rows:
        return None
    bins = _binned(len(rows))
    at = [rows[b[0]]["height"] for b in bins]

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, 2)
        for axes, name, label, scale in zip(
            panels, ("bytes", "txs"), ("KiB per block", "transactions per block"), (1024, 1),
            strict=True,
        ):  # fmt: skip
            axes.plot(at, [fmean(rows[i][name] for i in b) / scale for b in bins], lw=1.2,
                      color=SERIES[0])  # fmt: skip
            axes.set_ylim(bottom=0)
            plain(axes, x="height", y=label)

    title = "Size of a block"
    return Plot(title, "", inline(draw, WIDTH, 2.4, title))


RESOURCES: tuple[tuple[str, str, float], ...] = (
    ("cpu_s", "CPU, seconds", 1),
    ("rss_max_mib", "memory, MiB at most", 1),
    ("disk_bytes", "disk, MiB", 2**20),
    ("sent_bytes", "sent, MiB", 2**20),
    ("received_bytes", "received, MiB", 2**20),
)


def resources(run: RunFolder) -> Plot | None:
    """CPU, memory, disk and network by daemon."""
    panels = [
        (label, [(node.get(name) or 0) / scale for node in run.nodes])
        for name, label, scale in RESOURCES
        if any(node.get(name) is not None for node in run.nodes)
    ]
    if not panels:
        return None
    names = [str(node.get("name", i)) for i, node in enumerate(run.nodes)]

    def draw(figure: Any) -> None:
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, values) in zip(every, panels, strict=True):
            axes.barh(names, values, 0.7, color=SERIES[0])
            axes.margins(x=0.08)
            axes.locator_params(axis="x", nbins=3)
            plain(axes, x=label, grid="x")
        every[0].invert_yaxis()

    title = "CPU, memory, disk and network by daemon"
    return Plot(title, "", inline(draw, WIDTH, 0.9 + 0.24 * len(names), title))


def scaling(run: RunFolder) -> Plot | None:
    """Goodput and commit time over the number of nodes."""
    curves = _series(run, "n")
    if not curves:
        return None

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for i, (name, rows) in enumerate(curves.items()):
            how = {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)], "ms": 4.5}
            n = [value for value, _ in rows]
            left.plot(n, [s["goodput_tx_s"] for _, s in rows], label=name, **how)
            right.plot(n, [s["commit_ms"]["p50"] for _, s in rows], **how)
        for axes, label in ((left, "goodput, transactions/s"), (right, "commit, p50 ms")):
            axes.set_ylim(bottom=0)
            plain(axes, x="nodes", y=label)
        legend(left, 2)

    title = "Scaling with the number of nodes"
    return Plot(title, "", inline(draw, WIDTH, 2.9, title))


def crossover(run: RunFolder) -> Plot | None:
    """Commit time over the share of heights in which a link fails."""
    curves = _series(run, "fail")
    if not curves:
        return None
    # Means, as P0 has them: where some heights fall back and some do not, a median shows neither.
    times = {
        name: {round(value): float(mean) for value, s in rows if (mean := _mean_ms(s)) is not None}
        for name, rows in curves.items()
    }
    pbft = next((rows for name, rows in times.items() if name.split()[0] == "pbft"), {})
    crossings = [
        (name, at) for name, rows in times.items()
        if rows is not pbft and (at := seen_crossover(rows, pbft)) is not None
    ]  # fmt: skip

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for i, (name, rows) in enumerate(times.items()):
            axes.plot(
                list(rows), list(rows.values()), label=name,
                color=SERIES[i % len(SERIES)], marker=MARKERS[i % len(MARKERS)], ms=4.5,
            )  # fmt: skip
        for name, at in crossings:
            colour = SERIES[list(times).index(name) % len(SERIES)]
            axes.axvline(100 * at, color=colour, lw=1, ls="--")
            axes.annotate(
                f"{at:.0%}", (100 * at, 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        plain(axes, x="heights in which the link fails, %", y="commit, mean ms")
        legend(axes)

    title = "Failing links"
    note = "Dashed: from there on a way is slower than PBFT, by two percent and more."
    return Plot(title, note, inline(draw, WIDTH, 2.9, title))


def _mean_ms(summary: Facts) -> float | None:
    """Of ``commit_ms``; folders of earlier builds have medians only."""
    commit = summary["commit_ms"]
    mean: float | None = commit.get("mean", commit["p50"])
    return mean


def _series(run: RunFolder, parameter: str) -> dict[str, list[tuple[float, Facts]]]:
    curves: dict[str, list[tuple[float, Facts]]] = {}
    for entry in run.series:
        if entry["parameter"] == parameter:
            summary = entry["summary"]
            named = [summary["engine"]]
            named += [summary["path"]] if summary["engine"] == "bncm" else []
            label = " ".join(named)
            curves.setdefault(label, []).append((float(entry["value"]), summary))
    return {name: sorted(rows, key=lambda row: row[0]) for name, rows in curves.items()}


PLOTS: tuple[Callable[[RunFolder], Plot | None], ...] = (
    knee, spectrum, over_time, goodput, phases, messages, block_bytes, resources, scaling,
    crossover,
)  # fmt: skip
"""In the order of the page."""


def plain_log(axes: Any) -> None:
    """Numbers, not powers of ten, on a logarithmic y axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)
    axes.tick_params(colors=INK)


def _binned(count: int) -> list[range]:
    """Neighbouring indices together, at most :data:`BINS` groups, none empty."""
    groups = min(count, BINS)
    edges = [i * count // groups for i in range(groups + 1)]
    return [range(low, high) for low, high in pairwise(edges)]
