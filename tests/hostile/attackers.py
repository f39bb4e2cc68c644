"""Somebody with a member's keys and certificate, and no manners: connections to a real daemon."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.e2e.plant import Node, Plant
from vppd.codec import encode
from vppd.config.values import parse_address
from vppd.consensus.messages import TYPE_OF, Prepare, Status, Type
from vppd.crypto import SigningKey
from vppd.errors import PeerFault
from vppd.net.frames import HEADER_BYTES, PEER_CAPS, REFUSE, announced, encode_frame
from vppd.net.gate import decode_message
from vppd.net.hello import Kind, RefusedByPeer, Self, refusal_reason
from vppd.net.session import open_session
from vppd.net.tls import Tls, load_tls

ESTABLISHED = "01"
"""In ``/proc/net/tcp``."""
CLOSED = (OSError, asyncio.IncompleteReadError, EOFError)


def tls_of(node: Node) -> Tls | None:
    """A member's certificate; ``None`` in a plain plant."""
    if not (node.home / "ca.pem").exists():
        return None
    return load_tls(node.home / "ca.pem", node.home / "node.pem", node.home / "node-tls.key")


class Attacker:
    """One connection that has said hello.

    Args:
        reader: from the daemon.
        writer: to it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status: Status | None = None
        """The daemon's latest."""
        self.frames = 0
        """Heard so far."""
        self.why = ""
        """Why the daemon has closed, in its words."""

    async def listen(self) -> None:
        """Read until the daemon closes."""
        caps = dict(PEER_CAPS)
        with suppress(*CLOSED):
            while True:
                size, type_ = announced(await self.reader.readexactly(HEADER_BYTES), caps)
                payload = await self.reader.readexactly(size)
                self.frames += 1
                if type_ == REFUSE:
                    self.why = refusal_reason(payload)
                elif type_ == Type.STATUS:
                    message = decode_message(type_, payload)
                    assert isinstance(message, Status)
                    self.status = message

    async def send(self, data: bytes) -> None:
        """Bytes, as they are."""
        self.writer.write(data)
        await self.writer.drain()


@asynccontextmanager
async def intruder(
    plant: Plant,
    target: Node,
    member: Node,
    kind: Kind = Kind.VALIDATOR,
    key: SigningKey | None = None,
) -> AsyncIterator[Attacker]:
    """Let in by ``target`` with a member's certificate, and its key unless another is given.

    Raises:
        OSError, PeerFault, TimeoutError: it is not let in.
    """
    me = Self(kind, member.name, key or member.key, plant.genesis.digest)
    validators = {v.key: i for i, v in enumerate(plant.genesis.validators)}
    reader, writer = await open_session(target.member.addr, me, validators, tls_of(member))
    try:
        yield Attacker(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(*CLOSED):
            await writer.wait_closed()


def _ends() -> dict[tuple[int, int], str]:
    """Own and other port of every TCP socket of this machine, and what has become of it."""
    ends = {}
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            columns = line.split()
            own, other = (int(address.rpartition(":")[2], 16) for address in columns[1:3])
            open_, inode = columns[3] == ESTABLISHED, columns[9]
            ends[own, other] = ("held" if inode != "0" else "queued") if open_ else "closing"
    return ends


# ---------------------------------------------------------------- forged votes


class Forged:
    """What a flood of forged votes came to."""

    def __init__(self) -> None:
        self.sent = 0
        self.cuts: list[str] = []
        """Why links that were up were cut, in its words; empty if a reset overtook them."""
        self.refusals: list[str] = []
        """Attempts that were not let in, in the daemon's words."""


async def forge_votes(plant: Plant, target: Node, member: Node, per_s: int, done: Forged) -> None:
    """Votes in everybody's name with signatures that do not hold, reconnecting for ever."""
    while True:
        try:
            async with intruder(plant, target, member) as attacker:
                listening = asyncio.create_task(attacker.listen())
                try:
                    with suppress(*CLOSED):
                        await _flood(attacker, per_s, done, listening)
                finally:
                    listening.cancel()
                    await asyncio.wait({listening})
                # Whoever is barred learns of it when its own half of the hello is over.
                if attacker.status is not None:
                    done.cuts.append(attacker.why)
                elif attacker.why:
                    done.refusals.append(attacker.why)
        except RefusedByPeer as err:
            done.refusals.append(str(err))
            await asyncio.sleep(0.05)
        except (*CLOSED, PeerFault, TimeoutError):
            await asyncio.sleep(0.05)


async def _flood(
    attacker: Attacker, per_s: int, done: Forged, listening: asyncio.Task[None]
) -> None:
    begun, sent = time.monotonic(), 0
    while not listening.done():
        if attacker.status is not None:
            while sent < (time.monotonic() - begun) * per_s and not listening.done():
                await attacker.send(b"".join(_votes(attacker.status, 10)))
                sent += 10
                done.sent += 10
        await asyncio.sleep(0.001)


def _votes(status: Status, count: int) -> list[bytes]:
    """For the height that is being decided, so that they matter."""
    return [
        encode_frame(
            TYPE_OF[Prepare],
            encode(
                Prepare(
                    status.epoch, status.view, status.decided + 1, secrets.token_bytes(32),
                    i % 4, secrets.token_bytes(64),
                )
            ),
        )
        for i in range(count)
    ]  # fmt: skip


# ---------------------------------------------------------------- slow ones


class Slow:
    """Connections that do nearly nothing, and how long they were borne."""

    def __init__(self) -> None:
        self.opened = 0
        self.lived: list[float] = []
        """Seconds from connecting to being closed by the node."""
        self.open: dict[int, float] = {}
        """Own port of each that is open, and since when, as far as this end knows."""

    async def hold(self, addr: str, first: bytes, drip: Callable[[int], bytes] | None) -> None:
        """Connect, say ``first``, then a drip a second, until closed."""
        host, port = parse_address(addr)
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            return
        begun = time.monotonic()
        port = int(writer.get_extra_info("sockname")[1])
        self.opened += 1
        self.open[port] = begun
        try:
            await self.hold_open(reader, writer, first, drip)
            self.lived.append(time.monotonic() - begun)
        finally:
            del self.open[port]
            writer.transport.abort()

    def overdue(self, addr: str, seconds: float) -> Counter[str]:
        """Connections open for longer, as far as we know, by where the node's end of them is.

        ``held`` by the node; ``queued`` in the kernel, not accepted yet; ``closing``; or
        ``forgotten``: the kernel has none, though this end believes to be connected. Only the
        first cost the node anything.
        """
        now, (_, node) = time.monotonic(), parse_address(addr)
        ends = _ends()
        late = [port for port, begun in self.open.items() if now - begun > seconds]
        return Counter(ends.get((node, port), "forgotten") for port in late)

    @staticmethod
    async def hold_open(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes,
        drip: Callable[[int], bytes] | None,
    ) -> None:
        """The same on a connection that is there."""
        with suppress(*CLOSED):
            writer.write(first)
            for count in range(10**6):
                if drip is not None:
                    writer.write(drip(count))
                    await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while await reader.read(65_536):
                            pass
                        return
