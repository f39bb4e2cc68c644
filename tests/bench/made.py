"""Plans, windows and summaries for tests, right in everything that a test does not change."""

from __future__ import annotations

import tomllib
from array import array
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from vppd.bench.plan import Plan
from vppd.bench.samples import NEVER, Samples, Window
from vppd.bench.summary import LimitsShown, Summary
from vppd.bench.validity import Facts
from vppd.bench.watch import Clock

S = 1_000_000_000


def read_plan(path: Path) -> Plan:
    """The plan in a run.toml; TOML has no null."""
    table = tomllib.loads(path.read_text())
    return msgspec.convert({"rate": None} | table["plan"], Plan)


def window(**changed: Any) -> Window:
    """Ten seconds of 100 transactions each, all committed."""
    usual = Window(1_000, 1_000, 1_000, 0, 0, array("I", [5_000]) * 1_000, array("I"))
    return usual._replace(**changed)


def facts(**changed: Any) -> Facts:
    """Of a run that is valid."""
    clocks = [Clock(at * S, 1_700_000_000 * S + at * S) for at in range(12)]
    usual = Facts(
        Plan(rate=100.0), window(), clocks, {}, (), (), 0,
        exhausted=False, late_ms=1.0, in_memory=False, missing=(),
    )  # fmt: skip
    return usual._replace(**changed)


def samples(*rows: tuple[int | None, ...]) -> Samples:
    """Of (due, sent, accepted, committed), milliseconds; ``None``: never."""
    flat = array("I")
    for row in rows:
        flat.extend(NEVER if at is None else 1_000 * at for at in row)
    return Samples(flat)


def summary(**changed: Any) -> Summary:
    """Of a run that is valid."""
    usual = Summary(
        engine="bncm", path="auto", n=4, ledger="market", signed=True, ops_per_tx=1, bytes=140,
        sync="full", tls=True, rate=100.0, goodput_tx_s=100.0, goodput_ops_s=100.0,
        latency_ms={"p50": 5.0, "p90": 6.0, "p99": 9.0, "p999": 9.5, "max": 10.0, "mean": 5.5},
        commit_ms={"p50": 2.0, "p90": 3.0, "p99": 4.0, "p999": 4.5, "max": 5.0, "mean": 2.5},
        dropped=0, rejected=0, timeouts=0, fast_share=1.0, messages_per_height=9.0,
        limits=LimitsShown(
            verify_per_s_all_cores=30_000.0, fsync_ms={"p50": 0.1, "p99": 0.3}, loopback_rtt_us=20.0
        ),
        share_of_verify_limit=0.01, python_us_per_tx_replica=50.0, rss_mib=50.0, cpu_cores=0.5,
        valid=True, invalid_reasons=(),
    )  # fmt: skip
    return replace(usual, **changed)
