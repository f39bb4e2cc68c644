"""Merkle roots and proofs over a block's transactions."""

from __future__ import annotations

from vppd.bench.micro.plant import transfers
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.merkle import merkle_path, merkle_root, verify_path

LEAVES = 1_000
ROOTS = 5
PROOFS = 200


def _root() -> Work:
    leaves = transfers()

    def work() -> None:
        for _ in range(ROOTS):
            merkle_root(leaves)

    return work


def _path() -> Work:
    leaves = transfers()

    def work() -> None:
        for index in range(ROOTS):
            merkle_path(leaves, index * 100)

    return work


def _verify() -> Work:
    leaves = transfers()
    root, path = merkle_root(leaves), merkle_path(leaves, 700)

    def work() -> None:
        for _ in range(PROOFS):
            if not verify_path(root, leaves[700], 700, LEAVES, path):
                raise AssertionError("a proof of our own does not hold")

    return work


BENCHMARKS = (
    Benchmark("merkle.root", "leaf", LEAVES * ROOTS, steady(_root)),
    Benchmark("merkle.proof", "proof", ROOTS, steady(_path)),
    Benchmark("merkle.proof_check", "proof", PROOFS, steady(_verify)),
)
