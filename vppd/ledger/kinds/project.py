"""Kind ``project``: a programme for demand response (P1 §4 Table 2, project management).

Built as a draft, released, updated, deleted; members join with what they can do and agree to each
version of its terms. Takes the commercial duty; an aggregator's own project takes its members only.
"""

from __future__ import annotations

from typing import Any, ClassVar

from vppd.codec import U63, Bytes32, Decoder, Message, encode
from vppd.config.values import parse_name
from vppd.crypto import key_text
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.kind import Desk, Kind, KindName, Standing, read
from vppd.ledger.registration.duties import holds, is_active, is_under
from vppd.ledger.registration.parameters import capacity_of
from vppd.ledger.registration.records import Duty, Membership
from vppd.ledger.response.calls import (
    MOST_CALLED,
    PROJECT,
    Project,
    ProjectTerms,
    check_idle,
    live_events,
    read_project,
    read_project_terms,
)
from vppd.ledger.response.history import MOST_DAYS, forget
from vppd.ledger.state import MEMBERSHIP
from vppd.types import PublicKey

DRAFT, RELEASED = 0, 1
RELEASE, UPDATE, DELETE, JOIN, LEAVE = range(5)
MOST_NOTICE = 5_000
TERMS_SAID = 1
"""Topic of :class:`~vppd.ledger.events.ContractSaid`: a version of the terms."""
MEMBER_SAID = 2
"""Topic: a member joined or agreed anew (:class:`Joined`), or left (:class:`Left`)."""


class Join(Message, frozen=True):
    """A member joins, or agrees to the terms as they are now."""

    capacity_w: U63
    version: U63
    """Of the terms it has read."""
    auto: bool


class Joined(Message, frozen=True):
    """News: a member joined, or agreed anew."""

    account: Bytes32
    capacity_w: U63
    auto: bool
    version: U63


class Left(Message, frozen=True):
    """News: a member left."""

    account: Bytes32


read_join = Decoder(Join)
read_joined, read_left = Decoder(Joined), Decoder(Left)
_OUT_OF_BOUNDS = {"price": 3, "capacity_w": 2, "baseline_days": 4, "notice_slots": 8}


class ProjectKind(Kind):
    """A programme and its members."""

    name = KindName(PROJECT)
    phases: ClassVar[tuple[str, ...]] = ("draft", "released")
    methods: ClassVar[tuple[str, ...]] = ("release", "update", "delete", "join", "leave")

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Build: a draft, which nobody can join yet."""
        asked = read(read_project_terms, terms)
        ctx, builder = desk.context, desk.owner
        commercial = holds(ctx, builder, Duty.COMMERCIAL)
        if not commercial and not holds(ctx, builder, Duty.AGGREGATOR):
            raise Failed(ErrorCode.NOT_PERMITTED, Duty.COMMERCIAL)
        _check(ctx, asked)
        return _said(desk, DRAFT, Project(1, not commercial, asked))

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """Release, update, delete; join, leave."""
        project, caller = read_project(now.data), _caller(desk)
        if method == JOIN:
            _join(desk, now, project, caller, read(read_join, args))
            return now
        if method == LEAVE:
            return _leave(desk, now, caller)
        _require(desk, project, caller)
        if method == UPDATE:
            asked = read(read_project_terms, args)
            if asked == project.terms:
                raise Failed(ErrorCode.NOTHING_CHANGES)
            _check(desk.context, asked)
            then = Project(project.version + 1, project.scoped, asked)
            return _said(desk, now.phase, then)
        if args:
            raise Failed(ErrorCode.BAD_TERMS)
        if method == RELEASE:
            if now.phase == RELEASED:
                raise Failed(ErrorCode.NOT_RELEASED)
            return Standing(RELEASED, now.data)
        check_idle(desk.context, desk.number)
        self.release(desk, now)
        return Standing(now.phase, b"", ended=True)

    def fire(self, desk: Desk, now: Standing) -> Standing:  # noqa: ARG002  # never called
        """It has no trigger."""
        raise Failed(ErrorCode.CONTRACT_BROKEN)

    def release(self, desk: Desk, now: Standing) -> None:  # noqa: ARG002  # it is in the state
        """Everybody is out of it."""
        ctx = desk.context
        members = [account for account, _ in ctx.state.scan(MEMBERSHIP, desk.number)]
        for account in members:
            ctx.state.remove(MEMBERSHIP, desk.number, account)
        forget(ctx, members)

    def view(self, now: Standing) -> dict[str, Any]:
        """Its terms."""
        project = read_project(now.data)
        terms = project.terms
        return {
            "title": terms.title,
            "version": project.version,
            "price_micro": terms.price,
            "capacity_w": terms.capacity_w,
            "baseline_days": terms.baseline_days,
            "notice_slots": terms.notice_slots,
            "purpose": terms.purpose,
            "aggregators_own": project.scoped,
        }


def _caller(desk: Desk) -> PublicKey:
    caller = desk.caller
    if caller is None:
        raise Failed(ErrorCode.CONTRACT_BROKEN)
    return caller


def _require(desk: Desk, project: Project, caller: PublicKey) -> None:
    own = project.scoped and caller == desk.owner and holds(desk.context, caller, Duty.AGGREGATOR)
    if not own and not holds(desk.context, caller, Duty.COMMERCIAL):
        raise Failed(ErrorCode.NOT_PERMITTED, Duty.COMMERCIAL)


def _check(ctx: Context, terms: ProjectTerms) -> None:
    try:
        parse_name(terms.title)
    except ValueError as err:
        raise Failed(ErrorCode.BAD_TERMS) from err
    now = ctx.market_of(max(0, ctx.calendar.slot_at(ctx.time_ms)))
    bad = {
        "capacity_w": not 1 <= terms.capacity_w <= now.max_quantity_wh,
        "price": terms.price > now.max_price,
        "baseline_days": not 1 <= terms.baseline_days <= MOST_DAYS,
        "notice_slots": terms.notice_slots > MOST_NOTICE,
    }
    for name, wrong in bad.items():
        if wrong:
            raise Failed(ErrorCode.OUT_OF_BOUNDS, _OUT_OF_BOUNDS[name])


def _said(desk: Desk, phase: int, project: Project) -> Standing:
    data = encode(project)
    desk.say(TERMS_SAID, data)
    return Standing(phase, data)


def _join(desk: Desk, now: Standing, project: Project, caller: PublicKey, asked: Join) -> None:
    ctx, number = desk.context, desk.number
    if now.phase != RELEASED:
        raise Failed(ErrorCode.NOT_RELEASED)
    if not is_active(ctx, caller):
        raise Failed(ErrorCode.BARRED)
    if asked.version != project.version:
        raise Failed(ErrorCode.NOT_AGREED, project.version)
    if project.scoped and not is_under(ctx, desk.owner, caller):
        raise Failed(ErrorCode.NOT_IN_PROJECT)
    can = capacity_of(ctx, caller)
    most = project.terms.capacity_w if can is None else min(can, project.terms.capacity_w)
    if not 1 <= asked.capacity_w <= most:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 7)
    before = ctx.state.get(MEMBERSHIP, number, caller)
    after = Membership(asked.capacity_w, asked.auto, asked.version, ctx.height)
    if before is None and sum(1 for _ in ctx.state.scan(MEMBERSHIP, number)) >= MOST_CALLED:
        raise Failed(ErrorCode.TOO_MANY_MEMBERS, MOST_CALLED)
    if before is not None and before == Membership(*_terms_of(after), before.height):
        raise Failed(ErrorCode.NOTHING_CHANGES)
    ctx.state.put(MEMBERSHIP, after, number, caller)
    desk.say(MEMBER_SAID, encode(Joined(caller, *_terms_of(after))))


def _terms_of(member: Membership) -> tuple[int, bool, int]:
    return member.capacity_w, member.auto, member.version


def _leave(desk: Desk, now: Standing, caller: PublicKey) -> Standing:
    ctx, number = desk.context, desk.number
    if ctx.state.get(MEMBERSHIP, number, caller) is None:
        raise Failed(ErrorCode.NOT_IN_PROJECT)
    for live in live_events(ctx):
        if any(called.account == caller for called in live.event.called):
            raise Failed(ErrorCode.EVENT_RUNNING, live.number)
    ctx.state.remove(MEMBERSHIP, number, caller)
    forget(ctx, (caller,))
    desk.say(MEMBER_SAID, encode(Left(caller)))
    return now


def members_view(ctx: Context, number: int) -> list[dict[str, Any]]:
    """A project's members, by key."""
    return [
        {
            "key": key_text(account),
            "capacity_w": member.capacity_w,
            "auto": member.auto,
            "agreed_version": member.version,
            "since_height": member.height,
        }
        for account, member in ctx.state.scan(MEMBERSHIP, number)
    ]


PROJECT_KIND = ProjectKind()
