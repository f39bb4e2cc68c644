"""Plans and forecasts on chain: the first stage of a slot (P3, Fig 2; P0, §2.1).

A member's plan of a slot says whether it is a seller or a buyer there, and of how much; where
``[market.stages] plans = "required"`` its orders stay within it. Until the gate closes a plan can
be made anew, which is how members fine-tune them in the course of the day. Plans of a resource keep
its limits, and those of a store its level, slot after slot; nothing else follows from them.

A plan stays in the state until its slot closes, for whoever looks at how far deliveries strayed.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.assets.base import Flow, Span, energy_wh
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import Forecasted, Planned
from vppd.ledger.plan_ops import Forecast, Plan
from vppd.ledger.plan_records import (
    EnergyRecord,
    ForecastRecord,
    PlanRecord,
    ResourceFlow,
    ResourceRecord,
)
from vppd.ledger.records import Ordered
from vppd.ledger.registration.duties import require
from vppd.ledger.registration.records import Duty
from vppd.ledger.resources import ResourceKind, battery_of
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import FORECAST, ORDERED, PLAN, RESOURCE, RESOURCE_PLAN
from vppd.types import PublicKey, Slot, Wh

MOST_PLANNED = 384
"""Slots ahead that one resource can have plans for: four days of quarter hours."""
_PLANT = 2**10
"""A forecast is of the whole plant: so many of the largest members."""
_NO_ORDERS = Ordered(0, 0, 0)
_NO_PLAN = PlanRecord(0, False, 0, 0, ())


def plan(ctx: Context, sender: PublicKey, op: Plan) -> None:
    """Take a plan in; it replaces what was planned for its slots.

    Raises:
        Failed: a slot takes no plans, an energy is out of range, both ways at once or beyond the
            resource's power or level; or a member's plan falls below what it has ordered already.
    """
    flows = _flows(op.import_wh, op.export_wh)
    if any(flow.import_wh and flow.export_wh for flow in flows):
        raise Failed(ErrorCode.BAD_PLAN)
    slots = range(op.first_slot, op.first_slot + len(flows))
    for slot, flow in zip(slots, flows, strict=True):
        _check_open(ctx, slot)
        if max(flow) > ctx.market_of(slot).max_quantity_wh:
            raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, ctx.market_of(slot).max_quantity_wh)
    if op.resource == 0:
        for slot, flow in zip(slots, flows, strict=True):
            _plan_member(ctx, sender, slot, flow)
    else:
        _plan_resource(ctx, sender, op.resource, dict(zip(slots, flows, strict=True)))
    ctx.events.append(Planned(sender, op.resource, op.first_slot, len(flows)))


def forecast(ctx: Context, sender: PublicKey, op: Forecast) -> None:
    """Take an operator's forecast in; it replaces its earlier one of these slots.

    Raises:
        Failed: the sender has no commercial duty, a slot takes no forecasts, or an energy is out of
            range.
    """
    require(ctx, sender, Duty.COMMERCIAL)
    flows = _flows(op.load_wh, op.generation_wh)
    for slot, flow in enumerate(flows, start=op.first_slot):
        _check_open(ctx, slot)
        most = ctx.market_of(slot).max_quantity_wh * _PLANT
        if max(flow) > most:
            raise Failed(ErrorCode.QUANTITY_OUT_OF_RANGE, most)
        ctx.need_slot(slot, Phase.OPEN)
        earlier = ctx.state.get(FORECAST, slot, sender)
        version = 1 if earlier is None else earlier.version + 1
        ctx.state.put(FORECAST, ForecastRecord(version, *flow), slot, sender)
    ctx.events.append(Forecasted(sender, op.first_slot, len(flows)))


def check_ordered(ctx: Context, account: PublicKey, slot: Slot) -> None:
    """That a member's orders for a slot are within its plan, where plans are required.

    Raises:
        Failed: they are not.
    """
    if ctx.market_of(slot).stages.plans == "optional":
        return
    planned = ctx.state.get(PLAN, slot, account) or _NO_PLAN
    ordered = ctx.state.get(ORDERED, slot, account) or _NO_ORDERS
    if ordered.offered_wh > planned.export_wh or ordered.bid_wh > planned.import_wh:
        raise Failed(ErrorCode.BEYOND_PLAN, slot, planned.import_wh, planned.export_wh)


def close_plans(ctx: Context, slot: Slot) -> None:
    """The gate of ``slot`` has closed: its plans are firm, and stores stand where they lead."""
    for account, record in tuple(ctx.state.scan(PLAN, slot)):
        fixed: list[ResourceFlow] = []
        for number, resource in ctx.state.scan(RESOURCE, account):
            planned = ctx.state.get(RESOURCE_PLAN, account, number, slot)
            if planned is None:
                continue
            fixed.append(ResourceFlow(number, planned.import_wh, planned.export_wh))
            ctx.state.remove(RESOURCE_PLAN, account, number, slot)
            level = _after(resource, resource.level_wh, Flow(*_energies(planned)), ctx, slot)
            # Gates close in the order of slots unless rules changed between; a level is then met
            # later or earlier than it was checked, and must still be one.
            level = max(0, min(resource.capacity_wh, level))
            ctx.state.put(RESOURCE, replace(resource, level_wh=level), account, number)
        if fixed:
            ctx.state.put(PLAN, replace(record, resources=tuple(fixed)), slot, account)


def forget_plans(ctx: Context, slot: Slot) -> None:
    """``slot`` closes: what was planned and forecast of it leaves the state."""
    for account, _ in ctx.state.scan(PLAN, slot):
        ctx.state.remove(PLAN, slot, account)
    for operator, _ in ctx.state.scan(FORECAST, slot):
        ctx.state.remove(FORECAST, slot, operator)


def _plan_member(ctx: Context, account: PublicKey, slot: Slot, flow: Flow) -> None:
    ctx.need_slot(slot, Phase.OPEN)
    earlier = ctx.state.get(PLAN, slot, account) or _NO_PLAN
    record = replace(
        earlier,
        version=earlier.version + 1,
        stated=True,
        import_wh=flow.import_wh,
        export_wh=flow.export_wh,
    )
    ctx.state.put(PLAN, record, slot, account)
    check_ordered(ctx, account, slot)


def _plan_resource(ctx: Context, account: PublicKey, number: int, flows: dict[Slot, Flow]) -> None:
    resource = ctx.state.get(RESOURCE, account, number)
    if resource is None:
        raise Failed(ErrorCode.UNKNOWN_RESOURCE)
    for slot, flow in flows.items():
        slot_s = ctx.market_of(slot).market_slot_minutes * 60
        for asked, limit in zip(flow, (resource.max_import_w, resource.max_export_w), strict=True):
            if asked > energy_wh(limit, slot_s):
                raise Failed(ErrorCode.BEYOND_POWER, slot, energy_wh(limit, slot_s))
    planned = {
        slot: Flow(*_energies(record))
        for slot, record in ctx.state.scan(RESOURCE_PLAN, account, number)
    }
    planned |= flows
    if len(planned) > MOST_PLANNED:
        raise Failed(ErrorCode.BAD_PLAN)
    if ResourceKind(resource.kind).is_store:
        _check_levels(ctx, resource, planned)
    for slot, flow in flows.items():
        ctx.need_slot(slot, Phase.OPEN)
        if ctx.state.get(PLAN, slot, account) is None:
            ctx.state.put(PLAN, _NO_PLAN, slot, account)
        ctx.state.put(RESOURCE_PLAN, EnergyRecord(*flow), account, number, slot)


def _check_levels(ctx: Context, resource: ResourceRecord, planned: dict[Slot, Flow]) -> None:
    """Slot after slot a store stays between empty and full.

    Raises:
        Failed: it does not, and in which slot first.
    """
    level = resource.level_wh
    for slot in sorted(planned):
        flow = planned[slot]
        span = _span(resource, level, ctx, slot)
        if flow.net_wh < span.least_wh:
            raise Failed(ErrorCode.BELOW_EMPTY, slot, -span.least_wh)
        if flow.net_wh > span.most_wh:
            raise Failed(ErrorCode.ABOVE_FULL, slot, span.most_wh)
        level = _after(resource, level, flow, ctx, slot)


def _span(resource: ResourceRecord, level_wh: Wh, ctx: Context, slot: Slot) -> Span:
    battery = battery_of(resource, ctx.market_of(slot).market_slot_minutes * 60)
    return battery.span(level_wh, slot)


def _after(resource: ResourceRecord, level_wh: Wh, flow: Flow, ctx: Context, slot: Slot) -> Wh:
    if not ResourceKind(resource.kind).is_store:
        return level_wh
    battery = battery_of(resource, ctx.market_of(slot).market_slot_minutes * 60)
    return battery.moved(level_wh, flow.net_wh).level_wh


def _flows(import_wh: tuple[Wh, ...], export_wh: tuple[Wh, ...]) -> list[Flow]:
    if len(import_wh) != len(export_wh):
        raise Failed(ErrorCode.BAD_PLAN)
    return [Flow(taken, given) for taken, given in zip(import_wh, export_wh, strict=True)]


def _energies(record: EnergyRecord) -> tuple[Wh, Wh]:
    return record.import_wh, record.export_wh


def _check_open(ctx: Context, slot: Slot) -> None:
    phase = ctx.phase(slot)
    if phase is None:
        raise Failed(ErrorCode.SLOT_NOT_OPEN, due_ms(ctx.market_of(slot), slot, Phase.OPEN))
    if phase is not Phase.OPEN:
        raise Failed(ErrorCode.GATE_CLOSED, due_ms(ctx.market_of(slot), slot, Phase.GATE_CLOSED))
