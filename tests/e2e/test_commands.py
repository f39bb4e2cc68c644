"""Commands typed at five nodes that run, over TLS, with real stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import LIFETIME_BLOCKS, Node, Plant, eventually, vppd
from vppd.crypto import key_text
from vppd.ledger.transaction import PlaceOrder, Transfer, decode_transaction, make_transaction
from vppd.market.auction import Side

pytestmark = [pytest.mark.slow, pytest.mark.net]

FAR_AHEAD = 10
"""Slots after the first open one: still open whatever the clock does during a test."""


@pytest.fixture(scope="module")
def plant(running: Plant) -> Plant:
    return running


@pytest.fixture
def slot(plant: Plant) -> int:
    """One that takes orders."""
    open_slot: int = plant.nodes[0].view("market")["open_slot"]
    return open_slot + FAR_AHEAD


def write(folder: Path, raw: bytes) -> Path:
    file = folder / "tx.hex"
    file.write_text(raw.hex() + "\n")
    return file


def transfer(plant: Plant, sender: Node, to: Node, amount: int, **options: Any) -> bytes:
    return plant.sign(sender, Transfer(to.key.public_key, amount), **options)


# ---------------------------------------------------------------- agreement


def test_every_node_has_the_same_head_after_a_transaction(plant: Plant, tmp_path: Path) -> None:
    before, _ = plant.wait_equal()
    raw = transfer(plant, plant.nodes[1], plant.nodes[2], 1_000)
    assert plant.nodes[1].vppd("tx", "send", write(tmp_path, raw), "--wait").code == 0
    height, _ = plant.wait_equal()
    assert height > before


# ---------------------------------------------------------------- tx


def test_a_sent_transaction_is_accepted_and_named(plant: Plant, tmp_path: Path) -> None:
    raw = transfer(plant, plant.nodes[1], plant.nodes[2], 1)
    sent = plant.nodes[1].vppd("tx", "send", write(tmp_path, raw), "-o", "json")
    assert sent.data == {"hash": decode_transaction(raw).id.hex(), "stage": "accepted"}
    assert sent.code == 0


def test_a_transaction_sent_through_any_node_is_committed(plant: Plant) -> None:
    raw = transfer(plant, plant.nodes[1], plant.nodes[0], 5)
    sent = plant.nodes[4].vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert (sent.data["stage"], sent.data["status"]) == ("committed", "ok")
    postings = [e for e in sent.data["events"] if e["event"] == "Posted"]
    assert [(p["account"], p["delta"]) for p in postings] == [
        (key_text(plant.nodes[1].key.public_key), -5),
        (key_text(plant.nodes[0].key.public_key), 5),
    ]


def proof_at(node: Node, tx_hash: str) -> dict[str, Any]:
    shown = node.vppd("tx", "show", tx_hash, "--wait", "--proof", "-o", "json")
    assert shown.code == 0, shown.err
    proof: dict[str, Any] = shown.data["proof"]
    return proof


def test_the_leader_proves_a_result_at_once_by_replies(plant: Plant) -> None:
    raw = transfer(plant, plant.nodes[2], plant.nodes[0], 7)
    leader = plant.nodes[0]
    sent = leader.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw).data

    def proved() -> dict[str, Any] | None:
        proof = proof_at(leader, sent["hash"])
        return proof if "proved_by" in proof else None

    proof = eventually(proved, "a proof")
    assert proof["proved_by"] == "f+1 replies"
    assert proof["block"] == leader.vppd("block", "show", sent["height"], "-o", "json").data["hash"]


def test_every_node_proves_a_result_by_the_next_block(plant: Plant) -> None:
    sender = plant.nodes[2]
    first, second = (transfer(plant, sender, plant.nodes[0], 7, nonce=n) for n in next_two(sender))
    sent = sender.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=first).data
    assert sender.vppd("tx", "send", "-", "--wait", stdin=second).code == 0
    plant.wait_equal()
    for node in plant.nodes:
        proof = proof_at(node, sent["hash"])
        assert proof["proved_by"] == f"certificate of height {sent['height'] + 1}"


def next_two(node: Node) -> tuple[int, int]:
    due: int = node.view("account", node.name)["nonce"]
    return due, due + 1


def test_a_transaction_nobody_knows_exits_1(plant: Plant) -> None:
    shown = plant.nodes[0].vppd("tx", "show", "00" * 32, "-o", "json")
    assert (shown.code, shown.data["stage"]) == (1, "unknown")


def test_what_is_no_hash_exits_2(plant: Plant) -> None:
    shown = plant.nodes[0].vppd("tx", "show", "12")
    assert shown.code == 2
    assert shown.err.startswith("error[E352]: '12' is not a hash")


def test_a_replayed_transaction_is_refused_and_the_sender_sees_why(
    plant: Plant, tmp_path: Path
) -> None:
    file = write(tmp_path, transfer(plant, plant.nodes[1], plant.nodes[2], 3))
    assert plant.nodes[1].vppd("tx", "send", file, "--wait").code == 0
    again = plant.nodes[1].vppd("tx", "send", file)
    assert again.code == 1
    assert again.err.startswith("error[E350]: the node says: nonce ")
    assert "is used" in again.err
    assert "a replay?" in again.err


def test_a_nonce_too_far_ahead_is_refused(plant: Plant, tmp_path: Path) -> None:
    due = plant.nodes[1].view("account", "der-1")["nonce"]
    raw = transfer(plant, plant.nodes[1], plant.nodes[2], 3, nonce=due + 17)
    sent = plant.nodes[1].vppd("tx", "send", write(tmp_path, raw))
    assert sent.code == 1
    assert f"nonce {due + 17} is too far ahead, the account's next is {due}" in sent.err


def test_a_transaction_of_another_chain_is_refused(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[1]
    nonce = node.view("account", "der-1")["nonce"]
    raw = make_transaction(
        node.key, bytes(32), nonce, LIFETIME_BLOCKS, (Transfer(node.key.public_key, 1),)
    )
    sent = node.vppd("tx", "send", write(tmp_path, raw))
    assert sent.code == 1
    assert "signature does not hold" in sent.err


def test_garbage_is_no_transaction(plant: Plant) -> None:
    sent = plant.nodes[1].vppd("tx", "send", "-", stdin=b"garbage")
    assert sent.code == 1
    assert "not a Envelope" in sent.err or "not a transaction" in sent.err


def test_a_file_that_is_not_there_exits_2(plant: Plant) -> None:
    sent = plant.nodes[1].vppd("tx", "send", "no-such-file")
    assert sent.code == 2
    assert "error[E353]" in sent.err
    assert "no-such-file" in sent.err


# ---------------------------------------------------------------- market


def test_a_bid_and_an_ask_rest_and_meet(plant: Plant, slot: int) -> None:
    buyer, seller, other = plant.nodes[3], plant.nodes[4], plant.nodes[0]
    on_slot = ("--slot", slot)
    bid = buyer.vppd("market", "bid", 1500, "0.52", *on_slot, "--wait", "-o", "json")
    assert (bid.code, bid.data["status"]) == (0, "ok")
    plant.wait_equal()
    [resting] = other.vppd("market", "book", *on_slot, "-o", "json").data
    assert (resting["side"], resting["agent"]) == ("bid", "der-3")
    assert (resting["remaining_wh"], resting["price_micro"]) == (1500, 520_000)

    ask = seller.vppd("market", "ask", 1000, "0.48", *on_slot, "--wait", "-o", "json")
    assert (ask.code, ask.data["status"]) == (0, "ok")
    plant.wait_equal()
    [trade] = other.vppd("market", "trades", *on_slot, "-o", "json").data
    assert (trade["seller"], trade["buyer"], trade["quantity_wh"]) == ("der-4", "der-3", 1000)
    assert 480_000 <= trade["price_micro"] <= 520_000
    [left] = other.vppd("market", "book", *on_slot, "-o", "json").data
    assert left["remaining_wh"] == 500

    book = other.vppd("market", "book", *on_slot)
    assert book.code == 0, book.err
    assert "der-3" in book.out
    assert "0.52" in book.out
    trades = other.vppd("market", "trades", *on_slot)
    assert trades.code == 0, trades.err
    assert "der-4" in trades.out


def test_an_empty_book_and_no_trades_say_so(plant: Plant, slot: int) -> None:
    empty = ("--slot", slot + 1)
    assert "no resting orders" in plant.nodes[0].vppd("market", "book", *empty).out
    assert "no trades" in plant.nodes[0].vppd("market", "trades", *empty).out
    assert plant.nodes[0].vppd("market", "book", *empty, "-o", "json").data == []


def test_a_bid_without_a_slot_goes_into_the_next_open_one(plant: Plant) -> None:
    first = plant.nodes[2].view("market")["open_slot"]
    bid = plant.nodes[2].vppd("market", "bid", 10, "0.40", "--wait", "-o", "json")
    last = plant.nodes[2].view("market")["open_slot"]
    assert bid.data["status"] == "ok"
    assert first <= bid.data["transaction"]["ops"][0]["slot"] <= last


def test_an_order_without_funds_says_how_much_is_missing(plant: Plant, slot: int) -> None:
    node = plant.nodes[2]
    balance = node.view("account", "der-2")["balance_micro"]
    bid = node.vppd("market", "bid", 1_000_000, "1", "--slot", slot, "--wait", "-o", "json")
    assert bid.code == 1, "waited for, and it failed"
    assert (bid.data["stage"], bid.data["status"]) == ("committed", "failed")
    assert bid.data["error"] == "insufficient_funds"
    assert bid.data["missing_micro"] == 1_000_000_000 - balance
    assert node.view("account", "der-2")["balance_micro"] == balance


def test_an_order_for_a_closed_slot_says_when_it_closed(plant: Plant) -> None:
    bid = plant.nodes[2].vppd("market", "bid", 10, "0.4", "--slot", 7, "--wait", "-o", "json")
    market = plant.genesis.market
    assert (bid.data["status"], bid.data["error"]) == ("failed", "gate_closed")
    assert bid.data["closed_ms"] == market.slot_start(7) - market.gate_lead_ms


def test_a_price_that_is_no_number_exits_2(plant: Plant) -> None:
    bid = plant.nodes[2].vppd("market", "bid", 10, "cheap")
    assert bid.code == 2
    assert "error[E356]" in bid.err
    assert "cheap" in bid.err


# ---------------------------------------------------------------- block


def test_show_prints_a_block_by_height_and_by_hash(plant: Plant) -> None:
    plant.wait_equal()
    by_height = plant.nodes[1].vppd("block", "show", 1, "-o", "json").data
    assert (by_height["height"], by_height["parent"]) == (1, plant.genesis.digest.hex())
    assert len(by_height["signers"]) in (4, 5), "q commits, or F votes"
    assert by_height["transactions"][0]["receipt"]["status"] == "ok"
    by_hash = plant.nodes[2].vppd("block", "show", by_height["hash"], "-o", "json").data
    assert {**by_hash, "signers": None, "view": 0} == {**by_height, "signers": None, "view": 0}
    table = plant.nodes[2].vppd("block", "show", 1)
    assert table.code == 0
    assert by_height["hash"] in table.out


def test_a_block_that_is_not_there_says_what_the_last_one_is(plant: Plant) -> None:
    shown = plant.nodes[0].vppd("block", "show", 1_000_000)
    assert shown.code == 1
    assert "no block 1000000; the last one is" in shown.err
    unknown = plant.nodes[0].vppd("block", "show", "ab" * 32)
    assert unknown.code == 1
    assert "no decided block" in unknown.err


def test_tail_prints_the_last_blocks(plant: Plant) -> None:
    height, head = plant.wait_equal()
    rows = plant.nodes[3].vppd("block", "tail", "-n", 3, "-o", "json").data
    assert [row["height"] for row in rows] == [height - 2, height - 1, height]
    assert head.startswith(rows[-1]["hash"])
    lines = plant.nodes[3].vppd("block", "tail", "-n", 3).out.splitlines()
    assert lines[0].split()[0] == "HEIGHT"
    assert len(lines) == 4


def test_verify_holds_beside_a_running_node(plant: Plant) -> None:
    height, _ = plant.wait_equal()
    for node in plant.nodes:
        report = node.vppd("block", "verify", "-o", "json")
        assert (report.code, report.data["ok"], report.data["problem"]) == (0, True, None)
        assert (report.data["first"], report.data["last"]) == (1, height)
    part = plant.nodes[0].vppd("block", "verify", "2..3", "-o", "json").data
    assert (part["first"], part["last"]) == (2, 3)


def test_verify_wants_a_range(plant: Plant) -> None:
    assert "error[E355]" in plant.nodes[0].vppd("block", "verify", "x..y").err


# ---------------------------------------------------------------- status


def test_status_counts_the_nodes_and_exits_0(plant: Plant) -> None:
    height, head = plant.wait_equal()
    answer = plant.nodes[2].vppd("status", "-o", "json")
    assert answer.code == 0
    status = answer.data
    assert (status["name"], status["role"], status["leader"]) == ("der-2", "der", "op-0")
    assert (status["n"], status["f"], status["quorum"], status["quorum_slack"]) == (5, 1, 4, 1)
    assert (status["height"], status["head"], status["executed"]) == (height, head, height)
    assert status["chain_id"] == plant.genesis.digest.hex()
    assert [p["name"] for p in status["peers"] if p["connected"]] == [
        "op-0", "der-1", "der-3", "der-4",
    ]  # fmt: skip
    table = plant.nodes[2].vppd("status").out
    assert "5 of 5 replicas are here, 4 needed to decide: 1 more may fail" in table
    assert "byzantine_tolerance=1 n-q=1 n-w=1 p=0" in table


def test_nobody_at_the_socket_is_said_so(tmp_path: Path) -> None:
    asked = vppd("status", "--home", tmp_path)
    assert asked.code == 1
    assert asked.err.startswith("error[E351]: no node answers here")
    assert "vppd start --home" in asked.err


def test_a_nonce_gap_waits_and_is_filled(plant: Plant) -> None:
    node = plant.nodes[4]
    due = node.view("account", "der-4")["nonce"]
    later, sooner = (transfer(plant, node, plant.nodes[0], 1, nonce=n) for n in (due + 1, due))
    first = node.vppd("tx", "send", "-", "-o", "json", stdin=later).data["hash"]
    assert node.vppd("tx", "show", first, "-o", "json").data["stage"] == "accepted"
    assert node.vppd("tx", "send", "-", "--wait", stdin=sooner).code == 0
    shown = node.vppd("tx", "show", first, "--wait", "-o", "json").data
    assert (shown["stage"], shown["status"]) == ("committed", "ok")


def test_operations_of_one_transaction_fail_together(plant: Plant, slot: int) -> None:
    node = plant.nodes[1]
    order = PlaceOrder(slot, Side.BID, 10, 100_000, 100_000, 0)
    raw = plant.sign(node, order, Transfer(node.key.public_key, 10**12))
    sent = node.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw).data
    assert (sent["status"], sent["error"], sent["events"]) == ("failed", "insufficient_funds", [])


def test_follow_prints_blocks_as_they_come(plant: Plant) -> None:
    node = plant.nodes[2]
    height, _ = plant.wait_equal()
    with node.follow("block", "tail", "-f", "-n", 1, "-o", "json") as lines:
        # When the subscription is in force cannot be seen from outside: one block after another.
        def next_line() -> bytes | None:
            raw = transfer(plant, node, plant.nodes[0], 1)
            assert node.vppd("tx", "send", "-", "--wait", stdin=raw).code == 0
            return lines[0] if lines else None

        row = json.loads(eventually(next_line, "a line of block tail -f"))
    assert row["height"] > height
    assert row["transactions"] == 1
