"""One link against a raw socket on the other end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest

from tests.net.plant import CHAIN, KEYS
from vppd.codec import encode
from vppd.consensus.messages import CAP, Type
from vppd.errors import LocalFault, PeerFault
from vppd.net import limits
from vppd.net.frames import (
    HEADER_BYTES,
    HELLO,
    OPENING_CAPS,
    PEER_CAPS,
    PROOF,
    REFUSE,
    REQUEST_CAPS,
    Frame,
    FrameParser,
    encode_frame,
)
from vppd.net.hello import (
    PLAIN,
    VERSION,
    Channel,
    Full,
    Handshake,
    Hello,
    Kind,
    Self,
    refusal_reason,
)
from vppd.net.limits import Flood, Rates
from vppd.net.link import DEADLINES, WRITE_BUFFER, Deadlines, Link, Terms
from vppd.net.outgoing import HARD_BYTES, SOFT_BYTES

VALIDATORS = {KEYS[0].public_key: 0, KEYS[1].public_key: 1}
SOON = 0.02
PING = encode_frame(Type.PING, b"\x90")


class Keeper:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.terms = Terms(PEER_CAPS, None)
        self.on_frame: Callable[[Link], None] | None = None
        self.error: Exception | None = None
        self.down_error: Exception | None = None
        self.full = False

    def link_made(self, link: Link) -> None:
        assert not link.up
        self.told.append("made")

    def link_up(self, link: Link) -> Terms:
        assert not link.closed
        if self.full:
            raise Full("no room")
        self.told.append("up")
        return self.terms

    def link_frame(self, link: Link, type_: int, payload: bytes) -> None:
        self.frames.put_nowait(Frame(type_, payload))
        if self.on_frame is not None:
            self.on_frame(link)

    def link_down(self, link: Link, why: str) -> None:
        assert link.closed
        self.told.append(f"down: {why}")
        if self.down_error is not None:
            raise self.down_error

    def link_gone(self, link: Link) -> None:
        assert link.gone.is_set()
        self.told.append("gone")

    def link_broken(self, err: Exception) -> None:
        self.error = err


class Wire:
    """The other end of a link: bytes, and frames cut by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._parser = FrameParser({**OPENING_CAPS, **PEER_CAPS})
        self._ready: list[Frame] = []

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def read(self) -> Frame | None:
        """The next frame; ``None`` at the end."""
        while not self._ready:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            if not data:
                return None
            self._ready += self._parser.feed(data)
        return self._ready.pop(0)

    async def reason(self) -> str:
        """Why the link was closed, as the other end reads it."""
        while (frame := await self.read()) is not None:
            if frame.type == REFUSE:
                return refusal_reason(frame.payload)
        raise AssertionError("closed without a word")


class Ends:
    """Makes links with their other ends, and closes them after the test."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.links: list[Link] = []
        self.wires: list[Wire] = []

    async def make(
        self,
        *,
        hello: bool = False,
        deadlines: Deadlines = DEADLINES,
        terms: Terms | None = None,
    ) -> tuple[Link, Wire]:
        """A link that is up at once, or with ``hello`` one that begins with it."""
        if terms is not None:
            self.keeper.terms = terms

        def opening(channel: Channel) -> Handshake:
            me = Self(Kind.VALIDATOR, "node-0", KEYS[0], CHAIN)
            return Handshake(me, VALIDATORS, bytes(32), channel)

        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        link = Link(self.keeper, opening if hello else None, None, "test", deadlines)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, ours)
        self.links.append(link)
        self.wires.append(Wire(theirs))
        return link, self.wires[-1]

    async def close(self) -> None:
        for link in self.links:
            link.abort("the test is over")
            await link.gone.wait()
        for wire in self.wires:
            wire.sock.close()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    await made.close()


async def say_hello(wire: Wire) -> None:
    """The other end's part, as validator 1."""
    me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN)
    theirs = Handshake(me, VALIDATORS, b"n" * 32, PLAIN)
    await wire.write(theirs.start())
    while theirs.peer is None:
        frame = await wire.read()
        assert frame is not None
        await wire.write(theirs.receive(*frame))


async def test_frames_come_in_order_with_their_types(ends: Ends) -> None:
    _, wire = await ends.make()
    await wire.write(encode_frame(Type.TX, b"a") + encode_frame(Type.PREPARE, b"b"))
    assert await ends.keeper.frames.get() == Frame(Type.TX, b"a")
    assert await ends.keeper.frames.get() == Frame(Type.PREPARE, b"b")


async def test_a_block_passes_whole(ends: Ends) -> None:
    link, wire = await ends.make()
    block = bytes(range(256)) * (CAP[Type.BLOCK] // 256)
    await wire.write(encode_frame(Type.BLOCK, block))
    assert await ends.keeper.frames.get() == Frame(Type.BLOCK, block)
    link.send(encode_frame(Type.BLOCK, block))
    assert await wire.read() == Frame(Type.BLOCK, block)


async def test_the_hello_comes_first_and_then_the_link_is_up(ends: Ends) -> None:
    link, wire = await ends.make(hello=True)
    assert ends.keeper.told == ["made"]
    await say_hello(wire)
    await wire.write(PING)
    await ends.keeper.frames.get()
    assert ends.keeper.told == ["made", "up"]
    assert link.peer is not None
    assert (link.peer.index, link.peer.name) == (1, "node-1")


async def test_frames_may_follow_the_proof_at_once(ends: Ends) -> None:
    _, wire = await ends.make(hello=True)
    me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN)
    theirs = Handshake(me, VALIDATORS, b"n" * 32, PLAIN)
    hello = await wire.read()
    assert hello is not None
    await wire.write(theirs.start() + theirs.receive(*hello) + PING)
    assert await ends.keeper.frames.get() == Frame(Type.PING, b"\x90")


@pytest.mark.parametrize("type_", [Type.PING, Type.BLOCK, Type.TX])
async def test_before_the_hello_is_over_no_message_is_taken(ends: Ends, type_: Type) -> None:
    _, wire = await ends.make(hello=True)
    await wire.write(encode_frame(type_, b""))
    assert "is not spoken here" in await wire.reason()
    assert ends.keeper.frames.empty()
    assert "up" not in ends.keeper.told


async def test_who_is_refused_reads_why(ends: Ends) -> None:
    link, wire = await ends.make(hello=True)
    hello = Hello(VERSION, bytes(32), 0, KEYS[1].public_key, bytes(32), bytes(16), "x")
    await wire.write(encode_frame(HELLO, encode(hello)))
    assert (await wire.reason()).startswith("wrong chain: theirs 00000000…")
    assert link.why.startswith("wrong chain")
    assert not link.up


async def test_the_reason_arrives_although_bytes_are_still_coming(ends: Ends) -> None:
    """A socket closed with bytes unread is reset, and a reset overtakes what was written."""
    _, wire = await ends.make(hello=True)
    await wire.write(encode_frame(PROOF, bytes(100)) + bytes(150_000))
    assert "out of turn" in await wire.reason()


async def test_the_other_sides_refusal_is_our_reason(ends: Ends) -> None:
    link, wire = await ends.make(hello=True)
    await wire.write(encode_frame(REFUSE, encode(("wrong chain: theirs ab, ours cd",))))
    await link.gone.wait()
    assert link.why == "refused by the other side: wrong chain: theirs ab, ours cd"


async def test_no_room_is_a_refusal_too(ends: Ends) -> None:
    ends.keeper.full = True
    _, wire = await ends.make()
    assert await wire.reason() == "no room"


async def test_a_handlers_peer_fault_cuts_the_link_with_its_reason(ends: Ends) -> None:
    link, wire = await ends.make()

    def refuse(_: Link) -> None:
        raise PeerFault("vote by somebody else")

    ends.keeper.on_frame = refuse
    await wire.write(PING + PING)
    assert await wire.reason() == "vote by somebody else"
    assert link.why == "vote by somebody else"
    assert ends.keeper.frames.qsize() == 1
    assert ends.keeper.error is None


async def test_any_other_exception_is_our_own_fault(ends: Ends) -> None:
    _, wire = await ends.make()

    def fail(_: Link) -> None:
        raise LocalFault("disk full")

    ends.keeper.on_frame = fail
    await wire.write(PING)
    assert await wire.reason() == "internal error"
    assert isinstance(ends.keeper.error, LocalFault)


async def test_an_exception_on_the_way_out_is_our_own_fault_too(ends: Ends) -> None:
    link, wire = await ends.make()
    ends.keeper.down_error = LocalFault("lost count")
    wire.sock.close()
    await link.gone.wait()
    assert ends.keeper.error is ends.keeper.down_error


async def test_a_handler_may_cut_its_own_link(ends: Ends) -> None:
    _, wire = await ends.make()
    ends.keeper.on_frame = lambda link: link.cut("enough")
    await wire.write(PING + PING)
    assert await wire.reason() == "enough"
    assert ends.keeper.frames.qsize() == 1


async def test_who_is_cut_while_it_is_not_read_from_may_close_at_once(ends: Ends) -> None:
    link, wire = await ends.make(deadlines=DEADLINES._replace(linger=1e6))
    link.pause_reading()
    await wire.write(PING)
    link.cut("enough")
    assert await wire.reason() == "enough"
    wire.sock.close()
    await link.gone.wait()
    assert ends.keeper.frames.empty()


async def test_who_is_to_be_answered_later_is_waited_for_until_it_reads_or_goes(
    ends: Ends,
) -> None:
    link, wire = await ends.make()
    await link.drained()
    await until_stuck(link)
    waiting = asyncio.create_task(link.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    while not waiting.done():
        assert await wire.read() is not None
    await until_stuck(link)
    waiting = asyncio.create_task(link.drained())
    await asyncio.sleep(0)
    link.abort("gone")
    await waiting


async def test_down_and_gone_are_told_once_and_in_this_order(ends: Ends) -> None:
    link, wire = await ends.make()
    link.cut("first")
    link.cut("second")
    link.abort("third")
    wire.sock.close()
    await link.gone.wait()
    assert ends.keeper.told == ["made", "up", "down: first", "gone"]


async def test_two_sides_that_refuse_each_other_do_not_wait_for_each_other(ends: Ends) -> None:
    link, wire = await ends.make(deadlines=DEADLINES._replace(linger=1e6))
    link.cut("you first")
    await wire.write(encode_frame(REFUSE, encode(("no, you",))))
    await link.gone.wait()
    assert link.why == "you first"


async def test_nothing_is_taken_or_sent_after_the_cut(ends: Ends) -> None:
    link, wire = await ends.make()
    link.cut("enough")
    assert not link.send(PING)
    await wire.write(PING)
    assert await wire.reason() == "enough"
    assert ends.keeper.frames.empty()


async def test_a_refused_peer_that_stays_is_hung_up_on(ends: Ends) -> None:
    link, wire = await ends.make(deadlines=DEADLINES._replace(linger=SOON))
    link.cut("enough")
    await link.gone.wait()
    assert await wire.reason() == "enough"


async def test_the_other_side_closing_is_told(ends: Ends) -> None:
    link, wire = await ends.make()
    wire.sock.close()
    await link.gone.wait()
    assert link.why in {"closed by the other side", "connection reset"}


# ------------------------------------------------------------ deadlines


async def test_a_slow_hello_is_reaped(ends: Ends) -> None:
    link, wire = await ends.make(hello=True, deadlines=DEADLINES._replace(handshake=SOON))
    assert "hello is not over" in await wire.reason()
    assert not link.up


async def test_a_hello_one_byte_at_a_time_is_reaped_as_well(ends: Ends) -> None:
    link, wire = await ends.make(hello=True, deadlines=DEADLINES._replace(handshake=SOON))
    await wire.write(b"\x00")
    assert "hello is not over" in await wire.reason()
    assert not link.up


async def test_a_frame_that_has_begun_must_be_completed(ends: Ends) -> None:
    link, wire = await ends.make(deadlines=DEADLINES._replace(frame=SOON))
    await wire.write(PING + PING[:3])
    assert "a frame is not complete" in await wire.reason()
    assert ends.keeper.frames.qsize() == 1
    assert link.closed


async def test_a_validator_that_is_silent_is_cut(ends: Ends) -> None:
    link, wire = await ends.make(terms=Terms(PEER_CAPS, SOON))
    assert "silent for" in await wire.reason()
    assert link.closed


async def test_who_may_be_silent_is_not_cut(ends: Ends) -> None:
    """A client has no deadline armed at all once no frame is under way."""
    link, wire = await ends.make(
        terms=Terms(REQUEST_CAPS, None), deadlines=Deadlines(SOON, SOON, SOON, SOON)
    )
    other, other_wire = await ends.make(terms=Terms(REQUEST_CAPS, SOON))
    assert "silent for" in await other_wire.reason()
    assert other.closed
    assert not link.closed
    wire.sock.close()
    await link.gone.wait()


# ------------------------------------------------------------ slow readers


def stuff(link: Link, size: int) -> None:
    """Queue blocks until about ``size`` bytes wait behind a reader that does not read."""
    block = encode_frame(Type.BLOCK, bytes(64 * 1024))
    for _ in range(size // len(block)):
        assert link.send(block)


async def until_stuck(link: Link) -> None:
    """Fill the kernel's buffers and the transport's, so that everything further waits."""
    block = encode_frame(Type.BLOCK, bytes(WRITE_BUFFER))
    while not link.stuck:
        assert link.send(block)
        await asyncio.sleep(0)


async def test_a_slow_reader_loses_gossip_first(ends: Ends) -> None:
    link, wire = await ends.make()
    await until_stuck(link)
    gossip = encode_frame(Type.TX, bytes(1_000))
    assert link.send(gossip)
    stuff(link, SOFT_BYTES + 64 * 1024)
    assert not link.send(gossip)
    assert link.send(PING)
    assert link.traffic.dropped == 2
    assert not link.closed
    seen = []
    while (frame := await wire.read()) is not None:
        seen.append(frame.type)
        if frame.type == Type.PING:
            break
    assert Type.TX not in seen


async def test_a_reader_four_mebibytes_behind_is_cut(ends: Ends) -> None:
    link, _ = await ends.make()
    await until_stuck(link)
    block = encode_frame(Type.BLOCK, bytes(64 * 1024))
    sent = 0
    while link.send(block):
        sent += len(block)
    assert HARD_BYTES - 2 * len(block) < sent <= HARD_BYTES
    assert link.closed
    assert "does not read" in link.why
    await link.gone.wait()


async def test_a_reader_that_wakes_up_gets_everything_in_order(ends: Ends) -> None:
    link, wire = await ends.make()
    count = 0
    while not link.stuck or count % 100:
        assert link.send(encode_frame(Type.BLOCK, count.to_bytes(4, "big") + bytes(10_000)))
        count += 1
        if not link.stuck:
            await asyncio.sleep(0)
    for i in range(count):
        frame = await wire.read()
        assert frame is not None
        assert int.from_bytes(frame.payload[:4], "big") == i


async def test_frames_of_one_turn_leave_together_in_order(ends: Ends) -> None:
    link, wire = await ends.make()
    sent = [Frame(Type.PREPARE, bytes([i])) for i in range(100)]
    for frame in sent:
        link.send(encode_frame(*frame))
    assert [await wire.read() for _ in sent] == sent


async def test_reading_can_be_paused_and_resumed(ends: Ends) -> None:
    link, wire = await ends.make()
    link.pause_reading()
    link.pause_reading()
    await wire.write(PING)
    other, other_wire = await ends.make()
    await other_wire.write(encode_frame(Type.TX, b""))
    assert (await ends.keeper.frames.get()).type == Type.TX
    assert ends.keeper.frames.empty()
    link.resume_reading()
    link.resume_reading()
    assert (await ends.keeper.frames.get()).type == Type.PING
    assert not other.closed


# ------------------------------------------------------------ rates

LOW = Rates(1_000, 2, 1e9, 1e9, 1_000, 2)


async def test_who_is_over_its_rate_is_not_read_from_for_a_while_and_loses_nothing(
    ends: Ends,
) -> None:
    link, wire = await ends.make(terms=Terms(PEER_CAPS, None, LOW))
    sent = [Frame(Type.PREPARE, bytes([i])) for i in range(60)]
    for frame in sent:
        await wire.write(encode_frame(*frame))
        await asyncio.sleep(0)
    assert [await ends.keeper.frames.get() for _ in sent] == sent
    assert not link.closed


async def test_signatures_that_had_to_be_verified_count_too(ends: Ends) -> None:
    link, wire = await ends.make(terms=Terms(PEER_CAPS, None, LOW))
    ends.keeper.on_frame = lambda link: link.charge(verifications=10**6)
    await wire.write(PING)
    await ends.keeper.frames.get()
    await wire.write(PING)
    _, other_wire = await ends.make()
    await other_wire.write(encode_frame(Type.TX, b""))
    assert (await ends.keeper.frames.get()).type == Type.TX
    assert ends.keeper.frames.empty()
    assert not link.closed


async def test_who_has_to_wait_is_not_blamed_for_its_silence(ends: Ends) -> None:
    deadlines = DEADLINES._replace(frame=SOON)
    link, wire = await ends.make(terms=Terms(PEER_CAPS, SOON, LOW), deadlines=deadlines)
    ends.keeper.on_frame = lambda link: link.charge(verifications=10 * int(1_000 * SOON))
    await wire.write(PING + PING[:3])
    await ends.keeper.frames.get()
    await wire.write(PING[3:])
    await ends.keeper.frames.get()
    assert not link.closed


async def test_waiting_for_its_owner_and_for_its_budget_are_two_things(ends: Ends) -> None:
    link, wire = await ends.make(terms=Terms(PEER_CAPS, None, LOW))
    link.pause_reading()
    link.charge(verifications=50)
    await wire.write(PING)
    other, other_wire = await ends.make(terms=Terms(PEER_CAPS, None, LOW))
    other.charge(verifications=102)
    await other_wire.write(encode_frame(Type.TX, b""))
    assert (await ends.keeper.frames.get()).type == Type.TX
    assert ends.keeper.frames.empty(), "its budget has refilled, its owner still holds it"
    link.resume_reading()
    assert (await ends.keeper.frames.get()).type == Type.PING


async def test_a_flood_is_cut_with_its_reason(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLOOD_SECONDS", 0)
    link, wire = await ends.make(terms=Terms(PEER_CAPS, None, LOW))
    link.charge(verifications=3)
    link.charge(verifications=1)
    assert "a flood" in await wire.reason()
    assert isinstance(link.fault, Flood)


async def test_what_the_other_side_did_is_kept_and_a_slow_reader_did_nothing(ends: Ends) -> None:
    link, wire = await ends.make()
    await wire.write(bytes(5))
    assert "length 0" in await wire.reason()
    assert link.fault is not None
    slow, _ = await ends.make()
    await until_stuck(slow)
    while slow.send(encode_frame(Type.BLOCK, bytes(64 * 1024))):
        pass
    assert slow.closed
    assert slow.fault is None


async def test_traffic_is_counted_by_type_in_frames_and_bytes(ends: Ends) -> None:
    link, wire = await ends.make()
    await wire.write(PING + PING + encode_frame(Type.TX, b"abc"))
    for _ in range(3):
        await ends.keeper.frames.get()
    link.send(PING)
    traffic = link.traffic
    assert traffic.frames_in == {Type.PING: 2, Type.TX: 1}
    assert traffic.bytes_in == {Type.PING: 2 * (HEADER_BYTES + 1), Type.TX: HEADER_BYTES + 3}
    assert traffic.frames_out == {Type.PING: 1}
    assert traffic.bytes_out == {Type.PING: HEADER_BYTES + 1}


async def test_small_frames_are_not_delayed_by_the_kernel() -> None:
    """TCP_NODELAY, whichever loop made the transport."""
    loop = asyncio.get_running_loop()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        keeper = Keeper()
        link = Link(keeper, None, None, "test", DEADLINES)
        transport, _ = await loop.create_connection(lambda: link, *server.getsockname())
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        link.abort("the test is over")
        await link.gone.wait()


async def test_a_unix_socket_has_no_round_trip(ends: Ends) -> None:
    link, _ = await ends.make()
    assert link.rtt_us() is None
