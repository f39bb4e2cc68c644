"""An urgent order: an emergency bid that is matched at once (P1, §3.2, Fig 3).

It meets the slot's standby offers as it is decided, before anything else of its transaction and
also after gate closure, until delivery begins. It pays each offer's own price. What they do not
cover goes into the book as a bid while the gate is open; after that nobody in the plant gives it.
On a plant with a grid, what is traded after the security check is no more than the grid carries.
"""

from __future__ import annotations

from typing import ClassVar

from vppd.ledger.contracts.kind import Desk, Kind, KindName, Standing, read
from vppd.ledger.events import UrgentServed
from vppd.ledger.grid import room_left
from vppd.ledger.kinds import terms
from vppd.ledger.kinds.standby import draw, ready
from vppd.ledger.kinds.terms import read_urgent
from vppd.ledger.orders import BY_CONTRACT, check_before_delivery, make_order
from vppd.ledger.records import TradeRecord
from vppd.ledger.slots import Phase
from vppd.ledger.state import ACCOUNT, ORDER
from vppd.ledger.trading import (
    bid_escrow,
    book_order,
    check_covered,
    check_terms,
    count_order,
    record_trade,
    reserve,
    uncount,
)
from vppd.market.auction import Side
from vppd.market.grid.security import Deal
from vppd.market.money import amount_micro


class Urgent(Kind):
    """It ends in the block that decides it."""

    name = KindName(terms.URGENT)
    phases: ClassVar[tuple[str, ...]] = ("served",)
    methods: ClassVar[tuple[str, ...]] = ()

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Match the bid; it sets aside what its matches cost, and what the rest may cost in a book.

        Who could not pay for all of it at its price is refused before anybody is looked for, which
        would cost every node work and nobody money.

        Raises:
            Failed: the energy flows already, a number is out of range, or it is not covered.
        """
        asked, ctx = read(read_urgent, terms), desk.context
        slot, buyer = asked.slot, desk.owner
        phase = check_before_delivery(ctx, slot)
        check_terms(ctx, slot, Side.BID, asked.quantity_wh, asked.price, asked.price)
        count_order(ctx, buyer, slot, Side.BID, asked.quantity_wh)
        check_covered(ctx, buyer, amount_micro(asked.quantity_wh, asked.price))
        ctx.need_slot(slot, phase)
        matched, escrow, parts = 0, 0, []
        room, bus = room_left(ctx, slot), ctx.state.need(ACCOUNT, buyer).bus
        for number, owner, offer in ready(ctx, slot, asked.price, but=buyer):
            part = min(asked.quantity_wh - matched, offer.quantity_wh)
            if room is not None:
                part = room.admit(Deal(ctx.state.need(ACCOUNT, owner).bus, bus, part))
            if part > 0:
                parts.append((number, owner, offer, part))
                matched += part
                escrow += amount_micro(part, offer.price)
            if matched == asked.quantity_wh:
                break
        unmet = asked.quantity_wh - matched
        ctx.events.append(UrgentServed(slot, desk.number, matched, unmet))
        books = phase is Phase.OPEN and unmet > 0
        if books:
            escrow += bid_escrow(ctx.auction_of(slot), unmet, asked.price, asked.price)
        elif unmet:
            uncount(ctx, buyer, slot, Side.BID, unmet)
        quantity = asked.quantity_wh if books else matched
        if quantity == 0:
            return Standing(0, b"", ended=True)
        reserve(ctx, buyer, escrow)
        bid = make_order(ctx, slot, desk.number, buyer, Side.BID, quantity, asked.price, escrow)
        for number, seller, offer, part in parts:
            sold = make_order(ctx, slot, number, seller, Side.OFFER, part, offer.price)
            record_trade(
                ctx,
                slot,
                TradeRecord(
                    sold,
                    bid,
                    seller,
                    buyer,
                    part,
                    offer.price,
                    amount_micro(part, offer.price),
                    offer.price,
                    asked.price,
                    BY_CONTRACT,
                ),
            )
            draw(ctx, number, offer, part)
        if books:
            ctx.arrivals.append((slot, book_order(bid, ctx.state.need(ORDER, slot, bid))))
        return Standing(0, b"", ended=True)

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """Nobody can: it ends as it is opened.

        Raises:
            Failed: always.
        """
        del now, method, args
        raise desk.refuse(0)

    def fire(self, desk: Desk, now: Standing) -> Standing:
        """It has no trigger.

        Raises:
            Failed: always.
        """
        del now
        raise desk.refuse(0)


URGENT = Urgent()
