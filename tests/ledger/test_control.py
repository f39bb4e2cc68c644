"""Acquisition control and parameters: which readings are taken, who says what of a device."""

from __future__ import annotations

import pytest

from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER, CAT, events, start_of
from tests.ledger.town import (
    AGG,
    NEW,
    NEW_METER,
    OP,
    OPENING,
    Town,
    build,
    join,
    key,
    release,
    town,
)
from vppd.config.duties import DutyEntry
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Settled, SettlementFlag
from vppd.ledger.member_events import AcquisitionSet, ParametersSet
from vppd.ledger.registration.meters import MOST_PAUSES, PAUSED, RETIRED, TAKEN
from vppd.ledger.registration.ops import SetAcquisition, SetParameters
from vppd.ledger.registration.parameters import MOST_PARAMETERS, MOST_VERSIONS
from vppd.ledger.registration.records import Duty, ParameterChange
from vppd.ledger.state import ACQUISITION, PARAMETERS
from vppd.ledger.transaction import Reading

T = start_of(0)


@pytest.fixture
def chain() -> Town:
    return Town()


def settled(chain: Town, slot: int) -> list[Settled]:
    chain.settle(slot)
    return [e for e in chain.all_told(Settled) if e.slot == slot]


# ---------------------------------------------------------------- pauses


def test_a_paused_meter_is_not_read_and_its_slots_are_estimated(chain: Town) -> None:
    receipt = chain.ok(T, OP, chain.control(BOB_METER, 1, PAUSED))
    assert events(receipt, AcquisitionSet) == [
        AcquisitionSet(key(BOB_METER), 1, PAUSED, 1, key(OP), "works on the line")
    ]
    chain.ok(start_of(1), BOB_METER, Reading(0, 10, 0))
    refused = chain.fails(start_of(2), BOB_METER, Reading(1, 20, 0))
    assert refused == (ErrorCode.NOT_ACQUIRED, (1, 2**40))


def test_a_pause_ends_with_the_reading_at_its_last_slots_end(chain: Town) -> None:
    chain.ok(T, OP, chain.control(BOB_METER, 1, PAUSED))
    chain.ok(start_of(1), BOB_METER, Reading(0, 10, 0))
    chain.ok(start_of(1) + 1, OP, chain.control(BOB_METER, 3, TAKEN))
    refused = chain.fails(start_of(2), BOB_METER, Reading(1, 20, 0))
    assert refused == (ErrorCode.NOT_ACQUIRED, (1, 3))
    chain.ok(start_of(3), BOB_METER, Reading(2, 50, 0))
    chain.ok(start_of(4), BOB_METER, Reading(3, 60, 0))
    paused, running = settled(chain, 2), settled(chain, 3)
    assert [(s.import_wh, s.flags) for s in paused] == [(0, SettlementFlag.ESTIMATED)]
    assert [(s.import_wh, s.flags) for s in running] == [(10, 0)]


def test_a_pause_of_one_slot_is_estimated_though_both_registers_are_known(chain: Town) -> None:
    chain.ok(T, OP, chain.control(BOB_METER, 1, PAUSED))
    chain.ok(T + 1, OP, chain.control(BOB_METER, 2, TAKEN))
    chain.ok(start_of(1), BOB_METER, Reading(0, 10, 0))
    chain.ok(start_of(2), BOB_METER, Reading(1, 30, 0))
    assert [(s.import_wh, s.flags) for s in settled(chain, 1)] == [(0, SettlementFlag.ESTIMATED)]
    assert chain.balance(BOB) == OPENING - 10 * 500, "only slot 0 was charged"


def test_a_pause_taken_back_before_it_begins_never_was(chain: Town) -> None:
    chain.ok(T, OP, chain.control(BOB_METER, 2, PAUSED))
    chain.ok(T + 1, OP, chain.control(BOB_METER, 2, TAKEN))
    record = ACQUISITION.decode(dict(chain.ledger.entries())[ACQUISITION.key(key(BOB_METER))])
    assert record.pauses == ()


def test_pauses_follow_each_other_and_old_ones_are_forgotten(chain: Town) -> None:
    for i in range(MOST_PAUSES):
        chain.ok(chain.at(0), OP, chain.control(BOB_METER, 10 + 2 * i, PAUSED))
        chain.ok(chain.at(0), OP, chain.control(BOB_METER, 11 + 2 * i, TAKEN))
    full = chain.fails(chain.at(0), OP, chain.control(BOB_METER, 90, PAUSED))
    assert full == (ErrorCode.OUT_OF_BOUNDS, (1,))
    back = chain.fails(chain.at(0), OP, chain.control(BOB_METER, 12, PAUSED))
    assert back == (ErrorCode.SLOT_HAS_BEGUN, (25,))
    for slot in range(12):
        chain.live(slot, bob=1) if slot < 10 else chain.block(chain.at(slot + 1))
    chain.block(chain.at(12, 1), chain.read(11, BOB_METER, 1))
    chain.settle(11)
    chain.ok(chain.at(16), OP, chain.control(BOB_METER, 90, PAUSED))


def test_an_interval_is_on_chain_and_refuses_nothing(chain: Town) -> None:
    chain.ok(T, OP, chain.control(BOB_METER, 1, TAKEN, every=4))
    chain.ok(start_of(1), BOB_METER, Reading(0, 10, 0))
    record = ACQUISITION.decode(dict(chain.ledger.entries())[ACQUISITION.key(key(BOB_METER))])
    assert (record.interval_slots, record.pauses, record.last_slot) == (4, (), None)


# ---------------------------------------------------------------- retired


def test_a_retired_meter_counts_no_more_and_the_others_do(chain: Town) -> None:
    chain.ok(T, OP, chain.meter(account=key(BOB), first_slot=1, import_wh=0, export_wh=0))
    chain.ok(T + 1, OP, chain.control(BOB_METER, 1, RETIRED))
    chain.ok(start_of(1), BOB_METER, Reading(0, 10, 0))
    chain.block(
        start_of(2),
        chain.tx(BOB_METER, Reading(1, 20, 0)),
        chain.tx(NEW_METER, Reading(1, 5, 0)),
    )
    refused = chain.fails(start_of(3), BOB_METER, Reading(2, 30, 0))
    assert refused == (ErrorCode.METER_RETIRED, (1,))
    chain.ok(start_of(3) + 1, NEW_METER, Reading(2, 12, 0))
    assert [(s.import_wh, s.flags) for s in settled(chain, 1)] == [(15, 0)]
    assert [(s.import_wh, s.flags) for s in settled(chain, 2)] == [(7, 0)]
    again = chain.fails(chain.at(9), OP, chain.control(BOB_METER, 20, TAKEN))
    assert again == (ErrorCode.METER_RETIRED, (1,))


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (SetAcquisition(key(NEW), 2, 0, 1, "x"), ErrorCode.UNKNOWN_METER, ()),
        (SetAcquisition(key(BOB_METER), 0, 0, 1, "x"), ErrorCode.SLOT_HAS_BEGUN, (1,)),
        (SetAcquisition(key(BOB_METER), 2, 3, 1, "x"), ErrorCode.OUT_OF_BOUNDS, (1,)),
        (SetAcquisition(key(BOB_METER), 2, 0, 0, "x"), ErrorCode.OUT_OF_BOUNDS, (1,)),
        (SetAcquisition(key(BOB_METER), 2, 0, 1, ""), ErrorCode.NO_REASON, ()),
        (SetAcquisition(key(BOB_METER), 2, 1, 1, ""), ErrorCode.NOTHING_CHANGES, ()),
    ],
)
def test_which_control_is_refused(
    chain: Town, op: SetAcquisition, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    assert chain.fails(T, OP, op) == (code, detail)


def test_who_controls_a_meter() -> None:
    chain = Town(
        town(
            duties=(
                DutyEntry(duty="technical", account="cat"),
                DutyEntry(duty="aggregator", account="agg"),
            )
        )
    )
    pause = chain.control(BOB_METER, 2, PAUSED)
    assert chain.fails(T, OP, pause) == (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert chain.fails(T + 1, BOB, pause) == (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert chain.fails(T + 2, AGG, pause) == (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    chain.ok(T + 3, CAT, pause)
    chain.ok(T + 4, AGG, chain.control(ANN_METER, 2, PAUSED))
    retire = chain.control(BOB_METER, 4, RETIRED)
    assert chain.fails(T + 5, CAT, retire) == (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))
    chain.ok(T + 6, OP, retire)


# ---------------------------------------------------------------- parameters


def test_a_member_maintains_its_own_parameters_version_by_version(chain: Town) -> None:
    first = chain.ok(T, BOB, SetParameters(key(BOB), (("phases", 3), ("maker", "acme"))))
    assert events(first, ParametersSet) == [
        ParametersSet(key(BOB), 1, (("phases", 3), ("maker", "acme")), key(BOB))
    ]
    chain.ok(T + 1, BOB, SetParameters(key(BOB), (("maker", ""), ("phases", 1))))
    record = PARAMETERS.decode(dict(chain.ledger.entries())[PARAMETERS.key(key(BOB))])
    assert (record.version, record.values) == (2, (("phases", 1),))
    assert record.changes == (
        ParameterChange(key(BOB), 1, (("phases", 3), ("maker", "acme"))),
        ParameterChange(key(BOB), 2, (("maker", ""), ("phases", 1))),
    )


def test_the_state_keeps_the_latest_versions(chain: Town) -> None:
    for i in range(MOST_VERSIONS + 3):
        chain.ok(T + i, BOB, SetParameters(key(BOB_METER), (("ct_ratio", i),)))
    record = PARAMETERS.decode(dict(chain.ledger.entries())[PARAMETERS.key(key(BOB_METER))])
    assert record.version == MOST_VERSIONS + 3
    assert [change.settings[0][1] for change in record.changes] == list(range(3, 19))


def test_who_maintains_whose_parameters() -> None:
    chain = Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))
    of_ann = SetParameters(key(ANN_METER), (("floor", 2),))
    refused = (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert chain.fails(T, BOB, of_ann) == refused
    chain.ok(T + 1, AGG, of_ann)
    chain.ok(T + 2, OP, SetParameters(key(ANN), (("floor", 3),)))
    assert chain.fails(T + 3, AGG, SetParameters(key(BOB), (("floor", 2),))) == refused


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (SetParameters(key(NEW), (("a", 1),)), ErrorCode.UNKNOWN_MEMBER),
        (SetParameters(key(BOB), (("A b", 1),)), ErrorCode.BAD_PARAMETER),
        (SetParameters(key(BOB), (("capacity_w", "much"),)), ErrorCode.BAD_PARAMETER),
        (SetParameters(key(BOB), (("a", ""),)), ErrorCode.NOTHING_CHANGES),
        (SetParameters(key(BOB), (("a", 1), ("a", ""))), ErrorCode.NOTHING_CHANGES),
    ],
)
def test_which_parameters_are_refused(chain: Town, op: SetParameters, code: ErrorCode) -> None:
    assert chain.fails(T, BOB, op)[0] is code


def test_there_are_only_so_many_parameters(chain: Town) -> None:
    chain.ok(T, BOB, SetParameters(key(BOB), tuple((f"p{i}", i) for i in range(32))))
    assert MOST_PARAMETERS == 32
    one_more = SetParameters(key(BOB), (("q", 1),))
    assert chain.fails(T + 1, BOB, one_more) == (ErrorCode.BAD_PARAMETER, ())


def test_a_capacity_bounds_what_a_member_can_commit(chain: Town) -> None:
    chain.ok(T, OP, build())
    chain.ok(T + 1, OP, release())
    chain.ok(T + 2, OP, SetParameters(key(BOB), (("capacity_w", 1_500),)))
    assert chain.fails(T + 3, BOB, join(capacity_w=1_501)) == (ErrorCode.OUT_OF_BOUNDS, (7,))
    chain.ok(T + 4, BOB, join(capacity_w=1_500))
