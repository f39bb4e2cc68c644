"""``kill -9`` under load: ``python -m tests.chaos.kills --cycles 100``.

A random node, often the leader, dies at a random moment while clients pay, and is started again
after a while: at once, when the plant has gone on without it, or killed once more while it starts.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos import report
from tests.chaos.plant import ENGINE, PROGRESS_HEIGHTS, chaos_plant
from tests.chaos.report import Figures, say, spread
from vppd.config.genesis import Engine

LEADER_SHARE = 0.4
AT_ONCE_SHARE = 0.25
AGAIN_SHARE = 0.2
"""Of the nodes that are started: killed again before they are ready."""
MOMENT_S = 0.5
"""A kill falls into so much of a flowing load."""


def run(folder: Path, seed: int, cycles: int, engine: Engine = ENGINE) -> Figures:
    """So many cycles on one plant, then every check."""
    without, back, again, leaders = [], [], 0, 0
    with chaos_plant(folder, seed=seed, engine=engine) as plant:
        plant.start()
        chance = plant.chance
        for cycle in range(cycles):
            plant.more_acknowledged(3, f"before kill {cycle + 1}")
            leader = plant.leader()
            victim = leader if chance.random() < LEADER_SHARE else chance.choice(plant.nodes)
            leaders += victim is leader
            time.sleep(chance.uniform(0, MOMENT_S))
            victim.kill()
            if chance.random() >= AT_ONCE_SHARE:
                without.append(plant.progress(plant.others(victim), f"without {victim.name}"))
            while chance.random() < AGAIN_SHARE:
                victim.start()
                time.sleep(chance.uniform(0, 2 * MOMENT_S))
                victim.kill()
                again += 1
            back.append(plant.bring_back(victim))
            plant.check_promises()
            say(f"kill {cycle + 1}: {victim.name}, height {plant.highest()}")
        plant.check_all()
        return {
            "cycles": f"{cycles}, {leaders} of them the leader, {again} more while starting",
            f"{PROGRESS_HEIGHTS} heights without the victim": spread(without),
            "from start to caught up": spread(back),
            **plant.figures(),
        }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--cycles", type=int, default=100)
    arguments.add_argument("--engine", type=Engine, default=ENGINE)
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.cycles, options.engine))
