"""The electricity trading contract of P0 (§4.1, Table 2): supplier, user and maintainer each call.

The supplier or the user commits the request, which is its call; the other side and an operator of
the era in force, the message maintainer, call in any order. The third call makes the trade: after
two there is none. What has not come about by gate closure ends, and the user has its money back.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from vppd.codec import encode
from vppd.crypto import key_text
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.kind import Desk, Failed, Kind, KindName, Standing, read
from vppd.ledger.kinds import terms
from vppd.ledger.kinds.terms import ThreePartyRecord, read_three_party, read_three_party_record
from vppd.ledger.order_records import ALL_PARTIES, Parties
from vppd.ledger.orders import trade_between
from vppd.ledger.plans import check_ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT
from vppd.ledger.trading import check_open, check_terms, count_order, set_aside, uncount
from vppd.market.auction import Side
from vppd.market.money import amount_micro


class ThreeParty(Kind):
    """Its phase is who has called: the sum of :class:`~vppd.ledger.order_records.Parties`."""

    name = KindName(terms.THREE_PARTY)
    phases: ClassVar[tuple[str, ...]] = (
        "committed",
        "supplier",
        "user",
        "supplier, user",
        "maintainer",
        "supplier, maintainer",
        "user, maintainer",
        "concluded",
    )
    methods: ClassVar[tuple[str, ...]] = ("sign", "withdraw")

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """The supplier or the user commits the request.

        Raises:
            Failed: the slot is not open, a number is out of range, a party is unknown or twice the
                same, the opener is none, or a user's balance does not cover it.
        """
        asked, ctx = read(read_three_party, terms), desk.context
        check_open(ctx, asked.slot)
        check_terms(ctx, asked.slot, Side.BID, asked.quantity_wh, asked.price, asked.price)
        if asked.supplier == asked.user:
            raise Failed(ErrorCode.SAME_PARTY)
        supplier = ctx.state.get(ACCOUNT, asked.supplier)
        user = ctx.state.get(ACCOUNT, asked.user)
        if supplier is None or user is None:
            raise Failed(ErrorCode.UNKNOWN_RECIPIENT)
        ctx.need_slot(asked.slot, Phase.OPEN)
        record = ThreePartyRecord(
            asked, supplier.credit, user.credit, supplier.bus, user.bus, None, "", ""
        )
        if desk.owner not in (asked.supplier, asked.user):
            raise Failed(ErrorCode.NOT_A_PARTY)
        called, record = self._sign(desk, Parties(0), record)
        gate_ms = due_ms(ctx.market_of(asked.slot), asked.slot, Phase.GATE_CLOSED)
        return Standing(int(called), encode(record), gate_ms)

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """Sign, or as supplier or user withdraw from it before it is concluded.

        Raises:
            Failed: the caller is no party, has called before, or cannot pay.
        """
        if args:
            raise Failed(ErrorCode.BAD_TERMS)
        record = read(read_three_party_record, now.data)
        asked = record.terms
        if self.methods[method] == "withdraw":
            if desk.caller not in (asked.supplier, asked.user):
                raise Failed(ErrorCode.NOT_A_PARTY)
            return self.fire(desk, now)
        called, record = self._sign(desk, Parties(now.phase), record)
        if called != ALL_PARTIES:
            return Standing(int(called), encode(record), now.due_ms)
        amount = desk.held
        desk.pay(asked.user, amount)
        set_aside(desk.context, asked.user, amount)
        trade_between(
            desk.context,
            asked.slot,
            desk.number,
            asked.supplier,
            asked.user,
            asked.quantity_wh,
            asked.price,
        )
        return Standing(int(called), b"", ended=True)

    def fire(self, desk: Desk, now: Standing) -> Standing:
        """The gate closes, or a party withdraws: there will be no trade."""
        asked = read(read_three_party_record, now.data).terms
        called = Parties(now.phase)
        desk.pay(asked.user, desk.held)
        for party, account, side in (
            (Parties.SELLER, asked.supplier, Side.OFFER),
            (Parties.BUYER, asked.user, Side.BID),
        ):
            if party in called:
                uncount(desk.context, account, asked.slot, side, asked.quantity_wh)
        return Standing(now.phase, b"", ended=True)

    def release(self, desk: Desk, now: Standing) -> None:
        """As it would have ended by itself."""
        self.fire(desk, now)

    def view(self, now: Standing) -> dict[str, Any]:
        """The fields of Table 2."""
        record = read(read_three_party_record, now.data)
        asked = record.terms
        maintainer = record.maintainer
        return {
            "slot": asked.slot,
            "supplier": key_text(asked.supplier),
            "user": key_text(asked.user),
            "maintainer": None if maintainer is None else key_text(maintainer),
            "maintainer_name": record.maintainer_name,
            "maintainer_address": record.maintainer_addr,
            "quantity_wh": asked.quantity_wh,
            "price_micro": asked.price,
            "classification": asked.classification,
            "supplier_reputation_ppm": record.supplier_credit,
            "user_reputation_ppm": record.user_credit,
            "supplier_bus": record.supplier_bus,
            "user_bus": record.user_bus,
            "remark": asked.remark,
            "state": self.phases[now.phase],
        }

    def _sign(
        self, desk: Desk, called: Parties, record: ThreePartyRecord
    ) -> tuple[Parties, ThreePartyRecord]:
        """The caller's word; the user's comes with the money.

        Raises:
            Failed: the caller is no party, has called before, or cannot pay.
        """
        asked, ctx, caller = record.terms, desk.context, desk.caller
        mine = Parties(0)
        if caller == asked.supplier:
            mine = Parties.SELLER
        elif caller == asked.user:
            mine = Parties.BUYER
        else:
            member = next((m for m in ctx.era.members if m.key == caller and m.operator), None)
            if member is None:
                raise Failed(ErrorCode.NOT_A_PARTY)
            mine = Parties.OPERATOR
            if mine not in called:
                record = replace(
                    record,
                    maintainer=member.key,
                    maintainer_name=member.name,
                    maintainer_addr=member.addr,
                )
        if mine in called:
            raise Failed(ErrorCode.ALREADY_SIGNED)
        if mine is Parties.SELLER:
            count_order(ctx, asked.supplier, asked.slot, Side.OFFER, asked.quantity_wh)
            check_ordered(ctx, asked.supplier, asked.slot)
        elif mine is Parties.BUYER:
            count_order(ctx, asked.user, asked.slot, Side.BID, asked.quantity_wh)
            check_ordered(ctx, asked.user, asked.slot)
            desk.deposit(amount_micro(asked.quantity_wh, asked.price))
        return called | mine, record


THREE_PARTY = ThreeParty()
