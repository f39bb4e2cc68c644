"""A member's orders for people, and terms of contracts by kind."""

from __future__ import annotations

import json

import pytest

from tests.ledger.chain import ANN, BOB, CAT, Chain, bid, offer, start_of
from tests.ledger.test_deals import deal, take
from tests.ledger.test_orders import cancel
from tests.ledger.test_three_party import contract
from tests.ledger.test_urgent import standby, urgent
from vppd.codec import Malformed
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.kinds.terms import read_terms

NOW, GATE = start_of(5) - 20_000, start_of(5) - 2_000


def test_what_became_of_each_order() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, offer(5, 500, 400_000), offer(5, 300, 410_000), offer(6, 9, 400_000, 1))
    chain.ok(NOW + 1, BOB, bid(5, 600, 405_000), bid(5, 50, 1))
    chain.ok(NOW + 2, BOB, cancel(2))
    chain.ok(NOW + 3, CAT, deal(1, 100, 350_000))
    chain.ok(NOW + 4, ANN, take(100))

    def shown(key: object) -> list[tuple[object, ...]]:
        rows = chain.ledger.orders_view(key.public_key)  # type: ignore[attr-defined]
        json.dumps(rows)
        names = ("slot", "order_id", "side", "state", "traded_wh", "remaining_wh", "contract")
        return [tuple(row[name] for name in names) for row in rows]

    assert shown(ANN) == [
        (5, 0, "offer", "filled", 500, 0, None),
        (5, 1, "offer", "resting", 0, 300, None),
        (5, 4, "offer", "filled", 100, 0, 0),
        (6, 0, "offer", "resting", 0, 9, None),
    ]
    assert shown(BOB) == [
        (5, 2, "bid", "cancelled", 500, 0, None),
        (5, 3, "bid", "resting", 0, 50, None),
    ]
    chain.block(GATE)
    assert [row[3] for row in shown(ANN)] == ["filled", "left", "filled", "resting"]
    (row, _) = chain.ledger.orders_view(BOB.public_key)
    assert row == {
        "slot": 5,
        "order_id": 2,
        "side": "bid",
        "state": "cancelled",
        "quantity_wh": 600,
        "traded_wh": 500,
        "remaining_wh": 0,
        "cancelled_wh": 100,
        "price_micro": 405_000,
        "reserve_price_micro": 405_000,
        "escrow_micro": 201_250,
        "cost_micro": 201_250,
        "bus": 0,
        "contract": None,
    }


@pytest.mark.parametrize(
    "opened", [deal(0, 1, 2), standby(1, 2), urgent(1, 2), contract()], ids=lambda op: op.kind
)
def test_terms_of_each_kind_begin_with_a_slot(opened: OpenContract) -> None:
    terms = read_terms(opened.kind, opened.terms)
    assert terms is not None
    assert terms.slot == 5
    with pytest.raises(Malformed):
        read_terms(opened.kind, opened.terms + b"x")


def test_another_kinds_terms_are_nobodys_here() -> None:
    assert read_terms("pledge", b"") is None
