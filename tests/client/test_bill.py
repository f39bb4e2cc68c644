"""Bills: every line from a receipt, the total is the balance's change, nothing else holds."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.client.billed import Serves, day, plant, played
from tests.store.real_chain import GENESIS, KEYS, Maker
from vppd.client.bill import Asked, Contradiction, Line, compose, payouts_of
from vppd.client.bill_fetch import fetch_bill, fetch_payouts
from vppd.client.bill_page import bill_page
from vppd.client.bill_proof import BadBill, Bill, check_bill, read_bill
from vppd.client.credit_history import credit_history
from vppd.client.readings import moment_text
from vppd.config.billing import CreditRules
from vppd.config.genesis import Genesis
from vppd.crypto import key_text
from vppd.errors import UserError
from vppd.header import decode_header
from vppd.ledger.rating_views import day_view
from vppd.ledger.receipts import decode_receipt
from vppd.market.money import format_micro

SELLER, BUYER = KEYS[1].public_key, KEYS[2].public_key
PLANT = plant()


@pytest.fixture(scope="module")
def maker() -> Maker:
    return played(PLANT)


async def bill(maker: Maker, key: bytes = BUYER, number: int = 0, plant: Genesis = PLANT) -> Bill:
    return await fetch_bill(Serves(maker), plant, key, day(maker, number))


def encoded(made: Bill) -> bytes:
    return msgspec.json.encode(made)


def refused(data: bytes, words: str = ".") -> None:
    with pytest.raises(BadBill, match=words) as error:
        check_bill(read_bill(data), PLANT)
    assert error.value.code == "E530"


def kinds(made: Bill) -> list[tuple[str, int | None, int]]:
    return [(line.kind, line.slot, line.amount_micro) for line in made.bill.lines]


# ------------------------------------------------------------ what it says


async def test_a_day_line_by_line(maker: Maker) -> None:
    made = await bill(maker)
    assert made.bill.state == "final"
    assert kinds(made) == [
        ("transfer", None, 12_345),
        ("imbalance", 1, 0),
        ("purchase", 2, -360_000),
        ("purchase", 2, -67_500),
        ("imbalance", 2, 0),
        ("grid_fee", 2, -76_000),
        ("levy", 2, -9_500),
    ]
    first, second = made.bill.lines[2:4]
    assert (first.trade, first.quantity_wh, first.price_micro) == (0, 800, 450_000)
    assert (second.trade, second.quantity_wh, second.counterparty) == (1, 150, "der-1")
    assert made.bill.lines[1].estimated, "its meter's register before slot 1 is not known"
    assert made.bill.lines[4].estimated


async def test_the_total_is_what_the_member_has_more_or_less(maker: Maker) -> None:
    for key in (k.public_key for k in KEYS):
        for number in (0, 1):
            body = (await bill(maker, key, number)).bill
            assert body.opening is not None
            assert body.closing is not None
            assert body.total_micro == sum(line.amount_micro for line in body.lines)
            assert body.closing.funds_micro == body.opening.funds_micro + body.total_micro
            assert sum(body.totals_micro.values()) == body.total_micro


async def test_the_next_day_begins_where_the_last_one_ended(maker: Maker) -> None:
    one, other = await bill(maker, number=0), await bill(maker, number=1)
    assert one.bill.closing == other.bill.opening
    assert one.bill.opening is not None
    assert (one.bill.opening.by, one.bill.opening.balance_micro) == ("genesis", 200_000_000)


async def test_a_correction_is_on_the_bill_of_the_day_it_was_made(maker: Maker) -> None:
    lines = (await bill(maker, number=1)).bill.lines
    (late,) = [line for line in lines if line.kind == "correction"]
    assert (late.slot, late.version, late.quantity_wh, late.estimated) == (2, 2, -100, False)
    fees = [line for line in lines if line.kind == "grid_fee" and line.slot == 2]
    assert [(f.version, f.quantity_wh, f.amount_micro) for f in fees] == [(2, 1_050, -8_000)]
    assert [line.counterparty for line in lines if line.kind == "transfer"] == ["der-3"]


async def test_rewards_are_lines(maker: Maker) -> None:
    lines = (await bill(maker, KEYS[0].public_key, 1)).bill.lines
    assert {line.kind for line in lines} == {"reward"}
    assert all(0 < line.amount_micro <= 700 for line in lines)


async def test_a_bid_that_waits_costs_nothing(maker: Maker) -> None:
    """Money set aside at the end of day 0 for slot 5 is still the member's."""
    closing = (await bill(maker)).bill.closing
    assert closing is not None
    assert closing.escrow_micro == 180_000


async def test_an_old_chain_bills_by_slot_and_says_so() -> None:
    old = plant(credit=CreditRules())
    made = await bill(played(old), plant=old)
    assert (made.bill.state, made.bill.opening) == ("by_slot", None)
    assert {line.kind for line in made.bill.lines} == {
        "purchase", "imbalance", "grid_fee", "levy", "correction",
    }  # fmt: skip
    report = check_bill(made, old)
    assert any("these are all lines" in sentence for sentence in report["unproven"])


async def test_a_day_that_is_not_over_bills_by_slot() -> None:
    maker = Maker(PLANT)
    maker.add()
    maker.add()
    made = await bill(maker)
    assert (made.bill.state, made.bill.lines) == ("by_slot", ())


async def test_a_node_without_the_blocks_says_so(maker: Maker) -> None:
    with pytest.raises(UserError) as error:
        await fetch_bill(Serves(maker, lost=4), PLANT, BUYER, day(maker, 0))
    assert error.value.code == "E531"


# ------------------------------------------------------------ what holds


@pytest.mark.parametrize("number", [0, 1])
async def test_a_bill_holds_without_a_node(maker: Maker, number: int) -> None:
    made = await bill(maker, number=number)
    report = check_bill(read_bill(encoded(made)), PLANT)
    assert (report["ok"], report["lines"], report["unproven"]) == (
        True,
        len(made.bill.lines),
        [],
    )


async def test_the_printed_page_holds_too(maker: Maker) -> None:
    page = bill_page(await bill(maker), "0")
    assert check_bill(read_bill(page.encode()), PLANT)["ok"]
    assert "http" not in page.replace("https", "http").split("<script")[0]
    assert "der-2" in page


async def test_a_members_name_cannot_break_out_of_the_page(maker: Maker) -> None:
    made = await bill(maker)
    evil = replace(made, bill=replace(made.bill, member="</script><b>"))
    assert "<b>" not in bill_page(evil, "0")


# ------------------------------------------------------------ what does not


async def test_a_removed_line_fails(maker: Maker) -> None:
    made = await bill(maker)
    for number in range(len(made.bill.lines)):
        lines = (*made.bill.lines[:number], *made.bill.lines[number + 1 :])
        refused(encoded(replace(made, bill=replace(made.bill, lines=lines))), "line")


async def test_a_doubled_line_fails(maker: Maker) -> None:
    made = await bill(maker)
    for number, line in enumerate(made.bill.lines):
        lines = (*made.bill.lines[:number], line, *made.bill.lines[number:])
        refused(encoded(replace(made, bill=replace(made.bill, lines=lines))), "line")


async def test_a_line_removed_with_its_receipt_and_the_sums_mended_fails(maker: Maker) -> None:
    """Whatever is left out, what the chain states the member has does not fit any more."""
    made = await bill(maker)
    for number in range(len(made.proof.blocks)):
        blocks = (*made.proof.blocks[:number], *made.proof.blocks[number + 1 :])
        less = replace(made, proof=replace(made.proof, blocks=blocks))
        refused(encoded(less))
        kept = [line for line in made.bill.lines if line.height != _height(made, number)]
        total = sum(line.amount_micro for line in kept)
        mended = replace(
            made.bill,
            lines=tuple(kept),
            total_micro=total,
            total=format_micro(total, 6),
            totals_micro=_by_kind(kept),
        )
        refused(encoded(replace(less, bill=mended)))


def _height(made: Bill, number: int) -> int:
    return decode_header(bytes.fromhex(made.proof.blocks[number].header)).height


def _by_kind(lines: list[Line]) -> dict[str, int]:
    kinds = sorted({line.kind for line in lines})
    return {k: sum(line.amount_micro for line in lines if line.kind == k) for k in kinds}


async def test_a_receipt_twice_fails(maker: Maker) -> None:
    made = await bill(maker)
    block = made.proof.blocks[0]
    double = replace(block, receipts=(*block.receipts, block.receipts[0]))
    refused(encoded(replace(made, proof=replace(made.proof, blocks=(double,)))), "receipt")
    twice = (*made.proof.blocks, made.proof.blocks[-1])
    refused(encoded(replace(made, proof=replace(made.proof, blocks=twice))), "twice")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("total_micro", 0),
        ("total", "0.000000"),
        ("member", "der-9"),
        ("currency", "EUR"),
        ("plant", "another"),
        ("state", "by_slot"),
        ("closing", None),
        ("first_slot", 1),
        ("totals_micro", {}),
    ],
)
async def test_a_changed_value_fails(maker: Maker, field: str, value: Any) -> None:
    document = json.loads(encoded(await bill(maker)))
    document["bill"][field] = value
    refused(json.dumps(document).encode())


async def test_the_bill_of_another_member_or_day_fails(maker: Maker) -> None:
    document = json.loads(encoded(await bill(maker)))
    document["bill"]["key"] = key_text(SELLER)
    refused(json.dumps(document).encode())
    document = json.loads(encoded(await bill(maker)))
    document["bill"]["day"] = 1
    refused(json.dumps(document).encode())


async def test_another_plants_genesis_fails(maker: Maker) -> None:
    made = await bill(maker)
    with pytest.raises(BadBill, match="another plant"):
        check_bill(made, replace(PLANT, digest=bytes(32)))


async def test_any_flipped_bit_fails(maker: Maker) -> None:
    """Or it changed nothing that is said: white space, say."""
    data = encoded(await bill(maker))
    chance = random.Random(7)
    right = read_bill(data)
    for _ in range(400):
        at = chance.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        try:
            read = read_bill(bytes(flipped))
            check_bill(read, PLANT)
        except UserError:
            continue
        assert read == right


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"<html></html>", b'{"bill": 1}'])
def test_what_is_no_bill_is_refused(data: bytes) -> None:
    refused(data, "it is not one")


async def test_upper_case_is_not_how_the_chain_writes(maker: Maker) -> None:
    made = await bill(maker)
    block = made.proof.blocks[0]
    shouted = replace(block, header=block.header.upper())
    refused(encoded(replace(made, proof=replace(made.proof, blocks=(shouted,)))), "written")


# ------------------------------------------------------------ payouts and history


async def test_payouts_are_the_bills_totals(maker: Maker) -> None:
    rows = await fetch_payouts(Serves(maker), PLANT, day(maker, 1))
    assert [row["member"] for row in rows] == ["der-1", "der-2", "der-3", "op-0"]
    by_name = {row["member"]: row["net_micro"] for row in rows}
    for name, key in zip(("op-0", "der-1", "der-2", "der-3"), KEYS, strict=True):
        assert by_name[name] == (await bill(maker, key.public_key, 1)).bill.total_micro


async def test_payouts_of_a_day_that_is_not_over_are_refused(maker: Maker) -> None:
    with pytest.raises(UserError) as error:
        await fetch_payouts(Serves(maker), PLANT, day(maker, 7))
    assert (error.value.code, error.value.what) == ("E532", "day 7 is not over")
    assert error.value.facts["review at"] == moment_text(day(maker, 7).review_ms)
    assert payouts_of(PLANT, 7, {}) == []


async def test_payouts_of_a_day_before_its_review_say_when_that_is() -> None:
    """Slot 3 ends in second 8, day 0 is reviewed in second 9."""
    maker = Maker(PLANT)
    asked = day(maker, 0)
    while maker.blocks[-1:] == [] or maker.blocks[-1].header.time_ms <= asked.ends_ms:
        maker.add()
    maker.add()
    with pytest.raises(UserError) as error:
        await fetch_payouts(Serves(maker), PLANT, asked)
    assert error.value.what == "day 0 is over, but not reviewed yet"
    assert error.value.facts["review at"] == moment_text(asked.review_ms)


async def test_payouts_of_a_chain_without_reviews_say_so() -> None:
    old = plant(credit=CreditRules())
    maker = played(old)
    with pytest.raises(UserError, match="this chain reviews no days") as error:
        await fetch_payouts(Serves(maker), old, day(maker, 0))
    assert error.value.code == "E532"


async def test_a_members_credit_has_a_history(maker: Maker) -> None:
    last = day_view(maker.ledger.calendar, maker.ledger.state, 1)["last_review_height"]
    rows = await credit_history(Serves(maker), BUYER, last)
    assert rows[0]["credit_ppm"] == 720_000
    assert rows[0]["reason"] == "score 0.000 in 1 slots, 2 of 2 settlements without readings"
    assert rows[1]["reason"].startswith("readings that came late")
    assert rows[1]["change_ppm"] > 0
    assert [row["day"] for row in rows] == [0, None, 1]
    assert all(row["before_ppm"] + row["change_ppm"] == row["credit_ppm"] for row in rows)
    assert await credit_history(Serves(maker), KEYS[0].public_key, last) == []


def test_reviews_that_do_not_follow_each_other_are_refused(maker: Maker) -> None:
    height = day_view(maker.ledger.calendar, maker.ledger.state, 1)["last_review_height"]
    receipt = decode_receipt(maker.blocks[height - 1].execution.receipts[0])
    with pytest.raises(Contradiction, match="not shown"):
        compose(PLANT, Asked(BUYER, 1, 4, 8), {(height, 0): receipt})


def test_the_test_plants_differ_in_rules_only() -> None:
    assert PLANT.digest == GENESIS.digest
