from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.consensus.messages import Type
from vppd.net.frames import encode_frame
from vppd.net.outgoing import HARD_BYTES, SHARED_BYTES, SOFT_BYTES, Outgoing, Shared, SlowReader

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


# ---------------------------------------------------------------- many queues


def test_all_queues_together_have_a_limit() -> None:
    assert SHARED_BYTES == 64 * 1024 * KIB
    shared = Shared(cap=1_000)
    queues = [Outgoing(soft=100, hard=400, shared=shared) for _ in range(4)]
    for queue in queues[:3]:
        for _ in range(3):
            queue.put(frame(Type.PREPARE, 100))
    assert shared.size == 900
    queues[3].put(frame(Type.PREPARE, 100))
    with pytest.raises(SlowReader, match="more than 100 bytes wait"):
        queues[3].put(frame(Type.PREPARE, 50))
    with pytest.raises(SlowReader, match="more than 100 bytes wait"):
        queues[0].put(frame(Type.PREPARE, 50))


def test_a_queue_that_is_empty_takes_a_long_answer_however_full_the_others_are() -> None:
    shared = Shared(cap=100)
    full, empty = Outgoing(shared=shared), Outgoing(soft=100, hard=400, shared=shared)
    full.put(frame(Type.BLOCKS, 100))
    assert empty.put(frame(Type.BLOCKS, 300))
    with pytest.raises(SlowReader):
        empty.put(frame(Type.BLOCKS, 10))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["put", "tx", "take", "clear"]))))
def test_what_is_shared_is_the_sum_of_all(steps: list[tuple[int, str]]) -> None:
    shared = Shared(cap=2_000)
    queues = [Outgoing(soft=500, hard=1_500, shared=shared) for _ in range(3)]
    for which, what in steps:
        queue = queues[which]
        if what == "take":
            queue.take(300)
        elif what == "clear":
            queue.clear()
        else:
            try:
                queue.put(frame(Type.TX if what == "tx" else Type.BLOCK, 200))
            except SlowReader:
                queue.clear()
        assert shared.size == sum(q.size for q in queues)
        assert shared.size <= 2_000 + 3 * 500
