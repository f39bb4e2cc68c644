"""Disks that fill up, or break, under a node: ``python -m tests.chaos.disk_full --times 5``.

Each time a node cannot write. It must stop by name before it promises anything that is not on its
disk; the plant goes on without it; with room again it comes back and catches up. Without root its
files may not grow (RLIMIT_FSIZE), and ``min_free`` is above what is free. With ``--root`` its home
is also a filesystem of its own, which is filled up (ENOSPC), and which breaks in the middle of its
work (EIO).
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos import report
from tests.chaos.disks import own_disk
from tests.chaos.plant import MIN_FREE, ChaosPlant, chaos_plant, configure
from tests.chaos.report import Figures, say, spread
from tests.chaos.tap import Tap
from tests.e2e.plant import Node, eventually

LIMIT = 1024 * 1024
"""Bytes of a file; the log of SQLite grows beyond it within seconds of load."""
MARGIN = 256 * 1024 * 1024
"""Others use the same disk: ``min_free`` stays so far from what is free, either way."""
DISK_MIB = 48
BLOCK = 4096
STOPPED = "error[E258]"


def stops_by_name(plant: ChaosPlant, node: Node, what: str) -> None:
    """It ends by itself, with the error that says that its disk failed; the others go on."""
    code = eventually(node.process.poll, plant.last_words(f"{node.name} stops: {what}"))
    log = node.log
    assert code == 1, plant.last_words(f"{node.name} ended with {code}: {log[-500:]}")
    assert STOPPED in log, plant.last_words(f"{node.name} does not say why: {log[-500:]}")
    node.log_file.write_text("")
    plant.progress(plant.others(node), f"while {node.name} cannot write")


def limited(plant: ChaosPlant, node: Node) -> float:
    """RLIMIT_FSIZE, from outside, on a daemon that runs; seconds until it is back without it."""
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    stops_by_name(plant, node, "its files may not grow")
    return plant.bring_back(node)


def low(plant: ChaosPlant, node: Node) -> float:
    """Less than ``min_free`` is left: it reads and does not sign; seconds until it is back."""
    of_victim = partial(Tap.signatures_of, signer=plant.nodes.index(node))
    ballast = node.home.with_name(f"{node.name}.ballast")
    free = shutil.disk_usage(node.home).free
    assert free > 4 * MARGIN, f"{free} bytes free in {node.home} are too few for this"
    assert node.terminate() == 0
    with configured(node, MIN_FREE, f'min_free = "{(free - MARGIN) // 2**20}MiB"'):
        plant.bring_back(node)
        allocate(ballast, 2 * MARGIN)
        try:
            eventually(
                lambda: (node.status() or {}).get("disk_low"), plant.last_words("the disk is low")
            )
            others = plant.others(node)
            plant.progress(others, f"while {node.name} is low")
            signed = plant.heard(of_victim)
            plant.progress(others, f"while {node.name} is low")
            assert plant.heard(of_victim) == signed, plant.last_words(f"{node.name} signs")
        finally:
            ballast.unlink()
        begun = time.monotonic()
        plant.catch_up(node, plant.highest())
        seconds = time.monotonic() - begun
        assert node.terminate() == 0
    plant.bring_back(node)
    return seconds


def full(plant: ChaosPlant, node: Node) -> float:
    """No space left on its disk; seconds until it is back once there is."""
    assert node.terminate() == 0
    image = plant.testnet.out / "full.img"
    with configured(node, MIN_FREE, 'min_free = "0B"'), own_disk(node, image, DISK_MIB):
        plant.bring_back(node)
        ballast = node.home / "ballast"
        fill(ballast)
        stops_by_name(plant, node, "its disk is full")
        ballast.unlink()
        seconds = plant.bring_back(node)
        assert node.terminate() == 0
    plant.bring_back(node)
    return seconds


def broken(plant: ChaosPlant, node: Node) -> float:
    """Every access to its disk fails from one instant on; seconds until it is back."""
    assert node.terminate() == 0
    with own_disk(node, plant.testnet.out / "broken.img", DISK_MIB) as disk:
        plant.bring_back(node)
        plant.more_acknowledged(20, "before its disk breaks")
        disk.lose_power()
        stops_by_name(plant, node, "its disk is broken")
        disk.unmount()
        disk.mount()
        seconds = plant.bring_back(node)
        assert node.terminate() == 0
    plant.bring_back(node)
    return seconds


WITHOUT_ROOT: tuple[Callable[[ChaosPlant, Node], float], ...] = (limited, low)
WITH_ROOT = (*WITHOUT_ROOT, full, broken)


def allocate(file: Path, size: int) -> None:
    """Take so many bytes of its disk."""
    handle = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)


def fill(file: Path) -> None:
    """Take what is left of its disk, to the last block."""
    size = shutil.disk_usage(file.parent).free
    with file.open("wb", buffering=0) as ballast:
        while size >= BLOCK:
            try:
                ballast.write(bytes(size))
            except OSError as err:
                if err.errno != errno.ENOSPC:
                    raise
                size //= 2


@contextmanager
def configured(node: Node, old: str, new: str) -> Iterator[None]:
    """Another line in node.toml, for a while."""
    configure(node, old, new)
    try:
        yield
    finally:
        configure(node, new, old)


def run(folder: Path, seed: int, times: int, *, root: bool = False) -> Figures:
    """So many times each fault on one plant, then every check."""
    faults = WITH_ROOT if root else WITHOUT_ROOT
    back: dict[str, list[float]] = {fault.__name__: [] for fault in faults}
    with chaos_plant(folder, seed=seed) as plant:
        plant.start()
        for count in range(times):
            for fault in faults:
                victim = plant.chance.choice(plant.nodes)
                back[fault.__name__].append(fault(plant, victim))
                plant.check_promises()
                say(f"{fault.__name__} {count + 1}: {victim.name}, height {plant.highest()}")
        plant.check_all()
        return {
            "faults": f"{times * len(faults)}",
            **{f"back after {name}": spread(seconds) for name, seconds in back.items()},
            **plant.figures(),
        }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--times", type=int, default=5)
    arguments.add_argument("--root", action="store_true", help="ENOSPC and EIO too")
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.times, root=options.root))
