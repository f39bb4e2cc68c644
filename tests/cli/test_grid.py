"""``vppd grid check``: a model, loads and trades to try, without a node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from vppd.errors import Exit

ROOT = Path(__file__).parents[2]
STREET = ROOT / "config" / "grid.toml"


def test_the_example_holds(vppd: Vppd) -> None:
    ran = vppd("grid", "check", STREET)
    assert ran.code == Exit.OK
    assert "every limit holds" in ran.out
    assert "transformer" in ran.out


def test_loads_bring_voltages_down_and_lines_to_their_limits(vppd: Vppd) -> None:
    ran = vppd("grid", "check", STREET, "--load", "3=40000", "-o", "json")
    assert ran.code == Exit.OK
    data = ran.data
    assert data["holds"] is True
    assert data["loss_w"] == 831
    assert data["buses"][3] == {
        "bus": 3,
        "name": "north 3",
        "load_w": 40_000,
        "voltage_ppm": 979_641,
    }
    assert [line["power_w"] for line in data["lines"]] == [40_831, 40_616, 40_401, 0, 0, 1_201, 0]
    assert sum(line["loss_w"] for line in data["lines"]) in range(829, 834)
    assert data["lines"][6]["open"] is True

    over = vppd("grid", "check", STREET, "--load", "5=99000", "--load", "5=1000", "-o", "json")
    assert over.code == Exit.FAILED
    assert [(v["limit"], v["where"]) for v in over.data["violations"]] == [
        ("too_low", 5),
        ("overload", 4),
    ]
    shown = vppd("grid", "check", STREET, "--load", "5=100000")
    assert "the voltage of bus 5 is too low: 0.9" in shown.out
    assert "line 4 is overloaded: 1.0" in shown.out
    high = vppd("grid", "check", STREET, "--load", "5=-150000")
    assert "the voltage of bus 5 is too high: 1.0" in high.out
    gone = vppd("grid", "check", STREET, "--load", "5=1000000", "-o", "json")
    assert (gone.code, gone.data["loss_w"]) == (Exit.FAILED, None)
    assert "no voltages carry this load" in vppd("grid", "check", STREET, "--load", "5=1000000").out


def test_power_runs_the_way_a_line_is_written(vppd: Vppd) -> None:
    data = vppd("grid", "check", STREET, "--load", "3=-40000", "-o", "json").data
    assert data["lines"][0]["power_w"] < -39_000
    turned = STREET.read_text(encoding="utf-8").replace("from = 0\nto = 1\n", "from = 1\nto = 0\n")
    Path("turned.toml").write_text(turned, encoding="utf-8")
    other = vppd("grid", "check", "turned.toml", "--load", "3=-40000", "-o", "json").data
    first, second = data["lines"][0], other["lines"][0]
    assert second["power_w"] == -(first["power_w"] + first["loss_w"]) + 2 * first["loss_w"]


def test_trades_are_cut_as_at_gate_closure(vppd: Vppd) -> None:
    trades = [
        {"seller_bus": 3, "buyer_bus": 5, "quantity_wh": 12_000},
        {"seller_bus": 3, "buyer_bus": 6, "quantity_wh": 90_000},
        {"seller_bus": 6, "buyer_bus": 6, "quantity_wh": 10},
    ]
    Path("trades.json").write_text(json.dumps(trades), encoding="utf-8")
    ran = vppd("grid", "check", STREET, "--trades", "trades.json", "-o", "json")
    assert ran.code == Exit.OK
    first, second, third = ran.data["trades"]
    assert (first["kept_wh"], first["lines"]) == (12_000, [2, 1, 0, 3, 4])
    assert 8_000 < second["kept_wh"] < 14_000
    assert (third["kept_wh"], third["lines"], third["loss_mwh"]) == (10, [], 0)
    longer = vppd(
        "grid", "check", STREET, "--trades", "trades.json", "--minutes", 60, "-o", "json"
    ).data["trades"]
    assert longer[1]["kept_wh"] > second["kept_wh"]
    assert (
        "trades and what the grid carries"
        in vppd("grid", "check", STREET, "--trades", "trades.json").out
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--load", "3"), "not a bus, = and whole watts"),
        (("--load", "3=1.5"), "not a bus, = and whole watts"),
        (("--load", "9=1"), "the grid has no bus 9"),
        (("--load", f"3={2**51}"), "W either way"),
    ],
)
def test_a_load_that_cannot_be_is_refused(vppd: Vppd, options: tuple[str, str], said: str) -> None:
    ran = vppd("grid", "check", STREET, *options)
    assert ran.code == Exit.USAGE
    assert "E542" in ran.err
    assert said in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "truncated"),
        ("[{}]", "missing required field"),
        ('[{"seller_bus": 3, "buyer_bus": 5, "quantity_wh": 0}]', ">= 1"),
        ('[{"seller_bus": 3, "buyer_bus": 8, "quantity_wh": 1}]', "[0]: the grid has no bus 8"),
        (None, "No such file"),
    ],
)
def test_trades_that_cannot_be_are_refused(vppd: Vppd, text: str | None, said: str) -> None:
    if text is not None:
        Path("trades.json").write_text(text, encoding="utf-8")
    ran = vppd("grid", "check", STREET, "--trades", "trades.json")
    assert ran.code == Exit.FAILED
    assert "E543" in ran.err
    assert said in ran.err


def test_a_contradictory_model_says_all_that_is_wrong(vppd: Vppd) -> None:
    text = STREET.read_text(encoding="utf-8").replace("open = true", "").replace("to = 6", "to = 8")
    Path("grid.toml").write_text(text, encoding="utf-8")
    ran = vppd("grid", "check", "grid.toml")
    assert ran.code == Exit.BAD_CONFIG
    assert "E540" in ran.err
    assert "unknown bus at grid.line[5].to: no [[grid.bus]] has id 8" in ran.err
