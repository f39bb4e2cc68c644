"""The life of a slot: pure functions of block time, each transition once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.ledger.agenda import Agenda
from vppd.ledger.events import SlotAdvanced
from vppd.ledger.slots import Phase, due_ms, next_step, phase_at
from vppd.ledger.state import ERA, TABLES
from vppd.types import Slot

MARKET = market()


def test_due_times_follow_the_market_section() -> None:
    start = start_of(7)
    assert [due_ms(MARKET, 7, phase) for phase in Phase] == [
        start - 30_000,
        start - 2_000,
        start,
        start + 10_000,
        start + 15_000,
        start + 35_000,
    ]


@pytest.mark.parametrize("phase", list(Phase))
def test_a_phase_begins_at_its_due_time(phase: Phase) -> None:
    due = due_ms(MARKET, 7, phase)
    assert phase_at(MARKET, 7, due) is phase
    assert phase_at(MARKET, 7, due - 1) == (None if phase is Phase.OPEN else phase - 1)


def test_the_agenda_fires_in_order_of_due_time_slot_and_phase() -> None:
    same = market(gate_lead_ms=0, dispute_slots=0, metering_ms=10_000)
    agenda, fired = Agenda(), []
    for slot in (3, 1, 2):
        agenda.note(next_step(same, slot, Phase.OPEN) or pytest.fail("nothing follows"))
    while (due := agenda.take(start_of(9))) is not None:
        fired.append(due)
        following = next_step(same, due.number, Phase(due.step))
        if following is not None:
            agenda.note(following)
    assert fired == sorted(fired)
    assert [due.due_ms for due in fired] == [due_ms(same, d.number, Phase(d.step)) for d in fired]
    assert Counter(due.number for due in fired) == {1: 5, 2: 5, 3: 5}
    assert agenda.peek() is None


def test_a_slot_enters_the_state_with_its_first_order() -> None:
    chain = Chain()
    assert chain.ledger.next_due_ms is None
    receipt = chain.ok(start_of(5) - 20_000, ANN, offer(5, 10, 1))
    assert events(receipt, SlotAdvanced) == [SlotAdvanced(5, Phase.OPEN)]
    assert chain.ledger.next_due_ms == start_of(5) - 2_000
    again = chain.ok(start_of(5) - 19_000, ANN, offer(5, 10, 1))
    assert events(again, SlotAdvanced) == []


def test_a_slot_enters_the_state_with_its_first_reading_in_the_phase_time_says() -> None:
    chain = Chain()
    receipt = chain.ok(start_of(6), ANN_METER, reading(5, 100, 50))
    assert events(receipt, SlotAdvanced) == [SlotAdvanced(5, Phase.METERED)]
    assert chain.ledger.next_due_ms == start_of(6) + 5_000
    late = chain.ok(start_of(6) + 5_000, ANN_METER, reading(4, 100, 50))
    assert events(late, SlotAdvanced) == [SlotAdvanced(4, Phase.SETTLED)]


def test_a_failed_transaction_brings_no_slot() -> None:
    chain = Chain()
    chain.fails(start_of(5) - 20_000, ANN, offer(5, 10, 1), offer(5, 0, 1))
    assert list(chain.ledger.slots()) == []
    assert chain.ledger.next_due_ms is None


def test_transitions_fire_before_the_transactions_of_a_block_that_reached_their_time() -> None:
    chain = Chain()
    chain.ok(start_of(5) - 20_000, ANN, offer(5, 10, 1))
    due = start_of(5) - 2_000
    assert events(chain.block(due - 1)[0], SlotAdvanced) == []
    assert events(chain.block(due)[0], SlotAdvanced) == [SlotAdvanced(5, Phase.GATE_CLOSED)]


def test_a_late_block_fires_several_in_order() -> None:
    chain = Chain()
    chain.ok(start_of(5) - 20_000, ANN, offer(5, 10, 1), offer(6, 10, 1))
    fired = events(chain.block(start_of(6) + 5_000)[0], SlotAdvanced)
    assert fired == [
        SlotAdvanced(5, Phase.GATE_CLOSED),
        SlotAdvanced(5, Phase.DELIVERING),
        SlotAdvanced(6, Phase.GATE_CLOSED),
        SlotAdvanced(5, Phase.METERED),
        SlotAdvanced(6, Phase.DELIVERING),
        SlotAdvanced(5, Phase.SETTLED),
    ]


def test_a_closed_slot_has_left_the_state() -> None:
    chain = Chain()
    genesis_entries = chain.ledger.entries()
    chain.ok(start_of(5) - 20_000, ANN, offer(5, 10, 1))
    chain.ok(start_of(5) - 19_000, BOB, bid(5, 10, 1))
    chain.ok(start_of(6), ANN_METER, reading(5, 100, 50))
    chain.block(start_of(6) + 5_000)
    slot_tables = {key[0] for key, _ in chain.ledger.entries()}
    assert slot_tables == {number for number in TABLES if number < ERA.number}
    chain.block(start_of(9) + 5_000)
    tables_left = {key[0] for key, _ in chain.ledger.entries()}
    assert tables_left == {key[0] for key, _ in genesis_entries}
    assert chain.ledger.next_due_ms is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=25), st.sets(st.integers(3, 9)))
def test_each_transition_fires_once_under_any_pattern_of_block_times(
    steps: list[int], slots: set[Slot]
) -> None:
    chain = Chain(genesis())
    time_ms = start_of(3) - 25_000
    seen: dict[Slot, list[int]] = {}
    for step in [*steps, 10**6]:
        txs = [
            chain.tx(ANN, offer(slot, 1, 1))
            for slot in sorted(slots)
            if phase_at(chain.genesis.market, slot, time_ms) is Phase.OPEN
        ]
        for receipt in chain.block(time_ms, *txs):
            for event in events(receipt, SlotAdvanced):
                seen.setdefault(event.slot, []).append(event.phase)
        for slot, record in chain.ledger.slots():
            assert record.phase == phase_at(chain.genesis.market, slot, time_ms)
        due = chain.ledger.next_due_ms
        assert due is None or due > time_ms
        time_ms += step
    chain.block(time_ms + 10**7)
    for phases in seen.values():
        assert all(after == before + 1 for before, after in pairwise(phases))
    assert list(chain.ledger.slots()) == []
