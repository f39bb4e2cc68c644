"""The proxy itself: a fault that is not done would prove nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import CAPS, Action, Proxy, Rule
from vppd.codec import encode
from vppd.consensus.messages import Status, Type
from vppd.crypto import SigningKey
from vppd.net.frames import HELLO, Frame, FrameParser, encode_frame
from vppd.net.hello import VERSION, Hello, Kind

pytestmark = pytest.mark.net

CHAIN = bytes(range(32))
KEYS = [SigningKey(bytes([i + 1]) * 32) for i in range(4)]
NAMES = ["op-0", "der-1", "der-2", "der-3"]


class End:
    """One end of a connection, after its hello."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = FrameParser(CAPS)
        self.frames: list[Frame] = []

    def hello(self, index: int) -> None:
        key = KEYS[index].public_key
        said = Hello(VERSION, CHAIN, Kind.VALIDATOR, key, bytes(32), bytes(16), NAMES[index])
        self.writer.write(encode_frame(HELLO, encode(said)))

    def say(self, *heights: int) -> None:
        for height in heights:
            self.writer.write(encode_frame(Type.STATUS, encode(Status(0, height, 0, 0))))

    def ping(self) -> None:
        self.writer.write(encode_frame(Type.PING, b"\x90"))

    async def next(self) -> Frame | None:
        """The next frame; ``None`` at the end of the connection."""
        while not self.frames:
            try:
                data = await self.reader.read(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.frames += self.parser.feed(data)
        return self.frames.pop(0)

    async def next_height(self) -> int:
        frame = await self.next()
        assert frame is not None
        assert frame.type == Type.STATUS, frame
        return int(frame.payload[2])


def free_ports(count: int) -> list[str]:
    """Addresses that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    for sock in sockets:
        sock.close()
    return addresses


@asynccontextmanager
async def dialled(proxy: Proxy, front: str, back: str) -> AsyncIterator[tuple[End, End]]:
    """Both ends of a connection through the proxy, nothing said: who dialled, who was dialled."""
    arrived: asyncio.Queue[End] = asyncio.Queue()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(End(reader, writer))

    host, port = back.split(":")
    server = await asyncio.start_server(accepted, host, int(port))
    await proxy.start()
    host, port = front.split(":")
    dialer = End(*await asyncio.open_connection(host, int(port)))
    acceptor = await arrived.get()
    try:
        yield dialer, acceptor
    finally:
        async with asyncio.timeout(10):
            await proxy.stop()
        for end in (dialer, acceptor):
            end.writer.transport.abort()
        server.close()


@asynccontextmanager
async def between(
    *rules: Rule, hear: Callable[[str, str, Frame], None] | None = None
) -> AsyncIterator[tuple[Proxy, End, End]]:
    """A proxy before op-0, and both ends of a connection from der-1 to it, hellos said."""
    front, back = free_ports(2)
    names = {key.public_key: name for key, name in zip(KEYS, NAMES, strict=True)}
    proxy = Proxy(names, {"op-0": (front, back)}, hear or (lambda *_: None))
    proxy.set_rules(rules)
    async with dialled(proxy, front, back) as (dialer, acceptor):
        dialer.hello(1)
        acceptor.hello(0)
        yield proxy, dialer, acceptor


async def hellos(*ends: End) -> None:
    for end in ends:
        frame = await end.next()
        assert frame is not None
        assert frame.type == HELLO


async def test_without_rules_every_frame_passes_and_is_heard() -> None:
    heard: list[tuple[str, str, int]] = []
    async with between(hear=lambda s, t, frame: heard.append((s, t, frame.type))) as made:
        _, dialer, acceptor = made
        await hellos(dialer, acceptor)
        dialer.say(1)
        assert await acceptor.next_height() == 1
        acceptor.say(2)
        assert await dialer.next_height() == 2
    assert ("der-1", "op-0", Type.STATUS) in heard
    assert ("op-0", "der-1", Type.STATUS) in heard


async def test_drop_is_by_direction_and_type() -> None:
    rule = Rule(Action.DROP, {"der-1"}, {"op-0"}, {Type.STATUS})
    async with between(rule) as (proxy, dialer, acceptor):
        await hellos(dialer, acceptor)
        dialer.say(1, 2)
        dialer.ping()
        frame = await acceptor.next()
        assert frame == (Type.PING, b"\x90")
        acceptor.say(3)
        assert await dialer.next_height() == 3
        assert proxy.done[Action.DROP] == 2
        proxy.set_rules([])
        dialer.say(4)
        assert await acceptor.next_height() == 4


async def test_held_frames_come_in_order_once_the_rules_change() -> None:
    async with between() as (proxy, dialer, acceptor):
        await hellos(dialer, acceptor)
        proxy.set_rules([Rule(Action.HOLD, {"der-1"})])
        dialer.say(1, 2)
        acceptor.say(9)
        assert await dialer.next_height() == 9
        assert not acceptor.frames
        proxy.set_rules([])
        assert [await acceptor.next_height() for _ in range(2)] == [1, 2]


async def test_late_frames_keep_their_order() -> None:
    async with between() as (proxy, dialer, acceptor):
        await hellos(dialer, acceptor)
        proxy.set_rules([Rule(Action.DELAY, {"der-1"}, types={Type.STATUS}, delay_s=0.05)])
        before = asyncio.get_running_loop().time()
        dialer.say(1)
        dialer.ping()
        assert await acceptor.next_height() == 1
        assert asyncio.get_running_loop().time() - before >= 0.05
        assert await acceptor.next() == (Type.PING, b"\x90")


async def test_twice_spares_the_hello() -> None:
    async with between(Rule(Action.TWICE)) as (_, dialer, acceptor):
        await hellos(dialer, acceptor)
        dialer.say(1, 2)
        assert [await acceptor.next_height() for _ in range(4)] == [1, 1, 2, 2]


async def test_cut_ends_both_sides_and_refuses_the_next() -> None:
    async with between() as (proxy, dialer, acceptor):
        await hellos(dialer, acceptor)
        proxy.set_rules([Rule(Action.CUT, {"op-0"}, {"der-1"})])
        assert await dialer.next() is None
        assert await acceptor.next() is None
    async with between(Rule(Action.CUT, {"op-0"}, {"der-1"})) as (_, dialer, acceptor):
        assert await dialer.next() is None
        assert await acceptor.next() is None


async def test_cut_by_type_ends_the_connection_at_that_frame() -> None:
    async with between(Rule(Action.CUT, types={Type.PING})) as (_, dialer, acceptor):
        await hellos(dialer, acceptor)
        dialer.say(1)
        assert await acceptor.next_height() == 1
        dialer.ping()
        assert await acceptor.next() is None


async def test_a_frame_that_cannot_be_heard_is_not_passed_over() -> None:
    def deaf(source: str, target: str, frame: Frame) -> None:
        if frame.type == Type.PING:
            raise ValueError(f"{source} to {target}")

    async with between(hear=deaf) as (proxy, dialer, acceptor):
        await hellos(dialer, acceptor)
        dialer.ping()
        assert await acceptor.next() is None
        assert await dialer.next() is None
    assert [str(err) for err in proxy.failures] == ["der-1 to op-0"]


async def test_who_closes_is_passed_on_after_what_he_said() -> None:
    async with between() as (_, dialer, acceptor):
        await hellos(dialer, acceptor)
        dialer.say(1)
        dialer.writer.close()
        assert await acceptor.next_height() == 1
        assert await acceptor.next() is None


@pytest.mark.parametrize("closes", ["dialer", "acceptor"])
async def test_a_connection_closed_before_its_hello_is_given_up(closes: str) -> None:
    """Nobody waits for a hello that can no longer come, the end of the proxy least of all."""
    front, back = free_ports(2)
    proxy = Proxy({}, {"op-0": (front, back)}, lambda *_: None)
    async with dialled(proxy, front, back) as ends:
        gone, other = ends if closes == "dialer" else ends[::-1]
        gone.writer.close()
        async with asyncio.timeout(10):
            assert await other.next() is None
