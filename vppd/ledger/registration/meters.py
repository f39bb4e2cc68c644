"""Meters on chain: registered, paused, retired (P1 §4 Table 2, registration and acquisition).

A pause takes effect slot by slot: no reading of a paused slot is taken, its settlement stands on
the contracted quantities and says ESTIMATED. The reading at the end of a pause's last slot is
taken: the first slot after it begins there. What has begun is not rewritten.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.member_events import AcquisitionSet, MeterRegistered
from vppd.ledger.names import check_new_key
from vppd.ledger.records import Meter
from vppd.ledger.registration.duties import require
from vppd.ledger.registration.members import need_member
from vppd.ledger.registration.ops import RegisterMeter, SetAcquisition
from vppd.ledger.registration.records import Acquisition, Duty
from vppd.ledger.state import ACQUISITION, METER
from vppd.types import PublicKey, Slot

PAUSED, TAKEN, RETIRED = range(3)
"""Modes of :class:`SetAcquisition`."""
MOST_REGISTER = 2**62
MOST_AHEAD: Slot = 2**40
MOST_PAUSES = 8
_ALWAYS = Acquisition(1, (), None)


def register_meter(ctx: Context, sender: PublicKey, op: RegisterMeter) -> None:
    """A new meter for an account, by the registrar or the account's aggregator.

    Raises:
        Failed: the sender may not; the key is taken; no such account; the first slot has begun.
    """
    require(ctx, sender, Duty.REGISTRAR, (op.account,))
    check_new_key(ctx, op.key)
    need_member(ctx, op.account)
    check_ahead(ctx, op.first_slot)
    if max(op.import_wh, op.export_wh) > MOST_REGISTER:
        raise Failed(ErrorCode.ENERGY_OUT_OF_RANGE, MOST_REGISTER)
    record = Meter(0, op.account, op.first_slot, op.import_wh, op.export_wh)
    ctx.state.put(METER, record, op.key)
    ctx.redo.append(lambda: note_meter(ctx, op.account, op.key))
    ctx.events.append(
        MeterRegistered(op.key, op.account, op.first_slot, op.import_wh, op.export_wh, sender)
    )


def note_meter(ctx: Context, account: PublicKey, meter: PublicKey) -> None:
    """An account has one more meter."""
    ctx.meters[account] = tuple(sorted((*ctx.meters.get(account, ()), meter)))


def set_acquisition(ctx: Context, sender: PublicKey, op: SetAcquisition) -> None:
    """Take a meter's readings otherwise from a slot on, or retire it after one.

    Raises:
        Failed: the sender may not; no such meter; the slot has begun; the meter is retired; or it
            is so already.
    """
    meter = ctx.state.get(METER, op.meter)
    if meter is None:
        raise Failed(ErrorCode.UNKNOWN_METER)
    duty = Duty.REGISTRAR if op.mode == RETIRED else Duty.TECHNICAL
    require(ctx, sender, duty, (meter.account,))
    if op.mode > RETIRED or op.interval_slots == 0:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 1)
    if op.mode != TAKEN and not op.reason:
        raise Failed(ErrorCode.NO_REASON)
    check_ahead(ctx, op.first_slot)
    before = ctx.state.get(ACQUISITION, op.meter) or _ALWAYS
    if before.last_slot is not None:
        raise Failed(ErrorCode.METER_RETIRED, before.last_slot)
    pauses = tuple(p for p in before.pauses if p[1] is None or p[1] >= meter.slot)
    kept = replace(before, pauses=pauses, interval_slots=op.interval_slots)
    after = _changed(kept, op)
    if after == before:
        raise Failed(ErrorCode.NOTHING_CHANGES)
    ctx.state.put(ACQUISITION, after, op.meter)
    ctx.events.append(
        AcquisitionSet(op.meter, op.first_slot, op.mode, op.interval_slots, sender, op.reason)
    )


def _changed(before: Acquisition, op: SetAcquisition) -> Acquisition:
    """With a pause more, or one that ends.

    Raises:
        Failed: there would be too many pauses, or one would lie before another.
    """
    if op.mode == RETIRED:
        return replace(before, last_slot=op.first_slot)
    last = before.pauses[-1] if before.pauses else None
    if last is not None and op.first_slot < (last[1] or last[0]):
        raise Failed(ErrorCode.SLOT_HAS_BEGUN, last[1] or last[0])
    open_pause = last is not None and last[1] is None
    if op.mode == PAUSED and not open_pause:
        if len(before.pauses) == MOST_PAUSES:
            raise Failed(ErrorCode.OUT_OF_BOUNDS, 1)
        return replace(before, pauses=(*before.pauses, (op.first_slot, None)))
    if op.mode == TAKEN and last is not None and open_pause:
        ended = () if last[0] == op.first_slot else ((last[0], op.first_slot),)
        return replace(before, pauses=(*before.pauses[:-1], *ended))
    return before


def check_ahead(ctx: Context, slot: Slot) -> None:
    """A slot that has not begun, and will in our lifetime.

    Raises:
        Failed: SLOT_HAS_BEGUN.
    """
    earliest = max(0, ctx.calendar.slot_at(ctx.time_ms) + 1)
    if not earliest <= slot <= MOST_AHEAD:
        raise Failed(ErrorCode.SLOT_HAS_BEGUN, earliest)
