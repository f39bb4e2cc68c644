"""The state root: a Merkle tree of fixed shape over hash buckets (architecture.md, §5).

Keys fall into 4,096 buckets by their SHA-256; 64 buckets make a shelf, 64 shelves the root. A block
rehashes only the buckets it touched, their shelves and the root, each in one native call.

* bucket = SHA-256(``0x10`` ‖ for each pair in key order: length ‖ key ‖ length ‖ value)
* shelf  = SHA-256(``0x11`` ‖ 64 bucket hashes)
* root   = SHA-256(``0x12`` ‖ 64 shelf hashes)

Lengths are four bytes, big-endian.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple, TypeAlias

from msgspec import Meta

from vppd.codec import Bytes32, Malformed, Message
from vppd.crypto import sha256
from vppd.types import Digest

FAN_OUT = 64
BUCKETS = FAN_OUT * FAN_OUT
_BUCKET, _SHELF, _ROOT = b"\x10", b"\x11", b"\x12"
_EMPTY = sha256(_BUCKET)
_SIZE = struct.Struct(">I").pack
EMPTY_BUCKET: Digest = _EMPTY
"""Hash of a bucket without pairs."""

Pair: TypeAlias = tuple[bytes, bytes]
Others: TypeAlias = Annotated[
    tuple[Bytes32, ...], Meta(min_length=FAN_OUT - 1, max_length=FAN_OUT - 1)
]
"""Hashes of the 63 other children of a node, in order."""


class StateProof(Message, frozen=True):
    """Everything between one key and the state root; proves its value, or that it has none."""

    bucket: tuple[Pair, ...]
    """All pairs in the key's bucket, in key order."""
    buckets: Others
    shelves: Others


def bucket_of(key: bytes) -> int:
    """Index of the bucket ``key`` falls into, 0…4095."""
    digest = sha256(key)
    return digest[0] << 4 | digest[1] >> 4


def bucket_hash(pairs: Iterable[Pair]) -> Digest:
    """Hash of a bucket with these pairs, given in key order."""
    return sha256(_BUCKET + b"".join([_written(key, value) for key, value in pairs]))


def _written(key: bytes, value: bytes) -> bytes:
    """A pair as its bucket's hash covers it."""
    return _SIZE(len(key)) + key + _SIZE(len(value)) + value


def _value_in(written: bytes, key: bytes) -> bytes:
    return written[8 + len(key) :]


class Bucket(NamedTuple):
    """The pairs of one bucket, in key order."""

    keys: list[bytes]
    parts: list[bytes]
    """Each pair as it is hashed: only what a block writes is put together again."""

    def find(self, key: bytes) -> tuple[int, bytes | None]:
        """Where a key's pair is, or would be, and the pair."""
        at = bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return at, self.parts[at]
        return at, None

    def pairs(self) -> tuple[Pair, ...]:
        """Keys and values."""
        return tuple(
            (key, _value_in(part, key)) for key, part in zip(self.keys, self.parts, strict=True)
        )


class Frozen(NamedTuple):
    """The buckets as they were at one moment; shares with the live ones what has not changed."""

    buckets: tuple[Bucket, ...]
    """Not to be changed."""
    hashes: tuple[Digest, ...]
    root: Digest

    def pairs(self, index: int) -> tuple[Pair, ...]:
        """All pairs of one bucket, in key order."""
        return self.buckets[index].pairs()


class Buckets:
    """Keys, values and the tree above them."""

    __slots__ = ("_buckets", "_hashes", "_own", "_shelves", "root")

    def __init__(self) -> None:
        self._buckets = [Bucket([], []) for _ in range(BUCKETS)]
        self._own = set(range(BUCKETS))
        """Those that no :class:`Frozen` shares."""
        self._hashes = [_EMPTY] * BUCKETS
        self._shelves = [_node(_SHELF, [_EMPTY] * FAN_OUT)] * FAN_OUT
        self.root: Digest = _node(_ROOT, self._shelves)

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``."""
        _, part = self._buckets[bucket_of(key)].find(key)
        return None if part is None else _value_in(part, key)

    def entries(self) -> list[Pair]:
        """Every key and its value, in key order."""
        return sorted(pair for bucket in self._buckets for pair in bucket.pairs())

    def apply(
        self, writes: Iterable[tuple[bytes, bytes | None]]
    ) -> tuple[tuple[bytes, bytes | None], ...]:
        """Set (or, with ``None``, remove) keys and bring the root up to date.

        Returns:
            The writes that changed anything, in the order given.
        """
        changes: list[tuple[bytes, bytes | None]] = []
        touched: set[int] = set()
        sha, size = hashlib.sha256, _SIZE
        for change in writes:
            key, value = change
            digest = sha(key).digest()
            index = digest[0] << 4 | digest[1] >> 4  # bucket_of, without the call
            bucket = self._buckets[index]
            at, before = bucket.find(key)
            part = None if value is None else size(len(key)) + key + size(len(value)) + value
            if part == before:
                continue
            if index not in self._own:
                bucket = self._buckets[index] = Bucket(bucket.keys.copy(), bucket.parts.copy())
                self._own.add(index)
            if part is None:
                del bucket.keys[at], bucket.parts[at]
            elif before is None:
                bucket.keys.insert(at, key)
                bucket.parts.insert(at, part)
            else:
                bucket.parts[at] = part
            touched.add(index)
            changes.append(change)
        for index in touched:
            self._hashes[index] = sha(_BUCKET + b"".join(self._buckets[index].parts)).digest()
        for shelf in {index // FAN_OUT for index in touched}:
            self._shelves[shelf] = _node(_SHELF, self._on_shelf(shelf))
        if touched:
            self.root = _node(_ROOT, self._shelves)
        return tuple(changes)

    def freeze(self) -> Frozen:
        """This state, for as long as somebody wants it: a bucket is copied when it changes next."""
        self._own.clear()
        return Frozen(tuple(self._buckets), tuple(self._hashes), self.root)

    def prove(self, key: bytes) -> StateProof:
        """Proof of the value of ``key`` under the current root, or of its absence."""
        index = bucket_of(key)
        shelf, place = divmod(index, FAN_OUT)
        return StateProof(
            self._buckets[index].pairs(),
            _without(self._on_shelf(shelf), place),
            _without(self._shelves, shelf),
        )

    def _on_shelf(self, shelf: int) -> list[Digest]:
        return self._hashes[shelf * FAN_OUT : (shelf + 1) * FAN_OUT]


def root_of(hashes: Sequence[Digest]) -> Digest:
    """The state root over all bucket hashes, in order.

    Raises:
        Malformed: they are not one for each bucket.
    """
    if len(hashes) != BUCKETS:
        raise Malformed(f"{len(hashes)} bucket hashes, there are {BUCKETS} buckets")
    shelves = [
        _node(_SHELF, hashes[first : first + FAN_OUT]) for first in range(0, BUCKETS, FAN_OUT)
    ]
    return _node(_ROOT, shelves)


def check_bucket(
    root: Digest,
    index: int,
    entries: Sequence[Pair],
    siblings: tuple[Sequence[Digest], Sequence[Digest]],
) -> bool:
    """Whether these are all entries of bucket ``index``, in key order, in the state with this root.

    Args:
        root: a state root.
        index: 0…4095.
        entries: keys and values.
        siblings: the 63 other buckets of the shelf, and the 63 other shelves.
    """
    buckets, shelves = siblings
    if not 0 <= index < BUCKETS or not len(buckets) == len(shelves) == FAN_OUT - 1:
        return False
    shelf, place = divmod(index, FAN_OUT)
    shelf_hash = _node(_SHELF, _with(buckets, place, bucket_hash(entries)))
    return _node(_ROOT, _with(shelves, shelf, shelf_hash)) == root


def verify_proof(root: Digest, key: bytes, proof: StateProof) -> bytes | None:
    """The value of ``key`` in the state with this root; ``None``: it is not in that state.

    Raises:
        Malformed: the proof proves nothing about ``key`` under this root.
    """
    if not check_bucket(root, bucket_of(key), proof.bucket, (proof.buckets, proof.shelves)):
        raise Malformed(f"the state proof for {key.hex()} does not lead to root {root.hex()[:16]}")
    return dict(proof.bucket).get(key)


def _node(domain: bytes, children: Sequence[Digest]) -> Digest:
    return sha256(domain + b"".join(children))


def _without(hashes: Sequence[Digest], place: int) -> tuple[Digest, ...]:
    return (*hashes[:place], *hashes[place + 1 :])


def _with(others: Sequence[Digest], place: int, own: Digest) -> list[Digest]:
    return [*others[:place], own, *others[place:]]
