"""Whatever stands on a chain can be shown: as JSON, keys as text, codes in words."""

from __future__ import annotations

import json

import pytest

from tests.ledger.upheaval import run
from tests.wire_samples import ALICE, CHANGES, OPS, READY, D, word
from vppd.client.render import REMEDY, render_receipt, render_transaction
from vppd.codec import encode
from vppd.crypto import key_text
from vppd.ledger.changes import Change, Configure
from vppd.ledger.codes import MEANING, ErrorCode
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.events import ContractMoved, OrderMade, TradeSigned
from vppd.ledger.kinds.terms import DealTerms, StandbyTerms, ThreePartyTerms
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.ledger.transaction import Op, make_statement, make_transaction


@pytest.mark.parametrize("op", OPS, ids=lambda op: word(type(op)))
def test_every_operation_is_shown(op: Op) -> None:
    shown = render_transaction(make_transaction(ALICE, D, 4, 1_007, (op,)))
    (said,) = json.loads(json.dumps(shown))["ops"]
    assert said["op"] == type(op).__name__
    assert said.keys() == {"op", *type(op).__struct_fields__}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: word(type(change)))
def test_every_change_is_shown_with_its_kind(change: Change) -> None:
    raw = make_transaction(ALICE, D, 4, 1_007, (Configure(0, (change,)),))
    (said,) = json.loads(json.dumps(render_transaction(raw)))["ops"][0]["changes"]
    assert said["kind"] == type(change).__name__
    assert said.keys() == {"kind", *type(change).__struct_fields__}


def shown_terms(op: OpenContract) -> object:
    shown = render_transaction(make_transaction(ALICE, D, 4, 1_007, (op,)))
    return json.loads(json.dumps(shown))["ops"][0]["terms"]


def test_terms_of_this_builds_own_contracts_are_shown_in_words() -> None:
    deal = OpenContract("deal", encode(DealTerms(30, 1, 500, 450_000, None)))
    assert shown_terms(deal) == {
        "slot": 30, "side": "bid", "quantity_wh": 500, "price": 450_000, "to": None,
    }  # fmt: skip
    assert shown_terms(OpenContract("standby", encode(StandbyTerms(30, 1, 2)))) == {
        "slot": 30, "quantity_wh": 1, "price": 2,
    }  # fmt: skip
    parties = (ALICE.public_key, D)
    asked = ThreePartyTerms(30, *parties, 1, 2, "pv", "")
    shown = shown_terms(OpenContract("three-party", encode(asked)))
    assert isinstance(shown, dict)
    assert (shown["supplier"], shown["user"]) == tuple(map(key_text, parties))


@pytest.mark.parametrize("op", [OpenContract("urgent", b"junk"), OpenContract("other", b"junk")])
def test_terms_that_nobody_here_reads_are_shown_as_they_are(op: OpenContract) -> None:
    assert shown_terms(op) == b"junk".hex()


def test_what_contracts_and_signatures_did_is_shown_in_words() -> None:
    happened = (
        OrderMade(30, 1, 0, ALICE.public_key, 0, 5, 6, 0),
        ContractMoved(0, "deal", 1, 2, 0, ended=False),
        TradeSigned(30, 0, 5),
    )
    shown = render_receipt(encode_receipt(Receipt(0, 0, (), happened)))["events"]
    assert shown[0]["side"] == "offer"
    assert shown[1]["cause"] == "called"
    assert shown[2]["parties"] == ["seller", "operator"]


def test_a_statement_is_nobodys() -> None:
    shown = render_transaction(make_statement(1_007, READY))
    assert shown["sender"] == "nobody"
    assert shown["ops"][0]["key"] == key_text(READY.key)
    assert shown["ops"][0]["nonce"] == READY.nonce.hex()


def test_every_code_has_a_meaning_and_a_remedy() -> None:
    assert MEANING.keys() == set(ErrorCode)
    assert REMEDY.keys() == set(ErrorCode) - {ErrorCode.NONE}


def test_every_receipt_of_a_restless_plant_is_shown() -> None:
    republic = run(1, 80)
    kinds: set[str] = set()
    twin = type(republic.ledger).from_genesis(republic.genesis)
    for header, txs in republic.blocks:
        for raw in twin.execute(header, txs).receipts:
            shown = json.loads(json.dumps(render_receipt(raw)))
            kinds |= {event["event"] for event in shown["events"]}
    assert {"EraScheduled", "Approved", "ReadyNoted", "Convicted"} <= kinds
