"""Who sends what, and when: a season as a sequence of moments."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from random import Random
from typing import NamedTuple

from vppd.bench.season.plan import Cast, SeasonPlan
from vppd.crypto import SigningKey
from vppd.day.profiles import HOURS_PER_DAY, Kind, load_profiles
from vppd.day.strategy import chance, deliver, forecast, quote
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.transaction import Op, PlaceOrder, Reading
from vppd.market.auction import Side
from vppd.market.tariff import tariff_for
from vppd.types import PPM, Slot, TimeMs, Wh

LEAD_MS = 60_000
"""Before gate closure orders are sent, and after the end of a slot readings."""
LATE_MS = 7_200_000
"""After its slot has settled a late reading is sent, and a correction."""


class Act(IntEnum):
    """What a moment is for."""

    ORDERS = 0
    GATE_CLOSURE = 1
    READINGS = 2
    SETTLEMENT = 3
    LATE_READINGS = 4
    CLOSING = 5


class Moment(NamedTuple):
    """Something to do at one block time."""

    time_ms: TimeMs
    act: Act
    slot: Slot


class Send(NamedTuple):
    """One transaction to be."""

    key: SigningKey
    ops: tuple[Op, ...]


class Player:
    """One member: a home's load or a roof's generation, some factor of a metered one.

    Args:
        number: of the member.
        plan: the season.
        wh: of each hour of a day, at the home it is taken from.
        side: whether it buys or sells.
    """

    def __init__(self, number: int, plan: SeasonPlan, wh: tuple[Wh, ...], side: Side) -> None:
        rng = chance(plan.seed, "member", number)
        self._factor = rng.randrange(300_000, 3_000_000)
        self._plan = plan
        self._number = number
        self._wh = wh
        self.side = side
        self._register = 0

    def expected(self, slot: Slot) -> Wh:
        """What the profile says of ``slot``."""
        minutes = slot * self._plan.slot_minutes % 1_440
        hour = self._wh[minutes // 60 % HOURS_PER_DAY]
        return hour * self._factor * self._plan.slot_minutes // (60 * PPM)

    def rng(self, slot: Slot) -> Random:
        """Its own chance in ``slot``."""
        return chance(self._plan.seed, self._number, slot)

    def step(self, slot: Slot) -> tuple[Wh, Wh]:
        """The slot is delivered.

        Returns:
            Its energy, and the register at its end.
        """
        energy = deliver(self.expected(slot), self.rng(slot))
        self._register += energy
        return energy, self._register


class Script:
    """The whole season, moment by moment.

    Args:
        plan: what to play.
        cast: who plays.
    """

    def __init__(self, plan: SeasonPlan, cast: Cast) -> None:
        self._plan = plan
        self._cast = cast
        self._market = cast.genesis.market
        profiles = load_profiles()
        loads, plants = profiles.of(Kind.LOAD), profiles.of(Kind.PV)
        self._players = tuple(
            Player(i, plan, loads[i // 2 % len(loads)].wh, Side.BID)
            if i % 2 == 0
            else Player(i, plan, plants[i // 2 % len(plants)].wh, Side.OFFER)
            for i in range(plan.members)
        )
        self._late: dict[Slot, list[Send]] = {}

    def moments(self) -> Iterator[Moment]:
        """In order of time, until the last slot has closed."""
        market, last = self._market, self._plan.slots - 1
        found = []
        for slot in range(self._plan.slots):
            gate = due_ms(market, slot, Phase.GATE_CLOSED)
            settled = due_ms(market, slot, Phase.SETTLED)
            found += [
                Moment(gate - LEAD_MS, Act.ORDERS, slot),
                Moment(gate, Act.GATE_CLOSURE, slot),
                Moment(due_ms(market, slot, Phase.METERED) + LEAD_MS, Act.READINGS, slot),
                Moment(settled, Act.SETTLEMENT, slot),
                Moment(settled + LATE_MS, Act.LATE_READINGS, slot),
            ]
        found.append(Moment(due_ms(market, last, Phase.CLOSED), Act.CLOSING, last))
        return iter(sorted(found))

    def sends(self, moment: Moment) -> list[Send]:
        """What members send at a moment; each moment is asked for once, in order."""
        match moment.act:
            case Act.ORDERS:
                return self._orders(moment.slot)
            case Act.READINGS:
                return self._readings(moment.slot)
            case Act.LATE_READINGS:
                return self._late.pop(moment.slot, [])
            case _:
                return []

    def _orders(self, slot: Slot) -> list[Send]:
        tariff = tariff_for(self._market, slot)
        sends = []
        for key, player in zip(self._cast.members, self._players, strict=True):
            rng = player.rng(slot)
            quantity = forecast((player.expected(slot),), 0, rng)
            if quantity:
                price, reserve = quote(player.side, tariff.retail_price, tariff.feed_in_price, rng)
                op = PlaceOrder(slot, player.side, quantity, price, reserve, 0)
                sends.append(Send(key, (op,)))
        return sends

    def _readings(self, slot: Slot) -> list[Send]:
        plan, now, late = self._plan, [], []
        for i, (meter, player) in enumerate(zip(self._cast.meters, self._players, strict=True)):
            energy, register = player.step(slot)
            luck = chance(plan.seed, "reading", i, slot).randrange(PPM)
            if luck < plan.missing_ppm:
                continue
            true = Send(meter, (_reading(player.side, slot, register),))
            luck -= plan.missing_ppm
            if luck < plan.late_ppm:
                late.append(true)
            elif luck - plan.late_ppm < plan.corrected_ppm and energy > 1:
                now.append(Send(meter, (_reading(player.side, slot, register - energy // 2),)))
                late.append(true)
            else:
                now.append(true)
        if late:
            self._late[slot] = late
        return now


def _reading(side: Side, slot: Slot, register: Wh) -> Reading:
    return Reading(slot, register, 0) if side is Side.BID else Reading(slot, 0, register)
