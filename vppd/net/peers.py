"""The network of one node: whom it listens to, whom it dials, and which links are up.

Among validators the higher index dials the lower; an observer dials every validator. There is one
link per validator; a newer one that has proven itself replaces the older, at once if it is of the
same process, else unless the older one is still heard. Clients come over the Unix socket, or over
the port with a certificate of the plant.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import structlog

from vppd.config.values import parse_address
from vppd.crypto import key_text
from vppd.errors import PeerFault
from vppd.net.copies import LIVE_SESSION, QUIET_SECONDS, Claims, Newcomer, second_copy
from vppd.net.dial import BACKOFF, SHUTDOWN_SECONDS, Backoff, dial
from vppd.net.frames import PEER_CAPS, REQUEST_CAPS
from vppd.net.hello import Channel, Full, Handshake, Kind, RefusalCode, Self
from vppd.net.limits import CUT_FAULTS, Offences
from vppd.net.link import DEADLINES, Deadlines, Link, Terms, Traffic
from vppd.net.outgoing import Shared
from vppd.net.ports import Listener, Pending, bind_tcp, bind_unix, require_loopback
from vppd.net.tls import Tls, explain, explain_handshake
from vppd.types import PublicKey, ReplicaIndex

MAX_OBSERVERS = 16
MAX_CLIENTS = 64
"""Over the port; as many again over the Unix socket, so that the operator always gets in."""
_REFUSALS_KEPT = 32

log = structlog.get_logger("vppd.net")


class PeerEntry(msgspec.Struct, frozen=True):
    """A validator and where it listens."""

    index: ReplicaIndex
    name: str
    key: PublicKey
    addr: str
    """``host:port``."""


class PeerState(msgspec.Struct, frozen=True):
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

    def on_frame(self, peer: ReplicaIndex | None, link: Link, type_: int, payload: bytes) -> None:
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
        self.newcomer: Newcomer | None = None
        """Another process with its key, which waits."""
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
        liars: how many validators may say what is not so; see :mod:`vppd.net.copies`.
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
        liars: int = 0,
        deadlines: Deadlines = DEADLINES,
        backoff: Backoff = BACKOFF,
        chance: random.Random | None = None,
    ) -> None:
        self._me = me
        self._listen = listen
        self._tls = tls
        self._client_socket = client_socket
        self._handler = handler
        self._deadlines = deadlines
        self._backoff = backoff
        self._chance = chance or random.SystemRandom()
        own = me.signer.public_key
        self._own_index = next((v.index for v in validators if v.key == own), None)
        self._indices = {v.key: v.index for v in validators}
        others = [v for v in validators if v.key != own]
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._slots = {v.index: _Slot(v, loop.time()) for v in others}
        self._pending = Pending(frozenset(parse_address(v.addr)[0] for v in others))
        self._offences = Offences()
        self._claims = Claims(liars + 1)
        self._shared = Shared()
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
            with suppress(OSError):  # a broken disk: why the node stops must not be lost over it
                self._client_socket.unlink(missing_ok=True)
        self._listeners.clear()
        for task in tuple(self._tasks):
            task.cancel()
        for link in tuple(self._links):
            link.cut("the node is stopping")
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

    def blame(self, link: Link) -> None:
        """The node on a link handed over a signature that does not hold; too many cut it."""
        if not link.closed and self._offences.note(link.identity, 1, self._now()):
            link.cut("too many bad signatures")

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

    def link_made(self, link: Link) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        self._links.add(link)
        self._all_gone.clear()

    def link_up(self, link: Link) -> Terms:
        """See :class:`~vppd.net.link.Owner`."""
        if link.peer is None:
            self._admit(link, self._local, MAX_CLIENTS, "clients")
            return Terms(REQUEST_CAPS, None)
        kind, name, index = link.peer.kind, link.peer.name, link.peer.index
        if kind is not Kind.CLIENT:
            self._offences.admit(link.identity, self._now())
        if index is not None:
            self._let_in(link)
            slot = self._slots[index]
            if _is_another_process(slot.link, link):
                self._let_wait(slot, link)
            else:
                self._take_place(slot, link)
            return Terms(PEER_CAPS, self._deadlines.idle)
        if kind is Kind.OBSERVER:
            self._admit(link, self._observers, MAX_OBSERVERS, "observers")
            log.info("observer_connected", name=name, remote=link.remote)
            return Terms(PEER_CAPS, None)
        self._admit(link, self._clients, MAX_CLIENTS, "clients")
        log.debug("client_connected", name=name, remote=link.remote)
        return Terms(REQUEST_CAPS, None)

    def link_frame(self, link: Link, type_: int, payload: bytes) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        if link.peer is None or link.peer.kind is Kind.CLIENT:
            self._handler.on_client_frame(link, type_, payload)
            return
        index = link.peer.index
        if index is not None and self._is_kept_waiting(self._slots[index], link, type_, payload):
            return
        self._handler.on_frame(index, link, type_, payload)

    def link_down(self, link: Link, why: str) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        node = link.up and link.peer is not None and link.peer.kind is not Kind.CLIENT
        if node and link.fault is not None:
            self._offences.note(link.identity, CUT_FAULTS, self._now())
        slot = self._slot_of(link)
        if slot is not None:
            slot.link = None
            slot.past.add(link.traffic)
            slot.why, slot.since = why, self._now()
            tell = log.info if self._stopping else log.warning
            tell("peer_lost", peer=slot.entry.name, why=why)
            self._handler.on_disconnect(slot.entry.index, why)
            if link.refusal is RefusalCode.LIVE_SESSION:
                self._told_of_a_copy(slot)
            if slot.newcomer is not None:
                asyncio.get_running_loop().call_soon(self._seat_newcomer, slot, slot.newcomer)
            return
        if self._forget_newcomer(link):
            return
        for group in (self._clients, self._local):
            if link in group:
                group.remove(link)
                log.debug("client_gone", remote=link.remote, why=why)
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
        self._links.discard(link)
        if not self._links:
            self._all_gone.set()

    def link_broken(self, err: Exception) -> None:
        """See :class:`~vppd.net.link.Owner`."""
        self._handler.on_fatal(err)

    # ------------------------------------------------------------ who comes in

    def _accepted(self, conn: socket.socket, host: str) -> None:
        if self._stopping or not self._pending.enter(host):
            conn.close()
            if not self._stopping:
                self._note_refused(host, "too many connections at once that are not let in yet")
            return
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link = self._new_link(host)
        self._opening[link] = host
        self._spawn(self._welcome(conn, link))

    def _accepted_local(self, conn: socket.socket, _: str) -> None:
        link = Link(self, None, None, "local", self._deadlines, self._shared)
        self._spawn(self._welcome(conn, link))

    async def _welcome(self, conn: socket.socket, link: Link) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls is None or conn.family == socket.AF_UNIX:
                await loop.connect_accepted_socket(lambda: link, conn)
            else:
                await loop.connect_accepted_socket(
                    lambda: link,
                    conn,
                    ssl=self._tls.server,
                    ssl_handshake_timeout=self._deadlines.handshake,
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
        except BaseException as err:
            link.abandon()
            self._let_in(link)
            if not isinstance(err, OSError):
                raise
            self._note_refused(link.remote, explain_handshake(err))

    async def _keep_dialling(self, slot: _Slot) -> None:
        failures = 0
        while True:
            try:
                link = await dial(
                    slot.entry.addr,
                    lambda: self._new_link(slot.entry.addr, slot.entry.key),
                    self._tls,
                    self._deadlines.handshake,
                )
            except OSError as err:
                self._not_reached(
                    slot, explain(err) if self._tls is None else explain_handshake(err)
                )
            else:
                await link.gone.wait()
                if link.up:
                    # Its refusal is in the books already; let it be asked again after a while.
                    failures = failures if link.refusal is RefusalCode.LIVE_SESSION else 0
                else:
                    self._not_reached(slot, link.why)
            failures += 1
            barred = self._offences.barred_seconds(slot.entry.key, self._now())
            await asyncio.sleep(barred + self._backoff.wait(failures, self._chance))

    def _new_link(self, remote: str, expected: PublicKey | None = None) -> Link:
        def opening(channel: Channel) -> Handshake:
            nonce = secrets.token_bytes(32)
            return Handshake(self._me, self._indices, nonce, channel, expected)

        own = self._tls.fingerprint if self._tls is not None else None
        return Link(self, opening, own, remote, self._deadlines, self._shared)

    # ------------------------------------------------------------ books

    def _take_place(self, slot: _Slot, link: Link) -> None:
        if slot.link is not None:
            slot.link.cut("replaced by a newer connection")
        slot.link = link
        slot.why, slot.since = "", self._now()
        log.info("peer_connected", peer=slot.entry.name, remote=link.remote)
        self._handler.on_connect(slot.entry.index)

    # ------------------------------------------------------------ two processes, one key

    def _let_wait(self, slot: _Slot, link: Link) -> None:
        """Another process has this validator's key: first hear whether the older one lives."""
        if slot.newcomer is not None:
            slot.newcomer.link.cut("replaced by a newer connection")
        loop = asyncio.get_running_loop()
        link.pause_reading()
        newcomer = Newcomer(link, self._now(), [])
        slot.newcomer = newcomer
        loop.call_later(QUIET_SECONDS, self._older_is_silent, slot, newcomer)
        log.warning("second_process", peer=slot.entry.name, remote=link.remote)

    def _is_kept_waiting(self, slot: _Slot, link: Link, type_: int, payload: bytes) -> bool:
        """Look at a frame before the node does; whether it has to wait."""
        newcomer = slot.newcomer
        if newcomer is not None and newcomer.link is link:
            newcomer.held.append((type_, payload))
            return True
        if newcomer is not None and newcomer.is_contradicted(self._now()):
            self._refuse_newcomer(slot, newcomer)
        self._claims.withdraw(slot.entry.index)
        return False

    def _refuse_newcomer(self, slot: _Slot, newcomer: Newcomer) -> None:
        name, remote = slot.entry.name, newcomer.link.remote
        log.error("second_copy_refused", peer=name, remote=remote)
        self._note_refused(remote, f"a second process with the key of {name}, the first is alive")
        newcomer.link.resume_reading()  # bytes unread would reset the connection before it is told
        newcomer.link.cut(LIVE_SESSION, RefusalCode.LIVE_SESSION)

    def _older_is_silent(self, slot: _Slot, newcomer: Newcomer) -> None:
        if slot.newcomer is newcomer and slot.link is not None:
            slot.link.cut("silent, and another process with its key has come")

    def _seat_newcomer(self, slot: _Slot, newcomer: Newcomer) -> None:
        """The older process is gone: what the newer one has said so far counts now."""
        if slot.newcomer is not newcomer or self._stopping:
            return
        link = newcomer.link
        if slot.link is not None:
            link.cut("replaced by a newer connection")
            return
        slot.newcomer = None
        try:
            self._take_place(slot, link)
            link.resume_reading()
            for type_, payload in newcomer.held:
                if not link.closed:
                    self.link_frame(link, type_, payload)
        except PeerFault as err:
            link.convict(err)
        except Exception as err:  # noqa: BLE001 - as a link would report it
            self._handler.on_fatal(err)

    def _forget_newcomer(self, link: Link) -> bool:
        """Whether a link that has closed was waiting."""
        for slot in self._slots.values():
            if slot.newcomer is not None and slot.newcomer.link is link:
                slot.newcomer = None
                return True
        return False

    def _told_of_a_copy(self, slot: _Slot) -> None:
        """A validator says that another process has our own key."""
        log.error("second_copy_of_this_node", said_by=slot.entry.name)
        if self._claims.note(slot.entry.index, self._now()):
            insisting = self._claims.insisting(self._now())
            names = [self._slots[index].entry.name for index in insisting]
            self._handler.on_fatal(second_copy(key_text(self._me.signer.public_key), names))

    # ------------------------------------------------------------ more books

    def _admit(self, link: Link, group: list[Link], limit: int, what: str) -> None:
        if len(group) >= limit:
            raise Full(f"no room: {limit} {what} are connected already")
        group.append(link)
        self._let_in(link)

    def _let_in(self, link: Link) -> None:
        host = self._opening.pop(link, None)
        if host is not None:
            self._pending.leave(host)

    def _slot_of(self, link: Link) -> _Slot | None:
        return next((slot for slot in self._slots.values() if slot.link is link), None)

    def _not_reached(self, slot: _Slot, why: str) -> None:
        if slot.link is None and slot.why != why:
            slot.why = why
            log.warning("peer_not_reached", peer=slot.entry.name, addr=slot.entry.addr, why=why)

    def _note_refused(self, remote: str, why: str, claimed: PublicKey | None = None) -> None:
        refused = Refused(remote, why)
        if refused not in self._refused:  # one line per state change, not per attempt
            log.warning("connection_refused", remote=remote, why=why)
            self._refused.append(refused)
        # Whose attempt it was is not proven; an address that fits one missing peer alone is a hint.
        missing = [
            slot
            for slot in self._slots.values()
            if slot.link is None
            and parse_address(slot.entry.addr)[0] == remote
            and claimed in (None, slot.entry.key)
        ]
        if len(missing) == 1:
            missing[0].why = f"{missing[0].entry.name} dialled us: {why}"

    def _state(self, slot: _Slot) -> PeerState:
        traffic = Traffic()
        traffic.add(slot.past)
        rtt = None
        if slot.link is not None:
            traffic.add(slot.link.traffic)
            rtt = slot.link.rtt_us()
        entry = slot.entry
        shunned = self._claims.holds(entry.index, self._now())
        return PeerState(
            entry.index, entry.name, entry.addr, slot.link is not None and not shunned,
            self._now() - slot.since, f"it has {LIVE_SESSION}" if shunned else slot.why,
            rtt, traffic,
        )  # fmt: skip

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (err := task.exception()) is not None:
            self._handler.on_fatal(err)


def _is_another_process(older: Link | None, link: Link) -> bool:
    """Whether the link there is belongs to another process with the same key."""
    if older is None or older.peer is None or link.peer is None:
        return False
    return older.peer.instance != link.peer.instance
