"""The state root and its proofs."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vppd.codec import Decoder, Malformed, encode
from vppd.ledger.buckets import (
    BUCKETS,
    FAN_OUT,
    Buckets,
    StateProof,
    bucket_of,
    check_bucket,
    verify_proof,
)

maps = st.dictionaries(st.binary(min_size=1, max_size=8), st.binary(max_size=8), max_size=30)


def naive_root(pairs: dict[bytes, bytes]) -> bytes:
    """The whole tree from scratch, straight from the definition."""

    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    buckets = [b"\x10"] * BUCKETS
    for key, value in sorted(pairs.items()):
        index = int.from_bytes(sha(key), "big") >> (256 - 12)
        for part in (key, value):
            buckets[index] += len(part).to_bytes(4, "big") + part
    leaves = [sha(content) for content in buckets]
    shelves = [sha(b"\x11" + b"".join(leaves[i : i + 64])) for i in range(0, 4096, 64)]
    return sha(b"\x12" + b"".join(shelves))


def tree(pairs: dict[bytes, bytes]) -> Buckets:
    made = Buckets()
    made.apply(pairs.items())
    return made


def neighbours() -> tuple[bytes, bytes]:
    """Two keys in one bucket."""
    seen: dict[int, bytes] = {}
    for number in range(10_000):
        key = number.to_bytes(4, "big")
        if (other := seen.setdefault(bucket_of(key), key)) != key:
            return other, key
    raise AssertionError


@settings(deadline=None)
@given(maps, maps, st.sets(st.binary(min_size=1, max_size=2), max_size=10))
def test_the_root_depends_on_content_alone(
    first: dict[bytes, bytes], second: dict[bytes, bytes], gone: set[bytes]
) -> None:
    grown = tree(first)
    grown.apply(second.items())
    grown.apply((key, None) for key in sorted(gone))
    left = {k: v for k, v in (first | second).items() if k not in gone}
    assert grown.root == naive_root(left)
    assert grown.entries() == sorted(left.items())


def test_only_what_changed_is_reported() -> None:
    made = tree({b"a": b"1", b"b": b"2"})
    root = made.root
    assert made.apply([(b"a", b"1"), (b"c", None)]) == ()
    assert made.root == root
    assert made.apply([(b"a", b"1"), (b"b", None), (b"c", b"3")]) == ((b"b", None), (b"c", b"3"))
    assert (made.get(b"a"), made.get(b"b"), made.get(b"c")) == (b"1", None, b"3")


@settings(deadline=None)
@given(maps, st.binary(min_size=1, max_size=8))
def test_a_proof_shows_the_value_or_that_there_is_none(
    pairs: dict[bytes, bytes], other: bytes
) -> None:
    made = tree(pairs)
    for key in [*pairs, other]:
        proof = made.prove(key)
        assert verify_proof(made.root, key, proof) == pairs.get(key)
        assert Decoder(StateProof)(encode(proof)) == proof


def test_absence_is_proved_in_a_bucket_with_others() -> None:
    here, missing = neighbours()
    made = tree({here: b"x"})
    assert made.prove(missing).bucket == ((here, b"x"),)
    assert verify_proof(made.root, missing, made.prove(missing)) is None


def test_a_tampered_proof_proves_nothing() -> None:
    here, also = neighbours()
    made = tree({here: b"x", also: b"y", b"elsewhere": b"z"})
    good = made.prove(here)
    flipped = bytes(32)
    pairs = good.bucket
    bad = [
        StateProof(((here, b"w"), *pairs[1:]), good.buckets, good.shelves),
        StateProof(pairs[1:], good.buckets, good.shelves),
        StateProof(pairs[::-1], good.buckets, good.shelves),
        StateProof((pairs[0], pairs[0], *pairs[1:]), good.buckets, good.shelves),
        StateProof((), good.buckets, good.shelves),
        StateProof(pairs, (flipped, *good.buckets[1:]), good.shelves),
        StateProof(pairs, good.buckets, (*good.shelves[:-1], flipped)),
        StateProof(pairs, good.buckets[1:], good.shelves),
        StateProof(pairs, good.buckets, (*good.shelves, flipped)),
        made.prove(b"elsewhere"),
    ]
    for proof in bad:
        with pytest.raises(Malformed, match="does not lead to root"):
            verify_proof(made.root, here, proof)
    with pytest.raises(Malformed):
        verify_proof(flipped, here, good)


def in_bucket(index: int) -> bytes:
    """Some key that falls into a bucket."""
    return next(k for k in (i.to_bytes(4, "big") for i in range(10**6)) if bucket_of(k) == index)


@pytest.mark.parametrize("index", [bucket_of(b"\x07"), 0, BUCKETS - 1])
def test_a_bucket_is_checked_by_itself(index: int) -> None:
    made = tree({bytes([i]): b"v" for i in range(200)})
    own = [pair for pair in made.entries() if bucket_of(pair[0]) == index]
    proof = made.prove(in_bucket(index))
    siblings = (proof.buckets, proof.shelves)
    assert check_bucket(made.root, index, own, siblings)
    assert not check_bucket(made.root, index, [*own, (in_bucket(index), b"smuggled")], siblings)
    if own:
        assert not check_bucket(made.root, (index + 1) % BUCKETS, own, siblings)


@pytest.mark.parametrize("index", [-1, BUCKETS])
def test_there_are_no_other_buckets(index: int) -> None:
    made = tree({})
    proof = made.prove(b"")
    assert not check_bucket(made.root, index, (), (proof.buckets, proof.shelves))


def test_buckets_are_64_by_64() -> None:
    assert BUCKETS == FAN_OUT * FAN_OUT == 4_096
    assert {bucket_of(i.to_bytes(4, "big")) for i in range(60_000)} == set(range(BUCKETS))
