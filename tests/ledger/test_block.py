"""Headers name their bodies; a body is within the limits and holds nothing twice."""

from __future__ import annotations

import pytest

from tests.ledger.chain import ANN, BOB, Chain
from vppd.codec import Malformed
from vppd.config.genesis import ConsensusRules
from vppd.header import Header
from vppd.ledger.block import check_body
from vppd.ledger.transaction import Transfer
from vppd.merkle import merkle_root

RULES = ConsensusRules(max_block_txs=3, max_block_bytes=10_000)


def block(count: int = 2) -> tuple[Header, tuple[bytes, ...]]:
    chain = Chain()
    txs = tuple(chain.tx(ANN, Transfer(BOB.public_key, 1)) for _ in range(count))
    return chain.header(5, txs), txs


def test_a_header_counts_and_hashes_its_transactions() -> None:
    header, txs = block()
    assert header.tx_root == merkle_root(txs)
    assert (header.tx_count, header.body_bytes) == (2, sum(map(len, txs)))
    assert (header.version, header.height, header.time_ms) == (1, 1, 5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_body_of_the_header_passes(count: int) -> None:
    check_body(*block(count), RULES)


def test_another_body_does_not() -> None:
    header, txs = block()
    with pytest.raises(Malformed, match="other transactions"):
        check_body(header, txs[::-1], RULES)
    with pytest.raises(Malformed, match="its header says"):
        check_body(header, txs[:1], RULES)
    with pytest.raises(Malformed, match="its header says"):
        check_body(header._replace(body_bytes=header.body_bytes + 1), txs, RULES)


def test_too_many_or_too_much_is_refused() -> None:
    with pytest.raises(Malformed, match="at most 3"):
        check_body(*block(4), RULES)
    header, txs = block(2)
    check_body(header, txs, ConsensusRules(max_block_bytes=header.body_bytes))
    with pytest.raises(Malformed, match="are allowed"):
        check_body(header, txs, ConsensusRules(max_block_bytes=header.body_bytes - 1))


def test_a_transaction_stands_in_a_block_once() -> None:
    chain = Chain()
    raw = chain.tx(ANN, Transfer(BOB.public_key, 1))
    other_sig = raw[:-1] + bytes([raw[-1] ^ 1])
    for twin in (raw, other_sig):
        txs = (raw, twin)
        with pytest.raises(Malformed, match="twice"):
            check_body(chain.header(5, txs), txs, RULES)


def test_what_is_no_transaction_is_refused() -> None:
    txs = (b"\xc0",)
    with pytest.raises(Malformed):
        check_body(Chain().header(5, txs), txs, RULES)
