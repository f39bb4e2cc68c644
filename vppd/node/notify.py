"""Telling systemd that the node is ready, alive, or stopping (``Type=notify``)."""

from __future__ import annotations

import asyncio
import os
import socket


def notify(state: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1`` … to the service manager; nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), address)


def watchdog_interval_s() -> float | None:
    """Half of the interval systemd watches for; ``None`` if it does not watch."""
    micros = os.environ.get("WATCHDOG_USEC")
    return int(micros) / 2_000_000 if micros and micros.isdecimal() and int(micros) else None


async def watchdog() -> None:
    """Tell systemd again and again that the event loop turns."""
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
