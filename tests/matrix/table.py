"""P1 §4 Table 2: functions of a virtual power plant, and what a blockchain must do for each.

Letters: A contract, B traceability, C inter-blockchain information sharing, D security management,
E game; M mandatory, O optional, – unavailable. A row has five of them for each of three systems.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

LETTERS = "ABCDE"
SYSTEMS = ("service", "aggregate", "terminal")
TESTED = "ABD"
"""Columns whose mandatory cells have a test each; C takes a second chain, E is never mandatory."""


class Row(NamedTuple):
    """A function."""

    slug: str
    group: str
    function: str
    service: str
    aggregate: str
    terminal: str


class Cell(NamedTuple):
    """A function in a system, under a letter."""

    slug: str
    system: str
    letter: str

    def __str__(self) -> str:
        return f"{self.slug}-{self.system}-{self.letter}"


TABLE = (
    Row("registration", "User management", "User registration", "MOOMO", "MMMMO", "M-OMO"),
    Row("permissions", "User management", "Permissions", "MO-MO", "MOOMO", "M-OM-"),
    Row("query", "User management", "Information query", "MMMM-", "MMMM-", "MMMM-"),
    Row("build", "Project management", "Project build", "OO-M-", "OOOMO", "O-OM-"),
    Row("released", "Project management", "Project released", "OOMMO", "OOOM-", "O-OMO"),
    Row("update", "Project management", "Project update", "OOMMO", "OMOM-", "O-OMO"),
    Row("delete", "Project management", "Delete", "OOMM-", "O-MM-", "O-OM-"),
    Row("parameters", "Resource management", "Parameter maintenance", "MM-M-", "MM-MO", "MO-M-"),
    Row("acquisition", "Resource management", "Acquisition control", "OMOM-", "MMOMO", "O-MMO"),
    Row("notification", "Event management", "Event notification", "MOMMO", "MMOM-", "--O-O"),
    Row("order", "Event management", "Regulatory order issuing", "MMMMO", "OMOMO", "-OM-O"),
    Row("load-control", "Event management", "Load control", "MMOMO", "MOOM-", "O--O-"),
    Row(
        "effect", "Implement effect management", "Implement effect management",
        "MMOMO", "MMOMO", "MMOMO",
    ),
    Row("security", "Other", "Security management", "MMMMO", "MOMMO", "-O-MO"),
    Row("automatic", "Other", "Automatic execution", "M-OM-", "O-OM-", "MOOOO"),
    Row("intervention", "Other", "Manual intervention management", "OMOM-", "OOOM-", "OO-M-"),
)  # fmt: skip


def cells(mark: str = "M", letters: str = TESTED) -> Iterator[Cell]:
    """Cells with a mark under some letters, row by row."""
    for row in TABLE:
        for system in SYSTEMS:
            for letter, found in zip(LETTERS, getattr(row, system), strict=True):
                if found == mark and letter in letters:
                    yield Cell(row.slug, system, letter)
