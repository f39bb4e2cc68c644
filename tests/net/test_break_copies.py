"""Attempts to stop an honest node through the rule that one key has one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.net.plant import HANGS, KEYS, Down, Got, Node, Plant, Up, fresh_host
from vppd.consensus.messages import Type
from vppd.errors import UserError
from vppd.net.copies import CLAIM_SECONDS, INSIST_SECONDS, Claims
from vppd.net.frames import OPENING_CAPS, FrameParser, encode_frame
from vppd.net.hello import Channel, Handshake, Kind, RefusalCode, Self, refuse_frame
from vppd.net.peers import PeerEntry

PING = encode_frame(Type.PING, b"\x90")
ECHO = 0.05


class Delay:
    """A line that can hold back what is sent towards the node, as a lossy one does.

    What a process has written is still delivered when it is dead: the kernel sends it again until
    it is acknowledged.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._ends = asyncio.Event()
        self._ends.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.addr = f"{fresh_host()}:7440"

    async def start(self) -> None:
        host, port = self.addr.split(":")
        self._server = await asyncio.start_server(self._join, host, int(port))

    def hold(self) -> None:
        """Nothing arrives from now on, the end of a connection neither."""
        self._open.clear()
        self._ends.clear()

    def release(self) -> None:
        """What was sent arrives; that the connection has ended does not yet."""
        self._open.set()

    def end(self) -> None:
        """That arrives, too."""
        self._ends.set()

    async def stop(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.split(":")
        there, back = await asyncio.open_connection(host, int(port))
        pumps = (self._pump(reader, back, held=True), self._pump(there, writer, held=False))
        self._tasks |= {asyncio.create_task(pump) for pump in pumps}

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, held: bool
    ) -> None:
        try:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    if held:
                        await self._open.wait()
                    sink.write(data)
            if held:
                await self._ends.wait()
        finally:
            sink.close()


@pytest.fixture
async def lines(plant: Plant) -> AsyncIterator[list[Delay]]:
    """To nodes 0 to 2."""
    made = [Delay(entry.addr) for entry in plant.entries[:3]]
    for line in made:
        await line.start()
    yield made
    for line in made:
        await line.stop()


def alone(plant: Plant, lines: list[Delay] | None = None) -> list[PeerEntry]:
    """The plant as a process of node 3 sees it that nobody dials."""
    known = [
        entry if lines is None else PeerEntry(entry.index, entry.name, entry.key, lines[i].addr)
        for i, entry in enumerate(plant.entries[:3])
    ]
    return [*known, PeerEntry(3, "node-3", KEYS[3].public_key, "127.0.0.1:1")]


def elsewhere() -> str:
    return f"{fresh_host()}:7440"


async def waiting(plant: Plant, count: int) -> None:
    """Until so many nodes let a second process wait."""
    while sum(line["event"] == "second_process" for line in plant.log.lines) < count:
        await plant.log.next_line()


async def refused(plant: Plant, count: int) -> None:
    """Until so many nodes have refused one."""
    while sum(line["event"] == "second_copy_refused" for line in plant.log.lines) < count:
        await plant.log.next_line()


async def test_the_late_words_of_a_dead_process_do_not_stop_its_successor(
    plant: Plant, lines: list[Delay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed during an outage of its line and started again: what it had sent arrives now."""
    monkeypatch.setattr("vppd.net.copies.ECHO_SECONDS", ECHO)
    nodes = [await plant.start(i, n=4) for i in range(3)]
    first = await plant.start(3, entries=alone(plant, lines), listen=elsewhere(), liars=1)
    await first.seen.all_up([0, 1, 2])
    for node in nodes:
        await node.seen.all_up([3])
    for line in lines:
        line.hold()
    for peer in range(3):
        first.network.send(peer, PING)
    await first.network.stop()
    again = await plant.start(3, entries=alone(plant), listen=elsewhere(), liars=1)
    await again.seen.all_up([0, 1, 2])
    await waiting(plant, 3)
    await asyncio.sleep(2 * ECHO)  # the delay itself: longer than what a node takes for an echo
    for line in lines:
        line.release()
    await refused(plant, 3)
    for line in lines:
        line.end()
    await asyncio.gather(*(_is_heard(node, again) for node in nodes))
    assert not again.seen.fatal.done(), again.seen.fatal


async def _is_heard(node: Node, again: Node) -> None:
    """Until the node takes what the new process says."""
    peer = next(state.index for state in again.network.peer_states() if state.addr == node.addr)
    later = encode_frame(Type.TX, b"later")
    async with asyncio.timeout(HANGS):
        while True:
            again.network.send(peer, later)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while (await node.seen.events.get()) != Got(3, Type.TX, b"later"):
                        pass
                    return


async def lie(plant: Plant, node: Node, index: int, times: int) -> None:
    """Validator ``index`` dials a node and says that another process has its key."""
    for number in range(times):
        me = Self(Kind.VALIDATOR, "liar", KEYS[index], bytes(range(32)), b"%16d" % number)
        handshake = Handshake(me, plant.validators, bytes(32), Channel(), KEYS[0].public_key)
        reader, writer = await asyncio.open_connection(*node.addr.split(":"))
        parser = FrameParser(OPENING_CAPS)
        writer.write(handshake.start())
        while handshake.peer is None:
            for frame in parser.feed(await reader.read(4_096)):
                writer.write(handshake.receive(*frame))
        await node.seen.next(Up)
        writer.write(refuse_frame("another one", RefusalCode.LIVE_SESSION))
        down = await node.seen.next(Down)
        assert isinstance(down, Down)
        assert "another one" in down.why
        writer.close()


async def test_as_many_liars_as_there_may_be_and_one_honest_mistake_do_not_stop_a_node(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The honest one has refused once, because of something late; the liar goes on and on."""
    monkeypatch.setattr("vppd.net.copies.INSIST_SECONDS", 0.02)
    node = await plant.start(0, n=4, liars=1)
    await lie(plant, node, 1, times=1)
    await lie(plant, node, 2, times=5)
    assert not node.seen.fatal.done()


async def test_more_liars_than_there_may_be_stop_a_node(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above would notice."""
    monkeypatch.setattr("vppd.net.copies.INSIST_SECONDS", 0.0)
    node = await plant.start(0, n=4, liars=1)
    await lie(plant, node, 1, times=2)
    await lie(plant, node, 2, times=2)
    error = await node.seen.fatal
    assert isinstance(error, UserError)
    assert error.code == "E310"


# ---------------------------------------------------------------- the books


def test_one_refusal_is_no_claim() -> None:
    claims = Claims(needed=1)
    assert not claims.note(0, now=0)
    assert not claims.note(0, now=INSIST_SECONDS - 0.1)
    assert claims.note(0, now=INSIST_SECONDS)


def test_a_claim_taken_back_begins_anew() -> None:
    claims = Claims(needed=1)
    claims.note(0, now=0)
    claims.withdraw(0)
    assert not claims.note(0, now=INSIST_SECONDS)
    assert claims.note(0, now=2 * INSIST_SECONDS)


def test_two_refusals_far_apart_are_two_first_ones() -> None:
    claims = Claims(needed=1)
    claims.note(0, now=0)
    assert not claims.note(0, now=CLAIM_SECONDS)
    assert not claims.note(0, now=2 * CLAIM_SECONDS)
