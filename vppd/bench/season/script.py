"""Who sends what, and when: a season as a sequence of moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from random import Random
from typing import NamedTuple

from vppd.bench.season.plan import OPENING, Cast, SeasonPlan, key_of
from vppd.crypto import SigningKey
from vppd.day.profiles import HOURS_PER_DAY, Kind, load_profiles
from vppd.day.strategy import chance, deliver, forecast, quote
from vppd.ledger.order_ops import CancelOrder
from vppd.ledger.registration.ops import RegisterMember, RegisterMeter, SetStanding
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.transaction import Op, PlaceOrder, Reading, ReplaceMeter, Transfer
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
    REPLACEMENTS = 1
    GATE_CLOSURE = 2
    CHURN = 3
    READINGS = 4
    SETTLEMENT = 5
    LATE_READINGS = 6
    CLOSING = 7


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
        first_slot: from which on it is there.
    """

    def __init__(
        self, number: int, plan: SeasonPlan, wh: Sequence[Wh], side: Side, first_slot: Slot
    ) -> None:
        rng = chance(plan.seed, "member", number)
        self.number = number
        self.key = key_of("member", number)
        self.meter = key_of("meter", number)
        self.side = side
        self.first_slot = first_slot
        self.orders = True
        """False: suspended."""
        self._factor = rng.randrange(300_000, 3_000_000)
        self._plan = plan
        self._wh = wh
        self._register = 0
        self._meters = 1

    def expected(self, slot: Slot) -> Wh:
        """What the profile says of ``slot``."""
        minutes = slot * self._plan.slot_minutes % 1_440
        hour = self._wh[minutes // 60 % HOURS_PER_DAY]
        return hour * self._factor * self._plan.slot_minutes // (60 * PPM)

    def rng(self, slot: Slot) -> Random:
        """Its own chance in ``slot``."""
        return chance(self._plan.seed, self.number, slot)

    def step(self, slot: Slot) -> Wh:
        """The slot is delivered; its energy."""
        energy = deliver(self.expected(slot), self.rng(slot))
        self._register += energy
        return energy

    def reading(self, slot: Slot, less: Wh = 0) -> Send:
        """What its meter shows, or ``less`` of it."""
        return Send(self.meter, (Reading(slot, *self._face(self._register - less)),))

    def replace_meter(self, slot: Slot) -> ReplaceMeter:
        """Another meter, which begins at 0 as the slot begins."""
        old = self.meter.public_key
        self.meter = key_of(f"meter-{self._meters}", self.number)
        self._meters += 1
        final, self._register = self._face(self._register), 0
        return ReplaceMeter(old, self.meter.public_key, slot, *final, 0, 0, 0)

    def _face(self, register: Wh) -> tuple[Wh, Wh]:
        return (register, 0) if self.side is Side.BID else (0, register)


class Script:
    """The whole season, moment by moment.

    Args:
        plan: what to play.
        cast: who plays at first.
    """

    def __init__(self, plan: SeasonPlan, cast: Cast) -> None:
        self._plan = plan
        self._cast = cast
        self._market = cast.genesis.market
        profiles = load_profiles()
        self._profiles = (profiles.of(Kind.LOAD), profiles.of(Kind.PV))
        self._players = [self._player(i, 0) for i in range(plan.members)]
        self._late: dict[Slot, list[Send]] = {}
        self._placed: dict[Slot, list[tuple[Send, int]]] = {}
        """Orders to be cancelled and placed anew, with their numbers."""

    def _player(self, number: int, first_slot: Slot) -> Player:
        columns = self._profiles[number % 2]
        side = Side.OFFER if number % 2 else Side.BID
        wh = columns[number // 2 % len(columns)].wh
        return Player(number, self._plan, wh, side, first_slot)

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
            if self._plan.replaced_ppm:
                found.append(Moment(gate - LEAD_MS // 2, Act.REPLACEMENTS, slot))
            if self._plan.churn and slot % self._plan.slots_per_day == 1:
                found.append(Moment(market.slot_start(slot) + 2 * LEAD_MS, Act.CHURN, slot))
        found.append(Moment(due_ms(market, last, Phase.CLOSED), Act.CLOSING, last))
        return iter(sorted(found))

    def sends(self, moment: Moment) -> list[Send]:
        """What members send at a moment; each moment is asked for once, in order."""
        slot = moment.slot
        match moment.act:
            case Act.ORDERS:
                return [send for player in self._players for send in self._order(player, slot)]
            case Act.REPLACEMENTS:
                return [
                    Send(send.key, (CancelOrder(slot, seq), *send.ops))
                    for send, seq in self._placed.pop(slot, ())
                ]
            case Act.CHURN:
                return self._churn(slot)
            case Act.READINGS:
                return self._readings(slot)
            case Act.LATE_READINGS:
                return self._late.pop(slot, [])
            case _:
                return []

    def heard(self, moment: Moment, sends: Sequence[Send], seqs: Sequence[int | None]) -> None:
        """Numbers of the orders that were just placed; ``None``: it was not."""
        if moment.act is Act.ORDERS and self._plan.replaced_ppm:
            rng = chance(self._plan.seed, "replaced", moment.slot)
            placed = self._placed.setdefault(moment.slot, [])
            for send, seq in zip(sends, seqs, strict=True):
                if seq is not None and rng.randrange(PPM) < self._plan.replaced_ppm:
                    placed.append((send, seq))

    def _order(self, player: Player, slot: Slot) -> Iterator[Send]:
        rng = player.rng(slot)
        quantity = forecast((player.expected(slot),), 0, rng)
        if quantity and player.orders and slot >= player.first_slot:
            tariff = tariff_for(self._market, slot)
            price, reserve = quote(player.side, tariff.retail_price, tariff.feed_in_price, rng)
            yield Send(player.key, (PlaceOrder(slot, player.side, quantity, price, reserve, 0),))

    def _churn(self, slot: Slot) -> list[Send]:
        """Some come, some are suspended, some get another meter; the operator signs for all."""
        plan, operator = self._plan, self._cast.validator
        rng = chance(plan.seed, "churn", slot)
        there = [player for player in self._players if player.orders and player.first_slot <= slot]
        chosen = rng.sample(there, min(len(there), 2 * plan.churn))
        sends = []
        for player in chosen[: plan.churn]:
            player.orders = False
            gone = SetStanding(player.key.public_key, 1, "moved away")
            sends.append(Send(operator, (gone,)))
        for player in chosen[plan.churn :]:
            self._forget_late(player.meter)
            sends.append(Send(operator, (player.replace_meter(slot),)))
        for _ in range(plan.churn):
            player = self._player(len(self._players), slot + 2)
            self._players.append(player)
            key, name = player.key.public_key, f"newcomer-{player.number}"
            joins = (
                RegisterMember(key, name, 0, None),
                RegisterMeter(player.meter.public_key, key, slot + 2, 0, 0),
                Transfer(key, OPENING),
            )
            sends.append(Send(operator, joins))
        return sends

    def _forget_late(self, meter: SigningKey) -> None:
        """Nobody can sign any more what a meter that is gone has shown."""
        for slot, sends in self._late.items():
            self._late[slot] = [send for send in sends if send.key is not meter]

    def _readings(self, slot: Slot) -> list[Send]:
        plan, now, late = self._plan, [], []
        for player in self._players:
            if slot < player.first_slot:
                continue
            energy = player.step(slot)
            luck = chance(plan.seed, "reading", player.number, slot).randrange(PPM)
            if luck < plan.missing_ppm:
                continue
            true = player.reading(slot)
            luck -= plan.missing_ppm
            if luck < plan.late_ppm:
                late.append(true)
            elif luck - plan.late_ppm < plan.corrected_ppm and energy > 1:
                now.append(player.reading(slot, less=energy // 2))
                late.append(true)
            else:
                now.append(true)
        if late:
            self._late[slot] = late
        return now
