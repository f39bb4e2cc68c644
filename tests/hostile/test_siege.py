"""A short portion of the siege: the plant goes on, and each attacker gets what it deserves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile import siege
from tests.hostile.attackers import Forged, Slow, forge_votes, intruder
from tests.hostile.siege import Besieged, besiege_slowly, besieged, fill_blocks, hold_memory
from tests.hostile.wire import fuzz_sockets
from vppd.consensus.messages import Type
from vppd.crypto import SigningKey, sha256
from vppd.errors import PeerFault
from vppd.net.frames import encode_frame
from vppd.net.hello import Kind
from vppd.net.limits import BAD_SIGNATURES, CUT_FAULTS
from vppd.net.link import DEADLINES

pytestmark = [pytest.mark.slow, pytest.mark.net]

SECONDS = 3.0
MEMORY_MIB = 300
GRACE_S = 3.0
"""For the linger after a cut, and for a machine that is busy with the attack itself."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    with besieged(tmp_path_factory.mktemp("siege") / "plant") as made:
        made.start()
        yield made
        assert [node.process.poll() for node in made.nodes] == [None] * len(made.nodes)
        for node in made.nodes:
            assert "internal error" not in node.log
            status = node.status()
            assert status is not None
            assert status["evidence"] == 0
        made.wait_equal()


def test_slow_ones_are_reaped_and_the_plant_goes_on(
    plant: Besieged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siege, "HALF_OPEN", 50)
    monkeypatch.setattr(siege, "STALLED", 20)
    monkeypatch.setattr(siege, "DRIPPING", 5)
    tcp, tls, frames = Slow(), Slow(), Slow()
    work = besiege_slowly(plant, tcp, tls, frames)
    patience = DEADLINES.frame + DEADLINES.linger + GRACE_S
    overdue: Counter[str] = Counter()

    def look() -> None:
        for slow in (tcp, tls):
            overdue.update(slow.overdue(plant.outside, siege.REAPED_S))

    latency = asyncio.run(plant.under(work, patience, look))
    assert overdue["held"] == 0, f"the node has closed each in time: {overdue}"
    assert latency.payments > 1
    assert len(frames.lived) > 0
    assert max(frames.lived) <= patience
    for slow in (tcp, tls):
        assert slow.opened >= 20
        assert slow.lived


def test_links_that_hold_all_they_can_do_not_hold_the_node(
    plant: Besieged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siege, "FILL", 96)

    async def main() -> float:
        top = await fill_blocks(plant)
        holders = [asyncio.create_task(hold_memory(plant, top, i)) for i in range(siege.HOLDERS)]
        try:
            watching = asyncio.create_task(siege.peak_rss_mib(plant.target, 2 * SECONDS))
            assert len(await plant.pay(plant.target, SECONDS)) > 1
            return await watching
        finally:
            for holder in holders:
                holder.cancel()
            await asyncio.gather(*holders, return_exceptions=True)

    assert asyncio.run(main()) < MEMORY_MIB


def test_forged_votes_cut_and_bar_who_hands_them_over(plant: Besieged) -> None:
    forged = Forged()
    flood = forge_votes(plant, plant.target, plant.traitor, siege.FLOOD_PER_S, forged)
    latency = asyncio.run(plant.under(flood, SECONDS))
    assert latency.payments > 1, "the plant goes on deciding"
    assert forged.sent >= BAD_SIGNATURES
    assert len(forged.cuts) == 1, f"once; reconnecting helps nothing: {forged.cuts}"
    assert forged.cuts[0] in {"too many bad signatures", ""}
    assert "too many bad signatures" in plant.target.log
    assert forged.refusals
    assert all("barred for 10 s" in why for why in forged.refusals)


def test_a_member_that_sends_garbage_again_and_again_is_barred(plant: Besieged) -> None:
    """Its key does not help it: what counts for somebody who is no validator is the certificate."""

    async def once(number: int) -> str:
        key = SigningKey(sha256(b"garbage %d" % number))
        async with intruder(plant, plant.nodes[2], plant.traitor, Kind.OBSERVER, key) as attacker:
            await attacker.send(encode_frame(Type.PREPARE, b"\xc1"))
            await attacker.listen()
            return attacker.why

    async def main() -> list[str]:
        whys = []
        for number in range(BAD_SIGNATURES // CUT_FAULTS + 1):
            try:
                whys.append(await once(number))
            except PeerFault as err:
                whys.append(str(err))
        return whys

    *cuts, barred = asyncio.run(main())
    assert all("not a Prepare" in why for why in cuts)
    assert "barred for 10 s" in barred


def test_an_honest_node_gets_in_while_strangers_are_at_the_gate(plant: Besieged) -> None:
    figures = asyncio.run(siege.restart_under_siege(plant))
    assert list(figures) == ["an honest node restarts meanwhile and is connected after"]
    plant.wait_equal()


# ---------------------------------------------------------------- bent frames through sockets

CONNECTIONS = 300
SEED = 7


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Besieged]:
    """Without TLS a stranger needs no certificate, and each new key is a new identity."""
    with besieged(tmp_path / "plant", "plain") as made:
        made.start()
        yield made


def test_bent_frames_through_sockets_leave_a_node_as_it_was(plain: Besieged) -> None:
    warm = asyncio.run(fuzz_sockets(plain, CONNECTIONS, SEED))
    sent = asyncio.run(fuzz_sockets(plain, CONNECTIONS, SEED + 1))
    assert sent.frames > CONNECTIONS, f"seed {SEED}"
    assert sent.growth_mib < 32, f"seed {SEED}, after {warm.growth_mib:.1f} MiB"
    assert plain.target.process.poll() is None, plain.target.log[-2_000:]
    assert len(asyncio.run(plain.pay(plain.target, 0.1))) > 1
    assert "Traceback" not in plain.target.log
    assert plain.wait_equal()[0] > 0
