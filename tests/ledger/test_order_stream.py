"""Whatever members do with orders and contracts: money stays, books and states agree."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.ledger.chain import CAT, Chain
from tests.ledger.order_stream import OrderStream, plant
from vppd.config.genesis import ConsentMode, MarketRules
from vppd.config.grid import Bus, Grid, Line
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import (
    ContractMoved,
    OrderCancelled,
    OrderMade,
    TradeCut,
    Traded,
    TradeSigned,
    TradeVoided,
    UrgentServed,
)
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.state import CONSENT, CONTRACT, ORDER, ORDER_NOTE, ORDERED, STANDBY, TRADE
from vppd.market.auction import Side

GRID = Grid(
    slack=0,
    base_v=400,
    buses=tuple(Bus(id=i) for i in range(3)),
    lines=tuple(
        Line(start=0, end=i, r_micro_ohm=100_000, x_micro_ohm=0, rating_va=3_000) for i in (1, 2)
    ),
)
"""Lines of 3 kVA to Bob and Cat: 750 Wh in a slot, a part of what is traded."""
MARKETS: tuple[tuple[ConsentMode, MarketRules, Grid | None], ...] = (
    ("signature", "production", None),
    ("explicit", "production", GRID),
    ("signature", "two-stage", GRID),
    ("explicit", "uniform", None),
)


def check(chain: Chain) -> None:
    """What holds after every block."""
    ledger, fresh = chain.ledger, chain.reloaded()
    state = ledger._ctx.state
    for slot, _ in ledger.slots():
        live, restored = ledger.book(slot), fresh.book(slot)
        for side in Side:
            rows = [] if live is None else live.rows(side)
            assert rows == ([] if restored is None else restored.rows(side))
        orders = dict(state.scan(ORDER, slot))
        traded, cost = Counter[int](), Counter[int]()
        for _, trade in state.scan(TRADE, slot):
            traded[trade.offer] += trade.quantity_wh
            traded[trade.bid] += trade.quantity_wh
            cost[trade.bid] += trade.amount
        for seq, order in orders.items():
            assert order.cost == cost[seq], "an order's cost is the sum of its trades"
            assert order.escrow >= order.cost - len(orders), "but for rounding it is set aside"
            assert 0 <= order.remaining_wh <= order.quantity_wh - traded[seq]
    locked = Counter[bytes]()
    for slot, _ in ledger.slots():
        if slot_unpaid(chain, slot):
            for _, order in state.scan(ORDER, slot):
                locked[order.account] += order.escrow
    for key in ledger.account_keys():
        account = ledger.account(key)
        assert account is not None
        assert account.escrow == locked[key], "escrow is what orders say"


def slot_unpaid(chain: Chain, slot: int) -> bool:
    """Settlement pays trades out of escrow; orders keep saying what they cost."""
    return dict(chain.ledger.slots())[slot].phase < 5


@pytest.mark.parametrize(("consent", "rules", "grid"), MARKETS)
def test_books_states_and_money_agree_after_every_block(
    consent: ConsentMode, rules: MarketRules, grid: Grid | None
) -> None:
    chain = Chain(plant(consent, rules, grid))
    stream = OrderStream(Random(f"{consent} {rules}"), chain)
    codes, kinds = Counter[ErrorCode](), Counter[type]()
    for _ in range(60):
        loaded = chain.reloaded()
        stream.block()
        assert loaded.execute(*chain.blocks[-1]) == chain.last
        assert loaded.next_due_ms == chain.ledger.next_due_ms
        check(chain)
        assert chain.last is not None
        for raw in chain.last.receipts:
            receipt = decode_receipt(raw)
            codes[ErrorCode(receipt.code)] += 1
            kinds.update(map(type, receipt.events))
    assert ErrorCode.CONTRACT_BROKEN not in codes, "our kinds refuse, they do not break"
    wanted = [ContractMoved, OrderCancelled, OrderMade, Traded, UrgentServed]
    if consent == "explicit":
        wanted += [TradeSigned, TradeVoided]
    if grid is not None:
        wanted += [TradeCut]
    assert {kind for kind in wanted if not kinds[kind]} == set()


def test_nothing_is_left_when_the_slots_have_closed() -> None:
    chain = Chain(plant("explicit"))
    stream = OrderStream(Random(5), chain)
    for _ in range(60):
        stream.block()
    last = chain.blocks[-1][0].time_ms
    chain.block(last + 10_000_000)
    chain.block(last + 20_000_000)
    gone = (ORDER, ORDER_NOTE, ORDERED, TRADE, CONSENT, STANDBY, CONTRACT)
    left = {key[0] for key, _ in chain.ledger.entries()}
    assert left.isdisjoint(table.number for table in gone)
    assert chain.escrow(CAT) == 0
    assert chain.ledger.next_due_ms is None
