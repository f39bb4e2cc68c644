"""Readings on chain: which are believed, and what energy they prove (docs/adr/0005).

A meter reports its two cumulative registers at the end of a slot. A slot's energy is the difference
to the registers at its start, and known only when both are. Registers of open slots stay in the
state; as a slot closes they become the meter's own starting point.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import ReadingAccepted
from vppd.ledger.meters import Face, floor_of, placed
from vppd.ledger.records import Register
from vppd.ledger.registration.acquisition import check_acquired, is_paused, is_retired
from vppd.ledger.slots import Phase, due_ms, phase_at
from vppd.ledger.state import METER, ODOMETER, REGISTER
from vppd.ledger.transaction import Reading
from vppd.types import PublicKey, Slot, Wh


class Energy(NamedTuple):
    """What went through a meter, or through all meters of an account, in one slot."""

    import_wh: Wh
    export_wh: Wh


class _Mark(NamedTuple):
    """Registers at the end of a slot, which is −1 before slot 0."""

    slot: Slot
    import_wh: Wh
    export_wh: Wh


def take_reading(ctx: Context, key: PublicKey, op: Reading) -> PublicKey:
    """Keep the reading of the meter ``key``, or its correction.

    Returns:
        The account whose energy may now be known in this slot and the next.

    Raises:
        Failed: the slot has not ended, has closed or precedes the meter; or the registers cannot
            be these, with those of the neighbouring slots as they are.
    """
    state, market = ctx.state, ctx.market_of(op.slot)
    meter = state.need(METER, key)
    phase = phase_at(market, op.slot, ctx.time_ms)
    if phase is None or phase < Phase.METERED:
        raise Failed(ErrorCode.READING_FROM_FUTURE, due_ms(market, op.slot, Phase.METERED))
    if phase is Phase.CLOSED:
        raise Failed(ErrorCode.SLOT_CLOSED, due_ms(market, op.slot, Phase.CLOSED))
    check_acquired(ctx, key, op.slot)
    if op.slot < meter.slot:
        raise Failed(ErrorCode.BEFORE_FIRST_SLOT, meter.slot)
    known = state.get(REGISTER, key, op.slot)
    before, after = state.around(REGISTER, key, op.slot)
    later = None if after is None else _mark(ctx, key, after)
    if before is None:
        earlier = _Mark(meter.slot - 1, meter.import_wh, meter.export_wh)
    else:
        earlier = _mark(ctx, key, before)
    odometer = state.get(ODOMETER, key)
    floor = floor_of(odometer, op.slot, Face(earlier.import_wh, earlier.export_wh))
    earlier = _Mark(earlier.slot, *floor)
    import_wh, export_wh = placed(odometer, Face(op.import_wh, op.export_wh), floor)
    version = 0 if known is None else known.version
    if known is not None and (known.import_wh, known.export_wh) == (import_wh, export_wh):
        raise Failed(ErrorCode.DUPLICATE_READING, version)
    own = _Mark(op.slot, import_wh, export_wh)
    _check_step(ctx, earlier, own, neighbour=earlier)
    if later is not None:
        _check_step(ctx, own, later, neighbour=later)
    ctx.need_slot(op.slot, phase)
    state.put(REGISTER, Register(import_wh, export_wh, version + 1), key, op.slot)
    ctx.events.append(
        ReadingAccepted(key, meter.account, op.slot, import_wh, export_wh, version + 1)
    )
    return meter.account


def _mark(ctx: Context, key: PublicKey, slot: Slot) -> _Mark:
    register = ctx.state.need(REGISTER, key, slot)
    return _Mark(slot, register.import_wh, register.export_wh)


def _check_step(ctx: Context, first: _Mark, second: _Mark, *, neighbour: _Mark) -> None:
    imported = second.import_wh - first.import_wh
    exported = second.export_wh - first.export_wh
    if imported < 0 or exported < 0:
        raise Failed(ErrorCode.REGISTER_BACKWARDS, neighbour.import_wh, neighbour.export_wh)
    most = max(ctx.market_of(slot).max_quantity_wh for slot in (first.slot + 1, second.slot))
    if max(imported, exported) > most * (second.slot - first.slot):
        raise Failed(ErrorCode.ENERGY_OUT_OF_RANGE, most)


def has_reading(ctx: Context, account: PublicKey, slot: Slot) -> bool:
    """Whether any meter of the account has reported the end of ``slot``."""
    return any(
        ctx.state.get(REGISTER, key, slot) is not None for key in ctx.meters.get(account, ())
    )


def metered(ctx: Context, account: PublicKey, slot: Slot) -> Energy | None:
    """The account's energy in ``slot``, summed over its meters; ``None`` unless all of it is known.

    Meters whose first slot is a later one do not count yet, retired ones no more.
    """
    energies = [
        _metered_by(ctx, key, slot)
        for key in ctx.meters.get(account, ())
        if ctx.state.need(METER, key).slot <= slot and not is_retired(ctx, key, slot)
    ]
    known = [energy for energy in energies if energy is not None]
    if not known or len(known) < len(energies):
        return None
    return Energy(sum(e.import_wh for e in known), sum(e.export_wh for e in known))


def _metered_by(ctx: Context, key: PublicKey, slot: Slot) -> Energy | None:
    if is_paused(ctx, key, slot):
        return None
    meter = ctx.state.need(METER, key)
    start = meter if meter.slot == slot else ctx.state.get(REGISTER, key, slot - 1)
    end = ctx.state.get(REGISTER, key, slot)
    if start is None or end is None:
        return None
    return Energy(end.import_wh - start.import_wh, end.export_wh - start.export_wh)


def close_registers(ctx: Context, slot: Slot) -> None:
    """``slot`` closes: registers at its end become their meters' starting points."""
    for key, meter in ctx.state.scan(METER):
        register = ctx.state.get(REGISTER, key, slot)
        if register is not None and slot >= meter.slot:  # never back, whatever closes when
            moved = replace(
                meter, slot=slot + 1, import_wh=register.import_wh, export_wh=register.export_wh
            )
            ctx.state.put(METER, moved, key)
            ctx.state.remove(REGISTER, key, slot)
