"""Identities that run twice: agreement whatever the network does."""

from __future__ import annotations

import msgspec
import pytest

from tests.simulate import broken
from vppd.config.genesis import Engine
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

PBFT, COLLECT, BROADCAST, BOTH = (
    Scope(engine=Engine("pbft")),
    Scope(path="collect"),
    Scope(path="broadcast"),
    Scope(path="auto"),
)
SCOPES = (PBFT, COLLECT, BROADCAST)


def on(scope: Scope, n: int, doubled: int = 1) -> Scope:
    """The same engine and path in another plant."""
    return msgspec.structs.replace(scope, n=n, doubled=doubled)


def test_the_small_scope_is_what_it_says() -> None:
    scope = Scope()
    assert len(scope.splits()) == 15
    assert size(scope, 3) == 216_000
    assert size(Scope(n=7, doubled=2), 1) == 7 * 255
    assert len({numbered(scope, 2, k) for k in range(size(scope, 2))}) == 3_600
    assert sorted(spread(3_600, 10_000)) == list(range(3_600))
    first_rounds = {numbered(scope, 3, k)[0] for k in spread(size(scope, 3), 600)}
    assert len(first_rounds) == 60


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_scenarios_of_two_views(scope: Scope) -> None:
    report = run_numbered(scope, 2, spread(size(scope, 2), 450))
    assert not report.violations, report.violations[:3]
    assert report.scenarios == 450
    assert report.decided > 350
    assert report.convicted > 30


@pytest.mark.parametrize("scope", [*SCOPES, BOTH], ids=str)
def test_scenarios_of_three_views(scope: Scope) -> None:
    report = run_numbered(scope, 3, spread(size(scope, 3), 400))
    assert not report.violations, report.violations[:3]
    assert report.decided > 330
    assert report.views > 600
    assert report.convicted > 66


@pytest.mark.parametrize(
    ("scope", "count"),
    [
        (PBFT, 60),
        (COLLECT, 60),
        (BROADCAST, 60),
        (BOTH, 60),
        (on(BOTH, 6), 40),
        (on(PBFT, 7, 2), 20),
        (on(COLLECT, 7, 2), 20),
        (on(BROADCAST, 7, 2), 20),
    ],
    ids=str,
)
def test_seven_views_by_chance_and_progress_after_healing(scope: Scope, count: int) -> None:
    report = run_drawn(scope, 7, range(count))
    assert not report.violations, report.violations[:3]
    assert report.scenarios == count
    assert report.convicted > count // 4
    assert report.views > 2 * count


def test_both_paths_are_taken_and_every_wait_ends_for_every_cause() -> None:
    """On ``auto`` copies of one leader contradict each other about paths, too."""
    report = run_drawn(BOTH, 7, range(200, 240))
    assert not report.violations, report.violations[:3]
    assert set(report.decisions) == {"fast", "fast_exit", "slow", "learnt"}
    assert set(report.fallbacks) >= {"grace", "leader", "prepares", "replica_timer"}


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
