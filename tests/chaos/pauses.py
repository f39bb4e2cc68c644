"""Nodes that stop for a while and know nothing of it: ``python -m tests.chaos.pauses --times 20``.

SIGSTOP freezes a daemon, often the leader's, for longer than the view timeout; its connections stay
open and nobody answers on them. After SIGCONT its timers have run out, its messages are old, and
what it says first belongs to a plant that has gone on.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos import report
from tests.chaos.plant import PROGRESS_HEIGHTS, VIEW_TIMEOUT_MS, ChaosPlant, chaos_plant
from tests.chaos.report import Figures, say, spread
from tests.e2e.plant import Node

LEADER_SHARE = 0.5
SHORTEST, LONGEST = 2.0, 12.0
"""In T_view; the longest pauses outlast the idle limit of a link, 10 s."""


def freeze(plant: ChaosPlant, victim: Node, views: float) -> tuple[float, float]:
    """One pause of so many T_view.

    Returns:
        Seconds until the others were five heights further, and from the thaw until the victim had
        caught up.
    """
    until = time.monotonic() + views * VIEW_TIMEOUT_MS / 1_000
    plant.freeze(victim)
    without = plant.progress(plant.others(victim), f"while {victim.name} is frozen")
    time.sleep(max(0.0, until - time.monotonic()))
    mark, thawed = plant.highest(), time.monotonic()
    plant.thaw(victim)
    plant.catch_up(victim, mark)
    return without, time.monotonic() - thawed


def run(folder: Path, seed: int, times: int, longest: float = LONGEST) -> Figures:
    """So many pauses on one plant, then every check."""
    without, back, leaders = [], [], 0
    with chaos_plant(folder, seed=seed) as plant:
        plant.start()
        for count in range(times):
            plant.more_acknowledged(3, f"before pause {count + 1}")
            leader = plant.leader()
            frozen = plant.chance.random() < LEADER_SHARE
            victim = leader if frozen else plant.chance.choice(plant.nodes)
            leaders += victim is leader
            gone_on, caught_up = freeze(plant, victim, plant.chance.uniform(SHORTEST, longest))
            without.append(gone_on)
            back.append(caught_up)
            plant.check_promises()
            say(f"pause {count + 1}: {victim.name}, back after {caught_up:.2f} s")
        plant.check_all()
        return {
            "pauses": f"{times}, {leaders} of them the leader",
            f"{PROGRESS_HEIGHTS} heights without the victim": spread(without),
            "from SIGCONT to caught up": spread(back),
            **plant.figures(),
        }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--times", type=int, default=20)
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.times))
