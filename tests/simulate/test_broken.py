"""Tests of the tests: engines with one broken rule, and the checkers that know no engine."""

from __future__ import annotations

import pytest

from tests.simulate.broken import CASES, SEEDS, Case, catch, run
from vppd.consensus.replica import Replica


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_engine_is_caught_and_the_sound_one_passes(case: Case) -> None:
    caught = catch(case)
    how = "" if case.schedule is None else case.schedule.__name__
    said = f"{case.name}: {how} seed {caught.seed}, {caught.events} events: {caught.violation}"
    assert caught.violation is not None, f"not caught in seeds {SEEDS}: {said}"
    sound = run(case, Replica, caught.seed)
    assert sound.violation is None, f"the sound engine on the same seed: {sound.violation}; {said}"


@pytest.mark.parametrize("case", [c for c in CASES if c.schedule], ids=lambda case: case.name)
def test_the_sound_engine_passes_its_schedules_at_other_instants(case: Case) -> None:
    for seed in range(2, 5):
        outcome = run(case, Replica, seed)
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


def test_four_scripts_end_in_a_real_fork() -> None:
    """Not in a broken promise alone: two nodes hold two blocks at one height."""
    forks = [c.name for c in CASES if "fork at height 1" in str(catch(c).violation)]
    assert forks == ["ForgetsLock", "PrefersCertificate", "AcceptsAnyNewView", "LowThreshold"]
