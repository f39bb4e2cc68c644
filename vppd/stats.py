"""Summing up samples: nearest-rank percentiles."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[int], share: float) -> int:
    """Nearest-rank percentile of a sorted, non-empty sequence."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary_ms(samples_us: Sequence[int]) -> dict[str, float | None]:
    """Mean, p50 and p99 in milliseconds of samples in microseconds; ``None`` without samples."""
    if not samples_us:
        return {"mean": None, "p50": None, "p99": None}
    ordered = sorted(samples_us)
    return {
        "mean": round(sum(ordered) / len(ordered) / 1_000, 3),
        "p50": percentile(ordered, 0.50) / 1_000,
        "p99": percentile(ordered, 0.99) / 1_000,
    }
