"""Metered energy of earlier days, kept as slots close: what baselines are made of.

Only of members of projects and of called accounts, and only for so many days; what is kept is
final, because nothing corrects a closed slot.
"""

from __future__ import annotations

from collections.abc import Iterable

from vppd.config.values import DAY_MINUTES
from vppd.ledger.context import Context
from vppd.ledger.metering import metered
from vppd.ledger.registration.records import DayEnergy
from vppd.ledger.response.calls import called_in, tracked
from vppd.ledger.state import DAY_ENERGY
from vppd.market.response import baseline_wh
from vppd.types import PublicKey, Slot, Wh

MOST_DAYS = 10
"""Days of a baseline."""
_KEPT = MOST_DAYS + 4
"""Some days are left out of a baseline, because an event called the member then."""


def note_energy(ctx: Context, slot: Slot) -> None:
    """``slot`` closes: remember what went through the meters of those who may be called."""
    accounts = tracked(ctx)
    if not accounts:
        return
    called = called_in(ctx, slot)
    place = slot % _slots_per_day(ctx, slot)
    for account in sorted(accounts):
        energy = metered(ctx, account, slot)
        if energy is None:
            continue
        known = ctx.state.get(DAY_ENERGY, account, place) or DayEnergy(())
        today = (slot, energy.import_wh, energy.export_wh, account in called)
        ctx.state.put(DAY_ENERGY, DayEnergy((*known.days, today)[-_KEPT:]), account, place)


def net_energy(ctx: Context, account: PublicKey, slot: Slot) -> Wh | None:
    """Import less export of a closed slot, Wh; ``None``: not known, or no longer."""
    known = ctx.state.get(DAY_ENERGY, account, slot % _slots_per_day(ctx, slot))
    for day, imported, exported, _ in known.days if known is not None else ():
        if day == slot:
            return imported - exported
    return None


def baseline(ctx: Context, account: PublicKey, slot: Slot, days: int) -> Wh | None:
    """Mean net energy in the same slot of the latest ``days`` days without an event, Wh.

    Of fewer days where fewer are known; ``None`` where none is.
    """
    per_day = _slots_per_day(ctx, slot)
    known = ctx.state.get(DAY_ENERGY, account, slot % per_day)
    nets = [
        imported - exported
        for day, imported, exported, called in (known.days if known is not None else ())
        if day < slot and not called
    ]
    return baseline_wh(nets[-days:])


def forget(ctx: Context, accounts: Iterable[PublicKey]) -> None:
    """Accounts that nobody can call any more are no longer remembered."""
    still = tracked(ctx)
    for account in accounts:
        if account not in still:
            for place, _ in ctx.state.scan(DAY_ENERGY, account):
                ctx.state.remove(DAY_ENERGY, account, place)


def _slots_per_day(ctx: Context, slot: Slot) -> int:
    return max(1, DAY_MINUTES // ctx.market_of(slot).market_slot_minutes)
