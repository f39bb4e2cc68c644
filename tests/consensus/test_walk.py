"""A portion of the random walks; ``python -m tests.consensus.walk`` goes on from here."""

from __future__ import annotations

import msgspec
import pytest

from tests.consensus.walk import walk
from vppd.consensus.profile import PBFT

FAST = msgspec.structs.replace(PBFT, fast_exit=True)


@pytest.mark.parametrize("profile", [PBFT, FAST], ids=["pbft", "fast exit"])
@pytest.mark.parametrize("seed", range(40))
def test_no_timing_breaks_agreement_and_good_weather_brings_progress(
    seed: int, profile: object
) -> None:
    assert isinstance(profile, type(PBFT))
    group = walk(1 + seed % 10, seed, profile)
    assert max(group.heights()) >= 3


def test_the_walks_change_leaders() -> None:
    assert sum(max(walk(4, seed, PBFT, 1_000).views()) for seed in range(8)) > 8
