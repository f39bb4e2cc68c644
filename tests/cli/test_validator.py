"""``vppd validator`` without a node: tokens, settings, names, and what is said of an outcome."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.plant import GENESIS, genesis
from vppd.cli.governance import (
    Sent,
    find,
    find_proposal,
    names_in,
    outcome,
    parse_settings,
    text_of,
)
from vppd.cli.token import Token, read_token, write_token
from vppd.codec import encode
from vppd.crypto import SigningKey, key_text, sha256
from vppd.errors import UserError
from vppd.ledger.changes import (
    Add,
    Bar,
    Change,
    Configure,
    Grant,
    Move,
    Readmit,
    Rekey,
    ReleaseContract,
    Remove,
    Revoke,
    SetEngine,
    SetMarket,
    SetNumber,
    VoidOrders,
)
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import Approved
from vppd.ledger.plain import fields
from vppd.ledger.proofs import Ready, ready_bytes
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.net.requests import TxStage, TxState

KEY = SigningKey(bytes([7]) * 32)
ROOT, NONCE = bytes([1]) * 32, bytes([2]) * 32
OTHER = genesis(GENESIS + "# another plant\n")


def token(name: str = "der-9", addr: str = "192.168.10.9:7440") -> Token:
    chain = genesis().digest
    sig = KEY.sign(ready_bytes(chain, 3, 812, ROOT, NONCE))
    return Token(Ready(KEY.public_key, 3, 812, ROOT, NONCE, sig), name, addr, operator=False)


def code_of(call: Any, *args: Any) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        call(*args)
    return caught.value.code, str(caught.value)


# ------------------------------------------------------------ tokens


def test_a_token_is_one_line_and_says_the_same_again() -> None:
    line = write_token(token())
    assert line.isascii()
    assert line.split() == [line]
    assert read_token(line, genesis()) == token()
    assert read_token(f"  {line[:40]}\n{line[40:]}\n", genesis()) == token(), "as mail breaks it"


@given(st.text(max_size=64), st.text(max_size=128), st.booleans())
def test_any_name_and_address_survive(name: str, addr: str, operator: bool) -> None:
    said = Token(token().ready, name, addr, operator)
    assert read_token(write_token(said), genesis()) == said


@given(st.data())
def test_a_changed_character_is_noticed(data: st.DataObject) -> None:
    line = write_token(token())
    at = data.draw(st.integers(0, len(line) - 2))  # the last one may carry bits without meaning
    other = data.draw(st.sampled_from([c for c in "ABCxyz019-_" if c != line[at]]))
    assert code_of(read_token, line[:at] + other + line[at + 1 :], genesis())[0] == "E372"


@pytest.mark.parametrize("cut", [0, 5, 11, 12, 30, 100])
def test_a_token_that_is_cut_off_is_none(cut: int) -> None:
    code, text = code_of(read_token, write_token(token())[:cut], genesis())
    assert code == "E372"
    assert "why" in text


def test_a_token_of_another_plant_is_none() -> None:
    code, text = code_of(read_token, write_token(token()), OTHER)
    assert code == "E372"
    assert "of another plant" in text


def test_a_token_with_something_else_in_it_is_none() -> None:
    data = encode((1, 2, 3))
    data += sha256(data)[:4]
    line = "vppd-ready:" + base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert code_of(read_token, line, genesis())[0] == "E372"


# ------------------------------------------------------------ settings, names, proposals


def test_settings_are_changes_in_order() -> None:
    assert parse_settings(["f=1", "engine=pbft", "p=unset", "view_timeout_ms=3000"]) == (
        SetNumber("f", 1),
        SetEngine("pbft"),
        SetNumber("p", None),
        SetNumber("view_timeout_ms", 3000),
    )


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("f", "it has no value"),
        ("view_timeout=1", "did you mean view_timeout_ms?"),
        ("quorum=3", "no such setting"),
        ("f=-1", "'-1' is no number of 0 or more, or unset"),
        ("epoch_blocks=unset", "'unset' is no number"),
        ("f=1.5", "no number"),
        ("f=٣", "no number"),
        (f"f={2**63}", "no number"),
        ("=1", "no such setting"),
    ],
)
def test_what_cannot_be_set_is_named(word: str, says: str) -> None:
    code, text = code_of(parse_settings, ["f=1", word])
    assert code == "E374"
    assert says in text


VIEW: dict[str, Any] = {
    "era": {"epoch": 0, "first": 1, "members": [{"name": "op-0", "key": key_text(bytes(32))}]},
    "scheduled": {
        "epoch": 1,
        "first": 9,
        "members": [{"name": "der-9", "key": key_text(KEY.public_key)}],
    },
    "candidates": [{"name": "der-5", "key": key_text(bytes([5]) * 32)}],
    "proposals": [],
}


def test_names_and_keys_of_the_latest_era_and_of_candidates_are_found() -> None:
    for who in ("der-9", key_text(KEY.public_key)):
        assert find(VIEW, who)[0] == KEY.public_key
    assert find(VIEW, "der-5")[0] == bytes([5]) * 32
    code, text = code_of(find, VIEW, "op-0")
    assert code == "E373", "it is gone with the scheduled era"
    assert "der-5, der-9" in text


def test_a_proposal_is_found_by_how_its_id_begins() -> None:
    ops = [Configure(1, (Remove(bytes([i]) * 32),)) for i in range(3)]
    waiting = [
        {"proposal": i * 4 + "00", "op": encode(op).hex()} for i, op in zip("aab", ops, strict=True)
    ]
    view = VIEW | {"proposals": waiting}
    assert find_proposal(view, "b") == ops[2]
    assert find_proposal(view, "BBBB") == ops[2]
    assert find_proposal(VIEW | {"proposals": waiting[:1]}, None) == ops[0]
    for prefix in ("a", None, "c"):
        assert code_of(find_proposal, view, prefix)[0] == "E375"


# ------------------------------------------------------------ outcomes


def sent(receipt: Receipt, first: int = 0) -> Sent:
    state = TxState(TxStage.COMMITTED, b"raw", 810, 0, encode_receipt(receipt))
    era = {"first": first}
    return Sent(bytes(32), state, {"era": {"first": 1}, "scheduled": era if first else None})


def said(approvals: int, needed: int, authority: int, first: int = 0) -> Any:
    event = Approved(bytes.fromhex("3fa9") + bytes(30), approvals, needed, authority)
    return outcome(sent(Receipt(Status.OK, 0, (), (event,)), first))


def test_it_says_what_happens_next() -> None:
    assert said(2, 2, 0, 812)["next"] == "2 of 2 approvals: takes effect at height 812"
    assert said(2, 2, 0, 812)["first_height"] == 812
    assert said(1, 2, 0)["next"] == (
        "1 of 2 approvals: needs 1 more: vppd validator approve 3fa90000"
    )
    assert said(2, 2, 1)["next"] == (
        "2 of 2 approvals: needs a registration authority's: vppd validator approve 3fa90000"
    )
    assert said(1, 3, 1)["next"].startswith(
        "1 of 3 approvals: needs 2 more and a registration authority's"
    )
    assert "next election" in said(2, 2, 0)["next"], "of a candidate, in engine dpos"


def test_it_says_what_failed_and_what_to_try() -> None:
    fact = outcome(sent(Receipt(Status.FAILED, ErrorCode.TOO_MANY_CHANGES, (1,), ())))
    assert (fact["status"], fact["error"], fact["most"]) == ("failed", "too_many_changes", 1)
    assert fact["next"]


def test_a_transaction_that_was_dropped_is_no_success() -> None:
    gone = Sent(bytes(32), TxState(TxStage.DROPPED, b"raw"), VIEW)
    assert outcome(gone)["status"] == "dropped"


# ------------------------------------------------------------ proposals in words

DER, AGG, STRANGER = (SigningKey(bytes([n]) * 32).public_key for n in (21, 22, 23))
TEXT = key_text(STRANGER)
READY = token().ready


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Add(STRANGER, "der-9", False, "a:1", READY), f"add der-9 as der a:1 {TEXT}"),
        (Add(STRANGER, "op-9", True, "", READY), f"add op-9 as operator {TEXT}"),
        (Remove(DER), "remove der-3"),
        (Remove(STRANGER), f"remove {TEXT}"),
        (Rekey(DER, STRANGER, READY, ""), f"rekey der-3 to {TEXT}"),
        (Rekey(DER, STRANGER, READY, "a:1"), f"rekey der-3 to {TEXT} at a:1"),
        (Readmit(DER, READY), "readmit der-3"),
        (Move(DER, operator=True), "make der-3 an operator"),
        (Move(DER, operator=False), "make der-3 a der"),
        (SetNumber("f", 1), "set f=1"),
        (SetNumber("f", None), "set f=unset"),
        (SetEngine("pbft"), "set engine=pbft"),
        (
            SetMarket(12, (("gate_lead_ms", 60_000), ("rules", "two-stage"))),
            "set gate_lead_ms=60000 rules=two-stage from slot 12",
        ),
        (Grant(AGG, 2), "grant technical to agg-1"),
        (Revoke(AGG, 4), "revoke aggregator from agg-1"),
        (Grant(AGG, 99), "grant 99 to agg-1"),
        (Bar(DER, barred=True, reason="registers turned back"), "bar der-3: registers turned back"),
        (Bar(DER, barred=False, reason="it was the meter"), "unbar der-3: it was the meter"),
        (VoidOrders(12, "a wrong forecast"), "void orders of slot 12: a wrong forecast"),
        (ReleaseContract(4, "its kind fails"), "release contract 4: its kind fails"),
    ],
)
def test_a_proposal_is_shown_in_words_with_names(change: Change, said: str) -> None:
    view: dict[str, Any] = {
        "era": {"members": [{"key": key_text(DER), "name": "der-3"}]},
        "scheduled": None,
        "candidates": [],
    }
    names = names_in(view, [{"key": key_text(AGG), "name": "agg-1"}])
    (shown,) = fields(Configure(0, (change,)))["changes"]
    assert text_of(shown, names) == said


def test_a_change_of_a_later_release_is_shown_as_it_is() -> None:
    assert text_of({"kind": "Dance", "steps": 3}, {}) == "Dance 3"
