"""The load: transactions that a plant takes, each one of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vppd.bench.workload import MARGIN_MS, Kind, Load, Sender, Slots, Supply, slots_during
from vppd.cli.testnet import scaled_market
from vppd.config.genesis import ConsensusRules, MarketRulesSection
from vppd.crypto import SigningKey, verify
from vppd.errors import UserError
from vppd.ledger.slots import Phase, phase_at
from vppd.ledger.transaction import (
    PlaceOrder,
    Reading,
    Transaction,
    Transfer,
    check_stateless,
)

CHAIN = bytes(range(32))
KEYS = [SigningKey(bytes([i]) * 32) for i in range(3)]
SLOTS = Slots(100, 5, 90)


def supply(kinds: Sequence[Kind], count: int = 12, ops: int = 1, seed: int = 1) -> Supply:
    senders = [
        Sender(key, kind, 10 * i) for i, (key, kind) in enumerate(zip(KEYS, kinds, strict=False))
    ]
    receivers = [sender.signer.public_key for sender in senders]
    load = Load(CHAIN, 500, ops, None, unsigned=False, slots=SLOTS, receivers=receivers)
    return Supply(senders, load, count, seed)


def transactions(made: Supply) -> list[Transaction]:
    """What a node reads; the signatures hold, or this raises."""
    return [
        check_stateless(raw, CHAIN, 1, ConsensusRules(), verify)
        for raw in made.raws(range(made.count))
    ]


def test_each_transaction_is_valid_and_has_an_id_of_its_own() -> None:
    made = supply(["transfer", "order", "reading"])
    found = transactions(made)
    assert len(found) == made.count == 12
    assert [tx.id for tx in found] == [made.tx_id(i) for i in range(12)]
    assert len({tx.id for tx in found}) == 12


def test_senders_take_turns_and_their_nonces_have_no_gap() -> None:
    found = transactions(supply(["transfer", "order", "reading"]))
    for i, key in enumerate(KEYS):
        own = [tx for tx in found if tx.sender == key.public_key]
        assert own == found[i::3]
        assert [tx.nonce for tx in own] == [10 * i + turn for turn in range(4)]


def test_each_kind_sends_its_operations() -> None:
    found = transactions(supply(["transfer", "order", "reading"], ops=4))
    kinds = [Transfer, PlaceOrder, Reading]
    assert [{type(op) for op in tx.ops} for tx in found] == [{kinds[i % 3]} for i in range(12)]
    assert {len(tx.ops) for tx in found} == {4}


def test_orders_stay_within_the_open_slots_and_both_sides_come() -> None:
    orders = [
        op for tx in transactions(supply(["order"], 200)) for op in tx.ops
        if isinstance(op, PlaceOrder)
    ]  # fmt: skip
    assert {op.slot for op in orders} == set(range(100, 105))
    assert {op.side for op in orders} == {0, 1}
    assert len({op.price for op in orders}) > 150


def test_readings_of_a_meter_only_rise() -> None:
    read = [
        op for tx in transactions(supply(["reading"], 20, ops=2)) for op in tx.ops
        if isinstance(op, Reading)
    ]  # fmt: skip
    assert {op.slot for op in read} == {90}
    assert [op.import_wh for op in read] == list(range(1, 41))


def test_the_seed_decides_the_load() -> None:
    assert supply(["order"]).raws(range(12)) == supply(["order"]).raws(range(12))
    assert supply(["order"]).raws(range(12)) != supply(["order"], seed=2).raws(range(12))


@pytest.mark.parametrize("late", [0, 1, 299_999, 300_000, 899_999, 450_000])
@pytest.mark.parametrize("lasts_ms", [1_000, 600_000, 3_600_000])
def test_the_slots_of_a_run_are_open_all_the_time(late: int, lasts_ms: int) -> None:
    market = scaled_market()
    now = 1_800_000_000_000 // market.slot_ms * market.slot_ms + late
    slots = slots_during(market, now, lasts_ms)
    assert slots.count >= 90
    for slot in (slots.first, slots.first + slots.count - 1):
        for at in (now, now + lasts_ms, now + lasts_ms + MARGIN_MS):
            assert phase_at(market, slot, at) is Phase.OPEN, (slot, at)
    for at in (now, now + lasts_ms):
        phase = phase_at(market, slots.metered, at)
        assert phase is not None and phase in (Phase.METERED, Phase.SETTLED)  # noqa: PT018


def test_a_market_of_short_slots_has_none_that_last() -> None:
    short = MarketRulesSection(slot_ms=2_000, open_lead_ms=4_000, gate_lead_ms=500)
    assert slots_during(short, 1_800_000_000_000, 10_000).count == 0


@pytest.mark.parametrize("ops", [1, 2, 16])
@pytest.mark.parametrize("size", [200, 255, 256, 257, 300, 512, 4_000, 70_000])
def test_opaque_transactions_have_the_size_that_was_asked_for(ops: int, size: int) -> None:
    load = Load(CHAIN, 500, ops, size, unsigned=True, slots=SLOTS, receivers=[])
    nonces = (0, 127, 128, 255, 256, 65_535, 65_536, 2**32)
    for nonce in nonces:
        sender = Sender(KEYS[0], "opaque", nonce)
        made = Supply([sender], load, 5, seed=1)
        assert abs(made.tx_bytes - 5 * size) <= 5, (nonce, "but for lengths no encoding has")
        assert len({made.tx_id(i) for i in range(5)}) == 5


def test_more_operations_than_fit_are_refused() -> None:
    load = Load(CHAIN, 500, 64, 200, unsigned=True, slots=SLOTS, receivers=[])
    with pytest.raises(UserError, match="64 operations do not fit 200 bytes"):
        Supply([Sender(KEYS[0], "opaque", 0)], load, 1, seed=1)
