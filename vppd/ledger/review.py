"""The end of a day (P0, §2.1): deliveries are scored, credit moves, balances are stated.

A day is looked at once, when its last slot has settled. What comes late afterwards moves credit by
what the review would have said with it: losing one's readings costs, and proving them gives back.
A member's statement says what it has and how many settlements it has had, so that a bill between
two of them can be added up by anybody (docs/adr/0024-a-bill-lies-between-two-statements.md).
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from vppd.ledger.agenda import Due, Topic
from vppd.ledger.context import Context
from vppd.ledger.events import (
    BalanceStated,
    CreditCause,
    CreditChanged,
    DayReviewed,
    SettlementFlag,
)
from vppd.ledger.records import (
    NO_SCORE,
    Counter,
    DayRecord,
    ScoreRecord,
    SettlementRecord,
    StandingRecord,
)
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, COUNTER, DAY, SCORE, SETTLEMENT, STANDING, TRADE
from vppd.market.clock import Day, day_of, day_slots
from vppd.market.credit import (
    Indicators,
    composite,
    day_score,
    delivery_score,
    grade_of,
    honoured_wh,
    next_credit,
    weights_of,
)
from vppd.market.money import div_half_even
from vppd.market.tariff import tariff_for
from vppd.types import PPM, Micro, Ppm, PublicKey, Slot, Wh

REVIEW, FORGET = 1, 2
"""Steps of a day."""
REVIEWS, LAST_REVIEW, FORGOTTEN = 1, 2, 3
"""Counters: how many there have been, the height of the last, and the last day that is over."""
NO_GRADE = 255
"""Of who was never rated."""
_MOST = 2**62
"""Sums over all members stop here: no day of the papers' reaches it."""


class Part(NamedTuple):
    """What one settlement adds to its member's day."""

    contracted_wh: Wh
    honoured_wh: Wh
    slots: int
    """With a contract."""
    settled: int
    missing: int
    """Without the readings that would prove it."""


def day_key(day: Day) -> int:
    """Where a day stands in the state; the day west of Greenwich before 1970 is the first."""
    return max(0, day + 1)


def note_slot(ctx: Context, slot: Slot) -> None:
    """``slot`` has settled: it counts in its day."""
    market = ctx.market_of(slot)
    if not (market.review.daily or market.credit.rule != "fixed"):
        return
    key = day_key(day_of(market, slot))
    record = _day(ctx, slot, key)
    if record is not None:
        ctx.state.put(DAY, _counted(ctx, record, slot), key)
        ctx.note_all()
    for account, _ in ctx.state.scan(SETTLEMENT, slot):
        note_settlement(ctx, slot, account, None)


def note_settlement(
    ctx: Context, slot: Slot, account: PublicKey, before: SettlementRecord | None
) -> None:
    """One member's slot has settled, or settled again after ``before``."""
    market = ctx.market_of(slot)
    after = ctx.state.get(SETTLEMENT, slot, account)
    if after is None or after == before:
        return
    if not (market.review.daily or market.credit.rule != "fixed"):
        return
    standing = _standing(ctx, account)
    ctx.state.put(STANDING, replace(standing, settlements=standing.settlements + 1), account)
    key = day_key(day_of(market, slot))
    day = _day(ctx, slot, key)
    if day is None:
        return
    old, new = _part(before), _part(after)
    known = ctx.state.get(SCORE, key, account)
    score = known or ScoreRecord(0, 0, 0, 0, 0, NO_SCORE, NO_SCORE, NO_SCORE)
    score = replace(
        score,
        contracted_wh=max(0, score.contracted_wh + new.contracted_wh - old.contracted_wh),
        honoured_wh=max(0, score.honoured_wh + new.honoured_wh - old.honoured_wh),
        slots=max(0, score.slots + new.slots - old.slots),
        settled=max(0, score.settled + new.settled - old.settled),
        missing=max(0, score.missing + new.missing - old.missing),
    )
    ctx.state.put(SCORE, score, key, account)
    if day.reviewed:
        _rate(ctx, slot, key, account, CreditCause.CORRECTED)


def day_step(ctx: Context, due: Due) -> None:
    """A day's next step is due."""
    key = due.number
    record = ctx.state.get(DAY, key)
    if record is None or record.due_ms != due.due_ms:
        return
    later = _aim(ctx, key, record)
    if later.due_ms > ctx.time_ms:  # the rules of its last slot have changed since
        ctx.state.put(DAY, later, key)
        ctx.notes.append(day_due(key, later))
        ctx.note_all()
        return
    if due.step == FORGET:
        for account, _ in ctx.state.scan(SCORE, key):
            ctx.state.remove(SCORE, key, account)
        ctx.state.remove(DAY, key)
        ctx.state.put(COUNTER, Counter(max(_counter(ctx, FORGOTTEN), key)), FORGOTTEN)
        return
    record = later
    members = 0
    for account, _ in ctx.state.scan(SCORE, key):
        members += 1
        _rate(ctx, record.last_slot, key, account, CreditCause.REVIEWED)
    record = _aim(ctx, key, _parameters(ctx, key, record))
    ctx.state.put(DAY, record, key)
    ctx.notes.append(day_due(key, record))
    ctx.note_all()
    number = _counter(ctx, REVIEWS) + 1
    previous = _counter(ctx, LAST_REVIEW)
    ctx.state.put(COUNTER, Counter(number), REVIEWS)
    ctx.state.put(COUNTER, Counter(ctx.height), LAST_REVIEW)
    ctx.events.append(
        DayReviewed(
            key - 1,
            number,
            previous,
            day_slots(ctx.market_of(record.last_slot), key - 1).start,
            record.last_slot,
            members,
            record.settled,
            record.missing,
            record.contracted_wh,
            record.deviation_wh,
            deviation_ppm(record),
            record.trades,
            record.traded_wh,
            record.traded_micro,
            record.spread,
            record.quote_spread,
        )
    )
    for account, owned in ctx.state.scan(ACCOUNT):
        settlements = _standing(ctx, account).settlements
        ctx.events.append(BalanceStated(account, owned.balance, owned.escrow, settlements))


def day_due(key: int, record: DayRecord) -> Due:
    """What a day's next step is, and when."""
    return Due(record.due_ms, Topic.DAY, key, FORGET if record.reviewed else REVIEW)


def _day(ctx: Context, slot: Slot, key: int) -> DayRecord | None:
    """The day of a slot that settles; begun with it, and never again once it is forgotten."""
    record = ctx.state.get(DAY, key)
    if record is None and key > _counter(ctx, FORGOTTEN):
        record = _aim(ctx, key, DayRecord(slot, 0, 0, 0, 0, 0, 0, 0, 0, 0, False, 0))
        ctx.state.put(DAY, record, key)
        ctx.notes.append(day_due(key, record))
    return record


def _aim(ctx: Context, key: int, record: DayRecord) -> DayRecord:
    """Its last slot, and when its next step is due, by the rules as they are decided now."""
    last = max(record.last_slot, day_slots(ctx.market_of(record.last_slot), key - 1).stop - 1)
    phase = Phase.CLOSED if record.reviewed else Phase.SETTLED
    return replace(record, last_slot=last, due_ms=due_ms(ctx.market_of(last), last, phase))


def deviation_ppm(record: DayRecord) -> Ppm:
    """Of what was delivered from what was contracted, all members together; at most 10⁶."""
    if record.contracted_wh == 0:
        return 0
    return min(PPM, div_half_even(PPM * record.deviation_wh, record.contracted_wh))


def _counted(ctx: Context, record: DayRecord, slot: Slot) -> DayRecord:
    """The day's statistics with one more slot."""
    trades = [trade for _, trade in ctx.state.scan(TRADE, slot)]
    settled = [settled for _, settled in ctx.state.scan(SETTLEMENT, slot)]
    bound = [s for s in settled if s.sold_wh != s.bought_wh]
    contracted = sum(abs(s.sold_wh - s.bought_wh) for s in bound)
    deviation = sum(abs(s.imbalance_wh) for s in bound)
    return replace(
        record,
        settled=record.settled + len(settled),
        missing=record.missing + sum(_part(s).missing for s in settled),
        contracted_wh=min(_MOST, record.contracted_wh + contracted),
        deviation_wh=min(_MOST, record.deviation_wh + deviation),
        trades=record.trades + len(trades),
        traded_wh=min(_MOST, record.traded_wh + sum(t.quantity_wh for t in trades)),
        traded_micro=min(_MOST, record.traded_micro + sum(t.amount for t in trades)),
    )


def _parameters(ctx: Context, key: int, record: DayRecord) -> DayRecord:
    """The next day's parameters, by rule (P0, §2.1: "improves the coordination parameters").

    ``spread``: the mean over the day's slots of what lies between the grid's two prices.
    ``quote_spread``: as much of it as members are advised to leave to each other tomorrow. It is
    the spread less the part of the contracts that was not kept: the worse a day's forecasts, the
    closer to the grid's prices one should quote, since what fails is settled with the grid.
    """
    slots = day_slots(ctx.market_of(record.last_slot), key - 1)
    tariffs = [tariff_for(ctx.market_of(slot), slot) for slot in slots]
    gaps = sum(tariff.retail_price - tariff.feed_in_price for tariff in tariffs)
    spread = div_half_even(gaps, len(tariffs)) if tariffs else 0
    kept = PPM - deviation_ppm(record)
    quote = div_half_even(spread * kept, PPM)
    return replace(record, spread=spread, quote_spread=quote, reviewed=True)


def _part(settled: SettlementRecord | None) -> Part:
    if settled is None:
        return Part(0, 0, 0, 0, 0)
    missing = int(bool(settled.flags & SettlementFlag.ESTIMATED))
    net = settled.sold_wh - settled.bought_wh
    if net == 0:
        return Part(0, 0, 0, 1, missing)
    contracted = abs(net)
    honoured = 0  # what no meter proves was not delivered
    if not missing:
        delivered = settled.export_wh - settled.import_wh
        score = delivery_score(contracted, delivered if net > 0 else -delivered)
        honoured = honoured_wh(contracted, score)
    return Part(contracted, honoured, 1, 1, missing)


def _rate(ctx: Context, slot: Slot, key: int, account: PublicKey, cause: CreditCause) -> None:
    """Credit and grade of one member after a day, or after a correction of it."""
    rules = ctx.market_of(slot).credit
    owned = ctx.state.get(ACCOUNT, account)
    if rules.rule == "fixed" or owned is None:
        return
    day, standing = ctx.state.need(SCORE, key, account), _standing(ctx, account)
    score = NO_SCORE
    if day.contracted_wh:
        score = day_score(day.contracted_wh, day.honoured_wh)
    first = day.before == NO_SCORE
    before = owned.credit if first else day.before
    previous = standing.score if first else day.previous
    after = before
    if score != NO_SCORE:
        compared = None if previous == NO_SCORE else previous
        after = next_credit(rules.rule, before, score, compared)
    moved = after - (before if first else day.after)
    credit = min(PPM, max(0, owned.credit + moved))
    proved = PPM - div_half_even(PPM * min(day.missing, day.settled), max(1, day.settled))
    paid = _payment(owned.balance)
    value = composite(Indicators(credit, proved, paid), weights_of(rules))
    grade = grade_of(value, rules.least)
    ctx.state.put(SCORE, replace(day, before=before, after=after, previous=previous), key, account)
    latest = first or standing.day == key
    if latest:
        kept = standing.score if score == NO_SCORE else score
        standing = replace(standing, day=key, score=kept, composite=value, grade=grade)
        ctx.state.put(STANDING, standing, account)
    if credit != owned.credit:
        ctx.state.put(ACCOUNT, replace(owned, credit=credit), account)
    if cause is CreditCause.CORRECTED and not moved:
        return
    ctx.events.append(
        CreditChanged(
            key - 1,
            account,
            cause,
            score,
            previous,
            day.slots,
            day.settled,
            day.missing,
            owned.credit,
            credit,
            value,
            standing.grade,
        )
    )


def _payment(balance: Micro) -> Ppm:
    return PPM if balance >= 0 else 0


def _standing(ctx: Context, account: PublicKey) -> StandingRecord:
    known = ctx.state.get(STANDING, account)
    return known or StandingRecord(0, NO_SCORE, 0, NO_GRADE, 0)


def _counter(ctx: Context, which: int) -> int:
    counter = ctx.state.get(COUNTER, which)
    return 0 if counter is None else counter.count
