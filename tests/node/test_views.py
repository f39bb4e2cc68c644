"""Views: what people and scripts read about a node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.node.plant import GENESIS, KEYS, LEADER, METER, Host, N, payment, settle
from tests.store.real_chain import Maker
from vppd.consensus.messages import Type
from vppd.consensus.terms import Terms
from vppd.crypto import key_text, verify
from vppd.net.directory import PeerState
from vppd.net.link import Traffic
from vppd.node.machine import Machine
from vppd.node.metrics import Metrics, Timing
from vppd.node.phases import HeightTimes
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


async def test_usage_is_of_this_process(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "chain.db").write_bytes(bytes(1_000))
    (tmp_path / "chain.db-wal").write_bytes(bytes(234))
    traffic = Traffic()
    traffic.frames_out[Type.PREPARE] = 3
    traffic.bytes_out[Type.PREPARE] = 300
    traffic.frames_in[Type.BLOCK] = 1
    traffic.bytes_in[Type.BLOCK] = 70
    traffic.dropped = 2
    metrics = Metrics(machine.terms)
    begun = time.monotonic_ns()
    with metrics.persist():
        while time.monotonic_ns() < begun + 2_000_000:
            pass
    peer = PeerState(2, "der-2", "h:1", True, 0, "", None, None, traffic)
    views = Views(
        machine, metrics, dict, "der-1", tmp_path / "chain.db", Trace(0), lambda: (peer, peer)
    )
    usage = await views.render("usage", "")
    assert (usage["persists"], usage["store_bytes"], usage["dropped"]) == (1, 1_234, 4)
    assert usage["persist_us"] >= 1_000
    assert (usage["out"], usage["in"]) == ({"prepare": [6, 600]}, {"block": [2, 140]})
    assert 0 < usage["rss_bytes"] <= 2 * usage["rss_max_bytes"]
    assert usage["cpu_us"] > 0


@pytest.mark.parametrize("view", ["heights", "timings"])
async def test_heights_from_one_on(tmp_path: Path, view: str) -> None:
    hosts = [Host(i) for i in range(N)]
    for host in hosts:
        host.start()
    metrics = Metrics(hosts[0].machine.terms)
    for height in (1, 2, 3):
        metrics.timings.append(Timing(height, None, 7 * height))
        metrics.heights.append(HeightTimes(height, 0, "", "learnt", None, None, None, None))
    views = Views(hosts[0].machine, metrics, dict, "der-1", tmp_path / "chain.db", Trace(0))

    async def seen(argument: str) -> list[int]:
        rows = await views.render(view, argument)
        return [row["height"] if view == "heights" else row[0] for row in rows]

    assert await seen("") == await seen("0") == [1, 2, 3]
    assert await seen("3") == [3]
    assert await seen("4") == []
    for wrong in ("-1", "x", "1.5"):
        with pytest.raises(LookupError, match="is not a height"):
            await seen(wrong)
