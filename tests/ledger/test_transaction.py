"""Transactions: one shape, one id, one signature."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import ANN, BOB
from vppd.codec import Malformed, encode
from vppd.config.genesis import ConsensusRules
from vppd.crypto import sha256, verify
from vppd.ledger.transaction import (
    InvalidTransaction,
    Op,
    PlaceOrder,
    Reading,
    Transfer,
    check_stateless,
    decode_transaction,
    make_transaction,
    precheck,
    sign_bytes,
    signature_of,
    transaction_id,
)

msgpack = import_module("msgpack")  # the independent oracle; it brings no types
CHAIN = sha256(b"a chain")
RULES = ConsensusRules(max_tx_bytes=1_000, max_tx_ops=3, max_tx_lifetime=10)
PAY = Transfer(BOB.public_key, 5)

u63 = st.integers(0, 2**63 - 1)
key32 = st.binary(min_size=32, max_size=32)
ops: st.SearchStrategy[Op] = st.one_of(
    st.builds(Transfer, key32, u63),
    st.builds(PlaceOrder, u63, st.integers(0, 1), u63, u63, u63, st.integers(0, 2**32 - 1)),
    st.builds(Reading, u63, u63, u63),
)


def made(height: int = 100, count: int = 1) -> bytes:
    return make_transaction(ANN, CHAIN, 7, height, [PAY] * count)


@settings(deadline=None)
@given(u63, u63, st.lists(ops, min_size=1, max_size=5))
def test_what_is_made_is_what_is_decoded(nonce: int, expiry: int, given_ops: list[Op]) -> None:
    raw = make_transaction(ANN, CHAIN, nonce, expiry, given_ops)
    tx = decode_transaction(raw)
    assert (tx.raw, tx.sender, tx.nonce, tx.expiry_height) == (raw, ANN.public_key, nonce, expiry)
    assert tx.ops == tuple(given_ops)


def test_it_travels_as_documented() -> None:
    """``[body: bin, sig: bin64]``, body ``[1, sender, nonce, expiry, ops]``, tagged operations."""
    raw = make_transaction(
        ANN, CHAIN, 7, 100, [PAY, PlaceOrder(1, 0, 2, 3, 4, 5), Reading(6, 7, 8)]
    )
    body, sig = msgpack.unpackb(raw)
    assert msgpack.unpackb(body) == [
        1,
        ANN.public_key,
        7,
        100,
        [[1, BOB.public_key, 5], [2, 1, 0, 2, 3, 4, 5], [3, 6, 7, 8]],
    ]
    assert len(sig) == 64
    assert decode_transaction(raw).id == transaction_id(raw) == sha256(body)


def test_the_signature_covers_domain_chain_and_id() -> None:
    tx = decode_transaction(made())
    assert sign_bytes(CHAIN, tx.id) == b"VPPD1T" + CHAIN + tx.id
    assert signature_of(tx, CHAIN) == (ANN.public_key, b"VPPD1T" + CHAIN + tx.id, tx.sig)
    assert verify(*signature_of(tx, CHAIN))
    assert not verify(*signature_of(tx, sha256(b"another chain")))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_transaction(data)


@pytest.mark.parametrize(
    "body",
    [
        [2, ANN.public_key, 0, 5, [[1, BOB.public_key, 5]]],
        [1, ANN.public_key[:31], 0, 5, [[1, BOB.public_key, 5]]],
        [1, ANN.public_key, -1, 5, [[1, BOB.public_key, 5]]],
        [1, ANN.public_key, 0, 5, []],
        [1, ANN.public_key, 0, 5, [[99, 1]]],
        [1, ANN.public_key, 0, 5, [[1, BOB.public_key, -5]]],
        [1, ANN.public_key, 0, 5, [[1, BOB.public_key, 2**63]]],
        [1, ANN.public_key, 0, 5, [[2, 1, 2, 2, 3, 4, 5]]],
        [1, ANN.public_key, 0, 5, [[1, BOB.public_key, 5]], 6],
    ],
    ids=[
        "version", "short key", "negative nonce", "no operation", "unknown operation",
        "negative amount", "amount of 64 bits", "third side", "extra field",
    ],
)  # fmt: skip
def test_a_body_of_another_shape_is_malformed(body: list[object]) -> None:
    with pytest.raises(Malformed):
        decode_transaction(msgpack.packb([msgpack.packb(body), bytes(64)]))


def test_one_transaction_has_one_face() -> None:
    """A longer encoding of the same envelope would be the same id under other bytes."""
    raw = made()
    body, sig = msgpack.unpackb(raw)
    wide = b"\xdc\x00\x02" + encode(body) + encode(sig)
    assert msgpack.unpackb(wide) == [body, sig]
    with pytest.raises(Malformed, match="shortest"):
        decode_transaction(wide)


def test_size_is_limited() -> None:
    raw = made(count=3)
    precheck(raw, 100, ConsensusRules(max_tx_bytes=len(raw)))
    with pytest.raises(InvalidTransaction, match="bytes"):
        precheck(raw, 100, ConsensusRules(max_tx_bytes=len(raw) - 1))


def test_operations_are_limited() -> None:
    precheck(made(count=3), 100, RULES)
    with pytest.raises(InvalidTransaction, match="4 operations"):
        precheck(made(count=4), 100, RULES)


@pytest.mark.parametrize("height", [90, 95, 100])
def test_it_is_valid_from_its_lifetime_before_expiry_up_to_expiry(height: int) -> None:
    precheck(made(), height, RULES)


@pytest.mark.parametrize(("height", "why"), [(89, "more than 10 beyond"), (101, "expired")])
def test_it_is_invalid_outside(height: int, why: str) -> None:
    with pytest.raises(InvalidTransaction, match=why):
        precheck(made(), height, RULES)


def test_bytes_that_are_no_transaction_are_invalid() -> None:
    with pytest.raises(InvalidTransaction, match="not a Envelope"):
        precheck(b"\x00", 1, RULES)


def test_a_valid_transaction_passes_and_a_forged_one_does_not() -> None:
    raw = made()
    assert check_stateless(raw, CHAIN, 100, RULES, verify) == decode_transaction(raw)
    forged = raw[:-1] + bytes([raw[-1] ^ 1])
    with pytest.raises(InvalidTransaction, match="signature does not hold"):
        check_stateless(forged, CHAIN, 100, RULES, verify)
