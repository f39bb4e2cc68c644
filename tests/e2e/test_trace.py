"""What running nodes have said: printed, written to a file, replayed with the plant's genesis."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.e2e.plant import Plant
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def plant(running: Plant) -> Plant:
    """That has decided a few heights."""
    for amount in range(1, 4):
        raw = running.sign(running.nodes[1], Transfer(running.nodes[2].key.public_key, amount))
        file = running.nodes[1].member.home / "pay.tx"
        file.write_text(raw.hex())
        assert running.nodes[1].vppd("tx", "send", file, "--wait").code == 0
    running.wait_equal()
    return running


def test_a_height_s_messages_are_printed_as_the_paper_logs_them(plant: Plant) -> None:
    rows = plant.nodes[0].vppd("block", "trace", "1", "-o", "json").data
    assert {row["height"] for row in rows} == {1}
    assert list(rows[0]) == [
        "time_ms", "sender", "receiver", "message", "height", "view", "digest8", "path",
    ]  # fmt: skip
    (block,) = [row for row in rows if row["message"] == "block"]
    assert (block["sender"], block["receiver"], block["path"]) == ("op-0", "all", "broadcast")
    voters = {row["sender"] for row in rows if row["message"] == "prepare"}
    assert len(voters) >= 3
    assert {row["path"] for row in rows if row["message"] == "prepare"} == {"broadcast"}
    table = plant.nodes[0].vppd("block", "trace", "1").out
    assert table.splitlines()[0].split() == [
        "TIME_MS", "SENDER", "RECEIVER", "MESSAGE", "HEIGHT", "VIEW", "DIGEST8", "PATH",
    ]  # fmt: skip


@pytest.mark.parametrize("index", [0, 3])
def test_a_recorded_node_is_replayed_to_its_own_state(
    plant: Plant, index: int, tmp_path: Path
) -> None:
    node, file = plant.nodes[index], tmp_path / "run.trace"
    assert node.vppd("block", "trace", "--out", file).code == 0
    genesis = node.member.home / "genesis.toml"
    done = node.vppd("block", "trace", "--replay", file, "--genesis", genesis, "-o", "json")
    head = json.loads(file.read_text().splitlines()[0])
    assert done.code == 0, done
    assert done.data["height"] == head["executed"] >= 3
    assert done.data["state_root"] == head["state_root"]


def test_a_trace_that_begins_late_continues_a_store(plant: Plant, tmp_path: Path) -> None:
    node, file = plant.nodes[0], tmp_path / "late.trace"
    assert node.vppd("block", "trace", "--out", file).code == 0
    head, *rows = [json.loads(line) for line in file.read_text().splitlines()]
    head["first"] = 3
    late = [head, *(row for row in rows if row["height"] >= 3)]
    file.write_text("".join(json.dumps(line) + "\n" for line in late))
    alone = node.vppd("block", "trace", "--replay", file)
    assert alone.code == 1
    assert "E441" in alone.err
    store = node.member.home / "chain.db"
    done = node.vppd("block", "trace", "--replay", file, "--store", store, "-o", "json")
    assert done.code == 0, done.err
    assert done.data["state_root"] == head["state_root"]


def test_a_changed_file_fails_by_the_message_s_name(plant: Plant, tmp_path: Path) -> None:
    node, file = plant.nodes[0], tmp_path / "bent.trace"
    assert node.vppd("block", "trace", "--out", file).code == 0
    head, *rows = [json.loads(line) for line in file.read_text().splitlines()]
    bent = next(row for row in rows if row["message"] == "prepare")
    raw = bytearray(base64.b64decode(bent["frame"]))
    raw[-1] ^= 1
    bent["frame"] = base64.b64encode(raw).decode()
    file.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
    done = node.vppd("block", "trace", "--replay", file)
    assert done.code == 1
    assert "E442" in done.err
    assert f"prepare of {bent['sender']} for height {bent['height']}" in done.err


def test_heights_that_are_not_recorded_are_refused(plant: Plant) -> None:
    for which, code, exit_code in (("9999", "E399", 1), ("x", "E398", 2)):
        done = plant.nodes[0].vppd("block", "trace", which)
        assert (done.code, code in done.err) == (exit_code, True)


def test_status_and_heights_say_how_blocks_were_decided(plant: Plant) -> None:
    view = plant.nodes[0].view("status")
    assert view["path"] == "broadcast"
    assert sum(view["decisions"].values()) == view["height"]
    heights = plant.nodes[0].view("heights")
    assert [times["height"] for times in heights] == list(range(1, view["height"] + 1))
    for times in heights:
        marks = [times[key] for key in ("votes_us", "decided_us", "executed_us")]
        assert None not in marks, times
        assert marks == sorted(marks), times
    shown = plant.nodes[0].vppd("status").out
    assert "path broadcast  decided: " in shown
    assert "F votes in time: " in shown
