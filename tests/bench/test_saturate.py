"""The search for the knee, on a plant that is a formula."""

from __future__ import annotations

import pytest

from tests.bench.made import summary
from vppd.bench.saturate import MOST_TRIES, find_knee, keeps_up, knee
from vppd.bench.summary import Summary


class Formula:
    """Keeps up to ``capacity``; beyond it, goodput stays there."""

    def __init__(self, capacity: float, slow_from: float = 1e9) -> None:
        self.capacity = capacity
        self.slow_from = slow_from
        self.rates: list[float] = []

    async def __call__(self, rate: float) -> tuple[Summary, float]:
        self.rates.append(rate)
        p99 = 2_000.0 if rate > self.slow_from else 9.0
        latency = {**summary().latency_ms, "p99": p99}
        goodput = min(rate, self.capacity)
        return summary(rate=rate, goodput_tx_s=goodput, latency_ms=latency), rate


@pytest.mark.parametrize("capacity", [3.0, 70.0, 499.0, 500.0, 777.0, 5_432.0, 123_456.0])
async def test_the_knee_is_found_from_below_and_from_above(capacity: float) -> None:
    plant = Formula(capacity)
    found = knee(await find_knee(500, 1_000, plant)) or 0.0
    if capacity < 500 / 64:
        assert found == 0.0
        return
    assert 0.94 * capacity <= found <= capacity / 0.98
    assert len(plant.rates) <= MOST_TRIES


async def test_latency_alone_can_be_the_knee() -> None:
    found = knee(await find_knee(500, 1_000, Formula(1e9, slow_from=3_000))) or 0.0
    assert 2_800 <= found <= 3_000


async def test_a_plant_that_never_falls_behind_ends_the_search_all_the_same() -> None:
    tries = await find_knee(500, 1_000, Formula(float("inf")))
    assert len(tries) == MOST_TRIES


def test_what_keeping_up_is() -> None:
    good = summary(rate=100.0, goodput_tx_s=98.0)
    assert keeps_up(good, 100.0, 9.0)
    assert keeps_up(summary(rate=100.0, goodput_tx_s=90.0), 91.0, 9.0), "fewer were due"
    assert not keeps_up(summary(goodput_tx_s=97.9), 100.0, 9.0)
    assert not keeps_up(good, 100.0, 8.9)
    assert not keeps_up(summary(goodput_tx_s=100.0, dropped=1), 100.0, 9.0)
    assert not keeps_up(summary(goodput_tx_s=100.0, timeouts=1), 100.0, 9.0)
    wrong = summary(goodput_tx_s=100.0, valid=False, invalid_reasons=("a fork",))
    assert not keeps_up(wrong, 100.0, 9.0)
    nothing = dict.fromkeys(summary().latency_ms)
    assert not keeps_up(summary(latency_ms=nothing), 100.0, 9.0)
