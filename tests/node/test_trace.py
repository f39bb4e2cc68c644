"""What was said lately: bounded, in order, and read in pages."""

from __future__ import annotations

import json

import pytest

from tests.wire_samples import CERTIFICATE, HEADER, SAMPLES, SIG, TXS, D
from vppd.codec import encode
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    Blocks,
    Collected,
    DecidedBlock,
    Prepare,
    Status,
    Type,
)
from vppd.crypto import key_text
from vppd.net.gate import decode_message
from vppd.net.sync import SYNC_TYPES
from vppd.node.trace import (
    PAGE_BYTES,
    PER_HEIGHT,
    QUIET,
    TOKEN_BYTES,
    Trace,
    Who,
    frame_of,
    write_lines,
)

NAMES = ("op-0", "der-1", "der-2", "der-3")
KEYS = tuple(bytes([i]) * 32 for i in range(4))


def whose(number: int) -> Who:
    return Who(NAMES[number], KEYS[number])


VOTE = Prepare(0, 1, 7, D, 2, SIG)


def big(size: int) -> Block:
    return Block(0, 1, 7, D, 1, HEADER.encode(), (bytes(size),), SIG, SIG)


def test_a_message_is_logged_as_in_the_paper() -> None:
    trace = Trace(4)
    trace.note(1_000, 7, 0, None, (Type.BLOCK, encode(big(3))))
    trace.note(1_001, 7, 2, (0,), Collected(0, 1, 7, D, 2, SIG))
    rows, following, left_out = trace.page(7, 0, whose)
    assert (following, left_out) == (None, 0)
    said = [tuple(row.values())[:-1] for row in rows]
    assert said == [
        (1_000, "op-0", key_text(KEYS[0]), "all", "block", 7, 1, D.hex()[:8], "collect"),
        (1_001, "der-2", key_text(KEYS[2]), "op-0", "received", 7, 1, D.hex()[:8], "collect"),
    ]
    assert decode_message(*frame_of(rows[0])) == big(3)


def test_every_message_that_decides_something_is_recorded_and_no_other() -> None:
    trace = Trace(4)
    for sample in SAMPLES:
        message = decode_message(TYPE_OF[type(sample)], encode(sample))
        trace.note(0, 7, 1, (0,), message)
    rows, _, _ = trace.page(7, 0, whose)
    recorded = {Type(frame_of(row)[0]) for row in rows}
    assert recorded == set(Type) - QUIET - SYNC_TYPES
    for row in rows:
        assert decode_message(*frame_of(row)) in SAMPLES
        json.dumps(row)


def test_a_path_nobody_knows_is_shown_as_none() -> None:
    trace = Trace(1)
    trace.note(0, 7, 0, None, Block(0, 1, 7, D, 9, HEADER.encode(), TXS, SIG, SIG))
    assert trace.page(7, 0, whose)[0][0]["path"] is None


def test_the_oldest_heights_are_forgotten() -> None:
    trace = Trace(3)
    for height in range(1, 10):
        trace.note(0, height, 2, (0,), VOTE)
    assert trace.heights == (7, 8, 9)
    with pytest.raises(KeyError):
        trace.page(6, 0, whose)


def test_bytes_are_bounded_over_all_heights() -> None:
    size = 10_000
    trace = Trace(64, most_bytes=5 * (size + TOKEN_BYTES))
    for height in range(1, 20):
        trace.note(0, height, 0, (1,), big(size))
    assert trace.heights == (15, 16, 17, 18, 19)


def test_one_height_is_bounded_and_says_what_it_lacks() -> None:
    trace = Trace(2, most_bytes=3 * TOKEN_BYTES)
    for _ in range(5):
        trace.note(0, 1, 2, (0,), VOTE)
    assert trace.page(1, 0, whose)[2] == 2
    assert len(trace.page(1, 0, whose)[0]) == 3
    long = Trace(2)
    for _ in range(PER_HEIGHT + 1):
        long.note(0, 1, 2, (0,), VOTE)
    assert long.page(1, 0, whose)[2] == 1


def test_what_sits_still_is_not_recorded() -> None:
    trace = Trace(2)
    trace.note(0, 1, 2, (0,), Status(0, 7, 1, 0))
    assert trace.heights == ()
    off = Trace(0)
    off.note(0, 1, 2, (0,), VOTE)
    assert off.heights == ()


def test_pages_follow_on_each_other() -> None:
    trace = Trace(1)
    for number in range(10):
        trace.note(number, 1, 0, (1,), big(PAGE_BYTES // 3))
    rows, first, pages = [], 0, 0
    following: int | None = 0
    while following is not None:
        part, following, _ = trace.page(1, first, whose)
        rows += part
        first = following or 0
        pages += 1
    assert [row["time_ms"] for row in rows] == list(range(10))
    assert pages > 3


def test_a_message_larger_than_a_page_is_one_page() -> None:
    trace = Trace(1)
    trace.note(0, 1, 0, (1,), big(2 * PAGE_BYTES))
    trace.note(1, 1, 0, (1,), VOTE)
    rows, following, _ = trace.page(1, 0, whose)
    assert (len(rows), following) == (1, 1)


def test_several_blocks_are_as_many_rows() -> None:
    block = DecidedBlock(HEADER.encode(), TXS, CERTIFICATE)
    trace = Trace(1)
    trace.note(0, 1, 0, (1,), Blocks((block, block, block)))
    rows, _, _ = trace.page(1, 0, whose)
    assert [decode_message(*frame_of(row)) for row in rows] == [Blocks((block,))] * 3


def test_an_observer_has_no_name() -> None:
    trace = Trace(1)
    trace.note(0, 1, None, (1,), Agree(CERTIFICATE))
    assert trace.page(1, 0, whose)[0][0]["sender"] == "observer"


def test_a_file_has_one_line_for_each_message() -> None:
    trace = Trace(1)
    trace.note(0, 1, 2, (0,), VOTE)
    rows, _, _ = trace.page(1, 0, whose)
    lines = list(write_lines({"trace": 1}, rows))
    assert [json.loads(line) for line in lines] == [{"trace": 1}, *rows]


@pytest.mark.parametrize("frame", ["", "!!", "A"])
def test_a_row_without_a_frame_is_refused(frame: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason
        frame_of({"frame": frame})


def test_types_of_samples_are_all_types() -> None:
    assert {TYPE_OF[type(sample)] for sample in SAMPLES} == set(Type) - SYNC_TYPES
