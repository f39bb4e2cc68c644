"""The Shapley value in integers: what each player of a cooperative game is due (P1, §3.4).

A player's value is its marginal contribution, averaged over all orders in which the players may
come together. A game of up to :data:`EXACT_PLAYERS` players is solved exactly; a larger one is
averaged over orders drawn from a seed that everybody knows beforehand. Either way the average is a
fraction until one split by largest remainder, which sums exactly to what the whole is worth.

A coalition is a bit mask: bit ``i`` stands for player ``i``. Values are in any unit, here
micro-currency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import factorial, isqrt
from struct import Struct
from typing import Final, TypeAlias

import msgspec

from vppd.crypto import sha256
from vppd.types import Micro

EXACT_PLAYERS: Final = 12
"""A larger game is sampled; this one has 4,096 coalitions."""
Walk: TypeAlias = Callable[[Sequence[int]], Sequence[Micro]]
"""What the coalition is worth after each player of an order has joined it."""

_WORD: Final = 1 << 32
_WORDS: Final = Struct(">8I")
_LN_40_PPM: Final = 3_688_880
"""ln(2/δ) for δ = 5 %, rounded up."""


class Quotients(msgspec.Struct, frozen=True):
    """One fraction for each player, over a common denominator; together they are an integer."""

    numerators: tuple[int, ...]
    denominator: int
    """Above zero."""

    def split(self) -> tuple[int, ...]:
        """The fractions as integers with the same sum (:func:`largest_remainder`)."""
        return largest_remainder(self.numerators, self.denominator)


def largest_remainder(numerators: Sequence[int], denominator: int) -> tuple[int, ...]:
    """Rounds fractions to integers that add up to what the fractions add up to.

    Each is rounded down, towards minus infinity; the units that are then missing go one each to
    the largest remainders, among equal ones to the first in order.

    Raises:
        ValueError: the fractions do not add up to an integer, or the denominator is not positive.
    """
    if denominator <= 0:
        raise ValueError(f"the denominator {denominator} is not positive")
    total, over = divmod(sum(numerators), denominator)
    if over:
        raise ValueError(f"the fractions add up to {over}/{denominator} more than {total}")
    parts = [numerator // denominator for numerator in numerators]
    by_rest = sorted(range(len(parts)), key=lambda i: -(numerators[i] % denominator))
    for i in by_rest[: total - sum(parts)]:
        parts[i] += 1
    return tuple(parts)


def exact(values: Sequence[Micro]) -> Quotients:
    """The Shapley value of every player, over ``n!``.

    Args:
        values: what each coalition is worth, by its mask; 2ⁿ of them, the first (nobody) zero.

    Raises:
        ValueError: not a power of two many, more than :data:`EXACT_PLAYERS` players, or nobody is
            worth something.
    """
    players = len(values).bit_length() - 1
    if len(values) != 1 << max(players, 0):
        raise ValueError(f"{len(values)} coalitions, a game of n players has 2 to the n")
    if players > EXACT_PLAYERS:
        raise ValueError(f"{players} players, at most {EXACT_PLAYERS} are solved exactly")
    if values[0] != 0:
        raise ValueError(f"the coalition of nobody is worth {values[0]}, not 0")
    # φᵢ·n! = Σ_{S∋i} (s−1)!(n−s)!·v(S) − Σ_{S∌i} s!(n−s−1)!·v(S). The second sum is the one over
    # all S less the one over S∋i, so each coalition needs one weight for its members.
    without = [factorial(s) * factorial(players - s - 1) for s in range(players)] + [0]
    inside = [0] + [
        factorial(s - 1) * factorial(players - s) + without[s] for s in range(1, players + 1)
    ]
    everybody = sum(without[mask.bit_count()] * value for mask, value in enumerate(values))
    folded = [inside[mask.bit_count()] * value for mask, value in enumerate(values)]
    numerators: list[int] = []
    while len(folded) > 1:  # the highest player first; its coalitions are the upper half
        half = len(folded) // 2
        lower, upper = folded[:half], folded[half:]
        numerators.append(sum(upper) - everybody)
        folded = [a + b for a, b in zip(lower, upper, strict=True)]
    return Quotients(tuple(reversed(numerators)), factorial(players))


def sampled(players: int, walk: Walk, seed: bytes, samples: int) -> Quotients:
    """The mean marginal contributions over ``samples`` orders drawn from ``seed``.

    In every order the contributions add up to the worth of the whole, hence so do the means.

    Args:
        players: how many.
        walk: the game.
        seed: known to everybody before the values are.
        samples: how many orders.

    Raises:
        ValueError: no sample is asked for.
    """
    if samples < 1:
        raise ValueError(f"{samples} samples asked for, one is the least")
    totals = [0] * players
    for order in orders(players, seed, samples):
        before = 0
        for player, after in zip(order, walk(order), strict=True):
            totals[player] += after - before
            before = after
    return Quotients(tuple(totals), samples)


def orders(players: int, seed: bytes, count: int) -> Iterator[list[int]]:
    """Orders of ``players``, each equally likely, from nothing but ``seed``.

    Order ``k`` is a Fisher–Yates shuffle. It reads big-endian 32-bit words from the digests
    SHA-256(SHA-256(seed) ‖ k ‖ j), k in 8 bytes, j = 0, 1, … in 4 bytes; a word that would favour
    some positions is passed over.
    """
    root = sha256(seed)
    for index in range(count):
        words = _words(root + index.to_bytes(8, "big"))
        order = list(range(players))
        for last in range(players - 1, 0, -1):
            fair = _WORD - _WORD % (last + 1)
            word = next(words)
            while word >= fair:
                word = next(words)
            other = word % (last + 1)
            order[last], order[other] = order[other], order[last]
        yield order


def _words(prefix: bytes) -> Iterator[int]:
    block = 0
    while True:
        yield from _WORDS.unpack(sha256(prefix + block.to_bytes(4, "big")))
        block += 1


def walk_of(values: Mapping[int, Micro]) -> Walk:
    """The walk through a game given by its coalitions; one that is not there is worth 0."""

    def walk(order: Sequence[int]) -> list[Micro]:
        worth, mask = [], 0
        for player in order:
            mask |= 1 << player
            worth.append(values.get(mask, 0))
        return worth

    return walk


def contribution_ranges(players: int, values: Mapping[int, Micro]) -> list[Micro]:
    """How far apart a player's marginal contributions lie at most, for each player.

    Args:
        players: how many.
        values: coalitions by mask; one that is not there is worth 0.
    """
    ranges: list[Micro] = []
    for player in range(players):
        bit = 1 << player
        seen = {values.get(m | bit, 0) - values.get(m & ~bit, 0) for m in values}
        pairs = {mask | bit for mask in values}
        if len(pairs) < 1 << (players - 1):
            seen.add(0)  # some pair of coalitions is not listed at all
        ranges.append(max(seen, default=0) - min(seen, default=0))
    return ranges


def error_bound(contribution_range: Micro, samples: int) -> Micro:
    """How far a sampled value may be from the exact one; 95 % of seeds keep within it.

    Hoeffding's inequality for one player: ε = R·√(ln(2/δ) / 2m), δ = 5 %, rounded up.

    Args:
        contribution_range: R, what the player's marginal contributions lie apart at most.
        samples: m, at least 1.
    """
    square = -(-(contribution_range**2) * _LN_40_PPM // (2 * samples * 1_000_000))
    return isqrt(square - 1) + 1 if square > 0 else 0
