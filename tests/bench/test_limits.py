"""This machine's limits and description: measured, not made up."""

from __future__ import annotations

import time
from pathlib import Path

from vppd.bench.environment import commit, environment, filesystem, in_memory
from vppd.bench.limits import crypto_us, fsync_ms, loopback_us, verifies
from vppd.bench.plan import Plan


def test_checks_per_second_and_the_cpu_time_of_one_belong_together() -> None:
    rate, verify_us = verifies(0.3)
    assert rate > 0
    one, _ = crypto_us(200)
    assert 0.2 * one < verify_us < 5 * one, "the same work, by CPU time and by the clock"


def test_synced_writes_are_written_where_they_are_asked_for_and_leave_nothing(
    tmp_path: Path,
) -> None:
    p50, p99 = fsync_ms(tmp_path, 50)
    assert 0 < p50 <= p99
    assert list(tmp_path.iterdir()) == []


def test_a_round_trip_takes_time_and_less_than_all_of_them() -> None:
    begun = time.perf_counter()
    rtt_us = loopback_us(50)
    assert 0 < rtt_us < (time.perf_counter() - begun) * 1e6


def test_the_place_is_this_one(tmp_path: Path) -> None:
    where = environment(Plan(), tmp_path)
    assert where["tls"] == "TLSv1.3"
    assert environment(Plan(transport="plain"), tmp_path)["tls"] is None
    assert where["disk"] == filesystem(tmp_path)
    assert where["memory_bytes"] > 2**26
    known = commit()
    assert known is None or len(known.removesuffix("+")) == 40


def test_what_lies_in_memory_is_known_for_it() -> None:
    assert in_memory(Path("/dev/shm")) or not Path("/dev/shm").is_mount()  # noqa: S108
    assert not in_memory(Path("/proc"))
