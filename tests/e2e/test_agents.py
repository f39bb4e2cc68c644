"""``vppd agent run`` as typed: agents trade on a plant of real daemons, and start again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.plant import Node, Plant, Ran, eventually, plant_of, vppd
from vppd.cli.testnet import table_1_tariffs
from vppd.config.genesis import MarketRulesSection
from vppd.config.stages import StageRules

pytestmark = [pytest.mark.slow, pytest.mark.net]

SLOT_MS = 3_000
SELLER = """
schema = 1
generation_cost = "0.30"

[[asset]]
kind = "pv"
name = "roof"
peak_w = 5000
irradiance_w_m2 = [{sun}]

[[asset]]
kind = "battery"
name = "battery"
capacity_wh = 4000
max_import_w = 1000
max_export_w = 1000
level_wh = 2000
"""
BUYER = """
schema = 1

[[asset]]
kind = "load"
name = "home"
wh = [{load}]
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    market = MarketRulesSection(
        origin_ms=int(time.time() * 1_000) // SLOT_MS * SLOT_MS - 8 * SLOT_MS,
        slot_ms=SLOT_MS,
        market_slot_minutes=60,
        open_lead_ms=2 * SLOT_MS,
        gate_lead_ms=SLOT_MS // 4,
        metering_ms=SLOT_MS,
        dispute_slots=1_000,
        tariffs=table_1_tariffs(),
        stages=StageRules(plans="required"),
    )
    out = tmp_path_factory.mktemp("agents") / "plant"
    with plant_of(out, 3, market=market) as made:
        sun, load = ", ".join(["600"] * 24), ", ".join(["2500"] * 24)
        (made.nodes[1].home / "site.toml").write_text(SELLER.format(sun=sun))
        (made.nodes[2].home / "site.toml").write_text(BUYER.format(load=load))
        made.start()
        yield made


def agent(node: Node, *args: object) -> Ran:
    return vppd("agent", "run", "--home", node.home, *args, "-o", "json", seconds=90)


def test_agents_trade_deliver_and_start_again(plant: Plant) -> None:
    seller, buyer = plant.nodes[1:]
    with ThreadPoolExecutor() as pool:
        sold = pool.submit(agent, seller, "--slots", 3, "--deliver")
        bought = pool.submit(agent, buyer, "--slots", 3, "--deliver", "--strategy", "p3")
        ended = [sold.result(), bought.result()]
    assert [ran.code for ran in ended] == [0, 0], ended
    rows = [[json.loads(line) for line in ran.out.splitlines()] for ran in ended]
    assert [len(each) for each in rows] == [3, 3]
    for offers, bids in zip(*rows, strict=True):
        assert offers["side"] == "offer"
        assert bids["side"] == "bid"
        assert bids["load_wh"] == 2_500
        assert offers["generation_wh"] >= 3_000
        assert (offers["outcome"], bids["outcome"]) == ("ordered", "ordered")
    slots = {row["slot"] for row in rows[0]} & {row["slot"] for row in rows[1]}
    assert slots
    for slot in slots:
        trades = eventually(partial(seller.view, "trades", str(slot)), f"slot {slot} trades")
        assert {(t["seller"], t["buyer"]) for t in trades} == {("der-1", "der-2")}
    last = max(slots)
    view = seller.vppd("market", "plan", "--slot", last, "-o", "json").data
    plans = {plan["account"]: plan for plan in view["plans"]}
    assert (plans["der-1"]["side"], plans["der-2"]["side"]) == ("seller", "buyer")
    assert plans["der-2"]["import_wh"] == 2_500
    assert [flow["resource"] for flow in plans["der-1"]["resources"]] == [1]
    (resource,) = buyer.vppd("market", "resources", "-o", "json").data
    assert (resource["account"], resource["kind"]) == ("der-1", "battery")
    for node in (seller, buyer):
        settled = eventually(partial(_settled, node, last), f"slot {last} of {node.name} settles")
        assert settled["import_wh"] + settled["export_wh"] > 0
        assert not settled["estimated"]
    assert json.loads((seller.home / "agent.json").read_text())["levels"]["battery"] <= 4_000

    again = agent(seller, "--slots", 1, "--strategy", "zero-intelligence")
    assert again.code == 0, again.err
    assert json.loads(again.out)["outcome"] in ("ordered", "orders were there already")


def test_people_plan_forecast_and_own_from_the_command_line(plant: Plant) -> None:
    operator, seller, _ = plant.nodes
    ran = seller.vppd("market", "resource", 9, "pv", "--max-export-w", 4_000, "--wait")
    assert ran.code == 0, ran.err
    ran = seller.vppd("market", "plan", "--resource", 9, "--import", 1, "--wait")
    assert ran.code == 1
    assert "not so much power" in ran.out + ran.err
    said = seller.vppd("market", "plan", "--export", "300", "--wait")
    assert said.code == 0, said.err
    ran = seller.vppd("market", "forecast", "--load", 5, "--wait")
    assert ran.code == 1
    ran = operator.vppd("market", "forecast", "--load", 5_000, "--generation", 4_000, "--wait")
    assert ran.code == 0, ran.err
    ran = seller.vppd("market", "resource", 9, "--retire", "--wait")
    assert ran.code == 0, ran.err
    for wrong in (("--import", "1,x"), ("--import", "1,2", "--export", "3")):
        ran = seller.vppd("market", "plan", *wrong)
        assert (ran.code, ran.err[:11]) == (2, "error[E552]")
    ran = seller.vppd("market", "resource", 9)
    assert (ran.code, ran.err[:11]) == (2, "error[E553]")


def _settled(node: Node, slot: int) -> dict[str, int] | None:
    slots = {row["slot"]: row["phase"] for row in node.view("slots")}
    if slots.get(slot) != "settled":
        return None
    found: dict[str, int] = node.view("settlement", f"{slot}/{node.name}")
    return found


def test_an_unknown_strategy_is_met_with_the_list(plant: Plant) -> None:
    ran = agent(plant.nodes[1], "--strategy", "clever")
    assert ran.code == 2
    assert ran.err.startswith("error[E550]: there is no strategy 'clever'")
    assert "p3, zero-intelligence, supply-function, grid-only" in ran.err


def test_a_key_that_the_chain_does_not_know_is_named(plant: Plant, tmp_path: Path) -> None:
    assert vppd("key", "gen", "--out", tmp_path / "other.key").code == 0
    ran = agent(plant.nodes[1], "--key", tmp_path / "other.key")
    assert ran.code == 1
    assert ran.err.startswith("error[E557]")
    ran = agent(plant.nodes[1], "--forecaster", "oracle")
    assert ran.err.startswith("error[E556]")
