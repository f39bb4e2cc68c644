"""A state that goes on is kept as it was, and every chunk of it proves itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vppd.codec import Malformed
from vppd.crypto import sha256
from vppd.ledger.buckets import BUCKETS, EMPTY_BUCKET, Buckets, bucket_of, root_of
from vppd.ledger.snapshot import HASH_BYTES, Snapshot, missing, read_manifest, wrong_bucket

KEYS = [b"key %d" % i for i in range(40)]
WRITES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=40))), max_size=30
)


def filled(count: int, size: int = 200) -> Buckets:
    buckets = Buckets()
    buckets.apply((b"entry %d" % i, sha256(b"%d" % i) * (size // 32)) for i in range(count))
    return buckets


@settings(max_examples=40, deadline=None)
@given(st.lists(WRITES, min_size=1, max_size=6))
def test_a_frozen_state_never_changes(rounds: list[list[tuple[bytes, bytes | None]]]) -> None:
    live, plain = Buckets(), Buckets()
    kept = []
    for writes in rounds:
        assert live.apply(writes) == plain.apply(writes)
        kept.append((live.freeze(), plain.root, plain.entries()))
    for frozen, root, entries in kept:
        held = sorted(pair for i in range(BUCKETS) for pair in frozen.pairs(i))
        assert (frozen.root, held) == (root, entries)
        assert root_of(frozen.hashes) == root


def test_buckets_that_did_not_change_are_shared() -> None:
    live = filled(500)
    first = live.freeze()
    live.apply([(b"entry 7", b"new")])
    second = live.freeze()
    different = [i for i in range(BUCKETS) if first.buckets[i] is not second.buckets[i]]
    assert different == [bucket_of(b"entry 7")]


def test_chunks_cover_the_state_within_their_size_and_prove_themselves() -> None:
    snapshot = Snapshot(128, filled(3_000).freeze())
    hashes = read_manifest(snapshot.manifest, snapshot.state.root)
    at, chunks, pairs = 0, 0, 0
    while at < BUCKETS:
        chunk = snapshot.chunk(at, 64 * 1024)
        assert chunk
        assert wrong_bucket(hashes, at, chunk) is None
        assert sum(len(k) + len(v) for bucket in chunk for k, v in bucket) <= 64 * 1024
        at, chunks, pairs = at + len(chunk), chunks + 1, pairs + sum(map(len, chunk))
    assert (at, pairs) == (BUCKETS, 3_000)
    assert chunks > 5


def test_a_bucket_that_is_too_large_still_comes_alone() -> None:
    snapshot = Snapshot(1, filled(2_000, 3_200).freeze())
    full = next(i for i in range(BUCKETS) if snapshot.state.pairs(i))
    assert snapshot.chunk(full, 10) == (snapshot.state.pairs(full),)


def test_whatever_is_changed_in_a_chunk_is_named() -> None:
    snapshot = Snapshot(128, filled(3_000).freeze())
    hashes = snapshot.state.hashes
    chunk = list(snapshot.chunk(100))
    at = next(i for i, pairs in enumerate(chunk) if len(pairs) > 1)
    (key, value), *others = chunk[at]
    for wrong in (
        ((key, value + b"\x00"), *others),
        ((key + b"\x00", value), *others),
        tuple(others),
        (*others, (key, value)),
        ((key, value), (key, value), *others),
        (),
    ):
        chunk[at] = wrong
        assert wrong_bucket(hashes, 100, chunk) == 100 + at, wrong
    assert wrong_bucket(hashes, BUCKETS - 1, ((), ())) is not None, "beyond the last bucket"


def test_a_manifest_of_another_state_is_refused() -> None:
    one, other = Snapshot(1, filled(10).freeze()), Snapshot(1, filled(11).freeze())
    with pytest.raises(Malformed, match="certified root"):
        read_manifest(other.manifest, one.state.root)
    with pytest.raises(Malformed, match="4095 bucket hashes"):
        read_manifest(one.manifest[HASH_BYTES:], one.state.root)


def test_only_what_is_not_held_and_not_empty_is_fetched() -> None:
    snapshot = Snapshot(1, filled(300).freeze())
    hashes = snapshot.state.hashes
    wanted = [i for i in range(BUCKETS) if hashes[i] != EMPTY_BUCKET]
    assert list(missing(hashes, [None] * BUCKETS)) == wanted
    assert list(missing(hashes, hashes)) == []
    stale = list(hashes)
    stale[wanted[3]] = sha256(b"of an older state")
    assert list(missing(hashes, stale)) == [wanted[3]]
