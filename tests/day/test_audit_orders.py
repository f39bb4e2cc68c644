"""The audit follows cancelled orders, contracts' trades and signatures; it sees a wrong one."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from tests.day.audited import (
    Day,
    Edit,
    adding,
    changing,
    doubled,
    dropped,
    edited,
    every_event,
    number_of,
)
from tests.ledger.chain import ANN, BOB, CAT, OPENING, bid, market, offer, start_of
from tests.ledger.order_stream import OrderStream, plant
from tests.ledger.test_deals import deal, take
from tests.ledger.test_order_stream import GRID
from tests.ledger.test_orders import cancel
from tests.ledger.test_urgent import standby, urgent
from vppd.config.genesis import AccountEntry, ConsentMode, MarketRules
from vppd.config.grid import Grid
from vppd.crypto import SigningKey, sha256
from vppd.ledger.events import (
    Event,
    OrderCancelled,
    OrderMade,
    Posted,
    Reason,
    Traded,
    TradeSigned,
    TradeVoided,
)
from vppd.ledger.order_ops import SignTrades

NOW, GATE, START = start_of(5) - 20_000, start_of(5) - 2_000, start_of(5)


@pytest.mark.parametrize(
    ("consent", "rules", "grid", "seed"),
    [
        ("signature", "production", None, 1),
        ("explicit", "production", GRID, 2),
        ("explicit", "literal003", None, 3),
        ("signature", "two-stage", GRID, 4),
        ("signature", "uniform", GRID, 5),
        ("explicit", "cooperative", None, 6),
    ],
)
def test_whatever_members_do_with_orders_and_contracts_has_no_findings(
    consent: ConsentMode, rules: MarketRules, grid: Grid | None, seed: int
) -> None:
    day = Day(plant(consent, rules, grid))
    stream = OrderStream(Random(seed), day)
    for _ in range(80):
        stream.block()
    day.block(day.blocks[-1][0].time_ms + 1_000_000)
    assert day.audit().findings == []


def play() -> Day:
    """A cancelled bid, a deal, an urgent order, a signed and a void trade, all in slot 5."""
    op = SigningKey(sha256(b"op"))
    base = plant("explicit")
    entry = AccountEntry(name="op", key=op.public_key, balance=OPENING)
    day = Day(replace(base, accounts=(*base.accounts, entry), market=market(consent="explicit")))
    day.ok(NOW, ANN, offer(5, 1_000, 400_000))
    day.ok(NOW + 1, BOB, bid(5, 700, 440_000), bid(5, 900, 450_000))
    day.ok(NOW + 2, BOB, cancel(2))
    day.ok(NOW + 3, ANN, deal(1, 500, 350_001), standby(300, 410_000))
    day.ok(NOW + 4, BOB, take(499))
    day.ok(NOW + 5, BOB, urgent(200, 500_000))
    day.block(GATE)
    day.ok(GATE + 1, BOB, urgent(400, 500_000))
    for step, key in enumerate((ANN, BOB, CAT)):
        day.ok(GATE + 2 + step, key, SignTrades(5, (0,)))
    day.block(start_of(40))
    return day


@pytest.fixture(scope="module")
def day() -> Day:
    """Not to be changed."""
    return play()


def test_the_day_is_clean_and_has_it_all(day: Day) -> None:
    report = day.audit()
    assert report.findings == []
    assert [t.round for _, t in _trades(day)] == [1, 1, 0, 0, 0]
    assert report.trades == 4, "one of the five is void"


def _trades(day: Day) -> list[tuple[int, Traded]]:
    return [(i, event) for i, _, event in every_event(day.exported) if isinstance(event, Traded)]


@pytest.mark.parametrize(
    ("kind", "wanted", "edit", "says"),
    [
        (OrderCancelled, {}, adding("quantity_wh", 1), "the rest of the cancelled order 2"),
        (OrderCancelled, {}, dropped, "cancels or signs what nothing has come of"),
        (OrderCancelled, {}, doubled, "is cancelled, nobody asked"),
        (OrderCancelled, {}, changing(seq=0), "is cancelled by another than its owner"),
        (OrderMade, {"side": 1}, adding("escrow", 1), "for RESERVE"),
        (OrderMade, {"side": 0}, changing(escrow=5), "set aside for an offer"),
        (OrderMade, {"side": 0}, adding("price", 1), "the price of trade"),
        (OrderMade, {"side": 0}, changing(account=bytes(31) + b"\x07"), "unknown key"),
        (OrderMade, {"side": 0}, adding("seq", 1), "the order's number in slot 5"),
        (OrderMade, {"side": 1}, dropped, "is not between an offer and a bid"),
        (Traded, {"round": 0}, adding("amount", 1), "the amount of trade"),
        (Traded, {"round": 0}, changing(round=1), "its offer is a contract's"),
        (Traded, {"round": 1}, changing(round=0), "not between orders of contracts"),
        (Traded, {"round": 0}, adding("price", 200_000), "above the price that is bid"),
        (TradeSigned, {}, dropped, "cancels or signs what nothing has come of"),
        (TradeSigned, {}, changing(trade=1), "is signed, nobody asked"),
        (TradeSigned, {}, changing(parties=7), "who has signed trade 0"),
        (TradeSigned, {}, doubled, "is signed twice"),
        (TradeVoided, {}, dropped, "is void by the rules"),
        (TradeVoided, {}, changing(trade=0), "stands by the rules"),
        (TradeVoided, {}, doubled, "there is no such trade"),
        (Posted, {"reason": Reason.RELEASE}, adding("delta", 1), "for RELEASE"),
    ],
)
def test_one_wrong_thing_is_found(
    day: Day, kind: type[Event], wanted: dict[str, int], edit: Edit, says: str
) -> None:
    findings = edited(day, {number_of(day, kind, 0, **wanted): edit})
    assert any(says in finding for finding in findings), findings
