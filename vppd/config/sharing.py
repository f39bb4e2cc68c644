"""``[market.sharing]`` of genesis.toml: how a plant that bids as a whole shares what that gains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from vppd.config.reading import Reading
from vppd.config.values import format_decimal
from vppd.types import PPM, MicroPerKwh, Ppm

Seed = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{0,64}$")]
Samples = Annotated[int, Meta(ge=1, le=1_000_000)]
Tolerance = Annotated[Ppm, Meta(ge=0, le=PPM)]


class SharingRules(msgspec.Struct, frozen=True, kw_only=True):
    """``[market.sharing]``, in force where ``rules = "cooperative"`` (P1, §3.4)."""

    penalty_price: Annotated[MicroPerKwh, Meta(ge=0, lt=2**53)] = 0
    """What a member pays the others for each kWh it promised and did not deliver."""
    tolerance_ppm: Tolerance = 20_000
    """Part of a promise that may be missing for nothing; P3 (eq 5) takes 2 % for kept."""
    samples: Samples = 1_000
    """Orders of joining to average where more than 12 members share."""
    seed: Seed = ""
    """With chain and slot, what those orders are drawn from."""


_DEFAULT = SharingRules()


class SharingTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.sharing]`` as written."""

    penalty_price: str = format_decimal(_DEFAULT.penalty_price)
    tolerance_ppm: Tolerance = _DEFAULT.tolerance_ppm
    samples: Samples = _DEFAULT.samples
    seed: Seed = _DEFAULT.seed


def sharing_rules(say: Reading, table: SharingTable, max_price: MicroPerKwh) -> SharingRules:
    """The section as the ledger takes it.

    Raises:
        ConfigError: E103 or E110.
    """
    where = "market.sharing.penalty_price"
    price = say.decimal(table.penalty_price, where)
    say.ordered((where, price), ("market.max_price", max_price))
    return SharingRules(
        penalty_price=price,
        tolerance_ppm=table.tolerance_ppm,
        samples=table.samples,
        seed=table.seed,
    )


def sharing_lines(sharing: SharingRules) -> Iterator[str]:
    """``[market.sharing]`` as written; nothing for the defaults."""
    if sharing == _DEFAULT:
        return
    yield from ("", "[market.sharing]")
    yield f'penalty_price = "{format_decimal(sharing.penalty_price)}"'
    yield f"tolerance_ppm = {sharing.tolerance_ppm}"
    yield f"samples = {sharing.samples}"
    yield f'seed = "{sharing.seed}"'
