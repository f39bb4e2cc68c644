"""Days and ratings as JSON documents for people (docs/clients.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.config.billing import GRADES
from vppd.ledger.grades import grade_in
from vppd.ledger.records import NO_SCORE
from vppd.ledger.review import LAST_REVIEW, day_key
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, COUNTER, DAY, STANDING, State
from vppd.market.clock import day_slots
from vppd.types import PublicKey

if TYPE_CHECKING:
    from vppd.market.calendar import MarketCalendar


def day_view(calendar: MarketCalendar, state: State, day: int) -> dict[str, Any]:
    """When a local day is, and what its review has set for the next.

    Raises:
        LookupError: no slot starts in that day.
    """
    slots = range(0)
    for start, market in calendar.changes:
        found = day_slots(market, day)
        part = range(max(found.start, start), found.stop)
        if part:
            kept = min(slots.start, part.start) if slots else part.start
            slots = range(min(kept, part.start), part.stop)
    if not slots:
        raise LookupError(f"no slot starts in day {day}")
    first, last = slots[0], slots[-1]
    opening, closing = calendar.at(first), calendar.at(last)
    record = state.get(DAY, day_key(day))
    reviewed = record is not None and record.reviewed
    return {
        "day": day,
        "first_slot": first,
        "end_slot": last + 1,
        "opens_ms": opening.slot_start(first) - opening.open_lead_ms,
        "review_ms": due_ms(closing, last, Phase.SETTLED),
        "ends_ms": due_ms(closing, last, Phase.METERED),
        "reviews": closing.review.daily or closing.credit.rule != "fixed",
        "last_review_height": _last_review(state),
        "spread_micro": record.spread if record is not None and reviewed else None,
        "quote_spread_micro": record.quote_spread if record is not None and reviewed else None,
    }


def credit_view(state: State, key: PublicKey, name: str) -> dict[str, Any]:
    """How a member is rated.

    Raises:
        LookupError: nobody's key.
    """
    account = state.get(ACCOUNT, key)
    if account is None:
        raise LookupError(f"no account {key.hex()} on this chain")
    standing, grade = state.get(STANDING, key), grade_in(state, key)
    scored = standing is not None and standing.score != NO_SCORE
    return {
        "name": name,
        "credit_ppm": account.credit,
        "grade": None if grade is None else GRADES[grade],
        "composite_ppm": None if standing is None or grade is None else standing.composite,
        "last_score_ppm": standing.score if standing is not None and scored else None,
        "last_review_height": _last_review(state),
    }


def _last_review(state: State) -> int:
    counter = state.get(COUNTER, LAST_REVIEW)
    return 0 if counter is None else counter.count
