"""Meters that change: one is replaced by another, or its registers pass their last digit.

What counts is an odometer: the registers as if they had no last digit and the meter had never been
changed. A reading is taken at its face, and placed on the odometer by the one before it, so energy
goes on without a step (docs/adr/0005-registers-not-deltas.md). Meters that neither roll over nor
were replaced have no odometer of their own: their registers are it.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from vppd.config.genesis import MarketRulesSection
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import MeterReplaced
from vppd.ledger.names import check_new_key
from vppd.ledger.records import OdometerRecord
from vppd.ledger.registration.duties import require
from vppd.ledger.registration.records import Duty
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACQUISITION, METER, ODOMETER, REGISTER
from vppd.ledger.transaction import ReplaceMeter
from vppd.types import PublicKey, Slot, Wh

_NOBODY = bytes(32)


class Face(NamedTuple):
    """Two registers, as they show or on the odometer."""

    import_wh: Wh
    export_wh: Wh


def least_rollover(market: MarketRulesSection) -> Wh:
    """The least a register may begin again at, Wh.

    Within the slots that can still be corrected it moves by less than half a round, so there is
    one place on the odometer for what it shows.
    """
    return 2 * market.max_quantity_wh * (market.dispute_slots + 1)


def placed(odometer: OdometerRecord | None, face: Face, earlier: Face) -> Face:
    """Where on the odometer a meter stands that shows ``face`` and stood at ``earlier`` before.

    A register that shows less than before has passed its last digit, if that is less than half of
    a round away: further, and it runs backwards, which who compares the two will see.

    Raises:
        Failed: it shows more than it has digits for.
    """
    if odometer is None:
        return face
    round_ = odometer.rollover_wh
    if round_ and max(face) >= round_:
        raise Failed(ErrorCode.REGISTER_BEYOND, round_ - 1)
    return Face(
        _place(face.import_wh + odometer.import_shift, earlier.import_wh, round_),
        _place(face.export_wh + odometer.export_shift, earlier.export_wh, round_),
    )


def _place(value: Wh, earlier: Wh, round_: Wh) -> Wh:
    if not round_:
        return value
    nearest = value + (earlier - value + round_ // 2) // round_ * round_
    return nearest if nearest >= 0 else nearest + round_


def face_of(odometer: OdometerRecord | None, at: Face) -> Face:
    """What a meter shows that stands there: the inverse of :func:`placed`."""
    if odometer is None:
        return at
    round_ = odometer.rollover_wh
    import_wh, export_wh = (
        at.import_wh - odometer.import_shift,
        at.export_wh - odometer.export_shift,
    )
    return Face(import_wh % round_, export_wh % round_) if round_ else Face(import_wh, export_wh)


def replace_meter(ctx: Context, sender: PublicKey, op: ReplaceMeter) -> None:
    """Another meter goes on where the old one stopped, in the middle of ``op.slot``.

    The slot's energy is what the old one counted until then and the new one since. Readings of
    slots before it can no longer come: nobody could have signed them.

    Raises:
        Failed: the sender may not, there is no such meter, the key is somebody's, the slot has not
            begun or is closed or read already, or the registers cannot be these.
    """
    state = ctx.state
    meter = state.get(METER, op.old)
    if meter is None:
        raise Failed(ErrorCode.UNKNOWN_METER)
    require(ctx, sender, Duty.REGISTRAR, (meter.account,))
    check_new_key(ctx, op.new)
    control = state.get(ACQUISITION, op.old)
    if control is not None and control.last_slot is not None:
        raise Failed(ErrorCode.METER_RETIRED, control.last_slot)
    phase = ctx.phase(op.slot)
    if phase is None or phase < Phase.DELIVERING:
        begins = due_ms(ctx.market_of(op.slot), op.slot, Phase.DELIVERING)
        raise Failed(ErrorCode.READING_FROM_FUTURE, begins)
    if phase is Phase.CLOSED:
        closed = due_ms(ctx.market_of(op.slot), op.slot, Phase.CLOSED)
        raise Failed(ErrorCode.SLOT_CLOSED, closed)
    known = state.get(ODOMETER, op.old)
    first = meter.slot if known is None else max(meter.slot, known.from_slot)
    if op.slot < first:
        raise Failed(ErrorCode.BEFORE_FIRST_SLOT, first)
    registers = list(state.scan(REGISTER, op.old))
    if registers and registers[-1][0] >= op.slot:
        raise Failed(ErrorCode.METER_READ_LATER, registers[-1][0])
    last, stood = meter.slot - 1, Face(meter.import_wh, meter.export_wh)
    if registers:
        last, register = registers[-1]
        stood = Face(register.import_wh, register.export_wh)
    floor = stood if known is None else _least(known, stood)
    final = placed(known, Face(op.final_import_wh, op.final_export_wh), floor)
    check_step(ctx, op.slot, op.slot - last, floor, final)
    begin = Face(op.import_wh, op.export_wh)
    if op.rollover_wh and max(begin) >= op.rollover_wh:
        raise Failed(ErrorCode.REGISTER_BEYOND, op.rollover_wh - 1)
    least = least_rollover(ctx.market_of(op.slot))
    if 0 < op.rollover_wh < least:
        raise Failed(ErrorCode.ROLLOVER_TOO_LOW, least)
    state.put(METER, replace(meter, nonce=0), op.new)
    state.remove(METER, op.old)
    for slot, register in registers:
        state.put(REGISTER, register, op.new, slot)
        state.remove(REGISTER, op.old, slot)
    begun = OdometerRecord(
        op.rollover_wh,
        final.import_wh - begin.import_wh,
        final.export_wh - begin.export_wh,
        op.slot,
        final.import_wh,
        final.export_wh,
        _NOBODY,
    )
    state.put(ODOMETER, begun, op.new)
    retired = known or OdometerRecord(0, 0, 0, 0, 0, 0, _NOBODY)
    state.put(ODOMETER, replace(retired, successor=op.new), op.old)
    if control is not None:
        state.put(ACQUISITION, control, op.new)
        state.remove(ACQUISITION, op.old)
    ctx.redo.append(ctx.reckon_meters)
    ctx.events.append(
        MeterReplaced(
            op.old,
            op.new,
            meter.account,
            op.slot,
            final.import_wh,
            final.export_wh,
            op.import_wh,
            op.export_wh,
            op.rollover_wh,
        )
    )


def floor_of(odometer: OdometerRecord | None, slot: Slot, earlier: Face) -> Face:
    """The least a meter can stand at, at the end of ``slot``, after ``earlier``.

    Raises:
        Failed: it was not there yet.
    """
    if odometer is None:
        return earlier
    if slot < odometer.from_slot:
        raise Failed(ErrorCode.BEFORE_FIRST_SLOT, odometer.from_slot)
    return _least(odometer, earlier)


def check_step(ctx: Context, slot: Slot, slots: int, first: Face, second: Face) -> None:
    """A meter can go from ``first`` to ``second`` in so many slots.

    Raises:
        Failed: backwards, or by more than a meter may count.
    """
    moved = (second.import_wh - first.import_wh, second.export_wh - first.export_wh)
    if min(moved) < 0:
        raise Failed(ErrorCode.REGISTER_BACKWARDS, first.import_wh, first.export_wh)
    most = ctx.market_of(slot).max_quantity_wh
    if max(moved) > most * slots:
        raise Failed(ErrorCode.ENERGY_OUT_OF_RANGE, most)


def _least(odometer: OdometerRecord, stood: Face) -> Face:
    return Face(
        max(stood.import_wh, odometer.import_floor), max(stood.export_wh, odometer.export_floor)
    )
