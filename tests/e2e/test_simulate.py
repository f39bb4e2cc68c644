"""``vppd simulate``: what it prints, and what a violation looks like."""

from __future__ import annotations

import json
import sys

import pytest

from tests.e2e.plant import Ran, vppd
from vppd.cli.main import run
from vppd.simulate import cluster

pytestmark = pytest.mark.slow

KEYS = {
    "engine", "path", "n", "seeds", "violations", "forks", "events", "events_per_s", "faults",
    "heights", "decisions", "fast_share", "fallbacks", "commit_ms", "messages_per_height",
    "bytes_per_height", "view_changes",
}  # fmt: skip


WORDS = (
    "--heights 7 --faults crash --path collect --operators 2 --delay 1ms --fail der-2=40% "
    "--kill der-2@3"
)


@pytest.fixture(scope="module")
def simulated() -> Ran:
    return vppd("simulate", "-n", 4, "--seeds", "1..6", "-o", "json")


def test_six_seeds_without_a_violation_exit_0(simulated: Ran) -> None:
    assert simulated.code == 0, simulated.err
    report = simulated.data
    assert set(report) >= KEYS
    assert (report["engine"], report["n"], report["seeds"]) == ("bncm", 4, [1, 6])
    assert (report["violations"], report["forks"]) == ([], 0)
    assert 0 < report["fast_share"] < 1
    assert report["heights"] >= 6 * 12
    assert report["events"] > 0
    assert report["events_per_s"] > 0
    assert sum(report["faults"].values()) > 0
    assert set(report["commit_ms"]) >= {"mean", "p50", "p99"}
    assert report["bytes_per_height"] > report["messages_per_height"] > 0


def test_a_single_seed_replays_alike(simulated: Ran) -> None:
    def replay(hash_seed: str) -> dict[str, object]:
        report: dict[str, object] = vppd(
            "simulate", "-n", 4, "--seeds", "3", "--jobs", 1, "-o", "json", hash_seed=hash_seed
        ).data
        report.pop("events_per_s")
        return report

    assert simulated.code == 0
    assert replay("1") == replay("2")


def test_a_fixed_delay_and_no_faults(simulated: Ran) -> None:
    assert simulated.code == 0
    shown = vppd(
        "simulate", "--engine", "pbft", "-n", 4, "--seeds", "1..2", "--delay", "10ms",
        "--faults", "none", "--heights", 5, "-o", "json",
    )  # fmt: skip
    assert shown.code == 0
    assert shown.data["faults"] == {}
    # A block to 3, 3 prepares and 4 commits to 3 each; now and then a reminder.
    assert 24 <= shown.data["messages_per_height"] < 27
    assert shown.data["commit_ms"]["p50"] >= 30, "three hops of 10 ms"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--seeds", "6..1"), "E410"),
        (("--seeds", "x"), "E410"),
        (("--delay", "10"), "E411"),
        (("--engine", "raft"), "E412"),
        (("--faults", "gremlins"), "E413"),
        (("--path", "sideways"), "E416"),
        (("--engine", "pbft", "--path", "collect"), "E416"),
        (("--engine", "pbft", "--path", "paper"), "E416"),
        (("--engine", "bncm-paper", "--unsafe", "--path", "paper"), "E416"),
        (("--fail", "der-9=40%"), "E424"),
        (("--fail", "der-3=140%"), "E424"),
        (("--fail", "der-3=40%,3=10%"), "E424"),
        (("--kill", "op-0@0"), "E425"),
        (("--kill", "op-0"), "E425"),
        (("--engine", "bncm-paper"), "E426"),
        (("--engine", "dpos", "--finality", "paper-majority"), "E426"),
        (("--finality", "paper-majority", "--unsafe"), "E427"),
        (("--engine", "bncm-paper", "--finality", "paper-majority", "--unsafe"), "E427"),
        (("--engine", "dpos", "--finality", "paper-majority", "--unsafe", "--twins", 2), "E427"),
        (("--engine", "dpos", "--path", "collect"), "E416"),
        (("--operators", 5), "E427"),
        (("--twins", 2, "--fail", "3=40%"), "E427"),
        (("--twins", 2, "--faults", "crash"), "E427"),
        (("--twins", 2, "--path", "paper"), "E427"),
        (("--fail", "der-3=1%", "--kill", "der-2@9"), "E428"),
        (("--trace", "x", "--seeds", "1..2"), "E443"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value)),
)
def test_what_cannot_be_simulated_exits_2(args: tuple[str, ...], code: str) -> None:
    ended = vppd("simulate", *args)
    assert ended.code == 2
    assert f"error[{code}]" in ended.err


def test_a_violation_exits_1_and_prints_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plants that are given too little time to get anywhere."""
    monkeypatch.setattr(cluster, "MAX_EVENTS_PER_HEIGHT", 3)  # a run's patience
    monkeypatch.setattr(cluster, "MAX_EVENTS_PER_LINK", 0)
    command = f"vppd simulate --engine bncm -n 4 --seeds 2..3 {WORDS} -o json"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--jobs", "1"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1
    printed, said = capsys.readouterr()
    violations = json.loads(printed)["violations"]
    assert [v["seed"] for v in violations] == [2, 3]
    replay = f"{command.split(' --seeds', maxsplit=1)[0]} --seeds 2 {WORDS}"
    assert violations[0]["replay"] == replay
    assert violations[0]["what"].startswith("no progress: ")
    assert f"violation, seed 2: {violations[0]['what']}\n  replay  {replay}\n" in said


def test_the_published_protocol_forks_on_seeds_where_ours_does_not() -> None:
    same = ("simulate", "-n", 4, "--seeds", "1..4", "--faults", "byzantine,crash", "-o", "json")
    published = vppd(*same, "--engine", "bncm-paper", "--unsafe")
    assert published.code == 1
    assert published.data["engine"] == "bncm-paper"
    assert published.data["forks"] == 4
    assert "fork at height" in published.err
    assert "--engine bncm-paper -n 4 --seeds 1 " in published.err
    assert "--unsafe" in published.err
    shipped = vppd(*same)
    assert (shipped.code, shipped.data["forks"]) == (0, 0)


def test_the_papers_majority_forks_on_seeds_where_locked_votes_do_not() -> None:
    same = (
        "simulate", "--engine", "dpos", "-n", 4, "--seeds", "1..6", "--faults", "partition",
        "-o", "json",
    )  # fmt: skip
    published = vppd(*same, "--finality", "paper-majority", "--unsafe")
    assert published.code == 1
    assert (published.data["engine"], published.data["finality"]) == ("dpos", "paper-majority")
    assert published.data["forks"] >= 3
    assert published.data["lies"] == {}
    assert "fork at height" in published.err
    replay = published.data["violations"][0]["replay"]
    assert replay.endswith("--finality paper-majority --unsafe"), replay
    again = vppd(*replay.split()[1:], "-o", "json")
    assert again.data["violations"] == published.data["violations"][:1]
    shipped = vppd(*same)
    assert (shipped.code, shipped.data["forks"]) == (0, 0)
    assert shipped.data["finality"] == "locked"


def test_the_published_timing_waits_where_ours_does_not() -> None:
    same = ("simulate", "--seeds", "1", "--faults", "none", "--fail", "der-3=100%", "-o", "json")
    published, shipped = vppd(*same, "--path", "paper"), vppd(*same)
    assert published.data["path"] == "paper"
    assert published.data["commit_ms"]["mean"] > 3 * shipped.data["commit_ms"]["mean"]
