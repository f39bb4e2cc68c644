"""How a micro-benchmark is timed, so that two runs and two machines compare.

A sample is timed between two runs of a calibration loop, the *yardstick*, and the least of several
counts: what else the machine does only ever adds. Time is the process's own CPU time over all its
threads, but for what waits for the disk. Setting up is not timed, the garbage collector is off
meanwhile, and the result is also stated in turns of the yardstick, which is what to compare across
machines.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from vppd.crypto import SigningKey, verify

Work: TypeAlias = Callable[[], object]
"""What is timed."""
Prepare: TypeAlias = Callable[[], AbstractContextManager[Work]]
"""Sets up one sample and tidies up after it."""
Yardstick: TypeAlias = Literal["python", "verify", "disk"]
"""The interpreter; libsodium; the disk."""

PYTHON_TURNS = 4_000
VERIFY_TURNS = 40
DISK_TURNS = 16
PAGE_BYTES = 4_096
SIGNED_BYTES = 70
"""What a transaction's signature covers."""
MEANING: dict[Yardstick, str] = {
    "python": "one turn of a loop over dict, tuple, bytes and int in the interpreter",
    "verify": f"libsodium verifying one ed25519 signature over {SIGNED_BYTES} bytes",
    "disk": f"writing and fdatasync of one page of {PAGE_BYTES} bytes",
}


class Benchmark(NamedTuple):
    """One thing to measure."""

    name: str
    """Room, a dot, and what."""
    unit: str
    """What a sample holds ``items`` of."""
    items: int
    prepare: Prepare
    against: Yardstick = "python"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark came to."""

    name: str
    unit: str
    us: float
    """Microseconds per unit: CPU time, or real time where the yardstick is the disk."""
    ratio: float
    """The same in turns of the yardstick."""
    against: Yardstick
    turn_us: float
    """One turn of the yardstick, beside this benchmark."""
    spread: float
    """How far the median sample lies above the least, as a share of it."""
    samples: int


def steady(make: Callable[[], Work]) -> Prepare:
    """For work that changes nothing, or whose setting up needs no tidying."""

    @contextmanager
    def prepare() -> Iterator[Work]:
        yield make()

    return prepare


def python_loop() -> int:
    """Fixed work for the interpreter alone: what protocol code is made of."""
    table: dict[bytes, tuple[int, bytes]] = {}
    total = 0
    for i in range(PYTHON_TURNS):
        key = (i * 2_654_435_761).to_bytes(8, "big")
        table[key] = (i, key[:4])
        total += len(table[key][1]) + (i & 7)
    return total


def _verify_loop() -> Work:
    key, message = SigningKey(bytes(32)), bytes(SIGNED_BYTES)
    signature = key.sign(message)

    def loop() -> None:
        for _ in range(VERIFY_TURNS):
            if not verify(key.public_key, message, signature):
                raise AssertionError("libsodium refuses its own signature")

    return loop


def _disk_loop(file: int) -> Work:
    page = bytes(PAGE_BYTES)

    def loop() -> None:
        for turn in range(DISK_TURNS):
            os.pwrite(file, page, turn * PAGE_BYTES)
            os.fdatasync(file)

    return loop


@contextmanager
def yardstick(which: Yardstick) -> Iterator[Callable[[], float]]:
    """A function that times one run of the calibration loop, in microseconds per turn.

    The disk's writes to a file that does not grow, in the folder for temporary files.
    """
    if which == "disk":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page"
            path.write_bytes(bytes(PAGE_BYTES * DISK_TURNS))
            file = os.open(path, os.O_WRONLY)
            try:
                os.fsync(file)
                yield partial(_per_turn, _disk_loop(file), DISK_TURNS, time.perf_counter_ns)
            finally:
                os.close(file)
    elif which == "verify":
        yield partial(_per_turn, _verify_loop(), VERIFY_TURNS, time.process_time_ns)
    else:
        yield partial(_per_turn, python_loop, PYTHON_TURNS, time.process_time_ns)


def _per_turn(work: Work, turns: int, clock: Callable[[], int]) -> float:
    return timed_us(work, clock) / turns


def timed_us(work: Work, clock: Callable[[], int]) -> float:
    """Microseconds of one run, with the garbage collector off."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        begun = clock()
        work()
        return (clock() - begun) / 1_000
    finally:
        if enabled:
            gc.enable()


def measure(benchmark: Benchmark, samples: int) -> Measured:
    """The least of so many samples, each between two runs of the yardstick.

    Args:
        benchmark: what to measure.
        samples: at least one.
    """
    clock = time.perf_counter_ns if benchmark.against == "disk" else time.process_time_ns
    costs: list[float] = []
    turns: list[float] = []
    with yardstick(benchmark.against) as turn_us:
        turns.append(turn_us())
        for _ in range(samples):
            with benchmark.prepare() as work:
                costs.append(timed_us(work, clock) / benchmark.items)
            turns.append(turn_us())
    best, turn = min(costs), min(turns)
    return Measured(
        name=benchmark.name,
        unit=benchmark.unit,
        us=_rounded(best),
        ratio=_rounded(best / turn),
        against=benchmark.against,
        turn_us=_rounded(turn),
        spread=round(statistics.median(costs) / best - 1, 3),
        samples=samples,
    )


def _rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def names(benchmarks: Sequence[Benchmark], wanted: Sequence[str]) -> list[Benchmark]:
    """Those whose name begins with one of the words; all without words."""
    return [b for b in benchmarks if not wanted or any(b.name.startswith(w) for w in wanted)]
