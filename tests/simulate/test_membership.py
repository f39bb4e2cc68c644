"""Simulated plants whose members and producers change while everything else goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from vppd.config.founding import founding_era
from vppd.config.genesis import Engine
from vppd.crypto import sha256
from vppd.era import EraMember
from vppd.simulate.cluster import Cluster, simulate
from vppd.simulate.epochs import what_differs
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Outcome, Setup

FAULTS = parse_sets("membership,network,crash,partition,power,clock,storage,byzantine")
GOVERNED = {"bncm": (1, 2, 6, 8), "pbft": (1, 6, 10, 19)}
ELECTED = (2, 3, 4, 11)
"""Seeds in which much is decided."""


def governed(engine: str, seed: int) -> Setup:
    """A plant of four to seven whose people add, remove, re-key and readmit nodes."""
    n = 4 + seed % 4
    return Setup(engine=Engine(engine), n=n, joiners=3, heights=10, faults=FAULTS)


def over(outcomes: Iterable[Outcome]) -> Counter[str]:
    """What happened in all of them together."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        assert outcome.violation is None, f"seed {outcome.seed}: {outcome.violation}"
        total.update(outcome.epochs)
    return total


@pytest.mark.parametrize("engine", GOVERNED)
def test_members_come_and_go_while_everything_goes_wrong(engine: str) -> None:
    made = over(simulate(governed(engine, seed), seed) for seed in GOVERNED[engine])
    wanted = {"admitted", "removed", "rekeyed", "engine", "rules", "convicted"}
    if engine == "pbft":
        wanted.add("readmitted")
    assert wanted <= made.keys(), f"no node was {wanted - made.keys()} in {made}"


def test_producers_are_elected_skipped_and_punished_while_everything_goes_wrong() -> None:
    """Four out of seven, elected every eight heights."""
    setup = Setup(
        engine=Engine("dpos"), n=7, delegates=4, epoch_blocks=8, heights=12,
        faults=parse_sets("membership,all"),
    )  # fmt: skip
    outcomes = [simulate(setup, seed) for seed in ELECTED]
    made = over(outcomes)
    assert made["elected"] >= 20, made
    assert {"punished", "convicted"} <= made.keys(), made
    assert any(outcome.faults["blackout"] for outcome in outcomes)


def test_an_epoch_has_the_same_members_on_every_node() -> None:
    cluster = Cluster(governed("pbft", 2), 2)
    outcome = cluster.run()
    assert outcome.violation is None, outcome.violation
    machines = [node.machine for node in cluster.nodes if node.machine is not None]
    last = min(machine.term.epoch for machine in machines)
    assert last >= 4, f"{outcome.epochs}"
    sets = {term.validators.digest for m in machines if (term := m.terms.of(last)) is not None}
    assert len(sets) == 1


def test_a_run_with_members_that_change_replays_byte_for_byte() -> None:
    first, second = (simulate(governed("bncm", 8), 8) for _ in range(2))
    assert first == second
    assert first.epochs["rekeyed"]


def test_what_made_an_epoch_is_told_apart() -> None:
    genesis = Cluster(Setup(engine=Engine("pbft"), faults=parse_sets("none")), 1).genesis
    era = founding_era(genesis)
    first, *others = era.members
    new = EraMember(sha256(b"new"), operator=False, name="new")
    renamed = replace(first, nonce=sha256(b"drawn"))
    assert what_differs(era, replace(era, members=(*era.members, new))) == {"admitted"}
    assert what_differs(era, replace(era, members=tuple(others))) == {"removed"}
    assert what_differs(era, replace(era, members=(new, *others))) == {"rekeyed"}
    assert what_differs(era, replace(era, members=(renamed, *others))) == {"readmitted"}
    assert what_differs(era, replace(era, engine="bncm")) == {"engine"}
    assert what_differs(era, replace(era, rules=(("max_block_txs", 8),))) == {"rules"}
    dpos = replace(era, engine="dpos")
    assert what_differs(dpos, replace(dpos, members=tuple(others))) == {"elected"}
