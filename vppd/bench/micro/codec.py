"""Encoding and decoding what travels."""

from __future__ import annotations

from vppd.bench.micro.plant import chain, transfers
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.codec import encode
from vppd.consensus.messages import Block, Commit, Type
from vppd.ledger.transaction import decode_transaction
from vppd.net.gate import decode_message

TXS = 1_000
VOTES = 2_000


def proposal() -> Block:
    """A block of a thousand transfers as its leader sends it."""
    (decided,) = chain(1, TXS)
    body = decided.body
    return Block(
        0, 0, 1, body.digest, 0, body.header, body.txs, body.proposal_sig, body.proposal_sig
    )


def _encode_block() -> Work:
    block = proposal()
    return lambda: encode(block)


def _decode_block() -> Work:
    payload = encode(proposal())
    return lambda: decode_message(Type.BLOCK, payload)


def _vote() -> Commit:
    return Commit(0, 0, 1, bytes(32), 1, bytes(64))


def _encode_votes() -> Work:
    vote = _vote()

    def work() -> None:
        for _ in range(VOTES):
            encode(vote)

    return work


def _decode_votes() -> Work:
    payload = encode(_vote())

    def work() -> None:
        for _ in range(VOTES):
            decode_message(Type.COMMIT, payload)

    return work


def _decode_transactions() -> Work:
    raws = transfers()

    def work() -> None:
        for raw in raws:
            decode_transaction(raw)

    return work


BENCHMARKS = (
    Benchmark("codec.block_encode", "transaction", TXS, steady(_encode_block)),
    Benchmark("codec.block_decode", "transaction", TXS, steady(_decode_block)),
    Benchmark("codec.vote_encode", "vote", VOTES, steady(_encode_votes)),
    Benchmark("codec.vote_decode", "vote", VOTES, steady(_decode_votes)),
    Benchmark("codec.transaction_decode", "transaction", TXS, steady(_decode_transactions)),
)
