"""A plant of two wire versions stays live and decides, and is upgraded node by node meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plant import LIFETIME_BLOCKS, Node, Plant, eventually, plant_of, vppd
from vppd.ledger.changes import Configure, SetNumber
from vppd.ledger.transaction import Transfer, make_transaction

pytestmark = [pytest.mark.slow, pytest.mark.net]

N = 4
PINNED = (0, 2)
"""The first leader, and a follower."""


def pin(node: Node) -> None:
    file = node.home / "node.toml"
    text = file.read_text()
    assert "[net]\n" in text
    file.write_text(text.replace("[net]\n", "[net]\nwire = 2\n"))


def unpin(node: Node) -> None:
    file = node.home / "node.toml"
    file.write_text(file.read_text().replace("wire = 2\n", ""))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_of(tmp_path / "plant", N) as made:
        for i in PINNED:
            pin(made.nodes[i])
        yield made


def pay(plant: Plant, payer: Node) -> None:
    """A transfer, until it is decided."""
    raw = plant.sign(payer, Transfer(plant.nodes[0].key.public_key, 1))
    paid = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert paid.code == 0, paid.err


def pay_often(plant: Plant, payer: Node, count: int) -> None:
    """Transfers handed over together, until all are decided."""
    account = payer.view("account", payer.name)
    nonce, expiry = account["nonce"], account["height"] + LIFETIME_BLOCKS
    ops = (Transfer(plant.nodes[0].key.public_key, 1),)
    raws = [
        make_transaction(payer.key, plant.genesis.digest, nonce + i, expiry, ops)
        for i in range(count)
    ]
    taken = payer.ask(lambda client: client.submit_many(raws))
    assert (len(taken.ids), taken.turned) == (count, ())
    eventually(
        lambda: payer.view("account", payer.name)["nonce"] == nonce + count,
        plant.last_words(f"{count} transfers handed over together"),
    )


def spoken(plant: Plant) -> list[dict[str, int | None]]:
    """Per node: the version spoken with each other one."""
    return [
        {peer["name"]: peer["wire"] for peer in node.view("status")["peers"]}
        for node in plant.nodes
    ]


def test_it_decides_and_is_upgraded_in_steps(plant: Plant) -> None:
    plant.start()
    old = {plant.nodes[i].name for i in PINNED}
    for node, said in zip(plant.nodes, spoken(plant), strict=True):
        both_new = {name: name not in old and node.name not in old for name in said}
        assert said == {name: 3 if new else 2 for name, new in both_new.items()}
    for payer in plant.nodes:
        pay(plant, payer)
    pay_often(plant, plant.nodes[1], 20)  # the leader knows no frame of several
    for node in plant.nodes[1], plant.nodes[3]:  # of this release: whoever wrote it, it stays out
        raw = plant.sign(node, Configure(0, (SetNumber("view_timeout_ms", 3_000),)))
        sent = node.vppd("tx", "send", "-", stdin=raw)
        assert sent.code == 1, sent.out
        assert "release before" in sent.err
    plant.wait_equal()
    for i in PINNED:
        node = plant.nodes[i]
        assert node.terminate() == 0
        pay(plant, plant.nodes[1])  # the three others go on
        unpin(node)
        node.start()
        plant.wait_complete()
        pay(plant, node)
    plant.wait_equal()
    assert all(set(said.values()) == {3} for said in spoken(plant))
    checked = plant.nodes[0].vppd("block", "verify")
    assert checked.code == 0, checked.err


def test_a_version_that_is_not_spoken_is_refused_before_the_start(plant: Plant) -> None:
    node = plant.nodes[0]
    file = node.home / "node.toml"
    file.write_text(file.read_text().replace("wire = 2", "wire = 1"))
    ran = vppd("config", "check", "--home", node.home)
    assert ran.code == 78
    assert "net.wire" in ran.err


def test_config_show_names_the_pin(plant: Plant) -> None:
    shown = plant.nodes[0].vppd("config", "show", "--origin", "-o", "json")
    assert shown.code == 0, shown.err
    assert "wire" in json.dumps(shown.data)
