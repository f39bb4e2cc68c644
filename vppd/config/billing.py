"""``[market.fees]``, ``[market.credit]`` and ``[market.review]``: what a plant charges and rates.

A genesis that leaves a table out has the defaults, which charge nothing, rate nobody and review
nothing: what it meant when there were no such tables.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from vppd.types import PPM, Micro, MicroPerKwh

CreditRule = Literal["fixed", "level", "paper003"]
"""``fixed``: credit never moves; the others: :mod:`vppd.market.credit`."""
GRADES: Final = ("AAA", "AA", "A", "BBB", "BB", "B", "CCC", "CC", "C", "D")
"""Best first (P2, Fig 4)."""
GradeName = Literal["AAA", "AA", "A", "BBB", "BB", "B", "CCC", "CC", "C", "D", ""]
_Part = Annotated[int, Meta(ge=0, le=PPM)]


class FeeRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.fees]``: on energy taken from the network, net over a slot."""

    grid_fee: Annotated[MicroPerKwh, Meta(ge=0, le=10**12)] = 0
    """To the grid."""
    levy: Annotated[MicroPerKwh, Meta(ge=0, le=10**12)] = 0
    """To the fund."""
    block_reward: Annotated[Micro, Meta(ge=0, le=2**50)] = 0
    """From the fund to who packs a block, as far as the fund can pay (P0, maintainer)."""


class CreditRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.credit]``: how deliveries move credit, and what a grade is and allows."""

    rule: CreditRule = "fixed"
    delivery_weight: _Part = 600_000
    """Of the credit in the composite that makes a grade; the three sum up to 10⁶."""
    metering_weight: _Part = 250_000
    """Of the day's settlements that a reading proved."""
    payment_weight: _Part = 150_000
    """Of owing nothing."""
    least: tuple[_Part, ...] = (
        900_000, 800_000, 700_000, 600_000, 500_000, 400_000, 300_000, 200_000, 100_000,
    )  # fmt: skip
    """The least composite of each grade but the last."""
    quota: tuple[_Part, ...] = (
        PPM, PPM, PPM, PPM, 750_000, 500_000, 250_000, 250_000, 100_000, 50_000,
    )  # fmt: skip
    """Of each grade: its part of market.max_orders and market.max_quantity_wh."""
    electable: GradeName = ""
    """The worst grade that may be elected in engine ``dpos``; empty: everybody may."""


class ReviewRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.review]``: the look back at the end of a day (P0, §2.1)."""

    daily: bool = False
    """Deviations, next day's parameters, and everybody's balance, once a day on chain. A credit
    rule other than ``fixed`` needs it, and has it whatever this says."""
