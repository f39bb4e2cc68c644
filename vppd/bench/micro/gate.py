"""The gate: every check before the core sees anything, with the signatures and without."""

from __future__ import annotations

from vppd.bench.micro.codec import proposal
from vppd.bench.micro.plant import plant, transfers
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.consensus.messages import Block, Commit
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, TAG_VOTE, sign_bytes
from vppd.consensus.terms import Terms
from vppd.crypto import Verify, verify
from vppd.net.gate import Gate
from vppd.types import PublicKey, Signature

TXS = 1_000
VOTES = 500


def _believe(_key: PublicKey, _message: bytes, _signature: Signature) -> bool:
    """In the place of libsodium: what the gate costs around the signatures."""
    return True


def _gate(verifier: Verify) -> Gate:
    genesis = plant().genesis
    return Gate(genesis.digest, Terms(genesis), verifier, lambda _raw: None)


def signed_proposal() -> Block:
    """A block of a thousand transfers with its leader's two signatures."""
    home, block = plant(), proposal()
    at = (home.genesis.digest, 0, 0, 1, block.digest)
    leader = home.replicas[0]
    own = (leader.sign(sign_bytes(tag, *at)) for tag in (TAG_PROPOSAL, TAG_VOTE))
    return Block(0, 0, 1, block.digest, 0, block.header, block.txs, *own)


def _check_block(verifier: Verify) -> Work:
    gate, block = _gate(verifier), signed_proposal()
    return lambda: gate.check(block)


def _check_transactions(verifier: Verify) -> Work:
    gate, raws = _gate(verifier), transfers()

    def work() -> None:
        for raw in raws:
            gate.check_transaction(raw, 1)

    return work


def _check_votes() -> Work:
    home, digest = plant(), bytes(32)
    signed = sign_bytes(TAG_COMMIT, home.genesis.digest, 0, 0, 1, digest)
    vote = Commit(0, 0, 1, digest, 1, home.replicas[1].sign(signed))
    gate = _gate(verify)

    def work() -> None:
        for _ in range(VOTES):
            gate.check(vote)

    return work


BENCHMARKS = (
    Benchmark("gate.block", "transaction", TXS, steady(lambda: _check_block(verify)), "verify"),
    Benchmark("gate.block_unverified", "transaction", TXS, steady(lambda: _check_block(_believe))),
    Benchmark(
        "gate.transaction", "transaction", TXS,
        steady(lambda: _check_transactions(verify)), "verify",
    ),
    Benchmark(
        "gate.transaction_unverified", "transaction", TXS,
        steady(lambda: _check_transactions(_believe)),
    ),
    Benchmark("gate.vote", "vote", VOTES, steady(_check_votes), "verify"),
)  # fmt: skip
