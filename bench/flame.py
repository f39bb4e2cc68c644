"""A flame graph of collapsed stacks, for docs/performance.md.

    py-spy record -d 5 -r 250 -f raw -o stacks.txt -p PID
    python bench/flame.py stacks.txt docs/images/flame-leader.svg

Stacks are as py-spy writes them: frames from the outermost in, ``;`` between them, and how often
the stack was seen. Line numbers are left out, and so are threads that only wait, which a sampler
takes for busy where they wait inside of a library.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, ROW, LEAST = 1_200, 17, 1.5
"""Pixels; what is narrower is not drawn."""
WAITING = (
    "_worker (concurrent/futures/thread.py)",
    "_connection_worker_thread (aiosqlite/core.py)",
    "_PollLikeSelector.select (selectors.py)",
    "Condition.wait (threading.py)",
    "Runner.run (asyncio/runners.py)",
)
"""Where a thread of a daemon waits for work; ``Runner.run`` is uvloop's own, work and waiting."""
OUTER = 6
"""Frames of starting a program or a thread; all stacks share them."""


class Box(NamedTuple):
    """A frame, and how much of the time was spent in it."""

    depth: int
    first: int
    samples: int
    name: str


def stacks(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Stacks of threads that work, and how often each was seen."""
    for line in lines:
        text, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)", ")", frame) for frame in text.split(";")]
        if frames and frames[-1] not in WAITING:
            yield frames, int(count)


def boxes(found: Iterable[tuple[list[str], int]]) -> list[Box]:
    """Frames side by side, equal stacks together."""
    made: list[Box] = []
    open_: list[tuple[str, int]] = []
    at = 0

    def close(depth: int) -> None:
        while len(open_) > depth:
            name, first = open_.pop()
            made.append(Box(len(open_), first, at - first, name))

    for frames, count in sorted(found):
        same = 0
        while same < min(len(frames), len(open_)) and frames[same] == open_[same][0]:
            same += 1
        close(same)
        open_ += [(name, at) for name in frames[same:]]
        at += count
    close(0)
    return made


def draw(made: list[Box]) -> str:
    """An SVG, the outermost frame at the bottom."""
    total = sum(box.samples for box in made if box.depth == 0)
    if not total:
        raise ValueError("no stack in which anything was done")
    per = WIDTH / total
    shown = [box for box in made if box.samples * per >= LEAST]
    height = ROW * (1 + max(box.depth for box in shown))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="ui-monospace, monospace" font-size="11">'
    ]
    for box in shown:
        x, wide = box.first * per, box.samples * per
        y = height - ROW * (box.depth + 1)
        warm = "#e3a857" if "vppd/" in box.name else "#d9d4c7"
        warm = "#c8553d" if "crypto_sign" in box.name else warm
        text = f"{box.name}: {box.samples / total:.1%}"
        parts.append(
            f'<g><title>{escape(text)}</title><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" '
            f'height="{ROW - 1}" fill="{warm}" stroke="#fff" stroke-width="0.5"/>'
        )
        room = int(wide / 6.8)
        if room >= 4:
            name = box.name.partition(" (")[0]
            label = name if len(name) <= room else name[: room - 1] + "…"
            parts.append(f'<text x="{x + 3:.1f}" y="{y + 12}" fill="#222">{escape(label)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    """Read, draw, write."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = map(Path, sys.argv[1:])
    found = [
        (frames[OUTER:] or frames[-1:], count)
        for frames, count in stacks(source.read_text(encoding="utf-8").splitlines())
    ]
    target.write_text(draw(boxes(found)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
