"""Merkle trees as in RFC 6962: leaves and nodes are hashed under different prefixes."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby

from vppd.types import Digest

_LEAF = b"\x00"
_NODE = b"\x01"
_ALIKE = 8
"""From so many leaves to a run of equal ones on, runs are hashed and not leaves."""
EMPTY_ROOT: Digest = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> Digest:
    """Hash of one leaf's content."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: Digest, right: Digest) -> Digest:
    """Hash of an inner node."""
    return hashlib.sha256(_NODE + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> Digest:
    """Root over the leaves' contents, in order; the empty tree has SHA-256 of nothing.

    Pairing level by level and lifting an odd last node unchanged gives exactly RFC 6962's tree,
    whose left subtree is the largest power of two below the number of leaves.
    """
    if not leaves:
        return EMPTY_ROOT
    runs = [(len(list(same)), leaf) for leaf, same in groupby(leaves)] if _alike(leaves) else ()
    if runs and len(runs) * _ALIKE < len(leaves):
        return _root_of_runs(runs)
    sha = hashlib.sha256
    level = [sha(_LEAF + data).digest() for data in leaves]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = iter(level)
        level = [sha(_NODE + a + b).digest() for a, b in zip(pairs, pairs, strict=False)] + odd
    return level[0]


def _alike(leaves: Sequence[bytes]) -> bool:
    """A quick look: whether the last ones are one object, as receipts of opaque transactions."""
    return len(leaves) > _ALIKE and leaves[-1] is leaves[-2]


def _root_of_runs(runs: Sequence[tuple[int, bytes]]) -> Digest:
    """The same root where equal leaves stand side by side: a few hashes for each run.

    Args:
        runs: how many, and of which content, in order.
    """
    ends = list(accumulate(count for count, _ in runs))
    known: dict[tuple[int, bytes], Digest] = {}

    def same(count: int, leaf: bytes) -> Digest:
        if count == 1:
            return leaf_hash(leaf)
        found = known.get((count, leaf))
        if found is None:
            half = _left(count)
            found = node_hash(same(half, leaf), same(count - half, leaf))
            known[count, leaf] = found
        return found

    def root(first: int, end: int) -> Digest:
        run = bisect_right(ends, first)
        if end <= ends[run]:
            return same(end - first, runs[run][1])
        middle = first + _left(end - first)
        return node_hash(root(first, middle), root(middle, end))

    return root(0, ends[-1])


def _left(count: int) -> int:
    """Leaves of the left subtree: the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[Digest, ...]:
    """Audit path of leaf ``index``: sibling hashes from the leaf upwards (RFC 6962, §2.1.1).

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of a tree with {len(leaves)} leaves")
    level = [leaf_hash(data) for data in leaves]
    path: list[Digest] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        odd = level[-1:] if len(level) % 2 else []
        pairs = iter(level)
        level = [node_hash(a, b) for a, b in zip(pairs, pairs, strict=False)] + odd
        index //= 2
    return tuple(path)


def verify_path(root: Digest, data: bytes, index: int, count: int, path: Sequence[Digest]) -> bool:
    """Whether ``data`` is leaf ``index`` of the ``count`` leaves under ``root``."""
    if not 0 <= index < count:
        return False
    node = leaf_hash(data)
    rest = list(path)
    while count > 1:
        if index % 2:
            if not rest:
                return False
            node = node_hash(rest.pop(0), node)
        elif index + 1 < count:
            if not rest:
                return False
            node = node_hash(node, rest.pop(0))
        index //= 2
        count = (count + 1) // 2
    return not rest and node == root
