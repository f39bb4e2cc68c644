"""What goes wrong in a run, drawn from its seed before it starts."""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple, TypeAlias

import msgspec

FaultSet: TypeAlias = Literal["none", "network", "crash", "all"]
FAULT_SETS: tuple[FaultSet, ...] = ("none", "network", "crash", "all")


class NetworkFaults(msgspec.Struct, frozen=True, kw_only=True):
    """Chances per message, in parts per thousand, while faults are on."""

    loss: int = 0
    duplicate: int = 0
    slow: int = 0
    """Delayed by up to ``slow_us`` more: overtaken by later messages."""
    slow_us: int = 0


class Crash(NamedTuple):
    """A node loses power and comes back."""

    at_us: int
    node: int
    down_us: int


class Plan(NamedTuple):
    """The faults of one run; after ``heal_us`` there are none any more."""

    network: NetworkFaults
    crashes: tuple[Crash, ...]
    heal_us: int


def parse_sets(text: str) -> frozenset[FaultSet]:
    """``none|network|crash|all``, comma-separated.

    Raises:
        ValueError: names the unknown word.
    """
    chosen: set[FaultSet] = set()
    for word in text.split(","):
        match = [name for name in FAULT_SETS if name == word.strip()]
        if not match:
            raise ValueError(f"unknown fault set {word!r}: one of {', '.join(FAULT_SETS)}")
        chosen |= set(match)
    if "all" in chosen:
        chosen |= {"network", "crash"}
    return frozenset(chosen)


def draw(rng: Random, sets: frozenset[FaultSet], n: int, span_us: int) -> Plan:
    """The plan of one run.

    Args:
        rng: of this seed.
        sets: which kinds.
        n: nodes.
        span_us: faults end by then.
    """
    network = NetworkFaults()
    if "network" in sets:
        network = NetworkFaults(
            loss=rng.choice((0, 10, 50, 150)),
            duplicate=rng.choice((0, 20, 100)),
            slow=rng.choice((0, 20, 100)),
            slow_us=rng.choice((20_000, 200_000, 1_000_000)),
        )
    crashes: list[Crash] = []
    if "crash" in sets:
        crashes = [
            Crash(
                rng.randrange(span_us),
                rng.randrange(n),
                rng.choice((5_000, 100_000, 1_000_000, 4_000_000)),
            )
            for _ in range(rng.randint(2, 10))
        ]
    return Plan(network, tuple(sorted(crashes)), span_us)
