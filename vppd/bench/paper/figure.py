"""What an experiment comes to, and the folder it is kept in."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from vppd import __version__
from vppd.bench.plots import Draw, require, standalone
from vppd.errors import UserError

Say: TypeAlias = Callable[[str], None]
"""Where news of a long measurement goes."""

RESULTS = Path("bench") / "results"
PICTURE = "figure.svg"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of ``vppd bench paper``: the paper's numbers, ours, and what lies between."""

    figure: str
    paper: dict[str, Any]
    """As printed, with the units it has."""
    ours: dict[str, Any]
    ratios: dict[str, float | None]
    """``None`` where there is nothing to divide."""
    assumptions: list[str]
    """What the paper leaves open, and what was done."""


class Experiment(NamedTuple):
    """A result, and how it is drawn."""

    result: Result
    title: str
    draw: Draw
    size: tuple[float, float]
    """Inches."""
    table: list[tuple[str, str, str]]
    """What it shows in rows: what, the paper's, ours."""


def ratio(ours: float | None, other: float | None, digits: int = 4) -> float | None:
    """``ours`` over ``other``, rounded; ``None`` if either is missing or ``other`` is nothing."""
    return None if ours is None or not other else round(ours / other, digits)


def prepare(folder: Path) -> None:
    """Make the folder of the results, before anything takes long.

    Raises:
        UserError: E446, it cannot be made or written; E430, nothing to draw with.
    """
    require()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise _unwritable(folder, err) from err


def write(experiment: Experiment, folder: Path, command: str) -> None:
    """Write ``results.json``, the picture and a README that says how they were made.

    Args:
        experiment: what was measured.
        folder: from :func:`prepare`; files of an earlier run are replaced.
        command: what makes it again.

    Raises:
        UserError: E446, the folder cannot be written; E430, nothing to draw with.
    """
    result = experiment.result
    picture = standalone(experiment.draw, *experiment.size)
    held = json.dumps(msgspec.to_builtins(result), indent=1, ensure_ascii=False)
    try:
        (folder / "results.json").write_text(held + "\n", encoding="utf-8")
        (folder / PICTURE).write_text(picture, encoding="utf-8")
        (folder / "README.md").write_text(_page(experiment, command), encoding="utf-8")
    except OSError as err:
        raise _unwritable(folder, err) from err


def _unwritable(folder: Path, err: OSError) -> UserError:
    return UserError(
        "E446",
        "the results cannot be written",
        facts={"folder": str(folder), "why": err.strerror or str(err)},
        hint="--out names a folder that can be written",
    )


def _page(experiment: Experiment, command: str) -> str:
    result = experiment.result
    lines = [
        f"# {experiment.title}",
        "",
        "```sh",
        command,
        "```",
        "",
        f"vppd {__version__}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}.",
        "",
        f"![{experiment.title}]({PICTURE})",
        "",
        "| | paper | ours |",
        "|---|---:|---:|",
        *(f"| {what} | {paper} | {ours} |" for what, paper, ours in experiment.table),
        "",
        "| ratio | |",
        "|---|---:|",
        *(f"| {name} | {'–' if value is None else f'{value:g}'} |"
          for name, value in result.ratios.items()),
        "",
        "What the paper leaves open, and what was assumed:",
        "",
        *(f"- {said}" for said in result.assumptions),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
