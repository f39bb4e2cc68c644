"""P4's majority rule forks with nobody at fault; on the same seeds the locked rule never does."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from vppd.config.genesis import Engine
from vppd.consensus.messages import Collected, Commit, Prepare
from vppd.net.gate import decode_message
from vppd.node.beats import Frame
from vppd.simulate.cluster import Cluster, simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.majority import MajorityCluster, Unheard, half, simulate_majority
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.paper import forked
from vppd.types import ReplicaIndex

SEEDS = range(1, 3)


def plant(n: int = 4, heights: int = 12, faults: str = "none") -> Setup:
    return Setup(engine=Engine("dpos"), n=n, heights=heights, faults=parse_sets(faults))


class TwoThirds(MajorityCluster):
    """2N/3 votes instead of N/2, and still no lock."""

    needed: int | None = 3


class Halves:
    """When all have two blocks, {A, B} | {C, D}: but for hashes nothing gets through for long.

    The trace of protocol.md, §13, and the same with ten. The shipped rule sends no hashes.
    """

    UNTIL_US = 20_000_000

    def __init__(self, n: int) -> None:
        self.cluster: Cluster
        self._n = n

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
        awake = all(other.disk.decided >= 2 for other in self.cluster.nodes)
        if not awake or self.cluster.time_us >= self.UNTIL_US:
            return [frame]
        if isinstance(decode_message(frame.type, frame.payload), Collected):
            return [frame]
        others = tuple(i for i in range(self._n) if i != node)
        to = others if isinstance(frame.to, str) else frame.to
        self.cluster.outcome.faults["scripted_cut"] += 1
        return [frame._replace(to=tuple(i for i in to if self._first(i) == self._first(node)))]

    def _first(self, node: ReplicaIndex) -> bool:
        return node < self._n // 2

    def run(self, cluster: Cluster) -> Outcome:
        self.cluster = cluster
        cluster.plan = msgspec.structs.replace(cluster.plan, heal_us=self.UNTIL_US)
        return cluster.run()


@pytest.mark.parametrize(("n", "votes"), [(1, 1), (2, 1), (4, 2), (5, 3), (50, 25), (51, 26)])
def test_half_is_no_less_than_half(n: int, votes: int) -> None:
    """24 of 50 fail, 25 pass, literally."""
    assert half(n) == votes
    assert 2 * votes >= n > 2 * (votes - 1)


@pytest.mark.parametrize("n", [1, 2, 4, 5, 10])
def test_it_decides_in_good_weather(n: int) -> None:
    outcome = simulate_majority(plant(n), 1)
    assert outcome.violation is None
    assert outcome.decisions["slow"] > 0
    assert outcome.view_changes == 0
    assert outcome.heights >= 12


def test_a_silent_producer_is_skipped() -> None:
    setup = msgspec.structs.replace(plant(), kill=((2, 3),))
    outcome = simulate_majority(setup, 1)
    assert outcome.violation is None
    assert outcome.triggers["timeout"] > 0
    assert outcome.heights >= 12


@pytest.mark.parametrize("n", [4, 6])
def test_two_halves_each_finish_a_block(n: int) -> None:
    """{A, B} | {C, D}: A proposes X, two yes, final; C and D skip A, Y gets two yes, final."""
    for seed in SEEDS:
        halves = Halves(n)
        outcome = halves.run(MajorityCluster(plant(n), seed, None, halves))
        assert forked(outcome), f"seed {seed}: {outcome.violation}"
        halves = Halves(n)
        shipped = halves.run(Cluster(plant(n), seed, None, halves))
        assert shipped.violation is None, f"seed {seed}: {shipped.violation}"
        assert shipped.heights >= 12, f"seed {seed}"


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_a_majority_that_one_node_saw_does_not_bind_the_others(n: int) -> None:
    for seed in SEEDS:
        unheard = Unheard(n, seed, Prepare)
        outcome = unheard.run(MajorityCluster(plant(n), seed, None, unheard))
        assert forked(outcome), f"seed {seed}: {outcome.violation}"


def test_a_larger_quorum_without_a_lock_forks_as_well() -> None:
    """A gathers three of four for X and is gone; the others skip A and finish Y."""
    for seed in SEEDS:
        unheard = Unheard(4, seed, Prepare)
        outcome = unheard.run(TwoThirds(plant(), seed, None, unheard))
        assert forked(outcome), f"seed {seed}: {outcome.violation}"


@pytest.mark.parametrize("n", [4, 5, 7])
def test_locked_votes_bind_whoever_goes_on(n: int) -> None:
    """One producer decides alone and is gone: the others decide the same block."""
    for seed in SEEDS:
        unheard = Unheard(n, seed, Commit)
        outcome = unheard.run(Cluster(plant(n), seed, None, unheard))
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"
        assert outcome.faults["scripted_cut"] == 1, f"seed {seed}"
        assert outcome.view_changes > 0, f"seed {seed}"


def test_partitions_fork_it_with_nobody_at_fault_and_the_shipped_rule_never() -> None:
    """Counted: that every other seed forks, where the partition is aimed; chance adds some."""
    setup = plant(faults="partition")
    forks = 0
    for seed in range(1, 7):
        outcome = simulate_majority(setup, seed)
        assert outcome.lies == {}, "nobody lies"
        assert set(outcome.faults) <= {"cut_off", "scripted_cut"} | {
            f"cut_{shape}"
            for shape in ("halves", "leader", "one_way", "bridge", "ring", "flapping")
        }, "nobody fails"
        assert outcome.forks == forked(outcome)
        assert outcome.violation is None or forked(outcome), f"seed {seed}: {outcome.violation}"
        forks += outcome.forks
        shipped = simulate(setup, seed)
        assert shipped.violation is None, f"seed {seed}: {shipped.violation}"
    assert forks >= 3, "every other seed at least"
