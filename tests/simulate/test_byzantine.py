"""Replicas that lie, with everything else going wrong as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from tests.simulate.plants import PLANTS, Plant
from vppd.consensus.messages import Block, Collected, Commit, Prepare, Status, ViewChange
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.net.gate import decode_message
from vppd.node.beats import Frame
from vppd.simulate.byzantine import Shameless, draw_liars
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.forge import another_block, framed, resign
from vppd.simulate.outcome import Outcome

LIES = {
    "bad_new_view", "equivocate", "flood", "forge", "late", "lying_change", "lying_status",
    "replay", "selective", "silent", "two_votes", "unasked_change", "unasked_new_view",
    "vote_for_everything", "wrong_answer", "wrong_reply", "wrong_roots",
}  # fmt: skip
PATH_LIES = {
    "agree_to_some", "hoard", "keep_agree", "loud_for_others", "shown_to_one", "stale_votes",
    "two_envelopes", "two_paths", "unasked_pre_prepared", "wrong_pre_prepared",
}  # fmt: skip
COLLECT = Plant("bncm", "collect")


def run(n: int, seed: int, faults: str, plant: Plant, heights: int = 12) -> Outcome:
    cluster = Cluster(plant.setup(n=n, heights=heights, faults=parse_sets(faults)), seed)
    outcome = cluster.run()
    replay = plant.replay(n, seed, f"--heights {heights} --faults {faults}")
    assert outcome.violation is None, f"{outcome.violation}\n  replay  {replay}"
    assert len(cluster.byzantine) <= (n - 1) // 3
    assert outcome.healed_views is not None
    if "storage" not in faults:
        assert not outcome.observers, f"an honest replica gave up\n  replay  {replay}"
    return outcome


@pytest.mark.parametrize("plant", PLANTS, ids=str)
@pytest.mark.parametrize("n", [4, 6, 7, 10])
def test_liars_change_nothing_and_stop_nobody(n: int, plant: Plant) -> None:
    run(n, 100 * n, "byzantine,network,crash,partition", plant)


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_liars_alone(plant: Plant) -> None:
    outcome = run(4, 21, "byzantine", plant)
    assert outcome.lies


@pytest.mark.parametrize(("n", "faults"), [(4, "byzantine,power"), (7, "all")])
@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_liars_and_power_failures(n: int, faults: str, plant: Plant) -> None:
    run(n, 31, faults, plant)


def test_liars_and_disks_that_forget() -> None:
    run(7, 31, "byzantine,storage,power", COLLECT)


def test_the_path_a_leader_picks_for_itself_survives_liars() -> None:
    """Long enough for ``auto`` to have tried both paths."""
    decisions: Counter[str] = Counter()
    for seed in range(1, 9):
        decisions += run(4, seed, "byzantine", Plant("bncm", "auto"), heights=30).decisions
        if decisions["fast"] and decisions["fast_exit"] and decisions["slow"]:
            return
    pytest.fail(f"seeds 1 to 8: {decisions}")


@pytest.mark.parametrize("plant", [Plant("pbft"), COLLECT], ids=str)
def test_every_lie_is_told_and_has_its_effect(plant: Plant) -> None:
    lies, evidence, fallbacks = Counter[str](), Counter[str](), Counter[str]()
    missing: set[str] = set()
    refused = views = 0
    for seed in range(1, 31):
        outcome = run(4, seed, "byzantine,partition", plant, heights=10)
        lies += outcome.lies
        evidence += outcome.evidence
        fallbacks += outcome.fallbacks
        refused += outcome.effects["refused_lie"]
        views += outcome.view_changes
        missing = LIES | {"vote", "commit", "proposal", "concealment"}
        if plant == COLLECT:
            missing |= PATH_LIES | {"grace", "leader", "prepares", "replica_timer"}
        missing -= set(lies) | set(evidence) | set(fallbacks)
        if not missing and refused > 100 and views > 50:
            assert set(lies) <= LIES | PATH_LIES
            return
    pytest.fail(f"seeds 1 to 30: {refused} refused, {views} view changes, without {missing}")


def test_nobody_lies_where_nobody_may() -> None:
    for n in (1, 2, 3):
        assert not draw_liars(Random(n), n, sha256(b"chain")).nodes
        run(n, 4, "byzantine,crash", COLLECT)


class Conspiracy:
    """0, who leads, and 1 show 2 one first block and 3 another, and vote for both of them."""

    def __init__(self, plant: Plant) -> None:
        setup = plant.setup(n=4, delay_us=1_000, faults=parse_sets("none"))
        self._other = bytes(32)
        engines = dict.fromkeys((0, 1), Shameless)
        self.cluster = Cluster(setup, 1, engines, self, (0, 1))

    def __call__(self, node: int, frame: Frame) -> Sequence[Frame]:
        message = decode_message(frame.type, frame.payload)
        if node > 1 or isinstance(message, Status):
            return [frame]
        targets = range(4) if isinstance(frame.to, str) else frame.to
        kept = frame._replace(to=tuple(i for i in targets if i not in (node, 3)))
        if not isinstance(message, Block | Prepare | Collected):
            return [kept]  # 3 hears nothing of what the others lock and decide
        chain_id = self.cluster.genesis.digest
        lies: list[Frame] = []
        if isinstance(message, Block):
            other = another_block(message, decode_header(message.header), empty=True)
            self._other = other.digest
            lies.append(framed(resign(other, node, chain_id), (3,)))
        at = (message.epoch, message.view, message.height, self._other, node, bytes(64))
        votes = (resign(Prepare(*at), node, chain_id), resign(Commit(*at), node, chain_id))
        return [kept, *lies, *(framed(vote, (3,)) for vote in votes)]


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_one_liar_too_many_forks_and_is_noticed(plant: Plant) -> None:
    """Two of four: nothing is promised, and the checkers say what is broken."""
    outcome = Conspiracy(plant).cluster.run()
    assert outcome.forks == 1, outcome.violation
    assert "fork at height 1" in str(outcome.violation)


HASH_SCRIPT = (
    "from vppd.simulate.cluster import simulate;"
    "from vppd.simulate.faults import parse_sets;"
    "from vppd.simulate.outcome import Setup;"
    "o = simulate(Setup(n=7, path='collect', faults=parse_sets('byzantine,network')), 3);"
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
        setup = COLLECT.setup(n=n, faults=parse_sets("partition"))
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
