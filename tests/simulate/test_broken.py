"""Tests of the tests: engines with one broken rule, and the checkers that know no engine."""

from __future__ import annotations

import pytest

from tests.simulate import broken
from tests.simulate.broken import CASES, SEEDS, Case, catch, run
from vppd.consensus.replica import Replica

FORKING = (
    broken.ForgetsLock, broken.PrefersCertificate, broken.AcceptsAnyNewView, broken.LowThreshold,
)  # fmt: skip
"""Their scripts end with two blocks at one height, and not in a broken promise alone."""
SCRIPTED = tuple({(case.schedule, case.plant): case for case in CASES if case.schedule}.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_broken_engine_is_caught_and_the_sound_one_passes(case: Case) -> None:
    caught = catch(case)
    how = "" if case.schedule is None else case.schedule.__name__
    said = f"{case}: {how} seed {caught.seed}, {caught.events} events: {caught.violation}"
    assert caught.violation is not None, f"not caught in seeds {SEEDS}: {said}"
    if case.make_engine in FORKING:
        assert caught.forks == 1, said
    sound = run(case, Replica, caught.seed)
    assert sound.violation is None, f"the sound engine on the same seed: {sound.violation}; {said}"


@pytest.mark.parametrize("case", SCRIPTED, ids=lambda case: f"{case.schedule.__name__}-{case}")
def test_the_sound_engine_passes_every_script_at_other_instants(case: Case) -> None:
    outcome = run(case, Replica, 2)
    assert outcome.violation is None, f"seed 2: {outcome.violation}"
    assert outcome.faults["scripted_loss"] > 0
