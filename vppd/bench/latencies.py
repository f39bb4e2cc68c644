"""Latencies: percentiles, and HdrHistograms that can be added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from vppd.errors import UserError
from vppd.stats import percentile

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it has none

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 3
SHARES = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "p999": 0.999}


def summary_ms(samples_us: Sequence[int]) -> dict[str, float | None]:
    """P50, p90, p99, p99.9, the largest and the mean, milliseconds; ``None`` without samples."""
    if not samples_us:
        return dict.fromkeys((*SHARES, "max", "mean"))
    ordered = sorted(samples_us)
    shown = {name: percentile(ordered, share) / 1_000 for name, share in SHARES.items()}
    return {**shown, "max": ordered[-1] / 1_000, "mean": round(fmean(ordered) / 1_000, 3)}


def require_histograms() -> None:
    """That the library is here.

    Raises:
        UserError: E430.
    """
    _histogram()


def encoded(samples_us: Iterable[int]) -> str:
    """An HdrHistogram of microseconds, compressed, in base 64.

    Raises:
        UserError: E430, the library is not installed.
    """
    histogram = _histogram()
    for value in samples_us:
        histogram.record_value(min(max(value, LOWEST_US), HIGHEST_US))
    return str(histogram.encode().decode("ascii"))


def _histogram() -> HdrHistogram:
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as err:
        raise UserError(
            "E430",
            "the bench's own libraries are not installed",
            facts={"missing": err.name or str(err)},
            hint="pip install 'vppd[bench]'",
        ) from err
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
