"""What a grade allows (P2, §II.D: task quotas by rating): orders, and election."""

from __future__ import annotations

from vppd.config.billing import CreditRules
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.state import STANDING, State
from vppd.market.credit import Grade, grade_named, part_of
from vppd.types import PublicKey, Slot, Wh

_UNRATED = 255


def grade_in(state: State, account: PublicKey) -> Grade | None:
    """A member's latest grade; ``None``: it was never rated."""
    standing = state.get(STANDING, account)
    return None if standing is None or standing.grade == _UNRATED else standing.grade


def check_quota(ctx: Context, account: PublicKey, slot: Slot, orders: int, most_wh: Wh) -> None:
    """A member's orders for one slot stay within its grade's part of the limits.

    Args:
        ctx: the state.
        account: whose.
        slot: for which.
        orders: so many, the new one included.
        most_wh: the larger of what it offers and of what it wants.

    Raises:
        Failed: they do not.
    """
    market = ctx.market_of(slot)
    if market.credit.rule == "fixed":
        return
    grade = grade_in(ctx.state, account)
    if grade is None:
        return
    quota = market.credit.quota[grade]
    number, energy = part_of(market.max_orders, quota), part_of(market.max_quantity_wh, quota)
    if orders > number or most_wh > energy:
        raise Failed(ErrorCode.QUOTA_OF_GRADE, grade, number, energy)


def may_be_elected(rules: CreditRules, state: State, account: PublicKey) -> bool:
    """Whether a member's grade is good enough for a seat; who was never rated may have one."""
    worst = grade_named(rules.electable)
    grade = grade_in(state, account)
    return rules.rule == "fixed" or worst is None or grade is None or grade <= worst
