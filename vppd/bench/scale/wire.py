"""What a frame costs on its way: the daemon's own links, TLS 1.3, over this machine's loopback."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vppd.cli.loop import loop_factory
from vppd.consensus.messages import Type
from vppd.errors import UserError
from vppd.net.frames import HEADER_BYTES, PEER_CAPS, encode_frame
from vppd.net.limits import Rates
from vppd.net.link import Link, Terms
from vppd.net.tls import Tls, load_tls

LINKS = 16
ROUNDS = 60
SMALL, LARGE = 200, 65_536
PASSES = 5
DAYS = 30
"""The certificates are valid; they begin some time ago, for clocks that are behind."""
UNBOUNDED = Rates(*[1e12] * len(Rates._fields))


class Wire(NamedTuple):
    """Microseconds of CPU, both sides together halved: either side's share."""

    frame_us: float
    frame_kib_us: float


class _Counting:
    """Owner of links that counts frames and wakes whoever waits for so many."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.frames = 0
        self.wanted = 0
        self.enough = asyncio.Event()
        self.complete = asyncio.Event()
        """All links are there."""

    def link_made(self, link: Link) -> None:
        self.links.append(link)
        if len(self.links) == LINKS:
            self.complete.set()

    def link_up(self, link: Link) -> Terms:
        del link
        return Terms(PEER_CAPS, None, UNBOUNDED)

    def link_frame(self, link: Link, type_: int, payload: bytes) -> None:
        del link, type_, payload
        self.frames += 1
        if self.frames == self.wanted:
            self.enough.set()

    def link_down(self, link: Link, why: str) -> None:
        del why
        self.links.remove(link)

    def link_gone(self, link: Link) -> None:
        del link

    def link_broken(self, err: Exception) -> None:
        raise err


def measure_wire() -> Wire:
    """A frame to each of several links, as a replica sends its votes; the least of some passes.

    Raises:
        UserError: E430, certificates cannot be made here: the extra ``bench`` is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        tls = _tls(Path(folder))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            small, large = runner.run(_measure(tls))
    per_kib = (large - small) / ((LARGE - SMALL) / 1_024)
    return Wire(round((small - per_kib * SMALL / 1_024) / 2, 3), round(per_kib / 2, 3))


def _tls(folder: Path) -> Tls:
    try:
        from vppd.net.x509 import make_ca, make_leaf
    except ImportError as err:
        raise UserError(
            "E430",
            "a library for measuring the network is missing",
            facts={"missing": str(err.name)},
            hint="pip install 'vppd[bench]'",
        ) from err
    ca = make_ca("scale", DAYS)
    leaf = make_leaf(ca, "node", DAYS)
    for name, content in (("ca", ca.certificate), ("node", leaf.certificate), ("key", leaf.key)):
        path = folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(content)
    return load_tls(*(folder / f"{name}.pem" for name in ("ca", "node", "key")))


async def _measure(tls: Tls) -> tuple[float, float]:
    """Microseconds of CPU per small and per large frame, both sides together."""
    loop = asyncio.get_running_loop()
    receiver, sender = _Counting(), _Counting()
    server = await loop.create_server(_maker(receiver), "127.0.0.1", 0, ssl=tls.server)
    port: int = server.sockets[0].getsockname()[1]
    try:
        for _ in range(LINKS):
            await loop.create_connection(_maker(sender), "127.0.0.1", port, ssl=tls.client)
        await receiver.complete.wait()
        return await _least(sender, receiver, SMALL), await _least(sender, receiver, LARGE)
    finally:
        for link in [*sender.links, *receiver.links]:
            link.abort("measured")
        server.close()
        await server.wait_closed()


def _maker(owner: _Counting) -> Callable[[], Link]:
    return lambda: Link(owner, None, None, "loopback")


async def _least(sender: _Counting, receiver: _Counting, size: int) -> float:
    frame = encode_frame(Type.BLOCK, bytes(size - HEADER_BYTES))
    return min([await _pass(sender, receiver, frame) for _ in range(PASSES)])


async def _pass(sender: _Counting, receiver: _Counting, frame: bytes) -> float:
    begun = time.process_time_ns()
    for _ in range(ROUNDS):
        receiver.frames, receiver.wanted = 0, len(sender.links)
        receiver.enough.clear()
        for link in sender.links:
            link.send(frame)
        await receiver.enough.wait()
    return (time.process_time_ns() - begun) / 1_000 / (ROUNDS * LINKS)
