"""A member's orders as a JSON document for people (docs/clients.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.ledger.order_records import Consent, OrderNote, Parties
from vppd.ledger.records import OrderRecord, TradeRecord
from vppd.ledger.slots import Phase
from vppd.ledger.state import CONSENT, ORDER, ORDER_NOTE, ORDERED
from vppd.market.auction import Side
from vppd.types import PublicKey, Slot

if TYPE_CHECKING:
    from vppd.ledger.context import Context
    from vppd.ledger.execution import Ledger

_NOTHING = OrderNote(0, None)


def orders_view(ctx: Context, ledger: Ledger, account: PublicKey) -> list[dict[str, Any]]:
    """Every order of a member, until its slot closes: by slot and number, with what became of it.

    ``state`` is ``resting``, ``filled``, ``cancelled`` (what rested was), or ``left`` (the gate
    closed on it: the grid takes or gives the rest).
    """
    rows: list[dict[str, Any]] = []
    for slot, record in ledger.slots():
        if ctx.state.get(ORDERED, slot, account) is None:
            continue
        for seq, order in ctx.state.scan(ORDER, slot):
            if order.account == account:
                note = ctx.state.get(ORDER_NOTE, slot, seq) or _NOTHING
                rows.append(_row(slot, Phase(record.phase), seq, order, note))
    return rows


def _row(slot: Slot, phase: Phase, seq: int, order: OrderRecord, note: OrderNote) -> dict[str, Any]:
    if note.cancelled_wh:
        state = "cancelled"
    elif order.remaining_wh == 0:
        state = "filled"
    else:
        state = "resting" if phase is Phase.OPEN else "left"
    return {
        "slot": slot,
        "order_id": seq,
        "side": Side(order.side).name.lower(),
        "state": state,
        "quantity_wh": order.quantity_wh,
        "traded_wh": order.quantity_wh - order.remaining_wh - note.cancelled_wh,
        "remaining_wh": order.remaining_wh,
        "cancelled_wh": note.cancelled_wh,
        "price_micro": order.price,
        "reserve_price_micro": order.reserve_price,
        "escrow_micro": order.escrow,
        "cost_micro": order.cost,
        "bus": order.bus,
        "contract": note.contract,
    }


def signed_by(ctx: Context, slot: Slot, number: int, trade: TradeRecord) -> list[str] | None:
    """Who has consented to a trade; ``None``: nobody needs to."""
    if ctx.market_of(slot).consent != "explicit" or trade.round == 0:
        return None
    signed = Parties((ctx.state.get(CONSENT, slot, number) or Consent(0)).parties)
    return [str(party.name).lower() for party in Parties if party in signed]
