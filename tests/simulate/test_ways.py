"""That runs of bncm really take every path, and fall back for every cause."""

from __future__ import annotations

from collections import Counter

import pytest

from vppd.config.genesis import PathSetting
from vppd.consensus.flight import Cause
from vppd.simulate.cluster import simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.runner import fast_share

SEEDS = range(1, 13)
QUIET = parse_sets("none")


def run(setup: Setup, seed: int) -> Outcome:
    outcome = simulate(setup, seed)
    assert outcome.violation is None, f"seed {seed}, {setup}: {outcome.violation}"
    return outcome


def test_with_all_faults_every_way_and_cause_is_seen() -> None:
    decisions: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    views = 0
    paths: tuple[PathSetting, ...] = ("auto", "collect", "broadcast")
    for seed in SEEDS:
        outcome = run(Setup(n=4 + seed % 4, path=paths[seed % 3]), seed)
        decisions += outcome.decisions
        causes += outcome.fallbacks
        views += outcome.view_changes
    assert set(decisions) == {"fast", "fast_exit", "slow", "learnt"}, f"seeds {SEEDS}"
    assert set(causes) == set(Cause), f"seeds {SEEDS}"
    assert views > 0


@pytest.mark.parametrize(
    ("path", "n", "messages"),
    [("collect", 4, 9), ("collect", 10, 27), ("broadcast", 4, 12), ("broadcast", 10, 90)],
)
def test_when_all_answer_a_height_costs_what_the_protocol_says(
    path: PathSetting, n: int, messages: int
) -> None:
    """3(n−1) collected, n(n−1) broadcast with the commits held back (docs/protocol.md, Paths)."""
    outcome = run(Setup(n=n, path=path, heights=60, faults=QUIET, delay_us=10_000), 3)
    assert fast_share(outcome.decisions) == 1.0
    # On the way to eight fast decisions in a row some commits leave; reminders come on top.
    assert messages <= outcome.messages / outcome.decided <= messages * 1.25


@pytest.mark.parametrize(("path", "delays"), [("collect", 3), ("broadcast", 2)])
def test_a_fast_decision_takes_so_many_message_delays(path: PathSetting, delays: int) -> None:
    outcome = run(Setup(path=path, faults=QUIET, delay_us=50_000), 5)
    assert delays * 50_000 <= min(outcome.commit_us) <= delays * 50_000 + 15_000


def test_a_node_whose_link_always_fails_takes_the_fast_path_with_it() -> None:
    outcome = run(Setup(faults=QUIET, fail=((3, 1_000_000),)), 1)
    assert fast_share(outcome.decisions) == 0.0
    assert outcome.faults["link_failed"] > 0


def test_with_slack_the_fast_path_survives_a_dead_node() -> None:
    """n = 6 has f = 1, p = 1: F = 5."""
    outcome = run(Setup(n=6, faults=QUIET, kill=((5, 3),), heights=40), 1)
    assert outcome.faults["outage"] == 1
    assert (fast_share(outcome.decisions) or 0) > 0.9


def test_a_dead_operators_place_is_taken_by_the_other_one() -> None:
    outcome = run(Setup(operators=2, faults=QUIET, kill=((0, 3),), heights=30), 1)
    assert outcome.views == 1, "view 1 is the second operator's"
    assert outcome.triggers["timeout"] > 0


def test_an_operator_that_is_back_gets_the_lead_back() -> None:
    setup = Setup(heights=40, faults=parse_sets("crash"), delay_us=1_000)
    assert run(setup, 7).triggers["hand_back"] > 0, "seed 7"
