"""A portion of the random walks; ``python -m tests.consensus.walk`` goes on from here."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.consensus.walk import walk
from vppd.config.genesis import PathSetting
from vppd.consensus.profile import BNCM, PBFT, EngineProfile

KINDS: tuple[tuple[EngineProfile, PathSetting], ...] = (
    (PBFT, "broadcast"), (BNCM, "collect"), (BNCM, "broadcast"), (BNCM, "auto"),
)  # fmt: skip


@pytest.mark.parametrize(("profile", "path"), KINDS, ids=lambda kind: getattr(kind, "name", kind))
@pytest.mark.parametrize("seed", range(20))
def test_no_timing_breaks_agreement_and_good_weather_brings_progress(
    seed: int, profile: EngineProfile, path: PathSetting
) -> None:
    group = walk(1 + seed % 10, seed, profile, path=path)
    assert max(group.heights()) >= 3


@pytest.mark.parametrize(("profile", "path"), KINDS[:2], ids=["pbft", "bncm"])
def test_the_walks_change_leaders(profile: EngineProfile, path: PathSetting) -> None:
    assert sum(max(walk(4, seed, profile, 1_000, path).views()) for seed in range(8)) > 8


def test_the_walks_go_every_way() -> None:
    ways: Counter[str] = Counter()
    for seed in range(6):
        ways += walk(4, seed, BNCM, path="collect").ways()
        ways += walk(4, seed, BNCM, path="broadcast").ways()
    assert set(ways) == {
        "fast", "fast_exit", "slow", "learnt",
        "grace", "hold", "leader", "prepares", "replica_timer",
    }, ways  # fmt: skip
