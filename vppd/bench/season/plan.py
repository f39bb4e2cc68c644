"""What season to play: how many members and slots, and what goes wrong with their meters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.cli.testnet import table_1_tariffs
from vppd.config.billing import CreditRules, FeeRules, ReviewRules
from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Genesis,
    MarketRules,
    MarketRulesSection,
    MeterEntry,
    ValidatorEntry,
)
from vppd.crypto import SigningKey, sha256
from vppd.errors import Exit, UserError
from vppd.types import PPM, Micro, Role, TimeMs

ORIGIN_MS: TimeMs = 1_767_225_600_000
"""Slot 0 begins with 2026, a Thursday."""
MINUTES_PER_DAY = 1_440
OPENING: Micro = 200_000_000
"""Of each member; below it a bid may fail, as in a market."""
TREASURY: Micro = 10**12
"""Of the operator, who gives newcomers what members have at the opening."""
Share = Annotated[int, Meta(ge=0, le=PPM)]


class SeasonPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A season; the same plan gives the same chain, byte for byte."""

    members: int = 1_000
    slots: int = 96
    slot_minutes: int = 15
    seed: int = 1
    rules: MarketRules = "production"
    missing_ppm: Share = 0
    """Readings that never come."""
    late_ppm: Share = 0
    """Readings that come after their slot has settled."""
    corrected_ppm: Share = 0
    """Readings that are wrong at first and corrected after their slot has settled."""
    replaced_ppm: Share = 0
    """Orders that are cancelled and placed anew before the gate closes."""
    churn: int = 0
    """Each day so many members come, with a meter and some money, as many are suspended, and as
    many have their meter replaced."""

    @property
    def slots_per_day(self) -> int:
        """Of market time."""
        return MINUTES_PER_DAY // self.slot_minutes


class Cast(msgspec.Struct, frozen=True):
    """Who plays: genesis and every secret key."""

    genesis: Genesis
    validator: SigningKey
    members: tuple[SigningKey, ...]
    meters: tuple[SigningKey, ...]


def check(plan: SeasonPlan) -> None:
    """Refuse what is no season.

    Raises:
        UserError: E501.
    """
    why = None
    if not 2 <= plan.members <= 100_000:
        why = "a market has 2 to 100,000 members"
    elif not 1 <= plan.slots <= 1_000_000:
        why = "a season has 1 to 1,000,000 slots"
    elif not 1 <= plan.slot_minutes <= 60 or MINUTES_PER_DAY % plan.slot_minutes:
        why = "a slot's minutes divide an hour: 5, 15, 30, 60"
    elif not 0 <= plan.churn <= plan.members // 2:
        why = "at most half of the members come and go in a day"
    elif plan.missing_ppm + plan.late_ppm + plan.corrected_ppm > PPM:
        why = "missing, late and corrected readings together are more than all"
    if why is not None:
        raise UserError("E501", "no season", facts={"why": why}, exit_code=Exit.USAGE)


def market_of(plan: SeasonPlan) -> MarketRulesSection:
    """Orders from an hour before delivery to five minutes before; readings within the next hour.

    Fees, credit and a review each day are on, so that they count in what is measured.
    """
    slot_ms = plan.slot_minutes * 60_000
    return MarketRulesSection(
        rules=plan.rules,
        origin_ms=ORIGIN_MS,
        slot_ms=slot_ms,
        market_slot_minutes=plan.slot_minutes,
        open_lead_ms=3_600_000,
        gate_lead_ms=300_000,
        metering_ms=3_600_000,
        dispute_slots=plan.slots_per_day,
        fees=FeeRules(grid_fee=20_000, levy=5_000, block_reward=1_000),
        credit=CreditRules(rule="level"),
        review=ReviewRules(daily=True),
        tariffs=table_1_tariffs(),
    )


def cast_of(plan: SeasonPlan) -> Cast:
    """One operator, and members with a meter each."""
    validator = key_of("operator", 0)
    members = tuple(key_of("member", i) for i in range(plan.members))
    meters = tuple(key_of("meter", i) for i in range(plan.members))
    names = [f"member-{i}" for i in range(plan.members)]
    genesis = Genesis(
        name="season",
        digest=sha256(msgspec.msgpack.encode(plan)),
        consensus=ConsensusRules(max_tx_lifetime=10_000_000),
        market=market_of(plan),
        validators=(ValidatorEntry(name="operator", role=Role.OPERATOR, key=validator.public_key),),
        accounts=(
            AccountEntry(name="operator", key=validator.public_key, balance=TREASURY),
            *_accounts(names, members),
        ),
        meters=tuple(
            MeterEntry(key=key.public_key, account=name)
            for key, name in zip(meters, names, strict=True)
        ),
    )
    return Cast(genesis, validator, members, meters)


def _accounts(names: Sequence[str], keys: Sequence[SigningKey]) -> tuple[AccountEntry, ...]:
    return tuple(
        AccountEntry(name=name, key=key.public_key, balance=OPENING)
        for name, key in zip(names, keys, strict=True)
    )


def key_of(what: str, number: int) -> SigningKey:
    """The key of somebody in the season; the same in every one."""
    return SigningKey(sha256(f"season/{what}/{number}".encode()))
