"""What a DER does in each slot of the day: forecast, quote, deliver, meter.

Pure and seeded: the same seed, column, tariff and slot give the same order and the same reading
in every process, whatever was asked before, so an agent that restarts goes on as if it had not.

The quotes stand in for a person's: open modestly near the middle between feed-in and retail
price, concede most of the own gain at gate closure rather than fall back to the grid (P3, steps
1–4: two rounds, the second at reserve prices). An offer's reserve lies below every bid's, so what
can be matched inside the plant is matched under each of the market's rule sets, and both sides
gain on the grid's prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple, TypeVar

from vppd.day.profiles import Column, Kind
from vppd.market.auction import Side
from vppd.types import PPM, MicroPerKwh, Ppm, Slot, Wh

T = TypeVar("T")

FORECAST_ERROR_PPM: Ppm = 100_000
"""Largest error of a forecast, either way; three in four are within half of it."""
DELIVERY_ERROR_PPM: Ppm = 40_000
"""Largest deviation of what is delivered from the profile, either way."""

# Shares of the way from the feed-in price up to the retail price.
_OFFER_PRICE = (400_000, 650_000)
_OFFER_RESERVE = (100_000, 350_000)
_BID_PRICE = (350_000, 600_000)
_BID_RESERVE = (650_000, 900_000)


class Quote(NamedTuple):
    """The two prices of an order, in micro-currency per kWh."""

    price: MicroPerKwh
    """Asked or bid while the market is open."""
    reserve_price: MicroPerKwh
    """The furthest the member goes at gate closure."""


class SlotOrder(NamedTuple):
    """What a DER asks of the market for one slot."""

    side: Side
    quantity_wh: Wh
    price: MicroPerKwh
    reserve_price: MicroPerKwh


class Registers(NamedTuple):
    """A meter's two cumulative registers at the end of a slot; neither ever runs backwards."""

    import_wh: Wh
    """Taken from the grid (OBIS 1.8.0)."""
    export_wh: Wh
    """Given to the grid (OBIS 2.8.0)."""


_NEW_METER = Registers(0, 0)


class DerPlan:
    """One DER's day: the orders it sends and the readings its meter takes.

    Slots are counted from 0, the first hour of the profile; the caller adds the chain's first slot.

    Args:
        column: the DER's load or PV plant.
        seed: the day's seed, shared by all its DERs; the column's name tells them apart.
        opening: what the meter's registers show before slot 0.
    """

    def __init__(self, column: Column, seed: int, opening: Registers = _NEW_METER) -> None:
        self.column = column
        self.side = Side.BID if column.kind is Kind.LOAD else Side.OFFER
        self._seed = seed
        self._delivered = tuple(
            deliver(wh, self._chance(slot, "delivery")) for slot, wh in enumerate(column.wh)
        )
        imports = column.kind is Kind.LOAD
        self._registers = tuple(
            Registers(
                opening.import_wh + (total if imports else 0),
                opening.export_wh + (0 if imports else total),
            )
            for total in accumulate(self._delivered)
        )

    def forecast(self, slot: Slot) -> Wh:
        """The energy the DER expects to use or generate in ``slot``.

        Raises:
            IndexError: the profile has no such slot.
        """
        return forecast(self.column.wh, slot, self._chance(slot, "forecast"))

    def order(self, slot: Slot, retail: MicroPerKwh, feed_in: MicroPerKwh) -> SlotOrder | None:
        """The order for ``slot``: all of the forecast, or ``None`` if that is nothing.

        Args:
            slot: counted from the day's first.
            retail: the grid's price in that slot for what it sells.
            feed_in: the grid's price in that slot for what it buys.

        Raises:
            IndexError: the profile has no such slot.
            ValueError: the feed-in price is above the retail price.
        """
        quantity = self.forecast(slot)
        if quantity == 0:
            return None
        price, reserve = quote(self.side, retail, feed_in, self._chance(slot, "quote"))
        return SlotOrder(self.side, quantity, price, reserve)

    def delivered(self, slot: Slot) -> Wh:
        """The energy the DER really uses or generates in ``slot``.

        Raises:
            IndexError: the profile has no such slot.
        """
        return _at(self._delivered, slot)

    def registers(self, slot: Slot) -> Registers:
        """What the meter shows at the end of ``slot``.

        Raises:
            IndexError: the profile has no such slot.
        """
        return _at(self._registers, slot)

    def _chance(self, slot: Slot, purpose: str) -> Random:
        return chance(self._seed, self.column.name, slot, purpose)


def chance(seed: int, *labels: str | int) -> Random:
    """A stream of random numbers of its own for each seed and labels, equal in every process."""
    # A string is hashed with SHA-512 by Random, not with the process's own hash().
    return Random("/".join(map(str, (seed, *labels))))  # noqa: S311 - noise, no secret


def forecast(profile: Sequence[Wh], slot: Slot, rng: Random) -> Wh:
    """Persistence plus noise: tomorrow's hour is like today's, give or take.

    The best a small member knows at gate closure is what its meter showed in the same hour of
    the day before. The profile is that day; delivery strays from it in its own way
    (:func:`deliver`), so forecasts are near what comes and not equal to it.

    Args:
        profile: energy of each slot of the day before.
        slot: the slot to forecast.
        rng: source of the noise.

    Returns:
        Energy within :data:`FORECAST_ERROR_PPM` of the profile's.

    Raises:
        IndexError: the profile has no such slot.
    """
    return _noisy(_at(profile, slot), FORECAST_ERROR_PPM, rng)


def deliver(profile_wh: Wh, rng: Random) -> Wh:
    """What is really used or generated: within :data:`DELIVERY_ERROR_PPM` of the profile."""
    return _noisy(profile_wh, DELIVERY_ERROR_PPM, rng)


def quote(side: Side, retail: MicroPerKwh, feed_in: MicroPerKwh, rng: Random) -> Quote:
    """Price and reserve price between the grid's two prices.

    For an offer feed-in < reserve ≤ price < retail, for a bid feed-in < price ≤ reserve < retail,
    where there are prices between the two; otherwise at one of them.

    Args:
        side: offer or bid.
        retail: what the grid charges.
        feed_in: what the grid pays.
        rng: source of the member's mood.

    Raises:
        ValueError: the feed-in price is above the retail price.
    """
    if feed_in > retail:
        raise ValueError(f"feed-in price {feed_in} is above the retail price {retail}")
    prices, reserves = (
        (_OFFER_PRICE, _OFFER_RESERVE) if side is Side.OFFER else (_BID_PRICE, _BID_RESERVE)
    )
    return Quote(
        _between(feed_in, retail, rng.randint(*prices)),
        _between(feed_in, retail, rng.randint(*reserves)),
    )


def _at(profile: Sequence[T], slot: Slot) -> T:
    """``profile[slot]``, without Python's counting from the end."""
    if not 0 <= slot < len(profile):
        raise IndexError(f"no slot {slot} in a profile of {len(profile)}")
    return profile[slot]


def _between(feed_in: MicroPerKwh, retail: MicroPerKwh, share: Ppm) -> MicroPerKwh:
    """The price ``share`` (below one) of the way up, off both ends where there is room."""
    lowest = min(feed_in + 1, retail)
    return lowest + (retail - lowest) * share // PPM


def _noisy(wh: Wh, most_ppm: Ppm, rng: Random) -> Wh:
    """``wh`` with a triangular error of at most ``most_ppm`` either way, rounded half up."""
    error = sum(rng.randint(-(most_ppm // 2), most_ppm // 2) for _ in range(2))
    return (wh * (PPM + error) + PPM // 2) // PPM
