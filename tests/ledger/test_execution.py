"""Nonces, transfers, all or nothing, receipts: the rules every transaction is under."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
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
from tests.ledger.test_transaction import ops as any_op
from vppd.config.genesis import AccountEntry, Genesis, MeterEntry, Tariff
from vppd.crypto import sha256
from vppd.errors import ConfigError, LocalFault
from vppd.ledger.buckets import verify_proof
from vppd.ledger.codes import MEANING, ErrorCode, Status
from vppd.ledger.events import Posted, Purse, Reason
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import Receipt, receipts_root
from vppd.ledger.state import ACCOUNT, SLOT
from vppd.ledger.transaction import Op, Transfer, transaction_id
from vppd.merkle import EMPTY_ROOT, merkle_path, verify_path

NOW = start_of(5) - 20_000


def pay(amount: int, to: bytes = BOB.public_key) -> Transfer:
    return Transfer(to, amount)


def refused(code: ErrorCode, *detail: int) -> Receipt:
    return Receipt(Status.REFUSED, code, detail, ())


# -- genesis


def test_genesis_opens_with_its_balances_and_no_receipts() -> None:
    chain = Chain()
    ledger = chain.ledger
    assert (ledger.height, ledger.time_ms, ledger.next_due_ms) == (0, 0, None)
    assert ledger.receipts_root == EMPTY_ROOT
    assert ledger.chain_id == chain.genesis.digest
    assert ledger.total_micro() == 3 * OPENING
    assert ledger.account_keys() == sorted(key.public_key for key in (ANN, BOB, CAT))
    assert ledger.nonce(ANN.public_key) == ledger.nonce(ANN_METER.public_key) == 0
    assert ledger.nonce(STRANGER.public_key) is None


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (genesis(market(tariffs=())), "no tariffs cover 00:00"),
        (
            genesis(accounts=(AccountEntry(name="a", key=ANN.public_key, balance=2**62 + 1),)),
            "all balances",
        ),
        (genesis(market(max_quantity_wh=2**53)), "max_quantity_wh at max_price"),
        (genesis(meters=(MeterEntry(key=ANN.public_key, account="ann"),)), "a member's key"),
    ],
)
def test_a_genesis_nobody_can_execute_is_refused(plant: Genesis, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refusal:
        Ledger.from_genesis(plant)
    assert refusal.value.code == "E124"


# -- nonces


def test_nonces_are_strict() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, pay(1))
    receipts = chain.block(
        NOW + 1,
        chain.tx(ANN, pay(1), nonce=0),
        chain.tx(ANN, pay(1), nonce=2),
        chain.tx(ANN, pay(1), nonce=1),
        chain.tx(ANN, pay(1), nonce=1),
    )
    assert receipts[1:3] == [refused(ErrorCode.BAD_NONCE, 1)] * 2
    assert receipts[3].status == Status.OK
    assert receipts[4] == refused(ErrorCode.BAD_NONCE, 2)
    assert chain.ledger.nonce(ANN.public_key) == 2
    assert chain.balance(BOB) == OPENING + 2


def test_a_decided_transaction_cannot_be_replayed() -> None:
    chain = Chain()
    raw = chain.tx(ANN, pay(1))
    assert chain.block(NOW, raw)[1].status == Status.OK
    assert chain.block(NOW + 1, raw)[1] == refused(ErrorCode.BAD_NONCE, 1)
    assert chain.balance(BOB) == OPENING + 1


def test_a_failure_consumes_its_nonce_and_changes_nothing_else() -> None:
    chain = Chain()
    before = dict(chain.ledger.entries())
    assert chain.fails(NOW, ANN, pay(OPENING + 1)) == (ErrorCode.INSUFFICIENT_FUNDS, (1,))
    key = ACCOUNT.key(ANN.public_key)
    after = dict(chain.ledger.entries())
    assert {k for k in after if after[k] != before.get(k)} == {key}
    assert ACCOUNT.decode(after[key]).nonce == 1
    assert chain.last is not None
    assert [k for k, _ in chain.last.changes] == [key]


def test_a_meter_has_nonces_of_its_own() -> None:
    chain = Chain()
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 50))
    assert chain.ledger.nonce(ANN_METER.public_key) == 1
    assert chain.ledger.nonce(ANN.public_key) == 0


def test_a_stranger_is_refused() -> None:
    chain = Chain()
    root = chain.ledger.state_root
    assert chain.do(NOW, STRANGER, pay(1)) == refused(ErrorCode.UNKNOWN_ACCOUNT)
    assert chain.ledger.state_root == root


# -- all or nothing


def test_operations_succeed_together() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, pay(1), pay(2, CAT.public_key), bid(5, 1_000, 400_000))
    assert (chain.balance(BOB), chain.balance(CAT)) == (OPENING + 1, OPENING + 2)
    assert (chain.balance(ANN), chain.escrow(ANN)) == (OPENING - 400_003, 400_000)


def test_operations_fail_together_and_the_receipt_names_the_one() -> None:
    chain = Chain()
    chain.ok(NOW, BOB, offer(5, 1_000, 300_000))
    before = dict(chain.ledger.entries())
    receipt = chain.do(NOW + 1, ANN, pay(7), bid(5, 1_000, 400_000), pay(10 * OPENING))
    assert receipt.status == Status.FAILED
    assert receipt.code == ErrorCode.INSUFFICIENT_FUNDS
    assert receipt.detail == (2, 9 * OPENING + 400_007)
    assert receipt.events == ()
    after = dict(chain.ledger.entries())
    assert {k for k in after if after[k] != before.get(k)} == {ACCOUNT.key(ANN.public_key)}
    assert chain.ledger.book_view(5)[0]["remaining_wh"] == 1_000
    assert chain.ok(NOW + 2, ANN, bid(5, 1_000, 400_000)).events[-1].__class__.__name__ == "Traded"


def test_a_later_operation_sees_the_earlier_ones() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, pay(OPENING))
    assert chain.balance(ANN) == 0
    chain.block(NOW + 1, chain.tx(BOB, pay(5, ANN.public_key)), chain.tx(ANN, pay(5)))
    assert chain.balance(ANN) == 0


# -- transfers


def test_a_transfer_posts_the_same_integer_twice() -> None:
    receipt = Chain().ok(NOW, ANN, pay(42))
    assert receipt.events == (
        Posted(ANN.public_key, Purse.BALANCE, -42, Reason.TRANSFER),
        Posted(BOB.public_key, Purse.BALANCE, 42, Reason.TRANSFER),
    )


def test_a_transfer_to_oneself_moves_nothing() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, pay(OPENING, ANN.public_key))
    assert chain.balance(ANN) == OPENING


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (pay(0), ErrorCode.AMOUNT_OUT_OF_RANGE),
        (pay(1, STRANGER.public_key), ErrorCode.UNKNOWN_RECIPIENT),
        (pay(1, ANN_METER.public_key), ErrorCode.UNKNOWN_RECIPIENT),
        (pay(1, bytes(32)), ErrorCode.UNKNOWN_RECIPIENT),
        (reading(0, 1, 1), ErrorCode.NOT_A_METER),
    ],
)
def test_what_a_member_cannot_do(op: Op, code: ErrorCode) -> None:
    assert Chain().fails(NOW, ANN, op) == (code, ())


@pytest.mark.parametrize("op", [pay(1), offer(5, 1, 1)])
def test_what_a_meter_cannot_do(op: Op) -> None:
    assert Chain().fails(NOW, ANN_METER, op) == (ErrorCode.NOT_AN_ACCOUNT, ())


# -- decided blocks never fail to execute


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=60), max_size=3),
    st.lists(st.lists(any_op, min_size=1, max_size=3), max_size=4),
    st.integers(1, 2**40),
)
def test_any_bytes_and_any_numbers_get_a_receipt(
    junk: list[bytes], lists: list[list[Op]], time_ms: int
) -> None:
    chain = Chain()
    txs = [chain.tx(key, *ops) for key in (ANN, ANN_METER) for ops in lists]
    receipts = chain.block(time_ms, *junk, *txs)
    assert receipts[1 : 1 + len(junk)] == [refused(ErrorCode.UNDECODABLE)] * len(junk)
    assert chain.last is not None
    assert chain.last.tx_ids == (*map(sha256, junk), *map(transaction_id, txs))


def test_a_number_beyond_64_bits_is_clipped_in_the_receipt() -> None:
    chain = Chain()
    code, detail = chain.fails(NOW, ANN, offer(2**63 - 1, 1, 1))
    assert (code, detail) == (ErrorCode.SLOT_NOT_OPEN, (2**63 - 1,))


def test_only_the_next_block_is_executed() -> None:
    chain = Chain()
    header = chain.header(NOW, ())
    for height in (0, 2):
        with pytest.raises(LocalFault, match=f"block {height}"):
            chain.ledger.execute(header._replace(height=height), ())


# -- receipts and proofs


def test_receipts_lie_under_their_root_the_blocks_own_first() -> None:
    chain = Chain()
    chain.block(NOW, chain.tx(ANN, pay(1)), chain.tx(BOB, pay(0)))
    done = chain.last
    assert done is not None
    assert done.receipts_root == receipts_root(done.receipts) == chain.ledger.receipts_root
    path = merkle_path(done.receipts, 2)
    assert verify_path(done.receipts_root, done.receipts[2], 2, 3, path)
    assert (done.height, done.state_root) == (1, chain.ledger.state_root)


def test_an_empty_block_keeps_the_state_root() -> None:
    chain = Chain()
    root = chain.ledger.state_root
    assert chain.block(NOW) == [Receipt(Status.OK, ErrorCode.NONE, (), ())]
    assert chain.last is not None
    assert (chain.last.changes, chain.ledger.state_root) == ((), root)
    assert (chain.ledger.height, chain.ledger.time_ms) == (1, NOW)


def test_a_balance_is_proved_and_so_is_a_missing_slot() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, pay(1))
    ledger = chain.ledger
    key = ACCOUNT.key(BOB.public_key)
    value = verify_proof(ledger.state_root, key, ledger.prove(key))
    assert value is not None
    assert ACCOUNT.decode(value).balance == OPENING + 1
    assert verify_proof(ledger.state_root, SLOT.key(5), ledger.prove(SLOT.key(5))) is None


def test_every_error_code_has_a_sentence_and_a_number_of_its_own() -> None:
    assert set(MEANING) == set(ErrorCode)
    numbers = [code.value for code in ErrorCode]
    assert numbers == sorted(set(numbers))  # each part of the market has a range of its own
    assert len({sentence for sentence, _ in MEANING.values()}) == len(MEANING)


def test_tariffs_must_make_a_day() -> None:
    half = Tariff(start_minute=0, end_minute=720, retail_price=2, feed_in_price=1)
    with pytest.raises(ConfigError, match="12:00"):
        Ledger.from_genesis(genesis(market(tariffs=(half,))))
