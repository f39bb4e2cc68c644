"""Figures of a run, as a table for people and for docs/reliability.md."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

Figures = Mapping[str, object]


def spread(seconds: Sequence[float]) -> str:
    """Median and worst of some durations."""
    if not seconds:
        return "none"
    return f"{median(seconds):.2f} s median, {max(seconds):.2f} s worst of {len(seconds)}"


def table(figures: Figures) -> str:
    """Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in figures.items())])


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a script's output


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every script of this package has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--seed", type=int, default=1, help="of every choice that is made")
    made.add_argument(
        "--out", type=Path, help="new folder; default: one that is removed when all is well"
    )
    return made


def main(options: argparse.Namespace, run: Callable[[Path], Figures]) -> None:
    """Run a script's work in its folder, and print what came out.

    A run that fails ends with the failure's text, the seed in it, and leaves its folder behind.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # connections that faults have cut
    made = None if options.out is not None else Path(tempfile.mkdtemp(prefix="vppd-chaos-"))
    figures = run(options.out if made is None else made / "plant")
    print(table({"seed": options.seed, **figures}))  # noqa: T201 - a script's output
    if made is not None:
        shutil.rmtree(made)
