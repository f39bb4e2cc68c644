"""Phase times of a height, and what Prometheus is told of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from prometheus_client import generate_latest

from tests.node.plant import GENESIS, Host, N, payment, settle
from tests.wire_samples import HEADER, SIG, D
from vppd.codec import encode
from vppd.config.founding import founding_era
from vppd.consensus.boundary import Decision
from vppd.consensus.messages import (
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Prepare,
    Type,
)
from vppd.consensus.messages import (
    Path as VotePath,
)
from vppd.consensus.terms import Terms
from vppd.era import Era
from vppd.node.metrics import Metrics
from vppd.node.phases import KEPT, HeightTimes, Phases

OTHER = bytes(32)
PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")


def block(path: int = VotePath.COLLECT, view: int = 0, height: int = 7) -> Block:
    return Block(0, view, height, D, path, HEADER.encode(), (b"x",), SIG, SIG)


def vote(signer: int, digest: bytes = D, view: int = 0) -> Collected:
    return Collected(0, view, 7, digest, signer, SIG)


def decision(
    kind: CertificateKind = CertificateKind.FAST, view: int = 0, height: int = 7
) -> Decision:
    certificate = Certificate(kind, 0, view, height, D, b"\x0f", (SIG,) * 4)
    return Decision(height, D, HEADER.encode(), (), certificate)


def us(count: int) -> int:
    """In nanoseconds."""
    return count * 1_000


def test_a_leader_that_collects_sees_every_phase() -> None:
    phases = Phases(Terms(GENESIS))
    phases.proposed(7, us(100))
    phases.sent(Type.BLOCK, encode(block()), 0, us(101))
    for signer, at in ((1, 150), (1, 160), (2, 170), (3, 200)):
        phases.heard(vote(signer), 0, us(at))
    phases.decided(7, us(230))
    assert phases.executed(decision(), us(250)) == HeightTimes(
        7, 0, "collect", "fast", 70, 100, 130, 150
    )


def test_a_replica_whose_leader_collects_sees_the_decision_alone() -> None:
    phases = Phases(Terms(GENESIS))
    phases.proposed(7, us(100))
    phases.heard(block(), 0, us(110))
    phases.sent(Type.RECEIVED, encode(vote(2)), 2, us(120))
    phases.decided(7, us(190))
    times = phases.executed(decision(), us(200))
    assert times == HeightTimes(7, 0, "collect", "fast", None, None, 90, 100)


def test_votes_that_come_before_the_block_count() -> None:
    phases = Phases(Terms(GENESIS))
    for signer in (1, 2):
        phases.heard(Prepare(0, 0, 7, D, signer, SIG), 0, us(90))
    phases.heard(block(VotePath.BROADCAST), 0, us(100))
    phases.decided(7, us(150))
    times = phases.executed(decision(CertificateKind.COMMIT), us(160))
    assert times == HeightTimes(7, 0, "broadcast", "slow", 0, None, 50, 60)


def test_votes_for_another_digest_or_view_are_not_counted() -> None:
    phases = Phases(Terms(GENESIS))
    phases.heard(block(VotePath.BROADCAST), 0, 0)
    for signer in (1, 2, 3):
        phases.heard(vote(signer, OTHER), 0, us(10))
        phases.heard(vote(signer, view=1), 0, us(10))
    phases.heard(Commit(0, 0, 7, D, 1, SIG), 0, us(10))
    times = phases.executed(decision(), us(20))
    assert (times.votes_us, times.all_votes_us, times.way) == (None, None, "fast_exit")


def test_times_run_from_the_first_proposal_also_over_a_view_change() -> None:
    phases = Phases(Terms(GENESIS))
    phases.heard(block(VotePath.COLLECT), 0, us(0))
    phases.heard(block(VotePath.BROADCAST, view=1), 1, us(2_000))
    times = phases.executed(decision(CertificateKind.COMMIT, view=1), us(2_500))
    assert (times.view, times.path, times.executed_us) == (1, "broadcast", 2_500)


def test_a_height_learnt_from_others_has_no_times() -> None:
    phases = Phases(Terms(GENESIS))
    phases.decided(7, us(5))
    times = phases.executed(decision(), us(10))
    assert times == HeightTimes(7, 0, "", "learnt", None, None, None, None)


def test_the_last_heights_are_kept_and_the_open_ones_forgotten() -> None:
    phases = Phases(Terms(GENESIS))
    for height in range(1, KEPT + 10):
        phases.heard(block(height=height), 0, 0)
        phases.heard(block(height=height + 1), 0, 0)
        phases.executed(decision(height=height), 1)
    assert [times.height for times in phases.done] == list(range(10, KEPT + 10))
    assert list(phases._open) == [KEPT + 10]


# ---------------------------------------------------------------- metrics


def exposed(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def lived() -> tuple[Host, Metrics]:
    """A leader that has decided two heights."""
    hosts = [Host(i) for i in range(N)]
    for host in hosts:
        host.start()
    leader = hosts[0]
    metrics = Metrics(Terms(GENESIS))
    for nonce in range(2):
        leader.machine.submit(payment(1, nonce), 0, own=False)
        settle(hosts)
    for done in leader.committed:
        metrics.committed(done)
    metrics.stands(leader.machine.engine.status())
    return leader, metrics


def test_counters_follow_the_engine_and_never_count_twice() -> None:
    leader, metrics = lived()
    metrics.stands(leader.machine.engine.status())
    said = exposed(metrics)
    assert GENESIS.consensus.path == "auto"
    assert said['vppd_decisions_total{way="fast_exit"}'] == 2
    assert said["vppd_height"] == 2
    assert said["vppd_path_collect"] == 0
    assert said["vppd_fast_success_ratio"] == 1
    assert 'vppd_path_cost_seconds{path="broadcast"}' in said


def test_phases_are_observed() -> None:
    metrics = Metrics(Terms(GENESIS))
    metrics.proposal(7, own=True)
    metrics.sent(Type.BLOCK, encode(block()), 0)
    for signer in (1, 2, 3):
        metrics.heard(vote(signer), 0)
    metrics.decided(7)
    execution: Any = None
    from vppd.node.beats import Committed

    metrics.committed(Committed(decision(), execution))
    said = exposed(metrics)
    for phase in ("votes", "all_votes", "decided", "executed"):
        assert said[f'vppd_phase_seconds_count{{phase="{phase}"}}'] == 1


def test_every_metric_is_on_the_page_and_no_other() -> None:
    _, metrics = lived()
    names = {family.name for family in metrics.registry.collect()}
    _, _, section = PAGE.partition("## Metrics")
    listed = set(re.findall(r"`(vppd_\w+)", section))
    assert {name.removesuffix("_total") for name in listed} == names


def test_how_many_votes_it_takes_follows_the_epoch() -> None:
    terms = Terms(GENESIS)
    terms.note([Era(1, 8, "pbft", None, None, founding_era(GENESIS).members[:1])])
    phases = Phases(terms)
    phases.proposed(7, us(0))
    phases.heard(vote(0), 0, us(1))
    phases.heard(replace(vote(0), epoch=1, height=8), 0, us(2))
    phases.heard(replace(vote(0), epoch=9, height=8), 0, us(3))
    assert phases.executed(decision(), us(5)).votes_us is None, "one of four"
    phases.proposed(8, us(2))
    assert phases.executed(decision(height=8), us(5)).votes_us == 0, "one of one"


def slow(phases: Phases, height: int) -> HeightTimes:
    phases.heard(block(height=height), 0, 0)
    return phases.executed(decision(CertificateKind.COMMIT, height=height), us(10), 77)


def test_synced_writes_are_noted_with_the_height() -> None:
    assert slow(Phases(Terms(GENESIS)), 7).persist_us == 77


def test_a_fallback_is_of_the_slow_height_it_was_counted_with() -> None:
    phases = Phases(Terms(GENESIS))
    slow(phases, 7)
    phases.fell_back("grace")
    assert [times.fallback for times in phases.done] == ["grace"]
    slow(phases, 8)
    assert [times.fallback for times in phases.done] == ["grace", None]


def test_a_fallback_counted_before_its_height_is_decided_waits_for_it() -> None:
    phases = Phases(Terms(GENESIS))
    phases.heard(block(height=7), 0, 0)
    phases.executed(decision(height=7), us(10))
    phases.fell_back("leader")
    slow(phases, 8)
    assert [times.fallback for times in phases.done] == [None, "leader"]
