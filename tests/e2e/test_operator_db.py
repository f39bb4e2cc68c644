"""Checking, copying and restoring the stores of a plant that runs; the doctor on its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, eventually, plant_of
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Four nodes: one may be away."""
    with plant_of(tmp_path_factory.mktemp("operator") / "plant", 4) as made:
        for node in made.nodes:  # the test's disk may be smaller than a plant's
            settings = node.home / "node.toml"
            settings.write_text(settings.read_text().replace("512MiB", "1MiB"))
        made.start()
        yield made


def pay(plant: Plant, count: int = 3) -> None:
    """Decided blocks, some."""
    payer = plant.nodes[1]
    for _ in range(count):
        raw = plant.sign(payer, Transfer(plant.nodes[0].key.public_key, 1))
        done = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
        assert done.data["status"] == "ok"


def look(node: Node) -> dict[str, Any]:
    """``db check`` on a store that is sound."""
    done = node.vppd("db", "check", "-o", "json")
    assert done.code == 0, done.out + done.err
    said: dict[str, Any] = done.data
    return said


def doctor(node: Node) -> dict[str, tuple[str, str]]:
    """Check → (verdict, text), on a node without a fault."""
    done = node.vppd("doctor", "-o", "json")
    assert done.code == 0, done.out
    return {row["check"]: (row["verdict"], row["says"]) for row in done.data}


def test_beside_a_running_node(plant: Plant, tmp_path: Path) -> None:
    pay(plant)
    height, _ = plant.wait_equal()
    for node in plant.nodes:
        said = look(node)
        assert said["running"] == str(node.process.pid)
        assert said["may_vote"]
        assert said["verified"] == said["decided"] >= height > 0
    out = tmp_path / "running.backup"
    made = plant.nodes[3].vppd("db", "backup", out, "-o", "json")
    assert made.code == 0, made.err
    assert made.data["height"] >= height
    assert plant.nodes[3].vppd("db", "restore", out, "--replace").err.startswith("error[E254]")
    pay(plant)


def test_the_doctor_sees_a_plant_that_works(plant: Plant) -> None:
    found = doctor(plant.nodes[0])
    assert found["port"] == (
        "ok", f"{plant.testnet.nodes[0].addr} is held, and this node runs",
    )  # fmt: skip
    assert found["http port"][0] == "ok"
    for node in plant.nodes[1:]:
        verdict, says = found[f"peer {node.name}"]
        assert verdict == "ok"
        assert "at height" in says
    assert found["clock offset"][0] == "ok"
    assert f"process {plant.nodes[0].process.pid} runs" in found["store"][1]


def test_a_node_restored_from_a_backup_follows_and_never_votes(
    plant: Plant, tmp_path: Path
) -> None:
    node, out = plant.nodes[3], tmp_path / "early.backup"
    assert node.vppd("db", "backup", out).code == 0
    pay(plant)
    plant.wait_equal()
    assert node.terminate() == 0
    done = node.vppd("db", "restore", out)
    assert done.err.startswith("error[E284]")
    assert "costs this node its vote" in done.err
    done = node.vppd("db", "restore", out, "--replace")
    assert done.code == 0, done.err
    assert "AN OBSERVER" in done.out
    assert "THIS NODE'S VOTE" in done.out
    assert (node.home / "chain.db.replaced-1").exists()
    node.start()
    pay(plant)
    plant.wait_equal()
    status = eventually(node.status, "it answers")
    assert not status["voting"]
    assert status["observer"].startswith("restored from a backup")
    told = node.vppd("status")
    assert told.code == 3
    assert "THIS NODE DOES NOT VOTE: restored from a backup" in told.out
    assert doctor(node)["safety record"][0] == "warn"
    assert "restored from a backup" in look(node)["observer"]
    assert look(node)["verified"] == status["height"]


def test_a_killed_nodes_store_is_sound_and_a_flipped_one_is_named(plant: Plant) -> None:
    node = plant.nodes[2]
    node.kill()
    assert look(node)["running"] is None
    store = node.home / "chain.db"
    whole = store.read_bytes()
    store.write_bytes(whole[: len(whole) // 2])
    done = node.vppd("db", "check", "-o", "json")
    assert done.code == 1
    assert done.data["problems"]
    assert "Traceback" not in done.err
    store.write_bytes(whole)
    assert look(node)["may_vote"]
    node.start()
    plant.wait_equal()
