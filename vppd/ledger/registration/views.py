"""Members, duties, projects and events as JSON documents for people (docs/clients.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.crypto import key_text, parse_key
from vppd.ledger.contracts.engine import standing_of
from vppd.ledger.kinds.event import EVENT_KIND, called_view
from vppd.ledger.kinds.project import PROJECT_KIND, members_view
from vppd.ledger.registration.duties import holders
from vppd.ledger.registration.members import member_of
from vppd.ledger.registration.records import Acquisition, Duty, Standing
from vppd.ledger.response.calls import EVENT, PROJECT, read_event
from vppd.ledger.state import ACQUISITION, CONTRACT, DUTY, METER, PARAMETERS
from vppd.ledger.views import member_name
from vppd.types import PublicKey

if TYPE_CHECKING:
    from vppd.ledger.context import Context
    from vppd.ledger.execution import Ledger

_ALWAYS = Acquisition(1, (), None)


def people_view(ctx: Context, ledger: Ledger) -> list[dict[str, Any]]:
    """Every member: whom it belongs to, what keeps it from acting, its duties and meters."""
    duties = {duty: set(holders(ctx, duty)) for duty in Duty}
    rows = []
    for key in ledger.account_keys():
        member = member_of(ctx, key)
        above = member.aggregator
        rows.append(
            {
                "name": member_name(ledger, key),
                "key": key_text(key),
                "aggregator": None if above is None else member_name(ledger, above),
                "standing": standing_words(member.standing),
                "since_height": member.height,
                "duties": [duty.name.lower() for duty in Duty if key in duties[duty]],
                "meters": [_meter(ctx, meter) for meter in ctx.meters.get(key, ())],
            }
        )
    return rows


def standing_words(standing: int) -> str:
    """``active``, or what keeps the account from acting."""
    return " ".join(flag.name.lower() for flag in Standing(standing) if flag.name) or "active"


def _meter(ctx: Context, key: PublicKey) -> dict[str, Any]:
    control = ctx.state.get(ACQUISITION, key) or _ALWAYS
    return {
        "key": key_text(key),
        "first_open_slot": ctx.state.need(METER, key).slot,
        "interval_slots": control.interval_slots,
        "pauses": [{"first_slot": first, "next_slot": then} for first, then in control.pauses],
        "last_slot": control.last_slot,
    }


def permissions_view(ctx: Context, ledger: Ledger) -> list[dict[str, Any]]:
    """Each duty and who has it: ``granted``, or as an operator or a registration authority."""
    return [
        {
            "duty": duty.name.lower(),
            "account": member_name(ledger, key),
            "granted": ctx.state.get(DUTY, duty, key) is not None,
        }
        for duty in Duty
        for key in holders(ctx, duty)
    ]


def parameters_view(ctx: Context, ledger: Ledger, subject: PublicKey) -> dict[str, Any]:
    """Parameters of an account or a meter, with the versions that the state still has.

    Raises:
        LookupError: there is no such account or meter.
    """
    if ledger.nonce(subject) is None:
        raise LookupError(f"no account or meter {key_text(subject)} on this chain")
    known = ctx.state.get(PARAMETERS, subject)
    changes = () if known is None else known.changes
    version = 0 if known is None else known.version
    return {
        "subject": key_text(subject),
        "version": version,
        "parameters": {} if known is None else dict(known.values),
        "changes": [
            {
                "version": version - len(changes) + 1 + index,
                "by": member_name(ledger, change.by),
                "height": change.height,
                "set": dict(change.settings),
            }
            for index, change in enumerate(changes)
        ],
    }


def projects_view(ctx: Context, ledger: Ledger) -> list[dict[str, Any]]:
    """Projects with their terms and members."""
    return [
        {
            "project": number,
            "phase": PROJECT_KIND.phases[record.phase],
            "owner": member_name(ledger, record.owner),
            **PROJECT_KIND.view(standing_of(record)),
            "members": [_named(ledger, row) for row in members_view(ctx, number)],
        }
        for number, record in ctx.state.scan(CONTRACT)
        if record.kind == PROJECT
    ]


def events_view(ctx: Context, ledger: Ledger) -> list[dict[str, Any]]:
    """Events that are not over, with whom they call."""
    return [
        {
            "event": number,
            "phase": EVENT_KIND.phases[record.phase],
            "issuer": member_name(ledger, record.owner),
            "next_ms": record.due_ms,
            "held_micro": record.held,
            **EVENT_KIND.view(standing_of(record)),
            "members": [_named(ledger, row) for row in called_view(read_event(record.data))],
        }
        for number, record in ctx.state.scan(CONTRACT)
        if record.kind == EVENT
    ]


def _named(ledger: Ledger, row: dict[str, Any]) -> dict[str, Any]:
    return {"name": member_name(ledger, parse_key(row["key"])), **row}
