"""Operators die and come back: ``python -m tests.chaos.operators --times 10``.

A plant of two operators and five DERs under load. The operator that leads is killed: the other one
leads. That one is killed too: a DER leads. One of them comes back: after 256 heights of its own the
DER hands the lead back. Who led which height is read from the blocks.
"""

from __future__ import annotations

import time
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from tests.chaos import report
from tests.chaos.plant import PROGRESS_S, VIEW_TIMEOUT_MS, ChaosPlant, chaos_plant, query
from tests.chaos.report import Figures, say, spread
from tests.e2e.plant import Node, eventually
from vppd.consensus.viewchange import HAND_BACK_AFTER
from vppd.header import decode_header

N, OPERATORS = 7, 2
HAND_BACK_S = 120.0
"""For 256 heights on whatever machine this runs on."""
DECIDED = """
SELECT bodies.header FROM decisions JOIN bodies USING (digest) ORDER BY decisions.height
"""


class Reign(NamedTuple):
    """Consecutive heights by one proposer."""

    leader: str
    first: int
    last: int
    gap_ms: int
    """Block time from the last height of the one before."""

    @property
    def heights(self) -> int:
        """How many."""
        return self.last - self.first + 1


def reigns(plant: ChaosPlant, node: Node) -> list[Reign]:
    """Who led, in order, as that node's blocks say."""
    names = {n.key.public_key: n.name for n in plant.nodes}
    headers = [decode_header(row[0]) for row in query(node, DECIDED)]
    found: list[Reign] = []
    before_ms = headers[0].time_ms
    for proposer, group in groupby(headers, key=lambda header: header.proposer):
        run = list(group)
        gap_ms = run[0].time_ms - before_ms
        found.append(Reign(names[proposer], run[0].height, run[-1].height, gap_ms))
        before_ms = run[-1].time_ms
    return found


def until_led(plant: ChaosPlant, leaders: list[Node], what: str, within_s: float) -> float:
    """Seconds until a block is decided that one of ``leaders`` has proposed."""
    begun, mark = time.monotonic(), plant.highest()
    wanted = {node.name for node in leaders}
    alive = next(node for node in plant.nodes if node.process.poll() is None)

    def look() -> bool:
        return any(r.leader in wanted and r.last > mark for r in reigns(plant, alive))

    eventually(look, plant.last_words(what), within_s)
    return time.monotonic() - begun


def run(folder: Path, seed: int, times: int) -> Figures:
    """So many rounds on one plant, then every check."""
    second, der, back, given_back = [], [], [], []
    with chaos_plant(folder, N, seed=seed, operators=OPERATORS) as plant:
        operators, ders = plant.nodes[:OPERATORS], plant.nodes[OPERATORS:]
        plant.start()
        for count in range(times):
            plant.more_acknowledged(10, f"before round {count + 1}")
            begun = plant.highest()
            leader = plant.leader()
            assert leader in operators, plant.last_words(f"{leader.name} leads")
            (other,) = [node for node in operators if node is not leader]

            leader.kill()
            second.append(until_led(plant, [other], "the second operator leads", PROGRESS_S))
            plant.progress([other, *ders], f"under {other.name}")

            other.kill()
            der.append(until_led(plant, ders, "a DER leads", PROGRESS_S))
            plant.progress(ders, "under a DER")

            returning = plant.chance.choice(operators)
            back.append(plant.bring_back(returning))
            given_back.append(until_led(plant, [returning], "handed back", HAND_BACK_S))
            plant.progress([returning, *ders], f"under {returning.name} again")
            plant.bring_back(next(node for node in operators if node is not returning))
            plant.check_promises()

            seen = [r for r in reigns(plant, ders[0]) if r.last >= begun]
            names = [r.leader for r in seen]
            say(f"round {count + 1}: " + ", ".join(f"{r.leader} {r.heights}" for r in seen))
            expected = [leader.name, other.name, seen[2].leader, returning.name]
            assert names == expected, plant.last_words(f"leaders {names}")
            assert seen[2].leader in {node.name for node in ders}
            assert seen[2].heights >= HAND_BACK_AFTER, plant.last_words(f"handed back early {seen}")
        plant.check_all()
        all_reigns = reigns(plant, plant.nodes[0])
        return {
            "rounds": times,
            "T_view": f"{VIEW_TIMEOUT_MS / 1_000:.0f} s",
            "leading operator killed, until a block of the second": spread(second),
            "both killed, until a block of a DER": spread(der),
            "an operator started, until caught up": spread(back),
            "from then until a block of its own": spread(given_back),
            "longest pause between two leaders' blocks": f"{max(r.gap_ms for r in all_reigns)} ms",
            **plant.figures(),
        }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--times", type=int, default=10)
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.times))
