"""Everything dies at one instant, under load: ``python -m tests.chaos.blackout --times 20``.

Every payment that a client was told is committed must be at every node afterwards. Without
``--power`` all processes are killed in one loop: what they had written and not synced survives in
the kernel's page cache, so this tests the processes, not fsync. With ``--power`` (root) all nodes
live on one filesystem that loses power with them, and what was not synced is gone; with
``--synchronous normal`` too, which a power cut is known to break, the run must fail.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.chaos import report
from tests.chaos.disks import Disk, ext4
from tests.chaos.plant import ChaosPlant, chaos_plant
from tests.chaos.report import Figures, say, spread

MOMENT_S = 0.5
DISK_MIB = 512


def run(
    folder: Path, seed: int, times: int, *, power: bool = False, synchronous: str = "full"
) -> Figures:
    """So many times on one plant, each followed by the checks."""
    restarts, kept = [], []
    with ExitStack() as stack:
        disk = None
        if power:
            image = folder.with_suffix(".img")
            disk = stack.enter_context(ext4(image, folder, DISK_MIB))
        plant = stack.enter_context(chaos_plant(folder, seed=seed, synchronous=synchronous))
        if disk is not None:
            disk.sync()
        plant.start()
        for count in range(times):
            plant.more_acknowledged(20, f"before blackout {count + 1}")
            time.sleep(plant.chance.uniform(0, MOMENT_S))
            kept.append(black_out(plant, disk))
            back = time.monotonic()
            for node in plant.nodes:
                node.start()
            plant.wait_complete()
            told = max(ack.height for ack in tuple(plant.load.acknowledged.values()))
            height = plant.highest()
            assert height >= told, plant.last_words(
                f"blackout {count + 1}: clients were told of height {told}, {height} is left"
            )
            plant.progress(plant.nodes, f"after blackout {count + 1}", heights=1)
            restarts.append(time.monotonic() - back)
            plant.check_equal()
            plant.check_kept()
            plant.check_promises()
            plant.flow()
            say(f"blackout {count + 1}: {kept[-1]} acknowledged before it are kept")
        plant.check_all()
        return {
            "blackouts": f"{times}, {len(plant.nodes)} nodes each",
            "what is lost": "what was not synced" if power else "processes only",
            "of them before a blackout": kept[-1],
            "from start to the next block": spread(restarts),
            **plant.figures(),
        }


def black_out(plant: ChaosPlant, disk: Disk | None) -> int:
    """All nodes at once; how many payments were acknowledged up to then."""
    if disk is not None:
        disk.lose_power()
    for node in plant.nodes:
        node.process.kill()
    for node in plant.nodes:
        node.process.wait()
    if disk is not None:
        disk.unmount()
        disk.mount()
    return plant.acknowledged()


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--times", type=int, default=20)
    arguments.add_argument("--power", action="store_true", help="the disk loses power too")
    arguments.add_argument("--synchronous", choices=("full", "normal"), default="full")
    options = arguments.parse_args()
    report.main(
        options,
        lambda folder: run(
            folder,
            options.seed,
            options.times,
            power=options.power,
            synchronous=options.synchronous,
        ),
    )
