"""How the node that runs in a folder was started, as the kernel tells it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vppd.config.origin import NO_FLAGS, Flags
from vppd.types import Role

_UCRED = struct.Struct("=3i")
"""Process, user and group (unix(7), SO_PEERCRED)."""
_NAMES = ("role", "config", "peers", "genesis")


def started_with(client_socket: Path) -> Flags:
    """The flags of the process that listens there; none, if none does.

    Args:
        client_socket: of the node.

    Raises:
        OSError: a process listens there, but what it was started with cannot be read.
    """
    pid = _listener(client_socket)
    if pid is None:
        return NO_FLAGS
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    folder = Path(f"/proc/{pid}/cwd").readlink()
    return read_flags([os.fsdecode(word) for word in words], folder, pid)


def read_flags(words: Sequence[str], folder: Path, pid: int) -> Flags:
    """What ``vppd start`` was given; nothing, if this is no such command.

    Args:
        words: of the process.
        folder: it was started in.
        pid: its number.
    """
    if "start" not in words:
        return NO_FLAGS
    said: dict[str, str] = {}
    rest = iter(words[words.index("start") + 1 :])
    for word in rest:
        name, has_value, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            said[name] = value if has_value else next(rest, "")
    files = {name: folder / said[name] for name in _NAMES if name != "role" and name in said}
    role = None
    with suppress(ValueError):
        role = Role(said["role"]) if "role" in said else None
    return Flags(role=role, said_by=f"vppd start, process {pid}", **files)


def _listener(client_socket: Path) -> int | None:
    """The process that bound a Unix socket; ``None``: nobody listens, or this system hides who."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(str(client_socket))
        except OSError:
            return None
        data = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(data)[0]
    return pid
