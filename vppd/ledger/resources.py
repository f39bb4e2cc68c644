"""Resources on chain: what a member says it has, in limits that its plans must keep.

Nobody else is bound by what a member says of itself: a resource is a promise that its own plans are
possible, which other members and the operator read. The models are those of :mod:`vppd.assets`.
"""

from __future__ import annotations

from enum import IntEnum

from vppd.assets.storage import Battery
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import ResourceRegistered, ResourceRetired
from vppd.ledger.plan_ops import RegisterResource, RetireResource
from vppd.ledger.plan_records import ResourceRecord
from vppd.ledger.state import RESOURCE, RESOURCE_PLAN
from vppd.types import PPM, PublicKey

MOST_RESOURCES = 64
"""Of one member."""
_MOST_W = 10**12
_MOST_WH = 2**50


class ResourceKind(IntEnum):
    """What it is; numbers are stable."""

    PV = 1
    WIND = 2
    LOAD = 3
    FLEXIBLE = 4
    """A load that can wait."""
    BATTERY = 5
    VEHICLE = 6

    @property
    def is_store(self) -> bool:
        """It has a level, which its plans must keep between empty and full."""
        return self in (ResourceKind.BATTERY, ResourceKind.VEHICLE)


_GIVES = (ResourceKind.PV, ResourceKind.WIND)
_TAKES = (ResourceKind.LOAD, ResourceKind.FLEXIBLE)
KINDS = frozenset(ResourceKind)


def register_resource(ctx: Context, sender: PublicKey, op: RegisterResource) -> None:
    """Take a resource in, or replace it.

    Raises:
        Failed: its number or its limits make no resource, there are too many, or the one it is to
            replace has plans that were made for other limits.
    """
    if not 1 <= op.number <= MOST_RESOURCES:
        raise Failed(ErrorCode.TOO_MANY_RESOURCES, MOST_RESOURCES)
    _check_limits(op)
    _check_unplanned(ctx, sender, op.number)
    record = ResourceRecord(
        op.kind,
        op.max_import_w,
        op.max_export_w,
        op.capacity_wh,
        op.level_wh,
        op.import_efficiency,
        op.export_efficiency,
    )
    ctx.state.put(RESOURCE, record, sender, op.number)
    ctx.events.append(ResourceRegistered(sender, op.number, op.kind))


def retire_resource(ctx: Context, sender: PublicKey, op: RetireResource) -> None:
    """Forget a resource.

    Raises:
        Failed: there is none of that number, or it has plans.
    """
    if ctx.state.get(RESOURCE, sender, op.number) is None:
        raise Failed(ErrorCode.UNKNOWN_RESOURCE)
    _check_unplanned(ctx, sender, op.number)
    ctx.state.remove(RESOURCE, sender, op.number)
    ctx.events.append(ResourceRetired(sender, op.number))


def battery_of(record: ResourceRecord, slot_s: int) -> Battery:
    """The model of a store.

    Args:
        record: of a battery or a vehicle.
        slot_s: seconds of market time in a slot.
    """
    return Battery(
        capacity_wh=record.capacity_wh,
        max_import_w=record.max_import_w,
        max_export_w=record.max_export_w,
        slot_s=slot_s,
        import_efficiency=record.import_efficiency,
        export_efficiency=record.export_efficiency,
        first_level_wh=record.level_wh,
    )


def _check_limits(op: RegisterResource) -> None:
    wrong = (
        op.kind not in KINDS
        or max(op.max_import_w, op.max_export_w) > _MOST_W
        or max(op.capacity_wh, op.level_wh) > _MOST_WH
    )
    if not wrong:
        kind = ResourceKind(op.kind)
        shares = (op.import_efficiency, op.export_efficiency)
        wrong = (
            (kind in _GIVES and op.max_import_w > 0)
            or (kind in _TAKES and op.max_export_w > 0)
            or op.level_wh > op.capacity_wh
            or (not kind.is_store and op.capacity_wh > 0)
            or not all(0 < share <= PPM for share in shares)
        )
    if wrong:
        raise Failed(ErrorCode.BAD_RESOURCE)


def _check_unplanned(ctx: Context, account: PublicKey, number: int) -> None:
    for slot, _ in ctx.state.scan(RESOURCE_PLAN, account, number):
        raise Failed(ErrorCode.RESOURCE_PLANNED, slot)
