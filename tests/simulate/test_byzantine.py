"""Replicas that lie, with everything else going wrong as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from vppd.consensus.messages import Block, Prepare, ViewChange
from vppd.crypto import sha256
from vppd.net.gate import decode_message
from vppd.node.machine import Frame
from vppd.simulate.byzantine import Liars, Shameless, draw_liars
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Outcome, Setup

LIES = {
    "bad_new_view", "equivocate", "flood", "forge", "late", "lying_change", "lying_status",
    "replay", "selective", "silent", "two_votes", "unasked_change", "unasked_new_view",
    "vote_for_everything", "wrong_answer", "wrong_reply", "wrong_roots",
}  # fmt: skip


def run(n: int, seed: int, faults: str, heights: int = 12) -> Outcome:
    setup = Setup(n=n, heights=heights, faults=parse_sets(faults))
    cluster = Cluster(setup, seed)
    outcome = cluster.run()
    replay = f"vppd simulate -n {n} --seeds {seed} --heights {heights} --faults {faults}"
    assert outcome.violation is None, f"{outcome.violation}\n  replay  {replay}"
    assert len(cluster.byzantine) <= (n - 1) // 3
    assert outcome.healed_views is not None
    if "storage" not in faults:
        assert not outcome.observers, f"an honest replica gave up\n  replay  {replay}"
    return outcome


@pytest.mark.parametrize("n", [4, 6, 7, 10])
def test_liars_change_nothing_and_stop_nobody(n: int) -> None:
    for seed in range(100 * n, 100 * n + 2):
        run(n, seed, "byzantine,network,crash,partition")


def test_liars_alone() -> None:
    for seed in range(20, 23):
        outcome = run(4, seed, "byzantine")
        assert outcome.lies


@pytest.mark.parametrize("faults", ["byzantine,power", "byzantine,storage,power", "all"])
def test_liars_and_power_failures(faults: str) -> None:
    for seed in range(31, 35, 2):
        run(7, seed, faults)


def test_every_lie_is_told_and_has_its_effect() -> None:
    lies: Counter[str] = Counter()
    evidence: Counter[str] = Counter()
    refused = views = 0
    for seed in range(1, 17):
        outcome = run(4, seed, "byzantine,partition", heights=10)
        lies += outcome.lies
        evidence += outcome.evidence
        refused += outcome.effects["refused_lie"]
        views += outcome.view_changes
    assert set(lies) == LIES
    assert {"vote", "commit", "proposal", "concealment"} <= set(evidence)
    assert refused > 100
    assert views > 50


def test_nobody_lies_where_nobody_may() -> None:
    for n in (1, 2, 3):
        assert not draw_liars(Random(n), n, sha256(b"chain")).nodes
        run(n, 4, "byzantine,crash")


def test_one_liar_too_many_is_noticed() -> None:
    """Two of four: nothing is promised, and the checkers say what is broken."""
    seen = []
    for seed in range(1, 6):
        setup = Setup(n=4, faults=parse_sets("network"))
        probe = Cluster(setup, seed)
        liars = Liars(Random(seed), (0, 1), 4, probe.genesis.digest)
        engines = dict.fromkeys(liars.nodes, Shameless)
        seen.append(Cluster(setup, seed, engines, liars, liars.nodes).run().violation)
    assert any(seen), "two liars of four got away with it in every run"


HASH_SCRIPT = (
    "from vppd.simulate.cluster import simulate;"
    "from vppd.simulate.faults import parse_sets;"
    "from vppd.simulate.outcome import Setup;"
    "o = simulate(Setup(n=7, faults=parse_sets('byzantine,network')), 3);"
    "print(o.trace, o.events, sorted(o.lies.items()))"
)


def test_lies_replay_identically_under_any_hash_seed() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-c", HASH_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "77")
    }
    assert len(traces) == 1, traces


# ---------------------------------------------------------------- what really leaves a liar


class Wire:
    """Every frame of one run with liars, before and after."""

    def __init__(self, n: int, seed: int) -> None:
        setup = Setup(n=n, faults=parse_sets("partition"))
        self.liars = draw_liars(Random(seed), n, Cluster(setup, seed).genesis.digest)
        self.frames: list[tuple[int, Frame, Sequence[Frame]]] = []
        engines = dict.fromkeys(self.liars.nodes, Shameless)
        self.cluster = Cluster(setup, seed, engines, self._tamper, self.liars.nodes)
        assert self.cluster.run().violation is None

    def _tamper(self, node: int, frame: Frame) -> Sequence[Frame]:
        sent = self.liars(node, frame)
        self.frames.append((node, frame, sent))
        return sent


def test_honest_frames_go_through_and_liars_forge_nobody() -> None:
    wire = Wire(7, 8)
    refused = 0
    for node, frame, sent in wire.frames:
        if node not in wire.liars.nodes:
            assert sent == [frame]
            continue
        for lie in sent:
            message = decode_message(lie.type, lie.payload)
            if isinstance(message, Prepare) and message.signer != node:
                refused += 1
                with pytest.raises(Exception, match="did not sign"):
                    wire.cluster.nodes[0].machine.gate.check(message)  # type: ignore[union-attr]  # healed
    assert wire.liars.told["forge"] == 0 or refused > 0


def test_a_liar_says_different_things_to_different_nodes() -> None:
    """Over some runs: two blocks at one place, two view changes for one view, both well signed."""
    doubled: Counter[type] = Counter()
    for seed in range(1, 6):
        wire = Wire(4, seed)
        said: dict[tuple[type, int, int, int], set[bytes]] = {}
        for node, _, sent in wire.frames:
            for frame in sent if node in wire.liars.nodes else ():
                message = decode_message(frame.type, frame.payload)
                key: tuple[type, int, int, int]
                if isinstance(message, Block):
                    key = (Block, node, message.view, message.height)
                elif isinstance(message, ViewChange) and message.standing.signer == node:
                    key = (ViewChange, node, message.standing.view, 0)
                else:
                    continue
                said.setdefault(key, set()).add(frame.payload)
        doubled.update(kind for (kind, *_), payloads in said.items() if len(payloads) > 1)
    assert doubled[Block] > 0
    assert doubled[ViewChange] > 0
