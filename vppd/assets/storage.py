"""Stores: a battery, and an electric vehicle that is a battery while it is plugged in.

Energy is conserved to the Wh. Of ``x`` taken at the meter ``⌊x·η⌋`` is kept; for ``y`` given at the
meter ``⌈y/η⌉`` leaves the store; the rest is lost. So rounding never makes energy.
"""

from __future__ import annotations

import msgspec

from vppd.assets.base import (
    Flow,
    Refused,
    Span,
    Step,
    Why,
    check_power,
    check_share,
    energy_wh,
)
from vppd.types import PPM, Ppm, Slot, Wh


def kept_wh(import_wh: Wh, efficiency: Ppm) -> Wh:
    """What of an import ends in the store."""
    return import_wh * efficiency // PPM


def drawn_wh(export_wh: Wh, efficiency: Ppm) -> Wh:
    """What leaves the store for an export."""
    return -(-export_wh * PPM // efficiency)


def import_for(kept: Wh, efficiency: Ppm) -> Wh:
    """The least import of which exactly ``kept`` ends in the store."""
    return -(-kept * PPM // efficiency)


def export_for(drawn: Wh, efficiency: Ppm) -> Wh:
    """The most that can be given for ``drawn`` out of the store."""
    return drawn * efficiency // PPM


class Battery(msgspec.Struct, frozen=True, kw_only=True):
    """A store at its member's place; always there.

    Raises:
        ValueError: limits that contradict each other.
    """

    name: str = "battery"
    capacity_wh: Wh
    max_import_w: int
    max_export_w: int
    slot_s: int = 900
    """Seconds of market time in a slot."""
    import_efficiency: Ppm = PPM
    export_efficiency: Ppm = PPM
    first_level_wh: Wh = 0
    """In the store before slot 0."""

    def __post_init__(self) -> None:
        check_power(self.max_import_w, "charging")
        check_power(self.max_export_w, "discharging")
        check_share(self.import_efficiency, "a charging efficiency")
        check_share(self.export_efficiency, "a discharging efficiency")
        if not 0 <= self.first_level_wh <= self.capacity_wh:
            raise ValueError(
                f"a level of {self.first_level_wh} Wh is not within 0 to {self.capacity_wh}"
            )

    def span(self, level_wh: Wh, slot: Slot) -> Span:  # noqa: ARG002 - the interface's
        """What its power and its level leave."""
        return self.within(level_wh, 0)

    def within(self, level_wh: Wh, least_level_wh: Wh) -> Span:
        """What is possible if the level at the end must be ``least_level_wh`` at least.

        Where that cannot be reached any more: all that can be done for it.
        """
        most = min(
            energy_wh(self.max_import_w, self.slot_s),
            import_for(self.capacity_wh - level_wh, self.import_efficiency),
        )
        if level_wh < least_level_wh:
            return Span(
                min(most, import_for(least_level_wh - level_wh, self.import_efficiency)), most
            )
        least = min(
            energy_wh(self.max_export_w, self.slot_s),
            export_for(level_wh - least_level_wh, self.export_efficiency),
        )
        return Span(-least, most)

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Charge or discharge.

        Raises:
            Refused: beyond its power, below empty, or above full.
        """
        span = self.span(level_wh, slot)
        if not span.least_wh <= net_wh <= span.most_wh:
            raise Refused(self.name, self.why(net_wh), slot, net_wh, span)
        return self.moved(level_wh, net_wh)

    def why(self, net_wh: Wh) -> Why:
        """The limit that a setpoint outside the span breaks."""
        if net_wh > 0:
            return Why.POWER if net_wh > energy_wh(self.max_import_w, self.slot_s) else Why.FULL
        return Why.POWER if -net_wh > energy_wh(self.max_export_w, self.slot_s) else Why.EMPTY

    def moved(self, level_wh: Wh, net_wh: Wh) -> Step:
        """A setpoint within the span, followed."""
        if net_wh >= 0:
            kept = kept_wh(net_wh, self.import_efficiency)
            return Step(level_wh + kept, Flow.of(net_wh), net_wh - kept)
        drawn = drawn_wh(-net_wh, self.export_efficiency)
        return Step(level_wh - drawn, Flow.of(net_wh), drawn + net_wh)


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle is plugged in from ``arrives`` until ``departs``."""

    arrives: Slot
    departs: Slot
    """First slot in which it is gone."""
    level_wh: Wh
    """In its battery when it arrives; what it used on the road is nobody's meter's."""
    wanted_wh: Wh
    """In its battery when it departs, at least."""


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """An electric vehicle: a battery that comes and goes, and must be ready when it goes.

    Raises:
        ValueError: stays out of order, or one in which the wanted level cannot be reached.
    """

    battery: Battery
    """Its limits; ``max_export_w`` 0: it never gives back."""
    stays: tuple[Stay, ...]
    """In order of time."""

    def __post_init__(self) -> None:
        gone = 0
        for stay in self.stays:
            if not gone <= stay.arrives < stay.departs:
                raise ValueError(f"the stay from slot {stay.arrives} to {stay.departs} is none")
            gone = stay.departs
            capacity = self.battery.capacity_wh
            if not (0 <= stay.level_wh <= capacity and 0 <= stay.wanted_wh <= capacity):
                raise ValueError(f"a level of a stay is not within 0 to {capacity} Wh")
            most = stay.level_wh + self._slot_kept * (stay.departs - stay.arrives)
            if stay.wanted_wh > most:
                raise ValueError(
                    f"{stay.wanted_wh} Wh cannot be reached before slot {stay.departs}, "
                    f"{min(most, capacity)} Wh can"
                )

    @property
    def name(self) -> str:
        """The battery's."""
        return self.battery.name

    @property
    def first_level_wh(self) -> Wh:
        """Of the first stay."""
        return self.stays[0].level_wh if self.stays else 0

    @property
    def _slot_kept(self) -> Wh:
        battery = self.battery
        return kept_wh(energy_wh(battery.max_import_w, battery.slot_s), battery.import_efficiency)

    def stay(self, slot: Slot) -> Stay | None:
        """The one that ``slot`` belongs to."""
        return next((s for s in self.stays if s.arrives <= slot < s.departs), None)

    def level(self, level_wh: Wh, slot: Slot) -> Wh:
        """Level at the start of ``slot``: what it comes with in the first slot of a stay."""
        stay = self.stay(slot)
        return stay.level_wh if stay is not None and stay.arrives == slot else level_wh

    def span(self, level_wh: Wh, slot: Slot) -> Span:
        """What leaves it ready at departure; nothing while it is away."""
        stay = self.stay(slot)
        if stay is None:
            return Span(0, 0)
        later = self._slot_kept * (stay.departs - slot - 1)
        return self.battery.within(self.level(level_wh, slot), max(0, stay.wanted_wh - later))

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Charge or discharge.

        Raises:
            Refused: it is away, would not be ready in time, or what a battery refuses.
        """
        span = self.span(level_wh, slot)
        if self.stay(slot) is None and net_wh != 0:
            raise Refused(self.name, Why.AWAY, slot, net_wh, span)
        level = self.level(level_wh, slot)
        if net_wh < span.least_wh:
            bare = self.battery.span(level, slot)
            if net_wh >= bare.least_wh:
                raise Refused(self.name, Why.LATE, slot, net_wh, span)
        if not span.least_wh <= net_wh <= span.most_wh:
            raise Refused(self.name, self.battery.why(net_wh), slot, net_wh, span)
        return self.battery.moved(level, net_wh)
