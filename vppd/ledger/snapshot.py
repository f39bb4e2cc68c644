"""A state cut into chunks that can each be checked by itself (protocol.md, §10; ADR 0014).

A manifest is the hash of every bucket; together they give the state root, which a certified header
names. A chunk is a run of consecutive buckets; each is its own proof under its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.ledger.buckets import BUCKETS, EMPTY_BUCKET, Frozen, Pair, bucket_hash, root_of
from vppd.types import Digest, Height

HASH_BYTES = 32
CHUNK_BYTES = 256 * 1024
"""Keys and values in one chunk, about: it ends before the bucket that would exceed it."""
PAIR_BYTES = 16
"""What a pair takes on the wire beside key and value, at most; an empty bucket takes less."""


class Snapshot(NamedTuple):
    """The state after ``height``."""

    height: Height
    state: Frozen

    @property
    def manifest(self) -> bytes:
        """All bucket hashes in order, 32 bytes each."""
        return b"".join(self.state.hashes)

    def chunk(self, first: int, max_bytes: int = CHUNK_BYTES) -> tuple[tuple[Pair, ...], ...]:
        """Buckets from ``first`` on, as many as fit, and at least one."""
        found: list[tuple[Pair, ...]] = []
        room = max_bytes
        for index in range(first, BUCKETS):
            pairs = self.state.pairs(index)
            room -= 1 + sum(len(key) + len(value) + PAIR_BYTES for key, value in pairs)
            if found and room < 0:
                break
            found.append(pairs)
        return tuple(found)


def read_manifest(manifest: bytes, state_root: Digest) -> tuple[Digest, ...]:
    """The bucket hashes of a manifest.

    Raises:
        Malformed: they do not give that root.
    """
    hashes = tuple(manifest[at : at + HASH_BYTES] for at in range(0, len(manifest), HASH_BYTES))
    if root_of(hashes) != state_root:
        raise Malformed("the manifest does not lead to the certified root")
    return hashes


def wrong_bucket(
    hashes: Sequence[Digest], first: int, buckets: Sequence[Sequence[Pair]]
) -> int | None:
    """The first bucket of a chunk that is not what the manifest says; ``None``: all are."""
    for index, pairs in enumerate(buckets, first):
        if index >= BUCKETS or bucket_hash(pairs) != hashes[index]:
            return index
    return None


def missing(hashes: Sequence[Digest], held: Sequence[Digest | None]) -> Iterator[int]:
    """Buckets that have to be fetched: those not held with this hash, and not empty."""
    for index, (wanted, have) in enumerate(zip(hashes, held, strict=True)):
        if wanted not in (have, EMPTY_BUCKET):
            yield index
