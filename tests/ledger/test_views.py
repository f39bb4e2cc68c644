"""JSON for people: units in the names, keys as text, nothing but plain data."""

from __future__ import annotations

import json

import pytest

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    OPENING,
    STRANGER,
    Chain,
    bid,
    offer,
    reading,
    start_of,
)
from vppd.crypto import key_text

NOW = start_of(0) - 20_000


def market_day() -> Chain:
    chain = Chain()
    chain.ok(NOW, ANN, offer(0, 1_000, 400_000, 390_000))
    chain.ok(NOW + 1, BOB, bid(0, 800, 440_000))
    return chain


def test_an_account() -> None:
    view = market_day().ledger.account_view(BOB.public_key)
    assert view == {
        "kind": "account",
        "name": "bob",
        "balance_micro": OPENING - 352_000,
        "escrow_micro": 352_000,
        "credit_ppm": 800_000,
        "bus": 1,
        "meters": view["meters"],
    }
    assert len(view["meters"]) == 1
    json.dumps(view)


def test_a_meter_names_its_account() -> None:
    view = Chain().ledger.account_view(ANN_METER.public_key)
    assert view == {
        "kind": "meter",
        "account": "ann",
        "known_before_slot": 0,
        "import_wh": 100,
        "export_wh": 50,
        "rollover_wh": 0,
        "readings": [],
    }
    assert Chain().ledger.account_view(ANN.public_key)["meters"] == [key_text(ANN_METER.public_key)]


def test_a_meter_shows_the_readings_that_may_still_be_corrected() -> None:
    chain = Chain()
    chain.ok(start_of(1), ANN_METER, reading(0, 120, 50))
    chain.ok(start_of(2), ANN_METER, reading(1, 130, 55))
    chain.ok(start_of(2) + 1, ANN_METER, reading(1, 131, 55))
    assert chain.ledger.account_view(ANN_METER.public_key)["readings"] == [
        {"slot": 0, "import_wh": 120, "export_wh": 50, "version": 1},
        {"slot": 1, "import_wh": 131, "export_wh": 55, "version": 2},
    ]


def test_nobody() -> None:
    with pytest.raises(LookupError, match="no account or meter ed25519:"):
        Chain().ledger.account_view(STRANGER.public_key)


def test_slots() -> None:
    chain = market_day()
    assert chain.ledger.slots_view() == [
        {
            "slot": 0,
            "phase": "open",
            "start_ms": start_of(0),
            "orders": 2,
            "trades": 1,
            "next_phase_ms": start_of(0) - 2_000,
        }
    ]
    chain.block(start_of(1) + 5_000)
    (row,) = chain.ledger.slots_view()
    assert (row["phase"], row["next_phase_ms"]) == ("settled", start_of(3) + 5_000)


def test_a_book() -> None:
    chain = market_day()
    chain.ok(NOW + 2, BOB, bid(0, 5, 100_000))
    offers, bids = chain.ledger.book_view(0)
    assert offers == {
        "slot": 0,
        "order_id": 0,
        "side": "offer",
        "agent": "ann",
        "quantity_wh": 1_000,
        "remaining_wh": 200,
        "price_micro": 400_000,
        "reserve_price_micro": 390_000,
        "credit_ppm": 800_000,
    }
    assert (bids["side"], bids["remaining_wh"]) == ("bid", 5)
    chain.block(start_of(0))
    assert chain.ledger.book_view(0) == []


def test_trades() -> None:
    assert market_day().ledger.trades_view(0) == [
        {
            "slot": 0,
            "trade_id": 0,
            "seller": "ann",
            "buyer": "bob",
            "offer_id": 0,
            "bid_id": 1,
            "quantity_wh": 800,
            "price_micro": 420_000,
            "amount_micro": 336_000,
            "round": 1,
            "signed": None,
        }
    ]
    assert Chain().ledger.trades_view(3) == []


def test_a_settlement() -> None:
    chain = market_day()
    with pytest.raises(LookupError, match="no settlement of slot 0 for ann"):
        chain.ledger.settlement_view(0, ANN.public_key)
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))
    chain.block(start_of(1) + 5_000)
    view = chain.ledger.settlement_view(0, ANN.public_key)
    assert view == {
        "slot": 0,
        "account": "ann",
        "version": 1,
        "import_wh": 0,
        "export_wh": 900,
        "sold_wh": 800,
        "bought_wh": 0,
        "imbalance_wh": 100,
        "retail_price_micro": 500_000,
        "feed_in_price_micro": 300_000,
        "grid_amount_micro": -30_000,
        "estimated": False,
        "corrected": False,
    }
    with pytest.raises(LookupError, match="for ed25519:"):
        chain.ledger.settlement_view(0, STRANGER.public_key)
