"""The release before, as its own bytes and rules: it understands this one, and is understood."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from tests.net.plant import CHAIN, KEYS, Got, Plant
from tests.wire_samples import ALICE, BOB, NONCES, SEALS, VALIDATORS, D, meet
from vppd.codec import encode
from vppd.consensus.messages import Tx, Txs, Type
from vppd.crypto import SigningKey, verify
from vppd.net.frames import (
    HELLO,
    NEWEST_WIRE,
    OLDEST_WIRE,
    OPENING_CAPS,
    PEER_CAPS,
    PROOF,
    REFUSE,
    Frame,
    FrameParser,
    encode_frame,
    peer_caps,
    wire_of,
)
from vppd.net.hello import Channel, Handshake, Kind, Self
from vppd.net.older import in_version

HELLO_ALICE = bytes.fromhex(
    "00000081209702c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00c4208a88e3dd"
    "7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5cc420a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
    "a1a1a1a1a1a1a1a1a1a1a1a1a1a1c410a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a46f702d30"
)
HELLO_BOB = bytes.fromhex(
    "00000082209702c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00c4208139770e"
    "a87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394c420b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
    "b2b2b2b2b2b2b2b2b2b2b2b2b2b2c410b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2a56465722d31"
)
PROOF_ALICE = bytes.fromhex(
    "000000442191c440eb3fb3a04715992292f8947a81a4360848f58fc0b87c6e0b267942c5bf182a617380496e224baa8a"
    "8843f081ab34015a8fae329eaf92c6616b552bdee093b502"
)
PROOF_BOB = bytes.fromhex(
    "000000442191c4405b727a398570d432f3b07e1a88b0b4fe5db1435af77b3beaa002464ac356a29d65c90f0561d88e88"
    "046f57c0e30bce4d1ff274c6fdf7058d2ff7049c77fc2e07"
)
"""The hello of docs/wire.md as the release before had it, recorded then."""
OLD_TYPES = frozenset(range(1, 18)) | {REFUSE}
"""Every type that release takes from another node."""
TO_COME = 18
"""The first type of version 3."""


def frame_of(data: bytes) -> Frame:
    (frame,) = FrameParser(OPENING_CAPS).feed(data)
    return frame


def test_pinned_nodes_say_byte_for_byte_what_the_release_before_said() -> None:
    bob = Handshake(
        Self(Kind.VALIDATOR, "der-1", BOB, D, NONCES[1][:16], OLDEST_WIRE),
        VALIDATORS, NONCES[1], Channel(*SEALS[::-1]),
    )  # fmt: skip
    alice = meet(OLDEST_WIRE).alice
    assert alice.start() == HELLO_ALICE
    assert bob.start() == HELLO_BOB
    assert bob.receive(*frame_of(HELLO_ALICE)) == PROOF_BOB
    fresh = Handshake(
        Self(Kind.VALIDATOR, "op-0", ALICE, D, NONCES[0][:16], OLDEST_WIRE),
        VALIDATORS, NONCES[0], Channel(*SEALS),
    )  # fmt: skip
    assert fresh.receive(*frame_of(HELLO_BOB)) == PROOF_ALICE
    assert fresh.receive(*frame_of(PROOF_BOB)) == b""
    assert bob.receive(*frame_of(PROOF_ALICE)) == b""
    assert bob.wire == fresh.wire == OLDEST_WIRE
    assert bob.peer is not None
    assert (bob.peer.name, bob.peer.index) == ("op-0", 0)


def test_versions_differ_in_the_types_from_18_on_alone() -> None:
    assert {t for t in range(256) if wire_of(t) > OLDEST_WIRE} == set(range(18, 32))
    assert set(peer_caps(OLDEST_WIRE)) == OLD_TYPES
    assert peer_caps(NEWEST_WIRE) == PEER_CAPS


# ------------------------------------------------------------ that release on a socket


class OldHello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``Hello`` as it was defined."""

    version: Annotated[int, Meta(ge=0, le=255)]
    chain_id: Annotated[bytes, Meta(min_length=32, max_length=32)]
    kind: Annotated[int, Meta(ge=0, le=2)]
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)]
    instance: Annotated[bytes, Meta(min_length=16, max_length=16)]
    name: Annotated[str, Meta(max_length=64)]


class OldNode:
    """A validator of the release before, as far as a hello and a frame go; plain."""

    def __init__(self, key: SigningKey, plant: Plant) -> None:
        self.key = key
        self.plant = plant
        self.nonce = hashlib.sha256(key.public_key).digest()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both messages of the hello under the rules of that release, then frames."""
        me = OldHello(2, CHAIN, 0, self.key.public_key, self.nonce, self.nonce[:16], "old")
        writer.write(encode_frame(HELLO, msgspec.msgpack.encode(me)))
        hello = msgspec.msgpack.decode((await self.read(reader, HELLO)).payload, type=OldHello)
        assert hello.version == 2, "it refuses every other number"
        assert hello.chain_id == CHAIN
        assert hello.key in self.plant.validators
        zeros = bytes(64)
        head, ours = b"VPPD1H" + CHAIN, (self.key.public_key, self.nonce)
        signed = head + ours[0] + hello.key + ours[1] + hello.nonce + zeros
        writer.write(encode_frame(PROOF, msgspec.msgpack.encode((self.key.sign(signed),))))
        (sig,) = msgspec.msgpack.decode((await self.read(reader, PROOF)).payload)
        assert verify(hello.key, head + hello.key + ours[0] + hello.nonce + ours[1] + zeros, sig)

    @staticmethod
    async def read(reader: asyncio.StreamReader, type_: int) -> Frame:
        head = await reader.readexactly(5)
        assert head[4] == type_, f"a frame of type {head[4]}, not {type_}"
        return Frame(head[4], await reader.readexactly(int.from_bytes(head[:4], "big") - 1))


@pytest.mark.net
async def test_it_dials_and_gets_nothing_it_does_not_know(plant: Plant) -> None:
    node = await plant.start(0)
    old = OldNode(KEYS[1], plant)
    reader, writer = await asyncio.open_connection(node.host, node.network.port)
    await old.meet(reader, writer)
    writer.write(encode_frame(Type.PING, b"\x90"))
    assert await node.seen.next(Got) == Got(1, Type.PING, b"\x90")
    (state,) = node.network.peer_states()
    assert state.wire == node.network.oldest_wire() == OLDEST_WIRE
    assert not node.network.send(1, encode_frame(TO_COME, b"new"))
    node.network.broadcast(encode_frame(TO_COME, b"new"))
    node.network.broadcast(encode_frame(Type.STATUS, b"old"))
    assert await old.read(reader, Type.STATUS) == Frame(Type.STATUS, b"old")
    writer.close()


RAWS = tuple(word * 70 for word in (b"1", b"2", b"3"))
TXS = encode_frame(Type.TXS, encode(Txs(RAWS)))


def test_transactions_of_one_frame_go_one_by_one_where_several_are_not_known() -> None:
    one_by_one = tuple(encode_frame(Type.TX, encode(Tx(raw))) for raw in RAWS)
    assert in_version(OLDEST_WIRE, TXS) == one_by_one
    assert in_version(NEWEST_WIRE, TXS) == (TXS,)
    assert in_version(OLDEST_WIRE, one_by_one[0]) == one_by_one[:1]
    assert in_version(OLDEST_WIRE, encode_frame(TO_COME, b"new")) == ()


@pytest.mark.net
async def test_it_gets_every_transaction_of_a_frame_at_once(plant: Plant) -> None:
    node = await plant.start(0)
    old = OldNode(KEYS[1], plant)
    reader, writer = await asyncio.open_connection(node.host, node.network.port)
    await old.meet(reader, writer)
    await node.seen.all_up([1])
    assert node.network.send(1, TXS)
    node.network.broadcast(TXS)
    for raw in RAWS * 2:
        assert await old.read(reader, Type.TX) == Frame(Type.TX, encode(Tx(raw)))
    (state,) = node.network.peer_states()
    assert state.traffic.frames_out[Type.TX] == 6
    assert Type.TXS not in state.traffic.frames_out
    writer.close()


@pytest.mark.net
async def test_it_is_dialled(plant: Plant) -> None:
    old = OldNode(KEYS[0], plant)
    met: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await old.meet(reader, writer)
        met.set_result(None)
        await reader.read()
        writer.close()

    host, _, port = plant.entries[0].addr.partition(":")
    server = await asyncio.start_server(accept, host, int(port))
    node = await plant.start(1)
    await node.seen.all_up([0])
    await asyncio.wait_for(met, 10)
    (state,) = node.network.peer_states()
    assert state.wire == OLDEST_WIRE
    await node.network.stop()
    server.close()
    await server.wait_closed()


@pytest.mark.net
async def test_a_type_its_version_does_not_have_cuts_the_link(plant: Plant) -> None:
    node = await plant.start(0)
    old = OldNode(KEYS[1], plant)
    reader, writer = await asyncio.open_connection(node.host, node.network.port)
    await old.meet(reader, writer)
    writer.write(encode_frame(TO_COME, b"new"))
    refusal = await old.read(reader, REFUSE)
    assert b"is not spoken here" in refusal.payload
    writer.close()


@pytest.mark.net
async def test_two_of_this_release_speak_version_3(plant: Plant) -> None:
    nodes = [await plant.start(i) for i in range(2)]
    for i, node in enumerate(nodes):
        await node.seen.all_up([1 - i])
        (state,) = node.network.peer_states()
        assert state.wire == node.network.oldest_wire() == NEWEST_WIRE
