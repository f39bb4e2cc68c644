"""Nodes that lost their store, or that there are two of: neither ever votes against itself."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.plant import Node, Plant, eventually, free_base_port, plant_of
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Four nodes: one may fail or lie."""
    with plant_of(tmp_path_factory.mktemp("lost") / "plant", 4) as made:
        for node in made.nodes:  # as the card of each was when it was new
            shutil.copytree(node.home, node.home.with_name(f"{node.name}-card"))
        made.start()
        yield made


def pay(plant: Plant, payer: Node, count: int = 3) -> None:
    """Decided blocks, some."""
    for _ in range(count):
        raw = plant.sign(payer, Transfer(plant.nodes[0].key.public_key, 1))
        done = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
        assert done.data["status"] == "ok"


def copy_of(node: Node, card: Path, tmp_path: Path) -> Node:
    """The same key on another machine: another address, the rest as on the card."""
    home = tmp_path / "copy"
    shutil.copytree(card, home, ignore=shutil.ignore_patterns("*.sock", "*.log"))
    settings = home / "node.toml"
    listen = f'listen = "127.0.0.1:{free_base_port(1)}"'
    settings.write_text(re.sub(r"listen = .*", listen, settings.read_text()))
    return Node(msgspec.structs.replace(node.member, home=home))


def test_a_copied_card_is_told_to_stop_and_the_plant_goes_on(plant: Plant, tmp_path: Path) -> None:
    original = plant.nodes[3]
    copy = copy_of(original, original.home.with_name(f"{original.name}-card"), tmp_path)
    pay(plant, plant.nodes[1])
    try:
        copy.start()
        code = copy.process.wait(30)
    finally:
        copy.end()
    assert code == 78, copy.log
    assert "error[E310]: another copy of this node is running" in copy.log
    plant.wait_complete()
    pay(plant, original)
    plant.wait_equal()
    told = eventually(lambda: refusals(plant.nodes[:3]), "somebody says whom it refused")
    assert any(f"second process with the key of {original.name}" in why for why in told)


def refusals(nodes: list[Node]) -> list[str]:
    """Whom these nodes have not let in, and why."""
    found: list[dict[str, Any]] = []
    for node in nodes:
        found += (node.status() or {"refused": []})["refused"]
    return [row["why"] for row in found]


def test_killed_and_started_at_once_is_no_second_copy(plant: Plant) -> None:
    node = plant.nodes[3]
    before = len(refusals(plant.nodes[:3]))
    for _ in range(3):
        node.kill()
        node.start()
        plant.wait_complete()
    assert len(refusals(plant.nodes[:3])) == before
    assert node.process.poll() is None


def follows(plant: Plant, node: Node) -> str:
    """Wait until it has the plant's head without voting; why it does not vote."""
    pay(plant, plant.nodes[1])
    plant.wait_equal()
    status = node.status()
    assert status is not None
    assert not status["voting"]
    assert status["observer"]
    return str(status["observer"])


def test_a_lost_safety_record_a_damaged_file_and_no_file_at_all(plant: Plant) -> None:
    """One node loses ever more of its store; the plant of the other three does not stop."""
    node = plant.nodes[2]
    pay(plant, plant.nodes[1])
    node.kill()
    (node.home / "chain.db-wal").unlink()
    node.start()
    assert "older than what was promised" in follows(plant, node)
    assert "observer" in node.log

    assert node.vppd("recover").err.startswith("error[E254]")
    assert node.terminate() == 0
    again = node.vppd("recover")
    assert (again.code, "nothing to do" in again.out) == (0, True)

    store = node.home / "chain.db"
    os.truncate(store, store.stat().st_size // 2)
    node.start()
    assert node.process.wait(20) == 1
    assert "error[E253]" in node.log
    assert "vppd recover" in node.log
    done = node.vppd("recover", "-o", "json")
    assert done.code == 0, done.err
    assert (done.data["changed"], len(done.data["nonce"])) == (True, 64)
    assert Path(done.data["aside"][0]).exists()
    node.start()
    assert follows(plant, node).startswith("recovered: ")
    assert node.terminate() == 0
    assert node.vppd("block", "verify").code == 0

    store.unlink()
    node.start()
    assert node.process.wait(20) == 1
    assert "error[E250]" in node.log
    text = node.vppd("recover").out
    assert "no block" in text
    assert "does not vote until a configuration" in text
    node.start()
    assert follows(plant, node) == "recovered: there was no chain store"
