"""The audit works fees and rewards out again, and notices what is wrong with them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.day.audited import (
    Day,
    Edit,
    adding,
    changing,
    doubled,
    dropped,
    edited,
    number_of,
    plant,
    play_on,
)
from vppd.config.billing import FeeRules
from vppd.ledger.events import Event, FeesCharged, Posted, Reason

FEES = FeeRules(grid_fee=80_001, levy=10_003, block_reward=77)
PLANT = replace(plant(), market=replace(plant().market, fees=FEES))


@pytest.fixture(scope="module")
def day() -> Day:
    return play_on(PLANT)


def test_a_day_with_fees_has_nothing_wrong(day: Day) -> None:
    assert day.audit().findings == []


@pytest.mark.parametrize(
    ("kind", "wanted", "edit", "words"),
    [
        (FeesCharged, {}, dropped, "pays no fees"),
        (FeesCharged, {}, doubled, "without a settlement"),
        (FeesCharged, {}, adding("levy", 1), "the fees of"),
        (FeesCharged, {}, adding("net_wh", 1), "the net energy of"),
        (FeesCharged, {}, changing(version=7), "the version of the fees of"),
        (FeesCharged, {}, changing(levy_price=7), "the prices of the fees of"),
        (Posted, {"reason": Reason.LEVY}, dropped, "for LEVY, it must change by"),
        (Posted, {"reason": Reason.GRID_FEE}, doubled, "for GRID_FEE, it must change by"),
    ],
)
def test_what_is_wrong_is_found(
    day: Day, kind: type[Event], wanted: dict[str, int], edit: Edit, words: str
) -> None:
    found = edited(day, {number_of(day, kind, **wanted): edit})
    assert any(words in sentence for sentence in found), found
