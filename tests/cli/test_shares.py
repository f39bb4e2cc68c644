"""``vppd market shares``: the table and the document, from what a ledger says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.chain import Chain
from tests.ledger.test_sharing import declared, metered, plant, play
from vppd.cli.market import shares
from vppd.cli.output import Output
from vppd.ledger.execution import Ledger


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A node that answers from a ledger at hand, not over a socket."""

    def answer_from(ledger: Ledger) -> None:
        class Client:
            def view(self, name: str, argument: str) -> Any:
                assert name == "shares"
                return ledger.shares_view(int(argument) if argument else None)

        monkeypatch.setattr("vppd.cli.market.with_client", lambda _, work: work(Client()))

    return answer_from


def test_a_table_of_exact_shares(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    chain = declared(Chain(plant()))
    metered(chain, ann_wh=900)
    node(chain.ledger)
    shares(None, Path(), Output.TABLE)
    title, sums, _, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "slot 0, version 1: -100 Wh of 2 members"
    assert sums == ("worth -0.050000 together, -0.230000 alone: a gain of 0.180000, shared exactly")
    names = "ACCOUNT PROMISED_WH NET_WH ALONE SHARE GAIN PENALTY VERSION"
    assert head.split() == names.split()
    assert sorted(row.split()[0] for row in rows) == ["ann", "bob"]


def test_a_table_of_sampled_shares_says_how_far_they_may_be_off(
    node: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, _, _ = play(13, 1, samples=30)
    node(chain.ledger)
    shares(0, Path(), Output.TABLE)
    out = capsys.readouterr().out
    assert "shared by 30 orders from seed " in out
    assert "ERROR_BOUND" in out


def test_the_document_is_the_view(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    chain, _, _ = play(3, 1)
    node(chain.ledger)
    shares(0, Path(), Output.JSON)
    assert json.loads(capsys.readouterr().out) == chain.ledger.shares_view(0)
