"""A load client's connection: frames over a socket that never blocks, without an event loop.

An event loop's timers are whole milliseconds, and a lone transaction takes two: the load waits in
``select``, which knows microseconds. Nothing here is done per transaction but cutting its answer
out of what was received.
"""

from __future__ import annotations

import secrets
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from vppd.config.genesis import Genesis
from vppd.config.values import parse_address
from vppd.crypto import SigningKey
from vppd.net.frames import ANSWER_CAPS, HEADER_BYTES, OPENING_CAPS, announced
from vppd.net.hello import PLAIN, Channel, Handshake, Kind, Self
from vppd.net.tls import Tls, fingerprint, load_tls

CONNECT_S = 5.0
CHUNK = 256 * 1024
"""Bytes read, and at most written, at a time."""
_HEADER = struct.Struct(">IB")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client connects, and as whom."""

    where: str
    """Path of a Unix socket, or ``host:port``."""
    kind: Literal["socket", "port"]
    certificate: str | None = None
    """Folder with ca.pem, node.pem and node-tls.key, for a port with TLS."""


class Piece(NamedTuple):
    """Bytes to write, and how many of the load's transactions they end."""

    data: memoryview
    which: Sequence[int] = ()
    """Numbers of these transactions; none: a question of the client's own."""


class Connection:
    """Frames to and from one node.

    Args:
        entry: where it listens.
        genesis: of its plant.
    """

    def __init__(self, entry: Entry, genesis: Genesis) -> None:
        self._entry = entry
        self._genesis = genesis
        self._socket: socket.socket | None = None
        self._rest = b""
        self._queue: deque[Piece] = deque()

    @property
    def open_socket(self) -> socket.socket | None:
        """While it is open."""
        return self._socket

    @property
    def backlog(self) -> bool:
        """Whether something waits for the node to read."""
        return bool(self._queue)

    @property
    def buffered(self) -> bool:
        """Whether TLS holds bytes that ``select`` cannot see."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def open(self) -> None:
        """Connect; over a port, also say hello.

        Raises:
            OSError: not reached, or not let in.
            PeerFault: not let in, and why.
        """
        self.close()
        if self._entry.kind == "socket":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(CONNECT_S)
            try:
                sock.connect(self._entry.where)
            except OSError:
                sock.close()
                raise
        else:
            sock = self._open_port()
        sock.setblocking(False)
        self._socket, self._rest = sock, b""

    def _open_port(self) -> socket.socket:
        sock = socket.create_connection(parse_address(self._entry.where), CONNECT_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = PLAIN
            if self._entry.certificate is not None:
                tls = _tls(Path(self._entry.certificate))
                secured = tls.client.wrap_socket(sock)
                shown = secured.getpeercert(binary_form=True) or b""
                channel, sock = Channel(tls.fingerprint, fingerprint(shown)), secured
            self._say_hello(sock, channel)
        except BaseException:
            sock.close()
            raise
        return sock

    def _say_hello(self, sock: socket.socket, channel: Channel) -> None:
        genesis = self._genesis
        me = Self(Kind.CLIENT, "bench", SigningKey(secrets.token_bytes(32)), genesis.digest)
        validators = {validator.key: i for i, validator in enumerate(genesis.validators)}
        handshake = Handshake(me, validators, secrets.token_bytes(32), channel)
        sock.sendall(handshake.start())
        while handshake.peer is None:
            size, type_ = announced(_exactly(sock, HEADER_BYTES), OPENING_CAPS)
            answer = handshake.receive(type_, _exactly(sock, size))
            if answer:
                sock.sendall(answer)

    def close(self) -> None:
        """Hang up, and forget what was not written."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket, self._rest = None, b""
        self._queue.clear()

    def put(self, piece: Piece) -> None:
        """Queue it."""
        self._queue.append(piece)

    def write(self) -> Iterator[Sequence[int]]:
        """Hand over what the connection takes; yields the transactions of each piece's end.

        Raises:
            OSError: the connection is gone.
        """
        sock = self._socket
        while self._queue and sock is not None:
            data, which = self._queue[0]
            try:
                written = sock.send(data[:CHUNK])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            if written < len(data):
                self._queue[0] = Piece(data[written:], which)
            else:
                self._queue.popleft()
                yield which

    def wait(self, seconds: float) -> None:
        """Until something can be read, or so long."""
        if self._socket is not None:
            select.select([self._socket], [], [], seconds)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Whole frames that have arrived: their type and payload.

        Raises:
            OSError: the connection is gone.
        """
        sock = self._socket
        if sock is None:
            return
        try:
            data = sock.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise ConnectionResetError("closed by the node")
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= HEADER_BYTES:
            size, type_ = _HEADER.unpack_from(data, at)
            if size - 1 > ANSWER_CAPS.get(type_, -1) or size < 1:
                raise ConnectionResetError(f"frame type {type_} of {size} bytes")
            if end - at < 4 + size:
                break
            yield type_, data[at + HEADER_BYTES : at + 4 + size]
            at += 4 + size
        self._rest = data[at:]


def _tls(folder: Path) -> Tls:
    return load_tls(folder / "ca.pem", folder / "node.pem", folder / "node-tls.key")


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionResetError("closed during the hello")
        data += more
    return data
