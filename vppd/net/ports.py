"""Where a node listens: a TCP port for the plant, a Unix socket for clients on this machine.

Both are bound here and accepted from by :class:`Listener`; errors name the setting to change.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from vppd.config.node import is_loopback
from vppd.config.values import parse_address
from vppd.errors import UserError

PENDING = 32
"""Connections that are not let in yet, in all."""
PENDING_PER_HOST = 4
"""Of those, from one address that is no peer's."""
PENDING_PER_PEER_HOST = 8
"""From one that is; this machine is bound by the total alone, it may hold a whole plant."""
PENDING_STRANGERS = 16
"""Of those, from all such addresses: the other half is for peers."""
SOCKET_MODE = 0o660
_BACKLOG = 128
_RETRY_SECONDS = 0.5

log = structlog.get_logger("vppd.net")


def require_loopback(addr: str) -> None:
    """Plain connections stay on this machine.

    Raises:
        UserError: E300.
    """
    host, _ = parse_address(addr)
    if not is_loopback(host):
        raise UserError(
            "E300",
            'transport = "plain" is for one machine; this address is not on it',
            facts={"addr": addr},
            hint='transport = "tls", or addresses like 127.0.0.1:7440',
        )


async def bind_tcp(addr: str) -> socket.socket:
    """A listening socket on ``host:port``.

    Raises:
        UserError: E301, the port is taken; E304, not an address this node can listen on.
    """
    host, port = parse_address(addr)
    try:
        loop = asyncio.get_running_loop()
        family, kind, proto, _, address = (
            await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as err:
        raise _cannot_listen(addr, err) from err
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as err:
        sock.close()
        if err.errno == errno.EADDRINUSE:
            raise UserError(
                "E301",
                f"port {port} is taken",
                facts={"addr": addr},
                hint=f"is the node running already? ss -ltnp 'sport = :{port}' names the process;"
                "\nanother port: [net] listen in node.toml, addr in every peers.toml",
            ) from err
        raise _cannot_listen(addr, err) from err
    return sock


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket, for the owner and its group only.

    A socket file that nobody listens on, left by a process that died, is replaced.

    Raises:
        UserError: E303, a live process or some other file is there; E304, cannot be created.
    """
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        # Until listen() nobody can connect: the mode is right before the first client is.
        path.chmod(SOCKET_MODE)
        sock.listen(_BACKLOG)
    except OSError as err:
        sock.close()
        raise _cannot_listen(str(path), err) from err
    return sock


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as err:
        raise _cannot_listen(str(path), err) from err
    why = "it is not a socket"
    if stat.S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.setblocking(False)
                probe.connect(str(path))
            except ConnectionRefusedError:
                with suppress(FileNotFoundError):
                    path.unlink()
                return
            except OSError as err:
                why = err.strerror or str(err)
            else:
                why = "a process listens on it"
    raise UserError(
        "E303",
        "the socket for clients is in use",
        facts={"socket": str(path), "why": why},
        hint="is the node running already? vppd status asks it; [net] socket names another file",
    )


def _cannot_listen(where: str, err: OSError) -> UserError:
    return UserError(
        "E304",
        "this node cannot listen there",
        facts={"addr": where, "why": err.strerror or str(err)},
        hint="[net] listen and socket in node.toml name a place on this machine",
    )


class Pending:
    """Counts connections that are not let in yet; half the places are kept for peers.

    Args:
        peer_hosts: addresses that peers are known to come from.
    """

    def __init__(self, peer_hosts: frozenset[str]) -> None:
        self._peer_hosts = peer_hosts
        self._by_host: Counter[str] = Counter()
        self._strangers = 0
        self.total = 0

    def know(self, peer_hosts: frozenset[str]) -> None:
        """Peers come from these addresses from now on."""
        self._peer_hosts = peer_hosts
        self._strangers = sum(
            count for host, count in self._by_host.items() if not self._known(host)
        )

    def enter(self, host: str) -> bool:
        """Whether there is room for one more from ``host``; if so, it is taken."""
        known = self._known(host)
        per_host = PENDING_PER_HOST
        if known:
            per_host = PENDING if is_loopback(host) else PENDING_PER_PEER_HOST
        if self.total >= PENDING or self._by_host.get(host, 0) >= per_host:
            return False
        if not known and self._strangers >= PENDING_STRANGERS:
            return False
        self.total += 1
        self._strangers += not known
        self._by_host[host] += 1
        return True

    def leave(self, host: str) -> None:
        """Give the room back."""
        self.total -= 1
        self._strangers -= not self._known(host)
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]

    def _known(self, host: str) -> bool:
        return host in self._peer_hosts or is_loopback(host)


class Listener:
    """Accepts connections on a bound socket until closed.

    Args:
        sock: bound and listening, non-blocking.
        accepted: gets each connection with the address it comes from.
    """

    def __init__(self, sock: socket.socket, accepted: Callable[[socket.socket, str], None]) -> None:
        self._sock = sock
        self._accepted = accepted
        self._task = asyncio.create_task(self._run())

    @property
    def port(self) -> int:
        """TCP port it is bound to."""
        return int(self._sock.getsockname()[1])

    async def close(self) -> None:
        """Accept nothing more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._sock.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                conn, address = await loop.sock_accept(self._sock)
            except OSError as err:
                if err.errno != errno.ECONNABORTED:  # gone before it was accepted
                    log.warning("accept_failed", why=err.strerror)
                    await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._accepted(conn, address[0] if isinstance(address, tuple) else "")
