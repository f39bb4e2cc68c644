"""What demand response brought: baseline, effect and what it is worth, in integers (P1 §4 Table 2).

The baseline is day matching: the mean of the member's net energy, import less export, in the same
slot of earlier days. With one day it is persistence: what the member did the day before. Power
asked for is in W, energy in Wh; each mean and each conversion is rounded once, half to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from vppd.market.money import amount_micro, div_half_even
from vppd.types import Micro, MicroPerKwh, Wh

_MINUTES_PER_HOUR = 60


class Signal(IntEnum):
    """What an event asks for."""

    REDUCE = 0
    """Take so much less than the baseline, or give so much more."""
    INCREASE = 1
    """Take so much more than the baseline, or give so much less."""
    LIMIT = 2
    """Load control: a setpoint, take at most so much."""


class Effect(NamedTuple):
    """What one member did in one slot."""

    effect_wh: Wh
    """Within what was asked; never negative."""
    over_wh: Wh
    """Above the setpoint; 0 without one."""


def energy_wh(power_w: int, minutes: int) -> Wh:
    """What flows in a slot of ``minutes`` at ``power_w``."""
    return div_half_even(power_w * minutes, _MINUTES_PER_HOUR)


def baseline_wh(nets: Sequence[Wh]) -> Wh | None:
    """Mean net energy of earlier days; ``None`` without any."""
    return div_half_even(sum(nets), len(nets)) if nets else None


def effect(signal: Signal, baseline: Wh, net: Wh, target: Wh, most: Wh) -> Effect:
    """What a member did in a slot, measured against its baseline.

    Args:
        signal: what was asked for.
        baseline: net energy without the event, Wh.
        net: metered import less export, Wh.
        target: what was asked for, Wh; of a limit the setpoint.
        most: what counts at most, Wh.
    """
    if signal is Signal.LIMIT:
        asked = max(0, baseline - target)
        return Effect(min(max(0, baseline - net), asked, most), max(0, net - target))
    change = baseline - net if signal is Signal.REDUCE else net - baseline
    return Effect(min(max(0, change), target, most), 0)


def most_payment(energies: Sequence[Wh], price: MicroPerKwh) -> Micro:
    """What a member can be paid at most for these energies: what is set aside for it."""
    return amount_micro(sum(energies), price)
