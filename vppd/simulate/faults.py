"""What goes wrong in a run, drawn from its seed before it starts."""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from vppd.simulate.weather import ClockJump, Cut, draw_cut

FaultSet: TypeAlias = Literal[
    "none",
    "network",
    "crash",
    "outage",
    "partition",
    "clock",
    "storage",
    "power",
    "byzantine",
    "mutation",
    "membership",
    "all",
]
FAULT_SETS: tuple[FaultSet, ...] = (
    "none", "network", "crash", "outage", "partition", "clock", "storage", "power", "byzantine",
    "mutation", "membership", "all",
)  # fmt: skip
HOUR_MS = 3_600_000
DRIFT_PPM = 200


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


class Damage(NamedTuple):
    """A node loses power, and its disk is not what it was when it comes back."""

    at_us: int
    node: int
    kind: Literal["rot", "rollback"]
    """The safety record is unreadable; or the whole disk is as it was a while ago."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of one run; after ``heal_us`` there are none any more."""

    network: NetworkFaults = NetworkFaults()
    crashes: tuple[Crash, ...] = ()
    damages: tuple[Damage, ...] = ()
    blackouts_us: tuple[int, ...] = ()
    """When all nodes lose power at the same instant."""
    cuts: tuple[Cut, ...] = ()
    jumps: tuple[ClockJump, ...] = ()
    drift_ppm: tuple[int, ...] = ()
    heal_us: int


def parse_sets(text: str) -> frozenset[FaultSet]:
    """Fault sets by name, comma-separated.

    ``all`` leaves out ``mutation``, a smaller kind of lie, and ``membership``, which is no fault:
    people who add, remove and re-key nodes and change engines and numbers meanwhile.

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
        chosen |= set(FAULT_SETS) - {"none", "mutation", "membership"}
    return frozenset(chosen)


def draw(rng: Random, sets: frozenset[FaultSet], n: int, spare: int, f: int, span_us: int) -> Plan:
    """The plan of one run.

    Nodes that are gone for good or come back damaged are at most ``spare`` together, and at most
    ``f`` of them damaged: more than that nobody promises to survive.

    Args:
        rng: of this seed.
        sets: which kinds.
        n: nodes.
        spare: how many may be away for good without stopping decisions or a change of leader.
        f: how many may have forgotten what they promised.
        span_us: faults end by then.
    """
    lost = rng.sample(range(n), rng.randint(0, spare))
    damaged = rng.randint(0, min(f, len(lost))) if "storage" in sets else 0
    away = lost[damaged:] if "outage" in sets else []
    crashes = [Crash(rng.randrange(span_us), node, None) for node in away]
    damages = [
        Damage(rng.randrange(span_us), node, rng.choice(("rot", "rollback")))
        for node in lost[:damaged]
    ]
    if "crash" in sets:
        crashes += [
            Crash(
                rng.randrange(span_us),
                rng.randrange(n),
                rng.choice((5_000, 100_000, 1_000_000, 4_000_000)),
            )
            for _ in range(rng.randint(4, 14))
        ]
    cuts = jumps = blackouts = 0
    if "partition" in sets and n > 1:
        cuts = rng.randint(3, 12)
    if "clock" in sets:
        jumps = rng.randint(2, 8)
    if "power" in sets:
        blackouts = rng.randint(1, 3)
    return Plan(
        network=_draw_network(rng) if "network" in sets else NetworkFaults(),
        crashes=tuple(sorted(crashes, key=lambda c: (c.at_us, c.node))),
        damages=tuple(sorted(damages)),
        blackouts_us=tuple(sorted(rng.randrange(span_us) for _ in range(blackouts))),
        cuts=tuple(sorted(draw_cut(rng, n, span_us) for _ in range(cuts))),
        jumps=tuple(sorted(_draw_jump(rng, n, span_us) for _ in range(jumps))),
        drift_ppm=tuple(rng.randint(-DRIFT_PPM, DRIFT_PPM) if jumps else 0 for _ in range(n)),
        heal_us=span_us,
    )


def _draw_network(rng: Random) -> NetworkFaults:
    return NetworkFaults(
        loss=rng.choice((0, 10, 50, 150)),
        duplicate=rng.choice((0, 20, 100)),
        slow=rng.choice((0, 20, 100)),
        slow_us=rng.choice((20_000, 200_000, 1_000_000)),
    )


def _draw_jump(rng: Random, n: int, span_us: int) -> ClockJump:
    by_ms = rng.choice((-HOUR_MS, HOUR_MS, -700, 700, -60_000, 60_000))
    return ClockJump(rng.randrange(span_us), rng.randrange(n), by_ms)
