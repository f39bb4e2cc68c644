"""What an operator sees of clocks that are wrong, and that they move no slot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, eventually, plant_of
from tests.e2e.wrong_clock import skewed
from vppd.cli.testnet import scaled_market
from vppd.header import decode_header
from vppd.ledger.transaction import Op, PlaceOrder, Transfer
from vppd.market.auction import Side

pytestmark = [pytest.mark.slow, pytest.mark.net]

TEN_MINUTES_MS = 600_000
SOON_MS = 500
"""How far a block may lie ahead."""


def clock_news(node: Node) -> Counter[tuple[str, str]]:
    """What a node has logged about clocks: event and whose."""
    lines = [json.loads(line) for line in node.log.splitlines() if line.startswith("{")]
    return Counter((x["event"], x["node"]) for x in lines if x["event"].startswith("clock_"))


def until_said(node: Node, text: str) -> None:
    """Until its ``vppd status`` has this in it."""
    eventually(lambda: text in node.vppd("status").out, f"{node.name} says: {text}")


def until_logged(node: Node, count: int) -> None:
    """Until it has logged so much about clocks."""
    eventually(lambda: clock_news(node).total() >= count, f"{node.name} logs {count} of clocks")


def commit(plant: Plant, node: Node, op: Op) -> None:
    """A transaction of a member's, through its node, until it is executed and has done its work."""
    sent = node.vppd("tx", "send", "-", "--wait", stdin=plant.sign(node, op))
    assert sent.code == 0, sent.err


def block_times_ms(node: Node) -> list[int]:
    """Of all blocks it has decided."""
    status = node.status()
    assert status is not None

    async def read(client: Any) -> list[int]:
        blocks = [await client.block(h + 1) for h in range(status["height"])]
        return [decode_header(block.header).time_ms for block in blocks]

    return node.ask(read)


def test_a_wrong_clock_is_said_by_itself_and_by_the_others_and_logged_once(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 4) as plant:
        seer, off = plant.nodes[1], plant.nodes[3]
        skew = skewed(off, TEN_MINUTES_MS)
        plant.start()
        other = "WRONG CLOCK: der-3 is 600.0 s ahead of the plant"
        own = "WRONG CLOCK: this node is 600.0 s ahead of the plant"
        for node in plant.nodes:
            until_said(node, own if node is off else other)
        assert other in seer.vppd("status", "--probe").out
        assert abs((off.status() or {})["clock_ms"] - TEN_MINUTES_MS) < SOON_MS
        commit(plant, off, Transfer(seer.key.public_key, 1))

        skew.set(0)
        for node in plant.nodes:
            until_logged(node, 2)
            assert "WRONG CLOCK" not in node.vppd("status").out
            news = {("clock_wrong", "der-3"): 1, ("clock_right_again", "der-3"): 1}
            assert clock_news(node) == news


def test_a_leader_whose_clock_is_ahead_is_replaced_and_no_block_lies_ahead(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 4) as plant:
        skewed(plant.nodes[0], TEN_MINUTES_MS)
        plant.start()
        seer = plant.nodes[1]
        commit(plant, seer, Transfer(plant.nodes[2].key.public_key, 1))
        assert (seer.status() or {})["leader"] != "op-0"
        times_ms = block_times_ms(seer)
        assert max(times_ms) <= time.time_ns() // 1_000_000 + SOON_MS


def test_a_leader_whose_clock_is_set_back_does_not_hold_a_gate_open(tmp_path: Path) -> None:
    market = scaled_market(2_000, 15)
    with plant_of(tmp_path / "plant", 4, market=market) as plant:
        skew = skewed(plant.nodes[0])
        plant.start()
        seer = plant.nodes[1]
        slot = seer.view("market")["open_slot"] + 3
        price = plant.genesis.market.tariffs[0].feed_in_price
        commit(plant, seer, PlaceOrder(slot, Side.BID, 1_000, price, price, 0))
        skew.set(-TEN_MINUTES_MS)

        def phase() -> str:
            known = {row["slot"]: row["phase"] for row in seer.view("slots")}
            return str(known.get(slot, "closed"))

        eventually(lambda: phase() != "open", "the gate closes")
        times_ms = block_times_ms(seer)
        gate_ms = plant.genesis.market.slot_start(slot) - plant.genesis.market.gate_lead_ms
        assert gate_ms <= max(times_ms) <= time.time_ns() // 1_000_000 + SOON_MS
        assert (seer.status() or {})["leader"] != "op-0"


def test_show_knows_the_flags_that_the_running_node_was_started_with(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 1) as plant:
        node = plant.nodes[0]
        elsewhere = tmp_path / "plant.toml"
        (node.home / "peers.toml").rename(elsewhere)
        assert "error[E100]" in node.vppd("config", "show").err
        node.start("--role=operator", "--peers", "plant.toml", "--home", "plant/op-0", cwd=tmp_path)
        eventually(node.status, "it runs")
        shown = node.vppd("config", "show", "--origin", "-o", "json")
        assert shown.err == ""
        said = {(row["file"], row["key"]): row for row in shown.data}
        by = f"vppd start, process {node.process.pid}"
        assert said["start", "--peers"]["origin"] == by
        assert said["start", "--peers"]["value"] == str(elsewhere)
        assert said["start", "--role"]["value"] == "operator"
        assert said["peers.toml", "chain_id"]["origin"] == f"{elsewhere}:3"

        named = node.vppd("config", "show", "--peers", elsewhere, "--origin", "-o", "json").data
        assert named[0]["origin"] == "command line"


def test_a_node_that_is_stopped_is_said_to_take_connections_only(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 1) as plant:
        plant.start()
        node = plant.nodes[0]
        node.process.send_signal(signal.SIGSTOP)
        asked = node.vppd("status")
        assert asked.code == 1
        assert "error[E370]" in asked.err
        node.process.send_signal(signal.SIGCONT)
        assert node.vppd("status").code == 0


@pytest.mark.parametrize("more", [(), ("--probe",), ("-o", "json")])
def test_ctrl_c_ends_watching_without_a_word(tmp_path: Path, more: tuple[str, ...]) -> None:
    with plant_of(tmp_path / "plant", 1) as plant:
        plant.start()
        watching = subprocess.Popen(
            [sys.executable, "-m", "vppd", "status", "--watch", *more,
             "--home", str(plant.nodes[0].home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=20)
        assert (watching.returncode, err) == (0, b"")
