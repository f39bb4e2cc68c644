"""The published rules a second time: rounding, prices, due times, trees (market.md, §0 and §4).

Everything here is exact: :class:`~fractions.Fraction` until the one rounding, and Python's
``round`` of a fraction is half to even.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from typing import Final, NamedTuple

from vppd.config.genesis import MarketRules, MarketRulesSection, Tariff
from vppd.types import Digest, Micro, MicroPerKwh, Ppm, Slot, TimeMs, Wh

OFFER: Final = 0
BID: Final = 1
_DAY_MINUTES = 1_440


class Phase(IntEnum):
    """Where a slot stands, as :class:`~vppd.ledger.events.SlotAdvanced` numbers it."""

    OPEN = 1
    GATE_CLOSED = 2
    DELIVERING = 3
    METERED = 4
    SETTLED = 5
    CLOSED = 6


class RuleSet(NamedTuple):
    """What distinguishes the named auctions, as far as it shows in a trade."""

    continuous: bool
    """Orders trade as they arrive, not only at gate closure."""
    tolerance: MicroPerKwh
    """How far an offer's price may lie above the bid's."""
    seller_concedes: bool
    """In round 2 an offer stands at its reserve price."""
    buyer_concedes: bool
    midpoint: bool
    """A trade's price lies halfway, whatever the credits."""
    leans: bool
    """Round 2 leans towards the mean price of round 1 (P4)."""
    rounds: tuple[int, ...] = (1, 2)
    """Those that are held."""
    uniform: bool = False
    """One price for every trade of the slot."""


RULE_SETS: Final[dict[MarketRules, RuleSet]] = {
    "production": RuleSet(True, 0, True, True, False, False),
    "paper003": RuleSet(True, 2_000, False, True, False, False),
    "literal003": RuleSet(False, 0, True, True, False, False),
    "two-stage": RuleSet(False, 0, True, True, True, True),
    "uniform": RuleSet(False, 0, True, True, True, False, rounds=(2,), uniform=True),
    "cooperative": RuleSet(False, 0, True, True, False, False, rounds=()),
}


def amount(quantity_wh: Wh, price: MicroPerKwh) -> Micro:
    """What energy costs, rounded half to even (rule 3)."""
    return round(Fraction(quantity_wh * price, 1_000))


def set_aside(rules: RuleSet, quantity_wh: Wh, price: MicroPerKwh, reserve: MicroPerKwh) -> Micro:
    """What a bid must reserve: its quantity at the worst price it can meet, rounded up."""
    return math.ceil(Fraction(quantity_wh * (max(price, reserve) + rules.tolerance), 1_000))


def trade_price(
    rules: RuleSet,
    offer: MicroPerKwh,
    seller_credit: Ppm,
    bid: MicroPerKwh,
    buyer_credit: Ppm,
) -> MicroPerKwh:
    """The price between an offer and a bid, weighted by credit or halfway (rule 3)."""
    if rules.midpoint or seller_credit + buyer_credit == 0:
        return round(Fraction(offer + bid, 2))
    share = Fraction(seller_credit, seller_credit + buyer_credit)
    return round(share * bid + (1 - share) * offer)


def one_price(
    ask: MicroPerKwh,
    bid: MicroPerKwh,
    left_ask: MicroPerKwh | None,
    left_bid: MicroPerKwh | None,
) -> MicroPerKwh:
    """Where the curves of a uniform call cross.

    Args:
        ask: of the last offer that trades.
        bid: of the last bid that trades.
        left_ask: of the best offer that is left over, if one is.
        left_bid: of the best bid that is left over, if one is.
    """
    halfway = round(Fraction(ask + bid, 2))
    low = ask if left_bid is None else max(ask, left_bid)
    high = bid if left_ask is None else min(bid, left_ask)
    return sorted((low, halfway, high))[1]


def standing_price(
    rules: RuleSet,
    side: int,
    price: MicroPerKwh,
    reserve: MicroPerKwh,
    reference: MicroPerKwh | None,
) -> MicroPerKwh:
    """Where an order stands in round 2 (rules 5 and 7).

    Args:
        rules: of the chain.
        side: :data:`OFFER` or :data:`BID`.
        price: the order's own.
        reserve: the worst it accepts.
        reference: P4's ``Pa``, if the rules lean towards it.
    """
    if reference is not None:
        # Towards the reference, but not beyond the reserve and never away from the own price:
        # the middle one of the three.
        low, high = min(price, reserve), max(price, reserve)
        return min(max(reference, low), high)
    concedes = rules.seller_concedes if side == OFFER else rules.buyer_concedes
    return reserve if concedes else price


def reference_price(first_round: Sequence[MicroPerKwh], tariff: Tariff) -> MicroPerKwh:
    """P4's ``Pa``: mean price of round 1, or halfway between the grid's prices (rule 7)."""
    prices = first_round or (tariff.retail_price, tariff.feed_in_price)
    return round(Fraction(sum(prices), len(prices)))


def owed_to_grid(imbalance_wh: int, tariff: Tariff) -> Micro:
    """What a member owes the grid for an imbalance: an excess is bought, a shortage is sold."""
    if imbalance_wh > 0:
        return -amount(imbalance_wh, tariff.feed_in_price)
    return amount(-imbalance_wh, tariff.retail_price)


class Calendar:
    """Due times and tariffs of slots.

    Args:
        market: the genesis section that fixes them.
    """

    def __init__(self, market: MarketRulesSection) -> None:
        self._market = market
        settled = market.slot_ms + market.metering_ms
        self._after_start = {
            Phase.OPEN: -market.open_lead_ms,
            Phase.GATE_CLOSED: -market.gate_lead_ms,
            Phase.DELIVERING: 0,
            Phase.METERED: market.slot_ms,
            Phase.SETTLED: settled,
            Phase.CLOSED: settled + market.dispute_slots * market.slot_ms,
        }
        self._day: dict[int, Tariff] = {}
        for tariff in market.tariffs:
            length = (tariff.end_minute - tariff.start_minute) % _DAY_MINUTES or _DAY_MINUTES
            for minute in range(tariff.start_minute, tariff.start_minute + length):
                self._day[minute % _DAY_MINUTES] = tariff

    def due_ms(self, slot: Slot, phase: Phase) -> TimeMs:
        """Block time from which ``slot`` is in ``phase``."""
        market = self._market
        return market.origin_ms + slot * market.slot_ms + self._after_start[phase]

    def phase(self, slot: Slot, time_ms: TimeMs) -> Phase | None:
        """Where ``slot`` stands at a block time; ``None``: before it opens."""
        reached = [phase for phase in Phase if self.due_ms(slot, phase) <= time_ms]
        return max(reached, default=None)

    def tariff(self, slot: Slot) -> Tariff:
        """The grid's prices at the market time at which ``slot`` starts."""
        market = self._market
        minutes = market.market_offset_minutes + slot * market.market_slot_minutes
        start_ms = market.origin_ms + slot * market.slot_ms
        offsets = [c.offset_minutes for c in market.clock if c.from_ms <= start_ms]
        minutes += offsets[-1] if offsets else 0
        return self._day[minutes % _DAY_MINUTES]


def tree_root(leaves: Sequence[bytes]) -> Digest:
    """Merkle tree hash by the recursion of RFC 6962, §2.1."""
    count = len(leaves)
    if count == 0:
        return hashlib.sha256().digest()
    if count == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (count - 1).bit_length() - 1
    left, right = tree_root(leaves[:split]), tree_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()
