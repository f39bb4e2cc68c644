"""Clearing: orders of one slot under the production rules, from the first to the grid's share."""

from __future__ import annotations

from functools import partial
from random import Random

from vppd.bench.micro.plant import FEED_IN, RETAIL
from vppd.bench.micro.timing import Benchmark, Work, steady
from vppd.market.auction import RULES, Book, Order, Side

SIZES = (10_000, 100_000)
FULL_SIZES = (1_000_000,)
MEMBERS = 1_000
CONCESSION = 20_000


def made_orders(count: int, seed: int = 6) -> list[Order[int]]:
    """Orders with prices between feed-in and retail, in order of arrival."""
    rng = Random(seed)  # noqa: S311  # reproducible chance is the point
    made = []
    for i in range(count):
        side, price = Side(rng.randrange(2)), rng.randrange(FEED_IN, RETAIL)
        reserve = price - CONCESSION if side is Side.OFFER else price + CONCESSION
        quantity, credit = rng.randrange(100, 4_000), rng.randrange(100_000, 1_000_000)
        made.append(Order(i, i % MEMBERS, side, quantity, price, reserve, credit, i))
    return made


def _clear(count: int) -> Work:
    orders = made_orders(count)

    def work() -> None:
        book: Book[int] = Book(RULES["production"])
        for order in orders:
            book.submit(order)
        book.close(RETAIL, FEED_IN)

    return work


def _benchmark(size: int) -> Benchmark:
    return Benchmark(f"auction.clear_{size}", "order", size, steady(partial(_clear, size)))


BENCHMARKS = tuple(map(_benchmark, SIZES))
FULL_BENCHMARKS = tuple(map(_benchmark, FULL_SIZES))
