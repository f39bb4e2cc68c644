"""Who may do what: commercial and technical duties apart, registration, aggregators (P2 §II.A).

A duty that genesis gives to somebody is with those it names and those governance grants it to. One
that genesis gives to nobody is with the operators of the era in force too; that of the registrar
is with the registration authority instead, where there is one. An aggregator may do for the members
under it what the other three may do for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.registration.records import Duty, Standing
from vppd.ledger.state import DUTY, MEMBER
from vppd.types import PublicKey


def holds(ctx: Context, key: PublicKey, duty: Duty) -> bool:
    """Whether an account has a duty, for the whole plant."""
    if ctx.state.get(DUTY, duty, key) is not None:
        return True
    if duty is Duty.AGGREGATOR:
        return False
    if duty is Duty.REGISTRAR and ctx.genesis.governance.authority:
        return key in ctx.genesis.governance.authority
    if any(entry.duty == duty.name.lower() for entry in ctx.genesis.duties):
        return False
    return any(member.key == key and member.operator for member in ctx.era.members)


def holders(ctx: Context, duty: Duty) -> Iterator[PublicKey]:
    """Accounts that have a duty, by key."""
    granted = {key for key, _ in ctx.state.scan(DUTY, duty)}
    known = {*ctx.genesis.governance.authority, *(member.key for member in ctx.era.members)}
    yield from sorted(granted | {key for key in known if holds(ctx, key, duty)})


def is_under(ctx: Context, aggregator: PublicKey, account: PublicKey) -> bool:
    """Whether an account belongs to that aggregator."""
    member = ctx.state.get(MEMBER, account)
    return member is not None and member.aggregator == aggregator


def may(ctx: Context, key: PublicKey, duty: Duty, subjects: Iterable[PublicKey]) -> bool:
    """Whether an account may do what takes ``duty`` to all of ``subjects``.

    Args:
        ctx: the state.
        key: of the account.
        duty: what it takes for the whole plant.
        subjects: accounts it is done to; an aggregator may do it to those under it.
    """
    if holds(ctx, key, duty):
        return True
    return holds(ctx, key, Duty.AGGREGATOR) and all(is_under(ctx, key, who) for who in subjects)


def require(ctx: Context, key: PublicKey, duty: Duty, subjects: Iterable[PublicKey] = ()) -> None:
    """As :func:`may`; without subjects an aggregator's duty is not enough.

    Raises:
        Failed: NOT_PERMITTED, with the duty that is missing.
    """
    named = tuple(subjects)
    if not (may(ctx, key, duty, named) if named else holds(ctx, key, duty)):
        raise Failed(ErrorCode.NOT_PERMITTED, duty)


def is_active(ctx: Context, account: PublicKey) -> bool:
    """Whether nothing keeps an account from acting and trading."""
    member = ctx.state.get(MEMBER, account)
    return member is None or Standing(member.standing) == Standing(0)


def need_active(ctx: Context, account: PublicKey) -> None:
    """That another may trade with an account.

    Raises:
        Failed: it is suspended, closed or barred.
    """
    member = ctx.state.get(MEMBER, account)
    standing = Standing(0) if member is None else Standing(member.standing)
    if standing & Standing.BARRED:
        raise Failed(ErrorCode.BARRED)
    if standing:
        raise Failed(ErrorCode.SUSPENDED, standing)
