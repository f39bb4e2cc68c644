"""What the security check found, as a JSON document for people (docs/clients.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.ledger.grid import BASE_BROKEN, INCOMPLETE
from vppd.ledger.state import PATHS, ROUTE, TRADE, State
from vppd.ledger.views import member_name
from vppd.types import Slot

if TYPE_CHECKING:
    from vppd.ledger.execution import Ledger


def paths_view(state: State, ledger: Ledger, slot: Slot) -> dict[str, Any]:
    """The path queue of a slot, from gate closure until the slot closes.

    Raises:
        LookupError: there is no grid, or the slot has none.
    """
    if ledger.genesis.grid is None:
        raise LookupError("this plant has no [grid], so its trades have no paths")
    record = state.get(PATHS, slot)
    if record is None:
        raise LookupError(f"slot {slot} has no paths: its gate is open, or it is long closed")
    trades = dict(state.scan(TRADE, slot))
    rows = []
    for seq, route in state.scan(ROUTE, slot):
        trade = trades.get(seq)
        rows.append(
            {
                "trade_id": seq,
                "seller": None if trade is None else member_name(ledger, trade.seller),
                "buyer": None if trade is None else member_name(ledger, trade.buyer),
                "quantity_wh": 0 if trade is None else trade.quantity_wh,
                "cut_wh": route.cut_wh,
                "round": None if trade is None else trade.round,
                "lines": list(route.lines),
                "loss_mwh": route.loss_mwh,
            }
        )
    return {
        "slot": slot,
        "paths": record.paths.hex(),
        "loss_mw": record.loss_mw,
        "lowest_ppm": record.lowest_ppm,
        "highest_ppm": record.highest_ppm,
        "fullest_ppm": record.fullest_ppm,
        "base_holds": not record.flags & BASE_BROKEN,
        "complete": not record.flags & INCOMPLETE,
        "trades": rows,
    }
