"""A run's folder of invented figures, as a runner would write it; for reports and comparisons."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

PLAN = """\
command = "vppd bench run -n 4 --rate 2000 --duration 60 --runs 5"
load = "opaque"

[plan]
engine = "bncm"
path = "auto"
nodes = 4
rate = 2000.0
bytes = 200
duration_s = 50.0
warm_up_s = 2.0
runs = 5
kill = []
seed = 1
fail = [[3, 100000]]
"""


def summary(rng: Random, **changed: Any) -> dict[str, Any]:
    """One run's figures, with the stable keys."""
    p50 = 4 + rng.random()
    figures = {
        "engine": "bncm", "path": "auto", "n": 4, "ledger": "null", "signed": True, "ops_per_tx": 1,
        "bytes": 200, "sync": "full", "tls": True, "rate": 2000.0,
        "goodput_tx_s": 1990 + 10 * rng.random(), "goodput_ops_s": 1995.0,
        "latency_ms": {"p50": p50, "p90": 1.6 * p50, "p99": 3 * p50, "p999": 6 * p50,
                       "max": 10 * p50},
        "commit_ms": {"p50": 2.0, "p90": 2.6, "p99": 4.1, "p999": 6.0, "max": 8.0},
        "dropped": 0, "rejected": 0, "timeouts": 0, "fast_share": 0.93,
        "messages_per_height": 21.4,
        "limits": {"verify_per_s_all_cores": 36_700, "fsync_ms": {"p50": 0.12, "p99": 0.25},
                   "loopback_rtt_us": 60.0},
        "share_of_verify_limit": 0.22, "python_us_per_tx_replica": 11.5, "rss_mib": 120.0,
        "cpu_cores": 1.7, "closed": None, "valid": True, "invalid_reasons": [],
    }  # fmt: skip
    return {**figures, **changed}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_run(
    folder: Path, *, seed: int = 1, runs: int = 5, plan: str = PLAN, bare: bool = False,
    **changed: Any,
) -> Path:  # fmt: skip
    """Write a folder; ``bare``: only what every folder has."""
    rng = Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(plan, encoding="utf-8")
    each = [summary(rng, **changed) for _ in range(runs)]
    whole = {**each[runs // 2], **({"runs": each} if runs > 1 else {})}
    (folder / "summary.json").write_text(json.dumps(whole), encoding="utf-8")
    if bare:
        return folder
    env = {"cpu": "a <processor> & more", "cores": 2, "kernel": "6.1", "python": "3.11.2",
           "libraries": {"pynacl": "1.6.2"}, "load_before": [0.1, 0.2, 0.3],
           "load_after": [2.3, 1.0, 0.4]}  # fmt: skip
    (folder / "env.json").write_text(json.dumps(env), encoding="utf-8")
    seconds = [
        {"t_s": s, "sent": 2000 + rng.randrange(60), "committed": 1990 + rng.randrange(60),
         "p50_ms": 4 + rng.random(), "p99_ms": 12 + 9 * rng.random(),
         "max_ms": 20 + 60 * rng.random()}
        for s in range(60)
    ]  # fmt: skip
    inner = [folder] if runs == 1 else [folder / f"run-{i + 1}" for i in range(runs)]
    for one in inner:
        one.mkdir(exist_ok=True)
        held = {"unit": "us", "latency": histogram(rng)}
        (one / "latency.hgrm.json").write_text(json.dumps(held), encoding="utf-8")
    shown = inner[sorted(range(runs), key=lambda i: each[i]["goodput_tx_s"])[(runs - 1) // 2]]
    write_lines(shown / "samples.jsonl.gz", seconds)
    heights, view = [], 0
    for i in range(900):
        fell = rng.random() < 0.05
        view += rng.random() < 0.002
        heights.append(
            {"height": i + 1, "t_s": i / 15, "txs": 130 + rng.randrange(20),
             "bytes": 27_000 + rng.randrange(3_000), "path": "slow" if fell else "fast_exit",
             "view": view, "persist_ms": 0.3 + 0.2 * rng.random(),
             "propose_to_decide_ms": 2 + rng.random() + 2 * fell, "collect_ms": 1 + rng.random(),
             "execute_ms": 1.2 + rng.random(), "fallback": "grace" if fell else None}
        )  # fmt: skip
    write_lines(shown / "heights.jsonl.gz", heights)
    nodes = [
        {"name": name, "cpu_s": 20 + rng.random(), "rss_idle_mib": 50, "rss_max_mib": 110 + i,
         "sent_bytes": 90_000_000, "received_bytes": 80_000_000, "disk_bytes": 7e7, "fsyncs": 2_700,
         "frames_sent": {"block": 2_700 if i == 0 else 0, "collected": 800, "prepare": 40,
                    "commit": 40, "reply": 900},
         "head": "ab" * 32}
        for i, name in enumerate(("op-0", "der-1", "der-2", "der-3"))
    ]  # fmt: skip
    (shown / "nodes.json").write_text(json.dumps(nodes), encoding="utf-8")
    steps = [
        {"rate": rate, "summary": summary(
            rng, rate=float(rate), goodput_tx_s=min(rate, 7_800.0),
            latency_ms={"p50": 4 + 400 * (rate > 7_800) + rate / 4_000,
                        "p99": 9 + 900 * (rate > 7_800) + rate / 400})}
        for rate in (500, 1_000, 2_000, 4_000, 6_000, 7_000, 8_000, 9_000)
    ]  # fmt: skip
    searched = {"search": steps, "knee": 7_000}
    (folder / "saturate.json").write_text(json.dumps(searched), encoding="utf-8")
    series = [
        {"parameter": name, "value": value, "summary": summary(
            rng, engine=engine, goodput_tx_s=30_000 / (value + 4),
            commit_ms={"p50": ms + value * slope})}
        for name, values, slope in (("n", (4, 7, 10), 0.4), ("fail", (0, 20, 40, 60), 0.05))
        for engine, ms in (("bncm", 2.0), ("pbft", 4.0))
        for value in values
    ]  # fmt: skip
    (folder / "series.json").write_text(json.dumps(series), encoding="utf-8")
    return folder


def histogram(rng: Random, count: int = 20_000) -> str:
    """Latencies of so many transactions, in microseconds."""
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

    made = HdrHistogram(1, 120_000_000, 3)
    for _ in range(count):
        made.record_value(int(4_000 * rng.lognormvariate(0, 0.5)))
    text: str = made.encode().decode()
    return text
