"""What an operator sees while nodes are away: who, why, what is left, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.plant import eventually, plant_of
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]


def test_two_of_five_down_says_so_and_recovers_by_itself(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 5) as plant:
        plant.start()
        plant.wait_complete()
        seer, one, two = plant.nodes[1], plant.nodes[3], plant.nodes[4]
        one.kill()
        eventually(lambda: seer.vppd("status").out.count("missing: "), "one is missed")
        shown = seer.vppd("status")
        assert shown.code == 0
        assert "4 of 5 replicas are here, 4 needed to decide: no further one may fail" in shown.out
        assert "missing: der-3, for " in shown.out

        two.kill()
        eventually(lambda: "HAVE STOPPED" in seer.vppd("status").out, "two are missed")
        raw = plant.sign(seer, Transfer(plant.nodes[2].key.public_key, 1))
        sent = seer.vppd("tx", "send", "-", "-o", "json", stdin=raw)
        assert sent.code == 0
        eventually(lambda: "work has waited" in seer.vppd("status").out, "work is seen to wait")
        shown = seer.vppd("status")
        assert shown.code == 3
        assert "3 of 5 replicas are here, 4 needed to decide; they go on by themselves" in shown.out
        assert "missing: der-3, for " in shown.out
        assert "missing: der-4, for " in shown.out

        one.start()
        waited = seer.vppd("tx", "show", sent.data["hash"], "--wait", "-o", "json", seconds=60)
        assert waited.data["stage"] == "committed"
        assert seer.vppd("status").code == 0


def test_probe_asks_every_node_itself_whether_this_one_runs_or_not(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 4) as plant:
        plant.start()
        plant.nodes[3].kill()
        for asker in (plant.nodes[0], plant.nodes[3]):
            asked = asker.vppd("status", "--probe", "-o", "json")
            assert asked.code == 0
            assert (asked.data["voting"], asked.data["decides"]) == (3, True)
            assert asked.data["wrong_clocks"] == []
            nodes = {node["name"]: node for node in asked.data["nodes"]}
            assert nodes["der-3"]["why"] == "connection refused"
            assert abs(nodes["der-1"]["clock_ms"]) <= nodes["der-1"]["round_trip_ms"] + 1
        plant.nodes[2].kill()
        shown = plant.nodes[0].vppd("status", "--probe")
        assert shown.code == 3
        assert "DECISIONS HAVE STOPPED: 2 of 4 replicas vote, 3 needed" in shown.out


def test_watch_goes_on_while_the_node_is_down(tmp_path: Path) -> None:
    with plant_of(tmp_path / "plant", 1) as plant:
        plant.start()
        node = plant.nodes[0]
        with node.follow("status", "--watch", "-o", "json") as lines:
            eventually(lambda: any(b'"height"' in line for line in lines), "it is shown")
            node.kill()
            eventually(lambda: any(b'"E351"' in line for line in lines), "it says that it is down")
            count = len(lines)
            node.start()
            eventually(
                lambda: any(b'"height"' in line for line in lines[count:]), "it is shown again"
            )
