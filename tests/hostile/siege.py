"""Attacks on a plant of real processes: ``python -m tests.hostile.siege --seconds 60``.

Five nodes, one of which, the traitor, is never started: its keys and certificate are the
attacker's. The other four are just enough to decide, and must go on deciding. A client pays through
one of them without a pause; how long its payments take with an attack and without it is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from tests.e2e.plant import Node, Plant, eventually, plant_of
from tests.hostile.attackers import CLOSED, Forged, Slow, forge_votes, intruder
from vppd.client.client import connect
from vppd.codec import encode
from vppd.config.node import Transport
from vppd.config.values import parse_address
from vppd.consensus.messages import CAP, TYPE_OF, GetBlocks, Type
from vppd.crypto import SigningKey, sha256
from vppd.errors import PeerFault
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.net.frames import REQUEST, REQUEST_CAPS, encode_frame
from vppd.net.hello import Kind
from vppd.net.link import DEADLINES
from vppd.net.requests import GetDecided, Request

N = 5
FLOOD_PER_S = 5_000
HALF_OPEN = 1_000
STALLED = 200
AGAIN_S = 2.0
"""Before a connection that was closed is opened again."""
REAPED_S = DEADLINES.handshake + 3
"""By then a connection that says nothing is gone, on a machine that is busy attacking itself."""
DRIPPING = 15
"""As many observers at a byte a second as there is room for, less one."""
HOLDERS = 50
"""Links that hold as much memory of the node's as they can."""
FILL = 160
"""Transactions of 3 KB from each account, to have large blocks to ask for."""


class Latency(NamedTuple):
    """Of an honest client's payments, from submitting to being told that they are committed."""

    payments: int
    median_ms: float
    p99_ms: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency:
        """From single measurements, at least two."""
        return Latency(
            len(seconds),
            1e3 * median(seconds),
            1e3 * quantiles(seconds, n=100, method="inclusive")[98],
        )

    def against(self, calm: Latency) -> str:
        """Ratios."""
        return (
            f"{self.median_ms:.1f} / {self.p99_ms:.1f} ms "
            f"({self.median_ms / calm.median_ms:.2f} / {self.p99_ms / calm.p99_ms:.2f} of calm)"
        )


class Besieged(Plant):
    """Everybody but the traitor runs."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant.testnet)
        self.traitor = self.nodes.pop()
        self.target = self.nodes[1]
        self.nonces: dict[str, int] = {}
        """Of those who pay."""
        self.outside = self.target.member.addr
        """Where strangers knock."""

    def open_gate(self) -> None:
        """Before the start: let the attacked node listen to other machines, too."""
        port = parse_address(self.target.member.addr)[1]
        file = self.target.home / "node.toml"
        listen = f'listen = "{self.target.member.addr}"'
        text = file.read_text()
        assert text.count(listen) == 1
        file.write_text(text.replace(listen, f'listen = "0.0.0.0:{port}"'))
        self.outside = f"{_own_address()}:{port}"

    def start(self) -> None:
        """All but the traitor, until they vote and see each other."""
        for node in self.nodes:
            node.start()
        names = {node.name for node in self.nodes}

        def complete(node: Node) -> bool:
            status = node.status()
            here = {p["name"] for p in status["peers"] if p["connected"]} if status else set()
            return bool(status and status["voting"] and names - {node.name} <= here)

        eventually(lambda: all(map(complete, self.nodes)), self.last_words("complete"))

    async def pay(self, node: Node, seconds: float) -> list[float]:
        """One payment after the other, each until it is committed; seconds for each."""
        took: list[float] = []
        async with connect(node.socket) as client:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends or len(took) < 2:
                nonce = self.nonces.get(node.name, 0)
                self.nonces[node.name] = nonce + 1
                paid = Transfer(self.nodes[0].key.public_key, 1)
                raw = make_transaction(node.key, self.genesis.digest, nonce, 10_000, (paid,))
                begun = time.monotonic()
                await client.wait(await client.submit(raw))
                took.append(time.monotonic() - begun)
        return took

    async def under(
        self,
        attack: Coroutine[Any, Any, None],
        seconds: float,
        look: Callable[[], object] = lambda: None,
    ) -> Latency:
        """Pay at the attacked node while something goes on, then ``look`` before it is ended.

        Raises:
            AssertionError: the attack has ended with an error of its own.
        """
        attacking = asyncio.create_task(attack)
        try:
            took = await self.pay(self.target, seconds)
            look()
        finally:
            if attacking.done():
                attacking.result()
            attacking.cancel()
            with suppress(asyncio.CancelledError):
                await attacking
        return Latency.of(took)


@contextmanager
def besieged(out: Path, transport: Transport = "tls") -> Iterator[Besieged]:
    """A plant with a traitor, not yet started; whatever of it runs at the end is killed."""
    with plant_of(out, N, transport=transport) as plant:
        made = Besieged(plant)
        if transport == "tls":
            made.open_gate()
        try:
            yield made
        finally:
            for node in made.nodes:
                node.end()


def _own_address() -> str:
    """Of this machine as others see it: a stranger's to a plant on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


# ---------------------------------------------------------------- attacks


async def besiege_slowly(plant: Besieged, tcp: Slow, tls: Slow, frames: Slow) -> None:
    """Half-open connections, TLS that stalls, and members at a byte a second; all for ever."""
    async with asyncio.TaskGroup() as group:
        for _ in range(HALF_OPEN):
            group.create_task(_again(lambda: tcp.hold(plant.outside, b"", None)))
        for _ in range(STALLED):
            group.create_task(
                _again(lambda: tls.hold(plant.outside, b"\x16\x03\x01\x02\x00", None))
            )
        for number in range(DRIPPING):
            kind = Kind.OBSERVER if number else Kind.VALIDATOR
            group.create_task(_again(partial(_drip, plant, kind, frames)))


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()
        await asyncio.sleep(AGAIN_S)


async def _drip(plant: Besieged, kind: Kind, slow: Slow) -> None:
    """The beginning of a frame, then a byte each second."""
    begun = time.monotonic()
    key = None if kind is Kind.VALIDATOR else SigningKey(sha256(repr(begun).encode()))
    with suppress(*CLOSED, PeerFault, TimeoutError):
        async with intruder(plant, plant.target, plant.traitor, kind, key) as attacker:
            slow.opened += 1
            begun = time.monotonic()
            first = encode_frame(Type.BLOCK, bytes(1_000))[:6]
            await slow.hold_open(attacker.reader, attacker.writer, first, lambda _: b"\x00")
            slow.lived.append(time.monotonic() - begun)


async def hold_memory(plant: Besieged, top: int, number: int) -> None:
    """A member that asks for all blocks, reads nothing, and sends nearly a whole frame; for ever.

    Args:
        plant: with blocks to ask for.
        top: its height.
        number: the first ones are observers, the others clients.
    """
    observer = number < DRIPPING
    kind = Kind.OBSERVER if observer else Kind.CLIENT
    key = SigningKey(sha256(b"holder %d" % number))
    type_, cap = (Type.BLOCK, CAP[Type.BLOCK]) if observer else (REQUEST, REQUEST_CAPS[REQUEST])
    while True:
        with suppress(*CLOSED, PeerFault, TimeoutError):
            async with intruder(plant, plant.target, plant.traitor, kind, key) as holder:
                for height in range(1, 4 * top):
                    await holder.send(_ask(observer, 1 + height % top))
                    await asyncio.sleep(0.02)
                await holder.send(encode_frame(type_, bytes(cap))[:-1])
                await asyncio.Event().wait()
        await asyncio.sleep(0.1)


def _ask(observer: bool, height: int) -> bytes:
    if observer:
        return encode_frame(TYPE_OF[GetBlocks], encode(GetBlocks(height)))
    return encode_frame(REQUEST, encode(Request(height, GetDecided(height))))


async def fill_blocks(plant: Besieged) -> int:
    """Decide some blocks that are as large as they get; the height after them."""
    pays = (Transfer(plant.nodes[0].key.public_key, 1),) * 64

    async def spend(node: Node) -> None:
        async with connect(node.socket) as client:
            first = plant.nonces.get(node.name, 0)
            for nonce in range(first, first + FILL):
                raw = make_transaction(node.key, plant.genesis.digest, nonce, 10_000, pays)
                tx_id = await client.submit(raw)
                if nonce % 32 == 31:
                    await client.wait(tx_id)
            plant.nonces[node.name] = first + FILL

    async with asyncio.TaskGroup() as group:
        for node in plant.nodes:
            group.create_task(spend(node))
    return (await asyncio.to_thread(plant.wait_equal))[0]


async def peak_rss_mib(node: Node, seconds: float) -> float:
    """The most memory that a node has had within some time."""
    ends, peak = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        peak = max(peak, node.rss_kib())
        await asyncio.sleep(0.05)
    return peak / 1024


# ---------------------------------------------------------------- the whole of it


async def besiege(plant: Besieged, seconds: float) -> dict[str, object]:
    """Each attack for so long; figures by name."""
    await plant.pay(plant.target, 1)
    calm = Latency.of(await plant.pay(plant.target, seconds))
    figures: dict[str, object] = {
        "calm: median / p99 of a payment": f"{calm.median_ms:.1f} / {calm.p99_ms:.1f} ms"
    }
    forged = Forged()
    flood = forge_votes(plant, plant.target, plant.traitor, FLOOD_PER_S, forged)
    latency = await plant.under(flood, seconds)
    whys = sorted({*forged.cuts, *forged.refusals})
    figures |= {
        f"forged votes at {FLOOD_PER_S:,}/s": latency.against(calm),
        "– sent, cut, refused": f"{forged.sent}, {len(forged.cuts)}, {len(forged.refusals)}",
        "– in the node's words": "; ".join(whys),
    }
    tcp, tls, frames = Slow(), Slow(), Slow()
    overdue: Counter[str] = Counter()
    latency = await plant.under(
        besiege_slowly(plant, tcp, tls, frames),
        max(seconds, 15),
        lambda: [overdue.update(s.overdue(plant.outside, REAPED_S)) for s in (tcp, tls)],
    )
    figures |= {
        f"{HALF_OPEN:,} half-open TCP, {STALLED} stalled TLS, {DRIPPING} at 1 B/s": latency.against(
            calm
        ),
        "– half-open: opened, longest life": _lives(tcp),
        "– stalled TLS: opened, longest life": _lives(tls),
        "– 1 B/s: let in, longest life": _lives(frames),
        f"– open at our end for more than {REAPED_S:.0f} s: where the node's end is": (
            ", ".join(f"{where} {count}" for where, count in sorted(overdue.items())) or "none"
        ),
    }
    came_back = await asyncio.to_thread(_newcomer, plant)
    return figures | came_back


def _lives(slow: Slow) -> str:
    return f"{slow.opened:,}, {max(slow.lived, default=0):.1f} s"


def _newcomer(plant: Besieged) -> dict[str, object]:
    """How long an honest node takes to be let in again while strangers are at the gate."""
    return asyncio.run(restart_under_siege(plant))


async def restart_under_siege(plant: Besieged) -> dict[str, object]:
    newcomer = plant.nodes[-1]
    tcp, tls, frames = Slow(), Slow(), Slow()
    siege = asyncio.create_task(besiege_slowly(plant, tcp, tls, frames))
    try:
        await asyncio.sleep(2)
        await asyncio.to_thread(newcomer.kill)
        begun = time.monotonic()
        await asyncio.to_thread(newcomer.start)
        await asyncio.to_thread(
            eventually,
            lambda: plant.target.peer(newcomer.name).get("connected"),
            plant.last_words("an honest node gets in"),
        )
        took = time.monotonic() - begun
    finally:
        siege.cancel()
        with suppress(asyncio.CancelledError):
            await siege
    return {"an honest node restarts meanwhile and is connected after": f"{took:.1f} s"}


async def hoard(plant: Besieged, seconds: float) -> dict[str, object]:
    """Links that hold all the memory they can."""
    top = await fill_blocks(plant)
    before = plant.target.rss_kib() / 1024
    calm = Latency.of(await plant.pay(plant.target, seconds))
    holders = [asyncio.create_task(hold_memory(plant, top, i)) for i in range(HOLDERS)]
    try:
        watching = asyncio.create_task(peak_rss_mib(plant.target, seconds))
        latency = Latency.of(await plant.pay(plant.target, seconds))
        peak = await watching
    finally:
        for holder in holders:
            holder.cancel()
        await asyncio.gather(*holders, return_exceptions=True)
    return {
        f"RSS with {HOLDERS} links that hold all they can": f"{before:.0f} MiB → {peak:.0f} MiB",
        "– median / p99 of a payment meanwhile": latency.against(calm),
    }


def table(figures: dict[str, object]) -> str:
    """Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in figures.items())])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each attack")
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # connections that the nodes have cut
    figures: dict[str, object] = {}
    for attack in (besiege, hoard):
        with (
            tempfile.TemporaryDirectory(prefix="vppd-siege-") as folder,
            besieged(Path(folder) / "plant") as plant,
        ):
            plant.start()
            figures |= asyncio.run(attack(plant, options.seconds))
    print(table(figures))  # noqa: T201 - the report
    return 0


if __name__ == "__main__":
    sys.exit(main())
