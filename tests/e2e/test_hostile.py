"""What strangers, liars and broken programs send to a plant that runs."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.plant import Node, Plant, eventually, plant_of, vppd
from vppd.codec import encode
from vppd.config.values import parse_address
from vppd.crypto import SigningKey
from vppd.ledger.transaction import Transfer
from vppd.net.frames import REFUSE, REQUEST, RESPONSE, encode_frame
from vppd.net.hello import Kind, Self, refusal_reason
from vppd.net.requests import Request, View
from vppd.net.session import open_session
from vppd.net.tls import load_tls

pytestmark = [pytest.mark.slow, pytest.mark.net]

TWO_GIB = 2 * 1024**3
GROWTH_KIB = 4 * 1024


@pytest.fixture
def plant(running: Plant) -> Iterator[Plant]:
    """It must be as alive afterwards as before."""
    pids = [node.process.pid for node in running.nodes]
    yield running
    assert [node.process.poll() for node in running.nodes] == [None] * 5
    assert [node.process.pid for node in running.nodes] == pids
    raw = running.sign(running.nodes[1], Transfer(running.nodes[0].key.public_key, 1))
    sent = running.nodes[1].vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert sent.data["status"] == "ok"
    running.wait_equal()


def local(node: Node) -> socket.socket:
    """A client's connection on the Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(node.socket))
    return sock


def port(node: Node) -> socket.socket:
    """A stranger's connection to the port, without TLS."""
    sock = socket.create_connection(parse_address(node.member.addr), timeout=10)
    sock.settimeout(10)
    return sock


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    data = b""
    try:
        while piece := sock.recv(65_536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def refusal(sock: socket.socket) -> str:
    """Why the other side closes: its last words."""
    length, type_ = struct.unpack(">IB", sock.recv(5, socket.MSG_WAITALL))
    assert type_ == REFUSE
    return refusal_reason(sock.recv(length - 1, socket.MSG_WAITALL))


async def last_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """The reason of the refusal that comes, whatever else comes before it."""
    while True:
        length, type_ = struct.unpack(">IB", await reader.readexactly(5))
        payload = await reader.readexactly(length - 1)
        if type_ == REFUSE:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return refusal_reason(payload)


def test_garbage_on_the_port_is_refused(plant: Plant) -> None:
    node = plant.nodes[1]
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b"\x16\x03\x01\xff\xff"):
        with closing(port(node)) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            everything(sock)
    assert '"connection_refused"' in node.log


def test_garbage_on_the_unix_socket_is_refused_with_a_reason(plant: Plant) -> None:
    node = plant.nodes[1]
    with closing(local(node)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert "is not spoken here" in refusal(sock)
    with closing(local(node)) as sock:
        sock.sendall(encode_frame(REQUEST, b"\xc1 no request"))
        assert "not a Request" in refusal(sock)
    with closing(local(node)) as sock:
        sock.sendall(bytes(5))
        assert "length 0" in refusal(sock)


def test_two_gib_announced_on_the_unix_socket_are_refused_at_once(plant: Plant) -> None:
    node = plant.nodes[1]
    before = node.rss_kib()
    for _ in range(20):
        with closing(local(node)) as sock:
            sock.sendall(struct.pack(">IB", TWO_GIB, REQUEST))
            assert f"announces {TWO_GIB} bytes, its cap is" in refusal(sock)
    assert node.rss_kib() - before < GROWTH_KIB


def test_two_gib_announced_by_a_member_on_the_port_are_refused_at_once(plant: Plant) -> None:
    """Before the hello, and after it."""
    node, other = plant.nodes[1], plant.nodes[2]
    before = node.rss_kib()
    tls = load_tls(other.home / "ca.pem", other.home / "node.pem", other.home / "node-tls.key")
    validators = {v.key: i for i, v in enumerate(plant.genesis.validators)}

    async def announce_before_the_hello() -> str:
        host, number = parse_address(node.member.addr)
        reader, writer = await asyncio.open_connection(host, number, ssl=tls.client)
        writer.write(struct.pack(">IB", TWO_GIB, REQUEST))
        return await last_words(reader, writer)

    async def announce_as_a_client() -> str:
        key = SigningKey(secrets.token_bytes(32))
        me = Self(Kind.CLIENT, "anybody", key, plant.genesis.digest)
        reader, writer = await open_session(node.member.addr, me, validators, tls)
        writer.write(encode_frame(REQUEST, encode(Request(1, View("status")))))
        length, type_ = struct.unpack(">IB", await reader.readexactly(5))
        assert type_ == RESPONSE
        await reader.readexactly(length - 1)
        writer.write(struct.pack(">IB", TWO_GIB, REQUEST))
        return await last_words(reader, writer)

    for _ in range(5):
        why = asyncio.run(announce_before_the_hello())
        assert f"({TWO_GIB} bytes) is not spoken here" in why
        assert f"announces {TWO_GIB} bytes" in asyncio.run(announce_as_a_client())
    assert node.rss_kib() - before < GROWTH_KIB


def test_a_stranger_without_a_certificate_gets_no_hello(plant: Plant) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with closing(port(plant.nodes[1])) as raw, context.wrap_socket(raw) as sock:
        sock.settimeout(10)
        try:
            heard = sock.recv(1)
        except ssl.SSLError:  # the alert may come before or after the end of the stream
            heard = b""
    assert heard == b""
    eventually(lambda: "did not return a certificate" in plant.nodes[1].log, "the log says why")


@pytest.mark.parametrize(
    "view",
    [
        View("trades", "9" * 200),
        View("book", "9" * 200),
        View("book", "-1"),
        View("trades", str(2**63)),
        View("account", "ed25519:" + "A" * 43),
        View("account", ""),
        View("status", "x" * 256),
        View("nonsense"),
        View("timings", "\x00"),
    ],
)
def test_absurd_questions_get_an_answer(running: Plant, view: View) -> None:
    node = running.nodes[1]
    with closing(local(node)) as sock:
        sock.sendall(encode_frame(REQUEST, encode(Request(7, view))))
        length, type_ = struct.unpack(">IB", sock.recv(5, socket.MSG_WAITALL))
        assert type_ == RESPONSE
        assert len(sock.recv(length - 1, socket.MSG_WAITALL)) == length - 1
    assert node.process.poll() is None


# ---------------------------------------------------------------- two plants


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Plant]:
    """Two nodes: both are needed."""
    with plant_of(tmp_path / "pair", 2, chain_name="pair") as made:
        yield made


def test_a_certificate_of_another_plant_stops_its_node_at_once(pair: Plant, tmp_path: Path) -> None:
    borrow(pair.nodes[1], tmp_path / "other", ("node.pem", "node-tls.key"))
    started = vppd("start", "--home", pair.nodes[1].home)
    assert started.code == 78
    assert "error[E306]" in started.err
    assert "certificate signed by another plant's CA" in started.err


def test_a_node_that_only_believes_in_another_plant_says_so(pair: Plant, tmp_path: Path) -> None:
    borrow(pair.nodes[1], tmp_path / "other", ("ca.pem", "node.pem", "node-tls.key"))
    ours, theirs = pair.nodes
    ours.start()
    theirs.start()
    foreign = "certificate signed by another plant's CA"
    eventually(lambda: theirs.peer("op-0").get("why") == foreign, "the DER's status says why")
    why = eventually(lambda: dialled(ours, "der-1"), "the operator's status says that it tried")
    assert why.startswith("der-1 dialled us: ")


def dialled(node: Node, peer: str) -> str | None:
    why: str | None = node.peer(peer).get("why")
    return why if why and "dialled" in why else None


def test_a_certificate_of_another_plant_is_named_on_both_sides(pair: Plant, tmp_path: Path) -> None:
    """A node that believes in both authorities, and shows the wrong certificate."""
    ours, theirs = pair.nodes
    own_ca = (theirs.home / "ca.pem").read_bytes()
    borrow(theirs, tmp_path / "other", ("ca.pem", "node.pem", "node-tls.key"))
    with (theirs.home / "ca.pem").open("ab") as file:
        file.write(own_ca)
    ours.start()
    theirs.start()

    def told(node: Node, peer: str) -> str | None:
        why: str | None = node.peer(peer).get("why")
        joining = (node.status() or {}).get("joining")  # it still looks whether it is far behind
        return why if why and "certificate" in why and not joining else None

    here = eventually(lambda: told(ours, "der-1"), "the operator's status says why")
    there = eventually(lambda: told(theirs, "op-0"), "the DER's status says why")
    assert here == "der-1 dialled us: certificate signed by another plant's CA"
    for node, why in ((ours, here), (theirs, there)):
        shown = node.vppd("status")
        assert shown.code == 3
        assert "DECISIONS HAVE STOPPED: 1 of 2 replicas are here, 2 needed to decide" in shown.out
        assert why in shown.out


def borrow(node: Node, out: Path, names: tuple[str, ...]) -> None:
    """Give a node files of another plant's node."""
    with plant_of(out, 2, chain_name="other") as other:
        for name in names:
            shutil.copy(other.nodes[1].home / name, node.home / name)


def test_too_few_nodes_exit_3_and_say_who_is_missing(pair: Plant) -> None:
    alone = pair.nodes[1]
    alone.start()
    eventually(alone.status, "it answers")
    why = eventually(lambda: alone.peer("op-0").get("why"), "a reason")
    answer = vppd("status", "--home", alone.home, "-o", "json")
    assert answer.code == 3
    [missing] = [p for p in answer.data["peers"] if not p["connected"]]
    assert missing["name"] == "op-0"
    assert missing["why"]
    assert why
    assert alone.terminate() == 0
