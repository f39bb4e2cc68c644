"""The security check: how much of each trade the grid carries (P3, §3.1 stage 3 and §3.2 step 3).

Trades are taken in their order. If the grid carries them all together, nothing is cut. If not, as
many as it carries together are taken, the next is cut back to the largest quantity that holds, and
so on with those behind it. What was taken is never given up again for a later trade.

Where limits are broken without any trade, by loads alone, no trade may make that worse; whatever
else the grid carries is not cut for it.

Every set of trades taken here has been solved as a flow and found within all limits
(:mod:`vppd.market.grid.flow`); the work is bounded by :data:`MOST_WORK`, and what is not reached by
then is cut: a slot may lose trades to a grid that is badly overloaded, never its safety.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from vppd.market.grid.flow import Bounds, Feeder, Flow
from vppd.market.money import div_half_even
from vppd.types import PPM, Wh

MOST_WORK: Final = 50_000
"""Flows solved for one slot, times the grid's buses: 1,500 flows of 33 buses, half a second."""
_MINUTES_TO_MILLI_HOURS: Final = 60_000


class Deal(NamedTuple):
    """What a trade does to the grid."""

    seller_bus: int
    """Id of the bus the energy comes from."""
    buyer_bus: int
    """Id of the bus it goes to."""
    quantity_wh: Wh


class BaseLoad(NamedTuple):
    """Power taken at a bus in this slot whatever is traded, besides the model's own."""

    bus: int
    """Its id."""
    energy_wh: int
    """Taken in the slot; negative: given."""


class Check:
    """What of a slot's trades the grid carries.

    Args:
        feeder: the grid.
        minutes: how long the slot lasts in market time: energy over it is a power.
        base: what flows besides trades and the model's own loads.
        most_work: as :data:`MOST_WORK`.

    A bus that the grid does not have carries nothing: trades there are cut, loads are nowhere.
    """

    __slots__ = (
        "_base", "_bought", "_bounds", "_feeder", "_full", "_left", "_minutes", "_sold",
        "base_holds",
    )  # fmt: skip

    def __init__(
        self,
        feeder: Feeder,
        minutes: int,
        base: Sequence[BaseLoad] = (),
        most_work: int = MOST_WORK,
    ) -> None:
        buses = len(feeder.grid.buses)
        self._feeder, self._minutes = feeder, minutes
        self._base = [0] * buses
        for load in base:
            if load.bus in feeder.position:
                self._base[feeder.position[load.bus]] += load.energy_wh
        self._sold, self._bought = [0] * buses, [0] * buses
        self._left = max(1, most_work // buses)
        self.base_holds = True
        """False: :meth:`admit_all` met broken limits, and without any trade they are broken too."""
        self._bounds: Bounds | None = None
        self._full: set[tuple[int, int]] = set()
        """Pairs of buses that cannot take a Wh more, until something else is taken."""

    @property
    def exhausted(self) -> bool:
        """No flow is solved any more."""
        return self._left <= 0

    def flow(self) -> Flow | None:
        """Of what has been taken so far, base loads included."""
        return self._feeder.solve(*self._powers(self._sold, self._bought))

    def fits(self, deals: Sequence[Deal] = ()) -> bool:
        """Whether the grid carries these together with what has been taken."""
        known = self._feeder.position
        if any(deal.seller_bus not in known or deal.buyer_bus not in known for deal in deals):
            return False
        if self._left <= 0:
            return False
        self._left -= 1
        sold, bought = self._sold.copy(), self._bought.copy()
        self._add(sold, bought, deals)
        return self._feeder.holds(*self._powers(sold, bought), self._bounds)

    def admit_all(self, deals: Sequence[Deal]) -> list[Wh]:
        """Take of these, in order, what holds; of each the quantity taken."""
        if self.fits(deals) or (not self._bear_with_base() and self.fits(deals)):
            self._take(deals)
            return [deal.quantity_wh for deal in deals]
        taken: list[Wh] = []
        while len(taken) < len(deals):
            rest = deals[len(taken) :]
            together = self._how_many(rest)
            self._take(rest[:together])
            taken += [deal.quantity_wh for deal in rest[:together]]
            if together < len(rest):
                taken.append(self._cut(rest[together]))
        return taken

    def _bear_with_base(self) -> bool:
        """Whether limits hold without any trade; else ask from now on that none gets worse."""
        self.base_holds = self.fits()
        if not self.base_holds and (flow := self.flow()) is not None:
            self._bounds = self._feeder.bounds_not_worse(flow)
        return self.base_holds

    def admit(self, deal: Deal) -> Wh:
        """Take as much of this as holds; the quantity taken."""
        if (deal.seller_bus, deal.buyer_bus) in self._full:
            return 0
        if self.fits([deal]):
            self._take([deal])
            return deal.quantity_wh
        return self._cut(deal)

    def _how_many(self, deals: Sequence[Deal]) -> int:
        """So many of the first hold together; one more does not."""
        if deals and (deals[0].seller_bus, deals[0].buyer_bus) in self._full:
            return 0
        holds, step = 0, 1
        while holds < len(deals):
            step = min(step, len(deals))
            if not self.fits(deals[:step]):
                break
            holds, step = step, 2 * step
        else:
            return holds
        while step - holds > 1:
            middle = (holds + step) // 2
            if self.fits(deals[:middle]):
                holds = middle
            else:
                step = middle
        return holds

    def _cut(self, deal: Deal) -> Wh:
        """Take the largest part of what does not hold as a whole."""
        pair = (deal.seller_bus, deal.buyer_bus)
        if pair in self._full:
            return 0
        holds = 0
        if deal.quantity_wh > 1 and self.fits([deal._replace(quantity_wh=1)]):
            holds, fails = 1, deal.quantity_wh
            while fails - holds > 1:
                middle = (holds + fails) // 2
                if self.fits([deal._replace(quantity_wh=middle)]):
                    holds = middle
                else:
                    fails = middle
            self._take([deal._replace(quantity_wh=holds)])
        self._full.add(pair)
        return holds

    def _take(self, deals: Sequence[Deal]) -> None:
        if deals:
            self._add(self._sold, self._bought, deals)
            self._full.clear()

    def _add(self, sold: list[Wh], bought: list[Wh], deals: Sequence[Deal]) -> None:
        position = self._feeder.position
        for deal in deals:
            sold[position[deal.seller_bus]] += deal.quantity_wh
            bought[position[deal.buyer_bus]] += deal.quantity_wh

    def _powers(self, sold: Sequence[Wh], bought: Sequence[Wh]) -> tuple[list[int], list[int]]:
        """What each bus takes, mW and mvar: its load, base load, and trades over the slot."""
        minutes, reactive = self._minutes, self._feeder.grid.reactive_ppm
        p_mw: list[int] = []
        q_mvar: list[int] = []
        for bus, base, given, got in zip(
            self._feeder.grid.buses, self._base, sold, bought, strict=True
        ):
            net = (base + got - given) * _MINUTES_TO_MILLI_HOURS
            p_mw.append(bus.load_w * 1_000 + div_half_even(net, minutes))
            drawn = got * _MINUTES_TO_MILLI_HOURS * reactive
            q_mvar.append(bus.load_var * 1_000 + div_half_even(drawn, minutes * PPM))
        return p_mw, q_mvar
