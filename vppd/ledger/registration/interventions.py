"""Duties granted by governance, and manual intervention by the operators' quorum.

P1 §4 Table 2, permissions and manual intervention. An intervention is a proposal like any other: as
many members as genesis asks for, f+1 unless it says otherwise, and one of them an operator. Its
reason stands in a receipt for all to read.
"""

from __future__ import annotations

from enum import IntEnum

from vppd.ledger.changes import Bar, Grant, Intervention, ReleaseContract, Revoke, VoidOrders
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.engine import release_contract
from vppd.ledger.member_events import DutyChanged, Intervened
from vppd.ledger.registration.members import change_standing, member_of, need_member
from vppd.ledger.registration.records import Duty, DutyRecord, Standing
from vppd.ledger.response.calls import PROJECT, check_idle
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import CONTRACT, DUTY, ORDER
from vppd.ledger.trading import withdraw_resting


class Action(IntEnum):
    """What an intervention did."""

    BARRED = 1
    UNBARRED = 2
    VOIDED = 3
    RELEASED = 4


def check_act(ctx: Context, act: Grant | Revoke | Intervention) -> None:
    """Whether an act can be carried out on the state as it is.

    Raises:
        Failed: it cannot.
    """
    if isinstance(act, Grant | Revoke):
        _check_duty(ctx, act)
        return
    if not act.reason:
        raise Failed(ErrorCode.NO_REASON)
    match act:
        case Bar(account, barred):
            need_member(ctx, account)
            if bool(member_of(ctx, account).standing & Standing.BARRED) == barred:
                raise Failed(ErrorCode.NOTHING_CHANGES)
        case VoidOrders(slot):
            _check_open(ctx, slot)
        case ReleaseContract(number):
            record = ctx.state.get(CONTRACT, number)
            if record is None:
                raise Failed(ErrorCode.UNKNOWN_CONTRACT)
            if record.due_ms is not None:
                raise Failed(ErrorCode.NOT_STUCK, record.due_ms)
            if record.kind == PROJECT:
                check_idle(ctx, number)


def carry_out(ctx: Context, act: Grant | Revoke | Intervention) -> None:
    """Do what enough members have approved.

    Raises:
        Failed: another change of the same proposal has made it impossible.
    """
    check_act(ctx, act)
    match act:
        case Grant(account, duty):
            ctx.state.put(DUTY, DutyRecord(ctx.height), duty, account)
            ctx.events.append(DutyChanged(duty, account, granted=True))
        case Revoke(account, duty):
            ctx.state.remove(DUTY, duty, account)
            ctx.events.append(DutyChanged(duty, account, granted=False))
        case Bar(account, barred, reason):
            action = Action.BARRED if barred else Action.UNBARRED
            ctx.events.append(Intervened(action, account, 0, reason))
            before = member_of(ctx, account)
            others = Standing(before.standing) & ~Standing.BARRED
            flag = Standing.BARRED if barred else Standing(0)
            change_standing(ctx, account, others | flag, None, reason, plant_wide=before.plant_wide)
        case VoidOrders(slot, reason):
            ctx.events.append(Intervened(Action.VOIDED, None, slot, reason))
            withdraw_resting(ctx, slot)
        case ReleaseContract(number, reason):
            owner = ctx.state.need(CONTRACT, number).owner
            ctx.events.append(Intervened(Action.RELEASED, owner, number, reason))
            release_contract(ctx, number)


def _check_duty(ctx: Context, act: Grant | Revoke) -> None:
    need_member(ctx, act.account)
    if act.duty not in list(Duty):
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 0)
    has = ctx.state.get(DUTY, act.duty, act.account) is not None
    if has == isinstance(act, Grant):
        raise Failed(ErrorCode.NOTHING_CHANGES)


def _check_open(ctx: Context, slot: int) -> None:
    phase = ctx.phase(slot)
    if phase is None:
        raise Failed(ErrorCode.SLOT_NOT_OPEN, due_ms(ctx.market_of(slot), slot, Phase.OPEN))
    if phase is not Phase.OPEN:
        raise Failed(ErrorCode.GATE_CLOSED, due_ms(ctx.market_of(slot), slot, Phase.GATE_CLOSED))
    if not any(order.remaining_wh for _, order in ctx.state.scan(ORDER, slot)):
        raise Failed(ErrorCode.NO_OPEN_ORDERS)
