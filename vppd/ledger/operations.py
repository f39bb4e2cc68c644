"""Which rule carries out which operation: a line for each kind of operation a member can sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from vppd.ledger.changes import Configure
from vppd.ledger.codes import ErrorCode
from vppd.ledger.consent import sign_trades
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.engine import call_contract, open_contract
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Purse, Reason
from vppd.ledger.fees import correct_fees
from vppd.ledger.governance import configure
from vppd.ledger.metering import take_reading
from vppd.ledger.meters import replace_meter
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.orders import cancel_order
from vppd.ledger.plan_ops import Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.plans import forecast, plan
from vppd.ledger.producers import vote
from vppd.ledger.proofs import Accuse, Ready, Skip
from vppd.ledger.registration.members import (
    check_standing,
    is_closed,
    register_member,
    set_standing,
)
from vppd.ledger.registration.meters import register_meter, set_acquisition
from vppd.ledger.registration.ops import (
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)
from vppd.ledger.registration.parameters import set_parameters
from vppd.ledger.resources import register_resource, retire_resource
from vppd.ledger.review import note_settlement
from vppd.ledger.settling import correct
from vppd.ledger.state import ACCOUNT, SETTLEMENT
from vppd.ledger.trading import place_order
from vppd.ledger.transaction import (
    Op,
    Opaque,
    PlaceOrder,
    Reading,
    ReplaceMeter,
    Transfer,
    Vote,
)
from vppd.types import PublicKey

Rule: TypeAlias = Callable[[Context, PublicKey, Any], None]
"""Carries an operation of its kind out, for its sender; or raises Failed and has changed nothing
that its transaction does not take back."""


def operate(ctx: Context, sender: PublicKey, op: Op, *, is_meter: bool) -> None:
    """Carry out one operation.

    Args:
        ctx: the state.
        sender: an account, or a meter.
        op: what it signed.
        is_meter: which of the two.

    Raises:
        Failed: a rule forbids it.
    """
    kind = type(op)
    if is_meter != (kind is Reading):
        raise Failed(ErrorCode.NOT_AN_ACCOUNT if is_meter else ErrorCode.NOT_A_METER)
    check_standing(ctx, sender, op)
    RULES_OF[kind](ctx, sender, op)


def _transfer(ctx: Context, sender: PublicKey, op: Transfer) -> None:
    account = ctx.state.need(ACCOUNT, sender)
    if ctx.state.get(ACCOUNT, op.to) is None or is_closed(ctx, op.to):
        raise Failed(ErrorCode.UNKNOWN_RECIPIENT)
    if op.amount == 0:
        raise Failed(ErrorCode.AMOUNT_OUT_OF_RANGE)
    if account.balance < op.amount:
        raise Failed(ErrorCode.INSUFFICIENT_FUNDS, op.amount - account.balance)
    ctx.post(sender, Purse.BALANCE, -op.amount, Reason.TRANSFER)
    ctx.post(op.to, Purse.BALANCE, op.amount, Reason.TRANSFER)


def _read(ctx: Context, sender: PublicKey, op: Reading) -> None:
    account = take_reading(ctx, sender, op)
    for slot in (op.slot, op.slot + 1):
        before = ctx.state.get(SETTLEMENT, slot, account)
        correct(ctx, slot, account)
        correct_fees(ctx, slot, account)
        note_settlement(ctx, slot, account, before)


def _keep(_ctx: Context, _sender: PublicKey, _op: Opaque) -> None:
    """It is in the block."""


def _not_alone(_ctx: Context, _sender: PublicKey, _op: Op) -> None:
    raise Failed(ErrorCode.NOT_A_STATEMENT)


RULES_OF: Final[dict[type, Rule]] = {
    Transfer: _transfer,
    PlaceOrder: place_order,
    Reading: _read,
    Configure: configure,
    Vote: vote,
    Opaque: _keep,
    Ready: _not_alone,
    Accuse: _not_alone,
    Skip: _not_alone,
    # Contracts
    OpenContract: open_contract,
    CallContract: call_contract,
    # Orders, deals and urgent orders
    CancelOrder: cancel_order,
    SignTrades: sign_trades,
    # Credit, fees, settlement and meters
    ReplaceMeter: replace_meter,
    # Plans and resources
    RegisterResource: register_resource,
    RetireResource: retire_resource,
    Plan: plan,
    Forecast: forecast,
    # Registration, permissions and demand response
    RegisterMember: register_member,
    RegisterMeter: register_meter,
    SetStanding: set_standing,
    SetParameters: set_parameters,
    SetAcquisition: set_acquisition,
}
