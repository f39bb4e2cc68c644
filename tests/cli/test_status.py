"""``vppd status``: when it exits with 3."""

from __future__ import annotations

from typing import Any

import pytest

from vppd.cli.status import is_healthy


def view(connected: int, **changed: Any) -> dict[str, Any]:
    """Of a voting node that sees so many of the other three."""
    peers = [{"name": f"der-{i}", "connected": i <= connected, "member": True} for i in (1, 2, 3)]
    fine = {
        "role": "operator", "candidate": False, "observer": "", "disk_low": False,
        "ahead_ms": None, "quorum": 3,
    }  # fmt: skip
    return {**fine, "peers": peers, **changed}


@pytest.mark.parametrize(("connected", "healthy"), [(3, True), (2, True), (1, False), (0, False)])
def test_it_takes_a_quorum(connected: int, healthy: bool) -> None:
    assert is_healthy(view(connected)) is healthy


@pytest.mark.parametrize(
    "silent", [{"observer": "the store was recovered"}, {"disk_low": True}, {"ahead_ms": 600_000}]
)
def test_a_node_that_should_vote_and_does_not_is_unhealthy(silent: dict[str, Any]) -> None:
    assert not is_healthy(view(3, **silent))


def test_an_observer_by_role_is_healthy_beside_a_quorum_and_counts_for_none() -> None:
    assert is_healthy(view(3, role="observer"))
    assert not is_healthy(view(2, role="observer"))


def test_a_candidate_that_was_not_elected_is_healthy_and_counts_for_none() -> None:
    assert is_healthy(view(3, candidate=True))
    assert not is_healthy(view(2, candidate=True))


def test_candidates_make_no_quorum() -> None:
    said = view(2)
    said["peers"][0]["member"] = False
    assert not is_healthy(said)
