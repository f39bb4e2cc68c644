"""Rules of the market change by governance, from a slot on that has not opened yet."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.ledger.chain import bid, events, market, offer, start_of
from tests.ledger.council import NODES, Council, plant
from vppd.config.clock import ClockChange
from vppd.config.genesis import Governance
from vppd.ledger.changes import SetMarket, SetNumber
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import RulesScheduled, SlotAdvanced, Traded
from vppd.ledger.slots import Phase
from vppd.ledger.state import BALLOT, MARKET_UPDATE, PROPOSAL

FEWER = SetMarket(20, (("max_orders", 1),))


def agree(council: Council, *changes: SetMarket) -> None:
    """All members say the same in one block; nobody who votes changes by it."""
    receipts = council.send(council.propose(*changes), NODES[:4])
    assert [r.status for r in receipts[1:3]] == [Status.OK, Status.OK]
    assert events(receipts[2], RulesScheduled) != []


@pytest.fixture
def council() -> Council:
    """Four members; two must agree."""
    return Council(plant(4))


def test_enough_members_change_the_rules_from_a_slot_on(council: Council) -> None:
    change = council.propose(FEWER)
    _, first = council.send(change, NODES[:1])
    assert first.status == Status.OK
    assert events(first, RulesScheduled) == []
    _, second = council.send(change, NODES[1:2])
    assert events(second, RulesScheduled) == [RulesScheduled(20, (("max_orders", 1),))]
    assert council.ledger.calendar.at(19).max_orders == 64
    assert council.ledger.calendar.at(20).max_orders == 1
    tables = {key[0] for key, _ in council.ledger.entries()}
    assert not tables & {PROPOSAL.number, BALLOT.number}, "the proposal is done"
    assert len(council.ledger.eras) == 1, "who votes has not changed"


def test_each_slot_keeps_the_rules_it_began_with(council: Council) -> None:
    agree(council, SetMarket(20, (("max_orders", 1), ("rules", "two-stage"))))
    ann, bob = NODES[:2]
    council.now = start_of(18)
    time = start_of(18) + 1
    old = council.ok(time, ann, offer(19, 10, 400_000), offer(19, 10, 400_000))
    assert old.status == Status.OK
    traded = council.ok(time + 1, bob, bid(19, 5, 450_000))
    assert len(events(traded, Traded)) == 1, "slot 19 trades on arrival"
    failed = council.fails(time + 2, ann, offer(20, 10, 400_000), offer(20, 10, 400_000))
    assert failed == (ErrorCode.TOO_MANY_ORDERS, (1,))
    council.ok(time + 3, ann, offer(20, 10, 400_000))
    assert events(council.ok(time + 4, bob, bid(20, 5, 450_000)), Traded) == []
    closing = council.block(start_of(20) - 2_000)[0]
    assert [t.price for t in events(closing, Traded) if t.slot == 20] == [425_000]


def test_slots_may_get_another_length(council: Council) -> None:
    agree(
        council, SetMarket(20, (("slot_ms", 5_000), ("open_lead_ms", 12_000), ("dispute_slots", 6)))
    )
    calendar = council.ledger.calendar
    assert calendar.at(20).slot_start(20) == start_of(20)
    assert calendar.at(22).slot_start(22) == start_of(21)
    council.ok(start_of(21) - 3_000, NODES[0], offer(22, 10, 1))
    receipt = council.block(start_of(21) + 1_000 + 9_000)[0]
    assert SlotAdvanced(22, Phase.METERED) in receipt.events


def test_a_ledger_loaded_from_its_entries_has_the_same_rules(council: Council) -> None:
    agree(council, FEWER)
    agree(council, SetMarket(20, (("gate_lead_ms", 1),)), SetMarket(30, (("max_orders", 9),)))
    assert council.reloaded().calendar.changes == council.ledger.calendar.changes
    assert [first for first, _ in council.ledger.calendar.changes] == [0, 20, 30]
    stored = dict(council.ledger.entries())[MARKET_UPDATE.key(20)]
    assert MARKET_UPDATE.decode(stored).settings == (("max_orders", 1), ("gate_lead_ms", 1))


def test_rules_and_members_may_change_together(council: Council) -> None:
    council.decide(FEWER, SetNumber("max_tx_ops", 7))
    assert council.ledger.calendar.at(20).max_orders == 1
    assert council.ledger.eras[-1].rules == (("max_tx_ops", 7),)


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        (SetMarket(3, (("max_orders", 1),)), ErrorCode.SLOT_NOT_FUTURE, (0, 4)),
        (SetMarket(40_010, (("max_orders", 1),)), ErrorCode.BAD_NUMBER, (0,)),
        (SetMarket(20, (("metering_ms", 1), ("dispute_slots", 0))), ErrorCode.BAD_NUMBER, (0,)),
        (SetMarket(20, (("slot_ms", 2_500),)), ErrorCode.BAD_NUMBER, (0,)),
        (SetMarket(20, (("max_orders", 0),)), ErrorCode.BAD_NUMBER, (0,)),
        (SetMarket(20, (("nothing", 0),)), ErrorCode.BAD_NUMBER, (0,)),
        (SetMarket(20, (("tariffs", "0"),)), ErrorCode.BAD_NUMBER, (0,)),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    council: Council, change: SetMarket, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    council.now = start_of(0)
    assert council.fails(start_of(0) + 1_000, NODES[0], council.propose(change)) == (code, detail)


def test_rules_are_appended_never_put_before_others(council: Council) -> None:
    agree(council, SetMarket(30, (("max_orders", 2),)))
    failed = council.fails(council.now + 1, NODES[0], council.propose(FEWER))
    assert failed == (ErrorCode.SLOT_NOT_FUTURE, (0, 30))


def test_a_proposal_whose_slot_has_opened_meanwhile_is_refused(council: Council) -> None:
    change = council.propose(FEWER)
    council.send(change, NODES[:1])
    failed = council.fails(start_of(18), NODES[1], change)
    assert failed[0] is ErrorCode.SLOT_NOT_FUTURE
    assert council.ledger.calendar.at(20).max_orders == 64


def test_genesis_says_how_many_must_agree() -> None:
    council = Council(plant(4, governance=Governance(threshold=3)))
    change = council.propose(FEWER)
    council.send(change, NODES[:2])
    assert council.ledger.calendar.at(20).max_orders == 64
    council.send(change, NODES[2:3])
    assert council.ledger.calendar.at(20).max_orders == 1


def test_what_is_so_already_is_no_change(council: Council) -> None:
    agree(council, FEWER)
    failed = council.fails(council.now + 1, NODES[0], council.propose(FEWER))
    assert failed == (ErrorCode.NOTHING_CHANGES, ())


def test_a_proposal_sets_rules_a_few_times_at_most(council: Council) -> None:
    many = tuple(SetMarket(20 + i, (("max_orders", 1 + i),)) for i in range(9))
    assert council.refused(*many) == (ErrorCode.BAD_NUMBER, (8,))


def test_what_is_kept_of_two_updates_of_one_slot_is_what_was_checked() -> None:
    clocked = replace(market(), clock=(ClockChange(from_ms=0, offset_minutes=60),))
    council = Council(replace(plant(4), market=clocked))
    for slot_ms in (12_000, 11_000):
        agree(council, SetMarket(20, (("slot_ms", slot_ms), ("dispute_slots", 3))))
    council.idle(2)
    assert council.ledger.calendar.at(20).slot_ms == 11_000
    assert council.reloaded().calendar.changes == council.ledger.calendar.changes
