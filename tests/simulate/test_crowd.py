"""Many transactions at once in simulated plants: they come, are decided, and a fault is noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from vppd.codec import Decoder
from vppd.consensus.messages import Txs, Type
from vppd.ledger.transaction import Transaction
from vppd.net.gate import BadSignature, Gate
from vppd.node.intake import Intake, Outcome
from vppd.simulate.cluster import Cluster, simulate
from vppd.simulate.faults import parse_sets
from vppd.simulate.outcome import Setup

SEED = 7
SETUP = Setup(n=4, heights=8, faults=parse_sets("network,crash"))


def test_several_travel_in_one_frame_and_are_decided() -> None:
    cluster = Cluster(SETUP, SEED)
    sizes: Counter[int] = Counter()
    decode = Decoder(Txs)

    def note(_: int, frame: Any) -> None:
        if frame.type is Type.TXS:
            sizes[len(decode(frame.payload).raws)] += 1

    cluster.recorder = note
    outcome = cluster.run()
    assert outcome.violation is None
    assert outcome.effects["burst"] > 0
    assert max(sizes) > 8, "more than are verified on the spot"
    disk = cluster.nodes[0].disk
    blocks = [disk.decision(height).txs for height in range(1, disk.decided + 1)]
    assert max(map(len, blocks)) > 8
    alone = simulate(SETUP, SEED - 1)
    assert alone.effects["burst"] == 0, "in other seeds nobody hands over many"


def test_a_seed_with_many_replays() -> None:
    assert simulate(SETUP, SEED) == simulate(SETUP, SEED)


def test_where_nothing_goes_wrong_nothing_but_the_workload_is_measured() -> None:
    quiet = simulate(Setup(n=4, heights=3, faults=parse_sets("none")), SEED)
    assert quiet.effects["burst"] == 0


def test_a_node_that_passes_on_what_it_has_not_verified_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Intake.take

    class Believer:
        async def check(self, _: Gate, txs: Sequence[Transaction]) -> list[BadSignature | None]:
            return [None] * len(txs)

    async def take(intake: Intake, raws: Sequence[bytes], *, own: bool) -> list[Outcome]:
        if own:
            intake._verifier = Believer()
        return await right(intake, raws, own=own)

    monkeypatch.setattr(Intake, "take", take)
    found = [simulate(SETUP, seed).violation or "" for seed in range(SEED, SEED + 20, 4)]
    assert all(found), "in each of these seeds somebody forges"
    assert any("passed on what it should have refused" in what for what in found), found
