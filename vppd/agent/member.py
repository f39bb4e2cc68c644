"""One member's day: forecast, plan, position, quotes, and what its meter then counts.

Pure and seeded, like everything an agent decides: given the same site, prices and history the same
agent decides the same again. The plan is made anew for every slot over the horizon ahead (P0, §2.1:
each DER fine-tunes its plans in the course of the day); only its first slot is ever carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vppd.agent.forecast import Forecaster
from vppd.agent.planning import Placed, make_plan
from vppd.agent.site import Clock, Site, Source
from vppd.assets.base import Flow
from vppd.day.strategy import chance, deliver
from vppd.market.auction import Side
from vppd.market.quotes import Position, Prices, Quote, Strategy, quotes_of
from vppd.types import PPM, Slot, Wh

KEPT_DAYS = 8
"""Of history: what persistence looks back at, and a day."""


class Decision(NamedTuple):
    """What a member does about one slot."""

    slot: Slot
    position: Position
    flows: tuple[tuple[str, Flow], ...]
    """Of each asset that was decided about, by name."""
    quotes: tuple[Quote, ...]
    ahead: tuple[Flow, ...]
    """What the meter should count in each slot of the horizon, this one first."""

    @property
    def side(self) -> Side | None:
        """Seller, buyer or neither."""
        return self.position.side

    @property
    def flow(self) -> Flow:
        """What the meter should count."""
        return self.ahead[0]


class Member:
    """A site, what is known of its past, and where its stores stand.

    Args:
        site: what is behind the meter.
        strategy: how it quotes.
        forecaster: of its loads and generators.
        seed: of its moods and deviations.
        levels: of its stores, by key, if it is not new; kept up to date here.
    """

    def __init__(
        self,
        site: Site,
        strategy: Strategy,
        forecaster: Forecaster,
        seed: int = 1,
        levels: Mapping[str, Wh] | None = None,
    ) -> None:
        self.site = site
        self.strategy = strategy
        self.levels: dict[str, Wh] = dict(levels or {})
        self._forecaster = forecaster
        self._seed = seed
        self._history: list[dict[Slot, Wh]] = [{} for _ in site.sources]
        self._decided: dict[Slot, Decision] = {}

    def decide(self, clock: Clock, slot: Slot, prices: Sequence[Prices]) -> Decision:
        """Plan from ``slot`` on and quote for it; the stores then stand where the plan says.

        Args:
            clock: the market's.
            slot: the first of the horizon; later than any decided before.
            prices: the grid's, of each slot of the horizon.

        Raises:
            UserError: E554 or E555, nothing can plan the site's assets.
            ValueError: prices out of order.
        """
        horizon = len(prices)
        sources = self._expected(clock, slot, horizon)
        movable = self.site.movable(clock, slot, horizon, self.levels)
        fixed = [Placed(source.asset(wh), 0) for source, wh in sources]
        plan = make_plan([*fixed, *movable.values()], prices)
        flows = [each[0] for each in plan.flows]
        self._stand(movable, [each[0] for each in plan.levels[len(sources) :]])
        position = Position(
            sum(flow.export_wh for flow in flows),
            sum(flow.import_wh for flow in flows),
        )
        limit = self.site.cost if position.side is Side.OFFER else self.site.utility
        position = position._replace(limit=limit)
        mood = chance(self._seed, str(self.site.file.parent.name), slot, "quote").randrange(PPM)
        decision = Decision(
            slot,
            position,
            tuple(zip(movable, flows[len(sources) :], strict=True)),
            quotes_of(self.strategy, position, prices[0], mood),
            tuple(Flow.of(plan.net_wh(ahead)) for ahead in range(horizon)),
        )
        self._decided[slot] = decision
        return decision

    def deliver(self, clock: Clock, slot: Slot) -> Flow:
        """What the meter counts in a slot that was decided: loads and generators deviate a little.

        Raises:
            KeyError: nothing was decided, or it was delivered already.
        """
        decision = self._decided.pop(slot)
        net = sum(flow.net_wh for _, flow in decision.flows)
        for source, past in zip(self.site.sources, self._history, strict=True):
            luck = chance(self._seed, source.name, slot, "delivery")
            past[slot] = deliver(source.energy(clock, slot), luck)
            net += -past[slot] if source.generates else past[slot]
            past.pop(slot - KEPT_DAYS * clock.slots_per_day, None)
        return Flow.of(net)

    def _expected(
        self, clock: Clock, slot: Slot, horizon: int
    ) -> list[tuple[Source, tuple[Wh, ...]]]:
        """What every load and generator is forecast to do.

        The day that site.toml gives stands for days before the agent came.
        """
        day = clock.slots_per_day
        expected = []
        for source, past in zip(self.site.sources, self._history, strict=True):
            seen = {s: source.energy(clock, s) for s in range(slot - day, slot)} | past
            wh = []
            for ahead in range(slot, slot + horizon):
                # Beyond a day, the forecast of the day before is the best past there is.
                seen[ahead] = max(0, self._forecaster.forecast(seen, ahead, day))
                wh.append(seen[ahead])
            expected.append((source, tuple(wh)))
        return expected

    def _stand(self, movable: Mapping[str, Placed], levels: Sequence[Wh]) -> None:
        known = {spec.name for spec in (*self.site.batteries, *self.site.vehicles)}
        self.levels = {key: wh for key, wh in self.levels.items() if key in known}
        self.levels |= dict(zip(movable, levels, strict=True))
