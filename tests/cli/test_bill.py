"""``vppd market bill``: its forms, a file checked without a node, and wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.client.billed import Serves, day, plant, played
from tests.store.real_chain import KEYS
from vppd.cli import bill as cli
from vppd.cli.bill import BillForm, bill, member_key
from vppd.client.bill_fetch import fetch_bill
from vppd.client.bill_page import bill_page
from vppd.client.bill_proof import Bill
from vppd.config.billing import CreditRules
from vppd.config.genesis import Genesis
from vppd.config.genesis_file import render_genesis
from vppd.errors import UserError

PLANT = plant()


@pytest.fixture
def genesis_file(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.toml"
    text = render_genesis(
        name="another",
        consensus=PLANT.consensus,
        market=PLANT.market,
        validators=PLANT.validators,
        accounts=PLANT.accounts,
        meters=PLANT.meters,
    )
    path.write_text(text)
    return path


async def made(genesis: Genesis = PLANT) -> Bill:
    maker = played(genesis)
    return await fetch_bill(Serves(maker), genesis, KEYS[2].public_key, day(maker, 0))


async def test_a_file_of_another_plant_fails(tmp_path: Path, genesis_file: Path) -> None:
    file = tmp_path / "bill.json"
    file.write_bytes(msgspec.json.encode(await made()))
    with pytest.raises(UserError) as error:
        bill("verify", file, genesis=genesis_file)
    assert error.value.code == "E530"


@pytest.mark.parametrize("form", ["json", "html"])
async def test_a_file_that_holds_says_so(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "load_genesis", lambda _: PLANT)
    document = await made()
    file = tmp_path / f"bill.{form}"
    text = bill_page(document, "0").encode() if form == "html" else msgspec.json.encode(document)
    file.write_bytes(text)
    bill("verify", file)
    assert "the bill of der-2 for day 0 holds: " in capsys.readouterr().out
    bill("verify", file, output=BillForm.JSON)
    assert json.loads(capsys.readouterr().out)["ok"]


async def test_what_cannot_be_proved_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = replace(PLANT, market=replace(PLANT.market, credit=CreditRules()))
    monkeypatch.setattr(cli, "load_genesis", lambda _: old)
    file = tmp_path / "bill.json"
    file.write_bytes(msgspec.json.encode(await made(old)))
    bill("verify", file)
    assert "not proved: that these are all lines" in capsys.readouterr().out


async def test_a_bill_is_printed_in_three_forms(capsys: pytest.CaptureFixture[str]) -> None:
    document = await made()
    cli._print(document, PLANT, BillForm.TABLE)
    text = capsys.readouterr().out
    assert "purchase" in text
    assert f"total {document.bill.total} CNY" in text
    cli._print(document, PLANT, BillForm.JSON)
    assert json.loads(capsys.readouterr().out)["bill"]["total_micro"] == document.bill.total_micro
    cli._print(document, PLANT, BillForm.HTML)
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        bill("verify", tmp_path / "none.json")
    assert error.value.code == "E535"


def test_a_bill_needs_a_day() -> None:
    with pytest.raises(UserError) as error:
        bill("der-1")
    assert error.value.code == "E534"


def test_members_have_names_and_keys() -> None:
    assert member_key(PLANT, "der-1") == KEYS[1].public_key
    with pytest.raises(UserError) as error:
        member_key(PLANT, "der-9")
    assert error.value.code == "E536"


def test_days_have_numbers_here() -> None:
    with pytest.raises(UserError) as error:
        cli._day(PLANT, "tomorrow")
    assert error.value.code == "E537"
