"""Standby: consent in advance to give energy up to whoever needs it urgently (P1, §3.2, Fig 3).

An offer that only urgent orders meet. It stands until delivery begins, or until it is used up or
withdrawn; what has been drawn from it is sold at its price.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from msgspec.structs import replace

from vppd.codec import encode
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context
from vppd.ledger.contracts.kind import Desk, Failed, Kind, KindName, Standing, read
from vppd.ledger.events import Cause, ContractMoved
from vppd.ledger.kinds import terms
from vppd.ledger.kinds.terms import StandbyTerms, read_standby
from vppd.ledger.order_records import StandbyPrice
from vppd.ledger.orders import check_before_delivery
from vppd.ledger.plans import check_ordered
from vppd.ledger.registration.duties import is_active
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import CONTRACT, STANDBY
from vppd.ledger.trading import check_terms, count_order, uncount
from vppd.market.auction import Side
from vppd.types import MicroPerKwh, PublicKey, Slot, Wh


class Standby(Kind):
    """A standby offer."""

    name = KindName(terms.STANDBY)
    phases: ClassVar[tuple[str, ...]] = ("ready", "drawn from")
    methods: ClassVar[tuple[str, ...]] = ("withdraw", "draw")

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Stand ready in a slot whose energy does not flow yet.

        Raises:
            Failed: not such a slot, a number is out of range, or it is not within a plan that is
                required.
        """
        offer, ctx = read(read_standby, terms), desk.context
        phase = check_before_delivery(ctx, offer.slot)
        check_terms(ctx, offer.slot, Side.OFFER, offer.quantity_wh, offer.price, offer.price)
        count_order(ctx, desk.owner, offer.slot, Side.OFFER, offer.quantity_wh)
        check_ordered(ctx, desk.owner, offer.slot)
        ctx.need_slot(offer.slot, phase)
        ctx.state.put(STANDBY, StandbyPrice(offer.price), offer.slot, desk.number)
        start_ms = due_ms(ctx.market_of(offer.slot), offer.slot, Phase.DELIVERING)
        return Standing(0, encode(offer), start_ms)

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """Withdraw what is left; only urgent orders draw.

        Raises:
            Failed: it is another's, or nobody may call that.
        """
        if self.methods[method] != "withdraw" or desk.caller != desk.owner:
            raise Failed(ErrorCode.NOT_A_PARTY)
        if args:
            raise Failed(ErrorCode.BAD_TERMS)
        return self.fire(desk, now)

    def fire(self, desk: Desk, now: Standing) -> Standing:
        """Delivery begins, or the owner withdraws: nobody draws from it any more."""
        offer, ctx = read(read_standby, now.data), desk.context
        ctx.state.remove(STANDBY, offer.slot, desk.number)
        uncount(ctx, desk.owner, offer.slot, Side.OFFER, offer.quantity_wh)
        return Standing(now.phase, b"", ended=True)

    def release(self, desk: Desk, now: Standing) -> None:
        """As it would have ended by itself."""
        self.fire(desk, now)

    def view(self, now: Standing) -> dict[str, Any]:
        """What stands ready."""
        offer = read(read_standby, now.data)
        return {"slot": offer.slot, "left_wh": offer.quantity_wh, "price_micro": offer.price}


def ready(
    ctx: Context, slot: Slot, limit: MicroPerKwh, but: PublicKey
) -> Iterator[tuple[int, PublicKey, StandbyTerms]]:
    """Standby offers of a slot at up to a price: cheapest first, then the one opened first.

    Who may not trade now is passed over.

    Args:
        ctx: the state.
        slot: which.
        limit: the highest price.
        but: whose offers are left out.

    Yields:
        Contract number, owner, and what is left.
    """
    prices = sorted((found.price, number) for number, found in ctx.state.scan(STANDBY, slot))
    for price, number in prices:
        if price > limit:
            return
        record = ctx.state.need(CONTRACT, number)
        if record.owner != but and is_active(ctx, record.owner):
            yield number, record.owner, read_standby(record.data)


def draw(ctx: Context, number: int, offer: StandbyTerms, quantity_wh: Wh) -> None:
    """An urgent order has taken ``quantity_wh``, at most what was left."""
    record = ctx.state.need(CONTRACT, number)
    left = replace(offer, quantity_wh=offer.quantity_wh - quantity_wh)
    ended = left.quantity_wh == 0
    if ended:
        ctx.state.remove(CONTRACT, number)
        ctx.state.remove(STANDBY, offer.slot, number)
    else:
        ctx.state.put(CONTRACT, replace(record, phase=1, data=encode(left)), number)
    method = Standby.methods.index("draw")
    ctx.events.append(ContractMoved(number, record.kind, 1, Cause.CALLED, method, ended))


STANDBY_KIND = Standby()
