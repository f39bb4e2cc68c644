"""P3, Tables 2–7: the paper's two slots, what it prints, and what the literal text gives.

Energy is in kWh and prices are per kWh, as printed; "t=2" is 01:00–02:00, "t=13" 12:00–13:00.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Entry(NamedTuple):
    """A row of Tables 2 to 5."""

    id: str
    quote: str
    reserve: str
    kwh: str
    credit: str


class Row(NamedTuple):
    """A row of Tables 6 and 7, cell by cell as printed."""

    seller: str
    buyer: str
    sold: str
    bought: str
    turnover: str
    surplus: str
    rs: str
    rb: str
    xi: str
    offer: str
    bid: str
    price: str
    round: str


class Literal(NamedTuple):
    """A trade that P3's text gives when taken at its word, prices in full."""

    seller: int
    buyer: int
    wh: int
    price_micro: int
    round: int


class Case(NamedTuple):
    """One slot."""

    retail: str
    feed_in: str
    entries: tuple[Entry, ...]
    """Sellers then buyers, as the paper lists them."""
    arrival: tuple[str, ...]
    """The paper states none; this one gives its tables (market.md, §1.1)."""
    rows: tuple[Row, ...]
    residual: tuple[str, str, str]
    """Order, kWh and price of what Tables 6 and 7 leave for the grid."""
    literal: tuple[Literal, ...]
    literal_residuals: tuple[tuple[str, int], ...]
    """Order and Wh, in order of arrival."""
    wrong_in_print: dict[tuple[str, str], tuple[str, str]]
    """Seller and buyer of cells the paper has wrong under every rule: (printed, computed)."""
    money: dict[str, str]
    """Yuan: seller income and buyer cost with the market and with the grid alone."""

    def document(self, arrival: tuple[str, ...] | None = None) -> bytes:
        """The slot as a file for ``vppd market clear``; as listed unless told otherwise."""
        entries = {entry.id: entry for entry in self.entries}
        orders = [
            {
                "id": entry.id,
                "agent": f"Agg{entry.id[1:]}",
                "side": "offer" if entry.id.startswith("S") else "bid",
                "quantity_wh": wh(entry.kwh),
                "price": entry.quote,
                "reserve_price": entry.reserve,
                "credit": entry.credit,
            }
            for entry in (entries[id_] for id_ in arrival or entries)
        ]
        tariff = {"retail_price": self.retail, "feed_in_price": self.feed_in}
        return json.dumps({"tariff": tariff, "orders": orders}).encode()


def wh(kwh: str) -> int:
    """Wh of a printed number of kWh, exactly."""
    whole, _, part = kwh.partition(".")
    return int(whole) * 1_000 + int(part.ljust(3, "0"))


def printed(table: str) -> tuple[Row, ...]:
    """Rows of a table, one a line: the columns of :class:`Row` in their order."""
    return tuple(Row(*line.split()) for line in table.strip().splitlines())


T2 = Case(
    retail="0.38",
    feed_in="0.24",
    entries=(
        Entry("S1", "0.318", "0.3", "282.5", "0.846"),
        Entry("S2", "0.32", "0.315", "324.2", "0.724"),
        Entry("B3", "0.318", "0.34", "234.22", "0.965"),
        Entry("B4", "0.32", "0.356", "58.34", "0.782"),
        Entry("B5", "0.318", "0.333", "217.6", "0.829"),
        Entry("B6", "0.331", "0.356", "90.4", "0.706"),
    ),
    arrival=("S1", "B6", "B4", "B3", "B5", "S2"),
    rows=printed("""
        1 6 282.5 90.4 90.4 192.1 0.846 0.706 0.545 0.318 0.331 0.325 1
        1 4 192.1 58.34 58.34 133.76 0.846 0.782 0.520 0.318 0.320 0.319 1
        1 3 133.76 234.22 133.76 100.46 0.846 0.965 0.467 0.318 0.318 0.318 1
        2 3 324.2 100.46 100.46 223.74 0.724 0.965 0.429 0.320 0.318 0.320 1
        2 5 223.74 217.6 217.6 6.14 0.724 0.829 0.466 0.320 0.318 0.319 1
    """),
    residual=("S2", "6.14", "0.240"),
    literal=(
        Literal(1, 6, 90_400, 325_086, 1),
        Literal(1, 4, 58_340, 319_039, 1),
        Literal(1, 3, 133_760, 318_000, 1),
        Literal(2, 3, 100_460, 325_716, 2),
        Literal(2, 5, 217_600, 323_392, 2),
    ),
    literal_residuals=(("S2", 6_140),),
    wrong_in_print={("2", "3"): ("0.320", "0.319")},
    money={
        "seller_income": "193.50",
        "seller_income_grid_only": "145.61",
        "buyer_cost": "192.03",
        "buyer_cost_grid_only": "228.21",
    },
)

T13 = Case(
    retail="0.86",
    feed_in="0.65",
    entries=(
        Entry("S1", "0.72", "0.695", "318.7", "0.823"),
        Entry("S2", "0.733", "0.673", "319.26", "0.755"),
        Entry("S5", "0.72", "0.658", "75", "0.763"),
        Entry("S6", "0.755", "0.673", "31", "0.657"),
        Entry("B3", "0.713", "0.736", "285.6", "0.922"),
        Entry("B4", "0.76", "0.78", "421.68", "0.753"),
    ),
    arrival=("B4", "S6", "S2", "S1", "S5", "B3"),
    rows=printed("""
        6 4 31 421.68 31 390.68 0.657 0.753 0.466 0.755 0.760 0.756 1
        2 4 319.26 390.68 319.26 71.42 0.755 0.753 0.501 0.733 0.760 0.747 1
        1 4 318.7 71.42 71.42 247.28 0.823 0.753 0.522 0.720 0.760 0.741 1
        1 3 247.28 285.6 247.28 38.32 0.823 0.922 0.472 0.720 0.736 0.728 2
        5 3 75 38.32 38.32 36.68 0.763 0.922 0.453 0.720 0.736 0.727 2
    """),
    residual=("S5", "36.68", "0.650"),
    literal=(
        Literal(1, 4, 318_700, 740_888, 1),
        Literal(5, 4, 75_000, 740_132, 1),
        Literal(2, 4, 27_980, 746_518, 1),
        Literal(2, 3, 285_600, 701_363, 2),
    ),
    literal_residuals=(("S2", 5_680), ("S6", 31_000)),
    wrong_in_print={("6", "4"): ("0.756", "0.757")},
    money={
        "seller_income": "546.34",
        "seller_income_grid_only": "483.57",
        "buyer_cost": "522.50",
        "buyer_cost_grid_only": "608.26",
    },
)

CASES = {"t2": T2, "t13": T13}
