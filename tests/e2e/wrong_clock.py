"""``python -m tests.e2e.wrong_clock FILE start …``: vppd on a machine whose Unix clock is off.

FILE says by how many milliseconds, and is read with the clock, so that it can change while the node
runs. Only what the process reads as Unix time is off; its monotonic clock is as it is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.e2e.plant import Node


class Skew(NamedTuple):
    """How far the clock of one node's machine is off."""

    file: Path

    def set(self, offset_ms: int) -> None:
        """At once, also while the node runs."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(offset_ms))
        fresh.replace(self.file)


def skewed(node: Node, offset_ms: int = 0) -> Skew:
    """Let a node that is not started yet run on such a machine."""
    skew = Skew(node.home / "clock.ms")
    skew.set(offset_ms)
    node.program = ("tests.e2e.wrong_clock", str(skew.file))
    return skew


def main() -> None:
    """Shift the clock, then do what ``vppd`` does."""
    file = sys.argv.pop(1)
    true_ns = time.time_ns

    def time_ns() -> int:
        with open(file, "rb", buffering=0) as skew:
            return true_ns() + int(os.read(skew.fileno(), 32)) * 1_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    from vppd.cli.main import run

    run()


if __name__ == "__main__":
    main()
