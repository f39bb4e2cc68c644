"""Orders on chain: what may enter a book, what a bid sets aside, what gate closure does.

A bid reserves what it can cost at worst, so trades are firm and never a credit risk (market.md,
§0); only an imbalance can leave a debt.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import OrderAccepted, Purse, Reason, Traded
from vppd.ledger.grades import check_quota
from vppd.ledger.plans import check_ordered
from vppd.ledger.seat import check_seat
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import (
    ACCOUNT,
    ORDER,
    ORDERED,
    SLOT,
    TRADE,
    Ordered,
    OrderRecord,
    SlotRecord,
    State,
    TradeRecord,
)
from vppd.ledger.transaction import PlaceOrder
from vppd.market.auction import Book, Order, Rules, Side, Trade
from vppd.market.tariff import tariff_for
from vppd.types import Micro, MicroPerKwh, PublicKey, Slot, Wh

_WH_PER_KWH = 1_000
_SIDES = (Side.OFFER, Side.BID)


def place_order(ctx: Context, sender: PublicKey, op: PlaceOrder) -> None:
    """Take an order into its slot; it meets the others in :func:`match_arrivals`.

    Raises:
        Failed: the slot is not open, a number is out of range, the bus is not the member's, or a
            bid is not covered.
    """
    _check_open(ctx, op.slot)
    _check_numbers(ctx, op)
    check_seat(ctx, sender, op.bus)
    _count(ctx, sender, op)
    check_ordered(ctx, sender, op.slot)
    account = ctx.state.need(ACCOUNT, sender)
    escrow = 0
    if op.side == Side.BID:
        escrow = bid_escrow(ctx.auction_of(op.slot), op.quantity_wh, op.price, op.reserve_price)
        missing = escrow - account.balance
        if account.balance < 0:
            raise Failed(ErrorCode.IN_DEBT, missing)
        if missing > 0:
            raise Failed(ErrorCode.INSUFFICIENT_FUNDS, missing)
        ctx.post(sender, Purse.BALANCE, -escrow, Reason.RESERVE)
        ctx.post(sender, Purse.ESCROW, escrow, Reason.RESERVE)
    slot = ctx.need_slot(op.slot, Phase.OPEN)
    seq = slot.orders
    record = OrderRecord(
        sender,
        op.side,
        op.quantity_wh,
        op.quantity_wh,
        op.price,
        op.reserve_price,
        account.credit,
        op.bus,
        escrow,
        0,
    )
    ctx.state.put(SLOT, SlotRecord(slot.phase, seq + 1, slot.trades), op.slot)
    ctx.state.put(ORDER, record, op.slot, seq)
    ctx.events.append(OrderAccepted(op.slot, seq))
    ctx.arrivals.append((op.slot, book_order(seq, record)))


def _count(ctx: Context, sender: PublicKey, op: PlaceOrder) -> None:
    """Bound what one member can make a slot hold; offers cost nothing, so nothing else does."""
    market = ctx.market_of(op.slot)
    so_far = ctx.state.get(ORDERED, op.slot, sender) or Ordered(0, 0, 0)
    if so_far.orders >= market.max_orders:
        raise Failed(ErrorCode.TOO_MANY_ORDERS, market.max_orders)
    offered = so_far.offered_wh + (op.quantity_wh if op.side == Side.OFFER else 0)
    wanted = so_far.bid_wh + (op.quantity_wh if op.side == Side.BID else 0)
    if max(offered, wanted) > market.max_quantity_wh:
        raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, market.max_quantity_wh)
    check_quota(ctx, sender, op.slot, so_far.orders + 1, max(offered, wanted))
    ctx.state.put(ORDERED, Ordered(so_far.orders + 1, offered, wanted), op.slot, sender)


def bid_escrow(
    rules: Rules, quantity_wh: Wh, price: MicroPerKwh, reserve_price: MicroPerKwh
) -> Micro:
    """What a bid costs at most before each of its trades is rounded; itself rounded up."""
    worst = max(price, reserve_price) + rules.tolerance
    return -(-quantity_wh * worst // _WH_PER_KWH)


def match_arrivals(ctx: Context) -> None:
    """The orders of a transaction that holds enter their books, in order (market.md, rule 4)."""
    for slot, order in ctx.arrivals:
        book = ctx.books.get(slot)
        if book is None:
            book = ctx.books[slot] = Book(ctx.auction_of(slot))
        for trade in book.submit(order):
            record_trade(ctx, slot, record_of(trade))


def last_rounds(ctx: Context, slot: Slot) -> None:
    """Gate closure: the rounds that are still to come (market.md, rules 4, 5 and 7)."""
    tariff = tariff_for(ctx.market_of(slot), slot)
    book = ctx.books.pop(slot, None)
    if book is not None:
        for trade in book.close(tariff.retail_price, tariff.feed_in_price).trades:
            record_trade(ctx, slot, record_of(trade))


def sign_contracts(ctx: Context, slot: Slot) -> None:
    """The contracts are firm: escrow nobody needs goes back.

    Each trade's amount is rounded by itself, so a bid's trades may cost a few micro more than was
    set aside for it; then the balance gives what is missing.
    """
    for seq, order in ctx.state.scan(ORDER, slot):
        unused = order.escrow - order.cost
        if unused != 0:
            ctx.post(order.account, Purse.ESCROW, -unused, Reason.RELEASE)
            ctx.post(order.account, Purse.BALANCE, unused, Reason.RELEASE)
            ctx.state.put(ORDER, replace(order, escrow=order.cost), slot, seq)


def withdraw_resting(ctx: Context, slot: Slot, account: PublicKey | None = None) -> None:
    """What rests in an open slot's book leaves it, for one account or for all; escrow goes back.

    Trades that were made stay firm, and what is withdrawn may be ordered again.
    """
    record = ctx.state.get(SLOT, slot)
    if record is None or record.phase != Phase.OPEN:
        return
    gone: set[int] = set()
    for seq, order in ctx.state.scan(ORDER, slot):
        if order.remaining_wh == 0 or account not in (None, order.account):
            continue
        gone.add(seq)
        unused = order.escrow - order.cost
        ctx.post(order.account, Purse.ESCROW, -unused, Reason.RELEASE)
        ctx.post(order.account, Purse.BALANCE, unused, Reason.RELEASE)
        ctx.state.put(ORDER, replace(order, remaining_wh=0, escrow=order.cost), slot, seq)
        so_far = ctx.state.need(ORDERED, slot, order.account)
        offers = order.side == Side.OFFER
        less = Ordered(
            so_far.orders,
            so_far.offered_wh - (order.remaining_wh if offers else 0),
            so_far.bid_wh - (0 if offers else order.remaining_wh),
        )
        ctx.state.put(ORDERED, less, slot, order.account)
    if gone:
        ctx.arrivals = [
            (at, order) for at, order in ctx.arrivals if at != slot or order.id not in gone
        ]
        ctx.redo.append(lambda: _open_again(ctx, slot))


def _open_again(ctx: Context, slot: Slot) -> None:
    """The book of a slot from the state, but for what is on its way into it."""
    arriving = {order.id for at, order in ctx.arrivals if at == slot}
    resting = (
        (book_order(seq, record), record.remaining_wh)
        for seq, record in ctx.state.scan(ORDER, slot)
        if record.remaining_wh > 0 and seq not in arriving
    )
    ctx.books[slot] = Book.restore(ctx.auction_of(slot), resting)


def restore_book(state: State, rules: Rules, slot: Slot) -> Book[PublicKey]:
    """The book of an open slot as its orders in the state make it."""
    resting = (
        (book_order(seq, record), record.remaining_wh)
        for seq, record in state.scan(ORDER, slot)
        if record.remaining_wh > 0
    )
    return Book.restore(rules, resting)


def book_order(seq: int, record: OrderRecord) -> Order[PublicKey]:
    """An order as books know it."""
    return Order(
        seq,
        record.account,
        _SIDES[record.side],
        record.quantity_wh,
        record.price,
        record.reserve_price,
        record.credit,
        seq,
    )


def record_of(trade: Trade[PublicKey]) -> TradeRecord:
    """A trade as the state keeps it."""
    return TradeRecord(
        trade.offer_id,
        trade.bid_id,
        trade.seller,
        trade.buyer,
        trade.quantity_wh,
        trade.price,
        trade.amount,
        trade.offer_price,
        trade.bid_price,
        trade.round,
    )


def record_trade(ctx: Context, slot: Slot, trade: TradeRecord) -> None:
    """A trade is firm: it gets the slot's next number, its orders have so much less left."""
    state = ctx.state
    slot_record = state.need(SLOT, slot)
    seq = slot_record.trades
    state.put(SLOT, SlotRecord(slot_record.phase, slot_record.orders, seq + 1), slot)
    offer = state.need(ORDER, slot, trade.offer)
    bid = state.need(ORDER, slot, trade.bid)
    sold = _after(offer, trade.quantity_wh, 0)
    bought = _after(bid, trade.quantity_wh, trade.amount)
    state.put(ORDER, sold, slot, trade.offer)
    state.put(ORDER, bought, slot, trade.bid)
    state.put(TRADE, trade, slot, seq)
    ctx.events.append(
        Traded(
            slot,
            seq,
            trade.offer,
            trade.bid,
            trade.seller,
            trade.buyer,
            trade.quantity_wh,
            trade.price,
            trade.amount,
            trade.round,
        )
    )


def _after(order: OrderRecord, quantity: Wh, amount: Micro) -> OrderRecord:
    """An order after a trade."""
    return OrderRecord(
        order.account,
        order.side,
        order.quantity_wh,
        order.remaining_wh - quantity,
        order.price,
        order.reserve_price,
        order.credit,
        order.bus,
        order.escrow,
        order.cost + amount,
    )


def _check_open(ctx: Context, slot: Slot) -> None:
    phase = ctx.phase(slot)
    if phase is None:
        raise Failed(ErrorCode.SLOT_NOT_OPEN, due_ms(ctx.market_of(slot), slot, Phase.OPEN))
    if phase is not Phase.OPEN:
        raise Failed(ErrorCode.GATE_CLOSED, due_ms(ctx.market_of(slot), slot, Phase.GATE_CLOSED))


def _check_numbers(ctx: Context, op: PlaceOrder) -> None:
    market = ctx.market_of(op.slot)
    if not 1 <= op.quantity_wh <= market.max_quantity_wh:
        raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, market.max_quantity_wh)
    if max(op.price, op.reserve_price) > market.max_price:
        raise Failed(ErrorCode.PRICE_OUT_OF_RANGE, market.max_price)
    concession = op.reserve_price - op.price
    if concession > 0 if op.side == Side.OFFER else concession < 0:
        raise Failed(ErrorCode.RESERVE_ON_WRONG_SIDE, op.price)
