"""The second opinion is outspoken about every single change to a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from tests.day.audited import (
    Day,
    Edit,
    adding,
    changing,
    doubled,
    dropped,
    edited,
    every_event,
    number_of,
    play,
    reseal,
)
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    CAT,
    STRANGER,
    bid,
    offer,
    reading,
)
from vppd.crypto import SigningKey
from vppd.day.audit import ExportedBlock, audit_blocks
from vppd.header import decode_header
from vppd.ledger.codes import Status
from vppd.ledger.events import (
    Event,
    OrderAccepted,
    Posted,
    Purse,
    ReadingAccepted,
    Reason,
    Settled,
    SlotAdvanced,
    Traded,
)
from vppd.ledger.receipts import decode_receipt, encode_receipt
from vppd.ledger.slots import Phase
from vppd.ledger.transaction import PlaceOrder, Reading, make_transaction


@pytest.fixture(scope="module")
def day() -> Day:
    """Not to be changed."""
    return play()


def test_resealing_alone_leaves_nothing_to_find(day: Day) -> None:
    assert edited(day, {}) == []


def test_no_event_can_be_dropped(day: Day) -> None:
    for number, (index, _, event) in enumerate(every_event(day.exported)):
        found = edited(day, {number: dropped})
        assert any(f"height {index + 1}" in f for f in found), f"{event} is not missed"


def test_no_event_can_be_doubled(day: Day) -> None:
    for number, (index, _, event) in enumerate(every_event(day.exported)):
        found = edited(day, {number: doubled})
        assert any(f"height {index + 1}" in f for f in found), f"{event} counts twice"


def test_no_field_of_any_event_can_change(day: Day) -> None:
    for number, (index, _, event) in enumerate(every_event(day.exported)):
        for field, value in asdict(event).items():
            other = STRANGER.public_key if isinstance(value, bytes) else value + 1
            found = edited(day, {number: changing(**{field: other})})
            assert any(f"height {index + 1}" in f for f in found), f"{field} of {event} is free"


ANN_KEY, BOB_KEY, CAT_KEY = (key.public_key for key in (ANN, BOB, CAT))


@pytest.mark.parametrize(
    ("kind", "wanted", "edit", "sentence"),
    [
        # money
        (
            Posted, {"reason": Reason.IMBALANCE}, adding("delta", -1),
            "the postings add up to -1 micro instead of zero",
        ),
        (
            Posted, {"account": ANN_KEY, "reason": Reason.TRADE}, doubled,
            "micro for TRADE, it must change by",
        ),
        (
            Posted, {"account": CAT_KEY, "purse": Purse.ESCROW, "reason": Reason.TRADE}, dropped,
            "the escrow of cat changes by",
        ),
        (
            Posted, {"purse": Purse.ESCROW, "reason": Reason.TRADE}, adding("delta", -10**9),
            "falls to -",
        ),
        (
            Posted, {"reason": Reason.TRANSFER}, changing(account=STRANGER.public_key),
            "the unknown key",
        ),
        (
            Posted, {"reason": Reason.TRANSFER, "account": CAT_KEY}, adding("delta", -10**9),
            "cat transfers more than it has",
        ),
        (
            Posted, {"reason": Reason.RESERVE, "account": BOB_KEY}, adding("delta", -10**9),
            "bob bids without the balance for it",
        ),
        (Posted, {"reason": Reason.CORRECTION}, changing(reason=Reason.IMBALANCE), "IMBALANCE"),
        (Posted, {"reason": Reason.RELEASE}, changing(reason=99), "for nothing known"),
        # trades
        (Traded, {"slot": 1}, adding("amount", 1), "the amount of trade 0 of slot 1 is"),
        (Traded, {"slot": 1}, adding("price", -1), "the price of trade 0 of slot 1 is"),
        (Traded, {"slot": 1}, adding("quantity_wh", 1), "the quantity of trade 0 of slot 1 is 902"),
        (Traded, {"slot": 1}, changing(round=2), "of round 2, which does not belong here"),
        (Traded, {"slot": 1}, changing(seller=CAT_KEY), "not between those who placed its orders"),
        (Traded, {"slot": 1}, changing(bid=7), "not between an offer and a bid that were placed"),
        (Traded, {"slot": 1}, dropped, "orders of slot 1 that cross in round 1 do not trade"),
        (Traded, {"round": 2}, dropped, "orders of slot 0 that cross in round 2 do not trade"),
        (Traded, {"slot": 0}, changing(offer=1), "passes over an order better than order 1"),
        (Traded, {"slot": 0}, changing(offer=1), "is made although 520003 is asked and 400009 is"),
        (OrderAccepted, {}, adding("seq", 1), "the order's number in slot 0 is 1, it must be 0"),
        (OrderAccepted, {}, adding("slot", 1), "the slot of the order is 1, it must be 0"),
        (OrderAccepted, {}, doubled, "nobody sent it"),
        (OrderAccepted, {}, dropped, "orders or readings that nothing has come of"),
        # readings
        (
            ReadingAccepted, {"slot": 0}, adding("export_wh", 1),
            "the export register of a meter of ann at the end of slot 0 is 4778, it must be 4777",
        ),
        (ReadingAccepted, {"slot": 0}, changing(account=CAT_KEY), "is booked for somebody else"),
        (ReadingAccepted, {"version": 2}, changing(version=1), "it must be 2"),
        # settlements
        (
            Settled, {"slot": 0, "account": BOB_KEY}, adding("import_wh", 1),
            "the imported energy in Wh of bob in slot 0 is 1501, it must be 1500",
        ),
        (Settled, {"slot": 0}, adding("imbalance_wh", 1), "the imbalance in Wh of"),
        (Settled, {"slot": 0}, adding("grid_amount", 1), "the amount owed to the grid of"),
        (Settled, {"slot": 0}, adding("feed_in_price", 1), "is 240002, it must be 240001"),
        (Settled, {"slot": 1}, adding("sold_wh", 1), "slot 1 is settled with"),
        (Settled, {"slot": 1}, changing(flags=0), "the flags of the settlement of"),
        (Settled, {"slot": 0, "account": CAT_KEY}, dropped, "cat in slot 0 is not settled"),
        (Settled, {"version": 2}, dropped, "in slot 1 is not settled again after the reading"),
        (Settled, {"version": 2}, adding("version", 1), "is 3, it must be 2"),
        (Settled, {"slot": 0}, doubled, "is settled by time, but not once at the deadline"),
        # phases
        (SlotAdvanced, {"phase": Phase.GATE_CLOSED}, doubled, "enters GATE_CLOSED after GATE_CL"),
        (SlotAdvanced, {"phase": Phase.GATE_CLOSED}, dropped, "stays in OPEN, GATE_CLOSED is due"),
        (SlotAdvanced, {"phase": Phase.GATE_CLOSED}, adding("phase", 1), "2000 ms too early"),
        (SlotAdvanced, {"phase": Phase.OPEN}, doubled, "by a transaction, it is in OPEN already"),
        (SlotAdvanced, {"phase": Phase.OPEN}, dropped, "the slot has entered no phase"),
        (SlotAdvanced, {"phase": Phase.OPEN}, adding("phase", 1), "not where block time has"),
        (SlotAdvanced, {"phase": Phase.OPEN}, adding("slot", 7), "that does not mention it"),
        (SlotAdvanced, {"phase": Phase.CLOSED}, adding("phase", 1), "enters no phase known"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    day: Day, kind: type[Event], wanted: dict[str, int | bytes], edit: Edit, sentence: str
) -> None:
    number = number_of(day, kind, **wanted)
    height = [index for index, _, _ in every_event(day.exported)][number] + 1
    found = [f for f in edited(day, {number: edit}) if sentence in f]
    assert found
    assert found[0].startswith(f"height {height}")


def test_a_wrong_number_is_said_once(day: Day) -> None:
    """What follows from a settlement is worked out from what it had to say."""
    wrong = number_of(day, Settled, slot=2)
    found = edited(day, {wrong: adding("grid_amount", 5)})
    assert len(found) == 1


def test_money_moved_between_two_members_at_settlement_is_noticed(day: Day) -> None:
    """The receipt still adds up to zero."""
    ann = number_of(day, Posted, account=ANN_KEY, reason=Reason.TRADE)
    escrow = number_of(day, Posted, purse=Purse.ESCROW, reason=Reason.TRADE)
    found = edited(day, {ann: adding("delta", 1_000), escrow: adding("delta", -1_000)})
    assert found
    assert not any("add up" in f for f in found)


def test_a_conspiracy_of_receipts_does_not_hide_a_wrong_amount(day: Day) -> None:
    """Contract and payment agree with each other, but not with quantity and price."""
    amount = number_of(day, Traded, slot=1)
    pay = number_of(day, Posted, -1, reason=Reason.TRADE, purse=Purse.ESCROW)
    get = number_of(day, Posted, -1, reason=Reason.TRADE, purse=Purse.BALANCE)
    found = edited(
        day, {amount: adding("amount", 1), pay: adding("delta", -1), get: adding("delta", 1)}
    )
    assert any("the amount of trade 0 of slot 1" in f for f in found)


def test_a_correction_posts_only_the_difference(day: Day) -> None:
    corrected = number_of(day, Settled, slot=2, account=ANN_KEY, version=2)
    event = [event for _, _, event in every_event(day.exported)][corrected]
    assert isinstance(event, Settled)
    member, grid = corrected - 2, corrected - 1
    found = edited(
        day,
        {member: changing(delta=-event.grid_amount), grid: changing(delta=event.grid_amount)},
    )
    assert len(found) == 2
    assert all("for CORRECTION, it must change by" in f for f in found)


# -- headers, roots, senders


def audit_changed(day: Day, index: int, change: Callable[[ExportedBlock], ExportedBlock]) -> str:
    """Findings, one a line, after one block has changed and nothing has been resealed."""
    blocks = list(day.exported)
    blocks[index] = change(blocks[index])
    return "\n".join(audit_blocks(day.genesis, blocks).findings)


def with_header(**changes: Any) -> Callable[[ExportedBlock], ExportedBlock]:
    def change(block: ExportedBlock) -> ExportedBlock:
        header = decode_header(block.header)._replace(**changes)
        return block._replace(header=header.encode())

    return change


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"parent": bytes(32)}, "height 3: the header does not link to the block before"),
        ({"height": 9}, "height 3: the height in the header is 9, it must be 3"),
        ({"chain_id": bytes(32)}, "height 3: the header is of another chain than this genesis"),
        ({"time_ms": 1}, "height 3: the block's time 1 is not after the one before"),
        ({"receipts_root": bytes(32)}, "height 3: the header has another receipts root"),
        ({"tx_root": bytes(32)}, "height 3: the header has another transaction root"),
        ({"epoch": 1}, "height 4: the header does not link to the block before"),
    ],
)
def test_a_header_that_does_not_fit_is_named(
    day: Day, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in audit_changed(day, 2, with_header(**changes))


def test_a_receipt_changed_afterwards_breaks_the_next_header(day: Day) -> None:
    """As long as nobody reseals the chain, which takes the validators' signatures."""

    def touch(block: ExportedBlock) -> ExportedBlock:
        receipt = decode_receipt(block.receipts[0])
        return block._replace(
            receipts=(encode_receipt(replace(receipt, detail=(1,))), *block.receipts[1:])
        )

    assert audit_changed(day, 2, touch) == (
        "height 4: the header has another receipts root than the receipts of the block before"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b: b._replace(header=b.header[:-1]), "height 3: the header cannot be read"),
        (lambda b: b._replace(receipts=()), "height 3: there are 0 receipts, 2 are needed"),
        (lambda b: b._replace(receipts=b.receipts * 2), "height 3: there are 4 receipts"),
        (
            lambda b: b._replace(receipts=(b.receipts[0], b"")),
            "height 3, transaction 1: the receipt cannot be read",
        ),
        (
            lambda b: b._replace(txs=(b"\x00",)),
            "height 3, transaction 1: the transaction cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    day: Day, change: Callable[[ExportedBlock], ExportedBlock], sentence: str
) -> None:
    assert sentence in audit_changed(day, 2, change)


def test_a_missing_block_is_noticed(day: Day) -> None:
    blocks = [block for index, block in enumerate(day.exported) if index != 4]
    findings = audit_blocks(day.genesis, blocks).findings
    assert "height 5: the height in the header is 6, it must be 5" in findings
    assert "height 5: the header does not link to the block before" in findings


def forged(day: Day, index: int, txs: tuple[bytes, ...]) -> str:
    """Findings, one a line, after the transactions of a block are others."""
    blocks = list(day.exported)
    blocks[index] = blocks[index]._replace(txs=txs)
    return "\n".join(audit_blocks(day.genesis, reseal(day.genesis, blocks)).findings)


def test_an_order_its_sender_has_not_signed_is_noticed(day: Day) -> None:
    raw = day.exported[2].txs[0]
    other = raw[:-1] + bytes([raw[-1] ^ 1])
    assert forged(day, 2, (other,)) == "height 3, transaction 1: the signature does not hold"


def test_a_transaction_that_counts_twice_is_noticed(day: Day) -> None:
    blocks = list(day.exported)
    block = blocks[3]
    blocks[3] = block._replace(txs=block.txs * 2, receipts=(*block.receipts, block.receipts[1]))
    findings = audit_blocks(day.genesis, reseal(day.genesis, blocks)).findings
    assert "height 4, transaction 2: the nonce of cat is 1, it must be 2" in findings


def test_a_stranger_cannot_send(day: Day) -> None:
    raw = make_transaction(
        STRANGER, day.genesis.digest, 0, 1_000, [bid(0, 3_333, 310_005, 420_007)]
    )
    found = forged(day, 2, (raw,))
    assert "height 3, transaction 1: the sender is neither a member nor a meter" in found
    assert "places an order without being a member" in found


def test_a_member_cannot_send_readings(day: Day) -> None:
    raw = make_transaction(ANN, day.genesis.digest, 2, 1_000, [reading(0, 103, 4_777)])
    assert "a reading of ann is accepted, which is no meter" in forged(day, 8, (raw,))


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (bid(0, 3_334, 310_005, 420_007), "micro for RESERVE, it must change by"),
        (bid(0, 3_333, 310_005, 420_008), "micro for RESERVE, it must change by"),
        (bid(0, 3_333, 310_004, 420_007), "the price of trade 1 of slot 0 is"),
        (bid(0, 0, 310_005, 420_007), "an order of 0 Wh is taken"),
        (bid(0, 2_000_000, 310_005, 420_007), "an order of 2000000 Wh is taken"),
        (bid(0, 3_333, 310_005, 10_000_001), "an order above the highest price, 10000000, is"),
        (bid(0, 3_333, 310_005, 310_004), "an order whose reserve price is better than its price"),
        (offer(0, 3_333, 310_005, 310_006), "an order whose reserve price is better than its"),
        (bid(9, 3_333, 310_005, 420_007), "an order for slot 9 is taken while the slot is not"),
    ],
)
def test_a_receipt_that_is_not_of_its_order_is_noticed(
    day: Day, terms: PlaceOrder, sentence: str
) -> None:
    raw = make_transaction(CAT, day.genesis.digest, 0, 1_000, [terms])
    assert sentence in forged(day, 2, (raw,))


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        (reading(0, 103, 4_778), "the export register of a meter of ann at the end of slot 0 is"),
        (reading(0, 103, 49), "a register of a meter of ann at the end of slot 0 runs backwards"),
        (reading(9, 103, 4_777), "at the end of slot 9 is accepted outside its time"),
    ],
)
def test_a_receipt_that_is_not_of_its_reading_is_noticed(
    day: Day, op: Reading, sentence: str
) -> None:
    raw = make_transaction(ANN_METER, day.genesis.digest, 0, 1_000, [op])
    assert sentence in forged(day, 8, (raw,))


def test_a_meter_that_starts_later_cannot_report_before(day: Day) -> None:
    meters = tuple(replace(meter, first_slot=1) for meter in day.genesis.meters)
    found = audit_blocks(replace(day.genesis, meters=meters), day.exported).findings
    assert any("is accepted, the meter starts later" in f for f in found)


def test_a_failed_transaction_does_nothing(day: Day) -> None:
    blocks = list(day.exported)
    receipt = decode_receipt(blocks[3].receipts[1])
    failed = encode_receipt(replace(receipt, status=Status.FAILED))
    blocks[3] = blocks[3]._replace(receipts=(blocks[3].receipts[0], failed))
    findings = audit_blocks(day.genesis, reseal(day.genesis, blocks)).findings
    assert (
        "height 4, transaction 1: something has happened, though the receipt says it failed"
        in findings
    )


@pytest.mark.parametrize("key", [BOB, CAT])
def test_money_that_genesis_does_not_know_is_noticed(day: Day, key: SigningKey) -> None:
    """The sum of all money is that of the accounts in genesis, each of which is there."""
    accounts = tuple(a for a in day.genesis.accounts if a.key != key.public_key)
    meters = tuple(m for m in day.genesis.meters if m.account in {a.name for a in accounts})
    report = audit_blocks(replace(day.genesis, accounts=accounts, meters=meters), day.exported)
    assert any("the sum of all money in micro is" in f for f in report.findings)
