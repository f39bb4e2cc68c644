"""Where the nodes of a simulated plant are, and how long a message takes between two of them.

One-way delays. Light in fibre needs 5 µs per km (refractive index 1.47), cables are about half as
long again as the map says, and each end's access network adds one to a few milliseconds:

* ``lan``: 0.25 ms. A switched Ethernet of one building; the cable is nothing, two hosts' kernels
  and a switch are all of it.
* ``city``: 2 ms. 30 km of cable, 0.15 ms, and two access networks of about a millisecond (fibre).
* ``country``: 10 ms. 1,000 km of cable, 5 ms, and two access networks of 2 to 3 ms (cable, DSL).
* ``continent``: 40 ms. 6,000 km of cable, 30 ms, and the same access networks of up to 5 ms.
* ``mixed``: nodes take turns over three cities in each of three countries: ``city`` inside one,
  ``country`` between those of one country, ``continent`` between countries.

They are round figures to compare with one's own ping (which shows there *and* back), no
measurements. Uplinks are what such sites usually rent; a leader's is what large blocks wait for.
"""

from __future__ import annotations

from typing import NamedTuple

from vppd.errors import Exit, UserError
from vppd.types import ReplicaIndex

JITTER = 0.05
"""Mean of what a message takes longer than that, as a share of it; exponential."""
CITIES_PER_COUNTRY, COUNTRIES = 3, 3


class Sites(NamedTuple):
    """Delays and uplinks of one kind of plant."""

    name: str
    near_us: int
    """One way within a city."""
    country_us: int
    """Between cities of a country."""
    far_us: int
    """Between countries."""
    uplink_mbit: int
    """What a node sends per second, in megabits; it receives as fast as it comes."""

    def delay_us(self, sender: ReplicaIndex, to: ReplicaIndex) -> int:
        """One way between two nodes, without jitter."""
        cities = CITIES_PER_COUNTRY * COUNTRIES
        one, other = sender % cities, to % cities
        if one == other:
            return self.near_us
        same = one // CITIES_PER_COUNTRY == other // CITIES_PER_COUNTRY
        return self.country_us if same else self.far_us


def _even(name: str, delay_us: int, uplink_mbit: int) -> Sites:
    return Sites(name, delay_us, delay_us, delay_us, uplink_mbit)


SITES = {
    sites.name: sites
    for sites in (
        _even("lan", 250, 1_000),
        _even("city", 2_000, 100),
        _even("country", 10_000, 50),
        _even("continent", 40_000, 50),
        Sites("mixed", 2_000, 10_000, 40_000, 50),
    )
}


def sites_of(text: str) -> list[Sites]:
    """Sets of delays by name, comma-separated.

    Raises:
        UserError: E452.
    """
    names = text.split(",")
    unknown = [name for name in names if name not in SITES]
    if unknown:
        raise UserError(
            "E452",
            f"there is no set of delays called {unknown[0]!r}",
            facts={"sets": ", ".join(SITES)},
            hint="--sites lan,country",
            exit_code=Exit.USAGE,
        )
    return [SITES[name] for name in dict.fromkeys(names)]
