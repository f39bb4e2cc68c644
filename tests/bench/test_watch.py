"""What nodes say of themselves, made into figures of the run alone, in this machine's time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vppd.bench.plant import Plant, Seat, Senders
from vppd.bench.watch import Mark, Watch, between, since
from vppd.bench.workload import Slots
from vppd.config.genesis import Engine
from vppd.simulate.plant import sim_genesis

S = 1_000_000_000


def usage(**changed: Any) -> dict[str, Any]:
    return {
        "cpu_us": 1_000, "out": {"block": [2, 800]}, "in": {"tx": [5, 500]}, "dropped": 1,
        "persists": 3, "persist_us": 6_000,
    } | changed  # fmt: skip


def test_of_a_node_that_ran_before_only_the_difference_counts() -> None:
    later = usage(
        cpu_us=9_000, out={"block": [5, 2_000], "33": [1, 90]}, dropped=1, persists=10,
        persist_us=20_000,
    )  # fmt: skip
    used = since(usage(), later)
    assert used.same
    assert (used.frames_out, used.bytes_out) == (
        {"block": 3, "proof": 1},
        {"block": 1_200, "proof": 90},
    )
    assert (used.frames_in, used.dropped, used.persists, used.persist_s) == ({}, 0, 7, 0.014)


def test_a_node_that_began_anew_is_taken_whole() -> None:
    for before in (usage(cpu_us=50_000), None):
        used = since(before, usage())
        assert not used.same
        assert (used.frames_out, used.persists, used.dropped) == ({"block": 2}, 3, 1)


def watch_of(*addresses: str) -> Watch:
    seats = [Seat(f"n{i}", addr, None) for i, addr in enumerate(addresses)]
    genesis = sim_genesis(len(seats), Engine("bncm"))
    return Watch(Plant(genesis, Path("genesis.toml"), seats, Senders((), (), Slots(0, 0, 0))))


def test_the_clocks_of_one_machine_are_one() -> None:
    watch = watch_of("127.0.0.1:1", "127.0.0.1:2")
    watch._learn_clock(0, [(1, None, 5)])
    watch.proposed_ns[1], watch.proposer[1] = 77, 0
    assert watch.proposed_at(1) == 77


def test_a_clock_elsewhere_is_known_by_what_was_decided_before_it_was_heard_of() -> None:
    watch = watch_of("10.0.0.1:1", "10.0.0.2:1")
    ahead = 1_000 * S  # that machine has been up for so much longer
    for late_ns in (300_000_000, 20_000_000, 400_000_000):
        watch._learn_clock(1, [(1, None, time.monotonic_ns() + ahead - late_ns)])
    watch._learn_clock(1, [])
    watch.proposed_ns[1], watch.proposer[1] = time.monotonic_ns() + ahead, 1
    off_ns = watch.proposed_at(1) - time.monotonic_ns()
    assert 0 <= off_ns < 5 * S, "at most as late as the quickest answer, and this machine's work"
    assert watch.commit_us(2, 0, 2**62) == [], "no row of that height"


def test_cpu_is_of_the_time_between_a_node_s_own_answers() -> None:
    """A busy node answers late: what it used meanwhile is not of the measured time."""
    status = {"height": 7, "decisions": {}, "fallbacks": {}}
    rows = [(0.0, 0, (0.0, 0.0)), (10.0, 5_000_000, (10.0, 12.5))]
    first, last = (
        Mark(at_s, (status, status), (said, said), answered)
        for at_s, cpu_us, answered in rows
        for said in [usage(cpu_us=cpu_us, rss_bytes=1)]
    )
    assert between(first, last).cpu_s == [5.0, 4.0]


def test_what_is_decided_between_two_questions_is_asked_for_again() -> None:
    watch = watch_of("127.0.0.1:1")
    watch._learn(0, [(1, 10, 20)], [{"height": 1}, {"height": 2}])
    watch._learn(0, [(2, 30, 40), (3, 50, 60)], [{"height": 2}])
    watch._learn(0, [(3, 50, 60)], [{"height": 3}])
    assert list(watch.heights[0]) == [1, 2, 3]
    assert watch.decided_ns == {1: [20], 2: [40], 3: [60]}
    assert watch.proposed_ns == {1: 10, 2: 30, 3: 50}
