"""Partitions between real daemons: ``python -m tests.chaos.partitions --seed 1 --minutes 10``.

A proxy at frame level splits the plant in a random way for a random time, then heals it. After each
healing every node must be five heights further within 20 T_view, and with the clients at rest all
heads and state roots are equal. Between partitions frames are late or come twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.chaos import report
from tests.chaos.plant import PROGRESS_HEIGHTS, PROGRESS_S, VIEW_TIMEOUT_MS, ChaosPlant, chaos_plant
from tests.chaos.proxy import Action, Rule
from tests.chaos.report import Figures, say, spread

SHORTEST_S, LONGEST_S = 0.5, 8 * VIEW_TIMEOUT_MS / 1_000
FLAP_S = (0.1, 1.5)
CALM_S = 1.0
WAYS = (Action.DROP, Action.HOLD, Action.CUT)
NOISE = (
    Rule(Action.TWICE, chance=0.1),
    Rule(Action.DELAY, chance=0.1, delay_s=0.03),
)

Rules = tuple[Rule, ...]
Kind = Callable[[random.Random, Sequence[str], str, Action], Rules]


def _parted(way: Action, one: Iterable[str], other: Iterable[str]) -> Rules:
    """No frame between the two sets, in either direction."""
    a, b = frozenset(one), frozenset(other)
    return Rule(way, a, b), Rule(way, b, a)


def _split(chance: random.Random, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two random sets, of which one has one member more at most."""
    mixed = chance.sample(list(names), len(names))
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


def halves(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """Two sets that do not hear each other."""
    del leader
    return _parted(way, *_split(chance, names))


def isolated_leader(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """The leader alone."""
    del chance
    return _parted(way, [leader], set(names) - {leader})


def one_way(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """One set hears the other and is not heard; a connection cannot be cut one way."""
    del leader
    one, other = _split(chance, names)
    return (Rule(Action.DROP if way is Action.CUT else way, frozenset(one), frozenset(other)),)


def deaf_leader(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """The leader speaks and hears nobody."""
    del chance
    others = frozenset(names) - {leader}
    return (Rule(Action.DROP if way is Action.CUT else way, others, frozenset({leader})),)


def bridge(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """Two sets, and one node that hears both."""
    del leader
    middle, *others = chance.sample(list(names), len(names))
    del middle
    return _parted(way, *_split(chance, others))


def ring(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """Everybody hears two neighbours: with five nodes nobody hears a quorum."""
    del leader
    order = chance.sample(list(names), len(names))
    n = len(order)
    return tuple(
        Rule(way, frozenset({order[i]}), frozenset({order[(i + away) % n]}))
        for i in range(n)
        for away in range(2, n - 1)
    )


def der_link(chance: random.Random, names: Sequence[str], leader: str, way: Action) -> Rules:
    """One DER's link fails."""
    one = chance.choice([name for name in names if name != leader])
    return _parted(way, [one], set(names) - {one})


KINDS: Mapping[str, Kind] = {
    "halves": halves,
    "isolated leader": isolated_leader,
    "one way": one_way,
    "deaf leader": deaf_leader,
    "bridge": bridge,
    "ring": ring,
    "a DER's link": der_link,
}
FLAPPING = "flapping"
"""Any of them, on and off."""


def stages(
    chance: random.Random, kind: str, names: Sequence[str], leader: str, longest_s: float
) -> Iterator[tuple[float, Rules]]:
    """A partition as what holds, one after the other, and for how many seconds each."""
    way = chance.choice(WAYS)
    total = chance.uniform(SHORTEST_S, longest_s)
    if kind != FLAPPING:
        yield total, KINDS[kind](chance, names, leader, way)
        return
    make = chance.choice(list(KINDS.values()))
    parted = make(chance, names, leader, way)
    on = True
    while total > 0:
        part = chance.uniform(*FLAP_S)
        yield part, parted if on else ()
        on, total = not on, total - part


def part(plant: ChaosPlant, kind: str, longest_s: float) -> float:
    """One partition and its healing; seconds until every node was five heights further."""
    leader = plant.leader().name
    for seconds, rules in stages(plant.chance, kind, plant.names, leader, longest_s):
        plant.rules(*rules)
        time.sleep(seconds)
    plant.rules()
    return plant.progress(plant.nodes, f"after {kind}")


def run(
    folder: Path,
    seed: int,
    seconds: float,
    kinds: Sequence[str] = (),
    longest_s: float = LONGEST_S,
) -> Figures:
    """Partitions for so long, or just those named; then every check."""
    begun = time.monotonic()
    healed: list[float] = []
    seen: Counter[str] = Counter()
    everything = (*KINDS, FLAPPING)
    with chaos_plant(folder, seed=seed) as plant:
        plant.start()
        todo = list(kinds)
        while todo or (not kinds and time.monotonic() - begun < seconds):
            kind = todo.pop(0) if todo else plant.chance.choice(everything)
            plant.rules(*NOISE)
            time.sleep(plant.chance.uniform(0, CALM_S))
            before = plant.highest()
            healed.append(part(plant, kind, longest_s))
            seen[kind] += 1
            height = plant.check_equal()
            plant.check_promises()
            plant.check_accounts()
            plant.flow()
            say(f"{kind}: height {before} to {height}, {healed[-1]:.2f} s after healing")
        plant.check_all()
        done = plant.proxy.done
        return {
            "partitions": ", ".join(f"{n} {kind}" for kind, n in sorted(seen.items())),
            f"every node {PROGRESS_HEIGHTS} heights on after healing": spread(healed),
            "allowed": f"{PROGRESS_S:.0f} s, 20 T_view",
            "frames": ", ".join(f"{n} {what}" for what, n in sorted(done.items())),
            **plant.figures(),
        }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, 60 * options.minutes))
