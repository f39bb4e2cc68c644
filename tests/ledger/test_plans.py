"""Resources, plans and forecasts on chain: what is taken, what is refused and why."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    CAT,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.assets.base import Refused
from vppd.assets.storage import Battery
from vppd.config.genesis import LedgerRules, ValidatorEntry
from vppd.config.stages import StageRules
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import Forecasted, Planned, ResourceRegistered, ResourceRetired
from vppd.ledger.execution import Ledger
from vppd.ledger.plan_ops import Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.plan_records import ForecastRecord, PlanRecord, ResourceFlow, ResourceRecord
from vppd.ledger.plans import close_plans
from vppd.ledger.registration.records import Duty
from vppd.ledger.resources import ResourceKind
from vppd.ledger.state import FORECAST, PLAN, RESOURCE, RESOURCE_PLAN, Table
from vppd.types import PPM, Role

OPEN_10 = start_of(10) - 25_000
"""Slots 8, 9 and 10 take orders and plans; 7 has closed its gate, 11 is to open."""


def battery(number: int = 1, **changes: Any) -> RegisterResource:
    fields: dict[str, Any] = {
        "number": number,
        "kind": ResourceKind.BATTERY,
        "max_import_w": 8_000,
        "max_export_w": 8_000,
        "capacity_wh": 5_000,
        "level_wh": 2_000,
        "import_efficiency": PPM,
        "export_efficiency": PPM,
    }
    return RegisterResource(**(fields | changes))


def pv(number: int = 2, **changes: Any) -> RegisterResource:
    none: dict[str, Any] = {"max_import_w": 0, "capacity_wh": 0, "level_wh": 0}
    return battery(number, **({"kind": ResourceKind.PV} | none | changes))


def plan(slot: int, *nets: int, resource: int = 0) -> Plan:
    """Import positive."""
    return Plan(resource, slot, tuple(max(n, 0) for n in nets), tuple(max(-n, 0) for n in nets))


def records(ledger: Ledger, table: Table[Any, Any]) -> list[Any]:
    return [table.decode(raw) for key, raw in ledger.entries() if key[0] == table.number]


@pytest.fixture
def chain() -> Chain:
    return Chain()


# ------------------------------------------------------------------ resources


def test_a_member_says_what_it_has_says_it_anew_and_has_it_no_longer(chain: Chain) -> None:
    receipt = chain.ok(OPEN_10, ANN, battery(), pv())
    key = ANN.public_key
    assert events(receipt, ResourceRegistered) == [
        ResourceRegistered(key, 1, 5),
        ResourceRegistered(key, 2, 1),
    ]
    chain.ok(OPEN_10, ANN, battery(capacity_wh=9_000))
    assert records(chain.ledger, RESOURCE) == [
        ResourceRecord(5, 8_000, 8_000, 9_000, 2_000, PPM, PPM),
        ResourceRecord(1, 0, 8_000, 0, 0, PPM, PPM),
    ]
    receipt = chain.ok(OPEN_10, ANN, RetireResource(1))
    assert events(receipt, ResourceRetired) == [ResourceRetired(key, 1)]
    assert len(records(chain.ledger, RESOURCE)) == 1
    assert chain.fails(OPEN_10, ANN, RetireResource(1)) == (ErrorCode.UNKNOWN_RESOURCE, ())
    # Bob's number 2 is not Ann's.
    assert chain.fails(OPEN_10, BOB, RetireResource(2)) == (ErrorCode.UNKNOWN_RESOURCE, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": 0},
        {"kind": 7},
        {"max_import_w": 10**12 + 1},
        {"max_export_w": 10**12 + 1},
        {"capacity_wh": 2**50 + 1},
        {"level_wh": 5_001},
        {"import_efficiency": 0},
        {"export_efficiency": PPM + 1},
        {"kind": ResourceKind.PV},
        {"kind": ResourceKind.PV, "max_import_w": 0},
        {"kind": ResourceKind.WIND, "capacity_wh": 0, "level_wh": 0},
        {"kind": ResourceKind.LOAD, "capacity_wh": 0, "level_wh": 0},
        {"kind": ResourceKind.FLEXIBLE, "max_export_w": 0},
    ],
)
def test_limits_that_make_no_resource_are_refused(chain: Chain, wrong: dict[str, int]) -> None:
    assert chain.fails(OPEN_10, ANN, battery(**wrong)) == (ErrorCode.BAD_RESOURCE, ())


@pytest.mark.parametrize("number", [0, 65])
def test_a_member_has_at_most_64_resources(chain: Chain, number: int) -> None:
    assert chain.fails(OPEN_10, ANN, battery(number)) == (ErrorCode.TOO_MANY_RESOURCES, (64,))
    chain.ok(OPEN_10, ANN, battery(64))


def test_a_resource_with_plans_stays_as_they_know_it_until_the_gate_has_closed(
    chain: Chain,
) -> None:
    chain.ok(OPEN_10, ANN, battery(), plan(9, 1_000, resource=1))
    for op in (battery(capacity_wh=9_000), RetireResource(1)):
        assert chain.fails(OPEN_10, ANN, op) == (ErrorCode.RESOURCE_PLANNED, (9,))
    chain.ok(start_of(9) - 2_000, ANN, battery(capacity_wh=9_000, level_wh=3_000))
    assert records(chain.ledger, RESOURCE)[0].capacity_wh == 9_000


# ------------------------------------------------------------------ plans


def test_a_plan_is_kept_counted_and_replaced(chain: Chain) -> None:
    receipt = chain.ok(OPEN_10, ANN, plan(8, 500, -300, 0))
    assert events(receipt, Planned) == [Planned(ANN.public_key, 0, 8, 3)]
    assert records(chain.ledger, PLAN) == [
        PlanRecord(1, True, 500, 0, ()),
        PlanRecord(1, True, 0, 300, ()),
        PlanRecord(1, True, 0, 0, ()),
    ]
    chain.ok(OPEN_10, ANN, plan(9, 700))
    assert records(chain.ledger, PLAN)[1] == PlanRecord(2, True, 700, 0, ())


def test_a_plan_is_for_slots_that_still_take_orders(chain: Chain) -> None:
    late = (ErrorCode.GATE_CLOSED, (start_of(7) - 2_000,))
    early = (ErrorCode.SLOT_NOT_OPEN, (start_of(11) - 30_000,))
    assert chain.fails(OPEN_10, ANN, plan(7, 1)) == late
    assert chain.fails(OPEN_10, ANN, plan(7, 1, 1, 1)) == late
    assert chain.fails(OPEN_10, ANN, plan(10, 1, 1)) == early
    assert chain.fails(OPEN_10, ANN, plan(2**63 - 1, 1))[0] is ErrorCode.SLOT_NOT_OPEN


def test_a_plan_goes_one_way_and_has_as_many_imports_as_exports(chain: Chain) -> None:
    for wrong in (Plan(0, 9, (1,), (1,)), Plan(0, 9, (1, 2), (0,)), Plan(0, 9, (1,), (0, 1))):
        assert chain.fails(OPEN_10, ANN, wrong) == (ErrorCode.BAD_PLAN, ())


def test_absurd_energies_are_refused(chain: Chain) -> None:
    most = (ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,))
    assert chain.fails(OPEN_10, ANN, plan(9, 1_000_001)) == most
    assert chain.fails(OPEN_10, ANN, plan(9, -(2**62))) == most


def test_a_meter_plans_nothing(chain: Chain) -> None:
    failed = chain.fails(OPEN_10, ANN_METER, plan(9, 1))
    assert failed == (ErrorCode.NOT_AN_ACCOUNT, ())


def test_a_plan_of_a_resource_keeps_its_power(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery(max_import_w=4_000, max_export_w=2_000), pv())
    # A quarter of an hour of market time in a slot.
    failed = chain.fails(OPEN_10, ANN, plan(8, 0, 1_001, resource=1))
    assert failed == (ErrorCode.BEYOND_POWER, (9, 1_000))
    failed = chain.fails(OPEN_10, ANN, plan(8, 0, -501, resource=1))
    assert failed == (ErrorCode.BEYOND_POWER, (9, 500))
    assert chain.fails(OPEN_10, ANN, plan(8, 1, resource=2)) == (ErrorCode.BEYOND_POWER, (8, 0))
    failed = chain.fails(OPEN_10, ANN, plan(8, 1, resource=3))
    assert failed == (ErrorCode.UNKNOWN_RESOURCE, ())
    chain.ok(OPEN_10, ANN, plan(8, -2_000, resource=2))


def test_a_battery_below_empty_is_refused_with_the_slot(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery())
    failed = chain.fails(OPEN_10, ANN, plan(8, -1_500, -501, resource=1))
    assert failed == (ErrorCode.BELOW_EMPTY, (9, 500))
    chain.ok(OPEN_10, ANN, plan(8, -1_500, -500, resource=1))
    # A plan that stands makes an earlier one impossible.
    failed = chain.fails(OPEN_10, ANN, plan(8, -1_501, resource=1))
    assert failed == (ErrorCode.BELOW_EMPTY, (9, 499))


def test_a_battery_above_full_is_refused_with_the_slot(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery(import_efficiency=500_000, level_wh=2_001))
    failed = chain.fails(OPEN_10, ANN, plan(8, 2_000, 2_000, 2_000, resource=1))
    assert failed == (ErrorCode.ABOVE_FULL, (10, 1_998))
    chain.ok(OPEN_10, ANN, plan(8, 2_000, 2_000, 1_998, resource=1))


def test_the_gate_makes_plans_firm_and_moves_the_level(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery(), pv(), plan(8, 700, resource=1), plan(8, -90, resource=2))
    assert len(records(chain.ledger, RESOURCE_PLAN)) == 2
    assert records(chain.ledger, PLAN) == [PlanRecord(0, False, 0, 0, ())]
    chain.block(start_of(8) - 2_000)
    assert records(chain.ledger, RESOURCE_PLAN) == []
    fixed = (ResourceFlow(1, 700, 0), ResourceFlow(2, 0, 90))
    assert records(chain.ledger, PLAN) == [PlanRecord(0, False, 0, 0, fixed)]
    assert [r.level_wh for r in records(chain.ledger, RESOURCE)] == [2_700, 0]
    failed = chain.fails(start_of(8) - 1_000, ANN, plan(9, -2_000, -701, resource=1))
    assert failed == (ErrorCode.BELOW_EMPTY, (10, 700))


def test_plans_stay_until_the_slot_closes(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery(), plan(8, 700, resource=1), plan(8, 5))
    settled = start_of(9) + 5_000
    chain.block(settled)
    assert len(records(chain.ledger, PLAN)) == 1
    chain.block(settled + 20_000)
    assert records(chain.ledger, PLAN) == []
    assert len(records(chain.ledger, RESOURCE)) == 1


def test_plans_of_many_slots_ahead_are_bounded() -> None:
    section = market(open_lead_ms=500 * 10_000)
    chain = Chain(genesis(section))
    chain.ok(start_of(1), ANN, pv())
    for first in range(2, 2 + 384, 96):
        chain.ok(start_of(1), ANN, plan(first, *[-1] * 96, resource=2))
    failed = chain.fails(start_of(1), ANN, plan(2 + 384, -1, resource=2))
    assert failed == (ErrorCode.BAD_PLAN, ())
    chain.ok(start_of(1), ANN, plan(9, -7, resource=2))


@pytest.mark.parametrize("seed", range(4))
def test_random_plans_of_a_battery_against_the_model(seed: int) -> None:
    """Taken exactly where a battery could follow all plans in force, slot after slot."""
    chance = Random(seed)
    share = chance.choice((PPM, 900_000, 333_333))
    chain = Chain()
    chain.ok(start_of(0) - 25_000, ANN, battery(import_efficiency=share, export_efficiency=share))
    model = Battery(
        capacity_wh=5_000,
        max_import_w=8_000,
        max_export_w=8_000,
        import_efficiency=share,
        export_efficiency=share,
    )
    planned: dict[int, int] = {}

    def possible(plans: dict[int, int]) -> bool:
        level = 2_000
        for slot in sorted(plans):
            try:
                level = model.step(level, slot, plans[slot]).level_wh
            except Refused:
                return False
        return True

    taken = 0
    for step in range(60):
        now = start_of(0) - 25_000 + 3_000 * step
        first = next(slot for slot in range(99) if start_of(slot) - 2_000 > now)
        last = max(slot for slot in range(99) if start_of(slot) - 30_000 <= now)
        begin = chance.randint(first, last)
        nets = [chance.randint(-2_100, 2_100) for _ in range(chance.randint(1, last - begin + 1))]
        wanted = planned | dict(enumerate(nets, start=begin))
        receipt = chain.do(now, ANN, plan(begin, *nets, resource=1))
        assert (receipt.status == Status.OK) == possible(wanted)
        if receipt.status == Status.OK:
            planned, taken = wanted, taken + 1
    assert 0 < taken < 60
    (record,) = records(chain.ledger, RESOURCE)
    assert 0 <= record.level_wh <= 5_000


def test_whoever_loads_the_state_goes_on_the_same(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, battery(), plan(8, 700, -200, resource=1), plan(8, 700))
    other = chain.reloaded()
    for time_ms in (start_of(8) - 2_000, start_of(9) - 2_000, start_of(12)):
        chain.block(time_ms)
        other.execute(*chain.blocks[-1])
        assert other.state_root == chain.ledger.state_root


# ------------------------------------------------------------------ the first stage


def required() -> Chain:
    return Chain(genesis(market(stages=StageRules(plans="required"))))


def test_where_plans_are_required_an_order_needs_one_on_its_side() -> None:
    chain = required()
    none = (ErrorCode.BEYOND_PLAN, (9, 0, 0))
    assert chain.fails(OPEN_10, ANN, offer(9, 100, 400_000)) == none
    assert chain.fails(OPEN_10, ANN, bid(9, 100, 400_000)) == none
    chain.ok(OPEN_10, ANN, plan(9, -500), offer(9, 300, 400_000))
    buyer = (ErrorCode.BEYOND_PLAN, (9, 0, 500))
    assert chain.fails(OPEN_10, ANN, bid(9, 1, 400_000)) == buyer
    assert chain.fails(OPEN_10, ANN, offer(9, 201, 400_000)) == buyer
    chain.ok(OPEN_10, ANN, offer(9, 200, 400_000))


def test_a_plan_does_not_fall_below_what_is_ordered() -> None:
    chain = required()
    chain.ok(OPEN_10, BOB, plan(9, 500), bid(9, 400, 400_000))
    assert chain.fails(OPEN_10, BOB, plan(9, 399)) == (ErrorCode.BEYOND_PLAN, (9, 399, 0))
    assert chain.fails(OPEN_10, BOB, plan(9, -1)) == (ErrorCode.BEYOND_PLAN, (9, 0, 1))
    chain.ok(OPEN_10, BOB, plan(9, 400))


def test_a_resources_plan_is_no_members_plan() -> None:
    chain = required()
    chain.ok(OPEN_10, ANN, battery(), plan(9, -500, resource=1))
    assert chain.fails(OPEN_10, ANN, offer(9, 1, 400_000))[0] is ErrorCode.BEYOND_PLAN


def test_where_plans_are_optional_they_bind_nobody(chain: Chain) -> None:
    chain.ok(OPEN_10, ANN, plan(9, -500), bid(9, 900, 400_000))


def test_a_slot_with_plans_passes_every_stage() -> None:
    chain = required()
    chain.ok(OPEN_10, ANN, plan(9, -500), offer(9, 500, 400_000))
    chain.ok(OPEN_10, BOB, plan(9, 500), bid(9, 500, 400_000))
    chain.block(start_of(9) - 2_000)
    chain.block(start_of(10) + 5_000, chain.tx(ANN_METER, reading(9, 100, 550)))
    chain.block(start_of(10) + 25_000)
    assert records(chain.ledger, PLAN) == []


# ------------------------------------------------------------------ forecasts


@pytest.fixture
def operated() -> Chain:
    validators = (
        ValidatorEntry(name="ann", role=Role.OPERATOR, key=ANN.public_key),
        ValidatorEntry(name="bob", role=Role.DER, key=BOB.public_key),
    )
    return Chain(genesis(validators=validators))


def test_an_operator_forecasts_and_forecasts_anew(operated: Chain) -> None:
    receipt = operated.ok(OPEN_10, ANN, Forecast(8, (5, 6), (7, 8)))
    assert events(receipt, Forecasted) == [Forecasted(ANN.public_key, 8, 2)]
    operated.ok(OPEN_10, ANN, Forecast(9, (60,), (80,)))
    assert records(operated.ledger, FORECAST) == [
        ForecastRecord(1, 5, 7),
        ForecastRecord(2, 60, 80),
    ]
    operated.block(start_of(11) + 45_000)
    assert records(operated.ledger, FORECAST) == []


def test_nobody_else_forecasts(operated: Chain) -> None:
    for key in (BOB, CAT):
        failed = operated.fails(OPEN_10, key, Forecast(9, (1,), (1,)))
        assert failed == (ErrorCode.NOT_PERMITTED, (Duty.COMMERCIAL,))


def test_a_forecast_is_of_open_slots_and_in_range(operated: Chain) -> None:
    assert operated.fails(OPEN_10, ANN, Forecast(7, (1,), (1,)))[0] is ErrorCode.GATE_CLOSED
    assert operated.fails(OPEN_10, ANN, Forecast(11, (1,), (1,)))[0] is ErrorCode.SLOT_NOT_OPEN
    assert operated.fails(OPEN_10, ANN, Forecast(9, (1,), (1, 1))) == (ErrorCode.BAD_PLAN, ())
    most = 1_000_000 * 1_024
    operated.ok(OPEN_10, ANN, Forecast(9, (most,), (most,)))
    failed = operated.fails(OPEN_10, ANN, Forecast(9, (most + 1,), (0,)))
    assert failed == (ErrorCode.QUANTITY_OUT_OF_RANGE, (most,))


def test_a_null_ledger_takes_none_of_it() -> None:
    chain = Chain(genesis(ledger=LedgerRules(kind="null")))
    for op in (battery(), RetireResource(1), plan(9, 1), Forecast(9, (1,), (1,))):
        receipt = chain.do(OPEN_10, ANN, op)
        assert receipt.code == ErrorCode.WRONG_LEDGER


# ------------------------------------------------------------------ for people


def test_what_is_planned_is_shown_before_and_after_the_gate(operated: Chain) -> None:
    assert operated.ledger.plan_view(9) == {
        "slot": 9, "phase": None, "plans": [], "forecasts": []
    }  # fmt: skip
    operated.ok(OPEN_10, ANN, battery(), plan(9, 700, resource=1), Forecast(9, (5,), (6,)))
    operated.ok(OPEN_10, BOB, plan(9, -40))
    operated.ok(OPEN_10, CAT, plan(9, 0))
    ann = {"resource": 1, "import_wh": 700, "export_wh": 0}
    shown = operated.ledger.plan_view(9)
    plans = {row.pop("account"): row for row in shown["plans"]}
    assert plans == {
        "ann": {
            "version": 0, "side": None, "import_wh": None, "export_wh": None, "resources": [ann]
        },
        "bob": {"version": 1, "side": "seller", "import_wh": 0, "export_wh": 40, "resources": []},
        "cat": {"version": 1, "side": None, "import_wh": 0, "export_wh": 0, "resources": []},
    }  # fmt: skip
    assert shown["phase"] == "open"
    assert shown["forecasts"] == [
        {"operator": "ann", "version": 1, "load_wh": 5, "generation_wh": 6}
    ]
    operated.ok(OPEN_10, CAT, plan(9, 3))
    operated.block(start_of(9) - 2_000)
    shown = operated.ledger.plan_view(9)
    assert shown["phase"] == "gate_closed"
    by_name = {row["account"]: row for row in shown["plans"]}
    assert by_name["ann"]["resources"] == [ann]
    assert by_name["cat"]["side"] == "buyer"
    assert operated.ledger.resources_view() == [
        {
            "account": "ann",
            "resource": 1,
            "kind": "battery",
            "max_import_w": 8_000,
            "max_export_w": 8_000,
            "capacity_wh": 5_000,
            "level_wh": 2_700,
            "import_efficiency_ppm": PPM,
            "export_efficiency_ppm": PPM,
        }
    ]


def test_levels_met_out_of_order_stay_levels() -> None:
    """Rules can move a later slot's gate before an earlier one's; nothing may break then."""
    chain = Chain()
    chain.ok(OPEN_10, ANN, battery(level_wh=0), plan(8, 1_000, -1_000, resource=1))
    state, ctx = chain.ledger._ctx.state, chain.ledger._ctx
    close_plans(ctx, 9)
    assert state.need(RESOURCE, ANN.public_key, 1).level_wh == 0
    close_plans(ctx, 8)
    assert state.need(RESOURCE, ANN.public_key, 1).level_wh == 1_000
