"""Dialling: one connection attempt, and how long to wait between two."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import NamedTuple

from vppd.config.values import parse_address
from vppd.net.link import Link
from vppd.net.tls import Tls

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


async def dial(addr: str, make: Callable[[], Link], tls: Tls | None, seconds: float) -> Link:
    """Connect to ``host:port``, trying each of a name's addresses in turn.

    Args:
        addr: whom to dial.
        make: called once per attempt, for the link.
        tls: ``None``: plain.
        seconds: for each of TCP and TLS, per address.

    Returns:
        A connected link, whose hello has only begun.

    Raises:
        OSError: nobody was reached (the last address's failure), TLS failures included.
    """
    host, port = parse_address(addr)
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    for _, _, _, _, address in infos:
        link = make()
        try:
            async with asyncio.timeout(2 * seconds):
                await _connect(link, str(address[0]), port, tls, seconds)
        except BaseException as err:
            link.abandon()
            if not isinstance(err, OSError):
                raise
            failure = err
        else:
            return link
    raise failure


async def _connect(link: Link, host: str, port: int, tls: Tls | None, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.create_connection(lambda: link, host, port)
    else:
        await loop.create_connection(
            lambda: link,
            host,
            port,
            ssl=tls.client,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
