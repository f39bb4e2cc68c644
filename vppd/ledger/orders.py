"""Orders after they are placed: cancelled by their owner, or made by a contract that trades.

What a contract trades becomes orders and trades like all others, so that settlement need not know
where a trade came from; its round is 0.
"""

from __future__ import annotations

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import OrderMade
from vppd.ledger.order_ops import CancelOrder
from vppd.ledger.order_records import OrderNote
from vppd.ledger.records import OrderRecord, SlotRecord, TradeRecord
from vppd.ledger.registration.duties import need_active
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, ORDER, ORDER_NOTE, SLOT
from vppd.ledger.trading import check_open, record_trade, withdraw_order
from vppd.market.auction import Side
from vppd.market.money import amount_micro
from vppd.types import Micro, MicroPerKwh, PublicKey, Slot, Wh

BY_CONTRACT = 0
"""Round of a trade that a contract made."""


def cancel_order(ctx: Context, sender: PublicKey, op: CancelOrder) -> None:
    """What rests of an order of one's own leaves the book.

    Raises:
        Failed: the slot is not open, there is no such order, it is another's, or nothing rests.
    """
    check_open(ctx, op.slot)
    order = ctx.state.get(ORDER, op.slot, op.seq)
    if order is None:
        slot = ctx.state.get(SLOT, op.slot)
        raise Failed(ErrorCode.UNKNOWN_ORDER, 0 if slot is None else slot.orders)
    if order.account != sender:
        raise Failed(ErrorCode.NOT_YOURS)
    if order.remaining_wh == 0:
        raise Failed(ErrorCode.ORDER_FILLED)
    withdraw_order(ctx, op.slot, op.seq, order)


def check_before_delivery(ctx: Context, slot: Slot) -> Phase:
    """The slot's phase, which lies before delivery.

    Raises:
        Failed: it is not open yet, or its energy flows already.
    """
    phase, market = ctx.phase(slot), ctx.market_of(slot)
    if phase is None:
        raise Failed(ErrorCode.SLOT_NOT_OPEN, due_ms(market, slot, Phase.OPEN))
    if phase > Phase.GATE_CLOSED:
        raise Failed(ErrorCode.DELIVERY_BEGUN, due_ms(market, slot, Phase.DELIVERING))
    return phase


def make_order(
    ctx: Context,
    slot: Slot,
    contract: int,
    account: PublicKey,
    side: Side,
    quantity_wh: Wh,
    price: MicroPerKwh,
    escrow: Micro = 0,
) -> int:
    """An order that a contract makes in a member's name; returns its number in the slot.

    It does not meet the book. The caller has checked that the slot takes it, has counted it, and
    has set its escrow aside.
    """
    member = ctx.state.need(ACCOUNT, account)
    slot_record = ctx.state.need(SLOT, slot)
    seq = slot_record.orders
    record = OrderRecord(
        account,
        side,
        quantity_wh,
        quantity_wh,
        price,
        price,
        member.credit,
        member.bus,
        escrow,
        0,
    )
    ctx.state.put(SLOT, SlotRecord(slot_record.phase, seq + 1, slot_record.trades), slot)
    ctx.state.put(ORDER, record, slot, seq)
    ctx.state.put(ORDER_NOTE, OrderNote(0, contract), slot, seq)
    ctx.events.append(OrderMade(slot, seq, contract, account, side, quantity_wh, price, escrow))
    return seq


def trade_between(
    ctx: Context,
    slot: Slot,
    contract: int,
    seller: PublicKey,
    buyer: PublicKey,
    quantity_wh: Wh,
    price: MicroPerKwh,
) -> None:
    """A firm trade outside the auction, whose amount the caller has set aside for the buyer.

    Raises:
        Failed: one of the two may not trade now.
    """
    for account in (seller, buyer):
        need_active(ctx, account)
    amount = amount_micro(quantity_wh, price)
    offer = make_order(ctx, slot, contract, seller, Side.OFFER, quantity_wh, price)
    bid = make_order(ctx, slot, contract, buyer, Side.BID, quantity_wh, price, amount)
    record_trade(
        ctx,
        slot,
        TradeRecord(
            offer, bid, seller, buyer, quantity_wh, price, amount, price, price, BY_CONTRACT
        ),
    )


def forget_notes(ctx: Context, slot: Slot) -> None:
    """The slot closes."""
    for seq, _ in ctx.state.scan(ORDER_NOTE, slot):
        ctx.state.remove(ORDER_NOTE, slot, seq)
