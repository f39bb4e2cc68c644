"""Kind ``event``: a call for demand response, a load-control setpoint, a binding order.

P1 §4 Table 2: event notification, regulatory order issuing, load control, implement-effect
management, automatic execution; in OpenADR's words an event under a programme. Who issues it
deposits what it can cost at most; as its last slot closes it measures each member against its
baseline, pays for the effect, and gives back the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from msgspec.structs import replace

from vppd.codec import Decoder, Message, encode
from vppd.crypto import key_text
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.engine import call_contract
from vppd.ledger.contracts.kind import Desk, Kind, KindName, Standing, read
from vppd.ledger.contracts.ops import CallContract
from vppd.ledger.kinds.project import RELEASED
from vppd.ledger.member_events import Answered, EffectMeasured
from vppd.ledger.registration.duties import holds, is_active, require
from vppd.ledger.registration.meters import check_ahead
from vppd.ledger.registration.ops import Reason
from vppd.ledger.registration.records import Duty, Membership
from vppd.ledger.response.calls import (
    EVENT,
    ORDER_PRIORITY,
    PROJECT,
    Answer,
    Called,
    Event,
    EventTerms,
    Live,
    Project,
    check_room,
    is_asked,
    live_events,
    read_event,
    read_event_terms,
    read_project,
)
from vppd.ledger.response.history import baseline, forget, net_energy
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, CONTRACT, MEMBERSHIP
from vppd.market.response import Signal, effect, energy_wh, most_payment
from vppd.types import Micro, PublicKey, Slot, Wh

ISSUED, RUNNING = 0, 1
RESPOND, CANCEL = 0, 1
MOST_SLOTS = 96
MOST_AHEAD = 10_000
"""Slots from now until an event begins."""
TERMS_SAID = 1
"""Topic of :class:`~vppd.ledger.events.ContractSaid`: the event as it was issued."""
CANCELLED_SAID = 2
"""Topic: why it was cancelled."""
_DAY_BEFORE = 1
MOST_ENERGY: Wh = 2**62


class Respond(Message, frozen=True):
    """A called member opts in or out."""

    opts_in: bool


class Cancel(Message, frozen=True):
    """The event ends before its time."""

    reason: Reason


read_respond, read_cancel = Decoder(Respond), Decoder(Cancel)


class EventKind(Kind):
    """A call, from its issue to its payment."""

    name = KindName(EVENT)
    phases: ClassVar[tuple[str, ...]] = ("issued", "running")
    methods: ClassVar[tuple[str, ...]] = ("respond", "cancel")

    def open(self, desk: Desk, terms: bytes) -> Standing:
        """Issue: whom it calls, and the money for what they may do."""
        ctx, issuer = desk.context, desk.owner
        asked = read(read_event_terms, terms)
        _check_numbers(ctx, asked)
        if asked.project is None:
            event = _order(ctx, issuer, asked)
        else:
            event = _call_members(ctx, issuer, asked, asked.project)
        if asked.replaces is not None:
            _replace(ctx, issuer, asked.replaces)
        check_room(ctx, issuer)
        _supersede(ctx, asked, {called.account for called in event.called})
        desk.deposit(sum(called.reserved for called in event.called))
        desk.say(TERMS_SAID, encode(event))
        return Standing(ISSUED, encode(event), _begins(ctx, asked))

    def call(self, desk: Desk, now: Standing, method: int, args: bytes) -> Standing:
        """A member responds, or the issuer cancels."""
        event = read_event(now.data)
        if method == RESPOND:
            return _respond(desk, now, event, read(read_respond, args).opts_in)
        return _cancel(desk, now, event, read(read_cancel, args).reason)

    def fire(self, desk: Desk, now: Standing) -> Standing:
        """It begins; or its last slot has closed: it is measured and paid."""
        ctx, event = desk.context, read_event(now.data)
        due = _begins(ctx, event.terms) if now.phase == ISSUED else _ends(ctx, event)
        if ctx.time_ms < due:  # slots have got another length meanwhile
            return now._replace(due_ms=due)
        if now.phase == ISSUED:
            event = _begin(desk, event)
            if not any(called.answer == Answer.IN for called in event.called):
                return _end(desk, now, event)
            # Slots that got shorter may have put its end before the time it has waited for.
            earliest = max(now.due_ms or 0, ctx.time_ms) + 1
            return Standing(RUNNING, encode(event), max(_ends(ctx, event), earliest))
        for called in event.called:
            _settle(desk, event, called)
        return _end(desk, now, event)

    def release(self, desk: Desk, now: Standing) -> None:
        """Unmeasured: all goes back to the issuer."""
        _end(desk, now, read_event(now.data))

    def view(self, now: Standing) -> dict[str, Any]:
        """What it asks for, of how many."""
        event = read_event(now.data)
        terms = event.terms
        return {
            "project": terms.project,
            "signal": Signal(terms.signal).name.lower(),
            "first_slot": terms.first_slot,
            "last_slot": terms.last_slot,
            "target_w": terms.target_w,
            "priority": terms.priority,
            "binding": terms.project is None,
            "price_micro": event.price,
            "baseline_days": event.baseline_days,
            "members": len(event.called),
            "opted_in": sum(called.answer == Answer.IN for called in event.called),
            "reason": terms.reason,
        }


# ---------------------------------------------------------------- issue


def _check_numbers(ctx: Context, asked: EventTerms) -> None:
    """Slots ahead, and a power, that can be.

    Raises:
        Failed: OUT_OF_BOUNDS, SLOT_HAS_BEGUN or BAD_TERMS.
    """
    check_ahead(ctx, asked.first_slot)
    now = max(0, ctx.calendar.slot_at(ctx.time_ms))
    slots = asked.last_slot - asked.first_slot + 1
    if not 1 <= slots <= MOST_SLOTS or asked.first_slot > now + MOST_AHEAD:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 1)
    if asked.signal not in list(Signal):
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 5)
    least = 0 if asked.signal == Signal.LIMIT else 1
    if not least <= asked.target_w <= ctx.market_of(asked.first_slot).max_quantity_wh:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 2)
    if asked.members != tuple(sorted(set(asked.members))):
        raise Failed(ErrorCode.BAD_TERMS)  # one order of names for one meaning


def _order(ctx: Context, issuer: PublicKey, asked: EventTerms) -> Event:
    """A binding order: an operator's, with its reason, to whom it names; nobody is paid for it.

    Raises:
        Failed: the sender is no operator with the technical duty; or nobody, or nobody known, is
            named.
    """
    operator = any(member.key == issuer and member.operator for member in ctx.era.members)
    if not operator or not holds(ctx, issuer, Duty.TECHNICAL):
        raise Failed(ErrorCode.NOT_PERMITTED, Duty.TECHNICAL)
    if not asked.reason:
        raise Failed(ErrorCode.NO_REASON)
    if asked.priority != ORDER_PRIORITY:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 6)
    if not asked.members:
        raise Failed(ErrorCode.NOT_CALLED)
    if any(ctx.state.get(ACCOUNT, account) is None for account in asked.members):
        raise Failed(ErrorCode.UNKNOWN_MEMBER)
    until = asked.last_slot + 1
    called = tuple(
        Called(account, Answer.IN, asked.target_w, asked.target_w, 0, until, auto=False)
        for account in asked.members
    )
    return Event(_stored(asked), 0, _DAY_BEFORE, 0, called)


def _call_members(ctx: Context, issuer: PublicKey, asked: EventTerms, number: int) -> Event:
    """An event under a project, to all who agree to its terms or to those it names.

    Raises:
        Failed: no such project, not released, too little notice; or the issuer may not, or one that
            is named has not agreed.
    """
    record = ctx.state.get(CONTRACT, number)
    if record is None or record.kind != PROJECT:
        raise Failed(ErrorCode.NOT_A_PROJECT)
    if record.phase != RELEASED:
        raise Failed(ErrorCode.NOT_RELEASED)
    if asked.priority >= ORDER_PRIORITY:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 6)
    project = read_project(record.data)
    now = max(0, ctx.calendar.slot_at(ctx.time_ms))
    if asked.first_slot <= now + project.terms.notice_slots:
        raise Failed(ErrorCode.OUT_OF_BOUNDS, 8)
    chosen = tuple(_chosen(ctx, asked, number, project))
    require(ctx, issuer, Duty.TECHNICAL, tuple(account for account, _ in chosen))
    if not chosen:
        raise Failed(ErrorCode.NOT_CALLED)
    price = project.terms.price
    called = tuple(_called(ctx, asked, account, member, price) for account, member in chosen)
    return Event(_stored(asked), price, project.terms.baseline_days, project.version, called)


def _stored(asked: EventTerms) -> EventTerms:
    """Whom it calls stands in the event once."""
    return replace(asked, members=())


def _chosen(
    ctx: Context, asked: EventTerms, number: int, project: Project
) -> Iterator[tuple[PublicKey, Membership]]:
    if not asked.members:
        for account, member in ctx.state.scan(MEMBERSHIP, number):
            if member.version == project.version and is_active(ctx, account):
                yield account, member
        return
    for account in asked.members:
        known = ctx.state.get(MEMBERSHIP, number, account)
        if known is None:
            raise Failed(ErrorCode.NOT_IN_PROJECT)
        if known.version != project.version:
            raise Failed(ErrorCode.NOT_AGREED, project.version)
        if not is_active(ctx, account):
            raise Failed(ErrorCode.BARRED)
        yield account, known


def _called(
    ctx: Context, asked: EventTerms, account: PublicKey, member: Membership, price: int
) -> Called:
    most = member.capacity_w
    target = asked.target_w if asked.signal == Signal.LIMIT else min(most, asked.target_w)
    paid_w = most if asked.signal == Signal.LIMIT else target
    reserved = most_payment(
        [_slot_wh(ctx, paid_w, slot) for slot in range(asked.first_slot, asked.last_slot + 1)],
        price,
    )
    until = asked.last_slot + 1
    return Called(account, Answer.NONE, target, paid_w, reserved, until, member.auto)


def _replace(ctx: Context, issuer: PublicKey, number: int) -> None:
    """Cancel another event, which this one takes the place of.

    Raises:
        Failed: it is no event, or the issuer may not cancel it, or it is over.
    """
    record = ctx.state.get(CONTRACT, number)
    if record is None or record.kind != EVENT:
        raise Failed(ErrorCode.UNKNOWN_CONTRACT)
    call_contract(ctx, issuer, CallContract(number, CANCEL, encode(Cancel("replaced"))))


def _supersede(ctx: Context, asked: EventTerms, accounts: set[PublicKey]) -> None:
    """Call members away from events of lower priority, from this one's first slot on.

    Raises:
        Failed: EVENTS_OVERLAP, one is called by an event of at least this priority.
    """
    for live in list(live_events(ctx)):
        terms = live.event.terms
        met = [c for c in live.event.called if c.account in accounts and _overlaps(c, terms, asked)]
        if not met:
            continue
        if terms.priority >= asked.priority:
            raise Failed(ErrorCode.EVENTS_OVERLAP, live.number)
        _call_away(ctx, live, {c.account for c in met}, asked.first_slot)


def _overlaps(called: Called, terms: EventTerms, asked: EventTerms) -> bool:
    """Whether a member of an event is asked in a slot of a new one."""
    first, until = (
        max(terms.first_slot, asked.first_slot),
        min(called.until_slot, asked.last_slot + 1),
    )
    return first < until and called.answer in (Answer.NONE, Answer.IN)


def _call_away(ctx: Context, live: Live, accounts: set[PublicKey], first: Slot) -> None:
    called = []
    for one in live.event.called:
        if one.account in accounts:
            begun = first > live.event.terms.first_slot
            answer = one.answer if begun else Answer.SUPERSEDED
            one = replace(one, until_slot=min(one.until_slot, first), answer=answer)
            ctx.events.append(Answered(live.number, one.account, Answer.SUPERSEDED, one.until_slot))
        called.append(one)
    event = replace(live.event, called=tuple(called))
    ctx.state.put(CONTRACT, replace(live.record, data=encode(event)), live.number)


# ---------------------------------------------------------------- answers


def _respond(desk: Desk, now: Standing, event: Event, opts_in: bool) -> Standing:
    ctx, answer = desk.context, Answer.IN if opts_in else Answer.OUT
    mine = next((c for c in event.called if c.account == desk.caller), None)
    if mine is None:
        raise Failed(ErrorCode.NOT_CALLED)
    late = now.phase != ISSUED or ctx.time_ms >= _begins(ctx, event.terms)
    if late or event.terms.project is None or mine.answer == Answer.SUPERSEDED:
        raise Failed(ErrorCode.TOO_LATE)
    if mine.answer == answer:
        raise Failed(ErrorCode.NOTHING_CHANGES)
    if opts_in and mine.answer == Answer.OUT:
        _check_free(ctx, desk.number, event.terms, mine)
    return now._replace(data=encode(_answered(desk, event, {mine.account: answer})))


def _check_free(ctx: Context, number: int, terms: EventTerms, mine: Called) -> None:
    """Whoever was out may be called elsewhere by now.

    Raises:
        Failed: EVENTS_OVERLAP.
    """
    for live in live_events(ctx):
        for one in live.event.called:
            other = live.number != number and one.account == mine.account
            if other and _overlaps(one, live.event.terms, terms):
                raise Failed(ErrorCode.EVENTS_OVERLAP, live.number)


def _answered(desk: Desk, event: Event, answers: dict[PublicKey, Answer]) -> Event:
    called = []
    for one in event.called:
        answer = answers.get(one.account)
        if answer is not None:
            one = replace(one, answer=answer)
            desk.context.events.append(Answered(desk.number, one.account, answer, one.until_slot))
        called.append(one)
    return replace(event, called=tuple(called))


def _begin(desk: Desk, event: Event) -> Event:
    """Who consents for good opts in by itself; who has not answered is out (P1, automatic)."""
    silent = {
        called.account: Answer.IN if called.auto else Answer.OUT
        for called in event.called
        if called.answer == Answer.NONE
    }
    return _answered(desk, event, silent)


def _cancel(desk: Desk, now: Standing, event: Event, reason: str) -> Standing:
    """Before it begins: as if it had not been; afterwards it ends with the slot under way."""
    ctx, caller = desk.context, desk.caller
    if caller is None:
        raise Failed(ErrorCode.CONTRACT_BROKEN)
    if caller != desk.owner and not holds(ctx, caller, Duty.TECHNICAL):
        raise Failed(ErrorCode.NOT_PERMITTED, Duty.TECHNICAL)  # an aggregator's own is its alone
    if not reason:
        raise Failed(ErrorCode.NO_REASON)
    slot = ctx.calendar.slot_at(ctx.time_ms)
    terms = event.terms
    if slot >= max((c.until_slot for c in event.called), default=0):
        raise Failed(ErrorCode.TOO_LATE)
    desk.say(CANCELLED_SAID, reason.encode())
    if slot < terms.first_slot:
        return _end(desk, now, event)
    if slot == terms.last_slot:
        raise Failed(ErrorCode.TOO_LATE)
    if now.phase == ISSUED:  # its trigger is of this very block's time
        event = _begin(desk, event)
    called = tuple(replace(c, until_slot=min(c.until_slot, slot + 1)) for c in event.called)
    then = replace(event, terms=replace(terms, last_slot=slot), called=called)
    return Standing(RUNNING, encode(then), _ends(ctx, then))


# ---------------------------------------------------------------- effect


def _settle(desk: Desk, event: Event, called: Called) -> None:
    """Measure one member and pay it; slots without reading or baseline count for nothing."""
    ctx, terms = desk.context, event.terms
    signal = Signal(terms.signal)
    asked = [
        slot
        for slot in range(terms.first_slot, terms.last_slot + 1)
        if called.answer == Answer.IN and is_asked(called, terms, slot)
    ]
    if not asked:
        return
    known = usual = metered = done = over = 0
    for slot in asked:
        base = baseline(ctx, called.account, slot, event.baseline_days)
        net = net_energy(ctx, called.account, slot)
        if net is None or (base is None and signal is not Signal.LIMIT):
            continue
        base = net if base is None else base  # a setpoint is kept or not, whatever was usual
        target = _slot_wh(ctx, called.target_w, slot)
        most = _slot_wh(ctx, called.capacity_w, slot)
        found = effect(signal, base, net, target, most)
        known, usual, metered = known + 1, usual + base, metered + net
        done, over = done + found.effect_wh, over + found.over_wh
    amount = _payable(desk, event, called, done)
    ctx.events.append(
        EffectMeasured(
            desk.number,
            called.account,
            len(asked),
            known,
            _clip(usual),
            _clip(metered),
            done,
            _clip(over),
            amount,
        )
    )
    desk.pay(called.account, amount)


def _clip(energy: Wh) -> Wh:
    """Sums of absurd readings of hundreds of meters leave 64 bits; what is paid never does."""
    return min(max(energy, -MOST_ENERGY), MOST_ENERGY)


def _payable(desk: Desk, event: Event, called: Called, done: Wh) -> Micro:
    """What a member gets: never more than was set aside for it, whatever slots have become."""
    return min(most_payment([done], event.price), called.reserved, desk.held)


def _end(desk: Desk, now: Standing, event: Event) -> Standing:
    """What is left goes back; who is nobody's member any more is forgotten."""
    ctx = desk.context
    desk.pay(desk.owner, desk.held)
    record = ctx.state.get(CONTRACT, desk.number)
    ctx.state.remove(CONTRACT, desk.number)
    forget(ctx, [called.account for called in event.called])
    if record is not None:
        ctx.state.put(CONTRACT, record, desk.number)
    return Standing(now.phase, b"", ended=True)


def _slot_wh(ctx: Context, power_w: int, slot: Slot) -> Wh:
    return energy_wh(power_w, ctx.market_of(slot).market_slot_minutes)


def _begins(ctx: Context, terms: EventTerms) -> int:
    return ctx.market_of(terms.first_slot).slot_start(terms.first_slot)


def _ends(ctx: Context, event: Event) -> int:
    last = event.terms.last_slot
    return due_ms(ctx.market_of(last), last, Phase.CLOSED)


def called_view(event: Event) -> list[dict[str, Any]]:
    """Whom an event calls, and where each stands."""
    return [
        {
            "key": key_text(called.account),
            "answer": Answer(called.answer).name.lower(),
            "auto": called.auto,
            "target_w": called.target_w,
            "until_slot": called.until_slot,
            "reserved_micro": called.reserved,
        }
        for called in event.called
    ]


EVENT_KIND = EventKind()
