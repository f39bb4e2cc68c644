"""Members, duties and demand response as typed, on a plant of real daemons."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Plant, Ran, plant_of, vppd
from vppd.cli.testnet import table_1_tariffs
from vppd.config.genesis import MarketRulesSection

pytestmark = [pytest.mark.slow, pytest.mark.net]

SLOT_MS = 900_000


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    market = MarketRulesSection(slot_ms=SLOT_MS, tariffs=table_1_tariffs())
    with plant_of(tmp_path_factory.mktemp("members") / "plant", 3, market=market) as made:
        made.start()
        yield made


def typed(plant: Plant, node: int, *words: object) -> Ran:
    return vppd(*words, "--home", plant.nodes[node].home, seconds=60)


def asked(plant: Plant, node: int, *words: object) -> Any:
    return typed(plant, node, *words, "-o", "json").data


def new_key(folder: Path, name: str) -> tuple[Path, str]:
    file = folder / f"{name}.key"
    return file, vppd("key", "gen", "--out", file, "-o", "json").data["id"]


def test_a_member_comes_is_called_answers_and_is_barred(plant: Plant, tmp_path: Path) -> None:
    file, public = new_key(tmp_path, "house-7")
    _, meter = new_key(tmp_path, "meter-7")
    first = int(time.time() * 1_000) // SLOT_MS + 8
    operator = asked(plant, 0, "status")["name"]

    assert typed(plant, 1, "member", "register", "house-7", public).code == 1, "no duty"
    done = asked(plant, 0, "member", "register", "house-7", public, "--aggregator", operator)
    assert [event["event"] for event in done["events"]] == ["AccountOpened", "MemberRegistered"]
    assert asked(plant, 0, "meter", "enrol", meter, "house-7", "--from", first)["status"] == "ok"
    control = ("meter", "control", meter, "--from", first + 4, "--pause", "--reason", "works")
    assert asked(plant, 0, *control)["status"] == "ok"
    assert asked(plant, 0, "member", "set", "house-7", "capacity_w=3000")["status"] == "ok"
    (row,) = [r for r in asked(plant, 1, "member", "list") if r["name"] == "house-7"]
    assert (row["aggregator"], row["standing"]) == (operator, "active")
    assert row["meters"][0]["pauses"] == [{"first_slot": first + 4, "next_slot": None}]
    assert asked(plant, 2, "member", "parameters", "house-7")["parameters"] == {"capacity_w": 3_000}

    build = ("project", "build", "evening", "--price", "0.20", "--capacity-w", 5_000)
    assert typed(plant, 0, *build).out.splitlines()[0] == "contract 0"
    assert asked(plant, 0, "project", "release", 0)["status"] == "ok"
    too_much = ("project", "join", 0, "--capacity-w", 4_000, "--key", file)
    refused = asked(plant, 1, *too_much)
    assert (refused["error"], refused["which"]) == ("out_of_bounds", "commitment")
    (op,) = refused["transaction"]["ops"]
    assert op["method"] == "join", "the node says what kind was called, the receipt does not"
    assert op["args"] == {"capacity_w": 4_000, "version": 1, "auto": False}
    joined = asked(plant, 1, "project", "join", 0, "--capacity-w", 2_000, "--key", file)
    assert joined["status"] == "ok"
    assert asked(plant, 2, "project", "list")[0]["members"][0]["name"] == "house-7"
    issue = ("event", "issue", "--project", 0, "--from", first, "--power-w", 1_000)
    assert asked(plant, 0, *issue)["contracts"] == [1]
    answered = asked(plant, 1, "event", "respond", 1, "in", "--key", file)
    assert answered["status"] == "ok"
    assert answered["transaction"]["ops"][0]["args"] == {"answer": "in"}
    shown = asked(plant, 2, "event", "show", 1)
    assert [(m["name"], m["answer"]) for m in shown["members"]] == [("house-7", "in")]
    assert "house-7" in typed(plant, 2, "event", "show", 1).out
    assert asked(plant, 0, "event", "cancel", 1, "--reason", "wind")["status"] == "ok"
    assert typed(plant, 2, "event", "list").out.strip() == "no event"

    grant = asked(plant, 0, "market", "grant", "house-7", "technical")
    assert grant["status"] == "ok"
    duties = asked(plant, 1, "market", "permissions")
    assert {"duty": "technical", "account": "house-7", "granted": True} in duties
    bar = asked(plant, 0, "market", "intervene", "bar", "house-7", "--reason", "false readings")
    assert bar["status"] == "ok"
    (row,) = [r for r in asked(plant, 1, "member", "list") if r["name"] == "house-7"]
    assert row["standing"] == "barred"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("member", "suspend", "nobody", "--reason", "x"), "E575"),
        (("member", "register", "x", "no-key"), "E576"),
        (("member", "set", "op-0", "capacity"), "E577"),
        (("meter", "control", "x", "--from", "9", "--pause", "--resume"), "E578"),
        (("event", "show", "77"), "E579"),
        (("event", "issue", "--from", "9"), "E580"),
        (("project", "build", "x", "--price", "much", "--capacity-w", "1"), "E581"),
        (("market", "intervene", "void", "x", "--reason", "y"), "E582"),
    ],
)
def test_what_is_typed_wrongly(plant: Plant, words: tuple[str, ...], code: str) -> None:
    ran = typed(plant, 0, *words)
    assert (ran.code, code in ran.err) == (2, True), ran.err
