"""A little of what the scripts of this package do for hours: real faults on real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import blackout, disk_full, kills, operators, partitions, pauses, torn_node
from vppd.config.genesis import Engine

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.mark.parametrize("engine", ["bncm", "pbft"])
def test_killed_nodes_come_back_and_sign_nothing_twice(tmp_path: Path, engine: str) -> None:
    kills.run(tmp_path / "plant", seed=1, cycles=5, engine=Engine(engine))


def test_operators_lead_while_one_lives_and_get_the_lead_back_from_a_der(tmp_path: Path) -> None:
    operators.run(tmp_path / "plant", seed=1, times=1)


def test_all_killed_at_once_lose_nothing_acknowledged(tmp_path: Path) -> None:
    blackout.run(tmp_path / "plant", seed=1, times=2)


@pytest.mark.parametrize(
    "kinds", [("isolated leader", "bridge"), ("ring", "a DER's link"), (partitions.FLAPPING,)]
)
def test_parted_nodes_agree_again_once_healed(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    partitions.run(tmp_path / "plant", seed=1, seconds=0, kinds=kinds, longest_s=3)


def test_frozen_nodes_come_back_to_a_plant_that_went_on(tmp_path: Path) -> None:
    pauses.run(tmp_path / "plant", seed=1, times=2, longest=3)


def test_a_node_that_cannot_write_stops_by_name_and_comes_back(tmp_path: Path) -> None:
    disk_full.run(tmp_path / "plant", seed=1, times=1)


def test_a_damaged_store_opens_follows_or_refuses(tmp_path: Path) -> None:
    torn_node.run(tmp_path / "plants", seed=1, n=2)
