"""Projects and events as their contracts keep them; what others ask about them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated, NamedTuple

from msgspec import Meta

from vppd.codec import U8, U32, U63, Bytes32, Decoder, Message
from vppd.era import Name
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.records import ContractRecord
from vppd.ledger.registration.ops import Reason
from vppd.ledger.state import CONTRACT, MEMBERSHIP
from vppd.types import PublicKey, Slot

PROJECT, EVENT = "project", "event"
"""Kinds of contracts."""
MOST_CALLED = 200
"""Members of a project, and of an event."""
MOST_LIVE = 16
"""Events of one issuer that are not over."""
ORDER_PRIORITY = 255
"""Of binding orders; events have less."""


class Answer(IntEnum):
    """Where a called member stands."""

    NONE = 0
    """It has not answered."""
    IN = 1
    OUT = 2
    SUPERSEDED = 3
    """A later event of higher priority calls it."""


class ProjectTerms(Message, frozen=True):
    """What members of a programme agree to."""

    title: Name
    price: U63
    """Paid for effect, micro-currency per kWh."""
    capacity_w: U63
    """The most one member can commit."""
    baseline_days: U8
    """Days whose mean is the baseline; 1: the day before."""
    notice_slots: U32
    """An event begins at least so many slots after the one in which it is issued."""
    purpose: Reason


class Project(Message, frozen=True):
    """What the contract of a programme remembers."""

    version: U63
    scoped: bool
    """An aggregator's: only members under its owner may join."""
    terms: ProjectTerms


class EventTerms(Message, frozen=True):
    """What an event asks for, of whom, and when."""

    project: U63 | None
    """``None``: a binding order of the operator."""
    signal: U8
    """A :class:`~vppd.market.response.Signal`."""
    first_slot: U63
    last_slot: U63
    target_w: U63
    """Asked of each member, at most its commitment; of a limit the setpoint of each."""
    priority: U8
    """Above it, events call members of this one away."""
    members: Annotated[tuple[Bytes32, ...], Meta(max_length=MOST_CALLED)]
    """Empty: all of the project that agree to its terms."""
    replaces: U63 | None
    """An event that this one cancels."""
    reason: Reason


class Called(Message, frozen=True):
    """A member that an event calls."""

    account: Bytes32
    answer: U8
    target_w: U63
    capacity_w: U63
    """What counts at most."""
    reserved: U63
    """Micro-currency of the deposit that is for it."""
    until_slot: U63
    """The first slot that is not asked of it any more."""
    auto: bool


class Event(Message, frozen=True):
    """What the contract of an event remembers."""

    terms: EventTerms
    price: U63
    baseline_days: U8
    version: U63
    """The project's terms it was issued under."""
    called: tuple[Called, ...]
    """By account."""


class Live(NamedTuple):
    """An event that is not over."""

    number: int
    record: ContractRecord
    event: Event


read_project = Decoder(Project)
read_project_terms = Decoder(ProjectTerms)
read_event = Decoder(Event)
read_event_terms = Decoder(EventTerms)


def live_events(ctx: Context) -> Iterator[Live]:
    """Events that are not over, by number."""
    for number, record in ctx.state.scan(CONTRACT):
        if record.kind == EVENT:
            yield Live(number, record, read_event(record.data))


def is_asked(called: Called, terms: EventTerms, slot: Slot) -> bool:
    """Whether a slot is asked of a member that has not said no."""
    begun = terms.first_slot <= slot < called.until_slot
    return begun and called.answer in (Answer.NONE, Answer.IN)


def called_in(ctx: Context, slot: Slot) -> set[PublicKey]:
    """Accounts that an event or an order calls in ``slot``."""
    return {
        called.account
        for live in live_events(ctx)
        for called in live.event.called
        if is_asked(called, live.event.terms, slot)
    }


def tracked(ctx: Context) -> set[PublicKey]:
    """Accounts whose energy is remembered: members of projects, and those called."""
    found: set[PublicKey] = set()
    for number, record in ctx.state.scan(CONTRACT):
        if record.kind == EVENT:
            found.update(called.account for called in read_event(record.data).called)
        elif record.kind == PROJECT:
            found.update(account for account, _ in ctx.state.scan(MEMBERSHIP, number))
    return found


def check_idle(ctx: Context, project: int) -> None:
    """No event of a project is under way.

    Raises:
        Failed: EVENT_RUNNING.
    """
    for live in live_events(ctx):
        if live.event.terms.project == project:
            raise Failed(ErrorCode.EVENT_RUNNING, live.number)


def check_room(ctx: Context, issuer: PublicKey) -> None:
    """Each event costs every slot and every other event some work, so one has only so many.

    Raises:
        Failed: TOO_MANY_EVENTS.
    """
    events = ctx.state.scan(CONTRACT)
    if sum(r.kind == EVENT and r.owner == issuer for _, r in events) >= MOST_LIVE:
        raise Failed(ErrorCode.TOO_MANY_EVENTS, MOST_LIVE)
