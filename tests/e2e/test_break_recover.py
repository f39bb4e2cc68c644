"""Homes put back, copied and paused, stores that rot: the node never votes against itself."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.e2e.plant import Node, Plant, eventually, free_base_port, plant_of
from tests.store import builders as b
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Four nodes: one may fail or lie."""
    with plant_of(tmp_path_factory.mktemp("break") / "plant", 4) as made:
        made.start()
        yield made


def pay(plant: Plant, payer: Node, count: int = 3) -> None:
    """Decided blocks, some."""
    for _ in range(count):
        raw = plant.sign(payer, Transfer(plant.nodes[0].key.public_key, 1))
        done = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
        assert done.data["status"] == "ok"


def copied(node: Node, to: Path) -> Path:
    shutil.copytree(node.home, to, ignore=shutil.ignore_patterns("*.sock", "*.log"))
    return to


def nobody_is_accused(plant: Plant) -> None:
    """No replica has signed two different things at one place."""
    for node in plant.nodes:
        status = node.status()
        if status is not None:
            assert status["evidence"] == 0, status


def test_one_that_was_paused_finds_its_copy_in_its_place_and_stops(
    plant: Plant, tmp_path: Path
) -> None:
    """SIGSTOP, or a machine that hangs: the copy was made while it was down, and is up to date."""
    original = plant.nodes[3]
    assert original.terminate() == 0
    home = copied(original, tmp_path / "copy")
    settings = home / "node.toml"
    listen = f'listen = "127.0.0.1:{free_base_port(1)}"'
    settings.write_text(re.sub(r"listen = .*", listen, settings.read_text()))
    copy = Node(msgspec.structs.replace(original.member, home=home))
    original.start()
    plant.wait_complete()
    original.process.send_signal(signal.SIGSTOP)
    try:
        copy.start()
        eventually(lambda: (copy.status() or {"voting": False})["voting"], "the copy votes")
        pay(plant, plant.nodes[1])
        plant.wait_equal([*plant.nodes[:3], copy])
        pay(plant, plant.nodes[1])  # by now the copy has the others' ears, and votes
        original.process.send_signal(signal.SIGCONT)
        assert original.process.wait(30) == 78
        assert "error[E310]: another copy of this node is running" in original.log
        pay(plant, plant.nodes[1])
        nobody_is_accused(plant)
    finally:
        copy.end()
        original.end()
    original.start()
    pay(plant, plant.nodes[1])
    plant.wait_equal()
    status = original.status()
    assert status is not None
    assert not status["voting"], "its copy has voted, and it does not know what for"
    assert "its record is older" in status["observer"]
    nobody_is_accused(plant)


def test_a_home_put_back_whole_is_told_by_the_plant(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[2]
    pay(plant, plant.nodes[1])
    assert node.terminate() == 0
    image = copied(node, tmp_path / "image")
    node.start()
    eventually(lambda: (node.status() or {"voting": False})["voting"], "it votes again")
    pay(plant, plant.nodes[1])
    node.kill()
    for file in node.home.glob("chain.db*"):
        file.unlink()
    for file in image.glob("chain.db*"):
        shutil.copy(file, node.home / file.name)
    node.start()
    why = eventually(lambda: (node.status() or {"observer": ""})["observer"], "the plant tells it")
    assert "its record is older" in why
    nobody_is_accused(plant)


def test_a_state_that_rots_is_named_and_recovered(plant: Plant) -> None:
    node = plant.nodes[2]
    assert node.terminate() == 0
    b.raw_write(node.home / "chain.db", "UPDATE state SET value = x'90'")
    node.start()
    assert node.process.wait(20) == 1
    text = node.log
    assert "error[E258]" in text
    assert "the stored state is damaged" in text
    assert "Traceback" not in text
    done = node.vppd("recover", "-o", "json")
    assert done.data["changed"], done.err
    node.start()
    plant.wait_equal(plant.nodes[:3])
