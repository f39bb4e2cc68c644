"""The grid on chain: where orders come from, and what of a slot's trades it carries.

At gate closure, between round 2 and the signing of contracts (P3, §3.1 stage 3): trades that the
grid does not carry are cut back, what was cut is matched once more, the rest is the grid's. Then
each trade that stands gets its path, and the hash of all paths stands in the block's own receipt
(P4, §3.3.2). A chain without a ``[grid]`` has none of it.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.ledger.context import Context
from vppd.ledger.events import PathsHashed, TradeCut, TradeRouted
from vppd.ledger.records import PathsRecord, RouteRecord, TradeRecord
from vppd.ledger.slots import Phase
from vppd.ledger.state import ORDER, ORDER_NOTE, PATHS, ROUTE, TRADE
from vppd.ledger.trading import book_order, record_of, record_trade
from vppd.market.auction import Trade, reference_price
from vppd.market.grid.flow import Feeder
from vppd.market.grid.rematch import Placed, screen
from vppd.market.grid.routing import MOST_LOSS_MWH, Paths, Route, path_hash, queue_of
from vppd.market.grid.security import Check, Deal
from vppd.market.money import amount_micro
from vppd.market.tariff import tariff_for
from vppd.types import MicroPerKwh, Slot, Wh

BASE_BROKEN = 1
"""Flag: the grid's limits do not even hold without a trade."""
INCOMPLETE = 2
"""Flag: checking it all was more work than is allowed, so some was cut unseen."""
_ROUNDS = (1, 2)
"""Of the auction."""
_FLOWS_AFTERWARDS = 24
"""Flows solved for one urgent order after gate closure."""


def check_trades(ctx: Context, slot: Slot) -> None:
    """Make the trades of ``slot`` ones that the grid carries, and note which way they go."""
    feeder = ctx.feeder
    if feeder is None:
        return
    minutes = ctx.market_of(slot).market_slot_minutes
    check = Check(feeder, minutes)
    flags, cut = _screen(ctx, slot, check)
    routes = _routes(ctx, slot, Paths(feeder.grid), minutes)
    lost: dict[int, Wh] = dict(cut)
    for route in routes:
        record = RouteRecord(route.lines, route.loss_mwh, lost.pop(route.trade, 0))
        ctx.state.put(ROUTE, record, slot, route.trade)
        ctx.events.append(TradeRouted(slot, route.trade, route.lines, route.loss_mwh))
    for seq, wh in lost.items():
        ctx.state.put(ROUTE, RouteRecord((), 0, wh), slot, seq)
    digest = path_hash(queue_of(slot, routes))
    loss, lowest, highest, fullest = _extremes(feeder, check)
    ctx.state.put(PATHS, PathsRecord(digest, loss, lowest, highest, fullest, flags), slot)
    ctx.events.append(PathsHashed(slot, digest, len(routes), loss, lowest, highest, fullest, flags))


def room_left(ctx: Context, slot: Slot) -> Check | None:
    """What the grid still carries once the gate is closed; ``None``: no grid is asked.

    It holds the trades that stand. The work of asking it is small: who asks may do so often.
    """
    if ctx.feeder is None or ctx.phase(slot) is Phase.OPEN:
        return None
    buses = len(ctx.feeder.grid.buses)
    minutes = ctx.market_of(slot).market_slot_minutes
    check = Check(ctx.feeder, minutes, most_work=_FLOWS_AFTERWARDS * buses)
    check.admit_all(
        [
            Deal(
                ctx.state.need(ORDER, slot, trade.offer).bus,
                ctx.state.need(ORDER, slot, trade.bid).bus,
                trade.quantity_wh,
            )
            for _, trade in ctx.state.scan(TRADE, slot)
        ]
    )
    return check


def forget_paths(ctx: Context, slot: Slot) -> None:
    """The slot closes: its paths leave the state."""
    for seq, _ in ctx.state.scan(ROUTE, slot):
        ctx.state.remove(ROUTE, slot, seq)
    ctx.state.remove(PATHS, slot)


def _screen(ctx: Context, slot: Slot, check: Check) -> tuple[int, dict[int, Wh]]:
    """Cut and match again; flags, and how much of each trade was cut, by its number."""
    records = list(ctx.state.scan(TRADE, slot))
    orders = {seq: (book_order(seq, order), order) for seq, order in ctx.state.scan(ORDER, slot)}
    trades = [
        Trade(
            record.offer,
            record.bid,
            record.seller,
            record.buyer,
            record.quantity_wh,
            record.price,
            record.offer_price,
            record.bid_price,
            1,  # of no interest to the check
        )
        for _, record in records
    ]
    # Who agreed with each other outside the auction is not matched with anybody else; nor is who
    # has cancelled: it has its escrow back.
    outside = [record for _, record in records if record.round not in _ROUNDS]
    bound = {seq for record in outside for seq in (record.offer, record.bid)}
    bound |= {seq for seq, note in ctx.state.scan(ORDER_NOTE, slot) if note.cancelled_wh}
    outcome = screen(
        check,
        ctx.auction_of(slot),
        _reference(ctx, slot, [record for _, record in records if record.round in _ROUNDS]),
        trades,
        [
            Placed(order, record.bus, record.remaining_wh, bound=seq in bound)
            for seq, (order, record) in orders.items()
        ],
    )
    cut: dict[int, Wh] = {}
    for (seq, record), kept in zip(records, outcome.kept, strict=True):
        if kept < record.quantity_wh:
            cut[seq] = record.quantity_wh - kept
            _cut(ctx, slot, seq, kept)
    for trade in outcome.rematched:
        record_trade(ctx, slot, record_of(trade))
    flags = (0 if outcome.base_holds else BASE_BROKEN) | (0 if outcome.complete else INCOMPLETE)
    return flags, cut


def _reference(ctx: Context, slot: Slot, trades: list[TradeRecord]) -> MicroPerKwh | None:
    """P4's ``Pa``, once more from the prices of round 1; of a uniform call its one price."""
    rules = ctx.auction_of(slot)
    if rules.pricing == "uniform" and trades:
        return trades[0].price
    if not rules.two_stage:
        return None
    first = [trade.price for trade in trades if trade.round == 1]
    tariff = tariff_for(ctx.market_of(slot), slot)
    return reference_price(first, tariff.retail_price, tariff.feed_in_price)


def _cut(ctx: Context, slot: Slot, seq: int, kept: Wh) -> None:
    """A trade keeps less, and its orders have as much more left."""
    state = ctx.state
    record = state.need(TRADE, slot, seq)
    back, amount = record.quantity_wh - kept, amount_micro(kept, record.price)
    offer, bid = state.need(ORDER, slot, record.offer), state.need(ORDER, slot, record.bid)
    state.put(ORDER, replace(offer, remaining_wh=offer.remaining_wh + back), slot, record.offer)
    less = replace(
        bid, remaining_wh=bid.remaining_wh + back, cost=bid.cost - record.amount + amount
    )
    state.put(ORDER, less, slot, record.bid)
    if kept:
        state.put(TRADE, replace(record, quantity_wh=kept, amount=amount), slot, seq)
    else:
        state.remove(TRADE, slot, seq)
    ctx.events.append(TradeCut(slot, seq, kept, amount))


def _routes(ctx: Context, slot: Slot, paths: Paths, minutes: int) -> list[Route]:
    """Of every trade that stands, by number."""
    routes: list[Route] = []
    for seq, trade in ctx.state.scan(TRADE, slot):
        seller = ctx.state.need(ORDER, slot, trade.offer).bus
        buyer = ctx.state.need(ORDER, slot, trade.bid).bus
        route = paths.route(seq, seller, buyer, trade.quantity_wh, minutes)
        if route is not None:
            routes.append(route)
    return routes


def _extremes(feeder: Feeder, check: Check) -> tuple[int, int, int, int]:
    """Loss in mW, lowest and highest voltage and fullest line in ppm; zeros without a flow."""
    flow = check.flow()
    if flow is None:
        return 0, 0, 0, 0
    loadings = [feeder.loading_ppm(flow, line) for line in range(len(feeder.grid.lines))]
    return (
        min(flow.loss_mw, MOST_LOSS_MWH),
        min(feeder.voltage_ppm(min(flow.v)), 2**32 - 1),
        min(feeder.voltage_ppm(max(flow.v)), 2**32 - 1),
        min(max(loadings, default=0), MOST_LOSS_MWH),
    )
