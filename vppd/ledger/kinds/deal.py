"""Deals outside the auction: with one member, or listed for everybody (P4, §3.2.1).

Whoever opens one says side, quantity and price; it stands until the gate of its slot closes. A
bilateral deal names the other side, who takes it whole; a listing is taken by anybody, also in
parts. A bid's money lies in the contract meanwhile, and what nobody took comes back.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from vppd.codec import encode
from vppd.crypto import key_text
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.kind import Desk, Failed, Kind, KindName, Standing, read
from vppd.ledger.kinds import terms
from vppd.ledger.kinds.terms import DealTerms, read_deal, read_take
from vppd.ledger.orders import trade_between
from vppd.ledger.plans import check_ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT
from vppd.ledger.trading import check_open, check_terms, count_order, reserve, set_aside, uncount
from vppd.market.auction import Side
from vppd.market.money import amount_micro
from vppd.types import Micro, PublicKey

_OFFERED, _TAKEN_IN_PART = 0, 1
_WH_PER_KWH = 1_000


class Deal(Kind):
    """A bilateral deal or a listing."""

    name = KindName(terms.DEAL)
    phases: ClassVar[tuple[str, ...]] = ("offered", "taken in part")
    methods: ClassVar[tuple[str, ...]] = ("take", "withdraw")

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Offer it to one member, or to all; a bid deposits what all of it costs.

        Raises:
            Failed: the slot is not open, a number is out of range, the counterparty is unknown or
                the opener, or a bid is not covered.
        """
        deal, ctx = read(read_deal, terms), desk.context
        check_open(ctx, deal.slot)
        check_terms(ctx, deal.slot, deal.side, deal.quantity_wh, deal.price, deal.price)
        if deal.to == desk.owner:
            raise Failed(ErrorCode.SAME_PARTY)
        if deal.to is not None and ctx.state.get(ACCOUNT, deal.to) is None:
            raise Failed(ErrorCode.UNKNOWN_RECIPIENT)
        count_order(ctx, desk.owner, deal.slot, deal.side, deal.quantity_wh)
        check_ordered(ctx, desk.owner, deal.slot)
        ctx.need_slot(deal.slot, Phase.OPEN)
        if deal.side == Side.BID:
            desk.deposit(_covers(deal))
        gate_ms = due_ms(ctx.market_of(deal.slot), deal.slot, Phase.GATE_CLOSED)
        return Standing(_OFFERED, encode(deal), gate_ms)

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """Take it, or as its owner withdraw it.

        Raises:
            Failed: another is named, or one may not take so much, or does not have the money.
        """
        deal, caller = read(read_deal, now.data), desk.caller
        if self.methods[method] == "withdraw":
            if args:
                raise Failed(ErrorCode.BAD_TERMS)
            if caller != desk.owner:
                raise Failed(ErrorCode.NOT_A_PARTY)
            return self._end(desk, now, deal)
        part = read(read_take, args).quantity_wh
        if caller is None or caller == desk.owner:
            raise Failed(ErrorCode.SAME_PARTY)
        if deal.to not in (None, caller):
            raise Failed(ErrorCode.NOT_A_PARTY)
        if deal.to is not None and part != deal.quantity_wh:
            raise Failed(ErrorCode.ONLY_WHOLE, deal.quantity_wh)
        if not 1 <= part <= deal.quantity_wh:
            raise Failed(ErrorCode.MORE_THAN_LEFT, deal.quantity_wh)
        left = replace(deal, quantity_wh=deal.quantity_wh - part)
        self._trade(desk, left, caller, part)
        if left.quantity_wh == 0:
            return Standing(now.phase, b"", ended=True)
        return Standing(_TAKEN_IN_PART, encode(left), now.due_ms)

    def fire(self, desk: Desk, now: Standing) -> Standing:
        """The gate closes: nobody can take it any more."""
        return self._end(desk, now, read(read_deal, now.data))

    def release(self, desk: Desk, now: Standing) -> None:
        """As it would have ended by itself."""
        self.fire(desk, now)

    def view(self, now: Standing) -> dict[str, Any]:
        """What is offered to whom, and what of it is left."""
        deal = read(read_deal, now.data)
        return {
            "slot": deal.slot,
            "side": Side(deal.side).name.lower(),
            "left_wh": deal.quantity_wh,
            "price_micro": deal.price,
            "to": None if deal.to is None else key_text(deal.to),
        }

    def _trade(self, desk: Desk, left: DealTerms, taker: PublicKey, part: int) -> None:
        """The taker's order is counted, the money of whoever buys set aside, the trade made.

        A listing's parts are rounded one by one, so the last may cost a micro more than the
        contract holds for it; the owner's balance gives it.
        """
        ctx, amount = desk.context, amount_micro(part, left.price)
        takes = Side.BID if left.side == Side.OFFER else Side.OFFER
        count_order(ctx, taker, left.slot, takes, part)
        check_ordered(ctx, taker, left.slot)
        if takes is Side.BID:
            reserve(ctx, taker, amount)
            seller, buyer = desk.owner, taker
        else:
            desk.pay(desk.owner, desk.held - _covers(left))
            set_aside(ctx, desk.owner, amount)
            seller, buyer = taker, desk.owner
        trade_between(ctx, left.slot, desk.number, seller, buyer, part, left.price)

    def _end(self, desk: Desk, now: Standing, deal: DealTerms) -> Standing:
        desk.pay(desk.owner, desk.held)
        uncount(desk.context, desk.owner, deal.slot, deal.side, deal.quantity_wh)
        return Standing(now.phase, b"", ended=True)


def _covers(deal: DealTerms) -> Micro:
    """What the contract holds for a bid: what is left of it at its price, rounded up."""
    return -(-deal.quantity_wh * deal.price // _WH_PER_KWH) if deal.side == Side.BID else 0


DEAL = Deal()
