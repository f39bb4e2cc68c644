"""What the meter says against what was traded: the imbalance, settled with the grid.

Signs: an amount above zero is paid by the member, below zero by the grid (market.md, §4).
"""

from __future__ import annotations

import msgspec

from vppd.config.genesis import Tariff
from vppd.market.money import amount_micro
from vppd.types import Micro, MicroPerKwh, Wh


class Imbalance(msgspec.Struct, frozen=True, gc=False):
    """One member's imbalance in one slot."""

    imbalance_wh: int
    """Energy given beyond the contract; negative: energy short of it."""
    price: MicroPerKwh
    """The grid's price that applied: feed-in for an excess, retail for a shortage."""
    amount: Micro
    """What the member pays the grid; negative: what the grid pays the member."""
    estimated: bool
    """No reading was there: the contracted quantity stands in for it, so nothing is owed."""


def settle_imbalance(
    *,
    sold_wh: Wh,
    bought_wh: Wh,
    import_wh: Wh | None,
    export_wh: Wh | None,
    retail_price: MicroPerKwh,
    feed_in_price: MicroPerKwh,
) -> Imbalance:
    """Settles metered against contracted energy: (export − import) − (sold − bought).

    The grid buys an excess at the feed-in price and sells a shortage at the retail price; the
    amount is rounded once.

    Args:
        sold_wh: sum of the member's trades as seller.
        bought_wh: sum of its trades as buyer.
        import_wh: energy its meter took from the grid in the slot; None: no reading.
        export_wh: energy its meter gave to the grid in the slot; None: no reading.
        retail_price: what the grid charges in the slot.
        feed_in_price: what the grid pays in the slot.
    """
    if import_wh is None or export_wh is None:
        return Imbalance(0, feed_in_price, 0, estimated=True)
    imbalance = (export_wh - import_wh) - (sold_wh - bought_wh)
    price = feed_in_price if imbalance >= 0 else retail_price
    return Imbalance(imbalance, price, -amount_micro(imbalance, price), estimated=False)


def grid_only_micro(import_wh: Wh, export_wh: Wh, tariff: Tariff) -> Micro:
    """What the member would pay with no market at all: import at retail less export at feed-in."""
    return amount_micro(import_wh, tariff.retail_price) - amount_micro(
        export_wh, tariff.feed_in_price
    )
