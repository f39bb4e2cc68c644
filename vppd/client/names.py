"""The order in which people look names up."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def name_order(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names as people do: ``der-2`` before ``der-10``."""
    words = _DIGITS.split(name)
    parts = ((int(w), "") if i % 2 else (-1, w) for i, w in enumerate(words))
    return (*parts, (-2, name))
