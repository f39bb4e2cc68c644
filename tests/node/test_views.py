"""Views: what people and scripts read about a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.plant import GENESIS, KEYS, LEADER, METER, Host, N, payment, settle
from tests.store.real_chain import Maker
from vppd.consensus.terms import Terms
from vppd.crypto import key_text, verify
from vppd.node.machine import Machine
from vppd.node.metrics import Metrics
from vppd.node.trace import Trace
from vppd.node.views import LAST_SLOT, UnknownView, Views

NETWORK: dict[str, Any] = {"disk_low": False, "peers": [{"name": "der-2"}], "refused": []}


def views_of(machine: Machine, home: Path) -> Views:
    metrics = Metrics(Terms(GENESIS))
    return Views(machine, metrics, lambda: NETWORK, "der-1", home / "chain.db", Trace(8))


@pytest.fixture
def machine() -> Machine:
    """With a small chain behind it."""
    maker = Maker()
    maker.add_typical(5)
    return Machine(GENESIS, KEYS[1], verify, maker.ledger)


@pytest.fixture
def views(machine: Machine, tmp_path: Path) -> Views:
    return views_of(machine, tmp_path)


async def test_status_says_who_where_and_with_whom(tmp_path: Path) -> None:
    hosts = [Host(i) for i in range(N)]
    for host in hosts:
        host.start()
    hosts[1].machine.submit(payment(), 0, own=True)
    settle(hosts)
    hosts[1].machine.submit(payment(3), 0, own=True)
    status = await views_of(hosts[1].machine, tmp_path).render("status", "")
    assert status["name"] == "der-1"
    assert (status["role"], status["leader"], status["engine"]) == ("der", "op-0", "bncm")
    assert (status["height"], status["executed"], status["voting"]) == (1, 1, True)
    assert status["head"] == hosts[LEADER].machine.engine.status().head.hex()
    assert (status["n"], status["f"], status["quorum"], status["quorum_slack"]) == (4, 1, 3, 1)
    assert (status["mempool_txs"], status["mempool_bytes"]) == (1, len(payment(3)))
    assert (status["chain"], status["chain_id"]) == (GENESIS.name, GENESIS.digest.hex())
    assert status["key"] == key_text(KEYS[1].public_key)
    assert status["peers"] == NETWORK["peers"]
    assert status["disk_free_bytes"] > 0
    assert (status["path"], status["decisions"]) == ("broadcast", {"fast_exit": 1})
    assert (status["fallbacks"], status["success_ppm"]) == ({}, 1_000_000)
    assert set(status["costs_ms"]) == {"collect_fast", "collect_slow", "broadcast"}


async def test_a_view_that_is_not_there_lists_those_that_are(views: Views) -> None:
    with pytest.raises(UnknownView, match="no view 'poem'; there are status, account"):
        await views.render("poem", "")


async def test_an_account_is_found_by_name_and_by_key(views: Views, machine: Machine) -> None:
    by_name = await views.render("account", "der-1")
    assert by_name == await views.render("account", key_text(KEYS[1].public_key))
    account = machine.ledger.account(KEYS[1].public_key)
    assert account is not None
    assert by_name["balance_micro"] == account.balance
    assert by_name["nonce"] == account.nonce
    assert by_name["height"] == 5
    assert by_name["meters"] == [key_text(METER.public_key)]


async def test_a_meter_is_found_by_key(views: Views) -> None:
    shown = await views.render("account", key_text(METER.public_key))
    assert (shown["kind"], shown["account"], shown["nonce"]) == ("meter", "der-1", 1)


async def test_a_nonce_counts_what_waits_without_a_gap(views: Views, machine: Machine) -> None:
    due = (await views.render("account", "der-2"))["nonce"]
    for nonce in (due, due + 1, due + 3):
        machine.submit(payment(2, nonce), 0, own=True)
    assert (await views.render("account", "der-2"))["nonce"] == due + 2


async def test_all_accounts(views: Views) -> None:
    rows = await views.render("accounts", "")
    assert sorted(row["name"] for row in rows) == ["der-1", "der-2", "der-3", "op-0"]


@pytest.mark.parametrize("text", ["", "nobody", "ed25519:", key_text(bytes(32))])
async def test_nobody_s_account(views: Views, text: str) -> None:
    with pytest.raises(LookupError, match="no account"):
        await views.render("account", text)


@pytest.mark.parametrize("name", ["book", "trades"])
@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", str(LAST_SLOT + 1), "9" * 250])
async def test_what_is_no_slot(views: Views, name: str, text: str) -> None:
    with pytest.raises(LookupError, match="is not a slot number"):
        await views.render(name, text)


@pytest.mark.parametrize("name", ["book", "trades"])
async def test_the_furthest_slot_is_empty(views: Views, name: str) -> None:
    assert await views.render(name, str(LAST_SLOT)) == []


async def test_slots_orders_and_trades_of_the_chain(views: Views, machine: Machine) -> None:
    slots = await views.render("slots", "")
    assert 2 in [row["slot"] for row in slots]
    assert slots == machine.ledger.slots_view()
    assert await views.render("trades", "2") == machine.ledger.trades_view(2)


@pytest.mark.parametrize("text", ["", "2", "x/der-1", "2/nobody", "77/der-1"])
async def test_a_settlement_that_is_not_there(views: Views, text: str) -> None:
    with pytest.raises(LookupError):
        await views.render("settlement", text)


async def test_the_open_slot_is_the_first_whose_gate_is_open(views: Views) -> None:
    market, rules = await views.render("market", ""), GENESIS.market
    unix_ms = (await views.render("status", ""))["unix_ms"]
    assert market["gate_closure_ms"] == rules.slot_start(market["open_slot"]) - rules.gate_lead_ms
    assert market["gate_closure_ms"] > unix_ms - rules.slot_ms
    assert market["gate_closure_ms"] - rules.slot_ms <= unix_ms, "the slot before is closed"
    assert market["opens_ms"] <= unix_ms
    assert market["start_ms"] == rules.slot_start(market["open_slot"])
    assert (market["retail_price_micro"], market["feed_in_price_micro"]) == (570_000, 380_000)
