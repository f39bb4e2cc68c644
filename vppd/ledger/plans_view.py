"""Resources, plans and forecasts as JSON documents for people (docs/clients.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.ledger.plan_records import PlanRecord
from vppd.ledger.resources import ResourceKind
from vppd.ledger.state import FORECAST, PLAN, RESOURCE, RESOURCE_PLAN, State
from vppd.ledger.views import member_name, phase_name
from vppd.types import PublicKey, Slot

if TYPE_CHECKING:
    from vppd.ledger.execution import Ledger


def plan_view(ledger: Ledger, state: State, slot: Slot) -> dict[str, Any]:
    """What members and operators said of a slot; empty before anybody has, and once it closes."""
    phases = {number: phase_name(record.phase) for number, record in ledger.slots()}
    return {
        "slot": slot,
        "phase": phases.get(slot),
        "plans": [
            {
                "account": member_name(ledger, account),
                "version": record.version,
                "side": _side(record),
                "import_wh": record.import_wh if record.stated else None,
                "export_wh": record.export_wh if record.stated else None,
                "resources": _resource_plans(state, account, slot, record),
            }
            for account, record in state.scan(PLAN, slot)
        ],
        "forecasts": [
            {
                "operator": member_name(ledger, operator),
                "version": record.version,
                "load_wh": record.load_wh,
                "generation_wh": record.generation_wh,
            }
            for operator, record in state.scan(FORECAST, slot)
        ],
    }


def resources_view(ledger: Ledger, state: State) -> list[dict[str, Any]]:
    """What members say they have, by account and number."""
    return [
        {
            "account": member_name(ledger, account),
            "resource": number,
            "kind": ResourceKind(record.kind).name.lower(),
            "max_import_w": record.max_import_w,
            "max_export_w": record.max_export_w,
            "capacity_wh": record.capacity_wh,
            "level_wh": record.level_wh,
            "import_efficiency_ppm": record.import_efficiency,
            "export_efficiency_ppm": record.export_efficiency,
        }
        for account in ledger.account_keys()
        for number, record in state.scan(RESOURCE, account)
    ]


def _side(record: PlanRecord) -> str | None:
    if record.import_wh:
        return "buyer"
    return "seller" if record.export_wh else None


def _resource_plans(
    state: State, account: PublicKey, slot: Slot, record: PlanRecord
) -> list[dict[str, int]]:
    """As the gate fixed them; before that, as they stand."""
    rows = [(flow.number, flow.import_wh, flow.export_wh) for flow in record.resources]
    for number, _ in state.scan(RESOURCE, account):
        flow = state.get(RESOURCE_PLAN, account, number, slot)
        if flow is not None:
            rows.append((number, flow.import_wh, flow.export_wh))
    return [
        {"resource": number, "import_wh": imported, "export_wh": exported}
        for number, imported, exported in rows
    ]
