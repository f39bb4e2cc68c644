"""A book that an order leaves goes on as if it had never come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.market.auction import RULES, Book, Order, Side

orders = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9), st.integers(5_000, 5_006), st.booleans()),
    min_size=1,
    max_size=12,
)


def order(number: int, side: Side, wh: int, price: int) -> Order[str]:
    return Order(number, f"m{number}", side, wh, price, price, 1, number)


def test_what_was_left_of_it_is_told_once() -> None:
    book: Book[str] = Book(RULES["production"])
    book.submit(order(0, Side.OFFER, 10, 5))
    book.submit(order(1, Side.BID, 4, 5))
    assert book.withdraw(0) == 6
    assert book.withdraw(0) == 0
    assert book.withdraw(1) == 0, "it is filled"
    assert book.withdraw(7) == 0, "it was never here"
    assert book.rows(Side.OFFER) == []


def test_an_order_may_come_with_less_left_than_it_had() -> None:
    book: Book[str] = Book(RULES["production"])
    assert book.submit(order(0, Side.OFFER, 10, 5), left=3) == []
    (trade,) = book.submit(order(1, Side.BID, 10, 5))
    assert trade.quantity_wh == 3
    with pytest.raises(ValueError, match="0 Wh left"):
        book.submit(order(2, Side.BID, 10, 5), left=0)


@given(st.sampled_from(sorted(RULES)), orders)
def test_the_others_trade_as_without_it(
    rules: str, placed: list[tuple[Side, int, int, bool]]
) -> None:
    """Those that will leave rest out of reach meanwhile; then both books close alike."""
    with_them, without = (Book[str](RULES[rules]) for _ in range(2))  # type: ignore[index]
    ours, theirs = [], []
    for number, (side, wh, price, leaves) in enumerate(placed):
        if leaves:
            far = 9_000 if side is Side.OFFER else 0
            with_them.submit(order(number, side, wh, far))
        else:
            ours += with_them.submit(order(number, side, wh, price))
            theirs += without.submit(order(number, side, wh, price))
    for number, (_, wh, _, leaves) in enumerate(placed):
        if leaves:
            assert with_them.withdraw(number) == wh
    for side in Side:
        assert with_them.rows(side) == without.rows(side)
    assert ours == theirs
    assert with_them.close(9_000, 0) == without.close(9_000, 0)
