"""Executing decided blocks: transfers, orders, readings, and what block time triggers."""

from __future__ import annotations

from collections.abc import Sequence

from vppd.bench.micro.plant import (
    MEMBERS,
    ORIGIN_MS,
    SLOT,
    SLOT_MS,
    header_over,
    orders,
    plant,
    readings,
    transfers,
)
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.ledger.codes import Status
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.slots import Phase, due_ms
from vppd.types import TimeMs

OPS = 16
BEFORE_SLOT: TimeMs = ORIGIN_MS + SLOT * SLOT_MS - 3_600_000
"""An hour before the slot that is traded."""


def _block(time_ms: TimeMs, txs: Sequence[bytes]) -> Work:
    """A block on a fresh ledger; every transaction must succeed, or it measures refusals."""
    ledger = Ledger.from_genesis(plant().genesis)
    header = header_over(ledger, plant().genesis.digest, time_ms, txs)
    tried = Ledger.from_genesis(plant().genesis).execute(header, txs)
    for raw in tried.receipts:
        receipt = decode_receipt(raw)
        if receipt.status != Status.OK:
            raise AssertionError(f"a transaction of the benchmark fails: {receipt}")
    return lambda: ledger.execute(header, txs)


def _trigger(time_ms: TimeMs, txs: Sequence[bytes], phase: Phase, slot: int) -> Work:
    """An empty block at the time of a phase, after one with these transactions."""
    genesis = plant().genesis
    ledger = Ledger.from_genesis(genesis)
    first = header_over(ledger, genesis.digest, time_ms, txs)
    ledger.execute(first, txs)
    due = due_ms(genesis.market, slot, phase)
    header = header_over(ledger, first.digest(), due, ())
    return lambda: ledger.execute(header, ())


def _gate_closure() -> Work:
    return _trigger(BEFORE_SLOT, orders(), Phase.GATE_CLOSED, SLOT)


def _settlement() -> Work:
    return _trigger(ORIGIN_MS + SLOT_MS, readings(), Phase.SETTLED, 0)


BENCHMARKS = (
    Benchmark(
        "execution.transfers", "transaction", MEMBERS,
        steady(lambda: _block(ORIGIN_MS, transfers())),
    ),
    Benchmark(
        "execution.transfers_16", "operation", MEMBERS * OPS,
        steady(lambda: _block(ORIGIN_MS, transfers(ops=OPS))),
    ),
    Benchmark(
        "execution.orders", "transaction", MEMBERS, steady(lambda: _block(BEFORE_SLOT, orders()))
    ),
    Benchmark(
        "execution.readings", "transaction", MEMBERS,
        steady(lambda: _block(ORIGIN_MS + SLOT_MS, readings())),
    ),
    Benchmark("execution.gate_closure", "order", MEMBERS, steady(_gate_closure)),
    Benchmark("execution.settlement", "member", MEMBERS, steady(_settlement)),
)  # fmt: skip
