"""Dialling: one connection attempt, and how long to wait between two."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from vppd.config.values import parse_address
from vppd.net.tls import Tls

P = TypeVar("P", bound=asyncio.Protocol)
SHUTDOWN_SECONDS = 1.0
"""For the other side to acknowledge the end of TLS."""


class Backoff(NamedTuple):
    """Waits between attempts, in seconds: doubling, jittered, never above ``longest``."""

    first: float = 0.1
    longest: float = 1.0

    def wait(self, failures: int, chance: random.Random) -> float:
        """Before the next attempt, after so many failures in a row (at least 1)."""
        full: float = min(self.longest, self.first * 2 ** min(failures - 1, 16))
        return full * chance.uniform(0.5, 1.0)


BACKOFF = Backoff()


async def dial(addr: str, make: Callable[[], P], tls: Tls | None, seconds: float) -> P:
    """Connect to ``host:port``, trying each of a name's addresses in turn.

    Args:
        addr: whom to dial.
        make: called once per attempt that gets through, for the connection's protocol.
        tls: ``None``: plain.
        seconds: for each of TCP and TLS, per address.

    Raises:
        OSError: nobody was reached (the last address's failure), TLS failures included.
    """
    loop = asyncio.get_running_loop()
    host, port = parse_address(addr)
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    for _, _, _, _, address in infos:
        try:
            async with asyncio.timeout(2 * seconds):
                return await _connect(make(), str(address[0]), port, tls, seconds)
        except OSError as err:
            failure = err
    raise failure


async def _connect(protocol: P, host: str, port: int, tls: Tls | None, seconds: float) -> P:
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.create_connection(lambda: protocol, host, port)
    else:
        await loop.create_connection(
            lambda: protocol,
            host,
            port,
            ssl=tls.client,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
    return protocol
