"""Demand response on chain: issue, answers, overlap, cancel, effect, payment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER, CAT, events, start_of
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    EVE,
    NEW,
    OP,
    PRICE,
    RICH,
    WH_OF_KW,
    Town,
    answer,
    build,
    cancel,
    event,
    join,
    key,
    leave,
    order,
    project,
    release,
    town,
)
from vppd.config.duties import DutyEntry
from vppd.ledger.changes import Bar, SetMarket
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.context import Context
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved, ContractSaid, Posted, Purse, Reason
from vppd.ledger.kinds.event import CANCELLED_SAID, MOST_SLOTS, RESPOND
from vppd.ledger.member_events import Answered, EffectMeasured
from vppd.ledger.receipts import Receipt
from vppd.ledger.registration.records import Duty
from vppd.ledger.response import history
from vppd.ledger.response.calls import MOST_LIVE, Answer, Event, live_events, tracked
from vppd.ledger.state import DAY_ENERGY
from vppd.ledger.transaction import Reading
from vppd.market.response import Signal

T = start_of(0)


@pytest.fixture
def chain() -> Town:
    """A released project of two days' baseline: Ann with two kilowatts, Bob with three, at once."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join(capacity_w=2_000))
    chain.ok(chain.at(0), BOB, join(capacity_w=3_000, auto=True))
    return chain


def live(chain: Town) -> dict[int, Event]:
    return {found.number: found.event for found in live_events(chain.ledger._ctx)}


def answers(chain: Town, number: int = 1) -> dict[bytes, tuple[Answer, int]]:
    return {c.account: (Answer(c.answer), c.until_slot) for c in live(chain)[number].called}


def measured(receipt: Receipt) -> dict[bytes, EffectMeasured]:
    return {e.account: e for e in events(receipt, EffectMeasured)}


# ---------------------------------------------------------------- a whole event


def test_an_event_from_its_issue_to_its_payment(chain: Town) -> None:
    """Slots of six hours; Ann usually takes 20 kWh, Bob 30; asked: a kilowatt less in slot 8."""
    chain.days(0, 6, ann=20_000, bob=30_000)
    issued = chain.ok(chain.at(7, 2), OP, event(9, 9))
    deposit = 2 * WH_OF_KW * PRICE // 1_000
    assert [p.delta for p in events(issued, Posted) if p.purse == Purse.CONTRACT] == [deposit]
    assert answers(chain) == {key(ANN): (Answer.NONE, 10), key(BOB): (Answer.NONE, 10)}
    chain.live(7, ann=20_000, bob=30_000)
    opted = chain.ok(chain.at(8, 2), ANN, answer(1, opts_in=True))
    assert events(opted, Answered) == [Answered(1, key(ANN), Answer.IN, 10)]
    chain.live(8, ann=20_000, bob=30_000)  # in the same block the event begins
    assert answers(chain) == {key(ANN): (Answer.IN, 10), key(BOB): (Answer.IN, 10)}
    chain.live(9, ann=15_000, bob=10_000)
    done = chain.settle(9)
    ann = EffectMeasured(1, key(ANN), 1, 1, 20_000, 15_000, 5_000, 0, 1_000_000)
    bob = EffectMeasured(1, key(BOB), 1, 1, 30_000, 10_000, WH_OF_KW, 0, 1_200_000)
    assert measured(done) == {key(ANN): ann, key(BOB): bob}
    paid = [(p.account, p.delta) for p in events(done, Posted) if p.reason == Reason.PAYOUT]
    purse = (1).to_bytes(32, "big")
    assert {(a, d) for a, d in paid if a != purse} == {
        (key(ANN), 1_000_000), (key(BOB), 1_200_000), (key(OP), deposit - 2_200_000),
    }  # fmt: skip
    assert [(m.cause, m.ended) for m in events(done, ContractMoved)] == [(Cause.FIRED, True)]
    assert live(chain) == {}


def test_days_with_an_event_are_no_usual_days(chain: Town) -> None:
    chain.days(0, 6, bob=20_000)
    chain.ok(chain.at(7, 2), OP, event(8, 8))
    chain.days(7, 7, bob=20_000)
    chain.live(8, bob=14_000)
    chain.days(9, 10, bob=20_000)
    chain.ok(chain.at(11, 2), OP, event(12, 12))
    chain.days(11, 11, bob=20_000)
    chain.live(12, bob=19_000)
    chain.settle(12)
    first, second = chain.all_told(EffectMeasured)
    assert (first.baseline_wh, first.metered_wh, first.effect_wh) == (20_000, 14_000, 6_000)
    assert (second.baseline_wh, second.metered_wh, second.effect_wh) == (20_000, 19_000, 1_000)


@pytest.mark.parametrize(("days", "mean"), [(1, 13_000), (2, 13_000), (3, 12_000), (9, 12_250)])
def test_a_baseline_is_the_mean_of_the_same_slot_of_the_latest_days(days: int, mean: int) -> None:
    """Slots 0, 4, 8, 12 and 16 are one time of day; the other slots have nothing to say."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(project(baseline_days=days)), release())
    chain.ok(chain.at(0), BOB, join(auto=True))
    for slot in range(12):
        chain.live(slot, bob={0: 13_000, 4: 10_000, 8: 13_000}.get(slot, 99))
    chain.ok(chain.at(12, 2), OP, event(16, 16))
    for slot in range(12, 17):
        chain.live(slot, bob={12: 13_000}.get(slot, 99))
    chain.settle(16)
    (found,) = chain.all_told(EffectMeasured)
    assert found.baseline_wh == mean


def test_without_a_baseline_or_a_reading_nothing_is_known_and_nothing_paid(chain: Town) -> None:
    chain.ok(chain.at(0, 5), OP, event(1, 2))
    chain.live(0, bob=20_000)
    chain.live(1, bob=5_000)
    done = chain.settle(2)
    assert measured(done) == {key(BOB): EffectMeasured(1, key(BOB), 2, 0, 0, 0, 0, 0, 0)}
    assert chain.balance(OP) == RICH


def test_a_correction_within_its_time_counts() -> None:
    chain = Town()
    chain.ok(chain.at(0), OP, build(project(baseline_days=1)), release())
    chain.ok(chain.at(0), BOB, join(auto=True))
    chain.days(0, 3, bob=20_000)
    chain.ok(chain.at(4, 2), OP, event(5, 5))
    chain.days(4, 5, bob=20_000)
    chain.ok(chain.at(7, 9_000), BOB_METER, Reading(5, 5 * 20_000 + 16_000, 0))
    chain.settle(5)
    (found,) = chain.all_told(EffectMeasured)
    assert (found.metered_wh, found.effect_wh) == (16_000, 4_000)


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("signal", "target_w", "took", "effect", "over"),
    [
        (Signal.REDUCE, 1_000, -2_000, 6_000, 0),
        (Signal.INCREASE, 500, 24_000, 3_000, 0),
        (Signal.INCREASE, 500, 15_000, 0, 0),
        (Signal.LIMIT, 2_000, 12_000, 8_000, 0),
        (Signal.LIMIT, 2_000, 13_000, 7_000, 1_000),
        (Signal.LIMIT, 0, 1_000, 18_000, 1_000),
    ],
)
def test_signals(
    chain: Town, signal: Signal, target_w: int, took: int, effect: int, over: int
) -> None:
    chain.days(0, 3, bob=20_000)
    chain.ok(chain.at(4, 2), OP, event(5, 5, signal=signal, target_w=target_w))
    chain.live(4, bob=20_000)
    chain.live(5, bob=took)
    chain.settle(5)
    (found,) = chain.all_told(EffectMeasured)
    assert (found.effect_wh, found.over_wh) == (effect, over)
    assert found.amount == effect * PRICE // 1_000


def test_each_is_asked_for_what_it_committed_at_most(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(3, 4, target_w=2_500))
    called = {c.account: (c.target_w, c.reserved) for c in live(chain)[1].called}
    assert called == {
        key(ANN): (2_000, 2 * 12_000 * PRICE // 1_000),
        key(BOB): (2_500, 2 * 15_000 * PRICE // 1_000),
    }


# ---------------------------------------------------------------- answers


def test_who_does_not_answer_is_out_but_for_standing_consent(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(1, 1))
    begun = chain.block(start_of(1))[0]
    assert events(begun, Answered) == [
        Answered(1, account, said, 2)
        for account, said in sorted([(key(ANN), Answer.OUT), (key(BOB), Answer.IN)])
    ]


def test_standing_consent_can_be_withdrawn_for_one_event(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(2, 2))
    chain.ok(chain.at(0), BOB, answer(1, opts_in=False))
    chain.ok(chain.at(0), ANN, answer(1, opts_in=True))
    chain.block(start_of(2))
    assert answers(chain)[key(BOB)] == (Answer.OUT, 3)


def test_an_event_that_nobody_takes_part_in_is_over_as_it_begins(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(2, 2))
    chain.ok(chain.at(0), BOB, answer(1, opts_in=False))
    begun = chain.block(start_of(2))[0]
    assert [m.ended for m in events(begun, ContractMoved)] == [True]
    assert chain.balance(OP) == RICH


@pytest.mark.parametrize("late", [0, 1])
def test_an_answer_after_the_beginning_is_too_late(chain: Town, late: int) -> None:
    chain.ok(chain.at(0), OP, event(1, 1))
    chain.block(start_of(1) - 1)
    failed = chain.fails(start_of(1) + late, ANN, answer(1, opts_in=True))
    assert failed == (ErrorCode.TOO_LATE, ())


def test_answers_that_cannot_be(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(2, 2))
    assert chain.fails(T + 9, CAT, answer(1, True)) == (ErrorCode.NOT_CALLED, ())
    chain.ok(T + 10, ANN, answer(1, True))
    assert chain.fails(T + 11, ANN, answer(1, True)) == (ErrorCode.NOTHING_CHANGES, ())
    broken = CallContract(1, RESPOND, b"\xc3")
    assert chain.fails(T + 12, ANN, broken) == (ErrorCode.BAD_TERMS, ())
    assert chain.fails(T + 13, ANN, answer(7, True)) == (ErrorCode.UNKNOWN_CONTRACT, ())


# ---------------------------------------------------------------- who may issue what


def test_whoever_lacks_the_technical_duty_issues_and_cancels_nothing(chain: Town) -> None:
    refused = (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert chain.fails(T + 9, DER, event(2, 2)) == refused
    assert chain.fails(T + 10, DER, order(2, 2, ANN)) == refused
    chain.ok(T + 11, OP, event(2, 2))
    assert chain.fails(T + 12, DER, cancel(1)) == refused


def test_an_aggregator_calls_its_members_only() -> None:
    chain = Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))
    chain.ok(chain.at(0), OP, build(), release())
    for member in (ANN, BOB, DAN):
        chain.ok(chain.at(0), member, join())
    refused = (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert chain.fails(T + 9, AGG, event(2, 2)) == refused, "all: Bob is not its member"
    assert chain.fails(T + 10, AGG, event(2, 2, members=(key(BOB),))) == refused
    chain.ok(T + 11, AGG, event(2, 2, members=(key(ANN), key(DAN))))
    chain.ok(T + 12, AGG, cancel(1))


def test_a_binding_order_is_an_operators(chain: Town) -> None:
    chain.ok(T + 9, OP, order(2, 2, ANN, CAT))
    assert answers(chain)[key(CAT)] == (Answer.IN, 3)
    assert chain.fails(T + 10, ANN, answer(1, False)) == (ErrorCode.TOO_LATE, ())
    other = Town(town(duties=(DutyEntry(duty="technical", account="cat"),)))
    refused = (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    assert other.fails(T, OP, order(2, 2, ANN)) == refused, "an operator without the duty"
    assert other.fails(T + 1, CAT, order(2, 2, ANN)) == refused, "the duty without an operator"


def test_an_order_is_measured_and_nobody_is_paid(chain: Town) -> None:
    chain.ok(chain.at(0, 5), OP, order(1, 1, ANN, BOB))
    chain.live(0, ann=9_000, bob=9_000)
    chain.live(1, ann=5_000, bob=8_000)
    done = chain.settle(1)
    found = measured(done)
    assert [(found[key(k)].known_slots, found[key(k)].over_wh) for k in (ANN, BOB)] == [
        (1, 0), (1, 2_000),
    ]  # fmt: skip
    assert [p for p in events(done, Posted) if p.purse == Purse.CONTRACT] == []


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (event(0, 0), ErrorCode.SLOT_HAS_BEGUN, (1,)),
        (event(2, 1), ErrorCode.OUT_OF_BOUNDS, (1,)),
        (event(2, 2 + MOST_SLOTS), ErrorCode.OUT_OF_BOUNDS, (1,)),
        (event(50_000, 50_000), ErrorCode.OUT_OF_BOUNDS, (1,)),
        (event(2, 2, target_w=0), ErrorCode.OUT_OF_BOUNDS, (2,)),
        (event(2, 2, target_w=2**40), ErrorCode.OUT_OF_BOUNDS, (2,)),
        (event(2, 2, signal=3), ErrorCode.OUT_OF_BOUNDS, (5,)),
        (event(2, 2, priority=255), ErrorCode.OUT_OF_BOUNDS, (6,)),
        (event(2, 2, project=9), ErrorCode.NOT_A_PROJECT, ()),
        (event(2, 2, members=(key(CAT),)), ErrorCode.NOT_IN_PROJECT, ()),
        (event(2, 2, members=(key(ANN), key(ANN))), ErrorCode.BAD_TERMS, ()),
        (event(2, 2, replaces=0), ErrorCode.UNKNOWN_CONTRACT, ()),
        (event(2, 2, replaces=7), ErrorCode.UNKNOWN_CONTRACT, ()),
        (event(2, 97, target_w=5_000), ErrorCode.INSUFFICIENT_FUNDS, (476_000_000,)),
        (order(2, 2, ANN, reason=""), ErrorCode.NO_REASON, ()),
        (order(2, 2, ANN, priority=7), ErrorCode.OUT_OF_BOUNDS, (6,)),
        (order(2, 2), ErrorCode.NOT_CALLED, ()),
        (order(2, 2, NEW), ErrorCode.UNKNOWN_MEMBER, ()),
    ],
)
def test_events_that_cannot_be(
    chain: Town, op: Any, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    assert chain.fails(T + 9, OP, op) == (code, detail)


def test_terms_that_nobody_can_read(chain: Town) -> None:
    assert chain.fails(T + 9, OP, OpenContract("event", b"\x00")) == (ErrorCode.BAD_TERMS, ())


def test_a_draft_calls_nobody_and_notice_is_kept() -> None:
    chain = Town()
    chain.ok(T, OP, build(project(notice_slots=2)))
    assert chain.fails(T + 1, OP, event(3, 3)) == (ErrorCode.NOT_RELEASED, ())
    chain.ok(T + 2, OP, release())
    chain.ok(T + 3, BOB, join())
    assert chain.fails(T + 4, OP, event(2, 2)) == (ErrorCode.OUT_OF_BOUNDS, (8,))
    chain.ok(T + 5, OP, event(3, 3))


def test_a_barred_or_suspended_member_is_not_called(chain: Town) -> None:
    chain.act(Bar(key(ANN), True, "x"))
    chain.ok(chain.at(0), OP, chain.standing(BOB, 1))
    assert chain.fails(chain.at(0), OP, event(3, 3)) == (ErrorCode.NOT_CALLED, ())
    named = chain.fails(chain.at(0), OP, event(3, 3, members=(key(ANN),)))
    assert named == (ErrorCode.BARRED, ())
    assert chain.fails(chain.at(0), ANN, join(capacity_w=1_000)) == (ErrorCode.BARRED, ())


# ---------------------------------------------------------------- overlap


def test_equal_priority_does_not_overlap(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 4))
    assert chain.fails(T + 10, OP, event(4, 5)) == (ErrorCode.EVENTS_OVERLAP, (1,))
    assert chain.fails(T + 11, OP, event(1, 2, priority=4)) == (ErrorCode.EVENTS_OVERLAP, (1,))
    chain.ok(T + 12, OP, event(5, 6))
    chain.ok(T + 13, OP, event(1, 1))


def test_a_higher_priority_calls_members_away_from_its_first_slot_on(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 5))
    receipt = chain.ok(T + 10, OP, event(4, 4, priority=6, members=(key(ANN),)))
    assert events(receipt, Answered) == [Answered(1, key(ANN), Answer.SUPERSEDED, 4)]
    assert answers(chain) == {key(ANN): (Answer.NONE, 4), key(BOB): (Answer.NONE, 6)}
    chain.ok(T + 11, OP, order(1, 1, BOB))
    over = chain.ok(T + 12, OP, order(2, 2, BOB))
    assert events(over, Answered) == [Answered(1, key(BOB), Answer.SUPERSEDED, 2)]
    assert answers(chain)[key(BOB)] == (Answer.SUPERSEDED, 2)
    assert chain.fails(T + 13, BOB, answer(1, True)) == (ErrorCode.TOO_LATE, ())
    assert chain.fails(T + 14, OP, order(2, 3, BOB)) == (ErrorCode.EVENTS_OVERLAP, (4,))


def test_who_said_no_may_be_called_by_another_and_then_not_say_yes(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 3, members=(key(ANN),)))
    chain.ok(T + 10, ANN, answer(1, opts_in=False))
    chain.ok(T + 11, OP, event(3, 3, members=(key(ANN),)))
    back = chain.fails(T + 12, ANN, answer(1, opts_in=True))
    assert back == (ErrorCode.EVENTS_OVERLAP, (2,))


def test_only_the_slots_before_the_other_event_are_measured(chain: Town) -> None:
    chain.days(0, 3, bob=20_000)
    chain.ok(chain.at(4, 2), OP, event(5, 7))
    chain.ok(chain.at(4, 2), OP, event(6, 6, priority=9, members=(key(BOB),)))
    chain.live(4, bob=20_000)
    for slot in (5, 6, 7):
        chain.live(slot, bob=15_000)
    chain.settle(7)
    found = {e.number: (e.asked_slots, e.effect_wh) for e in chain.all_told(EffectMeasured)}
    assert found == {1: (1, 5_000), 2: (1, 5_000)}


# ---------------------------------------------------------------- cancel


def test_a_cancelled_event_gives_its_deposit_back(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 2))
    assert chain.balance(OP) < RICH
    receipt = chain.ok(T + 10, OP, cancel(1, "wind has come"))
    assert events(receipt, ContractSaid) == [ContractSaid(1, CANCELLED_SAID, b"wind has come")]
    assert chain.balance(OP) == RICH
    assert live(chain) == {}
    chain.ok(T + 11, OP, event(2, 2))


def test_a_running_event_ends_with_the_slot_under_way(chain: Town) -> None:
    chain.days(0, 3, bob=20_000)
    chain.ok(chain.at(4, 2), OP, event(5, 7))
    chain.live(4, bob=20_000)
    chain.ok(chain.at(5, 500), OP, cancel(1))
    for slot in (5, 6, 7):
        chain.live(slot, bob=15_000)
    chain.settle(7)
    assert [(e.asked_slots, e.effect_wh) for e in chain.all_told(EffectMeasured)] == [(1, 5_000)]
    assert chain.fails(chain.at(30), OP, cancel(1)) == (ErrorCode.UNKNOWN_CONTRACT, ())


@pytest.mark.parametrize("at", [7, 8])
def test_in_its_last_slot_and_after_it_an_event_is_not_cancelled(chain: Town, at: int) -> None:
    chain.ok(T + 9, OP, event(6, 7))
    assert chain.fails(chain.at(at, 1), OP, cancel(1)) == (ErrorCode.TOO_LATE, ())


def test_a_cancellation_says_why(chain: Town) -> None:
    chain.ok(T + 9, OP, event(6, 7))
    assert chain.fails(T + 10, OP, cancel(1, "")) == (ErrorCode.NO_REASON, ())


def test_an_event_takes_the_place_of_another(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 3))
    receipt = chain.ok(T + 10, OP, event(3, 4, replaces=1))
    assert [(m.number, m.ended) for m in events(receipt, ContractMoved)] == [(1, True), (2, False)]
    assert list(live(chain)) == [2]
    assert sum(p.delta for p in events(receipt, Posted)) == 0


def test_a_replacement_that_fails_leaves_the_other(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 3))
    failed = chain.fails(T + 10, OP, event(2, 97, target_w=5_000, replaces=1))
    assert failed[0] is ErrorCode.INSUFFICIENT_FUNDS
    assert list(live(chain)) == [1]


# ---------------------------------------------------------------- time and memory


def test_an_event_waits_for_its_slots_when_they_become_longer(chain: Town) -> None:
    chain.ok(chain.at(0), OP, event(30, 31))
    chain.act(SetMarket(20, (("slot_ms", 20_000),)))
    chain.block(start_of(30))
    assert [c.phase for n, c in chain.ledger.contracts() if n == 1] == [0]
    begins = chain.ledger.calendar.at(30).slot_start(30)
    assert begins == start_of(20) + 10 * 20_000
    chain.block(begins)
    assert [c.phase for n, c in chain.ledger.contracts() if n == 1] == [1]


def test_energy_is_remembered_of_those_who_may_be_called_and_only_as_long(chain: Town) -> None:
    def remembered() -> set[bytes]:
        return {e[1:33] for e, _ in chain.ledger.entries() if e[0] == DAY_ENERGY.number}

    chain.days(0, 1, ann=1_000, dan=1_000)
    chain.settle(1)
    assert remembered() == {key(ANN)}
    chain.ok(chain.at(9), OP, order(11, 11, DAN))
    for slot in range(9, 12):
        chain.block(chain.at(slot + 1, 1), chain.read(slot, ANN_METER, 10))
    chain.settle(11)
    assert remembered() == {key(ANN)}
    chain.ok(chain.at(20), ANN, leave())
    assert remembered() == set()


def test_a_ledger_loaded_from_its_entries_goes_on_the_same(chain: Town) -> None:
    chain.days(0, 3, ann=2_000, bob=20_000)
    chain.ok(chain.at(4, 2), OP, event(5, 6))
    chain.live(4, ann=2_000, bob=20_000)
    twin = chain.reloaded()
    start = len(chain.blocks)
    chain.days(5, 6, ann=1_000, bob=15_000)
    chain.settle(6)
    for header, txs in chain.blocks[start:]:
        twin.execute(header, txs)
    assert twin.state_root == chain.ledger.state_root


def test_people_see_an_event(chain: Town) -> None:
    chain.ok(T + 9, OP, event(2, 3, reason="frost"))
    row = chain.ledger.contracts_view()[-1]
    assert row["next_ms"] == start_of(2)
    assert row["terms"] == {
        "project": 0, "signal": "reduce", "first_slot": 2, "last_slot": 3, "target_w": 1_000,
        "priority": 5, "binding": False, "price_micro": PRICE, "baseline_days": 2, "members": 2,
        "opted_in": 0, "reason": "frost",
    }  # fmt: skip
    assert chain.do(T + 10, EVE, answer(1, True)).status == Status.FAILED


def test_an_event_that_got_shorter_than_its_first_trigger_still_ends(chain: Town) -> None:
    """It would have begun after it is over now."""
    chain.ok(chain.at(0), OP, event(60, 61))
    began = start_of(60)
    chain.act(SetMarket(20, (("slot_ms", 8_000),)))
    assert chain.ledger.calendar.at(62).slot_start(62) < began
    receipts = chain.block(began) + chain.block(began + 60_000) + chain.block(began + 120_000)
    moved = [m for r in receipts for m in events(r, ContractMoved) if m.number == 1]
    assert [(m.cause, m.ended) for m in moved] == [(Cause.FIRED, False), (Cause.FIRED, True)]
    assert chain.balance(OP) == RICH


# ---------------------------------------------------------------- who may end what


def with_aggregator() -> Town:
    """Agg is an aggregator; its project is released, and Ann and Dan, who are under it, are in."""
    chain = Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))
    chain.ok(chain.at(0), OP, build(), release())
    for member in (ANN, DAN):
        chain.ok(chain.at(0), member, join())
    return chain


REFUSED = (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))


def test_an_aggregator_ends_no_binding_order_of_its_members() -> None:
    chain = with_aggregator()
    chain.ok(chain.at(0), OP, order(3, 3, ANN))
    assert chain.fails(chain.at(0), AGG, cancel(1)) == REFUSED
    mine = event(3, 3, members=(key(DAN),), replaces=1)
    assert chain.fails(chain.at(0), AGG, mine) == REFUSED
    assert list(live(chain)) == [1]
    chain.ok(chain.at(0), OP, cancel(1))


def test_an_aggregator_ends_its_own_event_and_no_operators() -> None:
    chain = with_aggregator()
    chain.ok(chain.at(0), OP, event(3, 3, members=(key(ANN),)))
    assert chain.fails(chain.at(0), AGG, cancel(1)) == REFUSED
    chain.ok(chain.at(0), AGG, event(4, 4, members=(key(ANN),)))
    chain.ok(chain.at(0), AGG, cancel(2))
    chain.ok(chain.at(0), AGG, event(4, 4, members=(key(ANN),)))
    chain.ok(chain.at(0), OP, cancel(3))  # the duty for the whole plant


# ---------------------------------------------------------------- how many, how far ahead


def test_an_issuer_has_only_so_many_events_that_are_not_over(chain: Town) -> None:
    for slot in range(2, 2 + MOST_LIVE):
        chain.ok(chain.at(0), OP, order(slot, slot, ANN))
    more = order(2 + MOST_LIVE, 2 + MOST_LIVE, ANN)
    assert chain.fails(chain.at(0), OP, more) == (ErrorCode.TOO_MANY_EVENTS, (MOST_LIVE,))
    chain.ok(chain.at(0), OP, order(40, 40, ANN, replaces=1))
    chain.ok(chain.at(0), OP, cancel(2))
    chain.ok(chain.at(0), OP, more)


def test_an_event_lies_only_so_far_ahead(chain: Town) -> None:
    far = 10_001
    assert chain.fails(T + 9, OP, event(far, far)) == (ErrorCode.OUT_OF_BOUNDS, (1,))
    chain.ok(T + 10, OP, event(far - 1, far - 1))


def test_who_is_called_is_looked_up_once_as_an_event_ends(
    chain: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its end costs members times contracts, in the middle of a block."""
    chain.ok(chain.at(0), OP, order(2, 2, ANN, BOB, CAT, DAN))
    asked: list[int] = []

    def counted(ctx: Context) -> set[bytes]:
        asked.append(1)
        return tracked(ctx)

    monkeypatch.setattr(history, "tracked", counted)
    chain.ok(chain.at(0), OP, cancel(1))
    assert len(asked) == 1
