"""A season of the market: thirty days with what goes wrong on meters, and not a micro lost."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from msgspec.structs import replace

from vppd.bench.season.plan import SeasonPlan, cast_of, check
from vppd.bench.season.play import LostMoney, Season
from vppd.bench.season.report import measure, rows_of
from vppd.bench.season.script import Act, Script
from vppd.day.audit import ExportedBlock, audit_blocks
from vppd.errors import UserError
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Posted, Settled, SettlementFlag, Traded
from vppd.ledger.receipts import Receipt, decode_receipt, encode_receipt

MONTH = SeasonPlan(
    members=8, slots=30 * 24, slot_minutes=60, missing_ppm=30_000, late_ppm=40_000,
    corrected_ppm=40_000, replaced_ppm=100_000, churn=1,
)  # fmt: skip


def test_thirty_days_of_churn_missing_meters_and_corrections_lose_not_a_micro() -> None:
    season = Season(MONTH)
    kinds, flags = Counter[str](), Counter[int]()
    for played in season.play():  # counts the money after every block itself
        for raw in played.execution.receipts:
            for event in decode_receipt(raw).events:
                kinds[type(event).__name__] += 1
                if isinstance(event, Settled):
                    flags[event.flags] += 1
    assert season.ledger.total_micro() == season.opening
    assert list(season.ledger.slots()) == [], "every slot has closed"
    assert kinds[Traded.__name__] > 500
    assert min(flags[SettlementFlag.ESTIMATED], flags[SettlementFlag.CORRECTED]) > 50
    assert min(kinds[name] for name in (
        "MemberRegistered", "MeterReplaced", "StandingChanged", "OrderCancelled", "FeesCharged",
        "CreditChanged", "DayReviewed",
    )) > 20, kinds  # fmt: skip
    may_fail = {ErrorCode.IN_DEBT, ErrorCode.INSUFFICIENT_FUNDS, ErrorCode.ORDER_FILLED}
    assert set(season.failures) <= may_fail


def test_a_second_opinion_re_adds_every_purse_and_every_price_of_ten_days() -> None:
    season = Season(replace(MONTH, slots=240, churn=0))  # it does not follow registration
    exported = [
        ExportedBlock(played.header.encode(), played.txs, played.execution.receipts)
        for played in season.play()
    ]
    report = audit_blocks(season.cast.genesis, exported)
    assert report.findings == []
    assert report.trades > 150


def test_the_same_plan_gives_the_same_chain_and_another_seed_another() -> None:
    plan = SeasonPlan(members=4, slots=6, missing_ppm=100_000)
    roots = []
    for seed in (1, 1, 2):
        season = Season(SeasonPlan(members=4, slots=6, missing_ppm=100_000, seed=seed))
        roots.append([played.execution.state_root for played in season.play()])
    assert roots[0] == roots[1] != roots[2]
    assert plan.slots_per_day == 96


def test_money_that_goes_is_noticed() -> None:
    season = Season(SeasonPlan(members=2, slots=1))
    season.opening += 1
    with pytest.raises(LostMoney, match="there are -1 more"):
        list(season.play())


def test_a_posting_without_its_other_side_is_noticed() -> None:
    season = Season(SeasonPlan(members=4, slots=40))
    for played in season.play():
        for raw in played.execution.receipts:
            events = [e for e in decode_receipt(raw).events if isinstance(e, Posted)]
            if events:
                broken = encode_receipt(Receipt(0, 0, (), tuple(events[1:])))
                with pytest.raises(LostMoney, match="posts"):
                    season.count(played.execution._replace(receipts=(broken,)))
                return
    pytest.fail("no money has moved")


def test_moments_come_in_order_and_end_when_the_last_slot_closes() -> None:
    plan = SeasonPlan(members=2, slots=3)
    moments = list(Script(plan, cast_of(plan)).moments())
    assert moments == sorted(moments)
    assert [m.act for m in moments if m.slot == 0] == [
        Act.ORDERS,
        Act.GATE_CLOSURE,
        *list(Act)[4:7],
    ]
    assert moments[-1].act is Act.CLOSING


@pytest.mark.parametrize(
    "plan",
    [
        SeasonPlan(members=1),
        SeasonPlan(slots=0),
        SeasonPlan(slot_minutes=7),
        SeasonPlan(slot_minutes=120),
        SeasonPlan(members=3, churn=2),
        SeasonPlan(missing_ppm=600_000, late_ppm=600_000),
    ],
)
def test_what_is_no_season_is_refused(plan: SeasonPlan) -> None:
    with pytest.raises(UserError) as refusal:
        check(plan)
    assert refusal.value.code == "E501"


def test_a_measured_season_says_what_it_costs_and_how_it_grows() -> None:
    plan = SeasonPlan(members=4, slots=8, slot_minutes=15, late_ppm=200_000)
    result = json.loads(json.dumps(measure(plan)))
    assert result["money"]["opening_micro"] == result["money"]["closing_micro"]
    assert result["transactions"] > 0 < result["replay"]["transactions_per_s"]
    assert result["bytes"]["disk"] > result["bytes"]["transactions"] > 0
    assert result["cost_us"]["order"] > 0 < result["cost_us"]["reading"]
    assert all(set(row) == {"what", "figure"} for row in rows_of(result))
