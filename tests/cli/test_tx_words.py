"""What commands print of a decided transaction that opened, or calls, contracts."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from tests.wire_samples import ALICE, D
from vppd.cli.output import Output
from vppd.cli.tx import kinds_called, print_state
from vppd.client.client import Client
from vppd.codec import encode
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved
from vppd.ledger.kinds.terms import StandbyTerms, Take
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.ledger.transaction import Op, make_transaction
from vppd.net.requests import TxStage, TxState

OPENED = ContractMoved(5, "standby", 0, Cause.OPENED, 0, ended=False)
CALLED = ContractMoved(4, "deal", 0, Cause.CALLED, 0, ended=True)
STANDBY = OpenContract("standby", encode(StandbyTerms(30, 1, 2)))
TAKE = CallContract(4, 0, encode(Take(800)))


def decided(receipt: Receipt, *ops: Op) -> TxState:
    raw = make_transaction(ALICE, D, 4, 1_007, ops)
    return TxState(TxStage.COMMITTED, raw=raw, height=9, receipt=encode_receipt(receipt))


class Asked:
    """A node that is asked for contracts."""

    def __init__(self) -> None:
        self.views: list[str] = []

    async def view(self, name: str) -> list[dict[str, Any]]:
        self.views.append(name)
        return [{"contract": "slot-7", "kind": "slot"}, {"contract": "4", "kind": "deal"}]


def kinds(state: TxState | None) -> tuple[dict[int, str], list[str]]:
    node = Asked()
    found = asyncio.run(kinds_called(cast(Client, node), state))
    return dict(found), node.views


def test_the_first_line_is_the_number_of_what_was_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = decided(Receipt(0, 0, (), (OPENED,)), STANDBY)
    print_state(D, state, Output.TABLE)
    assert capsys.readouterr().out.splitlines()[0] == "contract 5"
    print_state(D, state, Output.JSON)
    assert json.loads(capsys.readouterr().out)["contracts"] == [5]


def test_what_opened_nothing_says_nothing_of_a_contract(
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = decided(Receipt(0, 0, (), (CALLED,)), TAKE)
    print_state(D, state, Output.TABLE)
    assert capsys.readouterr().out.splitlines()[0].startswith("hash ")
    print_state(D, None, Output.JSON)
    assert "contracts" not in json.loads(capsys.readouterr().out)


def test_a_receipt_says_what_kind_was_called() -> None:
    assert kinds(decided(Receipt(0, 0, (), (CALLED,)), TAKE)) == ({4: "deal"}, [])
    assert kinds(None) == ({}, [])


def test_of_a_call_that_failed_the_node_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    state = decided(Receipt(1, ErrorCode.MORE_THAN_LEFT, (0, 500), ()), TAKE)
    known, views = kinds(state)
    assert (known, views) == ({4: "deal"}, ["contracts"])
    print_state(D, state, Output.JSON, kinds=known)
    (op,) = json.loads(capsys.readouterr().out)["transaction"]["ops"]
    assert (op["method"], op["args"]) == ("take", {"quantity_wh": 800})
