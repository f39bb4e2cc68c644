"""A plant's network carried through its eras: real sockets."""

from __future__ import annotations

import pytest

from tests.net.comings import until
from tests.net.plant import KEYS, Down, Node, Plant
from tests.node.eras import FOUNDERS, GENESIS, era, member, numbers
from vppd.config.peers import Peer
from vppd.era import Era
from vppd.net.hello import Kind
from vppd.node.membership import Membership

pytestmark = pytest.mark.net


class Living:
    """A node's network with the membership that keeps it."""

    def __init__(self, plant: Plant, key: int, peers: tuple[Peer, ...]) -> None:
        self.plant = plant
        self.key = key
        self.membership = Membership(KEYS[key].public_key, numbers().__getitem__, FOUNDERS, peers)
        self.node: Node | None = None

    async def start(self) -> None:
        plan = self.membership.plan((), 0)
        kind = Kind.OBSERVER if plan.own is None else Kind.VALIDATOR
        listen = f"{self.plant.host}:{7440 + 10 * self.key}"
        self.node = await self.plant.start(
            self.key, key=KEYS[self.key], kind=kind, entries=plan.entries, listen=listen
        )

    @property
    def running(self) -> Node:
        assert self.node is not None
        return self.node

    def follow(self, eras: tuple[Era, ...], height: int) -> None:
        plan = self.membership.plan(eras, height)
        self.membership.follow(self.running.network, plan)


async def complete(plant: Plant, living: list[Living], members: set[bytes]) -> None:
    """Until each of them, member or not, is connected to every member."""

    def look() -> bool:
        return all(
            {one.membership.number(key) for key in members - {KEYS[one.key].public_key}}
            <= set(one.running.network.connected())
            for one in living
        )

    await until(plant, look)


async def test_five_eras_on_real_sockets(plant: Plant) -> None:
    """Founders 0, 1, 2; then 4 and 5 come; 2 goes; 1 gets the key 6; 2 is back."""
    addresses = tuple(
        Peer(name=f"node-{i}", key=KEYS[i].public_key, addr=f"{plant.host}:{7440 + 10 * i}")
        for i in range(7)
    )
    peers = tuple(peer for peer in addresses if peer.name != "node-6")
    at = {i: addresses[i].addr for i in range(7)}
    living = {i: Living(plant, i, peers[:3]) for i in (0, 1, 2, 4, 5, 6)}
    for one in living.values():
        await one.start()
    eras = [
        GENESIS,
        era(1, 3, 0, 1, 2, member(4, at[4]), member(5, at[5])),
        era(2, 5, 0, 1, member(4, at[4]), member(5, at[5])),
        era(3, 7, 0, member(6, at[6], "node-1"), member(4, at[4]), member(5, at[5])),
        era(4, 9, 0, member(6, at[6], "node-1"), 2, member(4, at[4]), member(5, at[5])),
    ]
    for latest, current in enumerate(eras):
        decided = current.first - 2
        for height in (decided, decided + 1):
            for one in living.values():
                one.follow(tuple(eras[: latest + 1]), height)
        members = {m.key for m in current.members}
        inside = [one for one in living.values() if KEYS[one.key].public_key in members]

        await complete(plant, list(living.values()), members)
        for one in inside:
            assert one.membership.dismissed == ""
    assert living[1].membership.dismissed == "no validator any more since height 7"
    assert living[6].membership.dismissed == ""
    down = await living[1].running.seen.next(Down)
    assert isinstance(down, Down)


async def test_a_restarted_node_tells_one_that_went_before_why(plant: Plant) -> None:
    peers = tuple(
        Peer(name=f"node-{i}", key=KEYS[i].public_key, addr=f"{plant.host}:{7440 + 10 * i}")
        for i in range(3)
    )
    eras = (GENESIS, era(1, 3, 0, 1))
    ahead, gone = Living(plant, 0, peers), Living(plant, 2, peers)
    await ahead.start()
    ahead.follow(eras, 5)
    await gone.start()
    await gone.running.seen.all_up([0])
    said = gone.running.network.dismissed_by()
    assert said == {"node-0": "refused by the other side: no validator any more since height 3"}
    gone.follow(eras, 5)
    assert gone.membership.dismissed == "no validator any more since height 3"
    other = Living(plant, 1, peers)
    await other.start()
    other.follow(eras, 5)
    await complete(plant, [ahead, other], {KEYS[i].public_key for i in (0, 1)})
