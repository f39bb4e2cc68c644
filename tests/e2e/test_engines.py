"""An engine that another distribution brings: simulated, in a plant of processes, and failing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.plugin import LAST_FIRST, distributions, install
from tests.e2e.plant import PATIENCE_S, Plant, plant_of, vppd
from vppd.config.genesis import ConsensusRules, Engine
from vppd.ledger.transaction import Transfer, transaction_id

pytestmark = [pytest.mark.slow, pytest.mark.net]

TOY = "last-first"
RULES = ConsensusRules(engine=Engine(TOY))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions that this process and every one started from it finds."""
    folder = tmp_path / "site"
    folder.mkdir()
    others = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{others}" if others else str(folder))
    with distributions(folder):
        yield folder


def pay(plant: Plant, amount: int) -> None:
    """One transfer of the last node's account to the first's, until it is decided."""
    payer = plant.nodes[-1]
    raw = plant.sign(payer, Transfer(plant.nodes[0].key.public_key, amount))
    paid = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert paid.code == 0, paid.err


def test_the_simulator_runs_it_under_every_fault(site: Path) -> None:
    install(site, TOY)
    ran = vppd("simulate", "--engine", TOY, "-n", 4, "--seeds", "1..3", "-o", "json")
    assert ran.code == 0, ran.err
    report = ran.data
    assert (report["engine"], report["violations"], report["forks"]) == (TOY, [], 0)
    assert report["decisions"]["fast"] > 0, "every other block is collected"
    assert report["decisions"]["fast_exit"] > 0, "and every other is not"


def test_without_it_the_simulator_names_those_that_are_there() -> None:
    ran = vppd("simulate", "--engine", TOY, "-n", 4, "--seeds", "1")
    assert ran.code == 2
    assert ran.err.startswith("error[E412]")
    assert "bncm | pbft" in ran.err


def test_a_plant_of_processes_agrees_on_it(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, TOY)
    with plant_of(tmp_path / "plant", 4, consensus=RULES) as plant:
        plant.start()
        for amount in range(1, 7):
            pay(plant, amount)
        plant.wait_equal()
        for node in plant.nodes:
            status = node.view("status")
            assert (status["engine"], status["leader"]) == (TOY, "der-3")
        decisions = plant.nodes[-1].view("status")["decisions"]
        assert decisions["fast"] > 0, f"its leader collects every other block: {decisions}"
        assert decisions["fast_exit"] > 0, f"and not the others: {decisions}"
        assert plant.nodes[1].vppd("block", "verify").code == 0

        monkeypatch.delenv("PYTHONPATH")
        plant.nodes[1].terminate()
        without = vppd("start", "--home", plant.nodes[1].home)
        assert without.code == 78
        assert without.err.startswith(f"error[E107]: no engine '{TOY}' is installed here")


def test_one_that_fails_ends_the_process_and_the_next_start_goes_on(
    site: Path, tmp_path: Path
) -> None:
    fails = LAST_FIRST.replace(
        "    def landed(self, landing):\n        pass\n",
        "    def landed(self, landing):\n        raise ValueError('a policy of glass')\n",
    )
    module = install(site, TOY, source=fails) / "toy_engine.py"
    with plant_of(tmp_path / "plant", 1, consensus=RULES) as plant:
        plant.start()
        node = plant.nodes[0]
        raw = plant.sign(node, Transfer(node.key.public_key, 1))
        node.vppd("tx", "send", "-", stdin=raw)  # perhaps without an answer
        assert node.process.wait(PATIENCE_S) != 0
        assert "a policy of glass" in node.log

        module.write_text(LAST_FIRST)
        plant.start()
        kept = node.vppd("tx", "show", transaction_id(raw).hex(), "--wait", "-o", "json")
        assert kept.data["stage"] == "committed", "its block was on disk before the failure"
        pay(plant, 2)
        assert node.vppd("block", "verify").code == 0
