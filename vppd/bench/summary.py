"""What a run came to, in the keys that are promised to stay (docs/bench.md)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec
from msgspec.structs import replace

Percentiles = dict[str, float | None]


class LimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Of this machine, in the same run."""

    verify_per_s_all_cores: float
    fsync_ms: dict[str, float]
    loopback_rtt_us: float
    verify_us: float = 0.0
    """CPU of one check, with all cores at it; 0: not known."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run; of several, each figure's median."""

    engine: str
    path: str
    n: int
    ledger: str
    signed: bool
    ops_per_tx: int
    bytes: int
    """Of one transaction on the wire, mean."""
    sync: str
    tls: bool
    rate: float | None
    """Offered transactions per second; ``None``: a closed loop."""
    goodput_tx_s: float
    """Committed within the measured time, per second."""
    goodput_ops_s: float
    latency_ms: Percentiles
    """From when a transaction was to be sent until its client knew it committed."""
    commit_ms: Percentiles
    """From a proposal until its decision was durable at q nodes."""
    dropped: int
    rejected: int
    """Refusals; a refused transaction is sent again, and may have been committed."""
    timeouts: int
    fast_share: float | None
    """Of the decisions of nodes that voted, those on first-round votes alone."""
    messages_per_height: float | None
    """Between nodes, without gossip, status and ping."""
    limits: LimitsShown
    share_of_verify_limit: float | None
    """Goodput times nodes, of the signature checks that all cores can do."""
    python_us_per_tx_replica: float | None
    rss_mib: float | None
    """Of the largest daemon, at the end of the measured time."""
    cpu_cores: float | None
    """Cores that all daemons kept busy."""
    valid: bool
    invalid_reasons: tuple[str, ...]
    closed: int | None = None
    """Outstanding transactions of a closed loop, whose latency says nothing about a rate."""
    finality: str = "locked"
    """What makes a block final; ``paper-majority``: half of the votes, as P4 has it."""
    unsafe: bool = False
    """Whether the engine is one that forks without anybody's fault."""
    forks: int = 0
    """Heights at which two nodes have decided different blocks."""
    remarks: tuple[str, ...] = ()
    """What is to be known of the run beside its figures, in plain words."""
    runs: tuple[Summary, ...] = ()
    """Of several runs, each by itself."""


def python_us(cpu_s: float, txs: float, replicas: int, verify_us: float | None) -> float | None:
    """CPU outside libsodium, per transaction and replica, in microseconds.

    (CPU of all daemons − transactions · replicas · CPU of one check) ÷ (transactions · replicas):
    what Python, SQLite, TLS and the kernel take. Each replica checks each signature once.

    Args:
        cpu_s: of all daemons in the measured time.
        txs: committed in it.
        replicas: daemons.
        verify_us: CPU time of one check; ``None``: transactions are not signed.
    """
    if txs <= 0:
        return None
    return cpu_s * 1e6 / (txs * replicas) - (verify_us or 0.0)


def medians(runs: Sequence[Summary]) -> Summary:
    """One summary for several runs of one plan: medians figure by figure; invalid if any is."""
    if len(runs) == 1:
        return runs[0]
    reasons = tuple(
        f"run {i}: {reason}" for i, run in enumerate(runs, 1) for reason in run.invalid_reasons
    )
    rows: list[dict[str, Any]] = [msgspec.to_builtins(run) for run in runs]
    middle = {name: _middle([row[name] for row in rows]) for name in rows[0] if name != "runs"}
    middle |= {
        "valid": not reasons,
        "invalid_reasons": reasons,
        "forks": sum(run.forks for run in runs),
        "remarks": list(dict.fromkeys(remark for run in runs for remark in run.remarks)),
    }
    return replace(msgspec.convert(middle, Summary), runs=tuple(runs))


def _middle(values: Sequence[Any]) -> Any:
    """Median of numbers, key by key of dicts; what is no number is the same in all."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _middle([value[key] for value in values]) for key in first}
    if isinstance(first, str | bool | list):
        return first
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return median(numbers) if isinstance(first, float) else _exact(numbers)


def _exact(numbers: Sequence[int | float]) -> int | float:
    """The lower median, so that a count stays whole."""
    return sorted(numbers)[(len(numbers) - 1) // 2]
