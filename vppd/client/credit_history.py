"""A member's credit, change by change, from the receipts of the days' reviews (P2, §II.D)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vppd.client.bill_fetch import Source
from vppd.config.billing import GRADES
from vppd.ledger.events import CreditChanged, DayReviewed
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.market.money import format_micro
from vppd.types import Height, PublicKey

_NONE = 2**32 - 1


async def credit_history(client: Source, key: PublicKey, last: Height) -> list[dict[str, Any]]:
    """Every rating of a member, oldest first.

    Args:
        client: whose node still has the blocks; what it has pruned is left out.
        key: the member's.
        last: height of the last review.
    """
    found: list[tuple[Height, Receipt]] = []
    height = last
    while height:
        block = await client.block(height)
        if not block.receipts:
            break
        receipt = decode_receipt(block.receipts[0])
        found.append((height, receipt))
        reviews = [event for event in receipt.events if isinstance(event, DayReviewed)]
        height = min((review.previous_height for review in reviews), default=0)
    return history_rows(key, reversed(found))


def history_rows(key: PublicKey, reviews: Iterable[tuple[Height, Receipt]]) -> list[dict[str, Any]]:
    """The same from receipts at hand, ascending.

    What late readings moved between two reviews is one row: the difference.
    """
    rows: list[dict[str, Any]] = []
    known: int | None = None
    for height, receipt in reviews:
        for event in receipt.events:
            if not isinstance(event, CreditChanged) or event.account != key:
                continue
            if known is not None and known != event.before:
                rows.append(_row(event, height, known, event.before, corrected=True))
            rows.append(_row(event, height, event.before, event.after, corrected=False))
            known = event.after
    return rows


def _row(
    event: CreditChanged, height: Height, before: int, after: int, *, corrected: bool
) -> dict[str, Any]:
    return {
        "day": None if corrected else event.day,
        "height": height,
        "score_ppm": None if corrected or event.score == _NONE else event.score,
        "slots": None if corrected else event.slots,
        "missing": None if corrected else event.missing,
        "before_ppm": before,
        "credit_ppm": after,
        "change_ppm": after - before,
        "grade": None if corrected else GRADES[event.grade],
        "reason": "readings that came late, before this height" if corrected else _reason(event),
    }


def _reason(event: CreditChanged) -> str:
    if event.score == _NONE:
        return "no contract that day"
    said = f"score {format_micro(event.score, 3)} in {event.slots} slots"
    if event.missing:
        said += f", {event.missing} of {event.settled} settlements without readings"
    return said
