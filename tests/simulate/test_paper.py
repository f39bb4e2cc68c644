"""The published protocol forks where the shipped one does not; what its timing costs."""

from __future__ import annotations

from statistics import fmean

import msgspec
import pytest

from vppd.simulate.byzantine import Shameless
from vppd.simulate.cluster import Cluster, simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup
from vppd.simulate.paper import (
    LostMemory,
    PublishedCluster,
    TwoFaced,
    forked,
    simulate_published,
    simulate_timed,
)
from vppd.simulate.published import OPERATOR
from vppd.simulate.tolerance import FAULTS, Fault, bear
from vppd.types import Ppm

QUIET = parse_sets("none")
SEEDS = range(1, 6)


def calm(n: int = 4, heights: int = 12, share: Ppm = 0) -> Setup:
    fail = ((n - 1, share),) if share else ()
    return Setup(
        n=n, path="collect", heights=heights, delay_us=10_000, faults=QUIET, fail=fail
    )  # fmt: skip


# ---------------------------------------------------------------- the letter of the paper


@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_the_published_protocol_decides_in_good_weather(n: int) -> None:
    outcome = simulate_published(calm(n), 1)
    assert outcome.violation is None
    assert outcome.decisions["fast"] > 0
    assert outcome.decisions["slow"] == 0
    assert 3 * (n - 1) <= outcome.messages / outcome.decided <= 3 * (n - 1) * 1.1


def test_the_published_protocol_falls_back_to_pbft() -> None:
    outcome = simulate_published(calm(share=400_000), 1)
    assert outcome.violation is None
    assert outcome.decisions["slow"] > 0


@pytest.mark.parametrize("n", [4, 7])
def test_an_operator_with_two_faces_forks_the_published_protocol_alone(n: int) -> None:
    published, shipped = [], []
    for seed in SEEDS:
        cluster = PublishedCluster(calm(n), seed)
        two_faced = TwoFaced(n, cluster.genesis.digest)
        published.append(PublishedCluster(calm(n), seed, two_faced, {OPERATOR}).run())
        ours = Cluster(calm(n), seed, {OPERATOR: Shameless}, two_faced, {OPERATOR})
        shipped.append(ours.run())
    assert sum(map(forked, published)) == len(SEEDS), [o.violation for o in published]
    assert [o.violation for o in shipped] == [None] * len(SEEDS)
    assert all(o.effects["refused_lie"] for o in shipped)  # its word was tried on us, too


@pytest.mark.parametrize(("n", "seeds"), [(4, SEEDS), (7, SEEDS[:2])])
def test_an_operator_that_forgets_forks_the_published_protocol_alone(n: int, seeds: range) -> None:
    published, shipped = [], []
    for seed in seeds:
        adversary = LostMemory(n, seed)
        published.append(adversary.run(PublishedCluster(calm(n), seed, adversary)))
        adversary = LostMemory(n, seed)
        shipped.append(adversary.run(Cluster(calm(n), seed, None, adversary)))
    assert sum(map(forked, published)) == len(seeds), [o.violation for o in published]
    assert [o.violation for o in shipped] == [None] * len(seeds)


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("faults", ["byzantine", "power", "all"])
def test_the_simulator_shows_the_forks(faults: str, n: int) -> None:
    setup = Setup(n=n, faults=parse_sets(faults))
    for seed in SEEDS:
        assert forked(simulate_published(setup, seed)), f"seed {seed}"


def test_the_published_protocol_alone_is_not_to_blame_without_an_operator_that_fails() -> None:
    for seed in SEEDS:
        outcome = simulate_published(Setup(faults=parse_sets("network")), seed)
        assert not forked(outcome), f"seed {seed}: {outcome.violation}"


# ---------------------------------------------------------------- its timing


def test_the_fixed_timer_is_what_a_failed_height_costs() -> None:
    """Slow heights take the whole timer and three more delays; fast ones three."""
    wait_ms = 80
    outcome = simulate_timed(calm(heights=40, share=500_000), 3, wait_ms)
    assert outcome.violation is None
    assert outcome.decisions["fast"] > 0
    assert outcome.fallbacks["grace"] > 0
    fast = [us for us in outcome.commit_us if us < 60_000]
    slow = [us for us in outcome.commit_us if us >= 60_000]
    assert fast
    assert slow
    assert min(slow) >= (wait_ms + 30) * 1_000
    assert max(fast) < 30_000 + 4 * 3_500  # a synced write takes at most 3 ms


def test_the_shipped_engine_beats_the_published_timing_when_links_fail() -> None:
    setup = calm(heights=40, share=600_000)
    shipped = simulate(msgspec.structs.replace(setup, path="auto"), 4)
    pbft = simulate(msgspec.structs.replace(setup, engine="pbft"), 4)
    published = simulate_timed(setup, 4, 30)
    means = [fmean(outcome.commit_us) for outcome in (shipped, pbft, published)]
    assert means[0] <= 1.02 * means[1] < means[2], means


# ---------------------------------------------------------------- P0, §4.2.2


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("faulty", [0, 1, 2, 3])
def test_ten_nodes_decide_with_up_to_three_faulty(faulty: int, fault: Fault) -> None:
    for seed in (1, 2):
        borne = bear(Setup(n=10, heights=8, delay_us=10_000), faulty, fault, seed)
        said = f"seed {seed}, nodes {borne.faulty}: {borne.outcome.violation}"
        assert borne.outcome.violation is None, said
        assert borne.lowest >= 8, said


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("faulty", [4, 5])
def test_ten_nodes_decide_nothing_with_four_or_five_faulty(faulty: int, fault: Fault) -> None:
    setup = Setup(n=10, heights=8, delay_us=10_000)
    borne = bear(setup, faulty, fault, 1)
    assert borne.highest == 0, f"nodes {borne.faulty}"
    assert "no progress 20 T_view" in str(borne.outcome.violation)
