"""Orders, deals and urgent orders typed at nodes that run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, Ran

pytestmark = [pytest.mark.slow, pytest.mark.net]

FAR_AHEAD = 10
"""Slots after the first open one: still open whatever the clock does during a test."""


@pytest.fixture(scope="module")
def plant(running: Plant) -> Plant:
    return running


@pytest.fixture(scope="module")
def slot(plant: Plant) -> int:
    """One that takes orders."""
    open_slot: int = plant.nodes[0].view("market")["open_slot"]
    return open_slot + FAR_AHEAD


def done(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err + ran.out
    assert ran.data["status"] == "ok"
    data: dict[str, Any] = ran.data
    return data


def say(node: Node, *words: object) -> Ran:
    return node.vppd(*words, "--wait", "-o", "json")


def contract_of(sent: dict[str, Any]) -> int:
    (number,) = [e["number"] for e in sent["events"] if e["event"] == "ContractMoved"]
    return int(number)


def test_an_order_is_replaced_and_cancelled(plant: Plant, slot: int) -> None:
    node = plant.nodes[1]
    sent = done(say(node, "market", "bid", 1500, "0.40", "--slot", slot))
    (order,) = [e["seq"] for e in sent["events"] if e["event"] == "OrderAccepted"]
    sent = done(say(node, "market", "replace", slot, order, 900, "0.41"))
    kinds = [event["event"] for event in sent["events"]]
    assert kinds.index("OrderCancelled") < kinds.index("OrderAccepted")
    rows = node.vppd("market", "orders", "-o", "json").data
    mine = {row["order_id"]: row for row in rows if row["slot"] == slot}
    assert (mine[order]["state"], mine[order]["cancelled_wh"]) == ("cancelled", 1500)
    assert (mine[order + 1]["state"], mine[order + 1]["quantity_wh"]) == ("resting", 900)
    assert mine[order + 1]["side"] == "bid"
    done(say(node, "market", "cancel", slot, order + 1))
    table = node.vppd("market", "orders", node.name, "--state", "cancelled")
    assert table.out.splitlines()[0].split()[:4] == ["SLOT", "ORDER_ID", "SIDE", "STATE"]
    assert node.view("account", node.name)["escrow_micro"] == 0


def test_what_is_not_ones_own_is_not_cancelled(plant: Plant, slot: int) -> None:
    node, other = plant.nodes[1], plant.nodes[2]
    sent = done(say(node, "market", "bid", 10, "0.30", "--slot", slot))
    (order,) = [e["seq"] for e in sent["events"] if e["event"] == "OrderAccepted"]
    ran = say(other, "market", "cancel", slot, order)
    assert (ran.code, ran.data["error"]) == (1, "not_yours")
    assert ran.data["try"] == "sign with the key of the member that placed it"
    ran = other.vppd("market", "replace", slot, order, 10, "0.30")
    assert ran.code == 2
    assert ran.err.startswith(f"error[E510]: {other.name} has no order {order} in slot {slot}")
    done(say(node, "market", "cancel", slot, order))


def test_a_listing_is_taken_in_parts_and_withdrawn(plant: Plant, slot: int) -> None:
    seller, buyer = plant.nodes[1], plant.nodes[2]
    number = contract_of(done(say(seller, "deal", "offer", 1000, "0.45", "--slot", slot)))
    plant.wait_equal()
    assert f"{number}" in buyer.vppd("deal", "list").out
    sent = done(say(buyer, "deal", "take", number, "--wh", 400))
    (trade,) = [event for event in sent["events"] if event["event"] == "Traded"]
    assert (trade["quantity_wh"], trade["price"], trade["round"]) == (400, 450_000, 0)
    done(say(seller, "deal", "withdraw", number))
    plant.wait_equal()
    ran = buyer.vppd("deal", "take", number)
    assert ran.code == 2
    assert ran.err.startswith(f"error[E512]: no contract {number} can be called with take")


def test_a_deal_for_one_member_is_not_anothers(plant: Plant, slot: int) -> None:
    seller, buyer, other = plant.nodes[1], plant.nodes[2], plant.nodes[3]
    sent = say(seller, "deal", "bid", 500, "0.35", "--to", buyer.name, "--slot", slot)
    number = contract_of(done(sent))
    plant.wait_equal()
    ran = say(other, "deal", "take", number)
    assert (ran.code, ran.data["error"]) == (1, "not_a_party")
    done(say(buyer, "deal", "take", number))
    ran = seller.vppd("deal", "offer", 500, "0.35", "--to", "nobody-9", "--slot", slot)
    assert ran.code == 2
    assert ran.err.startswith("error[E513]: no member is called nobody-9")


def test_who_stands_by_serves_an_urgent_order(plant: Plant, slot: int) -> None:
    ready, urgent = plant.nodes[2], plant.nodes[3]
    done(say(ready, "market", "standby", 3000, "0.60", "--slot", slot))
    plant.wait_equal()
    sent = done(say(urgent, "market", "urgent", 2000, "0.80", "--slot", slot))
    (served,) = [event for event in sent["events"] if event["event"] == "UrgentServed"]
    assert (served["matched_wh"], served["unmet_wh"]) == (2000, 0)
    (trade,) = [event for event in sent["events"] if event["event"] == "Traded"]
    assert trade["price"] == 600_000


def test_the_third_signature_makes_the_trade(plant: Plant, slot: int) -> None:
    operator, supplier, user = plant.nodes[:3]
    words = ("deal", "three-party", supplier.name, user.name, 700, "0.42", "--class", "pv")
    number = contract_of(done(say(supplier, *words, "--slot", slot)))
    plant.wait_equal()
    second = done(say(operator, "deal", "sign", number))
    plant.wait_equal()
    assert [event for event in second["events"] if event["event"] == "Traded"] == []
    third = done(say(user, "deal", "sign", number))
    assert [e["quantity_wh"] for e in third["events"] if e["event"] == "Traded"] == [700]


def test_where_signatures_on_orders_are_enough_nothing_waits(plant: Plant, slot: int) -> None:
    ran = plant.nodes[1].vppd("market", "sign", slot)
    assert ran.code == 1
    assert ran.err.startswith(f"error[E511]: no trade of slot {slot} waits")
