"""Every bad input that the manuals name, typed at a plant that runs.

Each says what is wrong, where, why and what to try, and the plant goes on. The ones without a name
of a file are here; the codes are in docs/errors.md, the words of the chain in ``receipts.MEANING``.

======================================  =====================  =====================================
input                                   answer                 test
======================================  =====================  =====================================
nonce that is used                      E350, next nonce       an_old_nonce…, test_commands (replay)
nonce with a gap                        waits_for_nonce        a_nonce_with_a_gap…
nonce far ahead                         E350                   test_commands, a_refusal_says…
another transaction with a nonce        E350                   a_refusal_says…
transaction that has expired            E350                   a_refusal_says…
transaction dropped while it waits      stage dropped          a_transaction_that_is_dropped…
unknown account: sender                 E350; E395             a_refusal_says…, a_key_nobody_knows…
unknown account: recipient              unknown_recipient      what_the_chain_refuses…
not enough balance                      insufficient_funds     what_the_chain…, test_commands (bid)
overflow: an amount of 2^63 − 1         insufficient_funds     what_the_chain_refuses…
overflow: a number of 2^63 and more     exit 2; E356; E392     numbers_that_cannot_be…, damaged…
amount of zero                          amount_out_of_range    what_the_chain_refuses…
quantity or price zero, negative        exit 2; E356           numbers_that_cannot_be…
quantity that is absurd                 quantity_out_of_range  an_order_the_market_refuses…
price that is absurd                    price_out_of_range     an_order_the_market_refuses…
reserve price on the wrong side         reserve_on_wrong_side  an_order_the_market_refuses…
slot after gate closure                 gate_closed            an_order_the_market…, test_commands
slot not open yet                       slot_not_open          an_order_the_market_refuses…
order signed by a meter                 not_an_account         a_meters_key_neither_trades…
reading signed by a member              E390; not_a_meter      a_members_key…, what_the_chain…
reading of another meter                E239                   a_reading_of_another_meter…
reading signed by a stranger's key      E395                   a_key_nobody_knows…
register running backwards              E235;                  registers_that_run_backwards…
                                        register_backwards     what_the_chain_refuses_of_a_meter…
absurd reading                          E236;                  what_is_wrong_in_a_file…
                                        energy_out_of_range    what_the_chain_refuses_of_a_meter…
reading of a slot to come               E237;                  what_is_wrong_in_a_file…
                                        reading_from_future    what_the_chain_refuses_of_a_meter…
reading of a closed slot                E238; slot_closed      the same two
the same readings twice                 already recorded       readings_are_recorded_once…
file of readings that is none           E230 … E234            tests/cli/test_meter, client/readings
transaction file: damaged               E392, E394             a_damaged_transaction…
transaction file: not there             E353                   test_commands
transaction file or stdin: empty        E393                   nothing_to_send…
transaction of another chain            E394                   a_transaction_of_another_chain…
node not running                        E351                   a_node_that_does_not_run…
node that dies meanwhile                E358                   test_start (a disk that fails)
node.key 0644: start                    E160                   test_start
node.key 0644: bid; meter.key: push     E160                   a_key_that_others_may_read…
node-tls.key 0644: start                E305                   a_tls_key_that_others_may_read…
key not in peers.toml                   E104                   test_start
key not in genesis: bid                 E395                   a_key_nobody_knows…
key not in genesis: start               E116                   a_key_that_genesis_does_not_know…
genesis and peers of two plants         E113                   test_start
a node of another chain                 peers check: why       a_node_of_another_chain…
certificate of another CA: start        E306                   test_hostile
certificate of another CA: from a peer  status: why            test_hostile
certificate expired: start              E306                   an_expired_certificate_stops…
certificate not valid yet               E306                   an_expired_certificate_stops…
certificate expired: from a peer        status: why            a_certificate_that_expires…
certificate revoked: start, from peers  E306; status: why      a_revoked_certificate…
list of revoked ones: expired, foreign  E306                   a_list_of_revoked_certificates…
======================================  =====================  =====================================
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.plant import LIFETIME_BLOCKS, Node, Plant, Ran, eventually, plant_of, vppd
from vppd.cli.testnet import write_testnet
from vppd.config.keys import create_key, load_key
from vppd.crypto import SigningKey, key_text
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.transaction import (
    Op,
    PlaceOrder,
    Reading,
    Transfer,
    decode_transaction,
    make_transaction,
)
from vppd.market.auction import Side
from vppd.net.x509 import Issued, make_crl, make_leaf
from vppd.types import Slot

pytestmark = [pytest.mark.slow, pytest.mark.net]

MOST = 2**63 - 1
FAR_AHEAD = 10
"""Slots after the first open one: still open whatever the clock does during a test."""
TOP = "slot,import_wh,export_wh\n"


@pytest.fixture(scope="module")
def plant(running: Plant) -> Plant:
    return running


@pytest.fixture
def slot(plant: Plant) -> Slot:
    """One that takes orders."""
    open_slot: Slot = plant.nodes[0].view("market")["open_slot"]
    return open_slot + FAR_AHEAD


def said(ran: Ran, code: str, *words: str) -> None:
    """It failed with this error, which holds these words, and something to try."""
    assert ran.code == 1, ran
    assert ran.err.startswith(f"error[{code}]: "), ran.err
    for word in (*words, "  try "):
        assert word in ran.err
    assert ran.out == ""


def failed(ran: Ran, error: str, **details: object) -> None:
    """It was decided and failed on chain, for this reason, with something to try."""
    assert ran.code == 1, ran
    assert (ran.data["stage"], ran.data["status"]) == ("committed", "failed"), ran.out
    assert ran.data["error"] == error
    assert ran.data["why"]
    assert ran.data["try"]
    assert {name: ran.data[name] for name in details} == details


def send(node: Node, raw: bytes, *options: str) -> Ran:
    return node.vppd("tx", "send", "-", *options, stdin=raw)


def signed(
    plant: Plant, signer: SigningKey, nonce: int, *ops: Op, expiry: int = LIFETIME_BLOCKS
) -> bytes:
    return make_transaction(signer, plant.genesis.digest, nonce, expiry, ops)


# ---------------------------------------------------------------- tx


def test_an_old_nonce_says_which_is_due(plant: Plant) -> None:
    node = plant.nodes[1]
    raw = plant.sign(node, Transfer(plant.nodes[2].key.public_key, 1))
    assert send(node, raw, "--wait").code == 0
    nonce = decode_transaction(raw).nonce
    again = send(node, raw)
    said(again, "E350", f"nonce {nonce} is used, the account's next is {nonce + 1} (a replay?)")
    assert key_text(node.key.public_key) in again.err
    assert f"sign it again with nonce {nonce + 1}" in again.err
    assert f"vppd tx show {decode_transaction(raw).id.hex()}" in again.err
    other = send(node, plant.sign(node, Transfer(node.key.public_key, 2), nonce=nonce))
    said(other, "E350", f"nonce {nonce} is used")


def test_a_nonce_with_a_gap_says_what_it_waits_for(plant: Plant) -> None:
    node = plant.nodes[1]
    due = node.view("account", node.name)["nonce"]
    op = Transfer(plant.nodes[2].key.public_key, 1)
    later, sooner = (plant.sign(node, op, nonce=nonce) for nonce in (due + 1, due))
    later_id = decode_transaction(later).id.hex()
    with ThreadPoolExecutor() as typed:
        waiting = typed.submit(send, node, later, "--wait", "-o", "json")

        def accepted() -> bool:
            return bool(node.vppd("tx", "show", later_id, "-o", "json").data["stage"] == "accepted")

        eventually(accepted, "the later one waits")
        shown = node.vppd("tx", "show", later_id, "-o", "json").data
        assert (shown["stage"], shown["waits_for_nonce"]) == ("accepted", due)
        again = send(node, later, "-o", "json")
        assert again.data == {"hash": later_id, "stage": "accepted", "waits_for_nonce": due}
        assert "waits_for_nonce" not in send(node, sooner, "-o", "json").data
        ended = waiting.result()
    assert (ended.code, ended.data["status"]) == (0, "ok")
    assert ended.err == f"note: it waits until nonce {due} of its sender is decided\n"


def test_a_refusal_says_whose_it_is_and_what_is_due(plant: Plant) -> None:
    node, stranger = plant.nodes[2], SigningKey(bytes(31) + b"s")
    account = node.view("account", node.name)
    due, pay = account["nonce"], Transfer(plant.nodes[1].key.public_key, 1)
    far = send(node, plant.sign(node, pay, nonce=due + 99))
    said(far, "E350", f"nonce {due + 99} is too far ahead", f"nonce {due} first")
    expired = send(node, signed(plant, node.key, due, pay, expiry=account["height"]))
    said(expired, "E350", f"expired at height {account['height']}", "sign it again")
    nobody = send(node, signed(plant, stranger, 0, pay))
    said(nobody, "E350", "no account on this chain", "genesis.toml")
    assert key_text(stranger.public_key) in nobody.err
    waits = plant.sign(node, pay, nonce=due + 1)
    assert send(node, waits).code == 0
    twin = send(node, plant.sign(node, Transfer(node.key.public_key, 2), nonce=due + 1))
    said(twin, "E350", f"another transaction with nonce {due + 1} is waiting")
    assert send(node, plant.sign(node, pay, nonce=due), "--wait").code == 0
    waited = node.vppd("tx", "show", decode_transaction(waits).id.hex(), "--wait", "-o", "json")
    assert waited.data["stage"] == "committed"


def test_a_transaction_that_is_dropped_says_so_and_what_to_try(plant: Plant) -> None:
    """It waits behind a gap until its last height has passed."""
    node, payer = plant.nodes[2], plant.nodes[1]
    account = node.view("account", node.name)
    pay = Transfer(payer.key.public_key, 1)
    last = account["height"] + 2
    raw = signed(plant, node.key, account["nonce"] + 1, pay, expiry=last)
    tx_hash = decode_transaction(raw).id.hex()
    with ThreadPoolExecutor() as typed:
        waiting = typed.submit(send, node, raw, "--wait", "-o", "json")

        def accepted() -> bool:
            return bool(node.vppd("tx", "show", tx_hash, "-o", "json").data["stage"] == "accepted")

        eventually(accepted, "it waits")
        while node.view("status")["executed"] < last:
            assert send(payer, plant.sign(payer, pay), "--wait").code == 0
        ended = waiting.result()
    assert (ended.code, ended.data["stage"]) == (1, "dropped")
    assert ended.data["why"].startswith("dropped from this node's waiting room undecided")
    assert ended.data["try"] == "send it again; if it is refused then, sign it again"
    assert ended.data["transaction"]["nonce"] == account["nonce"] + 1
    said(send(node, raw), "E350", f"expired at height {last}", "nonce")
    shown = node.vppd("tx", "show", tx_hash)
    assert shown.code == 1
    assert "this node neither has it waiting nor knows a block with it" in shown.out


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda raw: raw[:-1], "E392", "not a"),
        (lambda raw: raw + b"\0", "E392", "not a"),
        (lambda raw: raw[: len(raw) // 2], "E392", "not a"),
        (lambda raw: raw.hex().encode()[:-1], "E392", "not a"),
        (lambda raw: b"garbage " + raw, "E392", "not a"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "E394", "changed since"),
        (lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:], "E394", "sign it again"),
        # An amount of 2^63, one more than a number on the wire may be.
        (lambda raw: raw.replace(b"\xcf" + MOST.to_bytes(8, "big"), b"\xcf\x80" + bytes(7)),
         "E392", "<= 9223372036854775807"),
    ],
    ids=["cut by 1", "1 too many", "half", "odd hex", "text before", "signature", "sender", "2^63"],
)  # fmt: skip
def test_a_damaged_transaction_is_named_before_it_is_sent(
    plant: Plant, tmp_path: Path, damage: object, code: str, words: str
) -> None:
    node = plant.nodes[1]
    raw = plant.sign(node, Transfer(node.key.public_key, MOST))
    file = tmp_path / "order.tx"
    assert callable(damage)
    file.write_bytes(damage(raw))
    said(node.vppd("tx", "send", file), code, str(file), words)


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_nothing_to_send_is_said_so(plant: Plant, tmp_path: Path, content: bytes) -> None:
    said(send(plant.nodes[1], content), "E393", "standard input", "before the pipe")
    file = tmp_path / "empty.tx"
    file.write_bytes(content)
    said(plant.nodes[1].vppd("tx", "send", file), "E393", str(file))


def test_a_transaction_of_another_chain_names_ours(plant: Plant) -> None:
    node = plant.nodes[1]
    raw = make_transaction(node.key, bytes(32), 0, 9, (Transfer(node.key.public_key, 1),))
    said(send(node, raw), "E394", plant.genesis.digest.hex(), "signed for another plant")


def test_what_the_chain_refuses_says_why_and_what_to_try(plant: Plant) -> None:
    node, other = plant.nodes[3], plant.nodes[4]
    before = node.view("account", node.name)

    def tried(op: Op) -> Ran:
        return send(node, plant.sign(node, op), "--wait", "-o", "json")

    failed(tried(Transfer(SigningKey(bytes(32)).public_key, 1)), "unknown_recipient")
    failed(tried(Transfer(other.key.public_key, 0)), "amount_out_of_range")
    missing = MOST - before["balance_micro"]
    failed(tried(Transfer(other.key.public_key, MOST)), "insufficient_funds", missing_micro=missing)
    failed(tried(Reading(7, 1, 1)), "not_a_meter")
    after = node.view("account", node.name)
    assert after["balance_micro"] == before["balance_micro"]
    assert after["nonce"] == before["nonce"] + 4, "a failure uses its nonce and nothing else"
    shown = send(node, plant.sign(node, Transfer(other.key.public_key, MOST)), "--wait").out
    assert "The balance does not cover it." in shown
    assert "\ntry " in shown


def test_a_node_that_does_not_run_is_named_by_every_command(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[1]
    home = tmp_path / "der-1"
    home.mkdir()
    for name in ("genesis.toml", "peers.toml", "node.toml", "node.key", "meter.key"):
        shutil.copy(node.home / name, home / name)
    (tmp_path / "r.csv").write_text(TOP + "1,2,3\n")
    raw = plant.sign(node, Transfer(node.key.public_key, 1))
    for command in (
        ("tx", "send", "-"),
        ("tx", "show", "00" * 32),
        ("market", "bid", 10, "0.5"),
        ("market", "book"),
        ("meter", "push", tmp_path / "r.csv"),
        ("meter", "list"),
        ("block", "tail"),
        ("status",),
    ):
        ran = vppd(*command, "--home", home, stdin=raw)
        said(ran, "E351", str(home / "vppd.sock"), f"vppd start --home {home}")


# ---------------------------------------------------------------- market


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("0", "0.5"), "0 is not in the range"),
        (("-5", "0.5"), "-5 is below zero"),
        (("5", "-0.5"), "-0.5 is below zero"),
        (("5", "0.5", "--reserve", "-1"), "error[E356]: the reserve price"),
        (("5", "0.5", "--slot", "-1"), "-1 is not in the range"),
        (("1.5", "0.5"), "'1.5' is not a valid int"),
        ((str(2**63), "0.5"), "is not in the range"),
        (("5", "1" * 20), "error[E356]"),
        (("5", "1e3"), "error[E356]"),
        (("5", "0.1234567"), "7 decimals, money has at most 6"),
    ],
)
def test_numbers_that_cannot_be_are_named_and_exit_2(
    plant: Plant, args: tuple[str, ...], words: str
) -> None:
    for command in ("bid", "ask"):
        ran = plant.nodes[1].vppd("market", command, *args)
        assert (ran.code, ran.out) == (2, "")
        assert words in " ".join(ran.err.split())


def test_an_order_the_market_refuses_says_why_and_what_to_try(plant: Plant, slot: Slot) -> None:
    node, market = plant.nodes[4], plant.genesis.market

    def order(side: str, *args: object, at: int = slot) -> Ran:
        return node.vppd("market", side, *args, "--slot", at, "--wait", "-o", "json")

    most = market.max_quantity_wh
    failed(order("ask", most + 1, "0.5"), "quantity_out_of_range", max_wh=most)
    failed(order("ask", MOST, "0.5"), "quantity_out_of_range", max_wh=most)
    failed(order("bid", 10, "1000000000"), "price_out_of_range", max_price=market.max_price)
    failed(order("bid", 10, "0.5", "--reserve", "0.4"), "reserve_on_wrong_side", price=500_000)
    failed(order("ask", 10, "0.5", "--reserve", "0.6"), "reserve_on_wrong_side", price=500_000)
    opens_ms = due_ms(market, slot + 10_000, Phase.OPEN)
    failed(order("bid", 10, "0.5", at=slot + 10_000), "slot_not_open", opens_ms=opens_ms)
    failed(order("ask", 10, "0.5", at=MOST), "slot_not_open")
    closed_ms = due_ms(market, slot - 2 * FAR_AHEAD, Phase.GATE_CLOSED)
    for side in ("bid", "ask"):
        closed = order(side, 10, "0.5", at=slot - 2 * FAR_AHEAD)
        failed(closed, "gate_closed", closed_ms=closed_ms)
    assert node.vppd("market", "book", "--slot", slot, "-o", "json").data == []


def test_a_meters_key_neither_trades_nor_pays(plant: Plant, slot: Slot) -> None:
    node = plant.nodes[3]
    key = ("--key", node.home / "meter.key")
    bid = node.vppd("market", "bid", 10, "0.5", *key, "--slot", slot, "--wait", "-o", "json")
    failed(bid, "not_an_account")


def test_a_key_nobody_knows_is_shown(plant: Plant, tmp_path: Path) -> None:
    node, key_file = plant.nodes[1], tmp_path / "stranger.key"
    stranger = key_text(create_key(key_file).public_key)
    said(node.vppd("market", "bid", 10, "0.5", "--key", key_file), "E395", stranger, "--key")
    (tmp_path / "r.csv").write_text(TOP + "1,2,3\n")
    pushed = node.vppd("meter", "push", tmp_path / "r.csv", "--key", key_file)
    said(pushed, "E395", stranger, "genesis.toml")


def test_a_key_that_others_may_read_signs_nothing(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[1]
    (tmp_path / "r.csv").write_text(TOP + "1,2,3\n")
    for name, command in (
        ("node.key", ("market", "bid", 10, "0.5")),
        ("node.key", ("market", "ask", 10, "0.5")),
        ("meter.key", ("meter", "push", tmp_path / "r.csv")),
    ):
        shutil.copy(node.home / name, tmp_path / name)
        (tmp_path / name).chmod(0o644)
        ran = node.vppd(*command, "--key", tmp_path / name)
        assert ran.code == 78
        assert ran.err.startswith("error[E160]: others may read this secret key")
        assert f"chmod 600 {tmp_path / name}" in ran.err


# ---------------------------------------------------------------- meters


def ended(plant: Plant, ago: int = 1) -> Slot:
    """A slot that ended so many slots ago, counted from 1."""
    market = plant.genesis.market
    slot: Slot = (plant.nodes[0].view("status")["unix_ms"] - market.origin_ms) // market.slot_ms
    return slot - ago


def push(node: Node, folder: Path, text: str, *options: object) -> Ran:
    file = folder / "readings.csv"
    file.write_text(text)
    return node.vppd("meter", "push", file, *options)


def listed(node: Node, meter: str) -> dict[str, object]:
    rows = node.vppd("meter", "list", "-o", "json").data
    (row,) = [row for row in rows if row["meter"] == meter]
    assert isinstance(row, dict)
    return row


def test_readings_are_recorded_once_corrected_and_listed(plant: Plant, tmp_path: Path) -> None:
    node, first = plant.nodes[1], ended(plant, 80)
    meter = key_text(load_key(node.home / "meter.key").public_key)
    assert listed(node, meter)["last_slot"] is None
    rows = [(first + i, 1_000 * i, 7 * i) for i in range(70)]

    def text(rows: list[tuple[int, int, int]]) -> str:
        return TOP + "".join("{},{},{}\n".format(*row) for row in rows)

    pushed = push(node, tmp_path, text(rows), "-o", "json")
    assert pushed.code == 0, pushed.err
    done = pushed.data
    assert len(done.pop("transactions")) == 2, "64 readings fit a transaction"
    counts = {"recorded": 70, "corrected": 0, "already_recorded": 0, "closed": 0}
    assert done == {"meter": meter, "account": "der-1", **counts}
    plant.wait_equal()
    for other in plant.nodes:
        row = listed(other, meter)
        assert (row["last_slot"], row["import_wh"], row["export_wh"]) == rows[-1]
        assert row["account"] == "der-1"

    height = node.view("status")["height"]
    again = push(node, tmp_path, text(rows))
    assert (again.code, again.err) == (0, "")
    assert again.out == f"{meter}, meter of der-1\n  70 already recorded\n"
    assert node.view("status")["height"] == height, "and nothing was sent for it"

    # Two raised by more than a neighbour allows one by one, one lowered, one new.
    rows[40], rows[41] = (first + 40, 41_500, 280), (first + 41, 41_900, 287)
    rows[50] = (first + 50, 49_900, 350)
    rows.append((first + 70, 70_000, 490))
    corrected = push(node, tmp_path, text(rows))
    assert corrected.code == 0, corrected.err
    assert corrected.out.splitlines()[1:] == [
        "  1 recorded", "  3 corrected", "  67 already recorded",
    ]  # fmt: skip
    readings = {r["slot"]: r for r in node.view("account", meter)["readings"]}
    assert [readings[first + i]["version"] for i in (39, 40, 41, 50, 70)] == [1, 2, 2, 2, 1]
    assert readings[first + 41]["import_wh"] == 41_900
    table = node.vppd("meter", "list").out.splitlines()
    assert table[0].split() == ["METER", "ACCOUNT", "LAST_SLOT", "END", "IMPORT_WH", "EXPORT_WH"]
    assert len(table) == 5


def test_readings_may_name_the_moment_instead_of_the_slot(plant: Plant) -> None:
    node, slot, market = plant.nodes[2], ended(plant), plant.genesis.market
    end = datetime.fromtimestamp(market.slot_start(slot + 1) / 1000, UTC).isoformat()
    key = load_key(node.home / "meter.key").public_key
    text = f"end,meter,import_wh,export_wh\n{end},{key_text(key)},5,6\n"
    pushed = node.vppd("meter", "push", "-", "-o", "json", stdin=text.encode())
    assert (pushed.code, pushed.data["recorded"]) == (0, 1), pushed.err
    row = listed(node, key_text(key))
    assert (row["last_slot"], row["import_wh"], row["export_wh"]) == (slot, 5, 6)
    assert row["end"] == end.replace("+00:00", "Z")


def test_registers_that_run_backwards_are_found_in_the_file_and_on_chain(
    plant: Plant, tmp_path: Path
) -> None:
    node, slot = plant.nodes[3], ended(plant, 5)
    rows = f"{slot},500,10\n{slot + 1},499,10\n"
    said(push(node, tmp_path, TOP + rows), "E235", "line", "3", f"slot {slot}: import 500 Wh")
    assert push(node, tmp_path, TOP + f"{slot},500,10\n").code == 0
    back = push(node, tmp_path, TOP + f"{slot + 1},600,9\n")
    said(back, "E235", f"slot {slot}: import 500 Wh, export 10 Wh (on chain)")
    below = push(node, tmp_path, TOP + f"{slot - 1},501,0\n")
    said(below, "E235", f"slot {slot}: import 500 Wh, export 10 Wh (on chain)")


def test_what_is_wrong_in_a_file_is_said_and_nothing_of_it_is_sent(
    plant: Plant, tmp_path: Path
) -> None:
    node, slot, market = plant.nodes[4], ended(plant), plant.genesis.market
    height = plant.wait_equal()[0]
    closed = slot - 4 - market.dispute_slots - 1
    good = f"{slot - 1},100,0\n"
    for bad, code, words in (
        (f"{slot},{100 + market.max_quantity_wh + 1},0\n", "E236", "more than a meter may count"),
        (f"{slot + 1},200,0\n", "E237", "has not ended yet"),
        (f"{slot},-1,0\n", "E233", "below zero"),
        (f"{slot},{2**63},0\n", "E233", "2^63"),
        (f"{slot - 1},100,0\n", "E234", "the same slot"),
    ):
        said(push(node, tmp_path, TOP + good + bad), code, words, "line", "3")
    said(push(node, tmp_path, TOP + f"{closed},1,0\n{good}"), "E238", f"slot {closed} is closed")
    assert node.view("status")["height"] == height
    meter = load_key(node.home / "meter.key").public_key
    assert node.view("account", key_text(meter))["readings"] == []


def test_a_reading_of_another_meter_is_not_signed(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[4]
    theirs = key_text(load_key(plant.nodes[3].home / "meter.key").public_key)
    foreign = push(node, tmp_path, f"meter,{TOP}{theirs},{ended(plant)},1,2\n")
    said(foreign, "E239", theirs, "--key")


def test_a_members_key_signs_no_reading(plant: Plant, tmp_path: Path) -> None:
    node = plant.nodes[4]
    ran = push(node, tmp_path, TOP + "1,2,3\n", "--key", node.home / "node.key")
    said(ran, "E390", key_text(node.key.public_key), "der-4", "vppd meter list")


def test_what_the_chain_refuses_of_a_meter_that_was_not_checked(plant: Plant) -> None:
    """The same readings signed elsewhere: the chain has the last word."""
    node, slot, market = plant.nodes[4], ended(plant), plant.genesis.market
    meter = load_key(node.home / "meter.key")

    def tried(*ops: Op) -> Ran:
        nonce = node.view("account", key_text(meter.public_key))["nonce"]
        raw = signed(plant, meter, nonce, *ops)
        return send(node, raw, "--wait", "-o", "json")

    most = market.max_quantity_wh
    failed(
        tried(Reading(slot - 1, 100, 9), Reading(slot, 99, 9)),
        "register_backwards",
        neighbour_import_wh=100,
        neighbour_export_wh=9,
    )
    failed(
        tried(Reading(slot - 1, 0, 0), Reading(slot, most + 1, 0)),
        "energy_out_of_range",
        max_wh=most,
    )
    ends_ms = due_ms(market, slot + 9, Phase.METERED)
    failed(tried(Reading(slot + 9, 1, 1)), "reading_from_future", ends_ms=ends_ms)
    closed = slot - 4 - market.dispute_slots - 1
    failed(
        tried(Reading(closed, 1, 1)), "slot_closed", closed_ms=due_ms(market, closed, Phase.CLOSED)
    )
    failed(tried(PlaceOrder(slot + 10, Side.BID, 10, 1, 1, 0)), "not_an_account")
    failed(tried(Transfer(node.key.public_key, 1)), "not_an_account")


# ---------------------------------------------------------------- identities


def test_a_node_of_another_chain_is_told_which_is_which(plant: Plant, tmp_path: Path) -> None:
    """Files of a plant that was written anew, certificates and addresses of the one that runs."""
    node = plant.nodes[1]
    base_port = int(plant.nodes[0].member.addr.rpartition(":")[2])
    other = write_testnet(tmp_path / "other", 5, base_port=base_port)
    home = other.nodes[1].home
    for name in ("ca.pem", "node.pem", "node-tls.key"):
        shutil.copy(node.home / name, home / name)
    checked = vppd("peers", "check", "--home", home, "-o", "json")
    assert checked.code == 3
    assert [row["ok"] for row in checked.data] == ["no"] * 5
    for row in checked.data:
        assert f"theirs {plant.genesis.digest.hex()[:8]}…" in row["why"]
        assert f"ours {other.genesis.digest.hex()[:8]}…" in row["why"]


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Plant]:
    """Four nodes; one may be missing."""
    with plant_of(tmp_path / "four", 4, chain_name="four") as made:
        yield made


def authority(plant: Plant) -> Issued:
    folder = plant.testnet.out / "ca"
    return Issued((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())


def wear(node: Node, leaf: Issued) -> None:
    """Give a node another certificate."""
    (node.home / "node.pem").write_bytes(leaf.certificate)
    (node.home / "node-tls.key").write_bytes(leaf.key)


def stopped(home: Path, *words: str) -> None:
    ran = vppd("start", "--home", home, seconds=20)
    assert ran.code == 78, ran
    for word in (*words, "  try "):
        assert word in ran.err


def lists_revoked(node: Node, crl: Path) -> None:
    text = (node.home / "node.toml").read_text()
    (node.home / "node.toml").write_text(text.replace("[net]\n", f'[net]\ncrl = "{crl}"\n', 1))


def test_a_tls_key_that_others_may_read_is_refused(four: Plant) -> None:
    node = four.nodes[1]
    (node.home / "node-tls.key").chmod(0o644)
    stopped(node.home, "error[E305]", "chmod 600")


def test_a_key_that_genesis_does_not_know_is_no_der(four: Plant) -> None:
    node = four.nodes[1]
    (node.home / "node.key").unlink()
    key = key_text(create_key(node.home / "node.key").public_key)
    peers = node.home / "peers.toml"
    added = vppd("peers", "add", "der-9", key, "127.0.0.1:9", "--peers", peers)
    assert added.code == 0, added.err
    stopped(node.home, "error[E116]", "genesis.toml knows this node's key as observer, not as der")


@pytest.mark.parametrize(
    ("begins", "why"),
    [
        (-timedelta(days=2), "certificate has expired"),
        (timedelta(days=2), "certificate not valid yet; compare the clocks"),
    ],
)
def test_an_expired_certificate_stops_its_own_node(
    four: Plant, begins: timedelta, why: str
) -> None:
    node = four.nodes[1]
    wear(node, make_leaf(authority(four), "der-1", 1, now=datetime.now(UTC) + begins))
    stopped(node.home, "error[E306]", why, "vppd pki issue")


def test_a_list_of_revoked_certificates_must_be_ours_and_fresh(four: Plant, tmp_path: Path) -> None:
    node, crl = four.nodes[1], tmp_path / "crl.pem"
    lists_revoked(node, crl)
    stopped(node.home, "error[E302]", str(crl))
    long_ago = datetime.now(UTC) - timedelta(days=9)
    crl.write_bytes(make_crl(authority(four), None, [], 1, now=long_ago))
    stopped(node.home, "error[E306]", "our list of revoked certificates (CRL) has expired")


def test_a_certificate_that_expires_while_its_node_runs_is_refused_by_name(four: Plant) -> None:
    """Links that are up stay; whoever has to greet the node anew refuses it and says why."""
    *others, late = four.nodes
    greeter = others[1]
    for node in others:
        node.start()
    eventually(lambda: all(node.status() for node in others), "the others answer")
    until = datetime.now(UTC) + timedelta(seconds=20)
    wear(late, make_leaf(authority(four), late.name, 1, now=until - timedelta(days=1)))
    late.start()
    four.wait_complete()
    eventually(lambda: datetime.now(UTC) > until, "the certificate expires")
    assert greeter.terminate() == 0
    greeter.start()
    names_and_goes_on(four, greeter, late, "certificate has expired")
    late.kill()
    stopped(late.home, "error[E306]", "certificate has expired")


def test_a_revoked_certificate_is_refused_by_everybody_and_the_plant_goes_on(four: Plant) -> None:
    """``der-2`` dials the lower ones and is dialled by the higher one: both ways say why."""
    bad = four.nodes[2]
    revoked = vppd("pki", "revoke", bad.home / "node.pem", "--dir", four.testnet.out / "ca")
    assert revoked.code == 0, revoked.err
    crl = four.testnet.out / "ca" / "crl.pem"
    for node in four.nodes:
        if node is not bad:
            lists_revoked(node, crl)
        node.start()
    for node in four.nodes:
        if node is not bad:
            names_and_goes_on(four, node, bad, "certificate is revoked")
    assert bad.process.poll() is None, "it has no list, so it does not know"
    shown = eventually(lambda: alone(bad), "it is told that nobody lets it in")
    assert "DECISIONS HAVE STOPPED: 1 of 4 replicas are here, 3 needed to decide" in shown.out
    bad.kill()
    lists_revoked(bad, crl)
    stopped(bad.home, "error[E306]", "certificate is revoked", "vppd pki issue")
    # What the error says to do is what helps.
    for name in ("node.pem", "node-tls.key"):
        (bad.home / name).unlink()
    renewed = vppd(
        "pki", "issue", bad.name, "--dir", four.testnet.out / "ca",
        "--hosts", "127.0.0.1", "--out", bad.home,
    )  # fmt: skip
    assert renewed.code == 0, renewed.err
    bad.start()
    four.wait_complete()


def alone(node: Node) -> Ran | None:
    status = node.status()
    if status is None or any(p["connected"] or not p["why"] for p in status["peers"]):
        return None
    shown = node.vppd("status")
    return shown if shown.code == 3 else None


def names_and_goes_on(plant: Plant, seer: Node, missing: Node, why: str) -> None:
    """``status`` names the missing node and the reason, and the plant decides without it."""

    def told() -> bool:
        return why in (seer.peer(missing.name).get("why") or "")

    eventually(told, plant.last_words(f"{seer.name} says of {missing.name}: {why}"))

    def votes() -> bool:
        status = seer.status()
        return bool(status and status["voting"])

    eventually(votes, plant.last_words(f"{seer.name} votes"))
    raw = plant.sign(seer, Transfer(plant.nodes[0].key.public_key, 1))
    sent = seer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert (sent.code, sent.data["status"]) == (0, "ok")

    def named() -> Ran | None:
        """Between two attempts another reason may stand there for a moment."""
        shown = seer.vppd("status")
        said = f"missing: {missing.name}, for " in shown.out and why in shown.out
        return shown if shown.code == 0 and said else None

    shown = eventually(named, plant.last_words(f"status says of {missing.name}: {why}"))
    assert "3 of 4 replicas are here, 3 needed to decide: no further one may fail" in shown.out
