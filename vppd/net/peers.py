"""The network of one node: whom it listens to, whom it dials, and which links are up.

Among validators the higher index dials the lower; an observer dials every validator. There is one
link per validator; a newer one that has proven itself replaces the older. Clients come over the
Unix socket, or over the port with a certificate of the plant.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from vppd.config.values import parse_address
from vppd.net.dial import Backoff, dial
from vppd.net.frames import PEER_CAPS, REQUEST_CAPS
from vppd.net.hello import Channel, Full, Handshake, Kind, Self
from vppd.net.link import Deadlines, Link, Terms, Traffic
from vppd.net.ports import Listener, Pending, bind_tcp, bind_unix, require_loopback
from vppd.net.tls import Tls, explain
from vppd.types import PublicKey, ReplicaIndex

MAX_OBSERVERS = 16
MAX_CLIENTS = 64
"""Over the port; as many again over the Unix socket, so that the operator always gets in."""
_REFUSALS_KEPT = 32

log = structlog.get_logger("vppd.net")


class PeerEntry(NamedTuple):
    """A validator and where it listens."""

    index: ReplicaIndex
    name: str
    key: PublicKey
    addr: str
    """``host:port``."""


class PeerState(NamedTuple):
    """One validator as this node's network sees it."""

    index: ReplicaIndex
    name: str
    addr: str
    connected: bool
    seconds: float
    """Since when it is so."""
    why: str
    """Last failure or refusal in plain words; empty while connected."""
    rtt_us: int | None
    traffic: Traffic
    """Since this node started."""


class Refused(NamedTuple):
    """A connection that was not let in."""

    remote: str
    why: str


class Handler(Protocol):
    """The node, as the network sees it. Calls come from the event loop and must not block.

    A :class:`~vppd.errors.PeerFault` raised by a frame handler cuts the link with its text as the
    reason; any other exception goes to :meth:`on_fatal`.
    """

    def on_frame(
        self, peer: ReplicaIndex | None, link: Link, type_: int, payload: bytes
    ) -> None:
        """A frame from a validator, or from an observer (``None``: answer through ``link``)."""
        ...

    def on_connect(self, peer: ReplicaIndex) -> None:
        """A validator's link is up."""
        ...

    def on_disconnect(self, peer: ReplicaIndex, why: str) -> None:
        """It is down; may come from within ``send`` or ``broadcast``."""
        ...

    def on_client_frame(self, session: Link, type_: int, payload: bytes) -> None:
        """A client's request; answer through ``session.send``."""
        ...

    def on_client_gone(self, session: Link) -> None:
        """A client has left."""
        ...

    def on_fatal(self, err: BaseException) -> None:
        """Our own fault: the process is to stop."""
        ...


class _Slot:
    """One validator's place."""

    def __init__(self, entry: PeerEntry, now: float) -> None:
        self.entry = entry
        self.link: Link | None = None
        self.why = "not heard from yet"
        self.since = now
        self.past = Traffic()
        """Of earlier links."""


class Network:
    """All connections of one node.

    Args:
        me: what this node says about itself; its kind is validator or observer.
        validators: every validator, this node included if it is one.
        listen: ``host:port``; ``None``: this node only dials.
        tls: ``None``: plain, on this machine only.
        client_socket: Unix socket for local clients; ``None``: none.
        handler: who gets frames and news.
        deadlines: how long anything may take.
        backoff: waits between attempts to connect.
        chance: for their jitter.
    """

    def __init__(
        self,
        me: Self,
        validators: Sequence[PeerEntry],
        *,
        listen: str | None,
        tls: Tls | None,
        client_socket: Path | None,
        handler: Handler,
        deadlines: Deadlines = Deadlines(),
        backoff: Backoff = Backoff(),
        chance: random.Random | None = None,
    ) -> None:
        self._me = me
        self._listen = listen
        self._tls = tls
        self._client_socket = client_socket
        self._handler = handler
        self._deadlines = deadlines
        self._backoff = backoff
        self._chance = chance or random.Random()
        own = me.signer.public_key
        self._own_index = next((v.index for v in validators if v.key == own), None)
        self._indices = {v.key: v.index for v in validators}
        others = [v for v in validators if v.key != own]
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._slots = {v.index: _Slot(v, loop.time()) for v in others}
        self._pending = Pending(frozenset(parse_address(v.addr)[0] for v in others))
        self._opening: dict[Link, str] = {}
        """Accepted and not let in yet, with the address they came from."""
        self._observers: list[Link] = []
        self._clients: list[Link] = []
        self._local: list[Link] = []
        self._links: set[Link] = set()
        """Every link with an open socket."""
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[Listener] = []
        self._port: int | None = None
        self._stopping = False
        self._refused: deque[Refused] = deque(maxlen=_REFUSALS_KEPT)

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Listen and begin to dial.

        Raises:
            UserError: E300, plain beyond this machine; E301, port taken; E303, socket in use;
                E304, cannot listen there.
        """
        if self._tls is None:
            for addr in (self._listen, *(slot.entry.addr for slot in self._slots.values())):
                if addr is not None:
                    require_loopback(addr)
        sockets: list[socket.socket] = []
        try:
            if self._listen is not None:
                sockets.append(await bind_tcp(self._listen))
            if self._client_socket is not None:
                sockets.append(bind_unix(self._client_socket))
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        for sock in sockets:
            local = sock.family == socket.AF_UNIX
            listener = Listener(sock, self._accepted_local if local else self._accepted)
            self._listeners.append(listener)
            if not local:
                self._port = listener.port
        for slot in self._slots.values():
            if self._own_index is None or slot.entry.index < self._own_index:
                self._spawn(self._keep_dialling(slot))
        log.info("listening", addr=self._listen, transport="tls" if self._tls else "plain")

    async def stop(self) -> None:
        """Close everything and wait until it is closed; may be called twice."""
        self._stopping = True
        for listener in self._listeners:
            await listener.close()
        if self._listeners and self._client_socket is not None:
            self._client_socket.unlink(missing_ok=True)
        self._listeners.clear()
        for task in tuple(self._tasks):
            task.cancel()
        for link in tuple(self._links):
            link.cut("this node is stopping")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._all_gone.wait()

    @property
    def port(self) -> int | None:
        """TCP port listened on."""
        return self._port

    # ------------------------------------------------------------ for the node

    def send(self, peer: ReplicaIndex, frame: bytes) -> bool:
        """Queue a frame for a validator; whether it will be sent."""
        slot = self._slots.get(peer)
        return slot is not None and slot.link is not None and slot.link.send(frame)

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for every validator and observer that is connected."""
        for slot in self._slots.values():
            if slot.link is not None:
                slot.link.send(frame)
        for link in tuple(self._observers):
            link.send(frame)

    def cut(self, peer: ReplicaIndex, reason: str) -> None:
        """Close a validator's link; it may come back."""
        slot = self._slots.get(peer)
        if slot is not None and slot.link is not None:
            slot.link.cut(reason)

    def connected(self) -> tuple[ReplicaIndex, ...]:
        """Validators whose link is up, ascending."""
        return tuple(sorted(i for i, slot in self._slots.items() if slot.link is not None))

    def peer_states(self) -> tuple[PeerState, ...]:
        """Every other validator, by index."""
        return tuple(self._state(self._slots[i]) for i in sorted(self._slots))

    def refusals(self) -> tuple[Refused, ...]:
        """The latest connections that were not let in, oldest first."""
        return tuple(self._refused)

    # ------------------------------------------------------------ links: Owner

    def link_up(self, link: Link) -> Terms:
        """See :class:`~vppd.net.link.Owner`."""
        if link.peer is None:
            self._admit(link, self._local, MAX_CLIENTS, "clients")
            return Terms(REQUEST_CAPS, None)
        kind, _, name, index = link.peer
        if index is not None:
            self._take_place(self._slots[index], link)
            self._let_in(link)
            self._handler.on_connect(index)
            return Terms(PEER_CAPS, self._deadlines.idle)
        if kind is Kind.OBSERVER:
            self._admit(link, self._observers, MAX_OBSERVERS, "observers")
            log.info("observer_connected", name=name, remote=link.remote)
            return Terms(PEER_CAPS, None)
        self._admit(link, self._clients, MAX_CLIENTS, "clients")
        log.info("client_connected", name=name, remote=link.remote)
        return Terms(REQUEST_CAPS, None)

    def link_frame(self, link: Link, type_: int, payload: bytes) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        if link.peer is None or link.peer.kind is Kind.CLIENT:
            self._handler.on_client_frame(link, type_, payload)
        else:
            self._handler.on_frame(link.peer.index, link, type_, payload)

    def link_down(self, link: Link, why: str) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        slot = self._slot_of(link)
        if slot is not None:
            slot.link = None
            slot.past.add(link.traffic)
            slot.why, slot.since = why, self._now()
            log.warning("peer_lost", peer=slot.entry.name, why=why)
            self._handler.on_disconnect(slot.entry.index, why)
            return
        for group in (self._clients, self._local):
            if link in group:
                group.remove(link)
                log.info("client_gone", remote=link.remote, why=why)
                self._handler.on_client_gone(link)
                return
        if link in self._observers:
            self._observers.remove(link)
            log.info("observer_gone", remote=link.remote, why=why)
        elif link in self._opening:
            self._note_refused(link.remote, why, link.claimed)

    def link_gone(self, link: Link) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        self._let_in(link)
        self._forget(link)

    def link_broken(self, err: Exception) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        self._handler.on_fatal(err)
