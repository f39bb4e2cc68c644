"""A plant for the network's tests: certificates, nodes with real sockets, and what they report."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeAlias

import structlog
from structlog.typing import EventDict, WrappedLogger

from vppd.crypto import SigningKey
from vppd.errors import PeerFault
from vppd.net.dial import Backoff
from vppd.net.frames import REQUEST, RESPONSE, encode_frame
from vppd.net.hello import Kind, Self
from vppd.net.link import DEADLINES, Deadlines, Link
from vppd.net.peers import Network, PeerEntry
from vppd.net.tls import Tls, load_tls
from vppd.net.x509 import Issued, make_ca, make_leaf

CHAIN = bytes(range(32))
OTHER_CHAIN = bytes(range(32, 64))
KEYS = tuple(SigningKey(bytes([0x40 + i]) * 32) for i in range(8))
QUICK = Backoff(0.005, 0.02)
HANGS = 10.0
"""Seconds after which a test that waits is a test that hangs."""


class Certificates(NamedTuple):
    """Folders with ``ca.pem``, ``node.pem`` and ``node-tls.key``."""

    ours: tuple[Path, ...]
    other: Path
    """Complete, but of another plant."""
    foreign: Path
    """Believes in our authority, has a certificate of the other."""
    expired: Path
    revoked: Path
    crl: Path
    """Names the certificate in ``revoked``."""

    def tls(self, i: int) -> Tls:
        """For our node ``i``."""
        return tls_of(self.ours[i])


def tls_of(folder: Path) -> Tls:
    return load_tls(folder / "ca.pem", folder / "node.pem", folder / "node-tls.key")


def write_certificates(base: Path) -> Certificates:
    ca, other_ca = make_ca("ours", 3650), make_ca("other", 3650)
    ours = tuple(
        _write(base / f"node-{i}", ca, make_leaf(ca, f"node-{i}", 90, ["127.0.0.1"]))
        for i in range(5)
    )
    long_ago = datetime.now(UTC) - timedelta(days=30)
    revoked = make_leaf(ca, "revoked", 90)
    crl = base / "crl.pem"
    crl.write_bytes(_crl(ca, revoked))
    return Certificates(
        ours,
        _write(base / "other", other_ca, make_leaf(other_ca, "other", 90)),
        _write(base / "foreign", ca, make_leaf(other_ca, "foreign", 90)),
        _write(base / "expired", ca, make_leaf(ca, "expired", 10, now=long_ago)),
        _write(base / "revoked", ca, revoked),
        crl,
    )


def _write(folder: Path, ca: Issued, leaf: Issued) -> Path:
    folder.mkdir()
    (folder / "ca.pem").write_bytes(ca.certificate)
    (folder / "node.pem").write_bytes(leaf.certificate)
    (folder / "node-tls.key").touch(0o600)
    (folder / "node-tls.key").write_bytes(leaf.key)
    return folder


def _crl(ca: Issued, revoked: Issued) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    issuer = x509.load_pem_x509_certificate(ca.certificate)
    key = load_pem_private_key(ca.key, None)
    assert isinstance(key, Ed25519PrivateKey)
    now = datetime.now(UTC)
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(x509.load_pem_x509_certificate(revoked.certificate).serial_number)
        .revocation_date(now - timedelta(minutes=1))
        .build()
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - timedelta(minutes=1))
        .next_update(now + timedelta(days=7))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .add_revoked_certificate(entry)
        .sign(key, None)
    )
    return crl.public_bytes(Encoding.PEM)


_hosts = itertools.count(256)


def fresh_host() -> str:
    """A loopback address of its own for each plant, so that tests side by side share no port."""
    pid, count = os.getpid(), next(_hosts)
    return f"127.{1 + pid % 250}.{count // 256 % 256}.{count % 256}"


class Up(NamedTuple):
    peer: int


class Down(NamedTuple):
    peer: int
    why: str


class Got(NamedTuple):
    peer: int | None
    type: int
    payload: bytes


class ClientGone(NamedTuple):
    pass


Event: TypeAlias = Up | Down | Got | ClientGone


class Recorder:
    """A handler that keeps what it is told; clients get their payload back, reversed."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.links: list[Link] = []
        self.sessions: list[Link] = []
        self.fatal: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.frame_error: Exception | None = None
        self.greeting = b""
        """What a guest is sent as it comes up."""

    def on_frame(self, peer: int | None, link: Link, type_: int, payload: bytes) -> None:
        if self.frame_error is not None:
            raise self.frame_error
        self.links.append(link)
        self.events.put_nowait(Got(peer, type_, payload))

    def on_guest(self, link: Link) -> None:
        if self.greeting:
            link.send(self.greeting)

    def on_connect(self, peer: int) -> None:
        self.events.put_nowait(Up(peer))

    def on_disconnect(self, peer: int, why: str) -> None:
        self.events.put_nowait(Down(peer, why))

    def on_client_frame(self, session: Link, type_: int, payload: bytes) -> None:
        if type_ != REQUEST:
            raise PeerFault(f"clients do not send type {type_}")
        self.sessions.append(session)
        session.send(encode_frame(RESPONSE, payload[::-1]))

    def on_client_gone(self, session: Link) -> None:
        assert session.closed
        self.events.put_nowait(ClientGone())

    def on_fatal(self, err: BaseException) -> None:
        self.fatal.set_result(err)

    async def next(self, kind: type[Event]) -> Event:
        """The next event of that kind; others are passed over."""
        passed: list[Event] = []
        try:
            async with asyncio.timeout(HANGS):
                while not isinstance(event := await self.events.get(), kind):
                    passed.append(event)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} comes after {passed}") from None
        return event

    async def turn(self) -> None:
        """Let the event loop do what is ready."""
        await asyncio.sleep(0)

    async def all_up(self, peers: Sequence[int]) -> None:
        missing = set(peers)
        while missing:
            event = await self.next(Up)
            assert isinstance(event, Up)
            missing.discard(event.peer)


class Log:
    """Every line logged during a test, and a way to wait for the next one."""

    def __init__(self) -> None:
        self.lines: list[EventDict] = []
        self._waiting: list[asyncio.Future[None]] = []

    def __call__(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        """As a structlog processor."""
        self.lines.append(line)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()
        raise structlog.DropEvent

    async def next_line(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(HANGS):
                await waiting
        except TimeoutError:
            raise AssertionError(f"nothing more is logged after {self.lines}") from None


class Node(NamedTuple):
    host: str
    network: Network
    seen: Recorder

    @property
    def addr(self) -> str:
        return f"{self.host}:{self.network.port}"


class Plant:
    """Nodes of one plant on this machine, on free ports.

    Args:
        certificates: for those that speak TLS.
        folder: for Unix sockets.
        stack: stops the nodes.
        log: what they log.
    """

    def __init__(
        self, certificates: Certificates, folder: Path, stack: AsyncExitStack, log: Log
    ) -> None:
        self.log = log
        self.host = fresh_host()
        self.certificates = certificates
        self.folder = folder
        self._stack = stack
        self.entries = tuple(
            PeerEntry(i, f"node-{i}", KEYS[i].public_key, f"{self.host}:{7440 + 10 * i}")
            for i in range(4)
        )
        self.validators = {entry.key: entry.index for entry in self.entries}

    async def start(
        self,
        i: int,
        *,
        n: int = 2,
        tls: Tls | None = None,
        key: SigningKey | None = None,
        kind: Kind = Kind.VALIDATOR,
        chain: bytes = CHAIN,
        entries: Sequence[PeerEntry] | None = None,
        listen: str | None = None,
        client_socket: Path | None = None,
        deadlines: Deadlines = DEADLINES,
        handler: Callable[[], Recorder] = Recorder,
        instance: bytes | None = None,
        liars: int = 0,
    ) -> Node:
        """Node ``i`` of ``n``; without ``tls`` it is plain. An observer has index ``n`` or more."""
        known = self.entries[:n] if entries is None else tuple(entries)
        signer = KEYS[i] if key is None else key
        if listen is None and kind is Kind.VALIDATOR:
            listen = self.entries[i].addr
        seen = handler()
        network = Network(
            Self(kind, f"node-{i}", signer, chain, instance or secrets.token_bytes(16)),
            known,
            listen=listen,
            tls=tls,
            client_socket=client_socket,
            handler=seen,
            liars=liars,
            deadlines=deadlines,
            backoff=QUICK,
            chance=random.Random(i),
        )
        await network.start()
        self._stack.push_async_callback(network.stop)
        return Node(self.host, network, seen)
