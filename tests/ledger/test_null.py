"""The null ledger: opaque bytes are kept, each once; nothing of a market happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.chain import ANN, ANN_METER, BOB, CAT, STRANGER, Chain, genesis, offer
from vppd.cli.testnet import scaled_market, table_1_tariffs
from vppd.codec import encode
from vppd.config.genesis import ConsensusRules, LedgerRules, ValidatorEntry
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.crypto import SigningKey, sha256, verify
from vppd.errors import ConfigError
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.keeping import Run
from vppd.ledger.receipts import Receipt
from vppd.ledger.state import ACCOUNT
from vppd.ledger.transaction import (
    NO_SIGNATURE,
    VERSION,
    Body,
    Envelope,
    InvalidTransaction,
    Op,
    Opaque,
    Reading,
    Transfer,
    check_stateless,
    decode_transaction,
)
from vppd.merkle import leaf_hash, merkle_root, node_hash
from vppd.types import Role

NULL = LedgerRules(kind="null")
PAY = Transfer(BOB.public_key, 5)


def null_chain() -> Chain:
    return Chain(genesis(ledger=NULL))


def said(chain: Chain, *txs: bytes) -> list[Receipt]:
    return chain.block(chain.ledger.time_ms + 1, *txs)[1:]


def test_opaque_bytes_use_a_nonce_and_do_nothing_else() -> None:
    chain = null_chain()
    before = dict(chain.ledger.entries())
    receipts = said(chain, *(chain.tx(ANN, Opaque(b"x" * n), Opaque(b"")) for n in (0, 1, 300)))
    assert receipts == [Receipt(Status.OK, ErrorCode.NONE, (), ())] * 3
    assert chain.ledger.nonce(ANN.public_key) == 3
    after = dict(chain.ledger.entries())
    assert [key for key in before if before[key] != after[key]] == [ACCOUNT.key(ANN.public_key)]
    assert before.keys() == after.keys()


@pytest.mark.parametrize("op", [PAY, offer(100, 5, 5)])
def test_a_null_ledger_takes_nothing_of_a_market(op: Op) -> None:
    chain = null_chain()
    (receipt,) = said(chain, chain.tx(ANN, Opaque(b"x"), op))
    assert receipt == Receipt(Status.FAILED, ErrorCode.WRONG_LEDGER, (1,), ())
    assert chain.ledger.nonce(ANN.public_key) == 1


def test_nor_a_meter() -> None:
    chain = null_chain()
    (receipt,) = said(chain, chain.tx(ANN_METER, Reading(0, 200, 60)))
    assert receipt.code == ErrorCode.WRONG_LEDGER
    (receipt,) = said(chain, chain.tx(ANN_METER, Opaque(b"x")))
    assert receipt.code == ErrorCode.NOT_AN_ACCOUNT


def test_a_market_takes_no_opaque_bytes() -> None:
    chain = Chain()
    (receipt,) = said(chain, chain.tx(ANN, PAY, Opaque(b"x")))
    assert receipt == Receipt(Status.FAILED, ErrorCode.WRONG_LEDGER, (1,), ())
    assert chain.ledger.account(BOB.public_key) == Chain().ledger.account(BOB.public_key)


SENDERS = (ANN, BOB, CAT, ANN_METER, STRANGER)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(SENDERS),
        st.integers(-1, 1),
        st.sampled_from(
            [(Opaque(b"a"),), (Opaque(b"b"), Opaque(b"c")), (PAY,), (Opaque(b""), PAY)]
        ),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=3))
def test_a_run_leaves_what_one_after_the_other_leaves(
    blocks: list[list[tuple[SigningKey, int, tuple[Op, ...], bool]]],
) -> None:
    """The short way of opaque transactions against the general rules, block by block."""
    short, general = null_chain(), null_chain()
    for steps in blocks:
        txs: list[bytes] = []
        due = {key: short.ledger.nonce(key.public_key) or 0 for key in SENDERS}
        for key, off, ops, garbage in steps:
            txs.append(short.tx(key, *ops, nonce=max(0, due[key] + off)))
            due[key] += off == 0
            if garbage:
                txs.append(b"no transaction %d" % len(txs))
        one = short.block(short.ledger.time_ms + 1, *txs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "keep", lambda *args: args[2])
            assert general.block(general.ledger.time_ms + 1, *txs) == one
    assert short.ledger.entries() == general.ledger.entries()


def unsigned(nonce: int = 0, sig: bytes = NO_SIGNATURE) -> bytes:
    body = encode(Body(VERSION, ANN.public_key, nonce, 50, (Opaque(b"x"),)))
    return encode(Envelope(body, sig))


def test_where_nobody_signs_a_transaction_has_one_form() -> None:
    rules = ConsensusRules()
    raw = unsigned()
    with pytest.raises(InvalidTransaction, match="signature does not hold"):
        check_stateless(raw, sha256(b"chain"), 1, rules, verify)
    tx = check_stateless(raw, sha256(b"chain"), 1, rules, verify, signed=False)
    assert tx == decode_transaction(raw)
    signed = unsigned(sig=ANN.sign(b"anything"))
    with pytest.raises(InvalidTransaction, match="signature does not hold"):
        check_stateless(signed, sha256(b"chain"), 1, rules, verify, signed=False)


def written(**changes: Any) -> bytes:
    entry = ValidatorEntry(name="op-0", role=Role.OPERATOR, key=ANN.public_key)
    text = render_genesis(
        name="null", consensus=ConsensusRules(), validators=[entry],
        market=replace(scaled_market(), tariffs=table_1_tariffs()), **changes,
    )  # fmt: skip
    return text.encode()


@pytest.mark.parametrize("rules", [NULL, LedgerRules(kind="null", signed=False), LedgerRules()])
def test_genesis_says_which_ledger(rules: LedgerRules) -> None:
    assert parse_genesis(written(ledger=rules)).ledger == rules


def test_the_market_s_ledger_is_not_mentioned_so_that_older_builds_read_it() -> None:
    assert b"[ledger]" not in written()


def test_no_money_moves_without_a_signature() -> None:
    text = written(ledger=LedgerRules(kind="null", signed=False)).replace(
        b'"null"\n', b'"market"\n'
    )
    with pytest.raises(ConfigError, match="without a signature") as caught:
        parse_genesis(text, Path("g.toml"))
    assert caught.value.facts["key"] == "ledger.signed"


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"", b"a", b"b"]), max_size=200), st.integers(0, 200))
def test_alike_leaves_have_the_root_that_any_leaves_have(leaves: list[bytes], more: int) -> None:
    leaves += [b"a"] * more
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [node_hash(a, b) for a, b in pairs] + level[len(level) // 2 * 2 :]
    assert merkle_root(leaves) == (level[0] if level else sha256(b""))
