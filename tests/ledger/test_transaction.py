"""Transactions: one shape, one id, one signature."""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.chain import ANN, BOB
from vppd.codec import Malformed, encode
from vppd.config.genesis import ConsensusRules
from vppd.consensus.messages import Claim, Concealment, Equivocation, Standing
from vppd.crypto import sha256, verify
from vppd.ledger.changes import (
    Add,
    Configure,
    Move,
    Readmit,
    Rekey,
    Remove,
    SetEngine,
    SetNumber,
)
from vppd.ledger.proofs import Accuse, Ready, Skip, Statement, ready_bytes
from vppd.ledger.transaction import (
    Body,
    Envelope,
    InvalidTransaction,
    Op,
    Opaque,
    PlaceOrder,
    Reading,
    Transfer,
    Vote,
    check_stateless,
    decode_transaction,
    decode_transactions,
    make_statement,
    make_transaction,
    open_envelope,
    precheck,
    precheck_all,
    sign_bytes,
    signature_holds,
    statement_in,
    transaction_id,
)

msgpack = import_module("msgpack")  # the independent oracle; it brings no types
CHAIN = sha256(b"a chain")
RULES = ConsensusRules(max_tx_bytes=1_000, max_tx_ops=3, max_tx_lifetime=10)
PAY = Transfer(BOB.public_key, 5)

u63 = st.integers(0, 2**63 - 1)
key32 = st.binary(min_size=32, max_size=32)
u32 = st.integers(0, 2**32 - 1)
sig64 = st.binary(min_size=64, max_size=64)
name = st.text(max_size=64)
readies = st.builds(Ready, key32, u63, u63, key32, key32, sig64)
claims = st.none() | st.builds(Claim, u63, key32)
stands = st.builds(Standing, u63, u63, u32, u63, key32, claims, claims, sig64)
proofs = st.one_of(
    st.builds(Equivocation, st.integers(0, 4), u63, u63, u63, u32, key32, sig64, key32, sig64),
    st.builds(Concealment, stands, st.builds(Claim, u63, key32), sig64),
)
changes = st.one_of(
    st.builds(Add, key32, name, st.booleans(), name, readies),
    st.builds(Remove, key32),
    st.builds(Rekey, key32, key32, readies, name),
    st.builds(Readmit, key32, readies),
    st.builds(Move, key32, st.booleans()),
    st.builds(SetNumber, name, st.none() | u63),
    st.builds(SetEngine, name),
)
statements: st.SearchStrategy[Statement] = st.one_of(
    readies,
    st.builds(Accuse, proofs),
    st.builds(Skip, u63, u63, u63, st.lists(stands, min_size=1, max_size=4).map(tuple)),
)
ops: st.SearchStrategy[Op] = st.one_of(
    st.builds(Transfer, key32, u63),
    st.builds(PlaceOrder, u63, st.integers(0, 1), u63, u63, u63, u32),
    st.builds(Reading, u63, u63, u63),
    statements,
    st.builds(Configure, u63, st.lists(changes, min_size=1, max_size=3).map(tuple)),
    st.builds(Vote, st.lists(key32, max_size=5).map(tuple)),
    st.builds(Opaque, st.binary(max_size=300)),
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
    assert verify(ANN.public_key, b"VPPD1T" + CHAIN + tx.id, tx.sig)
    assert signature_holds(tx, CHAIN, verify)
    assert not signature_holds(tx, sha256(b"another chain"), verify)


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


def lengths(of: bytes) -> list[bytes]:
    """Ways to write these bytes in MessagePack."""
    heads = [b"\xc5" + struct.pack(">H", len(of)), b"\xc6" + struct.pack(">I", len(of))]
    return [encode(of), *(head + of for head in heads)]


@settings(deadline=None)
@given(st.integers(0, 600), st.sampled_from([b"\x92", b"\xdc\x00\x02", b"\xdd\x00\x00\x00\x02"]))
def test_every_longer_way_to_write_an_envelope_is_refused(size: int, head: bytes) -> None:
    body, sig = bytes(size), bytes(64)
    shortest = encode(Envelope(body, sig))
    for written_body in lengths(body):
        for written_sig in lengths(sig):
            raw = head + written_body + written_sig
            assert msgpack.unpackb(raw) == [body, sig]
            if raw == shortest:
                assert open_envelope(raw) == Envelope(body, sig)
            else:
                with pytest.raises(Malformed, match="shortest"):
                    open_envelope(raw)


def test_text_is_no_bytes() -> None:
    """A head for text is as long as one for bytes: the same envelope must not have both."""
    with pytest.raises(Malformed):
        open_envelope(b"\x92" + encode(b"body") + b"\xd9\x40" + bytes(64))
    with pytest.raises(Malformed):
        open_envelope(b"\x92" + b"\xd9\x01a" + encode(bytes(64)))


def outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except (InvalidTransaction, Malformed):
        return None


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda nonce, expiry, ops: make_transaction(ANN, CHAIN, nonce, expiry, ops),
                u63, st.integers(95, 115), st.lists(ops, min_size=1, max_size=4),
            ),
            st.builds(make_statement, st.integers(95, 115), statements),
            st.binary(max_size=80),
            st.builds(lambda raw: b"\xdc\x00\x02" + raw[1:], st.just(made())),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_many_are_what_each_is_alone(raws: list[bytes]) -> None:
    """Blocks are opened whole, transactions of clients often one by one."""
    opened = [outcome(lambda raw=raw: decode_transaction(raw)) for raw in raws]  # type: ignore[misc]
    assert outcome(lambda: decode_transactions(raws)) == (None if None in opened else opened)
    passed = [outcome(lambda raw=raw: precheck(raw, 100, RULES)) for raw in raws]  # type: ignore[misc]
    assert outcome(lambda: precheck_all(raws, 100, RULES)) == (None if None in passed else passed)


def test_two_bodies_do_not_share_their_bytes() -> None:
    """What is over in one must not be taken for the beginning of the next."""
    first, second = (msgpack.unpackb(made(height=h))[0] for h in (100, 101))
    raws = [
        encode(Envelope(first + second[:5], bytes(64))),
        encode(Envelope(second[5:], bytes(64))),
    ]
    with pytest.raises(Malformed):
        decode_transactions(raws)


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


# -- statements


def said(**changes: Any) -> Ready:
    """Ann is ready."""
    ready = replace(Ready(ANN.public_key, 3, 70, CHAIN, sha256(b"nonce"), bytes(64)), **changes)
    at = (ready.epoch, ready.height, ready.state_root, ready.nonce)
    return replace(ready, sig=ANN.sign(ready_bytes(CHAIN, *at)))


def test_a_ready_signs_its_place_and_its_nonce() -> None:
    numbers = (3).to_bytes(8) + (70).to_bytes(8)
    assert ready_bytes(CHAIN, 3, 70, CHAIN, sha256(b"nonce")) == (
        b"VPPD1Y" + CHAIN + numbers + CHAIN + sha256(b"nonce")
    )


@settings(deadline=None)
@given(u63, statements)
def test_a_statement_has_no_sender_and_no_signature(expiry: int, op: Statement) -> None:
    tx = decode_transaction(make_statement(expiry, op))
    assert (tx.sender, tx.nonce, tx.sig, tx.ops) == (bytes(32), 0, bytes(64), (op,))
    assert statement_in(tx) == op


def test_a_ready_is_valid_if_its_own_signature_holds() -> None:
    rules = ConsensusRules()
    raw = make_statement(100, said())
    assert check_stateless(raw, CHAIN, 100, rules, verify).raw == raw
    for forged in (
        replace(said(), height=71),
        replace(said(), epoch=4),
        replace(said(), nonce=CHAIN),
        replace(said(), key=BOB.public_key),
        replace(said(), sig=bytes(64)),
    ):
        with pytest.raises(InvalidTransaction, match="signature does not hold"):
            check_stateless(make_statement(100, forged), CHAIN, 100, rules, verify)


def test_what_other_statements_prove_only_the_state_can_tell() -> None:
    equivocation = Equivocation(1, 0, 0, 1, 0, CHAIN, bytes(64), sha256(b"x"), bytes(64))
    raw = make_statement(100, Accuse(equivocation))
    assert check_stateless(raw, CHAIN, 100, ConsensusRules(), verify).raw == raw


def test_half_a_statement_may_not_stand_in_a_block() -> None:
    signed = make_transaction(ANN, CHAIN, 0, 100, [said()])
    mixed = make_transaction(ANN, CHAIN, 0, 100, [PAY, said()])
    for sender, nonce, sig, half in (
        (bytes(32), 1, bytes(64), (said(),)),
        (bytes(32), 0, b"\1" * 64, (said(),)),
        (bytes(32), 0, bytes(64), (said(), said())),
        (bytes(32), 0, bytes(64), (PAY,)),
        (ANN.public_key, 0, bytes(64), (said(),)),
    ):
        raw = encode(Envelope(encode(Body(1, sender, nonce, 100, half)), sig))
        assert statement_in(decode_transaction(raw)) is None
        with pytest.raises(InvalidTransaction, match="stands alone"):
            precheck(raw, 100, ConsensusRules())
    for raw in (signed, mixed):
        with pytest.raises(InvalidTransaction, match="stands alone"):
            precheck(raw, 100, ConsensusRules())
