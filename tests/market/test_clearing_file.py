"""``vppd market clear``: the file, its faults, and the command."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from tests.market.golden import T2
from vppd.cli.clear import clear
from vppd.cli.output import Output
from vppd.errors import Exit, UserError
from vppd.market.auction import RULES
from vppd.market.clearing_file import clear_file


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "S1",
        "agent": "Agg1",
        "side": "offer",
        "quantity_wh": 1_000,
        "price": "0.72",
        "reserve_price": "0.695",
        "credit": "0.823",
        **changes,
    }


def document(*orders: dict[str, Any], **tariff: Any) -> bytes:
    prices = {"retail_price": "0.86", "feed_in_price": "0.65", **tariff}
    return json.dumps({"tariff": prices, "orders": orders}).encode()


BUYER = entry(id="B1", agent="Agg2", side="bid", price="0.73", reserve_price="0.8", credit="0.5")


def refused(data: bytes, rules: str = "production") -> UserError:
    with pytest.raises(UserError) as error:
        clear_file(data, rules, source="book.json")
    return error.value


def test_output_has_exactly_the_documented_form() -> None:
    assert clear_file(document(entry(), {**BUYER, "quantity_wh": 1_500}), "production") == {
        "trades": [
            {
                "seller": "Agg1",
                "buyer": "Agg2",
                "offer_id": "S1",
                "bid_id": "B1",
                "quantity_wh": 1_000,
                "price": "0.726",
                "price_micro": 726_221,
                "round": 1,
            }
        ],
        "residuals": [
            {
                "agent": "Agg2",
                "order_id": "B1",
                "side": "bid",
                "quantity_wh": 500,
                "price": "0.86",
            }
        ],
    }


def test_orders_arrive_in_list_order() -> None:
    rival = entry(id="S2", agent="Agg3")
    first = clear_file(document(entry(), rival, BUYER), "production")
    second = clear_file(document(rival, entry(), BUYER), "production")
    assert [trade["offer_id"] for trade in first["trades"]] == ["S1"]
    assert [trade["offer_id"] for trade in second["trades"]] == ["S2"]


def test_no_orders_clear_to_nothing() -> None:
    assert clear_file(document(), "two-stage") == {"trades": [], "residuals": []}


def test_the_same_agent_may_have_several_orders() -> None:
    cleared = clear_file(document(entry(), entry(id="S2")), "production")
    assert [residual["order_id"] for residual in cleared["residuals"]] == ["S1", "S2"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"orders", b"\xff", b'{"tariff": NaN}', document()[:-1], document() + b"}"]
)
def test_anything_but_json_is_refused(data: bytes) -> None:
    error = refused(data)
    assert (error.code, error.facts["file"]) == ("E200", "book.json")


@pytest.mark.parametrize("name", list(entry()))
def test_a_missing_field_is_named_with_its_path(name: str) -> None:
    incomplete = entry()
    del incomplete[name]
    error = refused(document(BUYER, incomplete))
    assert (error.code, error.facts["at"]) == ("E201", "orders[1]")
    assert f"`{name}`" in error.facts["found"]
    assert error.hint == f'add "{name}"'


@pytest.mark.parametrize("data", [b"{}", b'{"orders": []}'])
def test_a_missing_table_is_named(data: bytes) -> None:
    error = refused(data)
    assert (error.code, error.facts["at"]) == ("E201", "top level")
    assert "`tariff`" in error.facts["found"]


@pytest.mark.parametrize(
    ("key", "hint"), [("quantity", '"quantity_wh"'), ("prise", '"price"'), ("xx", 'remove "xx"')]
)
def test_an_unknown_key_is_an_error_with_a_suggestion(key: str, hint: str) -> None:
    error = refused(document(entry(**{key: 1})))
    assert (error.code, error.facts["at"], error.hint) == ("E201", "orders[0]", hint)
    assert f"`{key}`" in error.facts["found"]


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"price": 0.72}, "orders[0].price", 'quotes around it, as in "0.72"'),
        ({"credit": None}, "orders[0].credit", 'quotes around it, as in "0.72"'),
        ({"quantity_wh": "5"}, "orders[0].quantity_wh", None),
        ({"quantity_wh": 1.5}, "orders[0].quantity_wh", None),
        ({"quantity_wh": True}, "orders[0].quantity_wh", None),
    ],
)
def test_a_wrong_type_is_named_with_its_path(
    changes: dict[str, Any], path: str, hint: str | None
) -> None:
    error = refused(document(entry(**changes)))
    assert (error.code, error.facts["at"], error.hint) == ("E201", path, hint)


def test_an_id_is_given_once() -> None:
    error = refused(document(entry(), BUYER, entry()))
    assert (error.code, error.facts["at"]) == ("E202", "orders[2]")
    assert error.facts["found"] == "'S1', as orders[0]"


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_quantity_is_above_zero(quantity: int) -> None:
    error = refused(document(entry(quantity_wh=quantity)))
    assert (error.code, error.facts["at"]) == ("E203", "orders[0].quantity_wh")


@pytest.mark.parametrize("text", ["", "1e3", "0,7", "-0.7", "0.1234567", "free"])
@pytest.mark.parametrize("name", ["price", "reserve_price"])
def test_a_price_is_a_decimal(name: str, text: str) -> None:
    error = refused(document(BUYER, entry(**{name: text})))
    assert (error.code, error.facts["at"]) == ("E204", f"orders[1].{name}")
    assert repr(text) in error.facts["found"]


@pytest.mark.parametrize("name", ["retail_price", "feed_in_price"])
def test_a_tariff_is_a_decimal(name: str) -> None:
    error = refused(document(**{name: "cheap"}))
    assert (error.code, error.facts["at"]) == ("E204", f"tariff.{name}")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"reserve_price": "0.721"}, "the reserve price of an offer is above its price"),
        (
            {"side": "bid", "reserve_price": "0.719"},
            "the reserve price of a bid is below its price",
        ),
    ],
)
def test_a_reserve_price_is_no_better_than_the_price(changes: dict[str, Any], what: str) -> None:
    error = refused(document(entry(**changes)))
    assert (error.code, error.what) == ("E205", what)
    assert error.facts["at"] == "orders[0].reserve_price"


@pytest.mark.parametrize("side", ["offer", "bid"])
def test_a_reserve_price_may_equal_the_price(side: str) -> None:
    cleared = clear_file(document(entry(side=side, reserve_price="0.72")), "production")
    assert [residual["side"] for residual in cleared["residuals"]] == [side]


@pytest.mark.parametrize("credit", ["1.000001", "2", "-0.1", "good"])
def test_a_credit_is_from_0_to_1(credit: str) -> None:
    error = refused(document(entry(credit=credit)))
    assert (error.code, error.facts["at"]) == ("E206", "orders[0].credit")


@pytest.mark.parametrize("credit", ["0", "1", "1.0"])
def test_credits_0_and_1_are_allowed(credit: str) -> None:
    assert clear_file(document(entry(credit=credit)), "production")["trades"] == []


@pytest.mark.parametrize(
    ("name", "closest"),
    [("papers003", "paper003"), ("two_stage", "two-stage"), ("xyz", "production")],
)
def test_unknown_rules_are_a_usage_error_with_the_names_and_the_closest(
    name: str, closest: str
) -> None:
    error = refused(document(), name)
    assert (error.code, error.exit_code) == ("E207", Exit.USAGE)
    assert error.facts["known"] == ", ".join(RULES)
    assert error.hint == f"--rules {closest}"


@pytest.mark.parametrize("side", ["sell", "Offer", ""])
def test_a_side_is_offer_or_bid(side: str) -> None:
    error = refused(document(entry(side=side)))
    assert (error.code, error.facts["at"]) == ("E208", "orders[0].side")
    assert error.facts["found"] == repr(side)


def test_the_command_prints_what_the_function_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t2.json"
    file.write_bytes(T2.document())
    clear(file, "literal003", Output.JSON)
    assert json.loads(capsys.readouterr().out) == clear_file(T2.document(), "literal003")


def test_the_command_prints_tables_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t2.json"
    file.write_bytes(T2.document(T2.arrival))
    clear(file, "paper003")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["SELLER", "BUYER", "OFFER", "BID", "QUANTITY_WH", "PRICE", "ROUND"]
    assert lines[2] == ["Agg1", "Agg6", "S1", "B6", "90400", "0.325", "1"]
    assert lines[-1] == ["Agg2", "S2", "offer", "6140", "0.24"]


def test_the_command_says_when_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "empty.json"
    file.write_bytes(document())
    clear(file)
    assert capsys.readouterr().out == "no trades\n\nnothing left for the grid\n"


def test_the_command_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(document(entry()))))
    clear(Path("-"), output=Output.JSON)
    assert json.loads(capsys.readouterr().out) == clear_file(document(entry()), "production")


def test_the_command_names_a_file_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        clear(tmp_path / "absent.json")
    assert error.value.code == "E209"
    assert error.value.facts["file"] == str(tmp_path / "absent.json")


def test_the_command_names_the_file_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(b"{")
    with pytest.raises(UserError) as error:
        clear(file)
    assert error.value.facts["file"] == str(file)
