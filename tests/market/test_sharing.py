"""Benefit sharing: the game of netting, and the penalty for promises not kept (P1, §3.4)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.market.test_shapley import by_definition
from vppd.market.settlement import settle_imbalance
from vppd.market.sharing import (
    MOST_STEPS,
    grid_worth,
    penalties,
    pool,
    pool_error_bound,
    samples_for,
    shortfall,
)

RETAIL, FEED_IN = 860_000, 650_000
ENERGY = st.one_of(st.integers(-5, 5), st.integers(-(10**9), 10**9))
NETS = st.lists(ENERGY, max_size=6)
PRICES = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(sorted)


def share(nets: list[int], samples: int = 100) -> tuple[int, ...]:
    return pool(nets, RETAIL, FEED_IN, seed=b"s", samples=samples).shares


# What a coalition is worth


@given(ENERGY, PRICES)
def test_alone_a_member_is_worth_what_it_settles_for_without_trades(
    net: int, prices: list[int]
) -> None:
    feed_in, retail = prices
    settled = settle_imbalance(
        sold_wh=0,
        bought_wh=0,
        import_wh=max(0, -net),
        export_wh=max(0, net),
        retail_price=retail,
        feed_in_price=feed_in,
    )
    assert grid_worth(net, retail, feed_in) == -settled.amount


def test_a_surplus_and_a_need_gain_the_spread_between_the_grid_s_prices() -> None:
    # Alone +0.65 and −0.86; together nothing passes the grid. Each is due half the 0.21.
    result = pool([1_000, -1_000], RETAIL, FEED_IN, seed=b"", samples=1)
    assert result.worth == 0
    assert result.alone == (650_000, -860_000)
    assert result.gain == 210_000
    assert result.shares == (755_000, -755_000)
    assert result.samples == 0


def test_members_on_the_same_side_gain_nothing_from_each_other() -> None:
    result = pool([500, 700, 300], RETAIL, FEED_IN, seed=b"", samples=1)
    assert result.gain == 0
    assert result.shares == result.alone


@given(NETS, PRICES)
def test_the_shares_are_the_definition_s_rounded_by_less_than_a_micro(
    nets: list[int], prices: list[int]
) -> None:
    feed_in, retail = prices
    values = [
        grid_worth(sum(e for i, e in enumerate(nets) if mask >> i & 1), retail, feed_in)
        for mask in range(2 ** len(nets))
    ]
    result = pool(nets, retail, feed_in, seed=b"", samples=1)
    assert sum(result.shares) == result.worth == values[-1]
    exactly = by_definition(values)
    assert all(abs(s - e) < 1 for s, e in zip(result.shares, exactly, strict=True))


@pytest.mark.parametrize("most", [6, 20])
@given(data=st.data())
def test_nobody_is_worse_off_than_alone_but_by_roundings(most: int, data: st.DataObject) -> None:
    nets = data.draw(st.lists(ENERGY, min_size=most - 3, max_size=most))
    result = pool(nets, RETAIL, FEED_IN, seed=b"s", samples=20)
    assert sum(result.shares) == result.worth
    assert result.gain >= -len(nets)
    assert all(s >= a - 3 for s, a in zip(result.shares, result.alone, strict=True))


def test_a_member_without_energy_gets_nothing_and_changes_nothing() -> None:
    assert share([800, 0, -300]) == (share([800, -300])[0], 0, share([800, -300])[1])


# Sampling


def test_thirteen_members_are_sampled_and_keep_within_the_bound() -> None:
    nets = [(-1) ** i * 137 * i for i in range(1, 14)]
    near = pool(nets, RETAIL, FEED_IN, seed=b"near", samples=15_000)
    rough = pool(nets, RETAIL, FEED_IN, seed=b"rough", samples=400)
    assert (near.samples, rough.samples) == (15_000, 400)
    for net, a, b in zip(nets, near.shares, rough.shares, strict=True):
        slack = pool_error_bound(net, RETAIL, FEED_IN, 15_000)
        assert abs(a - b) <= pool_error_bound(net, RETAIL, FEED_IN, 400) + slack


def test_the_same_seed_gives_the_same_shares_and_another_one_others() -> None:
    nets = list(range(-7, 7))
    assert share(nets) == share(nets)
    assert share(nets) != pool(nets, RETAIL, FEED_IN, seed=b"t", samples=100).shares


def test_an_exact_share_has_no_error() -> None:
    assert pool_error_bound(5_000, RETAIL, FEED_IN, 0) == 0
    assert pool_error_bound(5_000, RETAIL, FEED_IN, 1) > 5 * (RETAIL - FEED_IN)


def test_samples_shrink_so_that_a_slot_has_a_bounded_cost() -> None:
    assert samples_for(20, 1_000) == 1_000
    assert samples_for(1_000, 1_000) == MOST_STEPS // 1_000
    assert samples_for(10 * MOST_STEPS, 1_000) == 1


@pytest.mark.parametrize("members", [12, 20])
def test_what_a_slot_is_worth_is_shared_to_the_micro(members: int) -> None:
    nets = [(-1) ** i * 1_234 * i for i in range(members)]
    result = pool(nets, RETAIL, FEED_IN, seed=b"s", samples=1_000)
    assert sum(result.shares) == result.worth


# The deviation penalty


@given(
    st.lists(st.tuples(ENERGY, ENERGY), max_size=8),
    st.integers(0, 10**6),
    st.integers(0, 1_000_000),
)
def test_penalties_sum_to_zero(pairs: list[tuple[int, int]], price: int, tolerance: int) -> None:
    promised, delivered = [a for a, _ in pairs], [b for _, b in pairs]
    assert sum(penalties(promised, delivered, price, tolerance)) == 0


@given(st.lists(st.tuples(ENERGY, ENERGY), min_size=2, max_size=8), st.integers(0, 10**6))
def test_each_pays_its_own_and_gets_an_equal_part_of_the_others(
    pairs: list[tuple[int, int]], price: int
) -> None:
    promised, delivered = [a for a, _ in pairs], [b for _, b in pairs]
    paid = [round(Fraction(max(0, a - b) * price, 1_000)) for a, b in pairs]
    outcome = penalties(promised, delivered, price)
    for own, net in zip(paid, outcome, strict=True):
        assert abs(net - (Fraction(sum(paid) - own, len(pairs) - 1) - own)) < 1


def test_who_keeps_its_promise_pays_nothing_and_more_than_promised_is_no_deviation() -> None:
    assert penalties([1_000, 500, 0], [1_000, 900, 50], 200_000) == (0, 0, 0)


def test_who_falls_short_pays_the_others_equally() -> None:
    assert penalties([1_000, 500, 0], [400, 500, 0], 200_000) == (-120_000, 60_000, 60_000)


def test_who_takes_more_than_it_said_falls_short_as_well() -> None:
    assert penalties([-100, 300], [-150, 300], 1_000_000) == (-50_000, 50_000)


def test_a_shortfall_counts_beyond_the_tolerance() -> None:
    assert shortfall(1_000, 980, 20_000) == 0
    assert shortfall(1_000, 979, 20_000) == 1
    assert shortfall(-1_000, -1_021, 20_000) == 1
    assert shortfall(49, 48, 20_000) == 1  # the tolerance is rounded down


@pytest.mark.parametrize("members", [0, 1])
def test_alone_nobody_is_there_to_be_paid(members: int) -> None:
    assert penalties([100] * members, [0] * members, 1_000) == (0,) * members


def test_each_promise_has_a_delivery() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        penalties([1, 2], [1], 1)
