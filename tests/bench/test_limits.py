"""This machine's limits and description: measured, not made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from vppd.bench.environment import commit, environment, filesystem, in_memory
from vppd.bench.limits import (
    SIGNED,
    Limits,
    fsync_ms,
    loopback_us,
    verifies,
    verify_for,
)
from vppd.bench.plan import Plan
from vppd.crypto import SigningKey
from vppd.ledger.transaction import Transfer, make_transaction


def test_checks_per_second_and_the_cpu_time_of_one_belong_together() -> None:
    rate, verify_us = verifies(0.3)
    assert rate > 0
    count, _, cpu_s = verify_for(0.1)
    one = cpu_s / count * 1e6
    assert 0.2 * one < verify_us < 5 * one, "the same work, alone and by all cores"
    assert rate < 1.5e6 / verify_us * (os.cpu_count() or 1), "as many processes as cores"


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


def test_round_trips_are_between_two_processes(tmp_path: Path) -> None:
    seen = tmp_path / "execs"
    wrapped = tmp_path / "python"
    wrapped.write_text(f'#!/bin/sh\necho "$3" >> {seen}\nexec {sys.executable} "$@"\n')
    wrapped.chmod(0o755)
    code = (
        "import sys; from vppd.bench import limits; "
        f"limits._SELF = ({str(wrapped)!r}, '-m', 'vppd.bench.limits'); print(limits._ping(20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0
    assert seen.read_text().split() == ["echo"]


def test_what_is_checked_is_as_long_as_what_a_sender_signs() -> None:
    signer = SigningKey(bytes(32))
    signed: list[bytes] = []

    class Noting:
        public_key = signer.public_key

        def sign(self, message: bytes) -> bytes:
            signed.append(message)
            return signer.sign(message)

    for transfers in (1, 50):  # however long the transaction is
        make_transaction(Noting(), bytes(32), 0, 9, [Transfer(bytes(32), 1)] * transfers)
    assert {len(message) for message in signed} == {len(SIGNED)}


def test_limits_are_printed_for_a_controller_elsewhere(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "vppd.bench.limits", "all", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) == {*Limits._fields, "in_memory"}
    assert found.pop("in_memory") is in_memory(tmp_path)
    assert all(value > 0 for value in found.values())
    assert list(tmp_path.iterdir()) == []


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
