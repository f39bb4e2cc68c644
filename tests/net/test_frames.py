from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.consensus.messages import CAP, Type
from vppd.net.frames import (
    ANSWER_CAPS,
    OPENING_CAPS,
    PEER_CAPS,
    PROOF,
    PUSH,
    REFUSE,
    REQUEST,
    REQUEST_CAPS,
    RESPONSE,
    Frame,
    FrameError,
    FrameParser,
    announced,
    encode_frame,
)

CAPS = {1: 40, 2: 0, 200: 1_000}
frames = st.sampled_from(sorted(CAPS)).flatmap(
    lambda type_: st.builds(Frame, st.just(type_), st.binary(max_size=CAPS[type_]))
)


def parse(pieces: Iterable[bytes]) -> tuple[list[Frame], str | None]:
    """Frames before the first one refused, and why that was."""
    parser = FrameParser(CAPS)
    found: list[Frame] = []
    try:
        for piece in pieces:
            for frame in parser.feed(piece):
                found += (frame,)
    except FrameError as err:
        return found, str(err)
    return found, None


def joined(sequence: list[Frame]) -> bytes:
    return b"".join(encode_frame(*frame) for frame in sequence)


@st.composite
def chunked(draw: st.DrawFn, stream: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(stream)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=30)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_a_frame_is_length_of_type_and_payload_then_type_then_payload() -> None:
    assert encode_frame(5, b"abc") == b"\x00\x00\x00\x04\x05abc"


@given(st.lists(frames, max_size=12), st.data())
def test_any_chunking_of_any_frames_parses_equal(
    sequence: list[Frame], data: st.DataObject
) -> None:
    pieces = data.draw(chunked(st.just(joined(sequence))))
    assert parse(pieces) == (sequence, None)


@given(st.lists(frames, max_size=3), chunked(st.binary(max_size=60)))
def test_garbage_is_refused_at_the_same_frame_however_it_arrives(
    before: list[Frame], garbage: list[bytes]
) -> None:
    good = joined(before)
    assert parse([good, *garbage]) == parse([good + b"".join(garbage)])


@given(st.lists(frames, min_size=1, max_size=3), chunked(st.binary(max_size=60)))
def test_frames_before_the_refused_one_are_given_out(
    before: list[Frame], garbage: list[bytes]
) -> None:
    found, _ = parse([joined(before), *garbage])
    assert found[: len(before)] == before


@given(st.integers(1, 2**32 - 1), st.integers(0, 255))
def test_five_bytes_are_enough_to_refuse(size: int, type_: int) -> None:
    header = encode_frame(type_, b"")[4:].rjust(1)
    header = size.to_bytes(4, "big") + header
    cap = CAPS.get(type_)
    if cap is not None and size - 1 <= cap:
        assert announced(header, CAPS) == (size - 1, type_)
        return
    with pytest.raises(FrameError) as refused:
        list(FrameParser(CAPS).feed(header))
    assert (refused.value.size, refused.value.type, refused.value.cap) == (size, type_, cap)
    assert str(size) in str(refused.value)


def test_two_gibibytes_announced_allocate_nothing() -> None:
    parser = FrameParser(PEER_CAPS)
    header = (2**31).to_bytes(4, "big") + bytes([Type.BLOCK])
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=f"type 1 announces {2**31} bytes"):
            list(parser.feed(header))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


def test_memory_is_what_has_arrived_not_what_is_announced() -> None:
    parser = FrameParser(PEER_CAPS)
    header = (CAP[Type.BLOCK] + 1).to_bytes(4, "big") + bytes([Type.BLOCK])
    tracemalloc.start()
    try:
        assert list(parser.feed(header + b"few")) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


def test_a_length_of_zero_is_refused() -> None:
    with pytest.raises(FrameError, match="length 0"):
        list(FrameParser(CAPS).feed(bytes(5)))


def test_the_cap_is_reached_but_not_passed() -> None:
    whole = encode_frame(1, bytes(CAPS[1]))
    assert list(FrameParser(CAPS).feed(whole)) == [Frame(1, bytes(CAPS[1]))]
    with pytest.raises(FrameError, match="its cap is 41"):
        list(FrameParser(CAPS).feed(encode_frame(1, bytes(CAPS[1] + 1))))


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(FrameError, match=r"type 3 .* is not spoken here"):
        list(FrameParser(CAPS).feed(encode_frame(3, b"")))


def test_caps_may_be_exchanged_between_two_frames_of_one_chunk() -> None:
    parser = FrameParser({1: 10})
    given_out = parser.feed(encode_frame(1, b"a") + encode_frame(7, b"b"))
    assert next(given_out) == Frame(1, b"a")
    parser.caps = {7: 1}
    assert next(given_out) == Frame(7, b"b")


@pytest.mark.parametrize("length", range(1, 8))
def test_a_frame_that_has_begun_is_partial_until_it_is_complete(length: int) -> None:
    whole = encode_frame(1, b"abc")
    parser = FrameParser(CAPS)
    assert not parser.partial
    assert list(parser.feed(whole[:length])) == []
    assert parser.partial
    assert list(parser.feed(whole[length:])) == [Frame(1, b"abc")]
    assert not parser.partial


def test_a_block_in_small_pieces_is_copied_at_most_twice() -> None:
    """Quadratic copying of 1 MiB in pieces of 64 bytes would move 8 GiB."""
    payload = bytes(CAP[Type.BLOCK])
    whole = encode_frame(Type.BLOCK, payload)
    parser = FrameParser(PEER_CAPS)
    found = [frame for at in range(0, len(whole), 64) for frame in parser.feed(whole[at : at + 64])]
    assert found == [Frame(Type.BLOCK, payload)]


def test_before_the_hello_is_over_only_the_hello_is_spoken() -> None:
    assert set(OPENING_CAPS) == {32, 33, 34}
    assert max(OPENING_CAPS.values()) == 512


def test_nodes_speak_every_message_with_its_own_cap() -> None:
    assert {t: PEER_CAPS[t] for t in CAP} == CAP
    assert set(PEER_CAPS) - set(CAP) == {REFUSE}


def test_clients_ask_small_and_are_answered_large() -> None:
    assert REQUEST_CAPS == {REQUEST: 64 * 1024, REFUSE: 320}
    assert ANSWER_CAPS[RESPONSE] == ANSWER_CAPS[PUSH] == 1024 * 1024 + 64 * 1024
    assert PROOF not in REQUEST_CAPS
