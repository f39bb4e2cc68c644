"""Identities that run twice: agreement whatever the network does."""

from __future__ import annotations

import pytest

from tests.simulate import broken
from vppd.simulate.checkers import Violation
from vppd.simulate.twins import (
    Round,
    Scope,
    Stage,
    TwinsReport,
    drawn,
    numbered,
    play,
    run_drawn,
    run_numbered,
    run_twins,
    size,
    spread,
)

FAST = (False, True)


def test_the_small_scope_is_what_it_says() -> None:
    scope = Scope()
    assert len(scope.splits()) == 15
    assert size(scope, 3) == 216_000
    assert size(Scope(n=7, doubled=2), 1) == 7 * 255
    assert len({numbered(scope, 2, k) for k in range(size(scope, 2))}) == 3_600
    assert sorted(spread(3_600, 10_000)) == list(range(3_600))
    first_rounds = {numbered(scope, 3, k)[0] for k in spread(size(scope, 3), 600)}
    assert len(first_rounds) == 60


@pytest.mark.parametrize("fast_exit", FAST)
def test_every_scenario_of_two_views(fast_exit: bool) -> None:
    scope = Scope(fast_exit=fast_exit)
    report = run_numbered(scope, 2, range(0, size(scope, 2), 4))
    assert not report.violations, report.violations[:3]
    assert report.scenarios == 900
    assert report.decided > 700
    assert report.convicted > 60


@pytest.mark.parametrize("fast_exit", FAST)
def test_scenarios_of_three_views(fast_exit: bool) -> None:
    scope = Scope(fast_exit=fast_exit)
    report = run_numbered(scope, 3, spread(size(scope, 3), 600))
    assert not report.violations, report.violations[:3]
    assert report.decided > 500
    assert report.views > 900
    assert report.convicted > 100


@pytest.mark.parametrize(
    ("scope", "count"),
    [
        (Scope(), 150),
        (Scope(fast_exit=True), 150),
        (Scope(n=6, fast_exit=True), 60),
        (Scope(n=7, doubled=2), 40),
        (Scope(n=7, doubled=2, fast_exit=True), 40),
    ],
    ids=str,
)
def test_seven_views_by_chance_and_progress_after_healing(scope: Scope, count: int) -> None:
    report = run_drawn(scope, 7, range(count))
    assert not report.violations, report.violations[:3]
    assert report.scenarios == count
    assert report.convicted > count // 4
    assert report.views > 2 * count


def test_parts_in_two_processes_sum_up_to_the_whole() -> None:
    scope, total = Scope(), TwinsReport()
    for part in run_twins(scope, 2, range(64), 2, by_chance=True):
        total.add(part)
    assert total == run_drawn(scope, 2, range(64))


def test_a_scenario_is_a_function_of_its_seed() -> None:
    assert drawn(Scope(), 7, 5) == drawn(Scope(), 7, 5)
    assert drawn(Scope(), 7, 5) != drawn(Scope(), 7, 6)


# ---------------------------------------------------------------- it can fail


def test_one_doubled_identity_too_many_forks() -> None:
    """n = 4 with two identities doubled: each half of the network has a quorum of its own."""
    both = (False, False, False, True, True, True)  # 0, 1, 2 | 3 and the doubles of 0 and 1
    stage = Stage(Scope(doubled=2), (Round(0, (both,)),))
    with pytest.raises(Violation, match="fork at height 1"):
        stage.run()


@pytest.mark.parametrize(
    ("make_engine", "scope"),
    [
        (broken.SmallQuorum, Scope(n=5)),
        (broken.ClaimsNothing, Scope()),
    ],
)
def test_broken_engines_are_caught(make_engine: type[broken.Broken], scope: Scope) -> None:
    report = TwinsReport()
    for seed in range(300):
        play(Stage(scope, drawn(scope, 7, seed), make_engine), seed, report, heal=False)
        if report.violations:
            return
    pytest.fail(f"{make_engine.__name__} passes {report.scenarios} scenarios")
