"""Engine dpos on real processes: who is silent is skipped and punished, and produces again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, eventually, plant_of
from vppd.client.client import RequestFailed
from vppd.config.engines import DPOS
from vppd.config.genesis import ConsensusRules, DposRules
from vppd.consensus.messages import Standing
from vppd.consensus.signing import standing_bytes
from vppd.ledger.proofs import Skip
from vppd.ledger.transaction import Transfer, make_statement
from vppd.net.gate import decode_message
from vppd.node.trace import frame_of

pytestmark = [pytest.mark.slow, pytest.mark.net]

N, DELEGATES, EPOCH_BLOCKS = 5, 4, 8
RULES = ConsensusRules(
    engine=DPOS, epoch_blocks=EPOCH_BLOCKS, idle_block_interval_ms=300, view_timeout_ms=800,
    dpos=DposRules(delegates=DELEGATES, punish_epochs=2),
)  # fmt: skip


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_of(tmp_path / "plant", N, consensus=RULES) as made:
        for node in made.nodes:
            node.start()
        for node in made.nodes:
            eventually(lambda node=node: stands(node)["height"] > 1, node.name)  # type: ignore[misc]
        yield made


def stands(node: Node) -> dict[str, Any]:
    return node.status() or {"height": 0}


def candidates(node: Node) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in node.view("validators")["candidates"]}


def test_a_producer_that_falls_silent_is_skipped_punished_and_elected_again(plant: Plant) -> None:
    asked = plant.nodes[0]

    def early() -> dict[str, Any] | None:
        status = stands(asked)
        later = status["height"] > EPOCH_BLOCKS
        return status if later and status["height"] <= status["epoch_first"] + 1 else None

    eventually(early, "an elected epoch begins: everybody's turn is still to come")
    era = asked.view("validators")["era"]
    elected = [member["name"] for member in era["members"] if member["name"] != asked.name]
    silent = next(node for node in plant.nodes if node.name == elected[-1])
    silent.kill()
    row = eventually(
        lambda: (row := candidates(asked)[silent.name])["punished_until_epoch"] and row,
        f"{silent.name} is punished; logs in {plant.testnet.out}",
    )
    until = row["punished_until_epoch"]
    listed = asked.vppd("validator", "list")
    assert listed.code == 0, listed.err
    assert f"up to epoch {until}" in listed.out
    innocent = {name for name, row in candidates(asked).items() if row["punished_until_epoch"]}
    assert innocent == {silent.name}, "nobody else"

    silent.start()
    idle = eventually(
        lambda: (s := stands(silent)).get("candidate") and s, f"{silent.name} does not produce"
    )
    assert idle["role"] == "der"
    assert idle["observer"] == ""
    said = silent.vppd("status")
    assert said.code == 0, "the plant decides, and nothing is wrong with this node"
    assert "may be elected after height" in said.out
    assert "of 4 replicas are here" in said.out

    produced = eventually(
        lambda: elected_since(asked, silent, until), f"{silent.name} produces again", within_s=90
    )
    assert produced > until
    tail = asked.vppd("block", "tail", "-n", 2 * EPOCH_BLOCKS, "-o", "json")
    assert tail.code == 0, tail.err
    assert silent.name in {row["miner"] for row in tail.data}, "named by the epoch of its block"

    paid = plant.nodes[1].vppd(
        "tx", "send", "-", "--wait", "-o", "json",
        stdin=plant.sign(plant.nodes[1], Transfer(asked.key.public_key, 1)),
    )  # fmt: skip
    assert paid.code == 0, paid.err
    for node in (asked, silent):
        proved = node.vppd("tx", "show", paid.data["hash"], "--wait", "--proof", "-o", "json")
        assert proved.code == 0, proved.err
        assert "proved_by" in proved.data["proof"]

    file, store = plant.testnet.out / "run.trace", asked.home / "chain.db"
    assert asked.vppd("block", "trace", "--out", file).code == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    epochs = {
        decode_message(*frame_of(row)).epoch  # type: ignore[union-attr]
        for row in rows[1:]
        if row["message"] == "prepare"
    }
    assert len(epochs) > 2, "the recording spans several elections"
    replayed = asked.vppd("block", "trace", "--replay", file, "--store", store, "-o", "json")
    assert replayed.code == 0, replayed.err
    assert replayed.data["state_root"] == rows[0]["state_root"]


def elected_since(asked: Node, silent: Node, until: int) -> int | None:
    """The epoch after ``until`` in which it made the last block; ``None``: another did."""
    shown = asked.vppd("block", "show", stands(asked)["height"], "-o", "json")
    if shown.code or shown.data["epoch"] <= until or shown.data["proposer"] != silent.name:
        return None
    era = asked.view("validators")["era"]
    if era["epoch"] == shown.data["epoch"]:
        assert set(shown.data["signers"]) <= {member["name"] for member in era["members"]}
    epoch: int = shown.data["epoch"]
    return epoch


def test_a_producer_framed_without_proof_is_not_punished(plant: Plant) -> None:
    """Fewer view changes than it takes, or one replica's under the names of others."""
    liar = plant.nodes[1]
    view = liar.view("validators")
    members = [member["name"] for member in view["era"]["members"]]
    if liar.name not in members:
        liar = next(node for node in plant.nodes if node.name in members)
    epoch, height = view["era"]["epoch"], view["era"]["first"]

    def standing(signer: int) -> Standing:
        made = Standing(epoch, 1, signer, height - 1, bytes(32), None, None, bytes(64))
        sig = liar.key.sign(standing_bytes(plant.genesis.digest, made))
        return Standing(epoch, 1, signer, height - 1, bytes(32), None, None, sig)

    for standings in (
        (standing(members.index(liar.name)),),
        tuple(standing(i) for i in range(DELEGATES - 1)),
    ):
        raw = make_statement(view["height"] + 100, Skip(epoch, 1, height, standings))
        with pytest.raises(RequestFailed):
            liar.ask(lambda client, raw=raw: client.submit(raw))  # type: ignore[misc]
    reached = stands(liar)["height"]
    eventually(lambda: stands(liar)["height"] > reached + 2, "the plant goes on")
    for node in plant.nodes:
        assert all(row["punished_until_epoch"] is None for row in candidates(node).values())
