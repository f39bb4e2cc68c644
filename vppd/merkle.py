"""Merkle trees as in RFC 6962: leaves and nodes are hashed under different prefixes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from vppd.types import Digest

_LEAF = b"\x00"
_NODE = b"\x01"
_ALIKE = 8
"""So many leaves to one that differs: receipts of opaque transactions, never blocks."""
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
    if len(leaves) > _ALIKE * len(distinct := set(leaves)):
        return _alike_root(leaves, distinct)
    sha = hashlib.sha256
    level = [sha(_LEAF + data).digest() for data in leaves]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = iter(level)
        level = [sha(_NODE + a + b).digest() for a, b in zip(pairs, pairs, strict=False)] + odd
    return level[0]


def _alike_root(leaves: Sequence[bytes], distinct: Iterable[bytes]) -> Digest:
    """The same root where few leaves differ from the others: what is alike is hashed once."""
    hashes = {leaf: leaf_hash(leaf) for leaf in distinct}
    level = [hashes[leaf] for leaf in leaves]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = list(zip(level[::2], level[1::2], strict=False))
        nodes = {pair: node_hash(*pair) for pair in set(pairs)}
        level = [nodes[pair] for pair in pairs] + odd
    return level[0]


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
