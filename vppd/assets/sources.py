"""Assets without a memory: PV, wind turbine, and the load nobody moves."""

from __future__ import annotations

import msgspec

from vppd.assets.base import (
    Flow,
    Refused,
    Span,
    Step,
    Why,
    at,
    check_power,
    check_share,
    energy_wh,
)
from vppd.types import PPM, Ppm, Slot, Wh

STANDARD_SUN_W_M2 = 1_000
"""Irradiance at which a PV plant is rated (IEC 61215, standard test conditions)."""


class Household(msgspec.Struct, frozen=True, kw_only=True):
    """A load as it is; its setpoint is its profile.

    Raises:
        ValueError: energy below zero.
    """

    name: str = "load"
    wh: tuple[Wh, ...]
    """Taken in each slot."""

    def __post_init__(self) -> None:
        _check_energies(self.wh, self.name)

    @property
    def first_level_wh(self) -> Wh:
        """There is nothing to remember."""
        return 0

    def span(self, level_wh: Wh, slot: Slot) -> Span:  # noqa: ARG002 - the interface's
        """Exactly the profile.

        Raises:
            IndexError: the profile ends before ``slot``.
        """
        taken = at(self.wh, slot)
        return Span(taken, taken)

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Take it.

        Raises:
            Refused: any other setpoint.
            IndexError: the profile ends before ``slot``.
        """
        span = self.span(level_wh, slot)
        if net_wh != span.most_wh:
            raise Refused(self.name, Why.FIXED, slot, net_wh, span)
        return Step(0, Flow.of(net_wh))


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """A plant that gives what sun or wind lets it, or less: it can be curtailed.

    Raises:
        ValueError: energy below zero.
    """

    name: str = "pv"
    wh: tuple[Wh, ...]
    """There to be taken in each slot."""

    def __post_init__(self) -> None:
        _check_energies(self.wh, self.name)

    @property
    def first_level_wh(self) -> Wh:
        """There is nothing to remember."""
        return 0

    def span(self, level_wh: Wh, slot: Slot) -> Span:  # noqa: ARG002 - the interface's
        """From all there is down to nothing.

        Raises:
            IndexError: the series ends before ``slot``.
        """
        return Span(-at(self.wh, slot), 0)

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Give it.

        Raises:
            Refused: more than there is, or a generator told to take.
            IndexError: the series ends before ``slot``.
        """
        span = self.span(level_wh, slot)
        if net_wh > 0:
            raise Refused(self.name, Why.FIXED, slot, net_wh, span)
        if net_wh < span.least_wh:
            raise Refused(self.name, Why.SUPPLY, slot, net_wh, span)
        return Step(0, Flow.of(net_wh))


def pv(
    peak_w: int,
    irradiance_w_m2: tuple[int, ...],
    slot_s: int,
    *,
    efficiency: Ppm = PPM,
    name: str = "pv",
) -> Generator:
    """A PV plant under a given sun.

    Args:
        peak_w: output at 1,000 W/m².
        irradiance_w_m2: mean on the panel's plane in each slot.
        slot_s: seconds of market time in a slot.
        efficiency: of inverter and wiring.
        name: for people.

    Raises:
        ValueError: peak or irradiance below zero, or an efficiency that is none.
    """
    check_power(peak_w, "a peak")
    check_share(efficiency, "an efficiency")
    if min(irradiance_w_m2, default=0) < 0:
        raise ValueError("irradiance is below zero")
    # Above the rated sun the inverter limits.
    return Generator(
        name=name,
        wh=tuple(
            energy_wh(peak_w * min(sun, STANDARD_SUN_W_M2), slot_s)
            * efficiency
            // (STANDARD_SUN_W_M2 * PPM)
            for sun in irradiance_w_m2
        ),
    )


class Turbine(msgspec.Struct, frozen=True, kw_only=True):
    """A wind turbine's power curve: cubic from cut-in to rated speed, flat up to cut-out.

    Raises:
        ValueError: speeds out of order, or power below zero.
    """

    rated_w: int
    cut_in_mm_s: int = 3_000
    rated_mm_s: int = 12_000
    cut_out_mm_s: int = 25_000

    def __post_init__(self) -> None:
        check_power(self.rated_w, "a rated power")
        if not 0 <= self.cut_in_mm_s < self.rated_mm_s < self.cut_out_mm_s:
            raise ValueError("cut-in, rated and cut-out speed must rise")

    def power_w(self, speed_mm_s: int) -> int:
        """Output at a wind speed, rounded down.

        Raises:
            ValueError: a speed below zero.
        """
        if speed_mm_s < 0:
            raise ValueError(f"a wind of {speed_mm_s} mm/s is below zero")
        if speed_mm_s < self.cut_in_mm_s or speed_mm_s >= self.cut_out_mm_s:
            return 0
        if speed_mm_s >= self.rated_mm_s:
            return self.rated_w
        idle = self.cut_in_mm_s**3
        return int(self.rated_w * (speed_mm_s**3 - idle) // (self.rated_mm_s**3 - idle))

    def under(self, wind_mm_s: tuple[int, ...], slot_s: int, name: str = "wind") -> Generator:
        """The turbine in a given wind.

        Args:
            wind_mm_s: mean speed at the hub in each slot.
            slot_s: seconds of market time in a slot.
            name: for people.

        Raises:
            ValueError: a speed below zero.
        """
        return Generator(
            name=name, wh=tuple(energy_wh(self.power_w(speed), slot_s) for speed in wind_mm_s)
        )


def _check_energies(wh: tuple[Wh, ...], name: str) -> None:
    if min(wh, default=0) < 0:
        raise ValueError(f"{name} has a slot of {min(wh)} Wh, below zero")
