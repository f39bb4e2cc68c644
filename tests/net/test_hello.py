from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.net.plant import CHAIN, KEYS, OTHER_CHAIN
from vppd.codec import Malformed, encode
from vppd.crypto import SigningKey
from vppd.errors import PeerFault
from vppd.net.frames import (
    HELLO,
    OLDEST_WIRE,
    OPENING_CAPS,
    PROOF,
    REFUSE,
    REQUEST,
    Frame,
    FrameParser,
    encode_frame,
)
from vppd.net.hello import (
    PLAIN,
    VERSION,
    BadProof,
    Channel,
    Handshake,
    Hello,
    Kind,
    OutOfTurn,
    OwnKey,
    PeerIdentity,
    Proof,
    RefusalCode,
    Refuse,
    RefusedByPeer,
    Self,
    UnknownValidator,
    WrongChain,
    WrongPeer,
    WrongVersion,
    newest_offered,
    offer,
    proof_bytes,
    read_refusal,
    refusal_reason,
    refuse_frame,
)

VALIDATORS = {KEYS[0].public_key: 0, KEYS[1].public_key: 1}
A, B, C, D = (bytes([c]) * 32 for c in b"ABCD")
ONE, TWO = (bytes([c]) * 16 for c in b"12")


class Side(NamedTuple):
    handshake: Handshake

    def start(self) -> Frame:
        return frame_of(self.handshake.start())

    def take(self, frame: Frame) -> Frame | None:
        answer = self.handshake.receive(*frame)
        return frame_of(answer) if answer else None


def frame_of(data: bytes) -> Frame:
    (frame,) = FrameParser(OPENING_CAPS).feed(data)
    return frame


def side(
    key: SigningKey,
    *,
    kind: Kind = Kind.VALIDATOR,
    chain: bytes = CHAIN,
    channel: Channel = PLAIN,
    nonce: bytes = A,
    name: str = "somebody",
    expected: bytes | None = None,
    instance: bytes = ONE,
    newest: int = VERSION,
    oldest: int = OLDEST_WIRE,
    validators: dict[bytes, int] = VALIDATORS,
    dismissed: dict[bytes, str] | None = None,
) -> Side:
    me = Self(kind, name, key, chain, instance, newest, oldest)
    return Side(Handshake(me, validators, nonce, channel, expected, dismissed))


def run(left: Side, right: Side) -> None:
    """Both hellos cross, then both proofs."""
    hello_l, hello_r = left.start(), right.start()
    proof_l, proof_r = left.take(hello_r), right.take(hello_l)
    assert proof_l is not None
    assert proof_r is not None
    assert left.take(proof_r) is None
    assert right.take(proof_l) is None


def test_two_validators_prove_themselves_to_each_other() -> None:
    left = side(KEYS[0], nonce=A, name="op-0", channel=Channel(C, D), instance=ONE)
    right = side(KEYS[1], nonce=B, name="der-1", channel=Channel(D, C), instance=TWO)
    run(left, right)
    assert left.handshake.peer == PeerIdentity(Kind.VALIDATOR, KEYS[1].public_key, "der-1", 1, TWO)
    assert right.handshake.peer == PeerIdentity(Kind.VALIDATOR, KEYS[0].public_key, "op-0", 0, ONE)


@pytest.mark.parametrize("kind", [Kind.OBSERVER, Kind.CLIENT])
def test_observers_and_clients_need_no_validator_key(kind: Kind) -> None:
    node, guest = side(KEYS[0], nonce=A), side(KEYS[5], nonce=B, kind=kind)
    run(node, guest)
    assert node.handshake.peer == PeerIdentity(kind, KEYS[5].public_key, "somebody", None, ONE)


def test_nobody_is_proven_before_the_proof() -> None:
    left, right = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B)
    left.take(right.start())
    assert left.handshake.peer is None
    assert left.handshake.claimed == KEYS[1].public_key


def test_the_proof_signs_chain_keys_nonces_and_fingerprints_in_this_order() -> None:
    own, peer = (b"k" * 32, b"n" * 32, b"f" * 32), (b"K" * 32, b"N" * 32, b"F" * 32)
    assert proof_bytes(CHAIN, own, peer) == (
        b"VPPD1" + b"H" + CHAIN
        + b"k" * 32 + b"K" * 32 + b"n" * 32 + b"N" * 32 + b"f" * 32 + b"F" * 32
    )  # fmt: skip


def test_another_chain_is_refused_and_both_are_named() -> None:
    with pytest.raises(WrongChain, match=r"wrong chain: theirs 20212223…, ours 00010203…"):
        side(KEYS[0]).take(side(KEYS[1], chain=OTHER_CHAIN).start())


@pytest.mark.parametrize("version", [1, 4, 255])
def test_another_version_is_refused_whatever_follows_it(version: int) -> None:
    with pytest.raises(WrongVersion, match=f"theirs {version}, ours 2 to 3$"):
        side(KEYS[0]).take(Frame(HELLO, encode((version, b"all", "new"))))


def test_a_range_without_one_of_ours_is_refused_and_both_are_named() -> None:
    hello = Hello(4, CHAIN, 0, KEYS[1].public_key, offer(B, 6), ONE, "der-1")
    with pytest.raises(WrongVersion, match=r"theirs 4 to 6, ours 2 to 3$"):
        side(KEYS[0]).take(Frame(HELLO, encode(hello)))
    with pytest.raises(WrongVersion, match=r"theirs 4 to 6, ours 2$"):
        side(KEYS[0], newest=2).take(Frame(HELLO, encode(hello)))


def test_a_node_that_is_done_with_the_old_version_refuses_who_knows_no_other() -> None:
    old = side(KEYS[1], nonce=B, newest=2).start()
    with pytest.raises(WrongVersion, match=r"theirs 2, ours 3$"):
        side(KEYS[0], oldest=3).take(old)
    both = side(KEYS[1], nonce=B), side(KEYS[0], nonce=A, oldest=3)
    run(*both)
    assert both[0].handshake.wire == 3


@pytest.mark.parametrize(
    ("left", "right", "common"), [(3, 3, 3), (2, 3, 2), (3, 2, 2), (2, 2, 2), (3, 9, 3), (9, 3, 3)]
)
def test_both_sides_find_the_newest_version_they_share(left: int, right: int, common: int) -> None:
    ours = side(KEYS[0], nonce=A, newest=left)
    theirs = side(KEYS[1], nonce=B, newest=right)
    run(ours, theirs)
    assert ours.handshake.wire == theirs.handshake.wire == common


def test_a_pinned_node_says_what_the_previous_release_said() -> None:
    said = side(KEYS[0], nonce=A, newest=2).start()
    assert said.payload == encode((2, CHAIN, 0, KEYS[0].public_key, A, ONE, "somebody"))


def test_an_offer_keeps_the_nonce_fresh_and_is_signed() -> None:
    assert offer(A, 3)[:24] == A[:24]
    assert offer(A, 3) != offer(B, 3)
    taken = bytearray(side(KEYS[1], nonce=B).start().payload)
    at = taken.index(b"VPPD1-W")
    taken[at + 7] = 2  # somebody in between takes the offer back
    left, right = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B)
    hello = left.start()
    right.start()
    left.take(Frame(HELLO, bytes(taken)))
    proof = right.take(hello)
    assert proof is not None
    with pytest.raises(BadProof):
        left.take(proof)


@given(st.integers(0, 255), st.binary(min_size=32, max_size=32))
def test_any_nonce_of_the_previous_release_offers_nothing(version: int, nonce: bytes) -> None:
    assume(not nonce[:-1].endswith(b"VPPD1-W"))
    assert newest_offered(version, nonce) == version


@pytest.mark.parametrize("newest", [0, 1, 2])
def test_an_offer_below_the_version_itself_is_none(newest: int) -> None:
    assert newest_offered(2, A[:24] + b"VPPD1-W" + bytes([newest])) == 2


def test_a_validator_with_an_unknown_key_is_refused_and_the_key_named() -> None:
    with pytest.raises(UnknownValidator, match="ed25519:"):
        side(KEYS[0]).take(side(KEYS[5]).start())


def test_one_that_was_dismissed_is_told_why_and_that_it_may_observe() -> None:
    gone = {KEYS[5].public_key: "no validator any more since height 812"}
    with pytest.raises(UnknownValidator, match="since height 812") as refusal:
        side(KEYS[0], dismissed=gone).take(side(KEYS[5]).start())
    assert refusal.value.code is RefusalCode.NO_VALIDATOR
    node, guest = side(KEYS[0], nonce=A, dismissed=gone), side(KEYS[5], nonce=B, kind=Kind.OBSERVER)
    run(node, guest)
    assert node.handshake.peer is not None
    assert node.handshake.peer.index is None


def test_one_dismissed_between_its_hello_and_its_proof_is_refused() -> None:
    members, gone = dict(VALIDATORS), dict[bytes, str]()
    node = side(KEYS[0], nonce=A, validators=members, dismissed=gone)
    guest = side(KEYS[1], nonce=B)
    hello = node.start()
    node.take(guest.start())
    proof = guest.take(hello)
    assert proof is not None
    del members[KEYS[1].public_key]
    gone[KEYS[1].public_key] = "no validator any more since height 9"
    with pytest.raises(UnknownValidator, match="since height 9"):
        node.take(proof)
    assert node.handshake.peer is None


def test_a_client_finds_a_node_that_came_after_genesis() -> None:
    members = {**VALIDATORS, KEYS[5].public_key: 2}
    phone = side(KEYS[6], nonce=A, kind=Kind.CLIENT, expected=KEYS[5].public_key)
    run(phone, side(KEYS[5], nonce=B, validators=members))
    assert phone.handshake.peer is not None
    assert phone.handshake.peer.key == KEYS[5].public_key


def test_another_validator_than_the_one_dialled_is_refused() -> None:
    dialler = side(KEYS[0], expected=KEYS[1].public_key)
    with pytest.raises(WrongPeer):
        dialler.take(side(KEYS[5], kind=Kind.OBSERVER).start())


@pytest.mark.parametrize("kind", list(Kind))
def test_our_own_key_on_the_other_side_is_refused(kind: Kind) -> None:
    with pytest.raises(OwnKey):
        side(KEYS[0], nonce=A).take(side(KEYS[0], nonce=B, kind=kind).start())


def test_a_hello_reflected_is_refused() -> None:
    here = side(KEYS[0])
    with pytest.raises(OwnKey):
        here.take(here.start())


def test_a_proof_by_another_key_is_refused() -> None:
    node, claimed = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B)
    node.take(claimed.start())
    signed = proof_bytes(
        CHAIN, (KEYS[1].public_key, B, bytes(32)), (KEYS[0].public_key, A, bytes(32))
    )
    with pytest.raises(BadProof):
        node.take(Frame(PROOF, encode(Proof(KEYS[5].sign(signed)))))
    assert node.handshake.peer is None


def test_a_proof_of_another_session_is_refused() -> None:
    recorded_hello = side(KEYS[1], nonce=B)
    earlier = side(KEYS[0], nonce=A)
    hello = recorded_hello.start()
    proof = recorded_hello.take(earlier.start())
    assert proof is not None
    earlier.take(hello)
    earlier.take(proof)
    assert earlier.handshake.peer is not None

    later = side(KEYS[0], nonce=C)
    later.take(hello)
    with pytest.raises(BadProof):
        later.take(proof)


def test_a_proof_for_another_node_is_refused() -> None:
    """A validator's proof to an observer does not open a third node's door."""
    honest, evil = side(KEYS[1], nonce=B), side(KEYS[5], nonce=A, kind=Kind.OBSERVER)
    hello = honest.start()
    proof = honest.take(evil.start())
    assert proof is not None
    victim = side(KEYS[0], nonce=A)
    victim.take(hello)
    with pytest.raises(BadProof):
        victim.take(proof)


@pytest.mark.parametrize(
    ("left", "right"),
    [(Channel(A, B), Channel(C, A)), (Channel(A, B), Channel(B, D))],
    ids=["we show them another certificate", "they show us another"],
)
def test_a_relay_that_shows_its_own_certificate_is_found_out(left: Channel, right: Channel) -> None:
    here, there = side(KEYS[0], nonce=A, channel=left), side(KEYS[1], nonce=B, channel=right)
    hello_h, hello_t = here.start(), there.start()
    proof_h, proof_t = here.take(hello_t), there.take(hello_h)
    assert proof_h is not None
    assert proof_t is not None
    with pytest.raises(BadProof):
        here.take(proof_t)
    with pytest.raises(BadProof):
        there.take(proof_h)


def test_a_proof_before_the_hello_is_out_of_turn() -> None:
    with pytest.raises(OutOfTurn):
        side(KEYS[0]).take(Frame(PROOF, encode(Proof(bytes(64)))))


def test_a_second_hello_is_out_of_turn() -> None:
    node, guest = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B)
    node.take(guest.start())
    with pytest.raises(OutOfTurn):
        node.take(guest.start())


def test_a_second_proof_is_out_of_turn() -> None:
    left, right = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B)
    hello = right.start()
    proof = right.take(left.start())
    assert proof is not None
    left.take(hello)
    left.take(proof)
    with pytest.raises(OutOfTurn):
        left.take(proof)


def test_other_frames_are_out_of_turn() -> None:
    with pytest.raises(OutOfTurn):
        side(KEYS[0]).take(Frame(REQUEST, b""))


def test_a_refusal_is_passed_on_in_its_own_words() -> None:
    with pytest.raises(RefusedByPeer, match="refused by the other side: wrong chain"):
        side(KEYS[0]).take(frame_of(refuse_frame("wrong chain")))


@given(st.text(max_size=400))
def test_any_reason_fits_a_refusal(reason: str) -> None:
    frame = frame_of(refuse_frame(reason))
    assert frame.type == REFUSE
    assert len(refusal_reason(frame.payload).encode()) <= 3 * 256


def test_a_refusal_names_its_class_for_programs() -> None:
    frame = frame_of(refuse_frame("another copy", RefusalCode.LIVE_SESSION))
    assert read_refusal(frame.payload) == (RefusalCode.LIVE_SESSION, "another copy")
    assert read_refusal(encode(Refuse("no room"))) == (RefusalCode.OTHER, "no room")


@pytest.mark.parametrize("payload", [(b"text",), ("text", -1), ("text", 256), ("text", 1, 1)])
def test_a_refusal_of_another_shape_is_malformed(payload: object) -> None:
    with pytest.raises(Malformed):
        read_refusal(encode(payload))


def test_refusals_of_older_and_newer_versions_can_be_read() -> None:
    assert read_refusal(encode(("wrong version",))) == (RefusalCode.OTHER, "wrong version")
    assert read_refusal(encode(("to come", 200))) == (RefusalCode.OTHER, "to come")


def test_a_refusal_cannot_write_on_the_terminal() -> None:
    assert refusal_reason(encode(Refuse("no\x1b[2J\nmore"))) == "no?[2J?more"


def test_a_name_cannot_write_on_the_terminal() -> None:
    node, guest = side(KEYS[0], nonce=A), side(KEYS[1], nonce=B, name="der\x1b[1m")
    run(node, guest)
    assert node.handshake.peer is not None
    assert node.handshake.peer.name == "der?[1m"


def test_the_longest_hello_fits_its_cap() -> None:
    hello = Hello(VERSION, CHAIN, 0, KEYS[0].public_key, A, ONE, "𝄞" * 64)
    assert len(encode(hello)) <= OPENING_CAPS[HELLO]
    assert len(encode_frame(PROOF, encode(Proof(bytes(64))))) - 5 <= OPENING_CAPS[PROOF]


@given(st.sampled_from([HELLO, PROOF, REFUSE]), st.binary(max_size=200), st.booleans())
def test_garbage_is_the_other_sides_fault_and_proves_nothing(
    type_: int, payload: bytes, said_hello: bool
) -> None:
    node = side(KEYS[0], nonce=A)
    if said_hello:
        node.take(side(KEYS[1], nonce=B).start())
    with pytest.raises(PeerFault):
        node.take(Frame(type_, payload))
    assert node.handshake.peer is None


def test_a_kind_that_does_not_exist_is_malformed() -> None:
    with pytest.raises(Malformed):
        side(KEYS[0]).take(
            Frame(HELLO, encode((VERSION, CHAIN, 3, KEYS[1].public_key, A, ONE, "x")))
        )
