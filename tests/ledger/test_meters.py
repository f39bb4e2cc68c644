"""Meters that are replaced or roll over: energy goes on, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.day.audited import Day
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    STRANGER,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.billing import FeeRules
from vppd.config.genesis import Genesis, Governance, MeterEntry, ValidatorEntry
from vppd.crypto import SigningKey, sha256
from vppd.errors import ConfigError
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import MeterReplaced, Settled
from vppd.ledger.execution import Ledger
from vppd.ledger.meters import Face, face_of, placed
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.records import OdometerRecord
from vppd.ledger.transaction import ReplaceMeter
from vppd.types import Role

NEW = SigningKey(sha256(b"bob's new meter"))
ROUND = 100_000


def plant(*, rollover: int = 0, begins: int = 0, **changes: Any) -> Genesis:
    """Ann is the operator; Bob's meter rolls over at ``rollover`` and shows ``begins``."""
    meters = (
        MeterEntry(key=ANN_METER.public_key, account="ann", import_wh=100, export_wh=50),
        MeterEntry(key=BOB_METER.public_key, account="bob", import_wh=begins, rollover_wh=rollover),
    )
    validators = (
        ValidatorEntry(name="ann", role=Role.OPERATOR, key=ANN.public_key),
        ValidatorEntry(name="bob", role=Role.DER, key=BOB.public_key),
    )
    rules = market(max_quantity_wh=10_000, **changes)
    return genesis(rules, meters=meters, validators=validators)


def swap(slot: int, final: int, begin: int = 0, **more: Any) -> ReplaceMeter:
    fields: dict[str, Any] = {
        "old": BOB_METER.public_key,
        "new": NEW.public_key,
        "slot": slot,
        "final_import_wh": final,
        "final_export_wh": 0,
        "import_wh": begin,
        "export_wh": 0,
        "rollover_wh": 0,
    }
    return ReplaceMeter(**(fields | more))


def imported(day: Day) -> dict[int, int]:
    """Bob's energy by slot, as settled last."""
    receipts = [decode_receipt(raw) for block in day.exported for raw in block.receipts]
    found = [e for receipt in receipts for e in events(receipt, Settled)]
    return {e.slot: e.import_wh for e in found if e.account == BOB.public_key}


# ------------------------------------------------------------ replacement


def test_a_new_meter_goes_on_where_the_old_one_stopped() -> None:
    day = Day(plant())
    day.ok(start_of(1), BOB_METER, reading(0, 500))
    receipt = day.ok(start_of(1) + 1, ANN, swap(1, final=800, begin=7_000))
    assert events(receipt, MeterReplaced) == [
        MeterReplaced(BOB_METER.public_key, NEW.public_key, BOB.public_key, 1, 800, 0, 7_000, 0, 0)
    ]
    day.ok(start_of(2), NEW, reading(1, 7_250))
    day.ok(start_of(3), NEW, reading(2, 7_300))
    day.block(start_of(3) + 5_000)
    assert imported(day) == {0: 500, 1: 300 + 250, 2: 50}
    assert day.ledger.meters_of(BOB.public_key) == (NEW.public_key,)
    assert day.audit().findings == []


def test_the_old_meter_is_nobody_from_then_on() -> None:
    day = Day(plant())
    day.ok(start_of(1), ANN, swap(1, final=500))
    receipt = day.block(start_of(2), day.tx(BOB_METER, reading(1, 600), nonce=0))[1]
    assert (receipt.status, receipt.code) == (Status.REFUSED, ErrorCode.UNKNOWN_ACCOUNT)


def test_a_retired_key_never_comes_back() -> None:
    """Its old transactions would be valid again."""
    day = Day(plant())
    day.ok(start_of(1), ANN, swap(1, final=500))
    back = swap(1, final=10, old=NEW.public_key, new=BOB_METER.public_key)
    assert day.fails(start_of(1) + 1, ANN, back)[0] == ErrorCode.KEY_IN_USE


def test_readings_before_it_stay_and_late_ones_no_longer_come() -> None:
    day = Day(plant())
    day.ok(start_of(2), BOB_METER, reading(1, 900))
    day.ok(start_of(2) + 1, ANN, swap(2, final=1_000))
    assert day.fails(start_of(2) + 2, NEW, reading(0, 100)) == (ErrorCode.BEFORE_FIRST_SLOT, (2,))
    day.ok(start_of(3), NEW, reading(2, 10))
    day.block(start_of(3) + 5_000)
    assert imported(day)[2] == 110


def test_a_new_meter_cannot_stand_below_its_beginning() -> None:
    day = Day(plant())
    day.ok(start_of(1), ANN, swap(1, final=500, begin=50))
    assert day.fails(start_of(2), NEW, reading(1, 49))[0] == ErrorCode.REGISTER_BACKWARDS
    day.ok(start_of(2) + 1, NEW, reading(1, 50))


def test_a_meter_can_be_replaced_twice() -> None:
    day, third = Day(plant()), SigningKey(sha256(b"bob's third meter"))
    day.ok(start_of(0), ANN, swap(0, final=100, begin=40))
    day.ok(start_of(1), NEW, reading(0, 60))
    day.ok(start_of(1) + 1, ANN, swap(1, 90, 5, old=NEW.public_key, new=third.public_key))
    day.ok(start_of(2), third, reading(1, 25))
    day.block(start_of(2) + 5_000)
    assert imported(day) == {0: 120, 1: 30 + 20}
    assert day.audit().findings == []


def test_a_correction_of_a_replaced_meters_slot_moves_fees_too() -> None:
    day = Day(plant(fees=FeeRules(grid_fee=100_000)))
    day.ok(start_of(1) + 1, ANN, swap(1, final=400))
    day.ok(start_of(2), NEW, reading(1, 100))
    day.block(start_of(2) + 5_000)
    day.ok(start_of(2) + 5_001, NEW, reading(1, 90))
    assert day.audit().findings == []


def test_a_reloaded_ledger_goes_on_the_same() -> None:
    day = Day(plant())
    day.ok(start_of(1), BOB_METER, reading(0, 500))
    day.ok(start_of(1) + 1, ANN, swap(1, final=800, begin=7_000))
    day.ledger = day.reloaded()
    day.ok(start_of(2), NEW, reading(1, 7_250))
    day.block(start_of(2) + 5_000)
    assert imported(day)[1] == 550


def test_the_view_shows_what_the_meter_shows() -> None:
    day = Day(plant())
    day.ok(start_of(1), ANN, swap(1, final=800, begin=7_000, rollover_wh=ROUND))
    day.ok(start_of(2), NEW, reading(1, 7_250))
    view = day.ledger.account_view(NEW.public_key)
    assert view["readings"][0]["import_wh"] == 7_250
    assert view["rollover_wh"] == ROUND


# ------------------------------------------------------------ who may, and what cannot be


def test_without_an_authority_an_operator_registers() -> None:
    day = Day(plant())
    for who in (BOB, CAT):
        assert day.fails(start_of(1), who, swap(1, 10))[0] == ErrorCode.NOT_PERMITTED


def test_with_an_authority_nobody_else_does() -> None:
    day = Day(replace(plant(), governance=Governance(authority=(CAT.public_key,))))
    assert day.fails(start_of(1), ANN, swap(1, 10))[0] == ErrorCode.NOT_PERMITTED
    day.ok(start_of(1) + 1, CAT, swap(1, 10))


def test_a_meter_replaces_nothing_itself() -> None:
    day = Day(plant())
    assert day.fails(start_of(1), ANN_METER, swap(1, 10))[0] == ErrorCode.NOT_AN_ACCOUNT


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (swap(1, 10, old=STRANGER.public_key), ErrorCode.UNKNOWN_METER, ()),
        (swap(1, 10, old=CAT.public_key), ErrorCode.UNKNOWN_METER, ()),
        (swap(1, 10, new=CAT.public_key), ErrorCode.KEY_IN_USE, ()),
        (swap(1, 10, new=ANN_METER.public_key), ErrorCode.KEY_IN_USE, ()),
        (swap(1, 10, new=BOB_METER.public_key), ErrorCode.KEY_IN_USE, ()),
        (swap(1, 10, new=bytes(32)), ErrorCode.KEY_IN_USE, ()),
        (swap(1, 10, new=b"\x01" + bytes(31)), ErrorCode.KEY_IN_USE, ()),
        (swap(2, 10), ErrorCode.READING_FROM_FUTURE, (start_of(2),)),
        (swap(0, 510), ErrorCode.METER_READ_LATER, (0,)),
        (swap(1, 499), ErrorCode.REGISTER_BACKWARDS, (500, 0)),
        (swap(1, 10_501), ErrorCode.ENERGY_OUT_OF_RANGE, (10_000,)),
        (swap(1, 600, begin=5, rollover_wh=5), ErrorCode.REGISTER_BEYOND, (4,)),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    op: ReplaceMeter, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    day = Day(plant())
    day.ok(start_of(1), BOB_METER, reading(0, 500))
    assert day.fails(start_of(1) + 1, ANN, op) == (code, detail)
    day.ok(start_of(2), BOB_METER, reading(1, 600))


def test_a_closed_slot_takes_no_replacement() -> None:
    day = Day(plant())
    day.block(start_of(5))
    code, _ = day.fails(start_of(5) + 1, ANN, swap(1, 10))
    assert code == ErrorCode.SLOT_CLOSED


def test_a_transaction_that_fails_after_it_replaces_nothing() -> None:
    day = Day(plant())
    assert day.fails(start_of(1), ANN, swap(1, 10), offer(99, 0, 0))[0] != ErrorCode.NONE
    assert day.ledger.meters_of(BOB.public_key) == (BOB_METER.public_key,)
    day.ok(start_of(2), BOB_METER, reading(1, 600))
    day.block(start_of(2) + 5_000)
    assert imported(day)


# ------------------------------------------------------------ rollover


def test_a_register_that_passes_its_last_digit_goes_on() -> None:
    day = Day(plant(rollover=ROUND, begins=ROUND - 100))
    day.ok(start_of(0) - 20_000, BOB, bid(0, 150, 400_000))
    day.ok(start_of(0) - 19_999, ANN, offer(0, 150, 400_000))
    day.ok(start_of(1), BOB_METER, reading(0, 50))
    day.ok(start_of(2), BOB_METER, reading(1, 80))
    day.block(start_of(2) + 5_000)
    assert imported(day) == {0: 150, 1: 30}
    assert day.audit().findings == []
    view = day.ledger.account_view(BOB_METER.public_key)
    assert [r["import_wh"] for r in view["readings"]] == [50, 80]


def test_a_correction_may_lie_on_the_other_side_of_the_last_digit() -> None:
    day = Day(plant(rollover=ROUND, begins=ROUND - 100))
    day.ok(start_of(1), BOB_METER, reading(0, 50))
    day.ok(start_of(1) + 1, BOB_METER, reading(0, ROUND - 10))
    day.block(start_of(1) + 5_000)
    assert imported(day) == {0: 90}


def test_a_register_that_runs_backwards_has_not_rolled_over() -> None:
    day = Day(plant(rollover=ROUND, begins=5_000))
    assert day.fails(start_of(1), BOB_METER, reading(0, 4_999))[0] == ErrorCode.REGISTER_BACKWARDS


def test_a_register_has_only_so_many_digits() -> None:
    day = Day(plant(rollover=ROUND))
    assert day.fails(start_of(1), BOB_METER, reading(0, ROUND)) == (
        ErrorCode.REGISTER_BEYOND,
        (ROUND - 1,),
    )


def test_a_round_in_one_slot_is_more_than_a_meter_counts() -> None:
    day = Day(plant(rollover=ROUND))
    code, detail = day.fails(start_of(1), BOB_METER, reading(0, 10_001))
    assert (code, detail) == (ErrorCode.ENERGY_OUT_OF_RANGE, (10_000,))


def test_many_rounds_add_up() -> None:
    """Thirty slots of 9 kWh go round a meter of 60 kWh four times."""
    day = Day(plant(rollover=60_000))
    for slot in range(30):
        day.ok(start_of(slot + 1), BOB_METER, reading(slot, (slot + 1) * 9_000 % 60_000))
    day.block(start_of(30) + 5_000)
    assert imported(day)[29] == 9_000
    assert day.audit().findings == []


def test_a_register_beyond_its_rollover_cannot_be_founded() -> None:
    with pytest.raises(ConfigError, match="beyond its rollover"):
        Ledger.from_genesis(plant(rollover=100, begins=100))


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**4),
    st.integers(2, 10**6),
    st.integers(-(10**6), 10**6),
)
def test_a_face_is_placed_where_it_is(earlier: int, moved: int, round_: int, shift: int) -> None:
    """Whatever a meter has counted, if it moved by less than half a round."""
    moved %= (round_ + 1) // 2
    odometer = OdometerRecord(round_, shift, shift, 0, 0, 0, bytes(32))
    at = Face(earlier + moved, earlier)
    assert placed(odometer, face_of(odometer, at), Face(earlier, earlier)) == at


def test_a_meter_does_not_begin_again_so_soon_that_a_round_is_missed() -> None:
    """Two slots to correct and one to read, of 10 kWh each: half a round is at least 30 kWh."""
    with pytest.raises(ConfigError, match="rollover_wh is below 60000"):
        Ledger.from_genesis(plant(rollover=59_999))
    Ledger.from_genesis(plant(rollover=60_000))
    day = Day(plant())
    day.ok(start_of(1), BOB_METER, reading(0, 500))
    low = swap(1, final=800, rollover_wh=59_999)
    assert day.fails(start_of(1) + 1, ANN, low) == (ErrorCode.ROLLOVER_TOO_LOW, (60_000,))
    day.ok(start_of(1) + 2, ANN, swap(1, final=800, rollover_wh=60_000))
