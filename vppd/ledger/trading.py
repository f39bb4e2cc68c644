"""Orders on chain: what may enter a book, what a bid sets aside, what gate closure does.

A bid reserves what it can cost at worst, so trades are firm and never a credit risk (market.md,
§0); only an imbalance can leave a debt.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import OrderAccepted, OrderCancelled, Purse, Reason, Traded
from vppd.ledger.grades import check_quota
from vppd.ledger.order_records import OrderNote
from vppd.ledger.plans import check_ordered
from vppd.ledger.records import Ordered, OrderRecord, SlotRecord, TradeRecord
from vppd.ledger.seat import check_seat
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, MEMBER, ORDER, ORDER_NOTE, ORDERED, SLOT, TRADE, State
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
    check_open(ctx, op.slot)
    check_terms(ctx, op.slot, op.side, op.quantity_wh, op.price, op.reserve_price)
    check_seat(ctx, sender, op.bus)
    count_order(ctx, sender, op.slot, op.side, op.quantity_wh)
    check_ordered(ctx, sender, op.slot)
    account = ctx.state.need(ACCOUNT, sender)
    escrow = 0
    if op.side == Side.BID:
        escrow = bid_escrow(ctx.auction_of(op.slot), op.quantity_wh, op.price, op.reserve_price)
        reserve(ctx, sender, escrow)
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


def reserve(ctx: Context, account: PublicKey, amount: Micro) -> None:
    """Set ``amount`` of a member's balance aside, if it has so much.

    Raises:
        Failed: the member is in debt, or has less.
    """
    check_covered(ctx, account, amount)
    set_aside(ctx, account, amount)


def check_covered(ctx: Context, account: PublicKey, amount: Micro) -> None:
    """That a member's balance has ``amount``.

    Raises:
        Failed: the member is in debt, or has less.
    """
    balance = ctx.state.need(ACCOUNT, account).balance
    missing = amount - balance
    if balance < 0:
        raise Failed(ErrorCode.IN_DEBT, missing)
    if missing > 0:
        raise Failed(ErrorCode.INSUFFICIENT_FUNDS, missing)


def set_aside(ctx: Context, account: PublicKey, amount: Micro) -> None:
    """From a member's balance into its escrow, whatever the balance is."""
    ctx.post(account, Purse.BALANCE, -amount, Reason.RESERVE)
    ctx.post(account, Purse.ESCROW, amount, Reason.RESERVE)


def release(ctx: Context, account: PublicKey, unused: Micro) -> None:
    """Give back what was set aside and is not needed; below zero: the balance gives what misses."""
    ctx.post(account, Purse.ESCROW, -unused, Reason.RELEASE)
    ctx.post(account, Purse.BALANCE, unused, Reason.RELEASE)


def count_order(ctx: Context, account: PublicKey, slot: Slot, side: int, wh: Wh) -> None:
    """Bound what one member can make a slot hold; offers cost nothing, so nothing else does.

    Raises:
        Failed: too many orders, or too much energy on one side.
    """
    if side == Side.OFFER:
        _check_metered(ctx, account)
    market = ctx.market_of(slot)
    so_far = ctx.state.get(ORDERED, slot, account) or Ordered(0, 0, 0)
    if so_far.orders >= market.max_orders:
        raise Failed(ErrorCode.TOO_MANY_ORDERS, market.max_orders)
    offered = so_far.offered_wh + (wh if side == Side.OFFER else 0)
    wanted = so_far.bid_wh + (wh if side == Side.BID else 0)
    if max(offered, wanted) > market.max_quantity_wh:
        raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, market.max_quantity_wh)
    check_quota(ctx, account, slot, so_far.orders + 1, max(offered, wanted))
    ctx.state.put(ORDERED, Ordered(so_far.orders + 1, offered, wanted), slot, account)


def _check_metered(ctx: Context, account: PublicKey) -> None:
    """Wallets are bound to meters (P3, Fig 2): else one sells what no meter will ever miss.

    Accounts of genesis may be without: what it lets sell, it lets sell.

    Raises:
        Failed: NO_METER.
    """
    member = ctx.state.get(MEMBER, account)
    if member is not None and member.name and not ctx.meters.get(account):
        raise Failed(ErrorCode.NO_METER)


def uncount(ctx: Context, account: PublicKey, slot: Slot, side: int, wh: Wh) -> None:
    """Energy a member does not offer or want any more; that it has ordered stays counted."""
    so_far = ctx.state.need(ORDERED, slot, account)
    fewer = (wh, 0) if side == Side.OFFER else (0, wh)
    after = Ordered(so_far.orders, so_far.offered_wh - fewer[0], so_far.bid_wh - fewer[1])
    ctx.state.put(ORDERED, after, slot, account)


def bid_escrow(
    rules: Rules, quantity_wh: Wh, price: MicroPerKwh, reserve_price: MicroPerKwh
) -> Micro:
    """What a bid costs at most before each of its trades is rounded; itself rounded up."""
    worst = max(price, reserve_price) + rules.tolerance
    return -(-quantity_wh * worst // _WH_PER_KWH)


def match_arrivals(ctx: Context) -> None:
    """What a transaction that holds does to the books: cancelled orders leave, new ones arrive.

    New orders enter in their order (market.md, rule 4), each with what is left of it: a contract
    may have traded a part, and the transaction may have cancelled it again.
    """
    for slot, seq in ctx.withdrawals:
        book = ctx.books.get(slot)
        if book is not None:
            book.withdraw(seq)
    for slot, order in ctx.arrivals:
        left = ctx.state.need(ORDER, slot, order.id).remaining_wh
        if left == 0:
            continue
        book = ctx.books.get(slot)
        if book is None:
            book = ctx.books[slot] = Book(ctx.auction_of(slot))
        for trade in book.submit(order, left):
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
            release(ctx, order.account, unused)
            ctx.state.put(ORDER, replace(order, escrow=order.cost), slot, seq)


def withdraw_resting(ctx: Context, slot: Slot, account: PublicKey | None = None) -> None:
    """What rests in an open slot's book leaves it, for one account or for all; escrow goes back.

    Trades that were made stay firm, and what is withdrawn may be ordered again.
    """
    record = ctx.state.get(SLOT, slot)
    if record is None or record.phase != Phase.OPEN:
        return
    for seq, order in ctx.state.scan(ORDER, slot):
        if order.remaining_wh and account in (None, order.account):
            withdraw_order(ctx, slot, seq, order)


def withdraw_order(ctx: Context, slot: Slot, seq: int, order: OrderRecord) -> None:
    """What rests of an order of an open slot leaves the book; money it does not need goes back.

    An order that has traded in part keeps those trades and exactly the escrow they cost. Its energy
    no longer counts towards the most a member may order for the slot; that it was an order does.
    """
    rest = order.remaining_wh
    release(ctx, order.account, order.escrow - order.cost)
    ctx.state.put(ORDER, replace(order, remaining_wh=0, escrow=order.cost), slot, seq)
    note = ctx.state.get(ORDER_NOTE, slot, seq) or OrderNote(0, None)
    ctx.state.put(ORDER_NOTE, replace(note, cancelled_wh=rest), slot, seq)
    uncount(ctx, order.account, slot, order.side, rest)
    ctx.events.append(OrderCancelled(slot, seq, rest))
    ctx.withdrawals.append((slot, seq))


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


def check_open(ctx: Context, slot: Slot) -> None:
    """Orders are taken.

    Raises:
        Failed: not yet, or no longer.
    """
    phase = ctx.phase(slot)
    if phase is None:
        raise Failed(ErrorCode.SLOT_NOT_OPEN, due_ms(ctx.market_of(slot), slot, Phase.OPEN))
    if phase is not Phase.OPEN:
        raise Failed(ErrorCode.GATE_CLOSED, due_ms(ctx.market_of(slot), slot, Phase.GATE_CLOSED))


def check_terms(
    ctx: Context,
    slot: Slot,
    side: int,
    quantity_wh: Wh,
    price: MicroPerKwh,
    reserve_price: MicroPerKwh,
) -> None:
    """Numbers a slot's rules allow in an order.

    Raises:
        Failed: one is out of range, or the reserve price is on the wrong side.
    """
    market = ctx.market_of(slot)
    if not 1 <= quantity_wh <= market.max_quantity_wh:
        raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, market.max_quantity_wh)
    if max(price, reserve_price) > market.max_price:
        raise Failed(ErrorCode.PRICE_OUT_OF_RANGE, market.max_price)
    concession = reserve_price - price
    if concession > 0 if side == Side.OFFER else concession < 0:
        raise Failed(ErrorCode.RESERVE_ON_WRONG_SIDE, price)
