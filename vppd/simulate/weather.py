"""What the plant's nodes see of each other and of the time: partitions, and clocks that are wrong.

Knows nothing of nodes; the cluster asks it whether a message gets through and what a clock shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from vppd.consensus.boundary import Now
from vppd.simulate.plant import START_UNIX_MS
from vppd.types import Height, Ppm, ReplicaIndex

Shape: TypeAlias = Literal["halves", "leader", "one_way", "bridge", "ring", "flapping"]
SHAPES: tuple[Shape, ...] = ("halves", "leader", "one_way", "bridge", "ring", "flapping")
FLAP_US = 300_000
"""A flapping cut is there and gone for so long, in turn."""
Link: TypeAlias = tuple[ReplicaIndex, ReplicaIndex]


class Cut(NamedTuple):
    """A partition: who cannot reach whom, from when to when."""

    at_us: int
    until_us: int
    shape: Shape
    order: tuple[ReplicaIndex, ...]
    """The nodes, shuffled; how many stand on one side is ``split``."""
    split: int


class ClockJump(NamedTuple):
    """A node's wall clock jumps."""

    at_us: int
    node: ReplicaIndex
    by_ms: int


def draw_cut(rng: Random, n: int, span_us: int) -> Cut:
    """One partition of ``n`` ≥ 2 nodes within ``span_us``."""
    order = list(range(n))
    rng.shuffle(order)
    at_us = rng.randrange(span_us)
    length_us = rng.choice((200_000, 1_000_000, 3_000_000, 8_000_000))
    until_us = min(span_us, at_us + length_us)
    return Cut(at_us, until_us, rng.choice(SHAPES), tuple(order), rng.randint(1, n - 1))


def blocked(cut: Cut, leader: ReplicaIndex) -> frozenset[Link]:
    """The directed links a cut blocks; ``leader`` is who leads when it begins."""
    order, split = cut.order, cut.split
    one, other = order[:split], order[split:]
    match cut.shape:
        case "leader":
            return _between((leader,), [i for i in order if i != leader])
        case "one_way":  # heard by nobody, hears everybody
            return frozenset((one[0], i) for i in order if i != one[0])
        case "bridge":  # the last of the order reaches both sides
            return _between([i for i in one if i != order[-1]], other[:-1])
        case "ring":
            near = {(order[k - 1], order[k]) for k in range(len(order))}
            every = {(a, b) for a in order for b in order if a != b}
            return frozenset(every - near - {(b, a) for a, b in near})
        case "halves" | "flapping":
            return _between(one, other)


def _between(some: Iterable[ReplicaIndex], others: Iterable[ReplicaIndex]) -> frozenset[Link]:
    pairs = [(a, b) for a in some for b in others]
    return frozenset([*pairs, *((b, a) for a, b in pairs)])


class FailingLinks:
    """Nodes that are cut off for whole heights: until all the others have decided it.

    Args:
        shares: node and how many heights in a million fail it.
        seed: which heights these are; other chances of the run do not depend on it.
    """

    def __init__(self, shares: Iterable[tuple[ReplicaIndex, Ppm]], seed: int) -> None:
        self._shares = dict(shares)
        self._seed = seed
        self._drawn: dict[tuple[ReplicaIndex, Height], bool] = {}

    def __bool__(self) -> bool:
        return bool(self._shares)

    def stops(self, sender: ReplicaIndex, to: ReplicaIndex, height: Height) -> bool:
        """Whether a message is lost now.

        Args:
            sender: of the message.
            to: its receiver.
            height: what the others are about to decide.
        """
        return any(self._fails(node, height) for node in (sender, to) if node in self._shares)

    def _fails(self, node: ReplicaIndex, height: Height) -> bool:
        key = (node, height)
        if key not in self._drawn:
            chance = Random(f"{self._seed} {node} {height}")  # noqa: S311
            self._drawn[key] = chance.randrange(1_000_000) < self._shares[node]
        return self._drawn[key]


class Weather:
    """Partitions under way and clocks as they are.

    Args:
        n: nodes.
        drift_ppm: how much faster than the true one each node's clocks run.
    """

    def __init__(self, n: int, drift_ppm: Iterable[int]) -> None:
        self._cuts: dict[Cut, frozenset[Link]] = {}
        self._drift_ppm = tuple(drift_ppm)
        self._offset_ms = [0] * n
        self.healed = False

    def begin(self, cut: Cut, leader: ReplicaIndex) -> None:
        """A partition appears."""
        self._cuts[cut] = blocked(cut, leader)

    def end(self, cut: Cut) -> None:
        """It is gone."""
        self._cuts.pop(cut, None)

    def jump(self, jump: ClockJump) -> None:
        """A wall clock jumps."""
        self._offset_ms[jump.node] += jump.by_ms

    def heal(self) -> None:
        """No partitions any more, and every clock right."""
        self._cuts.clear()
        self.healed = True

    def stops(self, sender: ReplicaIndex, to: ReplicaIndex, time_us: int) -> bool:
        """Whether a message sent now is lost in a partition."""
        for cut, links in self._cuts.items():
            gone = cut.shape == "flapping" and (time_us - cut.at_us) // FLAP_US % 2
            if not gone and (sender, to) in links:
                return True
        return False

    def now(self, node: ReplicaIndex, time_us: int) -> Now:
        """Both clocks of a node: the wall clock jumps and drifts, the monotonic one only drifts."""
        drift_us = time_us * self._drift_ppm[node] // 1_000_000
        monotonic_ms = (time_us + drift_us) // 1_000
        offset_ms = 0 if self.healed else self._offset_ms[node]
        wall_ms = time_us // 1_000 if self.healed else monotonic_ms
        return Now(monotonic_ms, START_UNIX_MS + wall_ms + offset_ms)
