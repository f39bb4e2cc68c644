"""The chain store: promises on disk, executions riding along, and reading them back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vppd.bench.micro.plant import Decided, chain, null_plant, plant
from vppd.bench.micro.timing import Benchmark, Work
from vppd.consensus.boundary import PreparedRecord, VoteRecord
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.ledger.execution import Ledger
from vppd.store.chain import ChainStore, ExecutionRow

HEIGHTS, TXS = 20, 200
VOTES = 50
READS = 200


class Opened(NamedTuple):
    """A store, its file, and the loop it lives on."""

    runner: asyncio.Runner
    store: ChainStore
    path: Path


@contextmanager
def opened(heights: Sequence[Decided] = (), *, null: bool = False) -> Iterator[Opened]:
    """A store with full synchronisation that holds genesis and these heights.

    Args:
        heights: from the first on.
        null: of the plant with the null ledger.
    """
    genesis = (null_plant() if null else plant()).genesis
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        path = Path(folder) / "chain.db"
        runner.run(ChainStore.create(path, genesis.digest))
        store = runner.run(ChainStore.open(path, genesis.digest))
        try:
            entries = Ledger.from_genesis(genesis).entries()
            runner.run(store.seed_state(entries))
            runner.run(_decide(store, heights))
            yield Opened(runner, store, path)
        finally:
            runner.run(store.close())


async def _decide(store: ChainStore, heights: Sequence[Decided]) -> None:
    """As a replica does it: body and vote, lock, decision with the execution before."""
    for decided in heights:
        body, height = decided.body, decided.body.height
        await store.persist([body, VoteRecord(0, 0, height, body.digest)])
        signed = decided.decision.certificate
        await store.persist([PreparedRecord(_prepared(signed))])
        await store.persist([decided.decision])
        store.put_execution(ExecutionRow.of(decided.execution))
    await store.state_entries()  # writes the last execution


def _prepared(c: Certificate) -> Certificate:
    return Certificate(
        CertificateKind.PREPARED, c.epoch, c.view, c.height, c.digest, c.signers, c.signatures
    )


@contextmanager
def _heights() -> Iterator[Work]:
    made = chain(HEIGHTS, TXS)
    with opened() as (runner, store, _):
        yield lambda: runner.run(_decide(store, made))


@contextmanager
def _votes() -> Iterator[Work]:
    async def vote(store: ChainStore) -> None:
        for height in range(1, VOTES + 1):
            await store.persist([VoteRecord(0, 0, height, bytes(32))])

    with opened() as (runner, store, _):
        yield lambda: runner.run(vote(store))


@contextmanager
def _executions() -> Iterator[Work]:
    """The executions alone, written in one go."""
    made = chain(HEIGHTS, TXS)

    async def execute(store: ChainStore) -> None:
        for decided in made:
            store.put_execution(ExecutionRow.of(decided.execution))
        await store.state_entries()

    async def decide(store: ChainStore) -> None:
        for decided in made:
            await store.persist([decided.body, decided.decision])

    with opened() as (runner, store, _):
        runner.run(decide(store))
        yield lambda: runner.run(execute(store))


@contextmanager
def _read_blocks() -> Iterator[Work]:
    async def read(store: ChainStore) -> None:
        for i in range(READS):
            if await store.block(1 + i % HEIGHTS) is None:
                raise AssertionError("a stored block is not found")

    with opened(chain(HEIGHTS, TXS)) as (runner, store, _):
        yield lambda: runner.run(read(store))


@contextmanager
def _find_transactions() -> Iterator[Work]:
    ids = chain(HEIGHTS, TXS)[HEIGHTS // 2].execution.tx_ids[:READS]

    async def find(store: ChainStore) -> None:
        for tx_id in ids:
            if await store.tx_location(tx_id) is None:
                raise AssertionError("a stored transaction is not found")

    with opened(chain(HEIGHTS, TXS)) as (runner, store, _):
        yield lambda: runner.run(find(store))


BENCHMARKS = (
    Benchmark("store.height", "height", HEIGHTS, _heights, "disk"),
    Benchmark("store.vote", "vote", VOTES, _votes, "disk"),
    Benchmark("store.executions", "transaction", HEIGHTS * TXS, _executions),
    Benchmark("store.block_read", "block", READS, _read_blocks),
    Benchmark("store.transaction_find", "transaction", READS, _find_transactions),
)
