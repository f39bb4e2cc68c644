"""docs/errors.md: every code the sources use, once, in its room's range."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import vppd

PACKAGE = Path(vppd.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^\| (E\d{3}) \|", PAGE, re.MULTILINE)


def used() -> dict[str, set[str]]:
    """Code to the rooms whose sources raise it."""
    rooms: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        for code in re.findall(r"(?<![=!]= )\"(E\d{3})\"", path.read_text(encoding="utf-8")):
            rooms.setdefault(code, set()).add(room)
    return rooms


USED = used()


def test_every_code_is_listed_once() -> None:
    assert {code: count for code, count in Counter(LISTED).items() if count > 1} == {}
    assert sorted(set(USED) - set(LISTED)) == []


def test_no_code_is_listed_that_nothing_raises() -> None:
    assert sorted(set(LISTED) - set(USED)) == []


@pytest.mark.parametrize("code", sorted(USED))
def test_a_code_belongs_to_one_room(code: str) -> None:
    assert len(USED[code]) == 1


@pytest.mark.parametrize("code", sorted(LISTED))
def test_a_code_stands_under_the_heading_of_its_range(code: str) -> None:
    before = PAGE[: PAGE.index(f"| {code} |")]
    low, high = re.findall(r"^## .*\(E(\d{3})–E(\d{3})\)$", before, re.MULTILINE)[-1]
    assert int(low) <= int(code[1:]) <= int(high)


def test_every_line_has_a_meaning_and_a_remedy() -> None:
    rows = re.findall(r"^\| E\d{3} \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(LISTED)
    assert all(meaning.endswith(".") and remedy.endswith(".") for meaning, remedy in rows)
