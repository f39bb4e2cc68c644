"""Store files damaged between two runs of a node: ``python -m tests.chaos.torn_node --n 20``.

A node is killed under load, its database or its log cut short, flipped, overwritten or removed, and
started again while the plant goes on. It must open, or follow without voting, or refuse by name;
whatever it does, the tap must not hear it sign a second thing. What opens must also hold under
``vppd block verify``, or be found there, by name.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from tests.chaos import report
from tests.chaos.plant import VERIFY_S, ChaosPlant, chaos_plant
from tests.chaos.report import Figures, say
from tests.e2e.plant import Node, eventually, vppd

STORE, LOG = "chain.db", "chain.db-wal"
PAGE = 4096
FLIPS = 64
NAMED = re.compile(r"error\[E2[5-7]\d\]")
"""An error of the store."""


class Outcome(StrEnum):
    """What became of a damaged node."""

    OPENED = "opened, and everything holds"
    FOUND = "opened, and verify names the damage"
    OBSERVER = "follows, and does not vote"
    REFUSED = "refused by name"
    STOPPED = "stopped by name, later"


def cut(data: bytearray, chance: random.Random) -> None:
    """Lose the end, from anywhere on."""
    del data[chance.randrange(len(data)) :]


def flip(data: bytearray, chance: random.Random) -> None:
    """Some bits, anywhere."""
    for _ in range(chance.randint(1, FLIPS)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def blank(data: bytearray, chance: random.Random) -> None:
    """A page of zeros: a sector that was never written."""
    at = chance.randrange(len(data)) // PAGE * PAGE
    data[at : at + PAGE] = bytes(min(PAGE, len(data) - at))


DAMAGES: Mapping[str, Callable[[bytearray, random.Random], None]] = {
    "cut": cut,
    "flipped": flip,
    "blanked": blank,
}


def damage(home: Path, chance: random.Random) -> str:
    """Do something to one of the store's files; what, for people."""
    files = [file for name in (STORE, LOG) if (file := home / name).exists() and _size(file)]
    file = chance.choice(files)
    name = chance.choice([*DAMAGES, "removed"])
    if name == "removed" and file.name == LOG:
        file.unlink()
    else:
        name = "cut" if name == "removed" else name
        data = bytearray(file.read_bytes())
        DAMAGES[name](data, chance)
        file.write_bytes(data)
    return f"{file.name} {name}"


def _size(file: Path) -> int:
    return file.stat().st_size


def tear(plant: ChaosPlant, victim: Node, aside: Path) -> tuple[Outcome, str]:
    """Kill, damage, start; what became of it, and what had been done.

    A node that refuses or follows has signed nothing since: it gets its files back as they were.
    """
    victim.kill()
    shutil.copytree(victim.home, aside, ignore=shutil.ignore_patterns("*.sock"))
    done = damage(victim.home, plant.chance)
    victim.log_file.write_text("")
    mark = plant.highest()
    victim.start()

    def settled() -> bool:
        status = victim.status()
        return victim.process.poll() is not None or bool(
            status and status["height"] >= mark and (status["voting"] or status.get("observer"))
        )

    what = plant.last_words(f"{victim.name} with {done} opens, follows or refuses")
    eventually(settled, what)
    plant.progress(plant.others(victim), f"beside {victim.name} with {done}")
    outcome = judge(plant, victim, done)
    if outcome in (Outcome.REFUSED, Outcome.OBSERVER):
        victim.end()
        shutil.rmtree(victim.home)
        aside.rename(victim.home)
        plant.bring_back(victim)
    else:
        shutil.rmtree(aside)
    return outcome, done


def judge(plant: ChaosPlant, victim: Node, done: str) -> Outcome:
    """What it is now, some blocks later."""
    if victim.process.poll() is not None:
        text = victim.log
        named = NAMED.search(text)
        assert named, plant.last_words(f"{victim.name} with {done} ended without a name: {text}")
        return Outcome.STOPPED if '"started"' in text else Outcome.REFUSED
    status = victim.status() or {}
    if status.get("observer"):
        return Outcome.OBSERVER
    found = vppd("block", "verify", "--home", victim.home, seconds=VERIFY_S)
    if found.code == 0:
        return Outcome.OPENED
    named = NAMED.search(found.err)
    assert named, plant.last_words(f"verify of {victim.name} with {done}: {found.err}")
    return Outcome.FOUND


def run(folder: Path, seed: int, n: int) -> Figures:
    """So many damages; a plant whose node is damaged for good makes room for a new one."""
    outcomes: Counter[Outcome] = Counter()
    damages: Counter[str] = Counter()
    plants = signatures = 0
    folder.mkdir()
    left = n
    while left:
        plants += 1
        with chaos_plant(folder / f"plant-{plants}", seed=seed + plants) as plant:
            plant.start()
            whole = True
            while left and whole:
                plant.more_acknowledged(10, "before a damage")
                victim = plant.chance.choice(plant.nodes)
                aside = folder / "aside"
                outcome, done = tear(plant, victim, aside)
                plant.check_promises()
                outcomes[outcome] += 1
                damages[done] += 1
                left -= 1
                whole = outcome not in (Outcome.FOUND, Outcome.STOPPED)
                say(f"damage {n - left}: {victim.name}, {done}: {outcome}")
            if whole:
                plant.check_all()
            signatures += plant.heard(lambda tap: tap.signatures)
    return {
        "damages": ", ".join(f"{count} {what}" for what, count in sorted(damages.items())),
        **{str(outcome): outcomes[outcome] for outcome in Outcome},
        "plants": plants,
        "signatures heard, no two clash": signatures,
    }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--n", type=int, default=20)
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.n))
