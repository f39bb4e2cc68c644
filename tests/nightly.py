"""The long run: everything the test suite does a small portion of, one after the other.

``make nightly`` writes what each command printed last into docs/nightly.md, with its time and exit
code; ``python -m tests.nightly --only twins,fuzz`` runs some of it again and keeps the rest.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "nightly.md"
LINES_KEPT = 24
HEAD = """# The last long run

What `make nightly` printed, job by job: the last lines of each command. A job that found a
violation, or could not run, says so in its heading. [reliability.md](reliability.md) says what the
figures mean.
"""


class Job(NamedTuple):
    """One command of the long run."""

    name: str
    command: tuple[str, ...]


def _python(*words: str) -> tuple[str, ...]:
    return ("python", "-m", *words)


def _simulate(n: int, seeds: str, *more: str) -> tuple[str, ...]:
    return ("vppd", "simulate", "-n", str(n), "--seeds", seeds, *more)


SEEDS = {1: 150, 2: 150, 3: 150, 4: 150, 5: 120, 6: 90, 7: 70, 8: 50, 9: 40, 10: 35}
"""Plant sizes, and tenths of the seeds of engine bncm: large plants take long."""


def _paths(n: int, seeds: int) -> Iterator[Job]:
    """Six tenths on ``auto``, one of them with a failing link; two each on the other paths."""
    fail = ("--fail", f"{n - 1}=40%") if n > 3 else ()
    parts = (
        ("auto", 5, ()),
        ("failing", 1, fail),
        ("collect", 2, ("--path", "collect", "--operators", str(min(n, 2)))),
        ("broadcast", 2, ("--path", "broadcast")),
    )
    first = 1_000 * n
    for name, tenths, more in parts:
        last = first + tenths * seeds - 1
        yield Job(f"bncm-{n}-{name}", _simulate(n, f"{first}..{last}", *more))
        first = last + 1


ELECTED = {
    (4, 0): 640, (4, 3): 60, (5, 0): 220, (5, 3): 20,
    (7, 0): 40, (7, 3): 10, (10, 0): 10, (10, 3): 10,
}  # fmt: skip
"""Of engine dpos: (seats, how many more stand for election) and seeds, ten times over."""


def _elected() -> Iterator[Job]:
    """All produce, or more stand for election than seats; an election every eight heights."""
    for part in range(10):
        for (seats, more), seeds in ELECTED.items():
            first = 100_000 * seats + 10_000 * more + part * seeds
            options = () if more == 0 else ("--delegates", str(seats))
            drawn = f"{first}..{first + seeds - 1}"
            numbers = _simulate(seats + more, drawn, "--engine", "dpos", *options)
            yield Job(f"dpos-{part}-{seats}-of-{seats + more}", numbers)
    wide = ("--engine", "dpos", "--epoch-blocks", "32", "--delay", "20ms")
    faults = "network,crash,outage,partition,clock,storage,power"
    yield Job("dpos-wide-50", _simulate(50, "1..6", *wide, "--faults", faults))


def _members() -> Iterator[Job]:
    """People add, remove, re-key and readmit nodes meanwhile, and change engines and numbers."""
    for engine in ("bncm", "pbft"):
        for n in (1, 3, 4, 5, 7):
            words = ("--engine", engine, "--faults", "membership,all")
            yield Job(f"members-{engine}-{n}", _simulate(n, f"{n}001..{n}200", *words))
    dpos = ("--engine", "dpos", "--delegates", "4", "--faults", "membership,all")
    yield Job("members-dpos-6", _simulate(6, "6001..6200", *dpos))


JOBS = (
    *(job for n, seeds in SEEDS.items() for job in _paths(n, seeds)),
    *_elected(),
    *_members(),
    *(
        Job(f"long-{n}", _simulate(n, f"{n}001..{n}030", "--heights", str(60 + 14 * n)))
        for n in range(1, 11)
    ),
    *(Job(f"pbft-{n}", _simulate(n, f"{n}001..{n}100", "--engine", "pbft")) for n in range(1, 11)),
    Job("walk", _python("tests.consensus.walk", "--seeds", "1..5000")),
    Job("walk-pbft", _python("tests.consensus.walk", "--engine", "pbft", "--seeds", "1..5000")),
    *(
        Job(f"walk-{path}", _python("tests.consensus.walk", "--path", path, "--seeds", "1..2500"))
        for path in ("collect", "broadcast")
    ),
    Job("twins", _simulate(4, "1", "--twins", "3", "--limit", "216000")),
    Job("broken", _python("tests.simulate.broken")),
    Job("fuzz", _python("tests.hostile.fuzz", "--frames", "5000000")),
    Job("replay", _python("tests.hostile.replay", "--messages", "100000")),
    Job("siege", _python("tests.hostile.siege")),
    Job("kills", _python("tests.chaos.kills", "--cycles", "100")),
    Job("operators", _python("tests.chaos.operators", "--times", "10")),
    Job("blackout", _python("tests.chaos.blackout", "--times", "20")),
    Job("pauses", _python("tests.chaos.pauses", "--times", "6")),
    Job("disk-full", _python("tests.chaos.disk_full", "--times", "3")),
    Job("torn-node", _python("tests.chaos.torn_node", "--n", "40")),
    Job("coming-and-going", _python("tests.chaos.membership")),
    Job("joining", _python("tests.chaos.joining", "--blocks", "50000", "--kills", "20")),
    Job("torn-store", _python("tests.store.torn", "--n", "500")),
    Job("flips", _python("tests.store.flips", "--n", "5000")),
    Job("partitions", _python("tests.chaos.partitions", "--minutes", "3")),
)


def main() -> None:
    """Run the jobs and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="names, or beginnings of names")
    chosen = tuple(word for word in parser.parse_args().only.split(",") if word)
    jobs = [job for job in JOBS if not chosen or job.name.startswith(chosen)]
    if not jobs:
        sys.exit(f"no such job; there are {', '.join(job.name for job in JOBS)}")
    sections = _read() if chosen else {}
    failed = []
    for number, job in enumerate(jobs, 1):
        print(f"[{number}/{len(jobs)}] {' '.join(job.command)}", flush=True)  # noqa: T201
        started = time.monotonic()
        code, text = _run(job)
        minutes = (time.monotonic() - started) / 60
        if code:
            failed.append(job.name)
        sections[job.name] = _section(job, code, minutes, text)
        _write(sections)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(job: Job) -> tuple[int, str]:
    """Its exit code and everything it printed; shown while it runs."""
    word, *rest = job.command
    program = sys.executable if word == "python" else str(Path(sys.executable).with_name(word))
    lines: list[str] = []
    with subprocess.Popen(
        (program, *rest), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)  # noqa: T201
            lines.append(line.rstrip("\n"))
    return process.returncode, "\n".join(lines)


def _section(job: Job, code: int, minutes: float, text: str) -> str:
    # A progress bar overwrites its line: only what stood there last is worth keeping.
    last = [line.rpartition("\r")[2] for line in text.splitlines()][-LINES_KEPT:]
    verdict = "" if code == 0 else f" — failed, exit {code}"
    return "\n".join(
        [
            f"## {job.name}{verdict}",
            "",
            f"`{' '.join(job.command)}`, {minutes:.1f} min, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "",
            "```text",
            *last,
            "```",
            "",
        ]
    )


def _read() -> dict[str, str]:
    """The sections that are on the page."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part[3:].split()[0]: part.rstrip("\n") + "\n" for part in parts}


def _write(sections: dict[str, str]) -> None:
    order = [job.name for job in JOBS]
    known = sorted((name for name in sections if name in order), key=order.index)
    PAGE.write_text("\n".join([HEAD, *(sections[name] for name in known)]), encoding="utf-8")


if __name__ == "__main__":
    main()
