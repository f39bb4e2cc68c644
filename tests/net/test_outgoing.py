from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.consensus.messages import Type
from vppd.net.frames import encode_frame
from vppd.net.outgoing import HARD_BYTES, SOFT_BYTES, Outgoing, SlowReader

KIB = 1024


def frame(type_: int, size: int) -> bytes:
    return encode_frame(type_, bytes(size - 5))


def test_the_limits_are_one_and_four_mebibytes() -> None:
    assert (SOFT_BYTES, HARD_BYTES) == (1024 * KIB, 4096 * KIB)


def test_frames_leave_in_the_order_they_came() -> None:
    queue = Outgoing()
    frames = [frame(Type.PREPARE, 10 + i) for i in range(5)]
    for one in frames:
        assert queue.put(one)
    assert queue.take(10**6) == frames
    assert not queue
    assert queue.size == 0


def test_a_batch_stops_at_its_budget_but_is_never_empty() -> None:
    queue = Outgoing()
    for _ in range(4):
        queue.put(frame(Type.BLOCK, 300))
    assert len(queue.take(1)) == 1
    assert len(queue.take(301)) == 2
    assert len(queue.take(301)) == 1
    assert queue.take(301) == []


def test_gossip_is_not_queued_above_the_soft_limit() -> None:
    queue = Outgoing(soft=100, hard=400)
    assert queue.put(frame(Type.PREPARE, 60))
    assert not queue.put(frame(Type.TX, 50))
    assert queue.put(frame(Type.TX, 40))
    assert (queue.size, queue.dropped) == (100, 1)


def test_queued_gossip_makes_room_for_votes_first() -> None:
    queue = Outgoing(soft=100, hard=400)
    queue.put(frame(Type.TX, 50))
    queue.put(frame(Type.PREPARE, 20))
    queue.put(frame(Type.TX, 30))
    assert queue.put(frame(Type.COMMIT, 40))
    assert queue.dropped == 2
    assert [one[4] for one in queue.take(1_000)] == [Type.PREPARE, Type.COMMIT]


def test_at_the_hard_limit_gossip_alone_cuts_nobody() -> None:
    queue = Outgoing(soft=100, hard=100)
    queue.put(frame(Type.TX, 90))
    assert queue.put(frame(Type.BLOCK, 100))
    assert queue.size == 100


def test_beyond_the_hard_limit_the_reader_is_too_slow() -> None:
    queue = Outgoing(soft=100, hard=400)
    for _ in range(4):
        assert queue.put(frame(Type.PREPARE, 100))
    with pytest.raises(SlowReader, match="more than 400 bytes"):
        queue.put(frame(Type.PREPARE, 5))


puts = st.tuples(st.sampled_from([Type.TX, Type.PREPARE, Type.BLOCK]), st.integers(5, 120))
takes = st.integers(1, 300)


@given(st.lists(puts | takes, max_size=60))
def test_size_is_what_waits_and_only_gossip_is_lost(actions: list[tuple[Type, int] | int]) -> None:
    queue = Outgoing(soft=200, hard=500)
    kept, taken = [], []
    for action in actions:
        if isinstance(action, int):
            taken += queue.take(action)
            continue
        one = frame(*action)
        try:
            queue.put(one)
        except SlowReader:
            assert queue.size + len(one) > 500
            break
        if action[0] is not Type.TX:
            kept.append(one)
        assert queue.size <= 500
    waiting = queue.size
    rest = queue.take(10**6)
    assert waiting == sum(map(len, rest))
    assert [one for one in taken + rest if one[4] != Type.TX] == kept
