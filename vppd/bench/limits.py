"""What this machine can do at best: signature checks, synced writes, loopback round trips.

Measured in the same run as what is compared to it, before the plant starts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vppd.bench.environment import in_memory
from vppd.crypto import SigningKey, verify
from vppd.ledger.transaction import sign_bytes

SECONDS = 1.0
START_S = 30.0
SMALL = 100
"""Bytes that go there and back."""
SIGNED: Final = sign_bytes(bytes(32), bytes(32))
"""As long as what is checked of a transaction: its id is signed, however long it is itself."""
_BATCH = 200
_SELF = (sys.executable, "-m", "vppd.bench.limits")


class Limits(NamedTuple):
    """Of one machine."""

    verify_per_s: float
    """Signature checks on all cores at once."""
    verify_us: float
    """CPU time of one."""
    fsync_p50_ms: float
    fsync_p99_ms: float
    loopback_rtt_us: float
    """Median round trip of 100 bytes between two processes."""


def measure(folder: Path) -> Limits:
    """All of them; takes two or three seconds.

    Args:
        folder: on the disk that stores are to be on.
    """
    rate, verify_us = verifies()
    p50, p99 = fsync_ms(folder)
    return Limits(rate, verify_us, p50, p99, loopback_us())


def verifies(seconds: float = SECONDS) -> tuple[float, float]:
    """Checks per second by one process per core, and CPU microseconds of one check."""
    command = [*_SELF, "verify", str(seconds)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(os.cpu_count() or 1)
    ]
    rate = cpu_s = checks = 0.0
    try:
        for worker in workers:
            _line(worker)  # it is ready
        for worker in workers:
            worker.stdin.write("go\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
        for worker in workers:
            count, wall, cpu = map(float, _line(worker).split())
            rate += count / wall
            cpu_s += cpu
            checks += count
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    return rate, cpu_s / checks * 1e6


def _line(worker: subprocess.Popen[str]) -> str:
    return worker.stdout.readline()  # type: ignore[union-attr]


def verify_for(seconds: float) -> tuple[int, float, float]:
    """Check one signature again and again: how often, and seconds of time and of CPU."""
    key, message = SigningKey(bytes(32)), SIGNED
    signature = key.sign(message)
    count = 0
    begun, spent = time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < seconds:
        for _ in range(_BATCH):
            verify(key.public_key, message, signature)
        count += _BATCH
    return count, time.perf_counter() - begun, time.process_time() - spent


def fsync_ms(folder: Path, count: int = 300) -> tuple[float, float]:
    """P50 and p99 of write and fdatasync of one page, over a file that does not grow."""
    samples = []
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        file.write(bytes(4_000_000))
        os.fsync(file.fileno())
        for i in range(count):
            started = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, 4096 * i)
            os.fdatasync(file.fileno())
            samples.append((time.perf_counter() - started) * 1e3)
    path.unlink()
    return statistics.median(samples), sorted(samples)[int(count * 0.99)]


def loopback_us(count: int = 1_000) -> float:
    """Median round trip of 100 bytes over TCP on loopback between two processes that block.

    Each has a core of its own, where there are two: left alone the system puts both on one core or
    not, as it likes, and the result would be one of two that differ by a factor.
    """
    done = subprocess.run(  # noqa: S603
        [*_SELF, "ping", str(count)], capture_output=True, text=True, timeout=START_S, check=True
    )
    return float(done.stdout)


def _ping(count: int) -> float:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(START_S)
        words = [*_SELF, "echo", str(server.getsockname()[1])]
        far = subprocess.Popen(words)  # noqa: S603
        _keep_to_core(0)  # only now: the other one is to have the choice
        try:
            with server.accept()[0] as near:
                _blocking(near)
                samples = [_round_trip_us(near) for _ in range(_BATCH + count)]
        finally:
            far.kill()
            far.wait()
    return statistics.median(samples[_BATCH:])


def _keep_to_core(which: int) -> None:
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[which]})


def _round_trip_us(near: socket.socket) -> float:
    started = time.perf_counter()
    near.sendall(bytes(SMALL))
    left = SMALL
    while left:
        got = len(near.recv(left))
        if not got:
            raise ConnectionError("the echo has ended")
        left -= got
    return (time.perf_counter() - started) * 1e6


def _blocking(connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _echo(port: int) -> None:
    _keep_to_core(-1)
    with socket.create_connection(("127.0.0.1", port)) as near:
        _blocking(near)
        while data := near.recv(SMALL):
            near.sendall(data)


def main(words: Sequence[str]) -> None:
    """What the functions above run as processes of their own, and ``all FOLDER`` as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started it ends it
    kind, argument = words
    if kind == "echo":
        _echo(int(argument))
    elif kind == "ping":
        print(_ping(int(argument)))  # noqa: T201
    elif kind == "all":
        found = {**measure(Path(argument))._asdict(), "in_memory": in_memory(Path(argument))}
        print(json.dumps(found))  # noqa: T201
    else:
        verify_for(0.05)
        print("ready", flush=True)  # noqa: T201  # a worker process: the answer
        sys.stdin.readline()
        print(*verify_for(float(argument)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
