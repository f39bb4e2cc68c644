"""Metered against contracted energy, and the grid's price for the difference."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.config.genesis import Tariff
from vppd.market.settlement import Imbalance, grid_only_micro, settle_imbalance

RETAIL, FEED_IN = 860_000, 650_000
WH = st.integers(0, 10**9)


def settle(
    sold: int = 0, bought: int = 0, imported: int | None = 0, exported: int | None = 0
) -> Imbalance:
    return settle_imbalance(
        sold_wh=sold,
        bought_wh=bought,
        import_wh=imported,
        export_wh=exported,
        retail_price=RETAIL,
        feed_in_price=FEED_IN,
    )


@pytest.mark.parametrize(
    ("sold", "bought", "imported", "exported", "imbalance", "price", "amount"),
    [
        (1_000, 0, 0, 1_200, 200, FEED_IN, -130_000),  # a seller gives more
        (1_000, 0, 0, 900, -100, RETAIL, 86_000),  # a seller gives less
        (0, 1_000, 1_300, 0, -300, RETAIL, 258_000),  # a buyer takes more
        (0, 1_000, 800, 0, 200, FEED_IN, -130_000),  # a buyer takes less
        (0, 0, 500, 0, -500, RETAIL, 430_000),  # no trade: all from the grid
        (0, 0, 0, 500, 500, FEED_IN, -325_000),  # no trade: all to the grid
        (500, 200, 100, 400, 0, FEED_IN, 0),  # both ways, as contracted
    ],
)
def test_the_grid_buys_an_excess_and_sells_a_shortage(
    sold: int, bought: int, imported: int, exported: int, imbalance: int, price: int, amount: int
) -> None:
    expected = Imbalance(imbalance, price, amount, estimated=False)
    assert settle(sold, bought, imported, exported) == expected


@pytest.mark.parametrize(("imported", "exported"), [(None, None), (None, 5), (5, None)])
def test_a_missing_reading_settles_with_the_contract_and_is_flagged(
    imported: int | None, exported: int | None
) -> None:
    settled = settle(sold=700, imported=imported, exported=exported)
    assert (settled.imbalance_wh, settled.amount, settled.estimated) == (0, 0, True)


@given(WH, WH, WH, WH)
def test_the_amount_is_rounded_once(sold: int, bought: int, imported: int, exported: int) -> None:
    settled = settle(sold, bought, imported, exported)
    assert settled.imbalance_wh == exported - imported - sold + bought
    assert settled.amount == round(Fraction(-settled.imbalance_wh * settled.price, 1_000))
    assert settled.price == (FEED_IN if settled.imbalance_wh >= 0 else RETAIL)


def test_without_a_market_import_costs_retail_and_export_earns_feed_in() -> None:
    tariff = Tariff(start_minute=0, end_minute=1_440, retail_price=RETAIL, feed_in_price=FEED_IN)
    assert grid_only_micro(2_000, 0, tariff) == 1_720_000
    assert grid_only_micro(0, 2_000, tariff) == -1_300_000
    assert grid_only_micro(1_000, 1_000, tariff) == RETAIL - FEED_IN
