"""A run's folder: everything that was measured, and how to measure it again (docs/bench.md)."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from vppd.bench import latencies
from vppd.bench.cores import names
from vppd.bench.plan import Plan, write_plan
from vppd.bench.run import Run
from vppd.bench.samples import NEVER, Samples
from vppd.bench.saturate import Try, knee
from vppd.bench.summary import Summary, medians
from vppd.errors import UserError

PLAN_FILE = "run.toml"
REPORT = "vppd.bench.report"


@contextmanager
def results_folder(out: Path | None, plan: Plan) -> Iterator[Path]:
    """A folder for the results, which is not there afterwards if there were none.

    Raises:
        UserError: E439, it is not empty or cannot be made.
    """
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    engine = names(plan.core, plan.engine, plan.path).engine
    folder = out or Path(f"bench-{at}-{engine}-n{plan.nodes}")
    try:
        ours = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
        if taken is None:
            (folder / PLAN_FILE).touch()
    except OSError as err:
        raise UserError(
            "E439",
            "the folder for the results cannot be used",
            facts={"folder": str(folder), "why": err.strerror or str(err)},
            hint="--out names a folder that is new or empty",
        ) from err
    if taken is not None:
        raise UserError(
            "E439",
            "the folder for the results is not empty, and results are never overwritten",
            facts={"folder": str(folder), "holds": taken.name},
            hint="--out names a folder that is new or empty",
        )
    try:
        yield folder
    finally:
        with suppress(OSError):
            if not (folder / PLAN_FILE).stat().st_size:
                (folder / PLAN_FILE).unlink()
                if ours:
                    folder.rmdir()


def write_results(
    folder: Path,
    runs: Sequence[Run],
    environment: dict[str, Any],
    command: str,
    *,
    search: Sequence[Try] = (),
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Summary:
    """Write every file; several runs have folders of their own beside their medians.

    Args:
        folder: from :func:`results_folder`.
        runs: of one plan.
        environment: see :func:`~vppd.bench.environment.environment`.
        command: that does this again.
        search: rates tried by ``saturate``, in order.
        hosts: of a run on other machines, what is known of each.

    Returns:
        What is in summary.json.
    """
    summary = medians([run.summary for run in runs])
    write_plan(folder / PLAN_FILE, runs[0].plan, runs[0].load, command)
    where = environment | {"load_after": os.getloadavg()}
    _json(folder / "env.json", where | ({"hosts": hosts} if hosts else {}))
    _json(folder / "summary.json", msgspec.to_builtins(summary))
    if search:
        rows = [{"rate": one.rate, "summary": msgspec.to_builtins(one.summary)} for one in search]
        _json(folder / "saturate.json", {"search": rows, "knee": knee(list(search))})
    for i, run in enumerate(runs, 1):
        inner = folder if len(runs) == 1 else folder / f"run-{i}"
        inner.mkdir(exist_ok=True)
        if inner != folder:
            _json(inner / "summary.json", msgspec.to_builtins(run.summary))
        _write_run(inner, run)
    if find_spec(REPORT) is not None:
        import_module(REPORT).write_report(folder)
    return summary


def _write_run(folder: Path, run: Run) -> None:
    unit = {"unit": "us", "lowest": latencies.LOWEST_US, "highest": latencies.HIGHEST_US,
            "digits": latencies.DIGITS}  # fmt: skip
    _json(
        folder / "latency.hgrm.json",
        {
            **unit,
            "latency": latencies.encoded(run.window.latencies_us),
            "accepted": latencies.encoded(run.window.accepted_us),
        },
    )
    _json(folder / "nodes.json", run.nodes)
    _json(folder / "clients.json", msgspec.to_builtins(run.clients))
    _json_lines(folder / "samples.jsonl.gz", by_second(run.samples))
    _json_lines(folder / "heights.jsonl.gz", run.heights)


def by_second(samples: Samples) -> Iterator[dict[str, Any]]:
    """What was due and what was committed in each second; latencies of what was committed in it."""
    sent: dict[int, int] = {}
    committed: dict[int, list[int]] = {}
    for due_us, sent_us, _, committed_us in samples.rows():
        if sent_us != NEVER:
            sent[sent_us // 1_000_000] = sent.get(sent_us // 1_000_000, 0) + 1
        if committed_us != NEVER:
            committed.setdefault(committed_us // 1_000_000, []).append(committed_us - due_us)
    for second in range(max((*sent, *committed), default=-1) + 1):
        shown = latencies.summary_ms(committed.get(second, ()))
        yield {
            "t_s": second,
            "sent": sent.get(second, 0),
            "committed": len(committed.get(second, ())),
            "p50_ms": shown["p50"],
            "p99_ms": shown["p99"],
            "max_ms": shown["max"],
        }


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
