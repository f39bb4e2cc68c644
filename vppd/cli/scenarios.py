"""Plants of the papers as configurations: ``vppd testnet --scenario``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

import msgspec

from vppd.cli.testnet import Seat, scaled_market
from vppd.config.genesis import MarketRulesSection
from vppd.errors import Exit, UserError
from vppd.types import Micro, Role


class Scenario(NamedTuple):
    """What a plant is founded with, beyond its keys."""

    name: str
    seats: tuple[Seat, ...]
    market: MarketRulesSection
    balance: Micro
    """Each account's at the start."""
    sites: Mapping[str, str]
    """site.toml of a node, by its name."""


def scenario_named(text: str, slot_ms: int) -> Scenario:
    """A scenario that comes with vppd.

    Args:
        text: its name.
        slot_ms: chain time per slot.

    Raises:
        UserError: E551, there is none of that name.
    """
    if text == "p3":
        return p3(slot_ms)
    raise UserError(
        "E551",
        f"there is no scenario {text!r}",
        facts={"scenarios": "p3"},
        hint="vppd testnet --scenario p3 --out plant",
        exit_code=Exit.USAGE,
    )


def p3(slot_ms: int) -> Scenario:
    """The case study of P3 (§4.1): eight nodes that all vote, hours of market time, its tariffs.

    Six aggregators, the plant's operator (VPPO) and the grid company. The last two are operators:
    each can lead, and neither has a meter. Credits are those of its Tables 2 and 3; a bus is the
    aggregator's region. The two auctions it prints run under the rules ``paper003``.
    """
    credits = (846_000, 724_000, 965_000, 782_000, 829_000, 706_000)
    aggregators = [
        Seat(f"agg-{number}", Role.DER, credit, bus=number)
        for number, credit in enumerate(credits, start=1)
    ]
    folder = resources.files("vppd.agent").joinpath("data", "p3")
    return Scenario(
        name="p3",
        seats=(Seat("vppo", Role.OPERATOR), Seat("grid", Role.OPERATOR), *aggregators),
        market=msgspec.structs.replace(scaled_market(slot_ms, 60), rules="paper003"),
        balance=20_000_000_000,
        sites={
            seat.name: folder.joinpath(f"{seat.name}.toml").read_text(encoding="utf-8")
            for seat in aggregators
        },
    )
