"""A light client believes nothing: every part of a proof that is tampered with is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.real_chain import GENESIS, KEYS, Maker, certify
from vppd.client.epochs import BadProof
from vppd.client.proofs import check_proof
from vppd.consensus.messages import CertificateKind, Reply
from vppd.consensus.signing import reply_bytes
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.ledger.transaction import transaction_id
from vppd.merkle import merkle_path
from vppd.net.requests import TxProof, TxStage, TxState
from vppd.types import Digest

HEIGHT, INDEX = 2, 1


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(4)
    return made


@pytest.fixture
def state(maker: Maker) -> TxState:
    """What an honest node answers once the next block is decided."""
    block, following = maker.blocks[HEIGHT - 1 : HEIGHT + 1]
    receipts = block.execution.receipts
    proof = TxProof(
        block.header.encode(),
        merkle_path(block.txs, INDEX),
        merkle_path(receipts, INDEX + 1),
        following.header.encode(),
        following.certificate,
        (),
    )
    return TxState(TxStage.COMMITTED, block.txs[INDEX], HEIGHT, INDEX, receipts[INDEX + 1], proof)


@pytest.fixture
def by_replies(maker: Maker, state: TxState) -> TxState:
    """And before: on the word of f+1 replicas."""
    return with_proof(
        state, next_header=b"", next_certificate=None, replies=(reply(maker, 1), reply(maker, 3))
    )


def reply(maker: Maker, signer: int, **changes: Any) -> Reply:
    block = maker.blocks[HEIGHT - 1]
    fields: dict[str, Any] = {
        "epoch": 0,
        "height": HEIGHT,
        "digest": block.header.digest(),
        "state_root": block.execution.state_root,
        "receipts_root": block.execution.receipts_root,
    } | changes
    sig = KEYS[signer].sign(reply_bytes(GENESIS.digest, **fields))
    return Reply(**fields, signer=signer, sig=sig)


def with_proof(state: TxState, **changes: Any) -> TxState:
    assert state.proof is not None
    return replace(state, proof=replace(state.proof, **changes))


def tx_id(state: TxState) -> Digest:
    return transaction_id(state.raw)


def refused(wanted: Digest, state: TxState, words: str) -> None:
    with pytest.raises(BadProof, match=words) as caught:
        check_proof(wanted, state, GENESIS)
    assert caught.value.code == "E354"


# ---------------------------------------------------------------- what holds


def test_the_certificate_of_the_next_block_proves_it(maker: Maker, state: TxState) -> None:
    block = maker.blocks[HEIGHT - 1]
    assert check_proof(tx_id(state), state, GENESIS) == {
        "proved_by": f"certificate of height {HEIGHT + 1}",
        "block": block.header.digest().hex(),
        "receipts_root": block.execution.receipts_root.hex(),
    }


def test_equal_replies_prove_it_before(maker: Maker, by_replies: TxState) -> None:
    shown = check_proof(tx_id(by_replies), by_replies, GENESIS)
    assert shown["proved_by"] == "f+1 replies"
    assert shown["receipts_root"] == maker.blocks[HEIGHT - 1].execution.receipts_root.hex()


def test_every_transaction_of_a_block_is_proved(maker: Maker, state: TxState) -> None:
    block = maker.blocks[HEIGHT - 1]
    receipts = block.execution.receipts
    assert len(block.txs) == 4
    for index, raw in enumerate(block.txs):
        other = with_proof(
            replace(state, raw=raw, index=index, receipt=receipts[index + 1]),
            tx_path=merkle_path(block.txs, index),
            receipt_path=merkle_path(receipts, index + 1),
        )
        assert "proved_by" in check_proof(tx_id(other), other, GENESIS)


def test_nothing_yet_is_no_proof_and_no_lie(state: TxState) -> None:
    for stage in (TxStage.UNKNOWN, TxStage.ACCEPTED):
        assert "pending" in check_proof(tx_id(state), TxState(stage), GENESIS)
    alone = with_proof(state, next_header=b"", next_certificate=None)
    assert "pending" in check_proof(tx_id(state), alone, GENESIS)
    assert "pending" in check_proof(tx_id(state), replace(state, proof=None), GENESIS)


# ---------------------------------------------------------------- what does not


def test_another_transaction_is_not_the_one_asked_for(state: TxState) -> None:
    refused(sha256(b"another"), state, "another transaction")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, raw=b"\xc1"), "not a"),
        (lambda s: replace(s, height=HEIGHT + 1), "header of height"),
        (lambda s: replace(s, height=HEIGHT - 1), "header of height"),
        (lambda s: replace(s, index=0), "not in that block"),
        (lambda s: replace(s, index=99), "not in that block"),
        (lambda s: replace(s, receipt=s.receipt + b"x"), "receipt is not"),
        (lambda s: replace(s, receipt=b""), "receipt is not"),
        (lambda s: with_proof(s, header=b"short"), "a header has"),
        (lambda s: with_proof(s, header=s.proof.next_header), "header of height"),
        (lambda s: with_proof(s, tx_path=s.proof.tx_path[1:]), "not in that block"),
        (lambda s: with_proof(s, tx_path=s.proof.tx_path[::-1]), "not in that block"),
        (lambda s: with_proof(s, tx_path=()), "not in that block"),
        (lambda s: with_proof(s, receipt_path=s.proof.receipt_path[1:]), "receipt is not"),
        (lambda s: with_proof(s, receipt_path=()), "receipt is not"),
        (lambda s: with_proof(s, next_header=b""), "a header has"),
        (lambda s: with_proof(s, next_header=s.proof.header), "header of height"),
    ],
    ids=range(16),
)
def test_each_tampered_part_is_refused(
    state: TxState, change: Callable[[TxState], TxState], words: str
) -> None:
    refused(tx_id(state), change(state), words)


def test_a_receipt_of_another_transaction_is_refused(maker: Maker, state: TxState) -> None:
    receipts = maker.blocks[HEIGHT - 1].execution.receipts
    other = with_proof(replace(state, receipt=receipts[1]), receipt_path=merkle_path(receipts, 1))
    refused(tx_id(state), other, "receipt is not the transaction's")


def test_an_invented_block_is_refused(maker: Maker, state: TxState) -> None:
    """Its transaction root is right, but nobody decided it."""
    header = maker.blocks[HEIGHT - 1].header._replace(time_ms=1)
    refused(tx_id(state), with_proof(state, header=header.encode()), "does not follow")


def test_an_invented_next_block_is_refused(maker: Maker, state: TxState) -> None:
    header = maker.blocks[HEIGHT].header._replace(receipts_root=bytes(32))
    changed = with_proof(state, next_header=header.encode())
    refused(tx_id(state), changed, "of another block")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, kind=CertificateKind.PREPARED), "decides nothing"),
        (lambda c: replace(c, height=HEIGHT), "of another block"),
        (lambda c: replace(c, digest=bytes(32)), "of another block"),
        (lambda c: replace(c, view=1), "does not hold"),
        (lambda c: replace(c, epoch=1), "epoch"),
        (lambda c: replace(c, signers=b"\x03", signatures=c.signatures[:2]), "exactly 3"),
        (lambda c: replace(c, signatures=(*c.signatures[:2], bytes(64))), "does not hold"),
        (lambda c: replace(c, signers=b"\x0e"), "does not hold"),
    ],
    ids=range(8),
)
def test_each_tampered_part_of_the_certificate_is_refused(
    state: TxState, change: Callable[[Any], Any], words: str
) -> None:
    assert state.proof is not None
    changed = with_proof(state, next_certificate=change(state.proof.next_certificate))
    refused(tx_id(state), changed, words)


def test_a_certificate_of_prepares_decides_nothing(state: TxState) -> None:
    assert state.proof is not None
    digest = decode_header(state.proof.next_header).digest()
    prepared = certify(CertificateKind.PREPARED, HEIGHT + 1, digest)
    refused(tx_id(state), with_proof(state, next_certificate=prepared), "decides nothing")


def test_replies_are_counted_by_signer(maker: Maker, by_replies: TxState) -> None:
    one, two = reply(maker, 1), reply(maker, 3)
    wanted = tx_id(by_replies)
    for replies, words in (
        ((one,), "1 replies, 2 are needed"),
        ((one, one), "1 replies, 2 are needed"),
        ((one, two, two), "2 replies, 2 are needed"),
        ((one, replace(two, signer=2)), "replica 2 did not sign"),
        ((one, replace(two, signer=9)), "no replica 9"),
        ((one, replace(two, sig=bytes(64))), "replica 3 did not sign"),
        ((one, reply(maker, 3, receipts_root=bytes(32))), "do not agree"),
        ((one, reply(maker, 3, state_root=bytes(32))), "do not agree"),
    ):
        refused(wanted, with_proof(by_replies, replies=replies), words)


def test_replies_about_other_blocks_prove_nothing(maker: Maker, by_replies: TxState) -> None:
    wanted = tx_id(by_replies)
    other = tuple(reply(maker, i, digest=sha256(b"other")) for i in (1, 3))
    refused(wanted, with_proof(by_replies, replies=other), "about another block")
    lied = tuple(reply(maker, i, receipts_root=bytes(32)) for i in (1, 3))
    refused(wanted, with_proof(by_replies, replies=lied), "receipt is not the transaction's")


def test_a_proof_of_another_plant_is_refused(state: TxState) -> None:
    other = replace(GENESIS, digest=sha256(b"another plant"))
    with pytest.raises(BadProof, match="not this chain's"):
        check_proof(tx_id(state), state, other)
