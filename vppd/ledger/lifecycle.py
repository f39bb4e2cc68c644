"""What happens as a slot enters a phase: one line per step, in order (market.md, §0).

Each transition fires once, in the first block whose time has reached it.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.agenda import Due
from vppd.ledger.consent import forget_consent, void_unsigned
from vppd.ledger.context import Context
from vppd.ledger.events import SlotAdvanced
from vppd.ledger.fees import close_fees, settle_fees
from vppd.ledger.grid import check_trades, forget_paths
from vppd.ledger.orders import forget_notes
from vppd.ledger.plans import close_plans, forget_plans
from vppd.ledger.response.history import note_energy
from vppd.ledger.review import note_slot
from vppd.ledger.settling import close, settle
from vppd.ledger.sharing import share, share_again, take_position
from vppd.ledger.slots import Phase
from vppd.ledger.state import SLOT
from vppd.ledger.trading import last_rounds, sign_contracts
from vppd.types import Slot


def advance_slot(ctx: Context, due: Due) -> None:
    """A slot's next transition is due."""
    slot, phase = due.number, Phase(due.step)
    record = ctx.state.need(SLOT, slot)
    ctx.state.put(SLOT, replace(record, phase=phase), slot)
    ctx.events.append(SlotAdvanced(slot, phase))
    ctx.note(slot, phase)
    ctx.note_all()
    match phase:
        case Phase.GATE_CLOSED:
            _gate_closed(ctx, slot)
        case Phase.DELIVERING:
            _delivering(ctx, slot)
        case Phase.SETTLED:
            _settled(ctx, slot)
        case Phase.CLOSED:
            _closed(ctx, slot)
        case _:
            pass  # delivery ends without anything to book


def _gate_closed(ctx: Context, slot: Slot) -> None:
    last_rounds(ctx, slot)
    check_trades(ctx, slot)
    sign_contracts(ctx, slot)
    close_plans(ctx, slot)
    take_position(ctx, slot)


def _delivering(ctx: Context, slot: Slot) -> None:
    void_unsigned(ctx, slot)


def _settled(ctx: Context, slot: Slot) -> None:
    settle(ctx, slot)
    settle_fees(ctx, slot)
    note_slot(ctx, slot)
    share(ctx, slot)


def _closed(ctx: Context, slot: Slot) -> None:
    share_again(ctx, slot)
    note_energy(ctx, slot)
    close(ctx, slot)
    close_fees(ctx, slot)
    forget_paths(ctx, slot)
    forget_consent(ctx, slot)
    forget_notes(ctx, slot)
    forget_plans(ctx, slot)
