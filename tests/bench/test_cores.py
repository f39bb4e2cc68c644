"""The papers' engines under the bench: the same words as in simulation, and forks that are seen."""

from __future__ import annotations

import json
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.bench.made import facts, summary
from tests.bench.test_run import SHORT, bench, only_pace
from tests.e2e.plant import Node, eventually, vppd
from vppd.bench import validity
from vppd.bench.cores import Core, machine_of, names
from vppd.bench.faults import Faults
from vppd.bench.plan import Plan, check, command
from vppd.bench.plant import write_plant
from vppd.bench.summary import medians
from vppd.config.genesis import Engine
from vppd.errors import UserError
from vppd.net.gate import Gate
from vppd.node.machine import Machine

REFUSED = (
    ("--engine", "bncm-paper"),
    ("--engine", "bncm-paper", "--unsafe", "--path", "broadcast"),
    ("--engine", "pbft", "--path", "paper"),
    ("--engine", "dpos", "--finality", "paper-majority"),
    ("--finality", "paper-majority", "--unsafe"),
    ("--engine", "nothing"),
)


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("verb", ["run", "saturate"])
def test_what_simulate_refuses_is_refused_in_the_same_words(
    verb: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    simulated = vppd("simulate", "--seeds", 1, *words, cwd=tmp_path)
    benched = vppd("bench", verb, *words, cwd=tmp_path)
    assert (benched.code, benched.out, benched.err) == (2, "", simulated.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("core", ["timed", "published", "majority"])
def test_the_command_of_a_core_asks_for_it_again(core: Core) -> None:
    engine = Engine("dpos") if core == "majority" else Engine("bncm")
    plan = Plan(engine=engine, path="auto" if core == "majority" else "collect", core=core)
    said = command(plan)
    words = {
        "timed": "--path paper",
        "published": "--engine bncm-paper --unsafe",
        "majority": "--engine dpos --finality paper-majority --unsafe",
    }
    assert words[core] in said
    assert ("--unsafe" in said) is plan.unsafe is (core != "timed")


def test_only_what_is_published_replaces_the_gate() -> None:
    assert machine_of("shipped", 0) is Machine
    made = {core: getattr(machine_of(core, 0), "keywords", {})
            for core in ("timed", "published", "majority")}  # fmt: skip
    assert "make_gate" not in made["timed"]
    for core in ("published", "majority"):
        assert issubclass(made[core]["make_gate"], Gate)
        assert made[core]["make_gate"] is not Gate
    late = machine_of("published", 400_000).keywords["make_engine"].keywords  # type: ignore[attr-defined]
    assert late["wait_ms"] >= 800, "a round trip at least"


def test_a_daemon_of_the_shipped_core_does_not_load_them() -> None:
    code = (
        "import sys; import vppd.bench.daemon, vppd.node.daemon; "
        "from vppd.bench.cores import machine_of; machine_of('shipped', 0); "
        "print([m for m in sys.modules if m.startswith('vppd.simulate.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"published", "majority", "paper", "cluster"} & {
        name.rpartition(".")[2] for name in literal_eval(done.stdout)
    }


def test_a_plant_that_runs_is_no_place_for_them() -> None:
    with pytest.raises(UserError, match="E431"):
        check(Plan(core="published", peers="p", keys="k"))


FORKS = ("height 3: op-0 aa, der-1 bb", "height 4: op-0 cc, der-1 dd")


def test_forks_of_a_safe_engine_make_a_run_invalid_and_of_an_unsafe_one_are_told() -> None:
    safe, unsafe = Plan(rate=100.0), Plan(rate=100.0, core="published")
    assert len(validity.reasons(facts(forks=FORKS))) == 2
    assert validity.remarks(safe, FORKS) == ()
    assert validity.reasons(facts(plan=unsafe, forks=FORKS)) == ()
    said = validity.remarks(unsafe, FORKS)
    assert "bncm-paper is unsafe" in said[0]
    assert "different blocks at 2 heights, first at height 3: op-0 aa, der-1 bb" in said[0]
    assert "did not" in validity.remarks(unsafe, ())[0]


def test_forks_of_several_runs_are_added_up() -> None:
    runs = [summary(), summary(forks=2, remarks=("so",)), summary(forks=1, remarks=("so", "and"))]
    together = medians(runs)
    assert (together.forks, together.remarks) == (3, ("so", "and"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--engine", "bncm-paper", "--unsafe"), ("bncm-paper", "collect", "locked", True)),
        (("--path", "paper"), ("bncm", "paper", "locked", False)),
    ],
)
def test_they_run_on_daemons(
    words: tuple[str, ...], named: tuple[str, str, str, bool], tmp_path: Path
) -> None:
    done = bench(tmp_path, *words, "--rate", 60, *SHORT, "-o", "json")
    found = done.ran.data
    assert only_pace(found), found["invalid_reasons"]
    assert (found["engine"], found["path"], found["finality"], found["unsafe"]) == named
    assert (found["forks"], found["timeouts"]) == (0, 0)
    assert any("unsafe" in remark for remark in found["remarks"]) is found["unsafe"]


def test_half_of_two_nodes_fork_when_words_take_longer_than_patience(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "-n", 2, "--engine", "dpos", "--finality", "paper-majority", "--unsafe",
        "--delay", "3s", "--rate", 20, "--duration", 6, "--warm-up", 1, "--accounts", 8,
    )  # fmt: skip
    found = done.json("summary.json")
    assert found["forks"] > 0
    assert "decided different blocks" in found["remarks"][0]
    assert "decided different blocks" in done.ran.out
    assert not any("unequal blocks" in reason for reason in found["invalid_reasons"])
    assert len({node["head"] for node in done.json("nodes.json")}) == 2
    page = (done.folder / "report.html").read_text()
    assert "finality paper-majority is unsafe" in page


def test_an_ordinary_start_has_no_way_to_them(tmp_path: Path) -> None:
    plan = replace(Plan(core="published", nodes=1, accounts=2, clients=1), path="collect")
    testnet, _ = write_plant(tmp_path / "plant", plan)
    node = Node(testnet.nodes[0])
    assert Faults.read(node.home).core == "published"
    node.start()
    try:
        status = eventually(lambda: _status(node), "the node answers")
    finally:
        node.end()
    assert status["engine"] == "bncm"
    assert names("published", "bncm", "collect").engine == "bncm-paper"


def _status(node: Node) -> dict[str, str] | None:
    ran = vppd("status", "--home", node.home, "-o", "json")
    return json.loads(ran.out) if ran.code == 0 else None
