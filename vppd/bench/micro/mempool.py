"""The mempool: taking transactions in, handing them out, clearing up after a block."""

from __future__ import annotations

from vppd.bench.micro.plant import LIFETIME, MEMBERS, plant, transfers
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Transaction, decode_transaction
from vppd.node.mempool import Mempool
from vppd.types import PublicKey

DEPTH = 4
"""Transactions of each member that wait."""
TXS = MEMBERS * DEPTH
MAX_BYTES = 2**30


class _Waiting:
    """A mempool over accounts whose nonces are here to be moved on."""

    def __init__(self) -> None:
        self.due: dict[PublicKey, int] = {key.public_key: 0 for key in plant().members}
        ledger = Ledger.from_genesis(plant().genesis)
        self.pool = Mempool(self.due.get, ledger.judge_statement)

    def fill(self, txs: list[Transaction]) -> None:
        add = self.pool.add
        for tx in txs:
            add(tx, 0, own=False)


def _decoded() -> list[Transaction]:
    return [decode_transaction(raw) for nonce in range(DEPTH) for raw in transfers(nonce)]


def _add() -> Work:
    waiting, txs = _Waiting(), _decoded()
    return lambda: waiting.fill(txs)


def _take() -> Work:
    waiting = _Waiting()
    waiting.fill(_decoded())
    return lambda: waiting.pool.take(1, TXS, MAX_BYTES, LIFETIME)


def _settle() -> Work:
    """A block that decided the first transaction of every member, the others still waiting."""
    waiting, txs = _Waiting(), _decoded()
    waiting.fill(txs)
    decided = [tx.id for tx in txs[:MEMBERS]]
    for key in waiting.due:
        waiting.due[key] = 1
    return lambda: waiting.pool.settle(decided, 1, 0)


BENCHMARKS = (
    Benchmark("mempool.add", "transaction", TXS, steady(_add)),
    Benchmark("mempool.take", "transaction", TXS, steady(_take)),
    Benchmark("mempool.settle", "transaction", MEMBERS, steady(_settle)),
)
