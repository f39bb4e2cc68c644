"""Members on chain: registered, suspended, closed (P1 §4 Table 2, user registration; P3 Fig. 2).

A founder is a member by genesis; who comes later is registered by the registrar, or by the
aggregator it belongs to. A closed account stays in the state, so that nothing its key once signed
can be carried out again.
"""

from __future__ import annotations

from vppd.config.genesis import STARTING_CREDIT
from vppd.config.values import parse_name
from vppd.ledger.changes import Configure
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.events import AccountOpened
from vppd.ledger.member_events import MemberRegistered, StandingChanged
from vppd.ledger.names import check_new_key
from vppd.ledger.order_ops import SignTrades
from vppd.ledger.records import Account
from vppd.ledger.registration.duties import holds, is_under, require
from vppd.ledger.registration.ops import (
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)
from vppd.ledger.registration.records import Acquisition, Duty, Member, Standing
from vppd.ledger.slots import Phase
from vppd.ledger.state import (
    ACCOUNT,
    ACQUISITION,
    CANDIDATE,
    CONTRACT,
    MEMBER,
    MEMBERSHIP,
    METER,
    ORDERED,
    SETTLEMENT,
    SLOT,
)
from vppd.ledger.trading import withdraw_resting
from vppd.ledger.transaction import Op, Transfer, Vote
from vppd.types import PublicKey

_NOTHING = Standing(0)
_FOR_REGISTRAR = (_NOTHING, Standing.SUSPENDED, Standing.CLOSED)
_WHILE_SUSPENDED: tuple[type, ...] = (Configure, Vote, SignTrades)
"""A validator's say is not the registrar's to take; firm trades stay firm, and are signed."""
_WHILE_BARRED: tuple[type, ...] = (
    Configure,
    Vote,
    SignTrades,
    Transfer,
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)


def check_standing(ctx: Context, sender: PublicKey, op: Op) -> None:
    """What an account may send while it is suspended, barred or closed.

    Raises:
        Failed: not this.
    """
    member = ctx.state.get(MEMBER, sender)
    if member is None or member.standing == 0:
        return
    standing = Standing(member.standing)
    if standing & (Standing.SUSPENDED | Standing.CLOSED) and type(op) not in _WHILE_SUSPENDED:
        raise Failed(ErrorCode.SUSPENDED, standing)
    if standing & Standing.BARRED and type(op) not in _WHILE_BARRED:
        raise Failed(ErrorCode.BARRED)


def is_closed(ctx: Context, account: PublicKey) -> bool:
    """Whether an account has left the plant, and money must not follow it."""
    member = ctx.state.get(MEMBER, account)
    return member is not None and bool(member.standing & Standing.CLOSED)


def need_member(ctx: Context, account: PublicKey) -> None:
    """An account that has not been closed.

    Raises:
        Failed: there is none.
    """
    if ctx.state.get(ACCOUNT, account) is None or is_closed(ctx, account):
        raise Failed(ErrorCode.UNKNOWN_MEMBER)


def register_member(ctx: Context, sender: PublicKey, op: RegisterMember) -> None:
    """A new account, without money, by the registrar or by the aggregator it will belong to.

    Raises:
        Failed: the sender may not; key or name are taken; there is no such aggregator or bus.
    """
    if not (op.aggregator == sender and holds(ctx, sender, Duty.AGGREGATOR)):
        require(ctx, sender, Duty.REGISTRAR)
    check_new_key(ctx, op.key)
    if op.aggregator is not None:
        need_member(ctx, op.aggregator)
    if not _is_free(ctx, op.name):
        raise Failed(ErrorCode.BAD_MEMBER_NAME)
    if ctx.feeder is not None and op.bus not in ctx.feeder.position:
        raise Failed(ErrorCode.UNKNOWN_BUS, op.bus)
    ctx.state.put(ACCOUNT, Account(0, 0, 0, STARTING_CREDIT, op.bus), op.key)
    ctx.state.put(MEMBER, Member(op.name, op.aggregator, 0, False, ctx.height), op.key)
    ctx.events.append(AccountOpened(op.key, STARTING_CREDIT))
    ctx.events.append(MemberRegistered(op.key, op.name, op.bus, op.aggregator, sender))


def set_standing(ctx: Context, sender: PublicKey, op: SetStanding) -> None:
    """Suspend an account, let it act again, or close it: the registrar, or its aggregator.

    What rests in the books for it is void; its firm trades are delivered and settled. An aggregator
    suspends and closes accounts under it and lifts its own suspensions: none that somebody with the
    duty for the whole plant gave, and no account that is closed.

    Raises:
        Failed: the sender may not; no such account or standing; or it cannot be closed yet.
    """
    require(ctx, sender, Duty.REGISTRAR, (op.account,))
    if ctx.state.get(ACCOUNT, op.account) is None:
        raise Failed(ErrorCode.UNKNOWN_MEMBER)
    if op.standing not in _FOR_REGISTRAR:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 0)
    if op.standing and not op.reason:
        raise Failed(ErrorCode.NO_REASON)
    before = member_of(ctx, op.account)
    plant_wide = holds(ctx, sender, Duty.REGISTRAR)
    if not plant_wide and (before.plant_wide or before.standing & Standing.CLOSED):
        raise Failed(ErrorCode.NOT_PERMITTED, Duty.REGISTRAR)
    barred = Standing(before.standing) & Standing.BARRED
    if op.standing == Standing.CLOSED:
        _check_unneeded(ctx, op.account)
    change_standing(
        ctx,
        op.account,
        Standing(op.standing) | barred,
        sender,
        op.reason,
        plant_wide=plant_wide and op.standing != 0,
    )


def change_standing(
    ctx: Context,
    account: PublicKey,
    standing: Standing,
    by: PublicKey | None,
    reason: str,
    *,
    plant_wide: bool,
) -> None:
    """An account's standing is another; ``by`` nobody means the operators' quorum.

    Args:
        ctx: the state.
        account: whose.
        standing: what keeps it from acting from now on.
        by: who says so.
        reason: why.
        plant_wide: whether what the registrar can give was given for the whole plant.

    Raises:
        Failed: NOTHING_CHANGES.
    """
    before = member_of(ctx, account)
    if (before.standing, before.plant_wide) == (standing, plant_wide):
        raise Failed(ErrorCode.NOTHING_CHANGES)
    after = Member(before.name, before.aggregator, standing, plant_wide, ctx.height)
    ctx.state.put(MEMBER, after, account)
    if standing:
        for slot, _ in ctx.state.scan(SLOT):
            withdraw_resting(ctx, slot, account)
    ctx.events.append(StandingChanged(account, standing, by, reason))


def member_of(ctx: Context, account: PublicKey) -> Member:
    """What registration says of an account; genesis names its founders."""
    found = ctx.state.get(MEMBER, account)
    if found is not None:
        return found
    names = (entry.name for entry in ctx.genesis.accounts if entry.key == account)
    return Member(next(names, ""), None, 0, False, 0)


def _is_free(ctx: Context, name: str) -> bool:
    try:
        parse_name(name)
    except ValueError:
        return False
    taken = {entry.name for entry in ctx.genesis.accounts}
    taken |= {member.name for _, member in ctx.state.scan(MEMBER)}
    taken |= {member.name for member in ctx.era.members}
    taken |= {candidate.name for _, candidate in ctx.state.scan(CANDIDATE)}
    return name not in taken


def _in_use(ctx: Context, control: Acquisition | None) -> bool:
    last = None if control is None else control.last_slot
    return last is None or ctx.phase(last) is not Phase.CLOSED


def _check_unneeded(ctx: Context, account: PublicKey) -> None:
    """Nothing will be owed to an account, or by it, any more.

    Raises:
        Failed: STILL_NEEDED, with the number of what :data:`~vppd.ledger.codes.MEANING` lists.
    """
    state = ctx.state
    purse = state.need(ACCOUNT, account)
    live = [slot for slot, _ in state.scan(SLOT)]
    contracts = list(state.scan(CONTRACT))
    projects = (number for number, contract in contracts if contract.kind == "project")
    # The table: who registers a meter in this transaction is not in ctx.meters yet.
    own = (key for key, meter in state.scan(METER) if meter.account == account)
    meters = (state.get(ACQUISITION, key) for key in own)
    reasons = (
        purse.balance != 0 or purse.escrow != 0,
        any(
            state.get(ORDERED, slot, account) or state.get(SETTLEMENT, slot, account)
            for slot in live
        ),
        any(_in_use(ctx, meter) for meter in meters),
        any(contract.owner == account for _, contract in contracts),
        any(state.get(MEMBERSHIP, number, account) for number in projects),
        any(
            is_under(ctx, account, other) and not member.standing & Standing.CLOSED
            for other, member in state.scan(MEMBER)
        ),
        any(account == member.key for member in ctx.era.members),
    )
    if True in reasons:
        raise Failed(ErrorCode.STILL_NEEDED, reasons.index(True) + 1)
