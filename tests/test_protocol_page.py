"""docs/protocol.md: its numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vppd.consensus import flight, policy
from vppd.consensus.flight import Cause, Waiting
from vppd.consensus.outbox import Outbox
from vppd.consensus.quorum import Quorums, quorums
from vppd.consensus.viewchange import HAND_BACK_AFTER, REFRESH_LEADER_AFTER

PAGE = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text(encoding="utf-8")


def row(name: str) -> list[int]:
    """Numbers of a line of the table of quorums."""
    found = re.search(rf"^\| {name} \|((?: \d+ \|)+)$", PAGE, re.MULTILINE)
    assert found is not None, name
    return [int(cell) for cell in found[1].strip("| ").split(" | ")]


@pytest.mark.parametrize(
    ("symbol", "field"),
    [("f", "f"), ("p", "p"), ("q", "vote"), ("F", "fast"), ("w", "view_change"), ("τ", "claim")],
)
def test_the_quorums_are_the_code_s(symbol: str, field: str) -> None:
    sizes = row("n")
    assert sizes == list(range(1, 11))
    assert row(symbol) == [getattr(quorums(n), field) for n in sizes]


def test_the_example_of_slack_is_one() -> None:
    assert "n = 10, f = 2 has p = 1" in PAGE
    assert quorums(10, 2).p == 1
    assert set(Quorums._fields) == {"n", "f", "p", "vote", "fast", "view_change", "claim"}


def test_every_cause_of_a_fallback_is_listed() -> None:
    _, _, section = PAGE.partition("\n## Fallback")
    listed = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(listed) == sorted(cause.value for cause in Cause)


def test_the_first_lengths_of_the_timers_are_the_code_s() -> None:
    waiting = Waiting(quorums(4), Outbox(), fast_exit=True, view_timeout_ms=2_000)
    for name, length in (
        ("T_grace", waiting.grace_ms),
        ("T_rep", waiting.replica_ms),
        ("T_hold", waiting.hold_ms),
    ):
        found = re.search(rf"^\| {name} \| .* \| (\d+) ms \|$", PAGE, re.MULTILINE)
        assert found is not None
        assert int(found[1]) == length, name


def test_numbers_in_words_are_the_code_s() -> None:
    assert flight.HOLD_STREAK == policy.TRIAL == flight.SAMPLES == 8
    assert flight.GRACE_MS == (2, 250)
    assert (policy.FAILURES, policy.SUCCESSES, policy.BACK_PPM) == (3, 3, 150_000)
    assert f"One block in {policy.PROBE_EVERY}" in PAGE
    assert (HAND_BACK_AFTER, REFRESH_LEADER_AFTER) == (256, 72)
    assert "after 256 heights" in PAGE
    assert "after 72" in PAGE
