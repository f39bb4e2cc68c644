"""Grids to test with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vppd.config.grid import Bus, Grid, Line

PLENTY = 10**12
"""A rating nothing reaches."""


def line(
    start: int,
    end: int,
    r_micro_ohm: int = 100_000,
    x_micro_ohm: int = 0,
    *,
    rating_va: int = PLENTY,
    is_open: bool = False,
) -> Line:
    return Line(
        start=start,
        end=end,
        r_micro_ohm=r_micro_ohm,
        x_micro_ohm=x_micro_ohm,
        rating_va=rating_va,
        open=is_open,
    )


def grid(buses: Sequence[int | Bus], lines: Sequence[Line], **others: int) -> Grid:
    """A grid of 400 V fed at its first bus."""
    entries = tuple(Bus(id=bus) if isinstance(bus, int) else bus for bus in buses)
    return Grid(
        **{"slack": entries[0].id, "base_v": 400, **others}, buses=entries, lines=tuple(lines)
    )


def street(*ratings_va: int, **others: int) -> Grid:
    """Buses 0 (slack), 1, 2, … in a row, 0.1 Ω from one to the next."""
    lines = [line(i, i + 1, rating_va=rating) for i, rating in enumerate(ratings_va)]
    return grid(range(len(ratings_va) + 1), lines, **others)


def reference() -> dict[str, dict[str, Any]]:
    """What make_reference.py found, by name of the feeder."""
    text = Path(__file__).with_name("reference.json").read_text(encoding="utf-8")
    feeders: dict[str, dict[str, Any]] = json.loads(text)["feeders"]
    return feeders


def published(model: dict[str, Any]) -> Grid:
    """A reference feeder as a grid without limits worth the name."""
    return Grid(
        slack=model["slack"],
        base_v=model["base_v"],
        min_ppm=600_000,
        max_ppm=1_500_000,
        buses=tuple(Bus(id=i, load_w=p, load_var=q) for i, p, q in model["buses"]),
        lines=tuple(line(a, b, r, x, is_open=is_open) for a, b, r, x, is_open in model["lines"]),
    )
