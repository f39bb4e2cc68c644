"""Which slots a meter's readings are taken of (P1 §4 Table 2, acquisition control)."""

from __future__ import annotations

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.state import ACQUISITION
from vppd.types import PublicKey, Slot

NEVER: Slot = 2**40
"""Stands for a pause whose end nobody has said."""


def check_acquired(ctx: Context, meter: PublicKey, slot: Slot) -> None:
    """Whether a reading of ``slot`` is taken from a meter.

    Raises:
        Failed: NOT_ACQUIRED or METER_RETIRED.
    """
    control = ctx.state.get(ACQUISITION, meter)
    if control is None:
        return
    if control.last_slot is not None and slot > control.last_slot:
        raise Failed(ErrorCode.METER_RETIRED, control.last_slot)
    for first, then in control.pauses:
        if first <= slot and (then is None or slot < then - 1):
            raise Failed(ErrorCode.NOT_ACQUIRED, first, NEVER if then is None else then)


def is_paused(ctx: Context, meter: PublicKey, slot: Slot) -> bool:
    """Whether nobody is to know what went through a meter in ``slot``."""
    control = ctx.state.get(ACQUISITION, meter)
    return control is not None and any(
        first <= slot and (then is None or slot < then) for first, then in control.pauses
    )


def is_retired(ctx: Context, meter: PublicKey, slot: Slot) -> bool:
    """Whether a meter measured its last slot before ``slot``."""
    control = ctx.state.get(ACQUISITION, meter)
    return control is not None and control.last_slot is not None and slot > control.last_slot
