"""The audit follows members and meters that come later, pauses, and who is stopped."""

from __future__ import annotations

import pytest

from tests.day.audited import Day, Edit, adding, changing, dropped, edited, number_of, plant
from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER, CAT, bid, offer, start_of
from tests.ledger.town import NEW, NEW_METER, key
from vppd.ledger.changes import Bar, Configure
from vppd.ledger.events import Event, ReadingAccepted, Settled
from vppd.ledger.member_events import AcquisitionSet, MeterRegistered
from vppd.ledger.registration.ops import RegisterMember, RegisterMeter, SetAcquisition, SetStanding
from vppd.ledger.transaction import Reading, Transfer


@pytest.fixture(scope="module")
def day() -> Day:
    """Ann is the operator: a member and its meter come, one meter pauses, another goes."""
    day = Day(plant())
    at = start_of(0)
    day.ok(at, ANN, RegisterMember(key(NEW), "newcomer", 0, None))
    day.ok(at + 1, ANN, RegisterMeter(key(NEW_METER), key(NEW), 1, 500, 0))
    day.ok(at + 2, CAT, Transfer(key(NEW), 1_000_000))
    day.ok(at + 3, NEW, bid(2, 400, 500_000))
    day.ok(at + 4, ANN, offer(2, 300, 400_000))
    day.ok(at + 5, BOB, bid(3, 100, 450_000))
    day.ok(at + 6, ANN, SetAcquisition(key(BOB_METER), 1, 0, 1, "works"))
    day.ok(at + 7, ANN, SetAcquisition(key(BOB_METER), 2, 1, 1, ""))
    day.ok(at + 8, ANN, SetAcquisition(key(ANN_METER), 1, 2, 1, "sold"))
    day.ok(at + 9, ANN, SetStanding(key(NEW), 1, "key lost"))
    day.ok(at + 10, ANN, Configure(0, (Bar(key(BOB), True, "x"),)))
    for slot, txs in (
        (0, ((BOB_METER, Reading(0, 10, 0)), (ANN_METER, Reading(0, 150, 50)))),
        (1, ((ANN_METER, Reading(1, 160, 50)), (NEW_METER, Reading(1, 520, 0)))),
        (1, ((BOB_METER, Reading(1, 40, 0)),)),
        (2, ((BOB_METER, Reading(2, 70, 0)), (NEW_METER, Reading(2, 800, 0)))),
        (3, ((BOB_METER, Reading(3, 80, 0)),)),
    ):
        time = max(start_of(slot + 1), day.blocks[-1][0].time_ms) + 1
        day.block(time, *(day.tx(meter, op) for meter, op in txs))
    day.block(start_of(9))
    return day


def test_a_day_with_comings_and_goings_has_nothing_wrong(day: Day) -> None:
    assert day.audit().findings == []


@pytest.mark.parametrize(
    ("kind", "wanted", "edit", "words"),
    [
        (AcquisitionSet, {"mode": 0}, dropped, "the imported energy in Wh of bob in slot 1"),
        (AcquisitionSet, {"mode": 1}, changing(first_slot=3), "none is to be taken"),
        (AcquisitionSet, {"mode": 1}, dropped, "none is to be taken"),
        (AcquisitionSet, {"mode": 2}, changing(first_slot=0), "none is to be taken"),
        (AcquisitionSet, {"mode": 2}, changing(meter=bytes(31) + b"\x09"), "that there is not"),
        (MeterRegistered, {}, dropped, "which is no meter"),
        (MeterRegistered, {}, adding("import_wh", 5), "import"),
        (ReadingAccepted, {"slot": 2}, adding("import_wh", 1), "the import register"),
        (Settled, {"slot": 2}, adding("import_wh", 1), "import"),
    ],
)
def test_what_is_wrong_is_found(
    day: Day, kind: type[Event], wanted: dict[str, int], edit: Edit, words: str
) -> None:
    found = edited(day, {number_of(day, kind, **wanted): edit})
    assert found
    assert any(words in sentence for sentence in found), found
