"""What a run measured, on which machine, and how near it came to its limits, in one HTML file.

Nothing is loaded from anywhere: plots are SVG in the page. The figures are those of
``summary.json``; an INVALID run is stamped before anything else is shown.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from vppd import __version__
from vppd.bench.figures import PLOTS
from vppd.bench.plots import CSS_VARIABLES
from vppd.bench.readback import Facts, RunFolder, read_folder, writing

REPORT = "report.html"
LOST = ("dropped", "timeouts")
"""Figures that count transactions which were not committed; what was refused was sent again."""


class Share(NamedTuple):
    """A result beside the physical limit of the same run."""

    result: str
    limit: str
    share: str


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder, in place of an older one.

    Args:
        folder: what ``vppd bench run`` or ``saturate`` wrote.

    Returns:
        The file.

    Raises:
        UserError: E444, the folder is none of a run; E439, it cannot be written to; E430, nothing
            to draw with.
    """
    page = render(read_folder(folder))
    with writing(folder):
        handle, name = tempfile.mkstemp(dir=folder, prefix=".report-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(name).chmod(0o644)
        return Path(name).replace(folder / REPORT)


def render(run: RunFolder) -> str:
    """The page."""
    summary = run.summary
    title = f"vppd bench: {_headline(summary)}"
    plots = [plot for make in PLOTS if (plot := make(run)) is not None]
    parts = [
        f"<h1>{escape(_headline(summary))}</h1>",
        _stamp(run),
        _remarks(summary),
        _tiles(summary),
        _section("Near the limits", _shares_table(shares(summary, _cores(run.env)))),
        _of_run(run),
        *(
            f'<section><h2>{escape(p.title)}</h2><div class="plot">{p.svg}</div>'
            f"{f'<p>{escape(p.note)}</p>' if p.note else ''}</section>"
            for p in plots
        ),
        _section("Runs", _runs_table(run.runs)) if len(run.runs) > 1 else "",
        _section("Daemons", _nodes_table(run.nodes)) if run.nodes else "",
        _section("Parameters", _facts(_parameters(run.plan))),
        _section("Machine", _facts(run.env)) if run.env else "",
        _section("Again", f"<pre>{escape(run.command)}</pre>") if run.command else "",
        f"<footer>vppd {__version__}</footer>",
    ]
    return _PAGE.format(title=escape(title), css=_css(), body="\n".join(filter(None, parts)))


def shares(summary: Facts, cores: int | None = None) -> list[Share]:
    """Each result as a share of the limit that was measured in the same run.

    Args:
        summary: of the run.
        cores: of its machine, or of all of them.
    """
    limits = summary.get("limits") or {}
    n = summary.get("n") or 1
    found = []
    verifies = limits.get("verify_per_s_all_cores")
    if verifies and summary.get("signed", True):
        ceiling = verifies / n
        share = summary.get("share_of_verify_limit")
        share = summary["goodput_tx_s"] / ceiling if share is None else share
        found.append(
            Share(
                f"goodput {number(summary['goodput_tx_s'])} transactions/s",
                f"{number(verifies)} signature checks/s on all cores ÷ {n} replicas = "
                f"{number(ceiling)}/s",
                f"{100 * share:.1f} %",
            )
        )
    fsync = limits.get("fsync_ms") or {}
    for p in ("p50", "p99"):
        commit = (summary.get("commit_ms") or {}).get(p)
        if commit is not None and fsync.get(p):
            found.append(
                Share(
                    f"commit {p} {number(commit)} ms",
                    f"one synced write {p} {number(fsync[p])} ms",
                    f"{commit / fsync[p]:.1f} writes",
                )
            )
    trip_us = limits.get("loopback_rtt_us")
    latency = summary["latency_ms"].get("p50")
    if trip_us and latency is not None:
        found.append(
            Share(
                f"latency p50 {number(latency)} ms",
                f"loopback round trip {number(trip_us)} µs",
                f"{latency * 1e3 / trip_us:,.0f} round trips",
            )
        )
    busy = summary.get("cpu_cores")
    if busy is not None and cores:
        said = f"CPU of all daemons {number(busy)} cores"
        found.append(Share(said, f"{number(cores)} cores", f"{100 * busy / cores:.0f} %"))
    return found


def number(value: object) -> str:
    """A figure for people: three digits that count, thousands set apart; – where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1_000):
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _headline(summary: Facts) -> str:
    signed = "signed" if summary.get("signed", True) else "unsigned"
    path = f" {summary['path']}" if summary.get("path") else ""
    return (
        f"{summary.get('engine', '?')}{path}, {summary.get('n', '?')} nodes, "
        f"{summary.get('ledger', '?')} ledger, {summary.get('bytes', '?')}-byte {signed} "
        f"transactions, {_loop(summary)}"
    )


def _loop(summary: Facts) -> str:
    if summary.get("closed") is not None:
        return f"closed loop with {summary['closed']} outstanding"
    return f"open loop at {number(summary.get('rate'))}/s"


def _of_run(run: RunFolder) -> str:
    """Which run the plots by time, height and daemon are of."""
    if len(run.runs) == 1:
        return ""
    return (
        f"<p>Figures are medians of {len(run.runs)} runs; what is plotted by second, height and "
        f"daemon is of run {run.shown}, the one of median goodput.</p>"
    )


def _parameters(plan: Facts) -> Facts:
    inner = plan.get("plan")
    outer = {name: value for name, value in plan.items() if name not in ("command", "plan")}
    return {**outer, **(inner if isinstance(inner, dict) else {})}


def _stamp(run: RunFolder) -> str:
    if run.summary["valid"]:
        return ""
    reasons = run.summary.get("invalid_reasons") or ["no reason given"]
    items = "".join(f"<li>{escape(str(reason))}</li>" for reason in reasons)
    return f'<div class="invalid" role="alert"><strong>INVALID</strong><ul>{items}</ul></div>'


def _remarks(summary: Facts) -> str:
    items = "".join(f"<li>{escape(str(said))}</li>" for said in summary.get("remarks") or ())
    return f'<ul class="remarks">{items}</ul>' if items else ""


def _tiles(summary: Facts) -> str:
    latency, commit = summary["latency_ms"], summary.get("commit_ms") or {}
    fast = summary.get("fast_share")
    lost = [f"{number(summary.get(name))} {name}" for name in LOST]
    lost.append(f"{number(summary.get('rejected'))} refusals")
    tiles = (
        ("goodput", f"{number(summary['goodput_tx_s'])}/s",
         f"{number(summary.get('goodput_ops_s'))} operations/s"),
        ("latency p50", f"{number(latency.get('p50'))} ms",
         f"p99 {number(latency.get('p99'))}, p99.9 {number(latency.get('p999'))}, "
         f"max {number(latency.get('max'))}"),
        ("commit p50", f"{number(commit.get('p50'))} ms", f"p99 {number(commit.get('p99'))}"),
        ("decided fast", "–" if fast is None else f"{100 * fast:.1f} %",
         f"{number(summary.get('messages_per_height'))} messages a height"),
        ("not committed", number(sum(summary.get(name) or 0 for name in LOST)), ", ".join(lost)),
        ("Python outside libsodium", f"{number(summary.get('python_us_per_tx_replica'))} µs",
         "per transaction and replica"),
    )  # fmt: skip
    return '<div class="tiles">' + "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(more)}</small></div>"
        for name, value, more in tiles
    ) + "</div>"  # fmt: skip


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cores(env: Facts) -> int | None:
    """Of this machine, or of the machines of a remote run."""
    hosts = env.get("hosts")
    if hosts:
        return sum(host.get("cores") or 0 for host in hosts.values())
    return env.get("cores")


def _shares_table(rows: Sequence[Share]) -> str:
    if not rows:
        return "<p>The limits of this machine were not measured in this run.</p>"
    return _table(("result", "limit, measured in the same run", "result / limit"), rows)


_RUN_FIGURES = (
    ("goodput, tx/s", ("goodput_tx_s",)), ("p50, ms", ("latency_ms", "p50")),
    ("p99, ms", ("latency_ms", "p99")), ("max, ms", ("latency_ms", "max")),
    ("commit p50, ms", ("commit_ms", "p50")), ("dropped", ("dropped",)),
    ("rejected", ("rejected",)), ("timeouts", ("timeouts",)), ("valid", ("valid",)),
)  # fmt: skip


def _runs_table(runs: Sequence[Facts]) -> str:
    rows = [
        [str(i), *(number(at(run, path)) for _, path in _RUN_FIGURES)]
        for i, run in enumerate(runs, 1)
    ]
    return _table(("run", *(name for name, _ in _RUN_FIGURES)), rows)


def at(facts: Any, path: Sequence[str]) -> Any:
    """The value under nested keys; ``None`` where there is none."""
    for key in path:
        facts = facts.get(key) if isinstance(facts, dict) else None
    return facts


def _nodes_table(nodes: Sequence[Facts]) -> str:
    names = [
        name for name in dict.fromkeys(k for node in nodes for k in node)
        if not any(isinstance(node.get(name), dict | list) for node in nodes)
    ]  # fmt: skip
    return _table(names, ([_short(node.get(name)) for name in names] for node in nodes))


def _short(value: object) -> str:
    return f"{value[:16]}…" if isinstance(value, str) and len(value) > 24 else number(value)


def _facts(facts: Facts) -> str:
    rows = [[name, text] for name, text in _flat(facts)]
    return _table(("name", "value"), rows)


def _flat(facts: Facts, before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{before}{name}", said or "none"


def _css() -> str:
    def declared(mode: str) -> str:
        return "".join(f"{name}:{value};" for name, value in CSS_VARIABLES[mode].items())

    return (
        f":root{{color-scheme:light dark;--page:#ffffff;--ink:#1b1b1e;--card:#f5f5f7;"
        f"--red:#b00020;{declared('light')}}}"
        f"@media (prefers-color-scheme:dark){{:root{{--page:#151518;--ink:#ececf0;--card:#202026;"
        f"--red:#ff6b6b;{declared('dark')}}}}}" + _CSS
    )


_CSS = """
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
h1{font-size:1.35rem;line-height:1.3;margin:0 0 1rem}
h2{font-size:1.05rem;margin:2.2rem 0 .5rem}
p{margin:.3rem 0;color:var(--muted)}
.invalid{border:3px solid var(--red);color:var(--red);padding:.6rem 1rem;margin:0 0 1rem}
.invalid strong{font-size:1.6rem;letter-spacing:.15em}
.invalid ul{margin:.2rem 0 0;padding-left:1.2rem}
.remarks{border-left:3px solid var(--s1);margin:0 0 1rem;padding:.2rem 0 .2rem 1.6rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:.6rem}
.tiles div{background:var(--card);padding:.6rem .8rem;border-radius:.4rem}
.tiles span,.tiles small{display:block;color:var(--muted);font-size:.82rem}
.tiles b{font-size:1.35rem;font-weight:600}
.plot svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--faint);
vertical-align:top}
th{color:var(--muted);font-weight:500}
pre{background:var(--card);padding:.7rem .9rem;border-radius:.4rem;overflow-x:auto}
footer{margin-top:3rem;color:var(--muted);font-size:.82rem}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
</body>
</html>
"""
