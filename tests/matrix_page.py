"""docs/matrix.md, from the tests of P1's table 2: ``python -m tests.matrix_page --write``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from tests.matrix.table import LETTERS, SYSTEMS, TABLE, TESTED, Cell, Row
from tests.matrix.test_matrix import MANDATORY, SCENES

PAGE = Path(__file__).parent.parent / "docs" / "matrix.md"
MARKS = {"M": "M", "O": "o", "-": "–"}
HEAD = """# The function matrix

What a blockchain has to do in a virtual power plant, function by function, is table 2 of P1 (§4):
16 functions, three systems, five letters. **Service** is the operators' control centre,
**aggregate** an aggregator's node with the members under it, **terminal** a DER node, a meter or a
device. A is *contract*, B *traceability*, C *inter-blockchain information sharing*, D *security
management*, E *game*. M is mandatory, o optional, – unavailable: of 240 cells 101, 92 and 47.

Each of the {mandatory} mandatory cells of A, B and D has a test of its own in `tests/matrix`, and
this page is written from them by `python -m tests.matrix_page --write`:

* **A**: an operation or a contract carries the function out, and the state shows it.
* **B**: somebody who has headers only, and distrusts who hands over receipts, learns what was done
  from receipts and transactions that are proved.
* **D**: who may not, a forger and a replay are refused, each with its reason, and the state stays
  what it was.

The {later} mandatory cells of C take a second chain, and there is none yet: *later*. E is mandatory
nowhere. Optional cells have no test under that name, whether vppd does them or not.

## Overview

**M** has a test below; *M* comes later.

"""


def overview() -> list[str]:
    """One line for each function, five marks for each system."""
    lines = ["| | function | service | aggregate | terminal |", "|---|---|---|---|---|"]
    lines.append("| | | " + " | ".join(" ".join(LETTERS) for _ in SYSTEMS) + " |")
    group = ""
    for row in TABLE:
        name = "" if row.group == group else row.group
        group = row.group
        marks = (" ".join(_mark(row, system, i) for i in range(5)) for system in SYSTEMS)
        lines.append(f"| {name} | {row.function} | {' | '.join(marks)} |")
    return lines


def _mark(row: Row, system: str, place: int) -> str:
    mark = getattr(row, system)[place]
    if mark != "M":
        return MARKS[mark]
    return "**M**" if LETTERS[place] in TESTED else "*M*"


def tests() -> list[str]:
    """For each function and system what its tests show, and their names."""
    lines: list[str] = []
    for row in TABLE:
        lines += [
            "",
            f"### {row.function}",
            "",
            "| system | what is shown | tests |",
            "|---|---|---|",
        ]
        for system in SYSTEMS:
            found = [c for c in MANDATORY if (c.slug, c.system) == (row.slug, system)]
            if not found:
                lines.append(f"| {system} | nothing is mandatory under A, B or D | – |")
                continue
            said = inspect.getdoc(SCENES[row.slug, system]) or ""
            lines.append(f"| {system} | {said} | {' '.join(map(_test, found))} |")
    return lines


def _test(cell: Cell) -> str:
    return f"`test_cell[{cell}]`"


def page() -> str:
    """The whole page."""
    later = sum(getattr(row, s)[LETTERS.index("C")] == "M" for row in TABLE for s in SYSTEMS)
    head = HEAD.format(mandatory=len(MANDATORY), later=later)
    body = [
        *overview(), "", "## Tests", "",
        "All are in [test_matrix.py](../tests/matrix/test_matrix.py); one of them runs with", "",
        "```text", "pytest 'tests/matrix/test_matrix.py::test_cell[effect-terminal-B]'", "```",
        *tests(),
    ]  # fmt: skip
    return head + "\n".join(body) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.matrix_page --write")
    PAGE.write_text(page(), encoding="utf-8")
