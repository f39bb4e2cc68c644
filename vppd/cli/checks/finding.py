"""What a check found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How good it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """The check could not be done; nothing is known."""


class Finding(NamedTuple):
    """One line of the doctor."""

    check: str
    verdict: Verdict
    says: str
    hint: str = ""
    """What to try."""


def ok(check: str, says: str) -> Finding:
    """As it should be."""
    return Finding(check, Verdict.OK, says)


def warn(check: str, says: str, hint: str) -> Finding:
    """The node works, and something threatens it."""
    return Finding(check, Verdict.WARN, says, hint)


def fail(check: str, says: str, hint: str) -> Finding:
    """The node does not start, does not vote, or is not safe like this."""
    return Finding(check, Verdict.FAIL, says, hint)


def unknown(check: str, says: str, hint: str = "") -> Finding:
    """Could not be found out, and why."""
    return Finding(check, Verdict.UNKNOWN, says, hint)
