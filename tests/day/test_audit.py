"""The second opinion: silent about a clean chain, outspoken about every single change to it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

import vppd
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    OPENING,
    STRANGER,
    Chain,
    bid,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.genesis import Genesis, MarketRules, MarketRulesSection, Tariff, ValidatorEntry
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.consensus.boundary import BodyRecord, DecisionRecord
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.crypto import SigningKey
from vppd.day.audit import AuditReport, ExportedBlock, audit_blocks, audit_store
from vppd.day.audit import rules as second
from vppd.errors import UserError
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import (
    Event,
    OrderAccepted,
    Posted,
    Purse,
    ReadingAccepted,
    Reason,
    Receipt,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    Status,
    Traded,
    decode_receipt,
    encode_receipt,
)
from vppd.ledger.slots import Phase, due_ms, phase_at
from vppd.ledger.trading import bid_escrow
from vppd.ledger.transaction import Op, PlaceOrder, Reading, Transfer, make_transaction
from vppd.market import auction
from vppd.market.money import amount_micro
from vppd.market.settlement import settle_imbalance
from vppd.market.tariff import tariff_for
from vppd.merkle import merkle_root
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import Role

Blocks: TypeAlias = list[ExportedBlock]
Edit: TypeAlias = Callable[[Event], Sequence[Event]]

ALL_RULES: tuple[MarketRules, ...] = ("production", "paper003", "literal003", "two-stage")
TARIFFS = (
    Tariff(start_minute=1_380, end_minute=15, retail_price=380_000, feed_in_price=240_001),
    Tariff(start_minute=15, end_minute=30, retail_price=570_001, feed_in_price=380_003),
    Tariff(start_minute=30, end_minute=1_380, retail_price=860_007, feed_in_price=650_000),
)
"""One for each of the slots 0, 1 and 2; the first wraps around midnight."""
CREDIT = {"ann": 900_000, "bob": 700_000, "cat": 333_333}


def plant(rules: MarketRules = "production") -> Genesis:
    """Ann, an operator, and Bob, a DER, with unequal credit and a meter each; Cat with neither."""
    base = genesis(market(rules=rules, tariffs=TARIFFS))
    return replace(
        base,
        accounts=tuple(replace(a, credit=CREDIT[a.name]) for a in base.accounts),
        validators=(
            ValidatorEntry(name="ann", role=Role.OPERATOR, key=ANN.public_key),
            ValidatorEntry(name="bob", role=Role.DER, key=BOB.public_key),
        ),
    )


class Day(Chain):
    """A chain that keeps what the audit reads."""

    def __init__(self, plant: Genesis) -> None:
        super().__init__(plant)
        self.exported: Blocks = []

    def block(self, time_ms: int, *txs: bytes) -> list[Receipt]:
        receipts = super().block(time_ms, *txs)
        assert self.last is not None
        header = self.blocks[-1][0].encode()
        self.exported.append(ExportedBlock(header, txs, self.last.receipts))
        return receipts

    def audit(self) -> AuditReport:
        return audit_blocks(self.genesis, self.exported)


def play(rules: MarketRules = "production") -> Day:
    """A day with everything in it that may happen to a slot.

    Slot 0 trades in both rounds and is metered in time. Slot 1 trades, misses a reading at its
    deadline, is estimated, and corrected when the reading comes. Slot 2 has readings only, one of
    them corrected, the other of unknown energy until slot 1's comes. A transaction fails, one is
    refused.
    """
    day = Day(plant(rules))
    opened = start_of(0) - 20_000
    day.ok(opened, ANN, offer(0, 3_001, 300_001, 250_001), offer(0, 2_003, 520_003, 300_007))
    day.ok(opened + 1, BOB, bid(0, 1_007, 400_009, 450_001), bid(1, 901, 600_000, 700_000))
    day.ok(opened + 2, CAT, bid(0, 3_333, 310_005, 420_007))
    day.ok(opened + 3, CAT, Transfer(ANN.public_key, 77_777))
    day.do(opened + 4, CAT, Transfer(ANN.public_key, 10 * OPENING))
    day.block(opened + 5, day.tx(BOB, Transfer(CAT.public_key, 1), nonce=99))
    day.ok(opened + 6, ANN, offer(1, 1_500, 555_555, 444_444))
    day.block(start_of(0) - 2_000)
    day.ok(start_of(1) + 1, ANN_METER, reading(0, 103, 4_777))
    day.ok(start_of(1) + 2, BOB_METER, reading(0, 1_500, 20))
    day.block(start_of(1) + 5_000)
    day.block(start_of(2) + 5_000)
    day.ok(start_of(2) + 6_000, ANN_METER, reading(1, 110, 5_999))
    day.ok(start_of(3) + 1, ANN_METER, reading(2, 400, 6_000))
    day.ok(start_of(3) + 2, BOB_METER, reading(2, 3_600, 21))
    day.block(start_of(3) + 5_000)
    late = day.tx(BOB_METER, reading(1, 2_501, 20))
    corrected = day.tx(ANN_METER, reading(2, 399, 6_100))
    day.block(start_of(3) + 5_001, late, corrected)
    day.block(start_of(40))
    return day


@pytest.fixture(scope="module")
def day() -> Day:
    """Not to be changed."""
    return play()


# -- a clean chain


@pytest.mark.parametrize("rules", ALL_RULES)
def test_a_clean_day_has_no_findings(rules: MarketRules) -> None:
    report = play(rules).audit()
    assert report.findings == []
    assert report.trades >= 3


def test_the_day_has_everything_that_can_be_got_wrong(day: Day) -> None:
    events = [event for _, _, event in every_event(day.exported)]
    assert {type(event) for event in events} == {
        Posted, SlotAdvanced, OrderAccepted, Traded, ReadingAccepted, Settled,
    }  # fmt: skip
    assert {e.reason for e in events if isinstance(e, Posted)} == set(Reason)
    assert {e.phase for e in events if isinstance(e, SlotAdvanced)} == set(Phase)
    assert {e.round for e in events if isinstance(e, Traded)} == {1, 2}
    settled = [e for e in events if isinstance(e, Settled)]
    assert {e.flags for e in settled} == {0, SettlementFlag.ESTIMATED, SettlementFlag.CORRECTED}
    assert any(e.imbalance_wh > 0 for e in settled)
    assert any(e.imbalance_wh < 0 for e in settled)
    statuses = {decode_receipt(raw).status for block in day.exported for raw in block.receipts}
    assert statuses == set(Status)


def test_the_report_counts_blocks_transactions_and_trades(day: Day) -> None:
    report = day.audit()
    traded = [e for _, _, e in every_event(day.exported) if isinstance(e, Traded)]
    assert report.height == len(day.exported)
    assert report.head == day.blocks[-1][0].digest().hex()
    assert report.transactions == sum(len(txs) for _, txs in day.blocks)
    assert (report.trades, report.traded_wh) == (
        len(traded),
        sum(trade.quantity_wh for trade in traded),
    )


def test_paid_is_what_balances_have_lost_but_for_transfers(day: Day) -> None:
    paid = {member.name: member.paid_micro for member in day.audit().members}
    assert paid == {
        "ann": OPENING + 77_777 - day.balance(ANN),
        "bob": OPENING - day.balance(BOB),
        "cat": OPENING - 77_777 - day.balance(CAT),
    }
    assert paid["ann"] < 0 < paid["bob"]


def test_grid_only_prices_registers_slot_by_slot_at_the_grid(day: Day) -> None:
    ann, bob, cat = day.audit().members
    # Registers at the ends of slots 0, 1, 2 as corrected, each slot in a tariff of its own.
    assert ann.net_wh == (399 - 100) - (6_100 - 50)
    assert ann.paid_grid_only_micro == (
        (1_140 - 1_134_485)  # 3 Wh · 0.38; 4,727 Wh · 0.240001 = 1,134,484.727
        + (3_990 - 464_364)  # 7 Wh · 0.570001 = 3,990.007; 1,222 Wh · 0.380003 = 464,363.666
        + (248_542 - 65_650)  # 289 Wh · 0.860007 = 248,542.023; 101 Wh · 0.65
    )
    assert bob.net_wh == 3_600 - 21
    assert (cat.net_wh, cat.paid_grid_only_micro) == (0, 0)


def test_roles_come_from_genesis(day: Day) -> None:
    assert [(member.name, member.role) for member in day.audit().members] == [
        ("ann", "operator"),
        ("bob", "der"),
        ("cat", "member"),
    ]


def test_without_blocks_nothing_has_happened() -> None:
    report = audit_blocks(plant(), [])
    assert (report.height, report.head, report.findings) == (0, plant().digest.hex(), [])
    assert [member.paid_micro for member in report.members] == [0, 0, 0]


def test_energy_that_is_not_settled_yet_is_not_billed() -> None:
    day = Day(plant())
    day.ok(start_of(1), ANN_METER, reading(0, 600, 50))
    assert day.audit().members[0].net_wh == 0
    day.block(start_of(1) + 5_000)
    assert day.audit().members[0].net_wh == 500


prices = st.integers(200_000, 700_000)
energies = st.integers(1, 3_000)
slots = st.integers(0, 3)
orders = st.builds(
    lambda make, slot, wh, low, high: make(slot, wh, low, high),
    st.sampled_from([lambda s, q, a, b: offer(s, q, max(a, b), min(a, b)),
                     lambda s, q, a, b: bid(s, q, min(a, b), max(a, b))]),
    slots, energies, prices, prices,
)  # fmt: skip
transfers = st.builds(
    Transfer, st.sampled_from([ANN, BOB, CAT]).map(lambda k: k.public_key), st.integers(0, 10**6)
)
readings = st.builds(reading, slots, st.integers(100, 9_000), st.integers(50, 9_000))
actions = st.one_of(
    st.tuples(
        st.sampled_from([ANN, BOB, CAT]), st.lists(orders | transfers, min_size=1, max_size=3)
    ),
    st.tuples(st.sampled_from([ANN_METER, BOB_METER]), st.lists(readings, min_size=1, max_size=2)),
)


@settings(deadline=None)
@given(
    st.sampled_from(ALL_RULES),
    st.lists(st.tuples(st.integers(1, 15_000), st.lists(actions, max_size=3)), max_size=12),
)
def test_whatever_the_ledger_does_has_no_findings(
    rules: MarketRules, script: list[tuple[int, list[tuple[SigningKey, list[Op]]]]]
) -> None:
    day = Day(plant(rules))
    now = start_of(0) - 25_000
    for wait, todo in script:
        now += wait
        day.block(now, *(day.tx(key, *ops) for key, ops in todo))
    day.block(now + 100_000)
    assert day.audit().findings == []


# -- a chain with one change in it


def every_event(blocks: Blocks) -> Iterator[tuple[int, int, Event]]:
    """Block index, receipt index and event."""
    for index, block in enumerate(blocks):
        for position, raw in enumerate(block.receipts):
            for event in decode_receipt(raw).events:
                yield index, position, event


def reseal(genesis: Genesis, blocks: Blocks) -> Blocks:
    """The same blocks with headers that fit, so that only what they say is wrong."""
    parent, receipts_root = genesis.digest, merkle_root(())
    sealed = []
    for block in blocks:
        header = decode_header(block.header)._replace(
            parent=parent,
            receipts_root=receipts_root,
            tx_root=merkle_root(block.txs),
            tx_count=len(block.txs),
        )
        parent, receipts_root = header.digest(), merkle_root(block.receipts)
        sealed.append(block._replace(header=header.encode()))
    return sealed


def edited(day: Day, edits: dict[int, Edit]) -> list[str]:
    """Findings after the events with these numbers, counted over the chain, are replaced."""
    number = 0
    blocks = []
    for block in day.exported:
        receipts = []
        for raw in block.receipts:
            receipt = decode_receipt(raw)
            events: list[Event] = []
            for event in receipt.events:
                events += edits[number](event) if number in edits else [event]
                number += 1
            receipts.append(encode_receipt(replace(receipt, events=tuple(events))))
        blocks.append(block._replace(receipts=tuple(receipts)))
    return audit_blocks(day.genesis, reseal(day.genesis, blocks)).findings


def number_of(day: Day, kind: type[Event], nth: int = 0, **wanted: int | bytes) -> int:
    """Number of the ``nth`` event of this kind with these fields."""
    found = [
        number
        for number, (_, _, event) in enumerate(every_event(day.exported))
        if isinstance(event, kind) and wanted.items() <= asdict(event).items()
    ]
    return found[nth]


def changing(**changes: int | bytes) -> Edit:
    return lambda event: [replace(event, **changes)]


def adding(field: str, delta: int) -> Edit:
    return lambda event: [replace(event, **{field: getattr(event, field) + delta})]


def dropped(_: Event) -> Sequence[Event]:
    return []


def doubled(event: Event) -> Sequence[Event]:
    return [event, event]


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
