"""A few simulated plants of each engine and path: the last thing a mutant must get past."""

from __future__ import annotations

import pytest

from vppd.config.genesis import Engine, PathSetting
from vppd.simulate.cluster import simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup

PATHS: tuple[PathSetting, ...] = ("auto", "collect", "broadcast")


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("n", [4, 5, 6])
def test_bncm(n: int, seed: int) -> None:
    outcome = simulate(Setup(n=n, path=PATHS[seed % 3]), seed)
    assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("n", [4, 5])
def test_pbft(n: int, seed: int) -> None:
    outcome = simulate(Setup(n=n, engine=Engine("pbft")), seed)
    assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


@pytest.mark.parametrize("path", PATHS)
def test_every_other_height_fails_one_link(path: PathSetting) -> None:
    setup = Setup(
        path=path, delay_us=5_000, faults=parse_sets("none"), fail=((3, 500_000),), heights=40
    )
    outcome = simulate(setup, 1)
    assert outcome.violation is None
    assert sum(outcome.commit_us) <= 100_000 * len(outcome.commit_us)
