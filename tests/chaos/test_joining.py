"""A little of ``python -m tests.chaos.joining``: new nodes of a plant with 600 blocks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from tests.chaos.joining import (
    LongPlant,
    join_beside_a_liar,
    join_once,
    join_with_kills,
    joining,
    long_plant,
)
from tests.e2e.plant import eventually

pytestmark = [pytest.mark.slow, pytest.mark.net]

BLOCKS = 600
SEED = 3


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongPlant]:
    with long_plant(tmp_path_factory.mktemp("joining") / "plant", BLOCKS, accounts=3_000) as made:
        yield made


def test_by_snapshot(plant: LongPlant) -> None:
    join_once(plant, "snapshot")


def test_auto_is_by_snapshot_when_far_behind_and_by_replay_when_not(plant: LongPlant) -> None:
    join_once(plant, "auto")
    with joining(plant, "auto") as node:
        file = node.home / "node.toml"
        file.write_text(file.read_text().replace("snapshot_after = 100", "snapshot_after = 9000"))
        node.start()
        plant.wait_level(node)
        assert (node.status() or {})["first_block"] == 1


def test_by_replay(plant: LongPlant) -> None:
    join_once(plant, "replay")


def test_killed_while_it_joins(plant: LongPlant) -> None:
    where = join_with_kills(plant, 3, random.Random(SEED))
    assert where.total() == 3, f"seed {SEED}"


def test_killed_between_installing_and_tidying_up(plant: LongPlant) -> None:
    with joining(plant, "snapshot") as node:
        node.start()
        plant.wait_level(node)
        node.kill()
        left = [node.home / f"chain.db.sync{suffix}" for suffix in ("", "-wal", "-shm")]
        for file in left:
            file.write_bytes(b"fetched, and installed already")
        node.start()
        plant.wait_level(node)
        plant.close(node)
        assert not any(file.exists() for file in left)


def test_a_block_to_be_trusted_below_the_snapshot_and_a_false_one(plant: LongPlant) -> None:
    shown = plant.servers[0].vppd("block", "show", 300, "-o", "json").data
    for digest, right in ((shown["hash"], True), ("ab" * 32, False)):
        with joining(plant, "snapshot") as node:
            node.start("--home", str(node.home), "--trust", f"300:{digest}")
            if right:
                plant.wait_level(node)
                assert (node.status() or {})["first_block"] > 1
                continue
            assert node.process.wait(30) == 1
            assert "error[E314]" in node.log
            assert shown["hash"] in node.log


def test_a_block_to_be_trusted_is_looked_for_in_what_is_there(plant: LongPlant) -> None:
    with joining(plant, "replay") as node:
        node.start()
        plant.wait_level(node)
        node.terminate()
        node.start("--home", str(node.home), "--trust", f"7:{'cd' * 32}")
        assert node.process.wait(30) == 1
        assert "error[E314]" in node.log


def test_a_liar_is_named_and_left_alone(plant: LongPlant) -> None:
    join_beside_a_liar(plant)


def test_a_node_that_was_away_gets_from_another_what_one_has_pruned(plant: LongPlant) -> None:
    """The pruned one says so at once: whoever asks does not wait for it."""
    first, *others = plant.servers
    with joining(plant, "replay") as node:
        first.terminate()
        pruned = first.vppd("db", "prune", "--keep", 50, "-o", "json")
        assert pruned.code == 0, pruned.err
        assert pruned.data["first_block"] > 500
        assert pruned.data["bytes_after"] < pruned.data["bytes_before"]
        first.start()
        eventually(lambda: plant.is_level(first), "the pruned one is back")
        for server in others:
            assert server.terminate() == 0
        node.start()  # there is nobody else to ask
        eventually(lambda: '"blocks_gone"' in node.log, "the pruned one says so")
        for server in others:
            server.start()
        plant.wait_level(node)
        assert (node.status() or {})["first_block"] == 1


def test_a_node_that_hears_the_plant_late_goes_back_and_takes_a_snapshot(
    plant: LongPlant,
) -> None:
    """Nobody is there when it starts; then they are, far ahead."""
    with joining(plant, "auto") as node:
        for server in plant.servers:
            assert server.terminate() == 0
        node.start()
        eventually(lambda: (status := node.status()) and not status["joining"], "it has begun")
        for server in plant.servers:
            server.start()
        eventually(lambda: all(s.status() for s in plant.servers), "the plant is back")
        plant.pay()
        plant.wait_level(node)
        assert (node.status() or {})["first_block"] > 1
        assert '"far_behind"' in node.log


def test_status_of_a_node_whose_plant_is_not_there_yet(plant: LongPlant) -> None:
    """It says what it waits for, and exits with 3, as a node that does not vote does."""
    with joining(plant, "snapshot") as node:
        peers = node.home / "peers.toml"
        peers.write_text(peers.read_text().replace("127.0.0.1:", "127.0.0.2:"))
        node.start()
        eventually(lambda: (node.status() or {}).get("joining"), "an answer")
        asked = node.vppd("status", "-o", "json")
        assert asked.code == 3
        said = json.loads(asked.out)
        assert said["joining"]["stage"] == "looking for the plant"
        assert "JOINING" in node.vppd("status").out
        assert node.terminate() == 0
