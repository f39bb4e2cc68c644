"""Readings: when they are taken, and which are believed."""

from __future__ import annotations

import pytest

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB_METER,
    Chain,
    events,
    genesis,
    market,
    reading,
    start_of,
)
from vppd.config.genesis import MeterEntry
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import ReadingAccepted
from vppd.ledger.slots import Phase, due_ms

NOW = start_of(6)
"""Slot 5 has just ended; slots 4 and 3 are settled, slot 2 has just closed."""


def test_a_reading_is_taken_from_the_slots_end_on() -> None:
    chain = Chain()
    future = reading(5, 100, 50)
    assert chain.fails(NOW - 1, ANN_METER, future) == (ErrorCode.READING_FROM_FUTURE, (NOW,))
    receipt = chain.ok(NOW, ANN_METER, future)
    assert events(receipt, ReadingAccepted) == [
        ReadingAccepted(ANN_METER.public_key, ANN.public_key, 5, 100, 50, 1)
    ]


def test_a_reading_for_a_slot_that_never_will_be_is_from_the_future() -> None:
    code, _ = Chain().fails(NOW, ANN_METER, reading(2**63 - 1, 100, 50))
    assert code == ErrorCode.READING_FROM_FUTURE


def test_a_closed_slot_takes_none() -> None:
    closes = due_ms(market(), 5, Phase.CLOSED)
    chain = Chain()
    chain.ok(closes - 1, ANN_METER, reading(5, 100, 50))
    late = chain.fails(closes, ANN_METER, reading(5, 101, 50))
    assert late == (ErrorCode.SLOT_CLOSED, (closes,))


def test_a_meter_counts_from_its_first_slot_on() -> None:
    meter = MeterEntry(key=ANN_METER.public_key, account="ann", first_slot=5)
    chain = Chain(genesis(meters=(meter,)))
    early = chain.fails(NOW, ANN_METER, reading(4, 0, 0))
    assert early == (ErrorCode.BEFORE_FIRST_SLOT, (5,))
    chain.ok(NOW, ANN_METER, reading(5, 0, 0))


def test_a_register_never_lies_below_an_earlier_slots() -> None:
    chain = Chain()
    below = (ErrorCode.REGISTER_BACKWARDS, (100, 50))
    assert chain.fails(NOW, ANN_METER, reading(5, 99, 50)) == below
    assert chain.fails(NOW, ANN_METER, reading(5, 100, 49)) == below
    chain.ok(NOW, ANN_METER, reading(4, 200, 60))
    assert chain.fails(NOW, ANN_METER, reading(5, 199, 60))[1] == (200, 60)
    chain.ok(NOW, ANN_METER, reading(5, 200, 60))


def test_a_register_never_lies_above_a_later_slots() -> None:
    chain = Chain()
    chain.ok(NOW, ANN_METER, reading(5, 200, 60))
    above = (ErrorCode.REGISTER_BACKWARDS, (200, 60))
    assert chain.fails(NOW, ANN_METER, reading(4, 201, 60)) == above
    assert chain.fails(NOW, ANN_METER, reading(3, 100, 61)) == above
    chain.ok(NOW, ANN_METER, reading(4, 200, 60))


def test_a_register_moves_by_at_most_the_largest_quantity_per_slot() -> None:
    most = 1_000
    chain = Chain(genesis(market(max_quantity_wh=most)))
    too_fast = (ErrorCode.ENERGY_OUT_OF_RANGE, (most,))
    assert chain.fails(NOW, BOB_METER, reading(5, 6 * most + 1)) == too_fast
    assert chain.fails(NOW, BOB_METER, reading(5, 0, 6 * most + 1)) == too_fast
    chain.ok(NOW, BOB_METER, reading(5, 6 * most))  # slots 0…5
    assert chain.fails(NOW, BOB_METER, reading(4, 5 * most - 1)) == too_fast
    chain.ok(NOW, BOB_METER, reading(4, 5 * most))


def test_the_same_reading_twice_is_refused() -> None:
    chain = Chain()
    chain.ok(NOW, ANN_METER, reading(5, 200, 60))
    again = chain.fails(NOW, ANN_METER, reading(5, 200, 60))
    assert again == (ErrorCode.DUPLICATE_READING, (1,))


def test_another_reading_is_a_correction_with_the_next_version() -> None:
    chain = Chain()
    for version, import_wh in ((1, 200), (2, 190), (3, 210)):
        receipt = chain.ok(NOW, ANN_METER, reading(5, import_wh, 60))
        assert [e.version for e in events(receipt, ReadingAccepted)] == [version]


def test_readings_of_one_transaction_see_each_other() -> None:
    chain = Chain()
    backwards = chain.fails(NOW, ANN_METER, reading(4, 200, 60), reading(5, 199, 60))
    assert backwards == (ErrorCode.REGISTER_BACKWARDS, (200, 60))
    chain.ok(NOW, ANN_METER, reading(4, 200, 60), reading(5, 201, 60))


@pytest.mark.parametrize("slots_later", [0, 3, 50])
def test_a_closed_slots_registers_are_the_meters_starting_point(slots_later: int) -> None:
    chain = Chain()
    chain.ok(NOW, ANN_METER, reading(5, 200, 60))
    chain.block(due_ms(chain.genesis.market, 5, Phase.CLOSED))
    meter = chain.ledger.meter(ANN_METER.public_key)
    assert meter is not None
    assert (meter.slot, meter.import_wh, meter.export_wh) == (6, 200, 60)
    slot = 9 + slots_later
    backwards = chain.fails(start_of(slot + 1), ANN_METER, reading(slot, 199, 60))
    assert backwards == (ErrorCode.REGISTER_BACKWARDS, (200, 60))
    chain.ok(start_of(slot + 1), ANN_METER, reading(slot, 200, 60))
