"""Catching up: serving ranges of blocks, taking them, and verifying a whole stored chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vppd.bench.micro.plant import chain, null_plant, plant
from vppd.bench.micro.store import opened
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.codec import encode
from vppd.consensus.messages import Blocks, DecidedBlock, Type
from vppd.consensus.terms import Terms
from vppd.crypto import verify
from vppd.net.gate import Gate, decode_message
from vppd.store.verify import verify_chain

HEIGHTS, TXS = 10, 200
VOTES = 3
"""Signatures of a certificate: q of four replicas."""
PROPOSALS = 1
SIGNATURES = HEIGHTS * (TXS + VOTES + PROPOSALS)
NULL_HEIGHTS, NULL_TXS = 40, 500
NULL_SIGNATURES = NULL_HEIGHTS * (NULL_TXS + VOTES + PROPOSALS)
MAX_BYTES = 1_048_576


@contextmanager
def _serve() -> Iterator[Work]:
    with opened(chain(HEIGHTS, TXS)) as (runner, store, _):

        async def serve() -> None:
            found = await store.blocks_from(1, MAX_BYTES)
            if len(found) != HEIGHTS:
                raise AssertionError(f"{len(found)} blocks of {HEIGHTS} in one answer")
            encode(Blocks(found))

        yield lambda: runner.run(serve())


def _take() -> Work:
    genesis = plant().genesis
    gate = Gate(genesis.digest, Terms(genesis), verify, lambda _raw: None)
    blocks = tuple(
        DecidedBlock(d.body.header, d.body.txs, d.decision.certificate) for d in chain(HEIGHTS, TXS)
    )
    payload = encode(Blocks(blocks))
    return lambda: gate.check(decode_message(Type.BLOCKS, payload))


@contextmanager
def _verify_chain() -> Iterator[Work]:
    genesis = plant().genesis
    with opened(chain(HEIGHTS, TXS)) as (_, _, path):

        def work() -> None:
            report = verify_chain(path, genesis)
            if not report.ok or report.transactions != HEIGHTS * TXS:
                raise AssertionError(f"a sound chain does not verify: {report}")

        yield work


@contextmanager
def _verify_null_chain() -> Iterator[Work]:
    """Where nothing is executed, what is left beside the signatures is verification itself."""
    genesis = null_plant().genesis
    made = chain(NULL_HEIGHTS, NULL_TXS, null=True)
    with opened(made, null=True) as (_, _, path):

        def work() -> None:
            report = verify_chain(path, genesis)
            if not report.ok or report.transactions != NULL_HEIGHTS * NULL_TXS:
                raise AssertionError(f"a sound chain does not verify: {report}")

        yield work


BENCHMARKS = (
    Benchmark("sync.blocks_from", "block", HEIGHTS, _serve),
    Benchmark("sync.blocks_check", "block", HEIGHTS, steady(_take)),
    Benchmark("sync.verify_chain", "signature", SIGNATURES, _verify_chain, "verify"),
    Benchmark("sync.verify_null_chain", "signature", NULL_SIGNATURES, _verify_null_chain, "verify"),
)
