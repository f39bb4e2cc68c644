"""``vppd dev``: a whole plant plays the first ten hours of the packaged day."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Ran, eventually, vppd
from vppd.consensus.flight import Cause

pytestmark = [pytest.mark.slow, pytest.mark.net]

N, SLOTS = 4, 10
VICTIM = "der-2"
KEYS = {
    "n", "engine", "height", "blocks", "transactions", "trades", "traded_wh", "members",
    "conserved", "heights_by_node", "head_hashes", "commit_ms", "view_changes", "decisions",
    "fast_share", "fallbacks",
}  # fmt: skip
MEMBER_KEYS = {"name", "role", "side", "net_wh", "paid_micro", "paid_grid_only_micro"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("day") / "plant"


@pytest.fixture(scope="module")
def played(out: Path) -> Ran:
    """``vppd dev --exit -o json``, with a DER killed in the middle of the day."""
    running = subprocess.Popen(
        [
            sys.executable, "-m", "vppd", "dev", "-n", str(N), "--slots", str(SLOTS),
            "--slot-seconds", "1", "--out", str(out), "--exit", "-o", "json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    try:
        victim = eventually(lambda: _pid_of(out / VICTIM, running.pid), "the DER runs", 30)
        eventually((out / VICTIM / "vppd.sock").exists, "it listens", 30)
        eventually(lambda: _height(out / VICTIM) > 10, "some blocks", 30)
        os.kill(victim, 9)
        printed, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    return Ran(running.returncode, printed.decode(), said.decode())


def _pid_of(home: Path, parent: int) -> int | None:
    """The daemon of that home among the children of ``parent``."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = f"PPid:\t{parent}\n" in (entry / "status").read_text()
        except OSError:  # gone meanwhile
            continue
        if ours and os.fsencode(home) in words:
            return int(entry.name)
    return None


def _height(home: Path) -> int:
    shown = vppd("status", "--home", home, "-o", "json")
    return int(shown.data["height"]) if shown.out else 0


@pytest.fixture(scope="module")
def result(played: Ran) -> dict[str, Any]:
    assert played.code == 0, played.err
    printed: dict[str, Any] = played.data
    return printed


def test_the_keys_are_those_that_others_script_against(result: dict[str, Any]) -> None:
    assert set(result) >= KEYS
    for member in result["members"]:
        assert set(member) >= MEMBER_KEYS
    assert set(result["commit_ms"]) >= {"mean", "p50", "p99"}


def test_the_books_balance(result: dict[str, Any]) -> None:
    assert result["conserved"] is True
    assert result["findings"] == []


def test_every_node_ends_in_the_same_block(result: dict[str, Any]) -> None:
    names = {"op-0", "der-1", "der-2", "der-3"}
    assert set(result["heights_by_node"]) == set(result["head_hashes"]) == names
    assert set(result["heights_by_node"].values()) == {result["height"]}
    assert len(set(result["head_hashes"].values())) == 1
    assert (result["n"], result["engine"], result["blocks"]) == (N, "bncm", result["height"])


def test_some_heights_went_fast_and_those_without_the_der_the_slow_way(
    result: dict[str, Any],
) -> None:
    counts = result["decisions"]
    fast = counts.get("fast", 0) + counts.get("fast_exit", 0)
    assert fast > 0
    assert result["fast_share"] == round(fast / (fast + counts.get("slow", 0)), 4)
    assert counts.get("slow", 0) > 0
    assert set(result["fallbacks"]) <= set(Cause), "on broadcast a short day may wait for nobody"


def test_the_killed_der_came_back_and_no_day_was_lost(result: dict[str, Any], played: Ran) -> None:
    assert result["restarts"] == 1
    assert f"{VICTIM} died (SIGKILL); starting it again" in played.err
    readings = (N - 1) * SLOTS
    assert result["transactions"] >= readings


def test_members_trade_when_the_sun_rises_and_nobody_pays_more_than_at_the_grid(
    result: dict[str, Any],
) -> None:
    assert result["trades"] > 0
    assert result["traded_wh"] > 0
    members = {m["name"]: m for m in result["members"]}
    assert {m["role"] for m in members.values()} <= {"operator", "der"}
    for name in ("der-1", "der-2", "der-3"):
        member = members[name]
        assert member["side"] == ("buyer" if member["net_wh"] > 0 else "seller")
    paid = sum(m["paid_micro"] for m in members.values())
    assert paid <= sum(m["paid_grid_only_micro"] for m in members.values())


def test_the_stores_are_kept_and_hold(out: Path, result: dict[str, Any]) -> None:
    for name in result["heights_by_node"]:
        report = vppd("block", "verify", "--home", out / name, "-o", "json")
        assert report.code == 0, report.err
        assert report.data["last"] == result["height"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--engine", "raft"), "E412"),
        (("--path", "paper"), "E416"),
        (("--engine", "pbft", "--path", "collect"), "E416"),
        (("--rules", "fair"), "E414"),
        (("-n", "9", "--profiles", "no-such.csv"), "E40"),
    ],
    ids=["engine", "path", "path of pbft", "rules", "profiles"],
)
def test_what_cannot_be_played_is_said(args: tuple[str, ...], code: str, tmp_path: Path) -> None:
    ended = vppd("dev", "--exit", *args, cwd=tmp_path)
    assert ended.code in (1, 2)
    assert f"error[{code}" in ended.err
