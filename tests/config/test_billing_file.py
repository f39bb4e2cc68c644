"""The tables of bills in genesis.toml: read as written, written as read, faults placed."""

from __future__ import annotations

import pytest

from tests.config.plant import GENESIS, TARIFFS, genesis
from vppd.config.billing import CreditRules, FeeRules, ReviewRules
from vppd.config.clock import ClockChange
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.errors import ConfigError

TABLES = """
[market.fees]
grid_fee = "0.08"
levy = "0.01"
block_reward = "0.0005"
[market.credit]
rule = "level"
delivery_weight = 500000
metering_weight = 350000
electable = "BB"
[market.review]
daily = true
[[market.clock]]
from = "1970-01-01T00:00Z"
offset_minutes = 60
[[market.clock]]
from = "2027-03-28T01:00Z"
offset_minutes = 120
"""
WITH = GENESIS.replace(TARIFFS, TABLES + TARIFFS)


def test_what_is_written_is_read() -> None:
    market = genesis(WITH).market
    assert market.fees == FeeRules(grid_fee=80_000, levy=10_000, block_reward=500)
    assert market.credit == CreditRules(
        rule="level", delivery_weight=500_000, metering_weight=350_000, electable="BB"
    )
    assert market.review == ReviewRules(daily=True)
    assert market.clock == (
        ClockChange(from_ms=0, offset_minutes=60),
        ClockChange(from_ms=1_806_195_600_000, offset_minutes=120),
    )


def test_left_out_they_say_nothing() -> None:
    market = genesis(GENESIS).market
    assert (market.fees, market.credit, market.review, market.clock) == (
        FeeRules(),
        CreditRules(),
        ReviewRules(),
        (),
    )


@pytest.mark.parametrize("text", [GENESIS, WITH])
def test_what_is_read_is_written(text: str) -> None:
    made = genesis(text)
    again = render_genesis(
        name=made.name,
        consensus=made.consensus,
        market=made.market,
        validators=made.validators,
        accounts=made.accounts,
        meters=made.meters,
    )
    assert parse_genesis(again.encode()).market == made.market
    assert ("[market.fees]" in again) == (text == WITH)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('levy = "0.01"', 'levy = "-1"', "market.fees.levy"),
        ('levy = "0.01"', "levy = 0.01", "market.fees"),
        ('rule = "level"', 'rule = "lever"', "market.credit"),
        ('electable = "BB"', 'electable = "E"', "market.credit"),
        ('from = "2027-03-28T01:00Z"', 'from = "2027-03-28"', "market.clock[1].from"),
        ('from = "2027-03-28T01:00Z"', 'from = "1970-01-01T00:00Z"', "market.clock[1].from"),
        ("offset_minutes = 120", "offset_minutes = 900", "market.clock"),
    ],
)
def test_a_fault_is_refused_with_its_place(old: str, new: str, key: str) -> None:
    assert old in WITH
    with pytest.raises(ConfigError) as error:
        genesis(WITH.replace(old, new))
    assert key in "".join(error.value.facts.values())
