"""Parameters of accounts and devices, with their versions (P1 §4 Table 2, resource management).

A member maintains its own; the technical duty those of all. ``capacity_w`` of an account bounds
what it can commit in projects; other names mean what people agree they mean.
"""

from __future__ import annotations

import re

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.member_events import ParametersSet
from vppd.ledger.registration.duties import require
from vppd.ledger.registration.ops import SetParameters
from vppd.ledger.registration.records import Duty, ParameterChange, Parameters
from vppd.ledger.state import ACCOUNT, METER, PARAMETERS
from vppd.types import PublicKey

CAPACITY = "capacity_w"
MOST_PARAMETERS = 32
MOST_VERSIONS = 16
"""Versions kept in the state; receipts have all of them."""
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)


def set_parameters(ctx: Context, sender: PublicKey, op: SetParameters) -> None:
    """A new version of what is said of an account or a meter.

    Raises:
        Failed: the sender may not; no such account or meter; a name or value cannot be.
    """
    owner = _owner(ctx, op.subject)
    if sender != owner:
        require(ctx, sender, Duty.TECHNICAL, (owner,))
    before = ctx.state.get(PARAMETERS, op.subject) or Parameters(0, (), ())
    values = dict(before.values)
    for name, value in op.settings:
        if _NAME.fullmatch(name) is None or (name == CAPACITY and isinstance(value, str) and value):
            raise Failed(ErrorCode.BAD_PARAMETER)
        if value == "":
            values.pop(name, None)
        else:
            values[name] = value
    if len(values) > MOST_PARAMETERS:
        raise Failed(ErrorCode.BAD_PARAMETER)
    after = tuple(sorted(values.items(), key=lambda setting: setting[0]))
    if after == before.values:
        raise Failed(ErrorCode.NOTHING_CHANGES)
    version = before.version + 1
    changes = (*before.changes, ParameterChange(sender, ctx.height, op.settings))
    ctx.state.put(PARAMETERS, Parameters(version, after, changes[-MOST_VERSIONS:]), op.subject)
    ctx.events.append(ParametersSet(op.subject, version, op.settings, sender))


def capacity_of(ctx: Context, account: PublicKey) -> int | None:
    """What an account can change its power by at most, in W; ``None``: nobody has said."""
    known = ctx.state.get(PARAMETERS, account)
    value = dict(known.values).get(CAPACITY) if known is not None else None
    return value if isinstance(value, int) else None


def _owner(ctx: Context, subject: PublicKey) -> PublicKey:
    meter = ctx.state.get(METER, subject)
    if meter is not None:
        return meter.account
    if ctx.state.get(ACCOUNT, subject) is None:
        raise Failed(ErrorCode.UNKNOWN_MEMBER)
    return subject
