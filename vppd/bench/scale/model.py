"""Above the sizes that can be simulated: a curve through those that were, and labelled as one.

What a height takes is a sum of what happens once, once per replica, and once per pair of them; by
which figure and engine, the protocol says (:data:`PARTS`): where all talk to all there is a message
for each pair, but each replica handles only its own; where one collects, there are as many messages
as replicas, but each carries a certificate that grows with them, and all leave through one uplink.
The model is ``a + b·n + c·n²`` with those parts, none below zero but of the count of messages,
fitted to least relative squares.
How far it would have been off at the largest simulated plant, had that one not been simulated, is
stated with every figure. A certificate names at most 256 voters: of more the model says what they
would cost, not that this release lets them vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec

from vppd.bench.scale.sweep import WAYS, Point

LARGE = (500, 1_000, 2_000, 5_000, 10_000)
MOST_VOTERS = 256
"""Bits in a certificate."""
LEAST_POINTS = 4
"""Fewer sizes tell no curve from another."""
PARTS: dict[str, tuple[int, int]] = {
    "commit_ms": (1, 2),
    "messages": (2, 1),
    "kib": (2, 2),
    "core_ms": (1, 1),
    "busiest_core_ms": (1, 2),
}
"""Highest power of ``n`` in each figure: where all talk to all, and where they do not."""


class Curve(msgspec.Struct, frozen=True):
    """``a + b·n + c·n²``."""

    a: float
    b: float
    c: float

    def at(self, n: int) -> float:
        """Its value for ``n`` nodes."""
        return self.a + self.b * n + self.c * n * n


class Modelled(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a plant nobody has simulated."""

    way: str
    n: int
    sites: str
    delegates: int | None
    commit_ms: float
    messages: float
    kib: float
    core_ms: float
    busiest_core_ms: float
    off: float
    """How far the same fit without the largest simulated plant misses its commit time, as a share
    of it."""


def _is_dense(point: Point) -> bool:
    """Whether all talked to all: 2·n·(n−1) messages per height, where collecting takes 3·(n−1)."""
    return point.messages > 4 * point.n


def fit(points: Sequence[tuple[int, float]], power: int = 2, *, counted: bool = False) -> Curve:
    """The curve with no part below zero and the least sum of squared relative errors.

    Args:
        points: size and value above zero; at least one.
        power: the highest of ``n``.
        counted: parts may be below zero: it is a count, ``2·n·(n−1)`` or like it, and no noise
            can bend it.
    """
    if counted and len({n for n, _ in points}) > power:
        solved = _solve(points, range(power + 1))
        if solved is not None and all(Curve(*solved).at(n) > 0 for n in LARGE):
            return Curve(*solved)
    best: tuple[float, Curve] | None = None
    for size in range(1, power + 2):
        for parts in combinations(range(power + 1), size):
            solved = _solve(points, parts)
            if solved is None or min(solved) < 0:
                continue
            curve = Curve(*solved)
            missed = sum((curve.at(n) / value - 1) ** 2 for n, value in points)
            if best is None or missed < best[0] * (1 - 1e-9):
                best = (missed, curve)
    if best is None:  # one part alone always has a solution
        raise ValueError("no curve fits values that are not above zero")
    return best[1]


def _solve(
    points: Sequence[tuple[int, float]], parts: Sequence[int]
) -> tuple[float, float, float] | None:
    """Normal equations of the chosen powers of ``n``, weighted by 1/value²; ``None``: singular."""
    rows = [[n**part / value for part in parts] for n, value in points]
    size = len(parts)
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(matrix[k][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if abs(matrix[i][i]) < 1e-12 * max(1.0, abs(matrix[i][-1])):
            return None
        matrix[i] = [value / matrix[i][i] for value in matrix[i]]
        for k in range(size):
            if k != i:
                factor = matrix[k][i]
                matrix[k] = [a - factor * b for a, b in zip(matrix[k], matrix[i], strict=True)]
    found = dict(zip(parts, (row[-1] for row in matrix), strict=True))
    return found.get(0, 0.0), found.get(1, 0.0), found.get(2, 0.0)


def extend(points: Sequence[Point], sizes: Sequence[int] = LARGE) -> list[Modelled]:
    """Larger plants, for each way and sites with enough simulated ones.

    Of ``dpos`` only plants count that have more nodes than delegates: below, more nodes are more
    voters.
    """
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        grown = point.delegates is None or point.n > point.delegates
        if grown:
            groups.setdefault((point.way, point.sites), []).append(point)
    made = []
    for (way, sites), group in groups.items():
        group.sort(key=lambda point: point.n)
        if len({point.n for point in group}) < LEAST_POINTS:
            continue
        # Where auto collects in small plants and not in large ones, only the latter say what grows.
        group = (
            [p for p in group if _is_dense(p) == _is_dense(group[-1])] if way == "auto" else group
        )
        if len({point.n for point in group}) < LEAST_POINTS:
            continue
        powers = {name: power[not WAYS[way].dense] for name, power in PARTS.items()}
        curves = {
            name: fit([(p.n, getattr(p, name)) for p in group], power, counted=name == "messages")
            for name, power in powers.items()
        }
        largest = group[-1]
        without = fit([(p.n, p.commit_ms) for p in group[:-1]], powers["commit_ms"])
        off = without.at(largest.n) / largest.commit_ms - 1
        made += [
            Modelled(
                way=way, n=n, sites=sites, delegates=largest.delegates, off=round(off, 3),
                **{name: round(curves[name].at(n), 1) for name in PARTS},
            )
            for n in sizes
            if n > largest.n
        ]  # fmt: skip
    return made
