"""A load that may wait: so much energy by a deadline (a boiler, a pump, a washing machine)."""

from __future__ import annotations

import msgspec

from vppd.assets.base import Flow, Refused, Span, Step, Why, check_power, energy_wh
from vppd.types import Slot, Wh


class FlexibleLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Takes ``energy_wh`` within ``[first_slot, deadline)``; its level is what is left to take.

    Interruptible, it takes anything up to its power; otherwise, once it has begun, it takes all it
    can until it is done.

    Raises:
        ValueError: power or energy below zero, no window, or more than the window holds.
    """

    name: str = "flexible"
    max_w: int
    slot_s: int
    """Seconds of market time in a slot."""
    energy_wh: Wh
    first_slot: Slot
    deadline: Slot
    """First slot in which it must be done."""
    interruptible: bool = True

    def __post_init__(self) -> None:
        check_power(self.max_w, "a flexible load")
        if self.energy_wh < 0:
            raise ValueError(f"{self.energy_wh} Wh to take is below zero")
        if not 0 <= self.first_slot < self.deadline:
            raise ValueError(f"from slot {self.first_slot} to {self.deadline} there is no slot")
        room = self.slot_most_wh * (self.deadline - self.first_slot)
        if self.energy_wh > room:
            raise ValueError(f"{self.energy_wh} Wh do not fit the window, which holds {room}")

    @property
    def slot_most_wh(self) -> Wh:
        """What it takes in a slot at full power."""
        return energy_wh(self.max_w, self.slot_s)

    @property
    def first_level_wh(self) -> Wh:
        """Everything is still to be taken."""
        return self.energy_wh

    def span(self, level_wh: Wh, slot: Slot) -> Span:
        """What it may take so that it is done in time."""
        if not self.first_slot <= slot < self.deadline or level_wh == 0:
            return Span(0, 0)
        most = min(self.slot_most_wh, level_wh)
        later = self.slot_most_wh * (self.deadline - slot - 1)
        least = max(0, level_wh - later)
        if not self.interruptible and (level_wh < self.energy_wh or least > 0):
            least = most  # it has begun, or this is the last moment to
        return Span(least, most)

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Take some of it.

        Raises:
            Refused: outside its window, beyond its power or what is left, too little to be done in
                time, or a part only of what must run through.
        """
        span = self.span(level_wh, slot)
        if span.least_wh <= net_wh <= span.most_wh:
            if self.interruptible or net_wh in (0, span.most_wh):
                return Step(level_wh - net_wh, Flow.of(net_wh))
            raise Refused(self.name, Why.FIXED, slot, net_wh, span)
        if not self.first_slot <= slot < self.deadline:
            raise Refused(self.name, Why.AWAY, slot, net_wh, span)
        if net_wh < span.least_wh:
            why = Why.EMPTY if net_wh < 0 else Why.LATE
        else:
            why = Why.FULL if net_wh > level_wh else Why.POWER
        raise Refused(self.name, why, slot, net_wh, span)
