"""Whole networks over loopback: who gets in, who does not and reads why, and who comes back."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.net.plant import (
    CHAIN,
    HANGS,
    KEYS,
    OTHER_CHAIN,
    Certificates,
    ClientGone,
    Down,
    Got,
    Node,
    Plant,
    Recorder,
    Up,
    fresh_host,
    tls_of,
)
from vppd.codec import encode
from vppd.consensus.messages import Type
from vppd.crypto import SigningKey
from vppd.errors import LocalFault, PeerFault, UserError
from vppd.net.frames import (
    HELLO,
    OPENING_CAPS,
    PEER_CAPS,
    PROOF,
    REQUEST,
    RESPONSE,
    Frame,
    FrameParser,
    encode_frame,
)
from vppd.net.hello import VERSION, Channel, Handshake, Kind, Proof, Self
from vppd.net.limits import BAD_SIGNATURES, CUT_FAULTS
from vppd.net.link import DEADLINES, Link
from vppd.net.peers import MAX_CLIENTS, MAX_OBSERVERS, Network, PeerEntry, PeerState
from vppd.net.session import open_session
from vppd.net.tls import peer_fingerprint

PING = encode_frame(Type.PING, b"\x90")
pytestmark = pytest.mark.net


async def until(plant: Plant, node: Node, peer: int, words: str) -> PeerState:
    """The state of ``peer`` once its reason has these words; whoever dials goes on until then."""
    while True:
        state = next(s for s in node.network.peer_states() if s.index == peer)
        if words in state.why:
            return state
        await plant.log.next_line()


async def refused(plant: Plant, node: Node, words: str) -> str:
    """Why ``node`` did not let somebody in, once it did for a reason with these words."""
    while True:
        for refusal in node.network.refusals():
            if words in refusal.why:
                return refusal.why
        await plant.log.next_line()


# ------------------------------------------------------------ a plant


async def test_every_validator_reaches_every_other_over_tls(
    plant: Plant, certificates: Certificates
) -> None:
    nodes = [await plant.start(i, n=4, tls=certificates.tls(i)) for i in range(4)]
    for i, node in enumerate(nodes):
        others = [j for j in range(4) if j != i]
        await node.seen.all_up(others)
        assert node.network.connected() == tuple(others)


async def test_a_frame_reaches_whom_it_is_sent_to(plant: Plant, certificates: Certificates) -> None:
    nodes = [await plant.start(i, n=3, tls=certificates.tls(i)) for i in range(3)]
    for node in nodes:
        await node.seen.all_up([i for i in range(3) if nodes[i] is not node])
    block = encode_frame(Type.BLOCK, bytes(900_000))
    assert nodes[1].network.send(2, block)
    nodes[1].network.broadcast(PING)
    assert await nodes[2].seen.next(Got) == Got(1, Type.BLOCK, bytes(900_000))
    assert await nodes[2].seen.next(Got) == Got(1, Type.PING, b"\x90")
    assert await nodes[0].seen.next(Got) == Got(1, Type.PING, b"\x90")


async def test_nothing_is_sent_to_who_is_not_there(plant: Plant) -> None:
    node = await plant.start(0)
    assert not node.network.send(1, PING)
    assert not node.network.send(7, PING)
    node.network.broadcast(PING)
    node.network.cut(1, "nobody")


@pytest.mark.parametrize("dials", [True, False])
async def test_the_higher_index_dials_the_lower(plant: Plant, dials: bool) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as elsewhere:
        elsewhere.setblocking(False)
        addr = f"127.0.0.1:{elsewhere.getsockname()[1]}"
        here, there = (1, 0) if dials else (0, 1)
        entries = list(plant.entries[:2])
        entries[there] = PeerEntry(there, "elsewhere", KEYS[there].public_key, addr)
        await plant.start(here, entries=entries)
        if dials:
            conn, _ = await asyncio.get_running_loop().sock_accept(elsewhere)
            conn.close()
        else:
            # Whoever would dial had its turns of the loop while this observer was let in.
            observer = await plant.start(2, kind=Kind.OBSERVER, entries=[plant.entries[0]])
            await observer.seen.all_up([0])
            with pytest.raises(BlockingIOError):
                elsewhere.accept()


async def test_a_peer_that_restarts_is_found_again(
    plant: Plant, certificates: Certificates
) -> None:
    first = await plant.start(0, tls=certificates.tls(0))
    other = await plant.start(1, tls=certificates.tls(1))
    await other.seen.all_up([0])
    await first.network.stop()
    down = await other.seen.next(Down)
    assert down == Down(0, "closed by the other side: the node is stopping")
    await until(plant, other, 0, "connection refused")
    again = await plant.start(0, tls=certificates.tls(0))
    await other.seen.all_up([0])
    await again.seen.all_up([1])
    (state,) = other.network.peer_states()
    assert state.connected
    assert state.why == ""


async def test_a_peer_that_dies_without_a_word_is_found_again(plant: Plant) -> None:
    first, other = await plant.start(0), await plant.start(1)
    await first.seen.all_up([1])
    await other.seen.all_up([0])
    other.network.send(0, PING)
    await first.seen.next(Got)
    first.seen.links[0].abort("power cut")
    assert isinstance(await other.seen.next(Down), Down)
    await other.seen.all_up([0])
    await first.seen.all_up([1])


async def test_a_cut_peer_reads_why_and_may_come_back(plant: Plant) -> None:
    first, other = await plant.start(0), await plant.start(1)
    await first.seen.all_up([1])
    await other.seen.all_up([0])
    first.network.cut(1, "twenty bad signatures")
    assert await first.seen.next(Down) == Down(1, "twenty bad signatures")
    assert await other.seen.next(Down) == Down(0, "closed by the other side: twenty bad signatures")
    await first.seen.all_up([1])
    await other.seen.all_up([0])


async def test_a_newer_link_of_the_same_process_replaces_the_older_at_once(plant: Plant) -> None:
    node = await plant.start(0)
    older = await plant.start(1, instance=bytes(16))
    await node.seen.all_up([1])
    await older.seen.all_up([0])
    newer = await plant.start(1, entries=apart(plant), listen=elsewhere(), instance=bytes(16))
    await newer.seen.all_up([0])
    assert await node.seen.next(Down) == Down(1, "replaced by a newer connection")
    assert await node.seen.next(Up) == Up(1)
    assert node.network.connected() == (1,)


async def test_a_guest_is_greeted_as_it_comes_up(plant: Plant) -> None:
    """Before anything else: it may have been a validator, and have forgotten what it signed."""
    host = await plant.start(0)
    host.seen.greeting = encode_frame(Type.PREPARE, b"said before")
    guest = await plant.start(5, kind=Kind.OBSERVER, entries=[plant.entries[0]])
    await guest.seen.all_up([0])
    assert await guest.seen.next(Got) == Got(0, Type.PREPARE, b"said before")
    host.network.broadcast(PING)
    assert await guest.seen.next(Got) == Got(0, Type.PING, b"\x90")


async def test_an_observer_dials_all_and_hears_broadcasts(
    plant: Plant, certificates: Certificates
) -> None:
    nodes = [await plant.start(i, n=3, tls=certificates.tls(i)) for i in range(3)]
    observer = await plant.start(5, n=3, kind=Kind.OBSERVER, tls=certificates.tls(4))
    await observer.seen.all_up([0, 1, 2])
    for i, node in enumerate(nodes):
        observer.network.send(i, PING)
        assert await node.seen.next(Got) == Got(None, Type.PING, b"\x90")
        node.seen.links[-1].send(encode_frame(Type.TX, b"answer"))
        assert await observer.seen.next(Got) == Got(i, Type.TX, b"answer")
    for i, node in enumerate(nodes):
        node.network.broadcast(PING)
        assert await observer.seen.next(Got) == Got(i, Type.PING, b"\x90")


# ------------------------------------------------------------ two processes, one key


def apart(plant: Plant) -> list[PeerEntry]:
    """The plant of two as a copy of node 1 sees it, that nobody dials."""
    return [plant.entries[0], PeerEntry(1, "node-1", KEYS[1].public_key, "127.0.0.1:1")]


def elsewhere() -> str:
    return f"{fresh_host()}:7440"


async def talk(node: Node, peer: int) -> None:
    """Say something again and again, until cancelled."""
    while True:
        node.network.send(peer, PING)
        await asyncio.sleep(0.01)


async def test_a_second_process_is_refused_while_the_first_one_speaks(
    plant: Plant, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.net.copies.ECHO_SECONDS", 0.05)
    node = await plant.start(0, tls=certificates.tls(0))
    first = await plant.start(1, tls=certificates.tls(1))
    await first.seen.all_up([0])
    speaking = asyncio.create_task(talk(first, 0))
    copy = await plant.start(
        1, tls=certificates.tls(1), entries=apart(plant), listen=elsewhere(), liars=1
    )
    down = await copy.seen.next(Down)
    assert isinstance(down, Down)
    assert "live session under your key" in down.why
    assert "second process with the key of node-1" in await refused(plant, node, "second process")
    (state,) = copy.network.peer_states()
    assert not state.connected
    assert "live session under your key" in state.why
    assert node.network.connected() == (1,)
    assert not copy.seen.fatal.done(), "one validator may lie"
    speaking.cancel()


async def test_a_second_process_takes_the_place_of_a_silent_one(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power failed: nobody closed the connection of the process that is gone."""
    monkeypatch.setattr("vppd.net.peers.QUIET_SECONDS", 0.2)
    node = await plant.start(0)
    first = await plant.start(1)
    await node.seen.all_up([1])
    await first.seen.all_up([0])
    again = await plant.start(1, entries=apart(plant), listen=elsewhere())
    await again.seen.all_up([0])
    again.network.send(0, PING)
    down = await node.seen.next(Down)
    assert down == Down(1, "silent, and another process with its key has come")
    await node.seen.all_up([1])
    assert await node.seen.next(Got) == Got(1, Type.PING, b"\x90")


async def test_a_second_process_is_in_as_soon_as_the_first_one_is_gone(plant: Plant) -> None:
    """Killed and started again: what it sent before it died says nothing."""
    node = await plant.start(0)
    first = await plant.start(1)
    await node.seen.all_up([1])
    await first.seen.all_up([0])
    again = await plant.start(1, entries=apart(plant), listen=elsewhere())
    await again.seen.all_up([0])
    while not any(line["event"] == "second_process" for line in plant.log.lines):
        await plant.log.next_line()
    first.network.send(0, PING)
    assert await node.seen.next(Got) == Got(1, Type.PING, b"\x90")
    await first.network.stop()
    await node.seen.all_up([1])
    again.network.send(0, encode_frame(Type.TX, b"later"))
    assert await node.seen.next(Got) == Got(1, Type.TX, b"later")
    assert node.network.connected() == (1,)
    assert not again.seen.fatal.done()


async def test_what_comes_with_the_proof_of_one_that_waits_is_not_lost(plant: Plant) -> None:
    node = await plant.start(0)
    first = await plant.start(1)
    await node.seen.all_up([1])
    await first.seen.all_up([0])
    me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN, b"another process!")
    handshake = Handshake(me, plant.validators, bytes(32), Channel(), plant.entries[0].key)
    reader, writer = await asyncio.open_connection(*node.addr.split(":"))
    parser = FrameParser(OPENING_CAPS)
    writer.write(handshake.start())
    while handshake.peer is None:
        for frame in parser.feed(await reader.read(1_000)):
            answer = handshake.receive(*frame)
            if answer:
                writer.write(answer + PING + encode_frame(Type.TX, b"early"))
    while not any(line["event"] == "second_process" for line in plant.log.lines):
        await plant.log.next_line()
    await first.network.stop()
    assert await node.seen.next(Up) == Up(1)
    assert await node.seen.next(Got) == Got(1, Type.PING, b"\x90")
    assert await node.seen.next(Got) == Got(1, Type.TX, b"early")
    writer.close()


async def test_one_of_two_that_wait_is_the_later_one(plant: Plant) -> None:
    node = await plant.start(0)
    first = await plant.start(1)
    await node.seen.all_up([1])
    await first.seen.all_up([0])
    second = await plant.start(1, entries=apart(plant), listen=elsewhere())
    await second.seen.all_up([0])
    third = await plant.start(1, entries=apart(plant), listen=elsewhere())
    await third.seen.all_up([0])
    down = await second.seen.next(Down)
    assert down == Down(0, "closed by the other side: replaced by a newer connection")
    await second.network.stop()
    await first.network.stop()
    await node.seen.all_up([1])
    third.network.send(0, PING)
    assert await node.seen.next(Got) == Got(1, Type.PING, b"\x90")


async def test_a_copy_stops_when_more_validators_say_so_than_may_lie(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.net.copies.ECHO_SECONDS", 0.05)
    monkeypatch.setattr("vppd.net.copies.INSIST_SECONDS", 0.2)
    nodes = [await plant.start(i, n=4) for i in range(4)]
    await nodes[3].seen.all_up([0, 1, 2])
    speaking = [asyncio.create_task(talk(nodes[3], i)) for i in (0, 1)]
    entries = [*plant.entries[:3], PeerEntry(3, "node-3", KEYS[3].public_key, "127.0.0.1:1")]
    copy = await plant.start(3, entries=entries, listen=elsewhere(), liars=1)
    async with asyncio.timeout(HANGS):
        error = await copy.seen.fatal
    assert isinstance(error, UserError)
    assert (error.code, error.exit_code) == ("E310", 78)
    assert "node-0, node-1" in str(error)
    for task in speaking:
        task.cancel()


async def test_a_copy_that_is_talked_to_after_all_forgets_what_was_said(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vppd.net.copies.ECHO_SECONDS", 0.05)
    node = await plant.start(0)
    first = await plant.start(1)
    await node.seen.all_up([1])
    await first.seen.all_up([0])
    speaking = asyncio.create_task(talk(first, 0))
    copy = await plant.start(1, entries=apart(plant), listen=elsewhere(), liars=1)
    await copy.seen.next(Down)
    speaking.cancel()
    await first.network.stop()
    async with asyncio.timeout(HANGS):
        while not copy.network.peer_states()[0].connected:
            node.network.send(1, PING)
            await asyncio.sleep(0.01)
    assert copy.network.peer_states()[0].why == ""


async def test_the_state_of_a_peer_tells_since_when_and_how_much(
    plant: Plant, certificates: Certificates
) -> None:
    nodes = [await plant.start(i, tls=certificates.tls(i)) for i in range(2)]
    (before,) = nodes[0].network.peer_states()
    assert before == PeerState(
        1, "node-1", plant.entries[1].addr, False, before.seconds, "not heard from yet", None, None,
        before.traffic,
    )  # fmt: skip
    await nodes[0].seen.all_up([1])
    await nodes[1].seen.all_up([0])
    nodes[0].network.send(1, PING)
    await nodes[1].seen.next(Got)
    (state,) = nodes[0].network.peer_states()
    assert state.connected
    assert state.seconds >= 0
    assert state.traffic.frames_out[Type.PING] == 1
    assert state.rtt_us is not None
    assert state.rtt_us >= 0
    assert state.wire == VERSION


async def test_counts_survive_a_lost_link(plant: Plant) -> None:
    nodes = [await plant.start(i) for i in range(2)]
    for _ in range(2):
        await nodes[0].seen.all_up([1])
        await nodes[1].seen.all_up([0])
        nodes[0].network.send(1, PING)
        await nodes[1].seen.next(Got)
        nodes[0].network.cut(1, "again")
        await nodes[0].seen.next(Down)
        await nodes[1].seen.next(Down)
    (state,) = nodes[0].network.peer_states()
    assert state.traffic.frames_out[Type.PING] == 2


async def test_one_line_is_logged_per_change_and_none_per_frame(
    plant: Plant,
) -> None:
    nodes = [await plant.start(i) for i in range(2)]
    await nodes[0].seen.all_up([1])
    await nodes[1].seen.all_up([0])
    for _ in range(50):
        nodes[0].network.send(1, PING)
    for _ in range(50):
        await nodes[1].seen.next(Got)
    events = [line["event"] for line in plant.log.lines]
    assert sorted(events) == ["listening"] * 2 + ["peer_connected"] * 2


async def test_a_peer_that_stays_away_is_logged_once(plant: Plant) -> None:
    node = await plant.start(1)
    await until(plant, node, 0, "connection refused")
    with closing(socket.create_server((plant.host, 7440))) as server:
        server.setblocking(False)
        for _ in range(3):  # it is dialled again and again
            conn, _ = await asyncio.get_running_loop().sock_accept(server)
            conn.close()
    lines = [line for line in plant.log.lines if line["event"] == "peer_not_reached"]
    assert lines[0]["why"] == "connection refused"
    assert len(lines) == len({line["why"] for line in lines})


async def test_stopping_twice_is_once(plant: Plant) -> None:
    node = await plant.start(0)
    await node.network.stop()
    await node.network.stop()


@pytest.mark.parametrize("secure", [True, False])
async def test_a_node_may_be_stopped_at_any_moment(
    plant: Plant, certificates: Certificates, secure: bool
) -> None:
    """In the middle of connecting, too, where uvloop does not always say that it gave up."""
    for turns in range(40):
        nodes = [
            await plant.start(i, n=3, tls=certificates.tls(i) if secure else None) for i in range(3)
        ]
        for _ in range(turns):
            await nodes[0].seen.turn()
        for node in reversed(nodes):
            async with asyncio.timeout(HANGS):
                await node.network.stop()


async def test_stopping_leaves_no_task_behind(plant: Plant) -> None:
    before = asyncio.all_tasks()
    nodes = [await plant.start(i) for i in range(2)]
    await nodes[0].seen.all_up([1])
    for node in nodes:
        await node.network.stop()
    assert asyncio.all_tasks() == before


# ------------------------------------------------------------ who is not let in


async def test_another_plants_certificate_is_refused_and_both_ends_say_why(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    stranger = await plant.start(1, tls=tls_of(certificates.other))
    state = await until(plant, stranger, 0, "certificate")
    assert state.why == "certificate signed by another plant's CA"
    assert not state.connected
    await refused(plant, node, "it may have refused our certificate")
    assert not node.network.connected()


async def test_a_certificate_of_another_plant_is_refused_even_if_it_trusts_ours(
    plant: Plant, certificates: Certificates
) -> None:
    """In TLS 1.3 the refused client sees its own handshake succeed first."""
    node = await plant.start(0, tls=certificates.tls(0))
    foreign = certificates.foreign
    tls = certificates.tls(1)
    tls.client.load_cert_chain(str(foreign / "node.pem"), str(foreign / "node-tls.key"))
    stranger = await plant.start(1, tls=tls)
    await refused(plant, node, "certificate signed by another plant's CA")
    await until(plant, stranger, 0, "it may have refused our certificate")
    assert not stranger.network.connected()


@pytest.mark.parametrize(
    ("which", "why"),
    [("expired", "certificate has expired"), ("revoked", "certificate is revoked")],
)
async def test_an_expired_or_revoked_certificate_is_refused(
    plant: Plant, certificates: Certificates, which: str, why: str
) -> None:
    from vppd.net.tls import load_tls

    home = certificates.ours[0]
    ours = load_tls(home / "ca.pem", home / "node.pem", home / "node-tls.key", certificates.crl)
    node = await plant.start(0, tls=ours)
    bad: Path = getattr(certificates, which)
    tls = certificates.tls(1)
    tls.client.load_cert_chain(str(bad / "node.pem"), str(bad / "node-tls.key"))
    stranger = await plant.start(1, tls=tls)
    await refused(plant, node, why)
    await until(plant, stranger, 0, "it may have refused our certificate")


async def test_another_chain_is_refused_and_both_ends_name_both(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    stranger = await plant.start(1, tls=certificates.tls(1), chain=OTHER_CHAIN)
    state = await until(plant, stranger, 0, "wrong chain")
    ours, theirs = CHAIN.hex()[:8], OTHER_CHAIN.hex()[:8]
    assert ours in state.why
    assert theirs in state.why
    why = await refused(plant, node, "wrong chain")
    assert ours in why
    assert theirs in why


async def test_a_validator_nobody_knows_is_refused_and_reads_why(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    entries = [plant.entries[0], PeerEntry(1, "new", KEYS[6].public_key, plant.entries[1].addr)]
    stranger = await plant.start(1, tls=certificates.tls(1), key=KEYS[6], entries=entries)
    await refused(plant, node, "no validator of this plant has the key")
    await stranger.seen.all_up([0])  # as an observer
    words = stranger.network.dismissed_by()["node-0"]
    assert "no validator of this plant has the key" in words


async def test_a_refusal_is_shown_beside_the_one_peer_whose_address_it_came_from(
    plant: Plant, certificates: Certificates
) -> None:
    entries = [plant.entries[0], PeerEntry(1, "node-1", KEYS[1].public_key, "127.0.0.1:7450")]
    node = await plant.start(0, tls=certificates.tls(0), entries=entries)
    foreign, tls = certificates.foreign, certificates.tls(1)
    tls.client.load_cert_chain(str(foreign / "node.pem"), str(foreign / "node-tls.key"))
    await plant.start(1, tls=tls)  # dials from 127.0.0.1, as every connection to loopback does
    state = await until(plant, node, 1, "node-1 dialled us")
    assert state.why == "node-1 dialled us: certificate signed by another plant's CA"


async def test_swapped_addresses_are_noticed_and_named(plant: Plant) -> None:
    await plant.start(0, n=3)
    first, second = plant.entries[:2]
    swapped = [
        PeerEntry(0, first.name, first.key, second.addr),
        PeerEntry(1, second.name, second.key, first.addr),
        plant.entries[2],
    ]
    dialler = await plant.start(2, entries=swapped)
    await until(plant, dialler, 1, "dialled the node with")


async def test_a_second_live_copy_of_a_node_is_noticed(plant: Plant) -> None:
    node = await plant.start(0, n=1)
    copy = await plant.start(
        0,
        entries=[PeerEntry(0, "itself", KEYS[5].public_key, plant.entries[0].addr)],
        kind=Kind.OBSERVER,
    )
    await refused(plant, node, "our own key on the other side")
    await until(plant, copy, 0, "our own key on the other side")


async def test_a_tls_node_and_a_plain_one_tell_each_other_apart(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    await plant.start(1)
    assert 'transport = "plain"' in await refused(plant, node, "speaks no TLS")


async def test_a_slow_handshake_is_reaped(plant: Plant, certificates: Certificates) -> None:
    """One connection stalls before TLS, one after; the reason is the same: time."""
    deadlines = DEADLINES._replace(handshake=0.05)
    node = await plant.start(0, tls=certificates.tls(0), deadlines=deadlines)
    host, port = node.host, node.network.port
    reader, writer = await asyncio.open_connection(host, port)
    assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_connection(host, port, ssl=certificates.tls(1).client)
    parser = FrameParser(OPENING_CAPS)
    data = await reader.read()
    kinds = [frame.type for frame in parser.feed(data)]
    assert kinds[0] == HELLO
    writer.transport.abort()
    await refused(plant, node, "the hello is not over")
    await refused(plant, node, "TLS")


async def test_half_open_connections_do_not_keep_a_peer_out(
    plant: Plant, certificates: Certificates
) -> None:
    deadlines = DEADLINES._replace(handshake=0.05)
    node = await plant.start(0, tls=certificates.tls(0), deadlines=deadlines)
    idle = [socket.create_connection((node.host, node.network.port)) for _ in range(100)]
    other = await plant.start(1, tls=certificates.tls(1))
    await other.seen.all_up([0])
    assert await refused(plant, node, "too many connections at once")
    for sock in idle:
        sock.close()


# ------------------------------------------------------------ attacks on the hello


class Raw:
    """A connection that speaks frames by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = FrameParser({**PEER_CAPS, **OPENING_CAPS})
        self._ready: list[Frame] = []

    async def read(self) -> Frame:
        while not self._ready:
            data = await self.reader.read(65_536)
            if not data:
                raise ConnectionResetError
            self._ready += self._parser.feed(data)
        return self._ready.pop(0)

    async def pass_on(self, to: Raw) -> Frame:
        """Relay one frame as it is."""
        frame = await self.read()
        to.writer.write(encode_frame(*frame))
        return frame


async def connect(node: Node, certificates: Certificates, i: int) -> Raw:
    port = node.network.port
    return Raw(*await asyncio.open_connection(node.host, port, ssl=certificates.tls(i).client))


async def test_a_relay_with_a_certificate_of_its_own_is_refused_by_both(
    plant: Plant, certificates: Certificates
) -> None:
    """Somebody inside the plant terminates TLS on both sides and passes the hello on."""
    node = await plant.start(0, tls=certificates.tls(0))
    evil = certificates.tls(2)
    caught: asyncio.Future[tuple[Frame, Frame]] = asyncio.get_running_loop().create_future()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        victim, target = Raw(reader, writer), await connect(node, certificates, 2)
        with suppress(ConnectionError):
            for _ in (HELLO, PROOF):
                await victim.pass_on(target)
                await target.pass_on(victim)
            if not caught.done():
                caught.set_result((await victim.pass_on(target), await target.read()))
        for raw in (victim, target):
            raw.writer.transport.abort()

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=evil.server)
    port = server.sockets[0].getsockname()[1]
    first = plant.entries[0]
    entries = [PeerEntry(0, first.name, first.key, f"127.0.0.1:{port}"), plant.entries[1]]
    other = await plant.start(1, tls=certificates.tls(1), entries=entries)
    await refused(plant, node, "bad proof")
    await until(plant, other, 0, "bad proof")
    assert not node.network.connected()
    assert not other.network.connected()
    await other.network.stop()
    server.close()


async def test_a_recorded_proof_opens_nothing(plant: Plant, certificates: Certificates) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    record: list[Frame] = []
    for attempt in range(2):
        raw = await connect(node, certificates, 1)
        hello = await raw.read()
        if attempt == 0:
            connection = raw.writer.get_extra_info("ssl_object")
            channel = Channel(certificates.tls(1).fingerprint, peer_fingerprint(connection))
            me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN)
            honest = Handshake(me, plant.validators, b"n" * 32, channel)
            for data in (honest.start(), honest.receive(*hello)):
                raw.writer.write(data)
                record += FrameParser(OPENING_CAPS).feed(data)
            await node.seen.all_up([1])
            raw.writer.transport.abort()
            await node.seen.next(Down)
        else:
            for frame in record:
                raw.writer.write(encode_frame(*frame))
            await refused(plant, node, "bad proof")
            raw.writer.transport.abort()
    assert not node.network.connected()


async def test_a_certificate_alone_is_no_validators_key(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    raw = await connect(node, certificates, 1)
    await raw.read()
    me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN)
    raw.writer.write(Handshake(me, plant.validators, b"n" * 32).start())
    raw.writer.write(encode_frame(PROOF, encode(Proof(KEYS[5].sign(b"anything")))))
    await refused(plant, node, "bad proof")
    raw.writer.transport.abort()


# ------------------------------------------------------------ handlers that raise


async def test_a_peer_fault_cuts_that_link_and_no_other(plant: Plant) -> None:
    nodes = [await plant.start(i, n=3) for i in range(3)]
    await nodes[0].seen.all_up([1, 2])
    await nodes[1].seen.all_up([0, 2])
    nodes[0].seen.frame_error = PeerFault("replica 1 did not sign this commit")
    nodes[1].network.send(0, PING)
    assert await nodes[0].seen.next(Down) == Down(1, "replica 1 did not sign this commit")
    assert 2 in nodes[0].network.connected()
    lost = [line for line in plant.log.lines if line["event"] == "peer_lost"]
    assert {"peer": "node-1", "why": "replica 1 did not sign this commit"}.items() <= lost[
        0
    ].items()


class Verifier(Recorder):
    """Takes every frame of type PREPARE for one with a signature that does not hold."""

    network: Network

    def on_frame(self, peer: int | None, link: Link, type_: int, payload: bytes) -> None:
        super().on_frame(peer, link, type_, payload)
        if type_ == Type.PREPARE:
            self.network.blame(link)


async def test_twenty_bad_signatures_cut_a_peer_and_it_stays_out_for_a_while(plant: Plant) -> None:
    forged = encode_frame(Type.PREPARE, b"")
    ours = await plant.start(0, handler=Verifier)
    assert isinstance(ours.seen, Verifier)
    ours.seen.network = ours.network
    theirs = await plant.start(1)
    await theirs.seen.all_up([0])
    for _ in range(BAD_SIGNATURES - 1):
        theirs.network.send(0, forged)
    for _ in range(BAD_SIGNATURES - 1):
        await ours.seen.next(Got)
    assert ours.network.connected() == (1,)
    theirs.network.send(0, forged)
    assert await ours.seen.next(Down) == Down(1, "too many bad signatures")
    state = await until(plant, theirs, 0, "barred for 10 s")
    assert not state.connected
    assert ours.network.connected() == ()


async def test_reconnecting_does_not_wipe_the_record(plant: Plant) -> None:
    """Each time it is cut for a shape that is wrong counts five."""
    ours = await plant.start(0)
    theirs = await plant.start(1)
    for _ in range(BAD_SIGNATURES // CUT_FAULTS):
        await theirs.seen.all_up([0])
        await ours.seen.all_up([1])
        theirs.network.send(0, encode_frame(99, b""))
        await ours.seen.next(Down)
    await until(plant, theirs, 0, "barred for 10 s")


async def test_an_observers_faults_are_held_against_its_certificate(
    plant: Plant, certificates: Certificates
) -> None:
    ours = await plant.start(0, n=1, tls=certificates.tls(0))
    for number in range(BAD_SIGNATURES // CUT_FAULTS):
        observer = await plant.start(
            number, n=1, key=SigningKey(bytes([0x90 + number]) * 32), kind=Kind.OBSERVER,
            tls=certificates.tls(1),
        )  # fmt: skip
        await observer.seen.all_up([0])
        observer.network.send(0, encode_frame(99, b""))
        await observer.seen.next(Down)
        await observer.network.stop()
    fresh = SigningKey(bytes([0x99]) * 32)
    barred = await plant.start(
        0, n=1, key=fresh, kind=Kind.OBSERVER, tls=certificates.tls(1)
    )  # fmt: skip
    await until(plant, barred, 0, "barred for 10 s")
    honest = await plant.start(0, n=1, key=fresh, kind=Kind.OBSERVER, tls=certificates.tls(2))
    await honest.seen.all_up([0])
    assert ours.network.refusals()


async def test_any_other_exception_is_fatal(plant: Plant) -> None:
    nodes = [await plant.start(i) for i in range(2)]
    await nodes[1].seen.all_up([0])
    nodes[0].seen.frame_error = LocalFault("disk full")
    nodes[1].network.send(0, PING)
    assert await nodes[0].seen.fatal is nodes[0].seen.frame_error


# ------------------------------------------------------------ clients


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(encode_frame(REQUEST, text))
    answer = await reader.readexactly(5 + len(text))
    assert answer[4] == RESPONSE
    return answer[5:]


async def hang_up(node: Node, writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    await node.seen.next(ClientGone)


async def test_requests_and_responses_pass_over_the_unix_socket(
    plant: Plant, tmp_path: Path
) -> None:
    path = tmp_path / "vppd.sock"
    node = await plant.start(0, client_socket=path)
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await request(reader, writer, b"abc") == b"cba"
    assert await request(reader, writer, bytes(60_000)) == bytes(60_000)
    node.seen.sessions[0].send(encode_frame(50, b"pushed"))
    assert await reader.readexactly(11) == encode_frame(50, b"pushed")
    await hang_up(node, writer)


@pytest.mark.parametrize("type_", [Type.PREPARE, Type.TX, HELLO, RESPONSE])
async def test_only_requests_are_taken_from_the_unix_socket(
    plant: Plant, tmp_path: Path, type_: int
) -> None:
    path = tmp_path / "vppd.sock"
    node = await plant.start(0, client_socket=path)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(encode_frame(type_, b""))
    await reader.readuntil(b"is not spoken here")
    await hang_up(node, writer)


async def test_the_socket_is_gone_after_the_node(plant: Plant, tmp_path: Path) -> None:
    path = tmp_path / "vppd.sock"
    node = await plant.start(0, client_socket=path)
    assert path.exists()
    await node.network.stop()
    assert not path.exists()


async def test_the_local_operator_always_gets_in(plant: Plant, tmp_path: Path) -> None:
    """Clients over the port and local ones have places of their own, and no more than those."""
    path = tmp_path / "vppd.sock"
    node = await plant.start(0, client_socket=path)
    remote = [await session(plant, node, KEYS[5]) for _ in range(MAX_CLIENTS)]
    too_many = await session(plant, node, KEYS[5])
    await too_many[0].readuntil(b"no room: 64 clients")
    local = [await asyncio.open_unix_connection(str(path)) for _ in range(MAX_CLIENTS)]
    for reader, writer in local:
        assert await request(reader, writer, b"ab") == b"ba"
    reader, writer = await asyncio.open_unix_connection(str(path))
    await reader.readuntil(b"no room: 64 clients")
    for _, one in [*remote, *local, too_many, (reader, writer)]:
        one.transport.abort()


async def session(
    plant: Plant, node: Node, key: SigningKey, certificates: Certificates | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    me = Self(Kind.CLIENT, "phone", key, CHAIN)
    tls = certificates.tls(3) if certificates is not None else None
    return await open_session(node.addr, me, plant.validators, tls, plant.entries[0].key)


async def test_a_client_of_the_plant_may_ask_over_the_port(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    reader, writer = await session(plant, node, KEYS[5], certificates)
    assert await request(reader, writer, b"abc") == b"cba"
    assert node.network.connected() == ()
    await hang_up(node, writer)


async def test_a_client_may_not_speak_as_a_node(plant: Plant, certificates: Certificates) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    reader, writer = await session(plant, node, KEYS[5], certificates)
    writer.write(encode_frame(Type.PREPARE, b""))
    await reader.readuntil(b"is not spoken here")
    await hang_up(node, writer)


async def test_a_client_of_another_chain_reads_why(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    me = Self(Kind.CLIENT, "phone", KEYS[5], OTHER_CHAIN)
    with pytest.raises(PeerFault, match="wrong chain"):
        await open_session(node.addr, me, plant.validators, certificates.tls(3))


async def test_a_client_of_another_plant_is_told_at_once(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    me = Self(Kind.CLIENT, "phone", KEYS[5], CHAIN)
    tls = certificates.tls(3)
    foreign = certificates.foreign
    tls.client.load_cert_chain(str(foreign / "node.pem"), str(foreign / "node-tls.key"))
    with pytest.raises(OSError, match=r"may have refused our certificate|reset"):
        await open_session(node.addr, me, plant.validators, tls)
    await refused(plant, node, "another plant's CA")


async def test_a_client_notices_that_another_node_answers(
    plant: Plant, certificates: Certificates
) -> None:
    node = await plant.start(0, tls=certificates.tls(0))
    me = Self(Kind.CLIENT, "phone", KEYS[5], CHAIN)
    with pytest.raises(PeerFault, match="dialled the node with"):
        await open_session(node.addr, me, plant.validators, certificates.tls(3), KEYS[1].public_key)


async def test_observers_have_a_bound_of_their_own(plant: Plant) -> None:
    node = await plant.start(0, n=1)
    watchers = [
        await plant.start(5, n=1, key=SigningKey(bytes([i]) * 32), kind=Kind.OBSERVER)
        for i in range(MAX_OBSERVERS)
    ]
    for watcher in watchers:
        await watcher.seen.all_up([0])
    one_more = await plant.start(5, n=1, kind=Kind.OBSERVER)
    await refused(plant, node, f"no room: {MAX_OBSERVERS} observers")
    await until(plant, one_more, 0, "no room")


# ------------------------------------------------------------ starting


async def test_plain_does_not_listen_beyond_this_machine(plant: Plant) -> None:
    with pytest.raises(UserError) as error:
        await plant.start(0, listen="0.0.0.0:7440")
    assert error.value.code == "E300"


async def test_plain_does_not_dial_beyond_this_machine(plant: Plant) -> None:
    entries = [plant.entries[0], PeerEntry(1, "far", KEYS[1].public_key, "192.168.10.2:7440")]
    with pytest.raises(UserError) as error:
        await plant.start(0, entries=entries)
    assert error.value.code == "E300"
    assert error.value.facts["addr"] == "192.168.10.2:7440"


async def test_a_node_that_cannot_start_holds_nothing(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "vppd.sock").write_text("in the way")
    with pytest.raises(UserError) as error:
        await plant.start(0, client_socket=tmp_path / "vppd.sock")
    assert error.value.code == "E303"
    await plant.start(0)


async def test_a_second_node_on_the_port_is_told(plant: Plant) -> None:
    await plant.start(0)
    with pytest.raises(UserError) as error:
        await plant.start(0)
    assert error.value.code == "E301"


async def test_frames_of_a_slow_reader_do_not_pile_up(plant: Plant) -> None:
    """A validator that stops reading is cut; memory stays within the queue's bound."""
    node = await plant.start(0)
    raw = Raw(*await asyncio.open_connection(node.host, node.network.port))
    me = Self(Kind.VALIDATOR, "node-1", KEYS[1], CHAIN)
    theirs = Handshake(me, plant.validators, b"n" * 32)
    raw.writer.write(theirs.start())
    while theirs.peer is None:
        raw.writer.write(theirs.receive(*await raw.read()))
    await node.seen.all_up([1])
    # Nobody reads any more: StreamReader's own limit of 64 KiB pauses the transport.
    block = encode_frame(Type.BLOCK, bytes(1_000_000))
    while node.network.send(1, block):
        await node.seen.turn()
    down = await node.seen.next(Down)
    assert isinstance(down, Down)
    assert "does not read" in down.why
    raw.writer.transport.abort()


def test_recorder_is_a_handler() -> None:
    """The tests' handler has the daemon's port, method by method."""
    from vppd.net.peers import Handler

    names = {name for name in vars(Handler) if name.startswith("on_")}
    assert names <= set(vars(Recorder))
