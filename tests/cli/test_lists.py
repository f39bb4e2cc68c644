"""Lists of members are in the order of names, and filters say what there is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Vppd
from vppd.cli import acting, members, meter
from vppd.cli.output import Output
from vppd.cli.testnet import write_testnet
from vppd.client.names import name_order


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DER's folder; nobody runs."""
    out = tmp_path_factory.mktemp("lists") / "plant"
    return write_testnet(out, 2, transport="plain").nodes[1].home


class Node:
    """Answers views as a node does: by key."""

    async def view(self, name: str, argument: str = "") -> Any:
        people = {"k1": "der-10", "k2": "op-0", "k3": "der-2"}
        if name == "account":
            owner = people[f"k{argument[1]}"]
            registers = {"import_wh": 0, "export_wh": 0, "known_before_slot": 0, "readings": []}
            return {"key": argument, "account": owner, **registers}
        return [
            {"name": who, "key": key, "aggregator": None, "standing": "active", "duties": [],
             "meters": [f"m{key[1]}"]}
            for key, who in people.items()
        ]  # fmt: skip


def _ask(_home: Path, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work(Node())

    return asyncio.run(main())


def test_names_are_in_the_order_of_people() -> None:
    names = ["op-0", "der-10", "der-2", "der", "10", "der-2b", "9", "der-02"]
    assert sorted(names, key=name_order) == [
        "9", "10", "der", "der-02", "der-2", "der-2b", "der-10", "op-0",
    ]  # fmt: skip


@pytest.mark.parametrize("output", list(Output))
def test_members_are_listed_by_name(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(acting, "with_client", _ask)
    members.list_members(output=output)
    said = capsys.readouterr().out
    assert said.index("der-2") < said.index("der-10") < said.index("op-0")


def test_meters_are_listed_by_their_members_names(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meter, "with_client", _ask)
    meter.list_meters(home, Output.JSON)
    rows = json.loads(capsys.readouterr().out)
    assert [row["account"] for row in rows] == ["der-2", "der-10", "op-0"]


# ------------------------------------------------------------ filters


def test_a_state_that_no_order_has_is_refused(vppd: Vppd, home: Path) -> None:
    ran = vppd("market", "orders", "--state", "junk", "--home", home)
    assert ran.code == 2
    for state in ("resting", "filled", "cancelled", "left"):
        assert state in ran.err


def test_a_kind_that_no_contract_has_is_refused(vppd: Vppd, home: Path) -> None:
    ran = vppd("market", "contracts", "--kind", "junk", "--home", home)
    assert ran.code == 2
    for kind in ("slot", "deal", "standby", "urgent", "three-party", "project", "event"):
        assert kind in ran.err
    assert vppd("market", "contracts", "--kind", "slot", "--home", home).code == 1, "no node runs"


def test_rules_are_not_for_a_members_credit(vppd: Vppd, home: Path) -> None:
    ran = vppd("market", "credit", "der-1", "--rules", "paper003", "--home", home)
    assert ran.code == 2
    assert "--rules (default, level, paper003, fixed) is for a FILE" in ran.err
    assert "vppd market rules" in ran.err
