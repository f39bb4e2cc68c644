"""Generates the packaged day, ``vppd/day/data/day.csv``: standard load profiles and clear-sky PV.

Loads are the BDEW standard load profiles of 2025 (H25 households, G25 trade, L25 farms) from
demandlib, scaled to a yearly demand. PV plants are pvlib's chain with nothing measured in it:
Ineichen clear sky (turbidity from the climatology pvlib ships), Hay-Davies transposition, Faiman
cell temperature, PVWatts. No network, no randomness: the same versions write the same bytes.

Run it where the dependency group ``profiles`` is installed::

    python bench/make_profiles.py            # rewrites vppd/day/data/day.csv
    python bench/make_profiles.py --check    # exit 1 unless the file is what this script writes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from demandlib import bdew
from pvlib import irradiance, pvsystem, temperature
from pvlib.location import Location

DAY_CSV = Path(__file__).resolve().parent.parent / "vppd" / "day" / "data" / "day.csv"

DATE = "2025-05-21"
"""A Wednesday in late spring, no holiday."""
SITE = Location(51.31, 9.48, tz="Europe/Berlin", altitude=167, name="Kassel")
"""The middle of the country whose standard profiles the loads are."""

AIR_TEMPERATURE_C = 15.0
WIND_M_S = 2.0
SYSTEM_EFFICIENCY = 0.86
"""PVWatts' default losses of 14 %: inverter, wiring, soiling, mismatch."""
TEMPERATURE_COEFFICIENT = -0.0035
"""Power per kelvin above 25 °C, a usual crystalline module."""
STANDARD_YEAR_KWH = 1_000_000
"""Yearly demand the BDEW tables are normalised to."""


class Load(NamedTuple):
    """A consumer: a standard profile and what it uses in a year."""

    name: str
    profile: type[bdew.H25 | bdew.G25 | bdew.L25]
    yearly_kwh: int


class Plant(NamedTuple):
    """A PV plant: peak power, tilt from horizontal, azimuth clockwise from north."""

    name: str
    peak_w: int
    tilt_deg: int
    azimuth_deg: int


# Ordered so that the first k loads and the first k plants are of one size for any k.
LOADS = (
    Load("home1", bdew.H25, 8_500),
    Load("shop1", bdew.G25, 9_500),
    Load("home2", bdew.H25, 7_000),
    Load("farm1", bdew.L25, 11_000),
    Load("home3", bdew.H25, 10_000),
    Load("workshop1", bdew.G25, 8_000),
    Load("home4", bdew.H25, 6_000),
    Load("flats1", bdew.H25, 13_000),
)
PLANTS = (
    Plant("south1", 4_000, 35, 180),
    Plant("east1", 4_500, 40, 95),
    Plant("west1", 4_500, 40, 265),
    Plant("flat1", 4_000, 10, 180),
    Plant("southwest1", 4_500, 30, 225),
    Plant("southeast1", 4_000, 45, 135),
    Plant("facade1", 5_000, 90, 180),
    Plant("south2", 5_500, 50, 190),
)


def load_wh(load: Load) -> list[int]:
    """Demand of each hour of the day, in Wh."""
    quarters = pd.date_range(DATE, periods=96, freq="15min")
    kw = load.profile(quarters).resample("h").mean()
    return [round(value) for value in kw * load.yearly_kwh / STANDARD_YEAR_KWH * 1_000]


def plant_wh(plant: Plant) -> list[int]:
    """Generation of each hour of the day under a clear sky, in Wh."""
    # Middles of five-minute intervals, so that the mean over an hour is its energy.
    times = pd.date_range(DATE, periods=288, freq="5min", tz=SITE.tz) + pd.Timedelta("150s")
    sun = SITE.get_solarposition(times)
    sky = SITE.get_clearsky(times, model="ineichen", solar_position=sun)
    on_plane = irradiance.get_total_irradiance(
        plant.tilt_deg,
        plant.azimuth_deg,
        sun["apparent_zenith"],
        sun["azimuth"],
        sky["dni"],
        sky["ghi"],
        sky["dhi"],
        dni_extra=irradiance.get_extra_radiation(times),
        model="haydavies",
    )["poa_global"].fillna(0)
    cell = temperature.faiman(on_plane, AIR_TEMPERATURE_C, WIND_M_S)
    watts = pvsystem.pvwatts_dc(on_plane, cell, plant.peak_w, TEMPERATURE_COEFFICIENT)
    hourly = (watts * SYSTEM_EFFICIENCY).resample("h").mean()
    return [round(value) for value in hourly]


def day_csv() -> str:
    """The whole file: a header and 24 rows of integers."""
    columns = {f"load_{load.name}_wh": load_wh(load) for load in LOADS}
    columns |= {f"pv_{plant.name}_wh": plant_wh(plant) for plant in PLANTS}
    rows = [("hour_start", *columns), *zip(range(24), *columns.values(), strict=True)]
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def main() -> int:
    """Writes or checks the packaged file."""
    parser = argparse.ArgumentParser(description="Generate vppd's packaged day.")
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = day_csv()
    if not parser.parse_args().check:
        DAY_CSV.write_text(text, encoding="ascii", newline="\n")
        return 0
    if DAY_CSV.read_text(encoding="ascii") == text:
        return 0
    print(f"{DAY_CSV} is not what this script writes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
