"""Settlement: contracts are paid, meters are compared with them, the grid takes the difference.

A slot settles once, at its deadline. What comes late posts only the difference, as a new version of
that member's settlement; nobody waits for anybody (market.md, §0).
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.context import Context
from vppd.ledger.events import Purse, Reason, Settled, SettlementFlag
from vppd.ledger.metering import close_registers, has_reading, metered
from vppd.ledger.producers import note_delivery
from vppd.ledger.records import SettlementRecord
from vppd.ledger.slots import Phase
from vppd.ledger.state import ORDER, ORDERED, SETTLEMENT, SLOT, TRADE
from vppd.market.settlement import settle_imbalance
from vppd.market.tariff import tariff_for
from vppd.types import Micro, PublicKey, Slot, Wh

_NOTHING = SettlementRecord(0, 0, 0, 0, 0, 0, 0, 0)
"""Stands before the first version."""


def settle(ctx: Context, slot: Slot) -> None:
    """Pay the trades of ``slot``, then settle every member with a trade or a reading."""
    sold: dict[PublicKey, Wh] = {}
    bought: dict[PublicKey, Wh] = {}
    parties = {account: None for account in ctx.meters if has_reading(ctx, account, slot)}
    for _, trade in ctx.state.scan(TRADE, slot):
        ctx.post(trade.buyer, Purse.ESCROW, -trade.amount, Reason.TRADE)
        ctx.post(trade.seller, Purse.BALANCE, trade.amount, Reason.TRADE)
        sold[trade.seller] = sold.get(trade.seller, 0) + trade.quantity_wh
        bought[trade.buyer] = bought.get(trade.buyer, 0) + trade.quantity_wh
        parties |= {trade.seller: None, trade.buyer: None}
    for account in sorted(parties):
        record = _compute(ctx, slot, account, sold.get(account, 0), bought.get(account, 0))
        _apply(ctx, slot, account, record, owed_before=0, reason=Reason.IMBALANCE)


def correct(ctx: Context, slot: Slot, account: PublicKey) -> None:
    """Settle ``slot`` again for a member, if it is settled and a new reading changes the outcome.

    A first settlement is made even if it comes to nothing: a reading is always answered. A member
    without a settlement has no trade in the slot: its trades would have given it one.
    """
    slot_record = ctx.state.get(SLOT, slot)
    if slot_record is None or slot_record.phase != Phase.SETTLED:
        return
    previous = ctx.state.get(SETTLEMENT, slot, account)
    if previous is None:
        if not has_reading(ctx, account, slot):
            return
        previous = _NOTHING
    outcome = _compute(ctx, slot, account, previous.sold_wh, previous.bought_wh)
    kept = previous.flags & SettlementFlag.CORRECTED
    same = replace(outcome, version=previous.version, flags=outcome.flags | kept) == previous
    if same and previous is not _NOTHING:
        return
    record = replace(
        outcome,
        version=previous.version + 1,
        flags=outcome.flags | SettlementFlag.CORRECTED,
    )
    owed_before = previous.grid_amount
    _apply(ctx, slot, account, record, owed_before=owed_before, reason=Reason.CORRECTION)


def close(ctx: Context, slot: Slot) -> None:
    """No more corrections: everything about ``slot`` leaves the state."""
    close_registers(ctx, slot)
    for seq, _ in ctx.state.scan(ORDER, slot):
        ctx.state.remove(ORDER, slot, seq)
    for seq, _ in ctx.state.scan(TRADE, slot):
        ctx.state.remove(TRADE, slot, seq)
    for account, _ in ctx.state.scan(SETTLEMENT, slot):
        ctx.state.remove(SETTLEMENT, slot, account)
    for account, _ in ctx.state.scan(ORDERED, slot):
        ctx.state.remove(ORDERED, slot, account)
    ctx.state.remove(SLOT, slot)


def _compute(
    ctx: Context, slot: Slot, account: PublicKey, sold_wh: Wh, bought_wh: Wh
) -> SettlementRecord:
    """First version of a settlement, from what is known now."""
    tariff = tariff_for(ctx.market_of(slot), slot)
    energy = metered(ctx, account, slot)
    import_wh, export_wh = (bought_wh, sold_wh) if energy is None else energy
    outcome = settle_imbalance(
        sold_wh=sold_wh,
        bought_wh=bought_wh,
        import_wh=None if energy is None else import_wh,
        export_wh=None if energy is None else export_wh,
        retail_price=tariff.retail_price,
        feed_in_price=tariff.feed_in_price,
    )
    return SettlementRecord(
        1,
        import_wh,
        export_wh,
        sold_wh,
        bought_wh,
        outcome.imbalance_wh,
        outcome.amount,
        SettlementFlag.ESTIMATED if outcome.estimated else 0,
    )


def _apply(
    ctx: Context,
    slot: Slot,
    account: PublicKey,
    record: SettlementRecord,
    *,
    owed_before: Micro,
    reason: Reason,
) -> None:
    charged = ctx.charge(account, record.grid_amount - owed_before, reason)
    record = replace(record, grid_amount=owed_before + charged)
    ctx.state.put(SETTLEMENT, record, slot, account)
    note_delivery(ctx, slot, account, record)
    tariff = tariff_for(ctx.market_of(slot), slot)
    ctx.events.append(
        Settled(
            slot,
            account,
            record.version,
            record.import_wh,
            record.export_wh,
            record.sold_wh,
            record.bought_wh,
            record.imbalance_wh,
            tariff.retail_price,
            tariff.feed_in_price,
            record.grid_amount,
            record.flags,
        )
    )
