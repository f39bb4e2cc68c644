"""Whatever stands on a chain can be shown: as JSON, keys as text, codes in words."""

from __future__ import annotations

import json

import pytest

from tests.ledger.upheaval import run
from tests.wire_samples import ALICE, CHANGES, OPS, READY, D, word
from vppd.client.render import REMEDY, render_receipt, render_transaction
from vppd.codec import Message, encode
from vppd.crypto import key_text
from vppd.ledger.changes import Change, Configure
from vppd.ledger.codes import MEANING, ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved, ContractSaid, OrderMade, TradeSigned
from vppd.ledger.kinds.event import Cancel, Respond
from vppd.ledger.kinds.project import Join
from vppd.ledger.kinds.terms import DealTerms, StandbyTerms, Take, ThreePartyTerms
from vppd.ledger.member_events import Answered, DutyChanged, Intervened, StandingChanged
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.ledger.response.calls import Answer, Called, Event, EventTerms, Project, ProjectTerms
from vppd.ledger.transaction import Op, make_statement, make_transaction
from vppd.market.response import Signal


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


BOB = bytes(range(32))
ASKED = EventTerms(0, Signal.LIMIT, 30, 33, 1_500, 7, (BOB,), None, "dusk")
PROJECT_TERMS = ProjectTerms("evening", 200_000, 5_000, 5, 4, "less at dusk")


def test_terms_of_projects_and_events_are_shown_in_words() -> None:
    assert shown_terms(OpenContract("project", encode(PROJECT_TERMS))) == {
        "title": "evening", "price": 200_000, "capacity_w": 5_000, "baseline_days": 5,
        "notice_slots": 4, "purpose": "less at dusk",
    }  # fmt: skip
    assert shown_terms(OpenContract("event", encode(ASKED))) == {
        "project": 0, "signal": "limit", "first_slot": 30, "last_slot": 33, "target_w": 1_500,
        "priority": 7, "members": [key_text(BOB)], "replaces": None, "reason": "dusk",
    }  # fmt: skip


def shown_call(op: CallContract, kinds: dict[int, str]) -> tuple[object, object]:
    raw = make_transaction(ALICE, D, 4, 1_007, (op,))
    (said,) = json.loads(json.dumps(render_transaction(raw, kinds)))["ops"]
    return said["method"], said["args"]


@pytest.mark.parametrize(
    ("kind", "method", "args", "said"),
    [
        ("deal", 0, Take(800), ("take", {"quantity_wh": 800})),
        ("project", 1, PROJECT_TERMS, ("update", {"title": "evening", "price": 200_000,
            "capacity_w": 5_000, "baseline_days": 5, "notice_slots": 4,
            "purpose": "less at dusk"})),
        ("project", 3, Join(2_000, 1, True),
            ("join", {"capacity_w": 2_000, "version": 1, "auto": True})),
        ("event", 0, Respond(True), ("respond", {"answer": "in"})),
        ("event", 0, Respond(False), ("respond", {"answer": "out"})),
        ("event", 1, Cancel("rain"), ("cancel", {"reason": "rain"})),
    ],
)  # fmt: skip
def test_arguments_of_calls_are_shown_in_words(
    kind: str, method: int, args: Message, said: tuple[str, object]
) -> None:
    op = CallContract(3, method, encode(args))
    assert shown_call(op, {3: kind}) == said
    assert shown_call(op, {4: kind}) == (method, encode(args).hex()), "which kind is not known"
    junk = CallContract(3, method, b"junk")
    assert shown_call(junk, {3: kind}) == (said[0], b"junk".hex())


def test_calls_without_arguments_have_their_methods_name() -> None:
    assert shown_call(CallContract(3, 1, b""), {3: "deal"}) == ("withdraw", "")
    assert shown_call(CallContract(3, 9, b""), {3: "deal"}) == (9, "")
    assert shown_call(CallContract(3, 0, b""), {3: "pledge"}) == (0, "")


def news(kind: str, topic: int, data: bytes) -> object:
    happened = (
        ContractSaid(3, topic, data),
        ContractMoved(3, kind, 0, Cause.CALLED, 0, ended=False),
    )
    shown = render_receipt(encode_receipt(Receipt(0, 0, (), happened)))
    return json.loads(json.dumps(shown))["events"][0]["data"]


def test_what_a_contract_says_is_shown_in_words() -> None:
    assert news("project", 1, encode(Project(2, False, PROJECT_TERMS))) == {
        "version": 2, "scoped": False,
        "terms": {
            "title": "evening", "price": 200_000, "capacity_w": 5_000, "baseline_days": 5,
            "notice_slots": 4, "purpose": "less at dusk",
        },
    }  # fmt: skip
    assert news("project", 2, encode((BOB, 2_000, True, 1))) == {
        "account": key_text(BOB), "capacity_w": 2_000, "auto": True, "version": 1,
    }  # fmt: skip
    assert news("project", 2, encode((BOB,))) == {"account": key_text(BOB)}
    called = Called(BOB, Answer.SUPERSEDED, 1_500, 2_000, 9, 34, True)
    said = news("event", 1, encode(Event(ASKED, 200_000, 5, 1, (called,))))
    assert isinstance(said, dict)
    assert said["terms"]["signal"] == "limit"
    assert said["called"][0]["account"] == key_text(BOB)
    assert said["called"][0]["answer"] == "superseded"
    assert news("event", 2, "Regen über Köln".encode()) == {"reason": "Regen über Köln"}


@pytest.mark.parametrize(
    ("kind", "topic"), [("project", 1), ("project", 2), ("event", 1), ("event", 2), ("pledge", 1)]
)
def test_news_that_nobody_here_reads_are_shown_as_they_are(kind: str, topic: int) -> None:
    assert news(kind, topic, b"\xff\xfe") == "fffe"


def test_numbers_of_events_that_stand_for_words() -> None:
    happened = (
        Answered(3, BOB, 1, 34),
        DutyChanged(2, BOB, granted=True),
        Intervened(3, None, 12, "why"),
        StandingChanged(BOB, 1, ALICE.public_key, "why"),
    )
    shown = render_receipt(encode_receipt(Receipt(0, 0, (), happened)))["events"]
    assert shown[0]["answer"] == "in"
    assert shown[1]["duty"] == "technical"
    assert shown[2]["action"] == "voided"
    assert (shown[3]["standing"], shown[3]["by"]) == ("suspended", key_text(ALICE.public_key))


@pytest.mark.parametrize(
    ("code", "number", "name", "word"),
    [
        (ErrorCode.NOT_PERMITTED, 2, "duty", "technical"),
        (ErrorCode.STILL_NEEDED, 3, "what", "a meter in use"),
        (ErrorCode.OUT_OF_BOUNDS, 7, "which", "commitment"),
        (ErrorCode.OUT_OF_BOUNDS, 99, "which", "99"),
    ],
)
def test_details_that_stand_for_words(code: ErrorCode, number: int, name: str, word: str) -> None:
    shown = render_receipt(encode_receipt(Receipt(1, code, (0, number), ())))
    assert shown[name] == word
    assert shown["why"].endswith(f": {word}.") or shown["why"].endswith(f" {word}.")


@pytest.mark.parametrize(
    ("code", "numbers"),
    [
        (ErrorCode.NOT_PERMITTED, range(1, 5)),
        (ErrorCode.STILL_NEEDED, range(1, 8)),
        (ErrorCode.OUT_OF_BOUNDS, range(9)),
    ],
)
def test_each_of_these_numbers_has_a_word(code: ErrorCode, numbers: range) -> None:
    name = MEANING[code][1][0]
    words = {render_receipt(encode_receipt(Receipt(1, code, (0, n), ())))[name] for n in numbers}
    assert len(words) == len(numbers)
    assert not any(word.isdecimal() for word in words)


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
