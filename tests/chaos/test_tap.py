"""The tap itself: a clash that it does not hear would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.tap import Tap
from vppd.codec import encode
from vppd.consensus.messages import (
    Agree,
    Certificate,
    CertificateKind,
    Claim,
    Commit,
    Prepare,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes, standing_bytes
from vppd.crypto import SigningKey, sha256
from vppd.net.frames import Frame

CHAIN = bytes(range(32))
KEYS = [SigningKey(bytes([i + 1]) * 32) for i in range(4)]


def tap() -> Tap:
    return Tap(CHAIN, [key.public_key for key in KEYS])


def hear(tap: Tap, type_: Type, message: Any) -> None:
    tap.hear("der-1", "op-0", Frame(type_, encode(message)))


def digest(name: str) -> bytes:
    return sha256(name.encode())


def prepare(signer: int, view: int, height: int, name: str) -> Prepare:
    signed = sign_bytes(TAG_VOTE, CHAIN, 0, view, height, digest(name))
    return Prepare(0, view, height, digest(name), signer, KEYS[signer].sign(signed))


def commit(signer: int, view: int, height: int, name: str) -> Commit:
    signed = sign_bytes(TAG_COMMIT, CHAIN, 0, view, height, digest(name))
    return Commit(0, view, height, digest(name), signer, KEYS[signer].sign(signed))


def certificate(view: int, height: int, name: str) -> Certificate:
    signatures = tuple(commit(i, view, height, name).sig for i in range(3))
    return Certificate(CertificateKind.COMMIT, 0, view, height, digest(name), b"\x07", signatures)


def view_change(
    signer: int, view: int, decided: int, vote: Claim | None, prepared: Claim | None = None
) -> ViewChange:
    unsigned = Standing(0, view, signer, decided, digest("head"), vote, prepared, b"")
    sig = KEYS[signer].sign(standing_bytes(CHAIN, unsigned))
    standing = Standing(0, view, signer, decided, digest("head"), vote, prepared, sig)
    return ViewChange(standing, None, None)


def test_the_same_vote_any_number_of_times_is_one() -> None:
    ear = tap()
    for _ in range(3):
        hear(ear, Type.PREPARE, prepare(1, 0, 5, "a"))
    hear(ear, Type.COMMIT, commit(1, 0, 5, "a"))
    hear(ear, Type.PREPARE, prepare(1, 1, 5, "b"))
    assert (ear.signatures, ear.clashes(), ear.forged) == (3, [], 0)


@pytest.mark.parametrize(("type_", "vote"), [(Type.PREPARE, prepare), (Type.COMMIT, commit)])
def test_two_digests_of_one_signer_clash(type_: Type, vote: Callable[..., Any]) -> None:
    ear = tap()
    hear(ear, type_, vote(1, 0, 5, "a"))
    hear(ear, type_, vote(2, 0, 5, "b"))
    assert not ear.clashes()
    hear(ear, type_, vote(1, 0, 5, "b"))
    assert len(ear.clashes()) == 1


def test_a_vote_that_only_a_certificate_shows_counts() -> None:
    ear = tap()
    hear(ear, Type.COMMIT, commit(1, 0, 5, "a"))
    hear(ear, Type.AGREE, Agree(certificate(0, 5, "b")))
    assert len(ear.clashes()) == 1


def test_two_decisions_of_one_height_clash_though_no_signer_does() -> None:
    ear = tap()
    hear(ear, Type.AGREE, Agree(certificate(0, 5, "a")))
    hear(ear, Type.AGREE, Agree(certificate(1, 5, "a")))
    assert not ear.clashes()
    hear(ear, Type.AGREE, Agree(certificate(2, 5, "b")))
    assert len(ear.clashes()) == 1


def test_what_a_signer_did_not_sign_proves_nothing() -> None:
    ear = tap()
    hear(ear, Type.PREPARE, prepare(1, 0, 5, "a"))
    other = prepare(1, 0, 5, "b")
    forged = Prepare(0, 0, 5, other.digest, 1, bytes(64))
    hear(ear, Type.PREPARE, forged)
    assert (ear.clashes(), ear.forged) == ([], 1)


@pytest.mark.parametrize(
    ("vote", "owns_up"),
    [
        (Claim(1, digest("b")), True),
        (Claim(0, digest("a")), False),
        (Claim(1, digest("a")), False),
        (None, False),
    ],
)
def test_a_view_change_owns_up_to_the_latest_vote(vote: Claim | None, owns_up: bool) -> None:
    ear = tap()
    hear(ear, Type.PREPARE, prepare(1, 0, 5, "a"))
    hear(ear, Type.PREPARE, prepare(1, 1, 5, "b"))
    hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 4, vote))
    assert (not ear.clashes()) is owns_up


def test_a_view_change_owns_up_to_what_was_committed() -> None:
    vote = Claim(1, digest("a"))
    for prepared, owns_up in ((vote, True), (None, False)):
        ear = tap()
        hear(ear, Type.COMMIT, commit(1, 1, 5, "a"))
        hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 4, vote, prepared))
        assert (not ear.clashes()) is owns_up


def test_votes_elsewhere_need_no_claim() -> None:
    """At another height, in that view or later, or of another signer."""
    ear = tap()
    hear(ear, Type.PREPARE, prepare(1, 0, 4, "a"))
    hear(ear, Type.PREPARE, prepare(1, 2, 5, "b"))
    hear(ear, Type.PREPARE, prepare(2, 0, 5, "b"))
    hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 4, None))
    assert not ear.clashes()


def test_a_view_change_is_signed_once() -> None:
    ear = tap()
    hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 4, None))
    hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 4, None))
    assert not ear.clashes()
    hear(ear, Type.VIEW_CHANGE, view_change(1, 2, 5, None))
    assert len(ear.clashes()) == 1
