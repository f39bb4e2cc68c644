"""Explicit consent: trades of the auction that all three parties must call for (P0, Table 2).

Where ``[market] consent`` is ``explicit``, a trade of the auction waits after gate closure until
its seller, its buyer and an operator that is neither of them have signed it. What one of them has
not signed as delivery begins is void: the energy is the grid's affair, the money goes back.
Trades that a contract made need nothing more: their parties have called it.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import TradeSigned, TradeVoided
from vppd.ledger.order_ops import SignTrades
from vppd.ledger.order_records import ALL_PARTIES, Consent, Parties
from vppd.ledger.orders import BY_CONTRACT
from vppd.ledger.records import TradeRecord
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import CONSENT, ORDER, TRADE
from vppd.ledger.trading import release
from vppd.types import PublicKey, Slot


def sign_trades(ctx: Context, sender: PublicKey, op: SignTrades) -> None:
    """A party, or an operator, consents to trades of a slot.

    Raises:
        Failed: not the time for it, the rules do not ask for it, no such trade, the sender has no
            say in it, or has signed it before.
    """
    market = ctx.market_of(op.slot)
    if market.consent != "explicit" or ctx.phase(op.slot) is not Phase.GATE_CLOSED:
        raise _not_now(ctx, op.slot)
    operators = {member.key for member in ctx.era.members if member.operator}
    for number in op.trades:
        trade = ctx.state.get(TRADE, op.slot, number)
        if trade is None:
            raise Failed(ErrorCode.UNKNOWN_TRADE, number)
        if trade.round == BY_CONTRACT:
            raise _not_now(ctx, op.slot)
        so_far = _signed(ctx, op.slot, number)
        mine = _part_of(sender, trade, is_operator=sender in operators)
        if not mine:
            raise Failed(ErrorCode.NOT_A_PARTY)
        if mine in so_far:
            raise Failed(ErrorCode.ALREADY_SIGNED)
        ctx.state.put(CONSENT, Consent(so_far | mine), op.slot, number)
        ctx.events.append(TradeSigned(op.slot, number, so_far | mine))


def void_unsigned(ctx: Context, slot: Slot) -> None:
    """Delivery begins: trades of the auction without all three signatures are undone."""
    if ctx.market_of(slot).consent != "explicit":
        return
    for number, trade in ctx.state.scan(TRADE, slot):
        if trade.round == BY_CONTRACT or _signed(ctx, slot, number) == ALL_PARTIES:
            continue
        ctx.state.remove(TRADE, slot, number)
        bid = ctx.state.need(ORDER, slot, trade.bid)
        after = replace(bid, escrow=bid.escrow - trade.amount, cost=bid.cost - trade.amount)
        ctx.state.put(ORDER, after, slot, trade.bid)
        release(ctx, trade.buyer, trade.amount)
        ctx.events.append(TradeVoided(slot, number))


def forget_consent(ctx: Context, slot: Slot) -> None:
    """The slot closes."""
    for number, _ in ctx.state.scan(CONSENT, slot):
        ctx.state.remove(CONSENT, slot, number)


def _signed(ctx: Context, slot: Slot, number: int) -> Parties:
    found = ctx.state.get(CONSENT, slot, number)
    return Parties(0) if found is None else Parties(found.parties)


def _part_of(sender: PublicKey, trade: TradeRecord, *, is_operator: bool) -> Parties:
    """Whom the sender can speak for; as an operator only in what others trade."""
    mine = Parties(0)
    if sender == trade.seller:
        mine |= Parties.SELLER
    if sender == trade.buyer:
        mine |= Parties.BUYER
    if is_operator and not mine:
        mine = Parties.OPERATOR
    return mine


def _not_now(ctx: Context, slot: Slot) -> Failed:
    market = ctx.market_of(slot)
    since, until = (due_ms(market, slot, p) for p in (Phase.GATE_CLOSED, Phase.DELIVERING))
    return Failed(ErrorCode.NOT_TO_BE_SIGNED, since, until)
