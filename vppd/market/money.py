"""Money and energy as integers: one rounding rule, in one place.

Energy is in Wh, prices in micro-currency per kWh, amounts in micro-currency. An amount is rounded
once, half to even, and the same integer is debited and credited (market.md, §4).
"""

from __future__ import annotations

from vppd.config.values import parse_decimal as parse_decimal_micro
from vppd.types import Micro, MicroPerKwh, Wh

__all__ = ["amount_micro", "div_half_even", "format_micro", "parse_decimal_micro"]

MICRO_DECIMALS = 6
_WH_PER_KWH = 1_000


def div_half_even(a: int, b: int) -> int:
    """The integer nearest to ``a / b``; of two equally near, the even one.

    Args:
        a: numerator, any sign.
        b: denominator, above zero.

    Raises:
        ValueError: ``b`` is zero or negative.
    """
    if b <= 0:
        raise ValueError(f"the denominator {b} is not positive")
    quotient, rest = divmod(a, b)
    twice = 2 * rest
    return quotient + (twice > b or (twice == b and quotient & 1))


def amount_micro(quantity_wh: Wh, price: MicroPerKwh) -> Micro:
    """What ``quantity_wh`` costs at ``price``, rounded half to even (market.md, rule 3)."""
    return div_half_even(quantity_wh * price, _WH_PER_KWH)


def format_micro(value: Micro | MicroPerKwh, decimals: int) -> str:
    """``value`` in whole currency for people to read, ``decimals`` places, halves away from zero.

    Display only: the papers' tables round so, the ledger never does.

    Raises:
        ValueError: ``decimals`` outside 0…6.
    """
    if not 0 <= decimals <= MICRO_DECIMALS:
        raise ValueError(f"{decimals} decimals asked for, micro-currency has 0 to {MICRO_DECIMALS}")
    step: int = 10 ** (MICRO_DECIMALS - decimals)
    steps = (2 * abs(value) + step) // (2 * step)
    sign = "-" if value < 0 < steps else ""
    if decimals == 0:
        return f"{sign}{steps}"
    whole, part = divmod(steps, 10**decimals)
    return f"{sign}{whole}.{part:0{decimals}d}"
