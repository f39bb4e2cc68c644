"""An urgent order: an emergency bid that is matched at once (P1, §3.2, Fig 3).

It meets the slot's standby offers as it is decided, before anything else of its transaction and
also after gate closure, until delivery begins. It pays each offer's own price. What they do not
cover goes into the book as a bid while the gate is open; after that nobody in the plant gives it.
"""

from __future__ import annotations

from typing import ClassVar

from vppd.ledger.contracts.kind import Desk, Kind, KindName, Standing, read
from vppd.ledger.events import UrgentServed
from vppd.ledger.kinds import terms
from vppd.ledger.kinds.standby import draw, ready
from vppd.ledger.kinds.terms import read_urgent
from vppd.ledger.orders import BY_CONTRACT, check_before_delivery, make_order
from vppd.ledger.slots import Phase
from vppd.ledger.state import ORDER, TradeRecord
from vppd.ledger.trading import (
    bid_escrow,
    book_order,
    check_terms,
    count_order,
    record_trade,
    reserve,
)
from vppd.market.auction import Side
from vppd.market.money import amount_micro


class Urgent(Kind):
    """It ends in the block that decides it."""

    name = KindName(terms.URGENT)
    phases: ClassVar[tuple[str, ...]] = ("served",)
    methods: ClassVar[tuple[str, ...]] = ()

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Match the bid; it sets aside what its matches cost, and what the rest may cost in a book.

        Raises:
            Failed: the energy flows already, a number is out of range, or it is not covered.
        """
        asked, ctx = read(read_urgent, terms), desk.context
        slot, buyer = asked.slot, desk.owner
        phase = check_before_delivery(ctx, slot)
        check_terms(ctx, slot, Side.BID, asked.quantity_wh, asked.price, asked.price)
        count_order(ctx, buyer, slot, Side.BID, asked.quantity_wh)
        ctx.need_slot(slot, phase)
        rest, escrow, parts = asked.quantity_wh, 0, []
        for number, owner, offer in ready(ctx, slot, asked.price, but=buyer):
            part = min(rest, offer.quantity_wh)
            if part == 0:
                break
            parts.append((number, owner, offer, part))
            rest -= part
            escrow += amount_micro(part, offer.price)
        books = phase is Phase.OPEN and rest > 0
        if books:
            escrow += bid_escrow(ctx.auction_of(slot), rest, asked.price, asked.price)
        reserve(ctx, buyer, escrow)
        bid = make_order(
            ctx, slot, desk.number, buyer, Side.BID, asked.quantity_wh, asked.price, escrow
        )
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
        ctx.events.append(UrgentServed(slot, bid, asked.quantity_wh - rest, rest))
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
