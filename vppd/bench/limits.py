"""What this machine can do at best: signature checks, synced writes, loopback round trips.

Measured in the same run as what is compared to it, before the plant starts.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vppd.crypto import SigningKey, verify

SECONDS = 1.0
_BATCH = 200


class Limits(NamedTuple):
    """Of one machine."""

    verify_per_s: float
    """Signature checks on all cores at once."""
    verify_us: float
    """CPU time of one."""
    fsync_p50_ms: float
    fsync_p99_ms: float
    loopback_rtt_us: float
    """Median round trip of 100 bytes."""


def measure(folder: Path) -> Limits:
    """All of them; takes about two seconds.

    Args:
        folder: on the disk that stores are to be on.
    """
    rate, verify_us = verifies()
    p50, p99 = fsync_ms(folder)
    return Limits(rate, verify_us, p50, p99, loopback_us())


def verifies(seconds: float = SECONDS) -> tuple[float, float]:
    """Checks per second by one process per core, and CPU microseconds of one check."""
    command = [sys.executable, "-m", "vppd.bench.limits", str(seconds)]
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
    key, message = SigningKey(bytes(32)), bytes(70)
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


def crypto_us(count: int = 2_000) -> tuple[float, float]:
    """One signature check and one signature, on one core."""
    key, message = SigningKey(bytes(32)), bytes(120)
    signature = key.sign(message)

    def each(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - started) / count * 1e6

    return each(lambda: verify(key.public_key, message, signature)), each(lambda: key.sign(message))


def loopback_us(count: int = 500) -> float:
    """Median round trip of 100 bytes over TCP on loopback, between two threads that block."""

    def echo() -> None:
        with server.accept()[0] as far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := far.recv(100):
                far.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=echo)
        thread.start()
        samples = []
        with socket.create_connection(server.getsockname()) as near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                started = time.perf_counter()
                near.sendall(bytes(100))
                left = 100
                while left:
                    left -= len(near.recv(left))
                samples.append((time.perf_counter() - started) * 1e6)
        thread.join()
    return statistics.median(samples)


def main() -> None:
    """One core's share of :func:`verifies`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started it ends it
    verify_for(0.05)
    print("ready", flush=True)  # noqa: T201  # a worker process: the answer
    sys.stdin.readline()
    print(*verify_for(float(sys.argv[1])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
