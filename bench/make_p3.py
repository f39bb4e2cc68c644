"""Generates the sites of P3's case study, ``vppd/agent/data/p3/agg-1.toml`` … ``agg-6.toml``.

The paper (§4.1) gives who has what: aggregators 1, 2, 5 and 6 have wind and PV, 3 has PV, 4 has
wind; each turbine 500 kW, each PV plant 300 kW, each store 200 kW. Its forecast curves are figures
without numbers, so wind, sun and the loads' shapes here are ours; only what its Tables 2 to 5 say
is kept to the Wh: how much each aggregator is over or short in t = 2 (01:00–02:00) and t = 13
(12:00–13:00), stores aside. No randomness: the same script writes the same bytes.

    python bench/make_p3.py            # rewrites the six files
    python bench/make_p3.py --check    # exit 1 unless they are what this script writes
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vppd.assets.sources import Turbine, pv

FOLDER = Path(__file__).resolve().parent.parent / "vppd" / "agent" / "data" / "p3"
HOUR_S = 3_600
NIGHT, NOON = 1, 12
"""Hours of t = 2 and t = 13."""
WT_W, PV_W, ESS_W = 500_000, 300_000, 200_000
ESS_HOURS = 2
"""The paper says a store's power and not its energy."""
SUN = (
    0,
    0,
    0,
    0,
    0,
    30,
    120,
    270,
    430,
    590,
    720,
    800,
    830,
    800,
    720,
    590,
    430,
    260,
    110,
    20,
    0,
    0,
    0,
    0,
)
"""W/m² in each hour of a clear day."""
BREEZE = (
    96,
    97,
    98,
    99,
    100,
    98,
    94,
    89,
    83,
    77,
    72,
    68,
    65,
    64,
    65,
    68,
    72,
    77,
    82,
    86,
    89,
    92,
    94,
    95,
)
"""Wind of each hour in percent of the night's strongest."""
HOMES = (
    55,
    50,
    47,
    46,
    47,
    53,
    68,
    82,
    80,
    74,
    72,
    76,
    82,
    78,
    73,
    72,
    77,
    88,
    100,
    99,
    94,
    86,
    74,
    63,
)
OFFICES = (
    30,
    28,
    27,
    27,
    28,
    33,
    45,
    70,
    92,
    99,
    100,
    99,
    94,
    97,
    99,
    97,
    92,
    80,
    62,
    50,
    43,
    38,
    34,
    31,
)
WORKS = (
    62,
    60,
    59,
    60,
    63,
    70,
    82,
    94,
    99,
    100,
    99,
    97,
    90,
    96,
    100,
    99,
    96,
    90,
    84,
    79,
    75,
    71,
    68,
    65,
)
"""Shapes of loads, percent of the highest hour."""


class Aggregator(NamedTuple):
    """A region of the case study."""

    number: int
    wind_mm_s: int | None
    """Of the night's strongest hour."""
    has_pv: bool
    shape: tuple[int, ...]
    night_wh: int
    """Over (positive) or short in t = 2; Tables 2 and 3."""
    noon_wh: int
    """The same in t = 13; Tables 4 and 5."""
    what: str


AGGREGATORS = (
    Aggregator(1, 11_900, True, HOMES, 282_500, 318_700, "PV, WT"),
    Aggregator(2, 12_100, True, OFFICES, 324_200, 319_260, "PV, WT"),
    Aggregator(3, None, True, WORKS, -234_220, -285_600, "PV"),
    Aggregator(4, 9_000, False, WORKS, -58_340, -421_680, "WT"),
    Aggregator(5, 8_600, True, HOMES, -217_600, 75_000, "PV, WT"),
    Aggregator(6, 9_400, True, OFFICES, -90_400, 31_000, "PV, WT"),
)


def loads(aggregator: Aggregator, generation: list[int]) -> list[int]:
    """The load's shape, scaled so that both hours of the tables come out to the Wh."""
    due = {
        NIGHT: generation[NIGHT] - aggregator.night_wh,
        NOON: generation[NOON] - aggregator.noon_wh,
    }
    if min(due.values()) <= 0:
        raise SystemExit(f"Agg{aggregator.number} would need a load of {due}")
    scale = {hour: Fraction(wh, aggregator.shape[hour]) for hour, wh in due.items()}
    found = []
    for hour, share in enumerate(aggregator.shape):
        # From one of the two hours towards the other, and back over midnight.
        since, until = (NIGHT, NOON) if NIGHT <= hour < NOON else (NOON, NIGHT)
        part = Fraction((hour - since) % 24, (until - since) % 24)
        found.append(round(share * (scale[since] * (1 - part) + scale[until] * part)))
    return found


def site(aggregator: Aggregator) -> str:
    """site.toml of an aggregator."""
    generation = [0] * 24
    parts = []
    if aggregator.has_pv:
        plant = pv(PV_W, SUN, HOUR_S, name="pv")
        generation = [a + b for a, b in zip(generation, plant.wh, strict=True)]
        parts.append(
            f'[[asset]]\nkind = "pv"\nname = "pv"\npeak_w = {PV_W}\n'
            f"irradiance_w_m2 = {listed(SUN)}\n"
        )
    if aggregator.wind_mm_s is not None:
        wind = tuple(aggregator.wind_mm_s * share // 100 for share in BREEZE)
        turbine = Turbine(rated_w=WT_W).under(wind, HOUR_S)
        generation = [a + b for a, b in zip(generation, turbine.wh, strict=True)]
        parts.append(
            f'[[asset]]\nkind = "wind"\nname = "wt"\nrated_w = {WT_W}\nwind_mm_s = {listed(wind)}\n'
        )
    load = loads(aggregator, generation)
    return "\n".join(
        [
            f"# Agg{aggregator.number} of P3's case study (§4.1): {aggregator.what}, a store, "
            "and its region's load.",
            "# Written by bench/make_p3.py, which says what of it is the paper's.",
            "schema = 1\n",
            *parts,
            f'[[asset]]\nkind = "load"\nname = "load"\nwh = {listed(load)}\n',
            '[[asset]]\nkind = "battery"\nname = "ess"\n'
            f"capacity_wh = {ESS_W * ESS_HOURS}\nmax_import_w = {ESS_W}\n"
            f"max_export_w = {ESS_W}\nimport_efficiency_ppm = 950000\n"
            f"export_efficiency_ppm = 950000\nlevel_wh = {ESS_W * ESS_HOURS // 2}\n",
        ]
    )


def listed(numbers: tuple[int, ...] | list[int]) -> str:
    """A TOML array, six to a line."""
    rows = [", ".join(map(str, numbers[i : i + 6])) for i in range(0, 24, 6)]
    return "[\n  " + ",\n  ".join(rows) + ",\n]"


def main() -> None:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    wrong = False
    for aggregator in AGGREGATORS:
        file = FOLDER / f"agg-{aggregator.number}.toml"
        text = site(aggregator)
        if check:
            wrong |= not file.exists() or file.read_text() != text
        else:
            file.write_text(text)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
