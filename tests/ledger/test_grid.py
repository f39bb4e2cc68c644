"""The grid at gate closure: what is cut, matched again, routed and hashed, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.day.audited import Day
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    CAT,
    FEED_IN,
    OPENING,
    RETAIL,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.genesis import AccountEntry, Genesis, MarketRules, MarketRulesSection
from vppd.config.grid import Bus, Grid, Line
from vppd.crypto import SigningKey, sha256
from vppd.errors import ConfigError
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import PathsHashed, Settled, TradeCut, Traded, TradeRouted
from vppd.ledger.receipts import Receipt
from vppd.ledger.state import PATHS, ROUTE
from vppd.ledger.transaction import PlaceOrder
from vppd.market.auction import RULES
from vppd.market.grid.flow import Feeder
from vppd.market.grid.routing import Route, path_hash, queue_of
from vppd.market.grid.security import Check, Deal

SLOT = 5
NOW = start_of(SLOT) - 20_000
GATE = start_of(SLOT) - 2_000
DAN = SigningKey(sha256(b"dan"))
KEYS = (ANN, BOB, CAT, DAN)


def star(*ratings_va: int, load_w: int = 0) -> Grid:
    """Ann at the slack bus; Bob, Cat and Dan on 0.1 Ω each, as wide as they are given."""
    return Grid(
        slack=0,
        base_v=400,
        buses=tuple(Bus(id=i, load_w=load_w if i == 1 else 0) for i in range(4)),
        lines=tuple(
            Line(start=0, end=i, r_micro_ohm=100_000, x_micro_ohm=0, rating_va=rating)
            for i, rating in enumerate(ratings_va, 1)
        ),
    )


WIDE = 100_000
NARROW = star(5_000, WIDE, WIDE)
"""5 kVA to Bob: 1,250 Wh in the quarter of an hour that a slot lasts, less what is lost."""


def plant(grid: Grid | None, section: MarketRulesSection | None = None) -> Genesis:
    accounts = tuple(
        AccountEntry(name=name, key=key.public_key, balance=OPENING, bus=bus)
        for bus, (name, key) in enumerate(zip(("ann", "bob", "cat", "dan"), KEYS, strict=True))
    )
    return genesis(section, accounts=accounts, grid=grid)


def at(bus: int, order: PlaceOrder) -> PlaceOrder:
    return replace(order, bus=bus)


class Slot(Day):
    """Orders of Ann, Bob, Cat and Dan, one per transaction, then the gate closes."""

    def __init__(
        self,
        grid: Grid | None,
        *orders: tuple[int, PlaceOrder],
        section: MarketRulesSection | None = None,
    ) -> None:
        super().__init__(plant(grid, section))
        for i, (who, order) in enumerate(orders):
            self.ok(NOW + i, KEYS[who], at(who, order))
        self.own: Receipt = self.block(GATE)[0]

    @property
    def made(self) -> list[tuple[int, int, int, int]]:
        """Number, quantity, amount and round of the trades that stand."""
        return [(n, t.quantity_wh, t.amount, t.round) for n, t in self.ledger.trades(SLOT)]

    def settle(self) -> Receipt:
        self.block(start_of(SLOT))
        self.block(start_of(SLOT + 1))
        return self.block(start_of(SLOT + 1) + 5_000)[0]


# -- who may order where


def test_an_order_comes_from_its_members_own_bus() -> None:
    chain = Chain(plant(NARROW))
    assert chain.fails(NOW, BOB, at(9, offer(SLOT, 1, 1))) == (ErrorCode.UNKNOWN_BUS, (9,))
    assert chain.fails(NOW, BOB, at(2, offer(SLOT, 1, 1))) == (ErrorCode.NOT_OWN_BUS, (1,))
    assert chain.fails(NOW, BOB, at(0, bid(SLOT, 1, 1))) == (ErrorCode.NOT_OWN_BUS, (1,))
    chain.ok(NOW, BOB, at(1, offer(SLOT, 1, 1)))


def test_without_a_grid_any_bus_will_do_and_nothing_is_said_of_paths() -> None:
    slot = Slot(None, (0, offer(SLOT, 9_000, 5)), (1, bid(SLOT, 9_000, 5)))
    slot.ok(NOW, ANN, at(7, offer(SLOT + 1, 1, 1)))
    assert slot.made == [(0, 9_000, 45, 1)]
    for kind in (TradeCut, TradeRouted, PathsHashed):
        assert events(slot.own, kind) == []
    with pytest.raises(LookupError, match="no \\[grid\\]"):
        slot.ledger.paths_view(SLOT)


def test_a_contradictory_grid_makes_no_ledger() -> None:
    island = replace(NARROW, lines=NARROW.lines[:2])
    with pytest.raises(ConfigError, match="island: no closed line leads from bus 3"):
        Chain(plant(island))
    few = replace(NARROW, buses=NARROW.buses[:3], lines=NARROW.lines[:2])
    with pytest.raises(ConfigError, match="member on unknown bus: dan sits on bus 3"):
        Chain(plant(few))


# -- what the check does


def test_what_holds_is_left_alone() -> None:
    slot = Slot(NARROW, (0, offer(SLOT, 1_200, 400)), (1, bid(SLOT, 1_200, 400)))
    assert slot.made == [(0, 1_200, 480, 1)]
    assert events(slot.own, TradeCut) == []


def test_what_does_not_hold_is_cut_back_and_the_rest_is_the_grids() -> None:
    slot = Slot(NARROW, (0, offer(SLOT, 2_000, 400_000)), (1, bid(SLOT, 2_000, 400_000)))
    (cut,) = events(slot.own, TradeCut)
    check = Check(Feeder(NARROW), 15)
    kept = check.admit(Deal(0, 1, 2_000))
    assert 1_230 < kept < 1_250
    assert cut == TradeCut(SLOT, 0, kept, kept * 400)
    assert slot.made == [(0, kept, kept * 400, 1)]
    # Bob set 800.00 aside and needs kept · 0.40 of it; the rest is back at once.
    assert slot.escrow(BOB) == kept * 400
    assert slot.balance(BOB) == OPENING - kept * 400
    # The contract is the smaller one: delivery of 2,000 Wh leaves an imbalance on both sides.
    slot.block(start_of(SLOT))
    slot.ok(start_of(SLOT + 1) + 1, ANN_METER, reading(SLOT - 1, 100, 50))
    slot.ok(start_of(SLOT + 1) + 2, ANN_METER, reading(SLOT, 100, 2_050))
    own = slot.block(start_of(SLOT + 1) + 5_000)[0]
    settled = {event.account: event for event in events(own, Settled)}
    ann = settled[ANN.public_key]
    assert (ann.sold_wh, ann.imbalance_wh) == (kept, 2_000 - kept)
    assert slot.balance(ANN) == OPENING + kept * 400 + (2_000 - kept) * FEED_IN // 1_000
    assert RETAIL > FEED_IN
    assert slot.audit().findings == []


def test_what_is_cut_is_matched_again_at_the_prices_of_round_2() -> None:
    slot = Slot(
        NARROW,
        (0, offer(SLOT, 2_000, 400_000, 300_000)),
        (1, bid(SLOT, 2_000, 450_000)),
        (2, bid(SLOT, 300, 350_000)),
        (3, bid(SLOT, 300, 380_000, 390_000)),
    )
    (cut,) = events(slot.own, TradeCut)
    made = events(slot.own, Traded)
    kept = cut.quantity_wh
    assert [(t.bid, t.quantity_wh, t.price, t.round) for t in made] == [
        (3, 300, 345_000, 3),
        (2, 300, 325_000, 3),
    ]
    assert slot.made == [
        (0, kept, kept * 425, 1),
        (1, 300, 103_500, 3),
        (2, 300, 97_500, 3),
    ]
    assert slot.escrow(CAT) == 97_500
    assert slot.escrow(DAN) == 103_500
    left = dict(slot.ledger.trades(SLOT))
    assert sum(trade.quantity_wh for trade in left.values()) == kept + 600
    slot.settle()
    assert slot.balance(CAT) == OPENING - 97_500
    assert slot.audit().findings == []


def test_a_trade_that_is_cut_to_nothing_is_gone_and_nobody_is_settled_for_it() -> None:
    slot = Slot(
        star(1, WIDE, WIDE), (0, offer(SLOT, 2_000, 400_000)), (1, bid(SLOT, 2_000, 400_000))
    )
    assert events(slot.own, TradeCut) == [TradeCut(SLOT, 0, 0, 0)]
    assert slot.made == []
    assert slot.escrow(BOB) == 0
    assert slot.balance(BOB) == OPENING
    assert events(slot.settle(), Settled) == []
    assert slot.audit().findings == []


def test_two_stages_lean_towards_the_same_mean_when_matched_again() -> None:
    section = market(rules="two-stage")
    slot = Slot(
        NARROW,
        (0, offer(SLOT, 2_000, 400_000, 200_000)),
        (1, bid(SLOT, 2_000, 600_000)),
        (2, bid(SLOT, 300, 300_000, 700_000)),
        section=section,
    )
    # Pa = 0.50: the seller stays at 0.40, the buyer goes up to 0.50.
    (again,) = [t for t in events(slot.own, Traded) if t.round == 3]
    assert again.price == 450_000
    slot.settle()
    assert slot.audit().findings == []


def test_a_grid_that_is_broken_without_trades_is_said_to_be() -> None:
    slot = Slot(
        star(5_000, WIDE, WIDE, load_w=6_000),
        (0, offer(SLOT, 100, 400_000)),
        (1, bid(SLOT, 100, 400_000)),
    )
    assert slot.made == []
    (hashed,) = events(slot.own, PathsHashed)
    assert hashed.flags == 1
    assert hashed.fullest_ppm > 1_200_000
    assert slot.ledger.paths_view(SLOT)["base_holds"] is False
    slot.settle()
    assert slot.audit().findings == []


# -- paths


def test_every_trade_has_a_path_and_the_slot_their_hash() -> None:
    slot = Slot(
        star(WIDE, WIDE, WIDE),
        (1, offer(SLOT, 2_000, 400_000)),
        (2, bid(SLOT, 1_500, 400_000)),
        (0, bid(SLOT, 500, 400_000)),
    )
    # 6 kW through 0.2 Ω at 400 V lose 45 W, in a quarter of an hour 11.25 Wh; 2 kW through half
    # of it lose 2.5 W and 0.625 Wh.
    routes = [Route(0, 1_500, (0, 1), 11_250), Route(1, 500, (0,), 625)]
    assert events(slot.own, TradeRouted) == [
        TradeRouted(SLOT, r.trade, r.lines, r.loss_mwh) for r in routes
    ]
    (hashed,) = events(slot.own, PathsHashed)
    assert hashed.paths == path_hash(queue_of(SLOT, routes))
    assert (hashed.trades, hashed.flags) == (2, 0)
    # 8 kW from Bob raise his voltage, 6 kW to Cat lower hers.
    assert 1_000_000 < hashed.highest_ppm < 1_005_100
    assert 996_000 < hashed.lowest_ppm < 1_000_000
    view = slot.ledger.paths_view(SLOT)
    assert view["paths"] == hashed.paths.hex()
    assert [(row["trade_id"], row["seller"], row["buyer"]) for row in view["trades"]] == [
        (0, "bob", "cat"),
        (1, "bob", "ann"),
    ]


def test_a_slot_without_trades_hashes_an_empty_queue() -> None:
    slot = Slot(NARROW, (0, offer(SLOT, 10, 10)))
    (hashed,) = events(slot.own, PathsHashed)
    assert hashed == PathsHashed(
        SLOT, path_hash(queue_of(SLOT, [])), 0, 0, 1_000_000, 1_000_000, 0, 0
    )


def test_the_view_shows_what_was_cut_until_the_slot_closes() -> None:
    slot = Slot(
        star(1, WIDE, WIDE), (0, offer(SLOT, 2_000, 400_000)), (1, bid(SLOT, 2_000, 400_000))
    )
    (row,) = slot.ledger.paths_view(SLOT)["trades"]
    assert (row["quantity_wh"], row["cut_wh"], row["seller"], row["lines"]) == (0, 2_000, None, [])
    with pytest.raises(LookupError, match="its gate is open"):
        slot.ledger.paths_view(SLOT + 1)
    slot.settle()
    slot.block(start_of(SLOT + 4))
    tables = {key[0] for key, _ in slot.ledger.entries()}
    assert not tables & {PATHS.number, ROUTE.number}


# -- any book


@st.composite
def _slots(draw: st.DrawFn) -> tuple[Grid, list[tuple[int, PlaceOrder]], MarketRules]:
    ratings = [draw(st.integers(1, 12_000)) for _ in range(3)]
    prices = st.integers(1, 8).map(lambda n: n * 100_000)
    orders = []
    for _ in range(draw(st.integers(1, 8))):
        who, wh = draw(st.integers(0, 3)), draw(st.integers(1, 3_000))
        best, worst = sorted((draw(prices), draw(prices)))
        orders.append(
            (
                who,
                offer(SLOT, wh, worst, best) if draw(st.booleans()) else bid(SLOT, wh, best, worst),
            )
        )
    load = draw(st.sampled_from([0, 0, 800]))
    return star(*ratings, load_w=load), orders, draw(st.sampled_from(sorted(RULES)))


@settings(max_examples=25, deadline=None)
@given(_slots())
def test_any_slot_conserves_money_is_within_limits_and_satisfies_the_audit(
    slot_of: tuple[Grid, list[tuple[int, PlaceOrder]], MarketRules],
) -> None:
    grid, orders, rules = slot_of
    slot = Slot(grid, *orders, section=market(rules=rules))  # the chain re-adds every posting
    for _, trade in slot.ledger.trades(SLOT):
        assert trade.quantity_wh > 0
    assert slot.ledger.state_root == slot.reloaded().state_root
    cut = events(slot.own, TradeCut)
    (hashed,) = events(slot.own, PathsHashed)
    if not hashed.flags:
        assert hashed.lowest_ppm >= 950_000 - 1
        assert hashed.highest_ppm <= 1_050_000
        assert hashed.fullest_ppm <= 1_000_000
    assert cut or not any(trade.round == 3 for _, trade in slot.ledger.trades(SLOT))
    slot.settle()
    assert all(slot.escrow(key) == 0 for key in KEYS)
    assert slot.audit().findings == []
