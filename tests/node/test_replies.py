"""Replies are kept cheaply and checked when somebody wants the proof."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS
from tests.store.real_chain import VALIDATORS
from vppd.config.founding import founding_era
from vppd.consensus.messages import Reply
from vppd.consensus.signing import reply_bytes
from vppd.consensus.terms import Terms
from vppd.crypto import sha256, verify
from vppd.era import Era, EraMember
from vppd.net.gate import Gate
from vppd.node.replies import KEPT_HEIGHTS, Replies

HEAD, ROOT, OTHER = (sha256(name) for name in (b"head", b"root", b"other"))
NEEDED = VALIDATORS.quorum.f + 1


def reply(signer: int, height: int = 5, **changes: Any) -> Reply:
    fields: dict[str, Any] = {
        "epoch": 0,
        "height": height,
        "digest": HEAD,
        "state_root": ROOT,
        "receipts_root": ROOT,
    } | changes
    sig = KEYS[signer].sign(reply_bytes(GENESIS.digest, **fields))
    return Reply(**fields, signer=signer, sig=sig)


@pytest.fixture
def replies() -> Replies:
    known = Terms(GENESIS)
    return Replies(Gate(GENESIS.digest, known, verify, lambda _: None), known)


def test_so_many_equal_ones_prove_a_height(replies: Replies) -> None:
    replies.add(1, reply(1), decided=5)
    assert replies.proving(5) == ()
    replies.add(3, reply(3), decided=5)
    assert replies.proving(5) == (reply(1), reply(3))
    assert replies.proving(6) == ()


def test_no_more_are_handed_out_than_it_takes(replies: Replies) -> None:
    for signer in (3, 2, 1):
        replies.add(signer, reply(signer), decided=5)
    assert replies.proving(5) == (reply(1), reply(2))


def test_one_that_disagrees_does_not_count(replies: Replies) -> None:
    replies.add(1, reply(1, receipts_root=OTHER), decided=5)
    replies.add(2, reply(2), decided=5)
    assert replies.proving(5) == ()
    replies.add(3, reply(3), decided=5)
    assert replies.proving(5) == (reply(2), reply(3))


def test_a_forged_one_does_not_count(replies: Replies) -> None:
    replies.add(1, replace(reply(1), sig=bytes(64)), decided=5)
    replies.add(2, reply(2), decided=5)
    assert replies.proving(5) == ()


def test_nobody_speaks_for_another(replies: Replies) -> None:
    replies.add(1, reply(2), decided=5)
    replies.add(None, reply(3), decided=5)
    replies.add(1, reply(1), decided=5)
    assert replies.proving(5) == ()


def test_the_first_word_of_a_replica_stands(replies: Replies) -> None:
    replies.add(1, reply(1), decided=5)
    replies.add(1, reply(1, receipts_root=OTHER), decided=5)
    replies.add(2, reply(2), decided=5)
    assert replies.proving(5) == (reply(1), reply(2))


def test_heights_long_past_and_far_ahead_are_not_kept(replies: Replies) -> None:
    for height in (1, 2_000 - KEPT_HEIGHTS, 2_003):
        for signer in (1, 2):
            replies.add(signer, reply(signer, height), decided=2_000)
        assert replies.proving(height) == ()
    for height in (2_001 - KEPT_HEIGHTS, 2_000, 2_002):
        for signer in (1, 2):
            replies.add(signer, reply(signer, height), decided=2_000)
        assert len(replies.proving(height)) == NEEDED


def test_memory_is_bounded_by_heights(replies: Replies) -> None:
    one = reply(1)
    for height in range(1, 2 * KEPT_HEIGHTS):
        replies.add(1, replace(one, height=height), decided=height)
    assert len(replies._held) == KEPT_HEIGHTS  # the bound has no other face


def test_a_reply_counts_in_the_epoch_of_its_height_alone(replies: Replies) -> None:
    """In another epoch its signer's index is another node's."""
    for signer in (1, 2):
        replies.add(signer, reply(signer, epoch=1), decided=5)
    assert replies.proving(5) == ()


def test_how_many_prove_a_height_follows_its_epoch() -> None:
    """Two of four; of seven it takes three."""
    known = Terms(GENESIS)
    members = founding_era(GENESIS).members
    more = (
        *members,
        *(EraMember(sha256(b"%d" % i), operator=False, name=str(i)) for i in range(3)),
    )
    known.note([Era(1, 10, "pbft", None, None, more)])
    grown = Replies(Gate(GENESIS.digest, known, verify, lambda _: None), known)
    for signer in (0, 1):
        grown.add(signer, reply(signer, 9), decided=9)
        grown.add(signer, reply(signer, 10, epoch=1), decided=9)
    assert grown.proving(9)
    assert grown.proving(10) == ()
    grown.add(3, reply(3, 10, epoch=1), decided=9)
    assert len(grown.proving(10)) == 3


def test_heights_of_epochs_that_are_forgotten_prove_nothing() -> None:
    """A node keeps the last epochs; what is asked or said of others must not disturb it."""
    known = Terms(GENESIS)
    members = founding_era(GENESIS).members
    known.note(Era(i, 8 * i, "pbft", None, None, members) for i in range(1, 40))
    replies = Replies(Gate(GENESIS.digest, known, verify, lambda _: None), known)
    for epoch in (0, 39):
        for signer in (1, 2):
            replies.add(signer, reply(signer, 5, epoch=epoch), decided=312)
    assert replies.proving(5) == ()
    for signer in (1, 2):
        replies.add(signer, reply(signer, 312, epoch=39), decided=312)
    assert len(replies.proving(312)) == NEEDED
