"""What goes wrong in a run, drawn from its seed before it starts."""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple, TypeAlias

import msgspec

FaultSet: TypeAlias = Literal["none", "network", "crash", "outage", "all"]
FAULT_SETS: tuple[FaultSet, ...] = ("none", "network", "crash", "outage", "all")


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
    down_us: int | None
    """``None``: for good."""


class Plan(NamedTuple):
    """The faults of one run; after ``heal_us`` there are none any more."""

    network: NetworkFaults
    crashes: tuple[Crash, ...]
    heal_us: int


def parse_sets(text: str) -> frozenset[FaultSet]:
    """``none|network|crash|outage|all``, comma-separated.

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
        chosen |= {"network", "crash", "outage"}
    return frozenset(chosen)


def draw(rng: Random, sets: frozenset[FaultSet], n: int, spare: int, span_us: int) -> Plan:
    """The plan of one run.

    Args:
        rng: of this seed.
        sets: which kinds.
        n: nodes.
        spare: how many may be away for good without stopping decisions (n − q).
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
    if "outage" in sets and spare > 0 and rng.randrange(2):
        # Not the leader of view 0: replacing a leader is the view change's business.
        away = rng.sample(range(1, n), rng.randint(1, spare))
        crashes += [Crash(rng.randrange(span_us), node, None) for node in away]
    return Plan(network, tuple(sorted(crashes, key=lambda c: (c.at_us, c.node))), span_us)
