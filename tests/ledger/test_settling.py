"""Settlement by hand: trades paid, imbalances with the grid, late and corrected readings."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    FEED_IN,
    OPENING,
    RETAIL,
    Chain,
    bid,
    events,
    genesis,
    grid_of,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.genesis import MeterEntry, Tariff
from vppd.crypto import SigningKey, sha256
from vppd.ledger.events import GRID, Posted, Purse, Reason, Settled, SettlementFlag
from vppd.ledger.receipts import Receipt
from vppd.ledger.slots import Phase, due_ms

DEADLINE = start_of(1) + 5_000
LATE = DEADLINE + 1
ESTIMATED, CORRECTED = SettlementFlag.ESTIMATED, SettlementFlag.CORRECTED


def traded(slot: int = 0, chain: Chain | None = None) -> Chain:
    """Ann sells 800 Wh to Bob at 0.42: 336 000 micro."""
    chain = chain or Chain()
    chain.ok(start_of(slot) - 20_000, ANN, offer(slot, 1_000, 400_000))
    chain.ok(start_of(slot) - 19_000, BOB, bid(slot, 800, 440_000, 450_000))
    return chain


def settled(receipt: Receipt) -> list[tuple[bytes, int, int, int, int]]:
    return [
        (e.account, e.version, e.imbalance_wh, e.grid_amount, e.flags)
        for e in events(receipt, Settled)
    ]


def corrections(receipt: Receipt) -> list[int]:
    """Changes of members' balances, in order."""
    return [e.delta for e in events(receipt, Posted) if e.purse == Purse.BALANCE]


def by_key(*rows: tuple[SigningKey, int, int, int, int]) -> list[tuple[bytes, int, int, int, int]]:
    """Members settle in the order of their keys."""
    return sorted((row[0].public_key, row[1], row[2], row[3], row[4]) for row in rows)


def test_trades_are_paid_and_imbalances_go_to_the_grid() -> None:
    chain = traded()
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))  # exported 900: 100 too much
    chain.ok(start_of(1), BOB_METER, reading(0, 1_000))  # imported 1000: 200 too much
    assert settled(chain.block(DEADLINE - 1)[0]) == []
    own = chain.block(DEADLINE)[0]
    assert settled(own) == by_key((ANN, 1, 100, -30_000, 0), (BOB, 1, -200, 100_000, 0))
    assert chain.balance(ANN) == OPENING + 336_000 + 30_000
    assert chain.balance(BOB) == OPENING - 336_000 - 100_000
    assert (chain.escrow(BOB), grid_of(chain.ledger)) == (0, 70_000)
    paid = [e for e in events(own, Posted) if e.reason == Reason.TRADE]
    assert paid == [
        Posted(BOB.public_key, Purse.ESCROW, -336_000, Reason.TRADE),
        Posted(ANN.public_key, Purse.BALANCE, 336_000, Reason.TRADE),
    ]
    to_grid = [e for e in events(own, Posted) if e.reason == Reason.IMBALANCE]
    assert sorted(e.delta for e in to_grid if e.account == GRID) == [-30_000, 100_000]


def test_the_settlement_says_all_its_numbers() -> None:
    chain = traded()
    chain.ok(start_of(1), ANN_METER, reading(0, 103, 950))
    own = chain.block(DEADLINE)[0]
    ann = next(e for e in events(own, Settled) if e.account == ANN.public_key)
    assert ann == Settled(0, ANN.public_key, 1, 3, 900, 800, 0, 97, RETAIL, FEED_IN, -29_100, 0)


def test_a_slot_settles_at_its_own_tariff() -> None:
    night = Tariff(start_minute=0, end_minute=15, retail_price=200_000, feed_in_price=100_000)
    day = Tariff(start_minute=15, end_minute=0, retail_price=RETAIL, feed_in_price=FEED_IN)
    chain = Chain(genesis(market(tariffs=(night, day))))
    chain.ok(start_of(1), BOB_METER, reading(0, 1_000))
    chain.ok(start_of(2), BOB_METER, reading(1, 2_000))
    chain.block(start_of(2) + 5_000)
    assert chain.balance(BOB) == OPENING - 200_000 - 500_000


def test_a_missing_reading_settles_with_the_contract_and_a_flag() -> None:
    chain = traded()
    chain.ok(start_of(1), BOB_METER, reading(0, 800))
    own = chain.block(DEADLINE)[0]
    assert settled(own) == by_key((ANN, 1, 0, 0, ESTIMATED), (BOB, 1, 0, 0, 0))
    ann = next(e for e in events(own, Settled) if e.account == ANN.public_key)
    assert (ann.import_wh, ann.export_wh) == (0, 800)
    assert (chain.balance(ANN), chain.balance(BOB)) == (OPENING + 336_000, OPENING - 336_000)


def test_a_member_without_a_meter_settles_with_the_contract() -> None:
    chain = Chain()
    chain.ok(start_of(0) - 20_000, CAT, offer(0, 10, 100_000))
    chain.ok(start_of(0) - 19_000, BOB, bid(0, 10, 100_000))
    own = chain.block(DEADLINE)[0]
    assert settled(own) == by_key((BOB, 1, 0, 0, ESTIMATED), (CAT, 1, 0, 0, ESTIMATED))


def test_a_member_with_a_reading_only_settles_with_the_grid_alone() -> None:
    chain = Chain()
    chain.ok(start_of(1), BOB_METER, reading(0, 300, 100))
    own = chain.block(DEADLINE)[0]
    assert settled(own) == by_key((BOB, 1, -200, 100_000, 0))


def test_a_member_with_neither_is_left_alone() -> None:
    chain = traded()
    own = chain.block(DEADLINE)[0]
    assert CAT.public_key not in [e.account for e in events(own, Settled)]


def test_an_imbalance_may_leave_a_debt() -> None:
    chain = Chain()
    chain.ok(start_of(1), BOB_METER, reading(0, 100_000))
    chain.block(DEADLINE)
    assert chain.balance(BOB) == OPENING - 50_000_000


def test_energy_is_known_only_between_two_known_registers() -> None:
    chain = Chain()
    chain.ok(start_of(2), BOB_METER, reading(1, 700))  # slot 0 is missing
    own = chain.block(start_of(2) + 5_000)[0]
    assert settled(own) == by_key((BOB, 1, 0, 0, ESTIMATED))


def test_a_late_reading_posts_the_difference_as_the_next_version() -> None:
    chain = traded()
    chain.ok(start_of(1), BOB_METER, reading(0, 800))
    chain.block(DEADLINE)
    receipt = chain.ok(LATE, ANN_METER, reading(0, 100, 950))
    assert settled(receipt) == by_key((ANN, 2, 100, -30_000, CORRECTED))
    assert corrections(receipt) == [30_000]
    assert [e.reason for e in events(receipt, Posted)] == [Reason.CORRECTION] * 2


def test_a_corrected_reading_posts_only_the_difference() -> None:
    chain = traded()
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))
    chain.block(DEADLINE)
    fewer = chain.ok(LATE, ANN_METER, reading(0, 100, 910))  # +60 instead of +100
    assert settled(fewer) == by_key((ANN, 2, 60, -18_000, CORRECTED))
    assert corrections(fewer) == [-12_000]
    short = chain.ok(LATE + 1, ANN_METER, reading(0, 100, 800))  # −50
    assert settled(short) == by_key((ANN, 3, -50, 25_000, CORRECTED))
    assert corrections(short) == [-43_000]
    assert chain.balance(ANN) == OPENING + 336_000 - 25_000


def test_a_correction_before_settlement_just_counts() -> None:
    chain = traded()
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))
    receipt = chain.ok(start_of(1) + 1, ANN_METER, reading(0, 100, 850))
    assert events(receipt, Settled) == []
    own = chain.block(DEADLINE)[0]
    assert (ANN.public_key, 1, 0, 0, 0) in settled(own)


def test_a_late_first_reading_settles_a_slot_nobody_had() -> None:
    chain = Chain()
    receipt = chain.ok(LATE, BOB_METER, reading(0, 200))
    assert settled(receipt) == by_key((BOB, 1, -200, 100_000, CORRECTED))
    assert chain.ledger.settlement(0, BOB.public_key) is not None


def test_a_late_reading_may_make_two_slots_known() -> None:
    chain = Chain()
    chain.ok(start_of(2), BOB_METER, reading(1, 700))
    chain.block(start_of(2) + 5_000)
    receipt = chain.ok(start_of(2) + 5_001, BOB_METER, reading(0, 300))
    assert settled(receipt) == [
        (BOB.public_key, 1, -300, 150_000, CORRECTED),
        (BOB.public_key, 2, -400, 200_000, CORRECTED),
    ]
    assert corrections(receipt) == [-150_000, -200_000]


def test_a_neighbours_reading_gives_nobody_else_a_settlement() -> None:
    chain = Chain()
    chain.ok(start_of(2), ANN_METER, reading(1, 100, 50))
    chain.block(start_of(2) + 5_000)
    receipt = chain.ok(start_of(2) + 5_001, BOB_METER, reading(0, 300))
    assert [e.slot for e in events(receipt, Settled)] == [0]
    assert chain.ledger.settlement(1, BOB.public_key) is None


@pytest.mark.parametrize("members", list(permutations((ANN, BOB, CAT))))
def test_members_settle_in_the_order_of_their_keys(members: tuple[SigningKey, ...]) -> None:
    chain = Chain()
    first, second, third = members
    chain.ok(start_of(0) - 20_000, first, offer(0, 10, 100))
    chain.ok(start_of(0) - 19_000, second, bid(0, 10, 100))
    chain.ok(start_of(0) - 18_000, third, offer(0, 10, 100), bid(0, 10, 100))
    accounts = [e.account for e in events(chain.block(DEADLINE)[0], Settled)]
    assert accounts == sorted(key.public_key for key in members)


def test_a_corrected_register_moves_energy_between_its_two_slots() -> None:
    chain = Chain()
    chain.ok(start_of(1), BOB_METER, reading(0, 300))
    chain.ok(start_of(2), BOB_METER, reading(1, 700))
    chain.block(start_of(2) + 5_000)
    receipt = chain.ok(start_of(2) + 5_001, BOB_METER, reading(0, 200))
    assert corrections(receipt) == [50_000, -50_000]
    assert [e.version for e in events(receipt, Settled)] == [2, 2]


def test_the_next_slot_is_corrected_only_once_it_is_settled() -> None:
    chain = Chain()
    chain.ok(start_of(2), BOB_METER, reading(1, 700))  # slot 1 is metered, slot 0 settled
    receipt = chain.ok(start_of(2), BOB_METER, reading(0, 300))
    assert [e.slot for e in events(receipt, Settled)] == [0]
    own = chain.block(start_of(2) + 5_000)[0]
    assert settled(own) == by_key((BOB, 1, -400, 200_000, 0))


def test_a_reading_that_leaves_energy_unknown_makes_no_new_version() -> None:
    chain = Chain()
    first = chain.ok(start_of(3), BOB_METER, reading(1, 700))  # slot 1 settled, 0 missing
    assert settled(first) == by_key((BOB, 1, 0, 0, ESTIMATED | CORRECTED))
    again = chain.ok(start_of(3), BOB_METER, reading(1, 600))
    assert events(again, Settled) == []


def test_one_wrong_meter_stops_nobody() -> None:
    chain = traded()
    chain.fails(start_of(1), ANN_METER, reading(0, 0, 0))
    chain.ok(start_of(1), BOB_METER, reading(0, 1_000))
    own = chain.block(DEADLINE)[0]
    assert (BOB.public_key, 1, -200, 100_000, 0) in settled(own)


def test_the_meters_of_an_account_add_up_and_all_must_report() -> None:
    roof, later = (SigningKey(sha256(name)) for name in (b"roof", b"later"))
    meters = (
        MeterEntry(key=BOB_METER.public_key, account="bob"),
        MeterEntry(key=roof.public_key, account="bob", export_wh=5_000),
        MeterEntry(key=later.public_key, account="bob", first_slot=9),
    )
    chain = Chain(genesis(meters=meters))
    chain.ok(start_of(1), BOB_METER, reading(0, 300))
    own = chain.block(DEADLINE)[0]
    assert settled(own) == by_key((BOB, 1, 0, 0, ESTIMATED))
    receipt = chain.ok(LATE, roof, reading(0, 0, 5_500))
    assert settled(receipt) == by_key((BOB, 2, 200, -60_000, CORRECTED))


def test_corrections_end_when_the_slot_closes() -> None:
    chain = traded()
    closes = due_ms(chain.genesis.market, 0, Phase.CLOSED)
    receipt = chain.ok(closes - 1, ANN_METER, reading(0, 100, 950))
    assert corrections(receipt) == [30_000]
    chain.block(closes)
    assert chain.ledger.settlement(0, ANN.public_key) is None


def test_a_late_block_settles_with_what_was_there_at_the_deadline() -> None:
    """A reading in the very block that triggers settlement is a late one."""
    chain = traded()
    own, receipt = chain.block(DEADLINE, chain.tx(ANN_METER, reading(0, 100, 950)))
    assert (ANN.public_key, 1, 0, 0, ESTIMATED) in settled(own)
    assert settled(receipt) == by_key((ANN, 2, 100, -30_000, CORRECTED))
