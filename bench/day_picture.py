"""Draws the picture of the day: what a plant's own store says about prices, energy and bills.

The figures come from a node's chain through the same audit that ``vppd dev`` ends with, and from
the trades and settlements in its receipts; nothing is typed in. Run it where the dependency group
``profiles`` is installed::

    vppd dev --exit --out day
    python bench/day_picture.py day docs/images/day.svg
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt

from vppd.config.genesis_file import load_genesis
from vppd.day.audit import AuditReport, audit_store
from vppd.day.audit.store import export_blocks
from vppd.ledger.events import Settled, Traded
from vppd.ledger.receipts import decode_receipt
from vppd.market.tariff import tariff_for

MICRO = 1_000_000
GRID, INSIDE, PAID = "#9aa0a6", "#0b7a75", "#d1495b"


class Hour(NamedTuple):
    """One slot as the chain has it; prices per kWh, energy in kWh."""

    feed_in: float
    retail: float
    price: float | None
    """Mean of the trades, weighted by energy."""
    inside: float
    """Traded between members."""
    bought: float
    """From the grid by the members in sum."""
    sold: float
    """To the grid."""


def read_hours(home: Path) -> list[Hour]:
    """Every settled slot of a node's chain."""
    genesis = load_genesis(home / "genesis.toml")
    energy: Counter[int] = Counter()
    value: Counter[int] = Counter()
    settled: dict[tuple[int, bytes], Settled] = {}
    with closing(sqlite3.connect(f"file:{home / 'chain.db'}?mode=ro", uri=True)) as connection:
        for block in export_blocks(connection):
            for event in (e for raw in block.receipts for e in decode_receipt(raw).events):
                if isinstance(event, Traded):
                    energy[event.slot] += event.quantity_wh
                    value[event.slot] += event.quantity_wh * event.price
                elif isinstance(event, Settled):
                    settled[event.slot, event.account] = event
    hours = []
    for slot in sorted({slot for slot, _ in settled}):
        tariff = tariff_for(genesis.market, slot)
        gaps = [s.imbalance_wh for (at, _), s in settled.items() if at == slot]
        hours.append(
            Hour(
                tariff.feed_in_price / MICRO,
                tariff.retail_price / MICRO,
                value[slot] / energy[slot] / MICRO if energy[slot] else None,
                energy[slot] / 1_000,
                -sum(gap for gap in gaps if gap < 0) / 1_000,
                sum(gap for gap in gaps if gap > 0) / 1_000,
            )
        )
    return hours


def draw_prices(axes: Any, hours: list[Hour]) -> None:
    """The trades' price between what the grid pays and what it charges."""
    edges = range(len(hours) + 1)
    line = {"color": GRID, "lw": 1.5, "baseline": None}
    axes.stairs([h.retail for h in hours], edges, label="grid charges", **line)
    axes.stairs([h.feed_in for h in hours], edges, ls=":", label="grid pays", **line)
    traded = [(i + 0.5, h.price) for i, h in enumerate(hours) if h.price is not None]
    axes.plot(*zip(*traded, strict=True), "o", color=INSIDE, ms=5, label="trades inside the plant")
    axes.set_ylabel("price per kWh")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)


def draw_energy(axes: Any, hours: list[Hour]) -> None:
    """What stayed inside, and what the grid gave and took."""
    at = [i + 0.5 for i in range(len(hours))]
    inside = [h.inside for h in hours]
    axes.bar(at, inside, 0.8, color=INSIDE, label="traded inside the plant")
    axes.bar(at, [h.bought for h in hours], 0.8, inside, color=GRID, label="from the grid")
    axes.bar(at, [-h.sold for h in hours], 0.8, color=PAID, alpha=0.6, label="to the grid")
    axes.set_ylabel("kWh")
    axes.set_xlabel("hour of the day")
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
    axes.axhline(0, color="black", lw=0.8)


def draw_bills(axes: Any, report: AuditReport) -> None:
    """Each member's day, with the plant and with the grid alone; below zero: earned."""
    rows = [row for row in report.members if row.net_wh]
    for i, row in enumerate(rows):
        alone, together = row.paid_grid_only_micro / MICRO, row.paid_micro / MICRO
        first = i == 0
        axes.barh(i - 0.2, alone, 0.36, color=GRID, label="grid only" if first else None)
        axes.barh(i + 0.2, together, 0.36, color=INSIDE, label="with the plant" if first else None)
        better = f"{alone - together:+.2f}"
        axes.annotate(better, (max(alone, together, 0), i), (6, 0), textcoords="offset points",
                      va="center", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("paid for the day (left of zero: earned); the number is the gain")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)


def main() -> None:
    """Draw the day in a folder of ``vppd dev --out``."""
    if len(sys.argv) != 3:
        sys.exit("usage: python bench/day_picture.py DAY_FOLDER PICTURE.svg")
    home = Path(sys.argv[1]) / "op-0"
    hours = read_hours(home)
    report = audit_store(home / "chain.db", home / "genesis.toml")
    mpl.rcParams.update({"svg.hashsalt": "vppd", "svg.fonttype": "none", "font.size": 9})
    figure, (prices, energy, bills) = plt.subplots(
        3, 1, figsize=(8, 8), height_ratios=(3, 3, 2.6), layout="constrained"
    )
    draw_prices(prices, hours)
    draw_energy(energy, hours)
    for axes in (prices, energy):
        axes.set_xlim(0, len(hours))
        axes.set_xticks(range(0, len(hours) + 1, 3))
    draw_bills(bills, report)
    for axes in (prices, energy, bills):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{len(report.members)} nodes, {len(hours)} hours, {report.trades} trades: "
        f"{report.traded_wh / 1_000:.1f} kWh stayed inside the plant"
    )
    figure.savefig(sys.argv[2], metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
