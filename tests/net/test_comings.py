"""Validators that come and go while everybody's network runs: real sockets, both event loops."""

from __future__ import annotations

import secrets

import pytest

from tests.net.comings import settled, until
from tests.net.plant import (
    KEYS,
    Certificates,
    Down,
    Got,
    Node,
    Plant,
)
from vppd.consensus.messages import Type
from vppd.net.frames import encode_frame
from vppd.net.hello import Kind
from vppd.net.peers import PeerEntry

pytestmark = pytest.mark.net

PING = encode_frame(Type.PING, b"\x90")
GONE = "no validator any more since height 812"
LATER = sorted(range(4, 8), key=lambda i: KEYS[i].public_key)
"""Keys of later members, ascending."""


def entry(plant: Plant, key: int, number: int) -> PeerEntry:
    """A later member, as some node numbers it."""
    addr = f"{plant.host}:{7440 + 10 * key}"
    return PeerEntry(number, f"late-{key}", KEYS[key].public_key, addr, founder=False)


def why(node: Node) -> str:
    """Why its only peer is not there."""
    (state,) = node.network.peer_states()
    return state.why


async def hears(sender: Node, receiver: Node, number: int, as_: int | None) -> None:
    """A frame goes to that peer number and arrives as from that one."""
    assert sender.network.send(number, PING)
    got = await receiver.seen.next(Got)
    assert got == Got(as_, Type.PING, b"\x90")


async def founders(plant: Plant, n: int) -> list[Node]:
    nodes = [await plant.start(i, n=n) for i in range(n)]
    for i, node in enumerate(nodes):
        await node.seen.all_up([j for j in range(n) if j != i])
    return nodes


async def joiner(plant: Plant, key: int, n: int) -> Node:
    """A node that is no validator yet: it listens, and follows as an observer."""
    node = await plant.start(
        key, n=n, key=KEYS[key], kind=Kind.OBSERVER, listen=f"{plant.host}:{7440 + 10 * key}"
    )
    await node.seen.all_up(range(n))
    return node


@pytest.mark.parametrize("members_first", [True, False], ids=["members first", "joiner first"])
async def test_an_observer_becomes_a_validator_without_a_new_process(
    plant: Plant, members_first: bool
) -> None:
    nodes = await founders(plant, 2)
    late = await joiner(plant, 5, 2)
    own = entry(plant, 5, 2)
    if not members_first:
        late.network.promote(own)
    for node in nodes:
        node.network.admit(own)
    if members_first:
        late.network.promote(own)
    for node in nodes:
        await node.seen.all_up([2])
    await settled(plant, [*nodes, late])
    for number, node in enumerate(nodes):
        await hears(node, late, 2, number)
        await hears(late, node, number, 2)
        assert node.network.connected() == tuple(i for i in range(3) if i != number)
    assert late.network.dismissed_by() == {}


@pytest.mark.parametrize("key", [LATER[0], LATER[-1]], ids=["lower key", "higher key"])
async def test_a_peer_that_learns_of_a_new_member_late_gets_it_all_the_same(
    plant: Plant, key: int
) -> None:
    """The new member was refused as a validator before, and has a link as an observer."""
    nodes = await founders(plant, 2)
    late = await joiner(plant, key, 2)
    own = entry(plant, key, 2)
    nodes[0].network.admit(own)
    late.network.promote(own)
    await until(plant, lambda: 2 in nodes[0].network.connected())
    refused = {"node-1"} if own.key > KEYS[1].public_key else set()
    await until(plant, lambda: set(late.network.dismissed_by()) == refused)
    nodes[1].network.admit(own)
    await settled(plant, [*nodes, late])


async def test_five_members_that_came_later_find_each_other_whatever_they_number_them(
    plant: Plant,
) -> None:
    nodes = await founders(plant, 1)
    late = [await joiner(plant, key, 1) for key in LATER]
    everybody = [*nodes, *late]
    for place, node in enumerate(everybody):
        order = LATER if place % 2 else LATER[::-1]
        numbered = {key: entry(plant, key, 1 + order.index(key)) for key in order}
        for key in order:
            if node is not everybody[0] and KEYS[key] is KEYS[LATER[place - 1]]:
                node.network.promote(numbered[key])
            else:
                node.network.admit(numbered[key])
    await settled(plant, everybody)


async def test_of_two_the_higher_key_dials_and_of_two_founders_the_higher_place(
    plant: Plant,
) -> None:
    nodes = await founders(plant, 2)
    assert [len(node.network._directory.slots) for node in nodes] == [1, 1]
    dialling = [
        {
            slot.entry.name: slot.dialling is not None
            for slot in node.network._directory.slots.values()
        }
        for node in nodes
    ]
    assert dialling == [{"node-1": False}, {"node-0": True}]
    key = 6
    late = await joiner(plant, key, 2)
    own = entry(plant, key, 2)
    for node in nodes:
        node.network.admit(own)
    late.network.promote(own)
    await settled(plant, [*nodes, late])
    for i, node in enumerate(nodes):
        ours = next(s for s in node.network._directory.slots.values() if s.entry.key == own.key)
        assert (ours.dialling is not None) is (KEYS[i].public_key > own.key)


async def test_a_dismissed_validator_is_cut_reads_why_and_stays_as_an_observer(
    plant: Plant,
) -> None:
    nodes = await founders(plant, 3)
    for node in nodes[:2]:
        node.network.dismiss(KEYS[2].public_key, GONE)
        down = await node.seen.next(Down)
        assert down == Down(2, GONE)
        assert node.network.connected() == tuple(i for i in range(2) if nodes[i] is not node)
    gone = nodes[2]
    for _ in range(2):
        down = await gone.seen.next(Down)
        assert isinstance(down, Down)
        assert GONE in down.why
    await gone.seen.all_up([0, 1])
    said = gone.network.dismissed_by()
    assert set(said) == {"node-0", "node-1"}
    assert all(GONE in why for why in said.values())
    await hears(gone, nodes[0], 0, None)
    nodes[0].network.broadcast(PING)
    assert await gone.seen.next(Got) == Got(0, Type.PING, b"\x90")
    assert not nodes[0].network.send(2, PING), "it is no validator to anybody"


async def test_the_first_founder_dials_as_an_observer_once_dismissed(plant: Plant) -> None:
    """Nobody it dialled before: all others dial it, and stop when it is dismissed."""
    nodes = await founders(plant, 3)
    for node in nodes[1:]:
        node.network.dismiss(KEYS[0].public_key, GONE)
    for _ in range(2):
        await nodes[0].seen.next(Down)
    await nodes[0].seen.all_up([1, 2])
    await hears(nodes[0], nodes[1], 1, None)


async def test_a_demoted_node_says_so_itself_and_is_promoted_again(plant: Plant) -> None:
    nodes = await founders(plant, 3)
    gone, own = nodes[0], plant.entries[0]
    gone.network.demote(GONE)
    for node in nodes[1:]:
        node.network.dismiss(own.key, GONE)
    await gone.seen.next(Down)
    await gone.seen.all_up([1, 2])
    assert gone.network.dismissed_by() == {}, "it knows already"
    assert {"why": GONE, "event": "demoted"} in plant.log.lines
    for node in nodes[1:]:
        node.network.admit(own)
    gone.network.promote(own)
    await settled(plant, nodes)
    await hears(nodes[2], gone, 0, 2)


async def test_a_new_key_takes_the_place_of_the_old_one(plant: Plant) -> None:
    nodes = await founders(plant, 2)
    old, new = KEYS[1].public_key, entry(plant, 7, 2)
    fresh = await joiner(plant, 7, 1)
    nodes[0].network.admit(new)
    nodes[0].network.dismiss(old, "no validator any more: its key was replaced")
    fresh.network.promote(new)
    await until(plant, lambda: nodes[0].network.connected() == (2,))
    await hears(fresh, nodes[0], 0, 2)
    down = await nodes[1].seen.next(Down)
    assert isinstance(down, Down)
    assert "its key was replaced" in down.why


async def test_one_refused_by_some_only_keeps_its_links_with_the_others(plant: Plant) -> None:
    """A peer that is ahead, or lies, changes nothing between this node and the rest."""
    nodes = await founders(plant, 3)
    nodes[0].network.dismiss(KEYS[2].public_key, GONE)
    await nodes[2].seen.next(Down)
    await nodes[2].seen.all_up([0])
    await hears(nodes[2], nodes[1], 1, 2)
    assert set(nodes[2].network.dismissed_by()) == {"node-0"}
    nodes[0].network.admit(plant.entries[2])
    await settled(plant, nodes)


async def test_a_dismissed_one_is_refused_with_the_reason_over_tls(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    node.network.dismiss(KEYS[1].public_key, GONE)
    gone = await plant.start(1, tls=certificates.tls(1))
    await gone.seen.all_up([0])
    assert gone.network.dismissed_by() == {"node-0": f"refused by the other side: {GONE}"}, (
        "first as a validator, then as an observer"
    )


async def test_a_new_address_is_where_it_is_dialled_next(plant: Plant) -> None:
    nodes = [await plant.start(1, n=2)]
    moved = PeerEntry(0, "node-0", KEYS[0].public_key, f"{plant.host}:7999")
    other = await plant.start(0, n=2, listen=moved.addr)
    nodes[0].network.admit(moved)
    await other.seen.all_up([1])
    (state,) = nodes[0].network.peer_states()
    assert state.addr == moved.addr


async def test_one_whose_address_nobody_knows_dials_by_itself(plant: Plant) -> None:
    low, high = LATER[0], LATER[-1]
    node, other = await joiner(plant, low, 0), await joiner(plant, high, 0)
    node.network.admit(PeerEntry(1, "late", KEYS[high].public_key, "", founder=False))
    await until(plant, lambda: why(node).startswith("its address is not known"))
    other.network.admit(entry(plant, low, 0))
    node.network.promote(entry(plant, low, 0))
    other.network.promote(entry(plant, high, 1))
    await settled(plant, [node, other])


async def test_on_a_plain_plant_nobody_beyond_this_machine_is_dialled(plant: Plant) -> None:
    node = await joiner(plant, 4, 0)
    node.network.admit(PeerEntry(0, "far", KEYS[5].public_key, "192.0.2.1:7440", founder=False))
    await until(plant, lambda: "is not on this machine" in why(node))


async def test_a_number_or_a_key_is_given_once(plant: Plant) -> None:
    node = await plant.start(0)
    with pytest.raises(ValueError, match="is there already"):
        node.network.admit(PeerEntry(1, "twice", KEYS[4].public_key, f"{plant.host}:7999"))


async def test_dismissing_a_stranger_does_nothing(plant: Plant) -> None:
    nodes = await founders(plant, 2)
    nodes[0].network.dismiss(KEYS[7].public_key, GONE)
    assert nodes[0].network.connected() == (1,)


async def test_a_second_process_that_waits_is_cut_with_the_dismissed_one(plant: Plant) -> None:
    nodes = await founders(plant, 2)
    copy = await plant.start(1, n=2, listen=f"{plant.host}:7999", instance=secrets.token_bytes(16))
    await until(plant, lambda: any(s["event"] == "second_process" for s in plant.log.lines))
    nodes[0].network.dismiss(KEYS[1].public_key, GONE)
    await until(plant, lambda: "node-0" in copy.network.dismissed_by())
    await until(plant, lambda: "node-0" in nodes[1].network.dismissed_by())
