"""The state root: what changing, freezing and proving costs with ten thousand entries."""

from __future__ import annotations

from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.crypto import sha256
from vppd.ledger.buckets import Buckets

ENTRIES = 10_000
CHANGES = 1_000
PROOFS = 100
VALUE = bytes(40)


def _keys(count: int) -> list[bytes]:
    return [b"\x01" + sha256(b"account %d" % i) for i in range(count)]


def _filled() -> Buckets:
    buckets = Buckets()
    buckets.apply([(key, VALUE) for key in _keys(ENTRIES)])
    return buckets


def _apply(*, frozen: bool) -> Work:
    buckets = _filled()
    if frozen:  # a checkpoint: what is changed has to be copied first
        buckets.freeze()
    changes = [(key, bytes(39) + b"\x01") for key in _keys(CHANGES)]
    return lambda: buckets.apply(changes)


def _build() -> Work:
    pairs = [(key, VALUE) for key in _keys(ENTRIES)]
    return lambda: Buckets().apply(pairs)


def _prove() -> Work:
    buckets, keys = _filled(), _keys(PROOFS)

    def work() -> None:
        for key in keys:
            buckets.prove(key)

    return work


BENCHMARKS = (
    Benchmark("state_root.block", "change", CHANGES, steady(lambda: _apply(frozen=False))),
    Benchmark(
        "state_root.block_after_checkpoint", "change", CHANGES, steady(lambda: _apply(frozen=True))
    ),
    Benchmark("state_root.load", "entry", ENTRIES, steady(_build)),
    Benchmark("state_root.proof", "proof", PROOFS, steady(_prove)),
)
