"""Bent frames through real sockets, to a daemon that runs: from nodes, clients and strangers."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import NamedTuple

from tests.hostile.attackers import CLOSED, intruder
from tests.hostile.fuzz import HELLOS, requests
from tests.hostile.mutations import Mutator, sample_of
from tests.hostile.scene import LIARS, play
from tests.hostile.siege import Besieged
from vppd.config.values import parse_address
from vppd.crypto import SigningKey, sha256
from vppd.errors import PeerFault
from vppd.net.frames import REQUEST, encode_frame
from vppd.net.hello import Kind

AT_ONCE = 50
"""Frames written before listening for what the node says; it has cut most links by then."""


class Sent(NamedTuple):
    """What went through the sockets."""

    connections: int
    frames: int
    """Written; a node that cuts a link reads no further."""
    growth_mib: float
    """Of the node's resident memory."""


async def fuzz_sockets(plant: Besieged, connections: int, seed: int) -> Sent:
    """Frames until the node hangs up, on so many connections one after the other."""
    chance = random.Random(seed)
    samples = [sample_of(frame) for _, frame in play().said]
    mutator = Mutator(chance, samples, LIARS[0])
    asks = requests(samples)
    before, frames = plant.target.rss_kib(), 0
    for number in range(connections):
        match number % 4:
            case 0:  # a request
                bent = [_bent(mutator, chance.choice(asks)) for _ in range(AT_ONCE)]
                reader, writer = await asyncio.open_unix_connection(str(plant.target.socket))
                data = b"".join(encode_frame(REQUEST, payload) for payload in bent)
            case 1:  # a hello
                type_, tree, payload = chance.choice(HELLOS)
                bent = [_bent(mutator, (tree, payload)) for _ in range(AT_ONCE)]
                host, port = parse_address(plant.target.member.addr)
                reader, writer = await asyncio.open_connection(host, port)
                data = b"".join(encode_frame(type_, payload) for payload in bent)
            case _:
                key = SigningKey(sha256(b"fuzz %d %d" % (seed, number)))
                made = [mutator.next() for _ in range(AT_ONCE)]
                with suppress(*CLOSED, PeerFault, TimeoutError):
                    who = intruder(plant, plant.target, plant.traitor, Kind.OBSERVER, key)
                    async with who as node:
                        for each in made:
                            await node.send(encode_frame(each.type, each.payload))
                            frames += 1
                        node.writer.write_eof()
                        await node.listen()
                continue
        with suppress(*CLOSED):
            writer.write(data)
            frames += AT_ONCE
            writer.write_eof()
            while await reader.read(65_536):
                pass
        writer.transport.abort()
    return Sent(connections, frames, (plant.target.rss_kib() - before) / 1024)


def _bent(mutator: Mutator, sample: tuple[object, bytes]) -> bytes:
    """A payload with its bytes or its tree bent, each half of the times."""
    tree, payload = sample
    return mutator.bend_bytes(payload) if mutator.coin() else mutator.bend_tree(tree)
