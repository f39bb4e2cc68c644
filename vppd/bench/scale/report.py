"""What a sweep says: JSON, a page of tables, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vppd.bench.scale.costs import Costs
from vppd.bench.scale.model import MOST_VOTERS, Modelled
from vppd.bench.scale.sites import SITES
from vppd.bench.scale.sweep import MOST_NODES, WAYS, Point
from vppd.errors import UserError

RESULTS, PAGE, PICTURE = "scale.json", "README.md", "scale.svg"
OVERVIEW = (4, 10, 31, 100, 200, 1_000, 10_000)
SHOWN = ("country", "mixed", "continent", "city", "lan")
"""The picture shows the first of these that was simulated."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep."""

    schema: int = 1
    command: str
    txs: int
    """Transfers per block."""
    slower: float
    """How many times slower than measured the cores were taken to be."""
    costs: Costs
    """As used."""
    simulated: list[Point]
    model: list[Modelled]
    """Fitted to the simulated ones; nobody has run these."""


def rows(report: Report) -> list[dict[str, str | int | None]]:
    """One per plant; what is fitted says so."""
    return [_row(entry) for entry in _ordered(report)]


def _ordered(report: Report) -> list[Point | Modelled]:
    both: list[Point | Modelled] = [*report.simulated, *report.model]
    ways, sites = list(WAYS), list(SITES)
    return sorted(both, key=lambda e: (sites.index(e.sites), ways.index(e.way), e.n))


def _row(entry: Point | Modelled) -> dict[str, str | int | None]:
    return {
        "sites": entry.sites,
        "way": entry.way if entry.delegates is None else f"{entry.way} ({entry.delegates} vote)",
        "n": entry.n,
        "from": "simulation" if isinstance(entry, Point) else "model",
        "commit_ms": _short(entry.commit_ms),
        "messages": _short(entry.messages),
        "kib": _short(entry.kib),
        "core_ms": _short(entry.core_ms),
        "busiest_core_ms": _short(entry.busiest_core_ms),
        "off": f"{entry.off:+.0%}" if isinstance(entry, Modelled) else None,
    }


def _short(value: float) -> str:
    """Three significant digits, no exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def write(folder: Path, report: Report) -> None:
    """JSON, page and picture.

    Raises:
        UserError: E430, the extra ``bench`` is missing; E451, they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(report), indent=1)
        (folder / RESULTS).write_bytes(encoded + b"\n")
        (folder / PAGE).write_text(page(report), encoding="utf-8")
        draw(folder / PICTURE, report)
    except OSError as err:
        raise UserError(
            "E451",
            "the results cannot be written",
            facts={"folder": str(folder), "why": str(err)},
            hint="--out FOLDER, one that this user may write to",
        ) from err


def load(path: Path) -> Report:
    """A report that was written before.

    Raises:
        UserError: E450.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as err:
        raise UserError(
            "E450",
            "not the results of a sweep",
            facts={"file": str(path), "why": str(err)},
            hint="vppd bench scale --out FOLDER writes some",
        ) from err


def page(report: Report) -> str:
    """The results for people, in Markdown."""
    writes = report.costs.write_us
    lines = [
        "# Scale by simulation",
        "",
        f"Made by `{report.command}`.",
        f"Rows *from simulation* are the shipped machine on virtual time, at most {MOST_NODES}",
        "nodes, with measured costs per message; rows from the *model* are a curve fitted to them,",
        "which nobody has run: *off* says how far the same fit without the largest simulated plant",
        "misses that one's commit time. What is assumed, and what it means for large plants, is in",
        "[docs/scale.md](../../../docs/scale.md). A certificate names at most",
        f"{MOST_VOTERS} voters: larger plants in which all vote are what they would cost, not what",
        "this release does.",
        "",
        f"![commit time, messages and bytes by size]({PICTURE})",
        "",
        f"Each block holds {report.txs} transfers. `commit_ms`: from sending the proposal until",
        "enough replicas have decided, median; `messages` and `kib`: per height, without reply,",
        "status and sync; `core_ms`: CPU per height of the median node, and of the busiest one.",
        "",
        "| sites | way | n | from | commit_ms | messages | kib | core_ms | busiest | off |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|",
        *(
            "| " + " | ".join("–" if v is None else str(v) for v in row.values()) + " |"
            for row in rows(report)
        ),
        "",
        f"Measured costs, cores taken to be {report.slower:g} times as slow:",
        "",
        *(f"- {name}: {value}" for name, value in report.costs.machine.items()),
        f"- a signature checked {report.costs.verify_us:g} µs, made {report.costs.sign_us:g} µs;",
        f"  a turn {report.costs.turn_us:g} µs and {report.costs.step_us:g} µs per message;",
        f"  a frame {report.costs.frame_us:g} µs at either side; a promise durable in",
        f"  {writes[len(writes) // 2] / 1_000:g} ms (median)",
        *(
            f"- a `{kind}` taken in: {cost:g} µs without its signatures"
            for kind, cost in report.costs.receive_us.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def overview(report: Report, place: str) -> str:
    """Commit times and messages of a few sizes as a table in Markdown, for docs/scale.md."""
    entries = {(e.way, e.n): e for e in _ordered(report) if e.sites == place}
    sizes = [n for n in OVERVIEW if any(size == n for _, size in entries)]
    titles = [f"{n:,}" if n <= MOST_NODES else f"{n:,} (model)" for n in sizes]
    lines = [
        f"| {place}: ms to commit / messages per height | " + " | ".join(titles) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for way in dict.fromkeys(way for way, _ in entries):
        cells = [_brief(entries.get((way, n))) for n in sizes]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _brief(entry: Point | Modelled | None) -> str:
    if entry is None:
        return "–"
    return f"{_short(entry.commit_ms)} / {_short(entry.messages)}"


def draw(path: Path, report: Report) -> None:
    """Commit time, messages and bytes by size; dashed where it is the model's.

    Raises:
        UserError: E430.
    """
    try:
        import matplotlib as mpl
    except ImportError as err:
        raise UserError(
            "E430",
            "a library for drawing is missing",
            facts={"missing": str(err.name)},
            hint="pip install 'vppd[bench]'",
        ) from err
    mpl.use("svg")
    from matplotlib import pyplot

    places = {point.sites for point in report.simulated}
    place = next(name for name in SHOWN if name in places)
    panels = (
        ("commit_ms", "commit, ms"),
        ("messages", "messages per height"),
        ("kib", "KiB per height"),
    )
    with mpl.rc_context({"svg.hashsalt": "vppd", "font.size": 9}):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 4), layout="constrained")
        for axis, (field, label) in zip(axes, panels, strict=True):
            for i, way in enumerate(w for w in WAYS if any(p.way == w for p in report.simulated)):
                _curve(axis, report, (place, way, field), f"C{i}")
            axis.axvline(MOST_NODES, color="0.8", linewidth=1, zorder=0)
            axis.set(xscale="log", yscale="log", xlabel="nodes", ylabel=label)
        axes[0].legend(frameon=False)
        figure.suptitle(f"sites: {place}; dashed: fitted model, not simulated")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _curve(axis: Any, report: Report, which: tuple[str, str, str], colour: str) -> None:
    field = which[2]

    def line(entries: Sequence[Point | Modelled]) -> tuple[list[int], list[float]]:
        chosen = sorted((e.n, getattr(e, field)) for e in entries if (e.sites, e.way) == which[:2])
        return [n for n, _ in chosen], [value for _, value in chosen]

    sizes, values = line(report.simulated)
    axis.plot(sizes, values, "o-", color=colour, markersize=3, linewidth=1.2, label=which[1])
    larger, expected = line(report.model)
    if larger:
        axis.plot(
            [*sizes[-1:], *larger], [*values[-1:], *expected], "--", color=colour, linewidth=1
        )
