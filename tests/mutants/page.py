"""docs/mutants.md: what the last run over the whole catalogue found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.mutants.catalogue import SURVIVORS
from tests.mutants.run import ROOT, Mutant

PAGE = ROOT / "docs" / "mutants.md"
HEAD = """\
# Mutants of the core

`make mutants` breaks the voting core, the change of view and the gate in one place at a time
(`tests/mutants/catalogue.py` has each change as text) and runs the tests until one fails: those
closest to the rule first, then the whole of `tests/consensus`, the gate's, two dozen simulated
plants, and the broken engines. A mutant that every test passes is a survivor: the command fails
unless the catalogue says why nothing can notice it. This page is what the last full run printed,
written by `make mutants` itself.
"""


class Row(NamedTuple):
    """How one mutant fared."""

    mutant: Mutant
    killer: str
    """The test that failed; empty: it survived."""


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
