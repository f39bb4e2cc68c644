"""One interface for everything behind a member's meter (P0, §1: the DERs of a plant).

An asset is a frozen record of limits; what changes from slot to slot is one integer, its *level*:
the energy in a store, or what a flexible load still has to take. A step takes a level and a
setpoint and gives the next level and what the meter counts, or refuses and changes nothing.

Setpoints are net energy at the meter over one slot, in Wh: import positive, export negative. Only
here and in plans is energy signed; registers and records have two numbers, none below zero.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

from vppd.types import PPM, Ppm, Slot, Wh

_HOUR_S = 3_600


class Why(StrEnum):
    """Which limit a setpoint breaks."""

    POWER = "beyond its power"
    EMPTY = "below empty"
    FULL = "above full"
    AWAY = "while it is not there"
    LATE = "too little to be ready in time"
    FIXED = "not what it takes or gives"
    SUPPLY = "more than there is"


class Refused(ValueError):
    """A setpoint no such asset can follow; nothing has changed.

    Args:
        asset: its name.
        why: the limit.
        slot: where.
        asked: the setpoint, net Wh.
        span: what would have been possible.
    """

    def __init__(self, asset: str, why: Why, slot: Slot, asked: Wh, span: Span) -> None:
        super().__init__(
            f"{asset} {why}: {asked} Wh asked in slot {slot}, "
            f"{span.least_wh} to {span.most_wh} Wh are possible"
        )
        self.why = why
        self.slot = slot
        self.span = span


class Span(NamedTuple):
    """What is possible in a slot: net energy, import positive, from the least to the most."""

    least_wh: Wh
    most_wh: Wh

    def nearest(self, net_wh: Wh) -> Wh:
        """The possible setpoint nearest to ``net_wh``."""
        return max(self.least_wh, min(self.most_wh, net_wh))


class Flow(NamedTuple):
    """What the meter counts in one slot; of the two at most one is above zero."""

    import_wh: Wh
    export_wh: Wh

    @property
    def net_wh(self) -> Wh:
        """Import less export."""
        return self.import_wh - self.export_wh

    @classmethod
    def of(cls, net_wh: Wh) -> Flow:
        """The flow of a net energy."""
        return cls(max(net_wh, 0), max(-net_wh, 0))


class Step(NamedTuple):
    """A slot of an asset's life."""

    level_wh: Wh
    """At the end of the slot."""
    flow: Flow
    lost_wh: Wh = 0
    """Turned into heat on the way in or out; what a store takes is what it keeps and loses."""


class Asset(Protocol):
    """Anything behind a meter."""

    @property
    def name(self) -> str:
        """For people, unique at its member."""

    @property
    def first_level_wh(self) -> Wh:
        """Level before slot 0 of its life."""

    def span(self, level_wh: Wh, slot: Slot) -> Span:
        """What setpoints are possible.

        Args:
            level_wh: at the start of the slot.
            slot: counted from the start of the asset's own series.

        Raises:
            IndexError: the asset's series ends before ``slot``.
        """

    def step(self, level_wh: Wh, slot: Slot, net_wh: Wh) -> Step:
        """Follow a setpoint through one slot.

        Args:
            level_wh: at the start of the slot.
            slot: which one.
            net_wh: the setpoint, import positive.

        Raises:
            Refused: it breaks a limit.
            IndexError: the asset's series ends before ``slot``.
        """


def energy_wh(power_w: int, slot_s: int) -> Wh:
    """What a power gives in one slot, rounded down: a limit is never exceeded.

    Args:
        power_w: W, none below zero.
        slot_s: seconds of market time in a slot.
    """
    return power_w * slot_s // _HOUR_S


def check_power(power_w: int, what: str) -> None:
    """That a limit of power makes sense.

    Raises:
        ValueError: below zero.
    """
    if power_w < 0:
        raise ValueError(f"{what} of {power_w} W is below zero")


def check_share(share: Ppm, what: str) -> None:
    """That an efficiency makes sense.

    Raises:
        ValueError: not above 0 and at most 1,000,000 ppm.
    """
    if not 0 < share <= PPM:
        raise ValueError(f"{what} of {share} ppm is not above 0 and at most {PPM}")


def at(series: tuple[int, ...], slot: Slot) -> int:
    """``series[slot]``, without Python's counting from the end.

    Raises:
        IndexError: no such slot.
    """
    if not 0 <= slot < len(series):
        raise IndexError(f"no slot {slot} in a series of {len(series)}")
    return series[slot]
