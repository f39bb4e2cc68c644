"""``--assert``: thresholds on figures of the summary, for those who let a machine look."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from vppd.bench.summary import Summary
from vppd.errors import Exit, UserError

_HOW: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FORM = re.compile(r"\s*([a-z0-9_.]+)\s*(>=|<=|==|>|<)\s*(-?\d+(?:\.\d+)?|true|false)\s*", re.ASCII)


class Expectation(NamedTuple):
    """One threshold."""

    text: str
    key: str
    """``goodput_tx_s``, ``latency_ms.p99`` …"""
    how: str
    value: float

    def missed(self, summary: Summary) -> str | None:
        """What was seen instead; ``None``: it holds."""
        seen: Any = msgspec.to_builtins(summary)
        for part in self.key.split("."):
            seen = seen[part]
        if seen is not None and _HOW[self.how](float(seen), self.value):
            return None
        return f"expected {self.text}, seen {seen}"


def parse_expectation(text: str) -> Expectation:
    """``goodput_tx_s>=1000`` or ``latency_ms.p99 < 50``.

    Raises:
        UserError: E435.
    """
    found = _FORM.fullmatch(text)
    known = _figures()
    if found is None or found[1] not in known:
        why = "no threshold" if found is None else f"there is no figure {found[1]!r}"
        raise UserError(
            "E435",
            f"--assert {text!r}: {why}",
            facts={"figures": ", ".join(known)},
            hint="--assert 'goodput_tx_s>=1000' --assert 'latency_ms.p99<50'",
            exit_code=Exit.USAGE,
        )
    value = {"true": 1.0, "false": 0.0}.get(found[3])
    return Expectation(text, found[1], found[2], float(found[3]) if value is None else value)


def _figures() -> tuple[str, ...]:
    """Every key of the summary that has one number or yes-or-no in it."""
    percentiles = ("p50", "p90", "p99", "p999", "max", "mean")
    return (
        "goodput_tx_s", "goodput_ops_s", "dropped", "rejected", "timeouts", "forks", "fast_share",
        "messages_per_height", "share_of_verify_limit", "python_us_per_tx_replica", "rss_mib",
        "cpu_cores", "valid", "rate", "bytes",
        *(f"latency_ms.{p}" for p in percentiles), *(f"commit_ms.{p}" for p in percentiles),
        "limits.verify_per_s_all_cores", "limits.fsync_ms.p50", "limits.fsync_ms.p99",
        "limits.loopback_rtt_us",
    )  # fmt: skip


def require(expectations: Sequence[Expectation], summary: Summary) -> tuple[str, ...]:
    """What is missed, in words."""
    return tuple(missed for e in expectations if (missed := e.missed(summary)) is not None)
