"""``vppd market bill``: its forms, a file checked without a node, and wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.cli.conftest import Vppd
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


# ------------------------------------------------------------ pages that say something else


async def _page(tmp_path: Path) -> tuple[Path, bytes]:
    file = tmp_path / "bill.html"
    page = bill_page(await made(), "0").encode()
    file.write_bytes(page)
    return file, page


@pytest.mark.parametrize(
    ("shown", "forged"),
    [
        (b"<td>Bought", None),
        (b'<td class="n">-0.360000</td>', b'<td class="n">-9.360000</td>'),
        (b"<tbody>", b"<tbody><tr><td>Service charge</td></tr>"),
        (b"</body>", b"<p>Pay to another account</p></body>"),
        (b"<style>", b"<style>h1{display:none}"),
        (b"</html>\n", b"</html>"),
        (b"der-2, day 0", b"der-3, day 0"),
    ],
)
async def test_a_forged_page_fails(
    shown: bytes,
    forged: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bill inside is proved, and it is not what a person reads."""
    monkeypatch.setattr(cli, "load_genesis", lambda _: PLANT)
    file, page = await _page(tmp_path)
    if forged is None:
        start = page.index(b"<tbody><tr>") + len(b"<tbody>")
        end = page.index(b"</tr>", start) + len(b"</tr>")
        file.write_bytes(page[:start] + page[end:])
    else:
        assert shown in page
        file.write_bytes(page.replace(shown, forged))
    with pytest.raises(UserError, match="the page does not say what its bill says") as error:
        bill("verify", file)
    assert error.value.code == "E530"
    assert error.value.facts["file"] == str(file)
    assert error.value.facts["page"] != error.value.facts["bill"]


async def test_what_is_proved_is_told_with_its_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "load_genesis", lambda _: PLANT)
    file, _ = await _page(tmp_path)
    bill("verify", file)
    said = capsys.readouterr().out.splitlines()
    assert said[1] == (
        "total -0.500655 CNY; opening balance 200.000000, closing balance 199.499345, bids included"
    )
    assert said[2] == "the page shows this bill and nothing else"


async def test_a_bill_without_a_review_has_no_balances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = replace(PLANT, market=replace(PLANT.market, credit=CreditRules()))
    monkeypatch.setattr(cli, "load_genesis", lambda _: old)
    (tmp_path / "bill.json").write_bytes(msgspec.json.encode(await made(old)))
    bill("verify", tmp_path / "bill.json")
    assert "no opening or closing balance is stated" in capsys.readouterr().out


# ------------------------------------------------------------ calls that miss something


def test_verify_without_a_file_names_it(vppd: Vppd) -> None:
    for more in ((), ("--day", "0")):
        ran = vppd("market", "bill", "verify", *more)
        assert ran.code == 2
        assert ran.err.startswith("error[E534]: verify needs FILE, the bill to check")


async def test_verify_without_genesis_says_whose(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_bytes(msgspec.json.encode(await made()))
    ran = vppd("market", "bill", "verify", "bill.json")
    assert ran.code == 78
    assert ran.err.startswith("error[E100]: there is no genesis.toml")
    assert "--genesis genesis.toml of the plant" in ran.err


async def test_a_bill_that_does_not_hold_is_named(
    vppd: Vppd, tmp_path: Path, genesis_file: Path
) -> None:
    (tmp_path / "bill.json").write_bytes(msgspec.json.encode(await made()))
    ran = vppd("market", "bill", "verify", "bill.json", "--genesis", genesis_file)
    assert ran.code == 1
    assert "  file  bill.json\n" in ran.err
