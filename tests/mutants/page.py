"""docs/mutants.md: what the last run over the whole catalogue found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.mutants.catalogue import SURVIVORS
from tests.mutants.run import ROOT, Mutant

PAGE = ROOT / "docs" / "mutants.md"
HEAD = """\
# Mutants of the core

`make mutants` breaks the voting core, the change of view, the gate, intake and the index in one
place at a time (`tests/mutants/catalogue.py` has each change as text) and runs the tests until
one fails: those closest to the rule first, then the whole of `tests/consensus`, the gate's, two
dozen simulated plants, and the broken engines. A mutant that every test passes is a survivor:
the command fails unless the catalogue says why nothing can notice it. This page is written by
the runs themselves: `make mutants` tries all of them, `python -m tests.mutants --only … --write`
replaces some rows.
"""


class Row(NamedTuple):
    """How one mutant fared."""

    mutant: Mutant
    killer: str
    """The test that failed; empty: it survived."""


def known_rows() -> dict[str, str]:
    """What the page says of each mutant: the name of its killer; empty: it survived."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and cells[2].startswith("`"):
            found[cells[1]] = cells[3].strip("`") if cells[3].startswith("`") else ""
    return found


def merged(rows: Sequence[Row], catalogue: Sequence[Mutant]) -> list[Row]:
    """Rows of the page, in the order of the catalogue, with these in place of older ones.

    Raises:
        KeyError: a mutant was never tried.
    """
    known, new = known_rows(), {row.mutant.name: row for row in rows}
    return [new.get(m.name) or Row(m, known[m.name]) for m in catalogue]


def page(rows: Sequence[Row], summary: str) -> str:
    """The page.

    Args:
        rows: every mutant of the catalogue.
        summary: the last line that was printed.
    """
    out = [HEAD, f"**{summary}**", "", "| mutant | file | noticed by |", "|---|---|---|"]
    for mutant, killer in rows:
        why = SURVIVORS.get(mutant.name, "nothing")
        said = f"`{killer}`" if killer else f"survives: {why}"
        out.append(f"| {mutant.name} | `{mutant.path}` | {said} |")
    return "\n".join([*out, ""])
