"""The network of one node: whom it listens to, whom it dials, and which links are up.

Two validators know which of them dials (`vppd.net.directory`); an observer dials every validator.
There is one link per validator; a newer one that has proven itself replaces the older, at once if
it is of the same process, else unless the older one is still heard. Validators come and go while
the node runs. Clients come over the Unix socket, or over the port with a certificate of the plant.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from vppd.config.values import parse_address
from vppd.crypto import key_text
from vppd.errors import PeerFault
from vppd.net.copies import (
    LIVE_SESSION,
    QUIET_SECONDS,
    Claims,
    Newcomer,
    is_another_process,
    second_copy,
)
from vppd.net.dial import BACKOFF, SHUTDOWN_SECONDS, Backoff
from vppd.net.dialler import Dialler
from vppd.net.directory import Directory, PeerEntry, PeerState, Slot
from vppd.net.frames import NEWEST_WIRE, REQUEST_CAPS, peer_caps
from vppd.net.handler import Handler
from vppd.net.hello import Channel, Full, Handshake, Kind, RefusalCode, Self
from vppd.net.limits import CUT_FAULTS, Offences
from vppd.net.link import DEADLINES, Deadlines, Link, Terms
from vppd.net.outgoing import Shared
from vppd.net.ports import Listener, Pending, bind_tcp, bind_unix, require_loopback
from vppd.net.tls import Tls, explain_handshake
from vppd.types import PeerNumber, PublicKey

__all__ = ["Handler", "Network", "PeerEntry", "PeerState", "Refused"]

MAX_OBSERVERS = 16
MAX_CLIENTS = 64
"""Over the port; as many again over the Unix socket, so that the operator always gets in."""
_REFUSALS_KEPT = 32

log = structlog.get_logger("vppd.net")


class Refused(NamedTuple):
    """A connection that was not let in."""

    remote: str
    why: str


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
        link: between nodes; the bench has one with faults.
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
        link: type[Link] = Link,
    ) -> None:
        self._me = me
        self._listen = listen
        self._tls = tls
        self._client_socket = client_socket
        self._handler = handler
        self._make_link = link
        self._deadlines = deadlines
        self._now = asyncio.get_running_loop().time
        self._directory = Directory(me.signer.public_key, me.kind, validators, self._now())
        self._slots = self._directory.slots
        self._pending = Pending(self._peer_hosts())
        self._offences = Offences()
        self._dialler = Dialler(
            self._directory,
            lambda slot, kind: self._new_link(slot.entry.addr, slot.entry.key, kind),
            tls, deadlines, backoff, chance or random.SystemRandom(), self._offences,
            not_reached=self._not_reached, told=self._told_no_validator,
        )  # fmt: skip
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
        self._started = self._stopping = False
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
                if addr:
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
            accept = self._accepted_local if local else self._accepted
            self._listeners.append(Listener(sock, accept))
            self._port = self._port if local else self._listeners[-1].port
        self._started = True
        for slot in self._slots.values():
            self._dial(slot)
        log.info("listening", addr=self._listen, transport="tls" if self._tls else "plain")

    async def stop(self, why: str = "the node is stopping") -> None:
        """Close everything, saying why, and wait until it is closed; may be called twice."""
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
            link.cut(why)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._all_gone.wait()

    @property
    def port(self) -> int | None:
        """TCP port listened on."""
        return self._port

    # ------------------------------------------------------------ for the node

    def admit(self, entry: PeerEntry) -> None:
        """A validator from now on, or one with another name or address; not this node.

        As an observer it is connected already, perhaps; it has to come again as a validator.
        """
        slot = self._directory.by_key(entry.key)
        if slot is not None:
            slot.entry = entry
            self._pending.know(self._peer_hosts())
            return
        slot = self._directory.add(entry, self._now())
        self._pending.know(self._peer_hosts())
        log.info("peer_admitted", peer=entry.name, addr=entry.addr)
        self._cut_guests(entry.key, "a validator now: come as one")
        self._dial(slot)

    def dismiss(self, key: PublicKey, reason: str) -> None:
        """No validator any more: its link is cut, and it is refused with this reason, as one."""
        slot = self._directory.by_key(key)
        if slot is None:
            return
        self._stop_dialling(slot)
        for link in (slot.newcomer and slot.newcomer.link, slot.link):
            if link is not None:
                link.cut(reason, RefusalCode.NO_VALIDATOR)
        self._claims.withdraw(slot.entry.index)
        self._directory.remove(slot, reason)
        self._pending.know(self._peer_hosts())
        log.warning("peer_dismissed", peer=slot.entry.name, why=reason)

    def members(self) -> tuple[PublicKey, ...]:
        """Every validator's key, in the order of peer numbers; this node's own included."""
        return tuple(sorted(self._directory.numbers, key=self._directory.numbers.__getitem__))

    def remember(self, dismissed: Mapping[PublicKey, str]) -> None:
        """Tell these, too, when they come as validators, why they are none."""
        self._directory.dismissed.update(dismissed)

    def promote(self, own: PeerEntry) -> None:
        """This node is a validator: it greets as one from now on, and every peer again."""
        if self._me.kind is Kind.VALIDATOR:
            return
        self._me = self._me._replace(kind=Kind.VALIDATOR)
        self._directory.join(own)
        log.info("promoted", name=own.name)
        for slot in tuple(self._slots.values()):
            self._stop_dialling(slot)
            # Where it dials, it has to be made to; where we do, the old link stays until then.
            if slot.link is not None and not self._directory.is_ours_to_dial(slot):
                slot.link.cut("a validator now: dial it as one")
            self._dial(slot)

    def demote(self, reason: str) -> None:
        """This node is an observer: links as a validator go as each peer learns of it, too."""
        if self._me.kind is not Kind.VALIDATOR:
            return
        self._me = self._me._replace(kind=Kind.OBSERVER)
        self._directory.leave()
        log.warning("demoted", why=reason)
        for slot in self._slots.values():
            self._dial(slot)

    def dismissed_by(self) -> dict[str, str]:
        """Validators that take this one for none, by name, and what they say."""
        return self._directory.dismissed_by()

    def send(self, peer: PeerNumber, frame: bytes) -> bool:
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

    def cut(self, peer: PeerNumber, reason: str) -> None:
        """Close a validator's link; it may come back."""
        slot = self._slots.get(peer)
        if slot is not None and slot.link is not None:
            slot.link.cut(reason)

    def blame(self, link: Link) -> None:
        """The node on a link handed over a signature that does not hold; too many cut it."""
        if not link.closed and self._offences.note(link.identity, 1, self._now()):
            link.cut("too many bad signatures")

    def connected(self) -> tuple[PeerNumber, ...]:
        """Validators whose link is up, ascending."""
        return tuple(sorted(i for i, slot in self._slots.items() if slot.link is not None))

    def expect(self, liars: int, voters: frozenset[PeerNumber]) -> None:
        """From now on so many of these may say what is not so."""
        self._claims.expect(liars + 1, voters)

    def oldest_wire(self) -> int:
        """The oldest version of the protocol that a link to a validator has."""
        links = (slot.link for slot in self._slots.values())
        return min((link.wire for link in links if link is not None), default=NEWEST_WIRE)

    def peer_states(self) -> tuple[PeerState, ...]:
        """Every other validator, by index."""
        now, shunning = self._now(), f"it has {LIVE_SESSION}"
        return tuple(
            self._slots[i].state(now, shunning if self._claims.holds(i, now) else "")
            for i in sorted(self._slots)
        )

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
            if is_another_process(slot.link, link):
                self._let_wait(slot, link)
            else:
                self._take_place(slot, link)
            idle = self._deadlines.idle if kind is Kind.VALIDATOR else None
            return Terms(peer_caps(link.wire), idle)
        if kind is Kind.OBSERVER:
            self._admit(link, self._observers, MAX_OBSERVERS, "observers")
            log.info("observer_connected", name=name, remote=link.remote)
            self._handler.on_guest(link)
            return Terms(peer_caps(link.wire), None)
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
            if link.refusal is RefusalCode.NO_VALIDATOR and not self._stopping:
                self._told_no_validator(slot, why)
                self._dial(slot)
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

    def _dial(self, slot: Slot) -> None:
        """See to it that the link to a peer is kept, if that is for this side to do."""
        if self._started and not self._stopping and slot.dialling is None:
            slot.dialling = self._spawn(self._dialler.keep(slot))

    def _stop_dialling(self, slot: Slot) -> None:
        """What it has brought up stays; what has not greeted yet would greet as the wrong kind."""
        if slot.dialling is not None:
            slot.dialling.cancel()
            slot.dialling = None
        if slot.attempt is not None and not slot.attempt.up:
            slot.attempt.abort("given up")
        slot.attempt = None

    def _new_link(
        self, remote: str, expected: PublicKey | None = None, kind: Kind | None = None
    ) -> Link:
        def opening(channel: Channel) -> Handshake:
            me = self._me if kind is None else self._me._replace(kind=kind)
            nonce, directory = secrets.token_bytes(32), self._directory
            return Handshake(me, directory.numbers, nonce, channel, expected, directory.dismissed)

        own = self._tls.fingerprint if self._tls is not None else None
        return self._make_link(self, opening, own, remote, self._deadlines, self._shared)

    # ------------------------------------------------------------ books

    def _take_place(self, slot: Slot, link: Link) -> None:
        if slot.link is not None:
            slot.link.cut("replaced by a newer connection")
        if link.peer is not None and link.peer.kind is Kind.VALIDATOR:  # what it was before
            self._cut_guests(slot.entry.key, "replaced by a connection as a validator")
        if link.greeted_as is Kind.VALIDATOR:
            slot.told, slot.as_observer = "", False
        slot.link = link
        slot.why, slot.since = "", self._now()
        log.info("peer_connected", peer=slot.entry.name, remote=link.remote)
        self._handler.on_connect(slot.entry.index)

    # ------------------------------------------------------------ two processes, one key

    def _let_wait(self, slot: Slot, link: Link) -> None:
        """Another process has this validator's key: first hear whether the older one lives."""
        if slot.newcomer is not None:
            slot.newcomer.link.cut("replaced by a newer connection")
        loop = asyncio.get_running_loop()
        link.pause_reading()
        newcomer = Newcomer(link, self._now(), [])
        slot.newcomer = newcomer
        loop.call_later(QUIET_SECONDS, self._older_is_silent, slot, newcomer)
        log.warning("second_process", peer=slot.entry.name, remote=link.remote)

    def _is_kept_waiting(self, slot: Slot, link: Link, type_: int, payload: bytes) -> bool:
        """Look at a frame before the node does; whether it has to wait."""
        newcomer = slot.newcomer
        if newcomer is not None and newcomer.link is link:
            newcomer.held.append((type_, payload))
            return True
        if newcomer is not None and newcomer.is_contradicted(self._now()):
            self._refuse_newcomer(slot, newcomer)
        self._claims.withdraw(slot.entry.index)
        return False

    def _refuse_newcomer(self, slot: Slot, newcomer: Newcomer) -> None:
        name, remote = slot.entry.name, newcomer.link.remote
        log.error("second_copy_refused", peer=name, remote=remote)
        self._note_refused(remote, f"a second process with the key of {name}, the first is alive")
        newcomer.link.resume_reading()  # bytes unread would reset the connection before it is told
        newcomer.link.cut(LIVE_SESSION, RefusalCode.LIVE_SESSION)

    def _older_is_silent(self, slot: Slot, newcomer: Newcomer) -> None:
        if slot.newcomer is newcomer and slot.link is not None:
            slot.link.cut("silent, and another process with its key has come")

    def _seat_newcomer(self, slot: Slot, newcomer: Newcomer) -> None:
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

    def _told_of_a_copy(self, slot: Slot) -> None:
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

    def _slot_of(self, link: Link) -> Slot | None:
        return next((slot for slot in self._slots.values() if slot.link is link), None)

    def _cut_guests(self, key: PublicKey, why: str) -> None:
        """Close the links that a node made as an observer."""
        for guest in tuple(self._observers):
            if guest.peer is not None and guest.peer.key == key:
                guest.cut(why)

    def _told_no_validator(self, slot: Slot, why: str) -> None:
        if self._directory.kind is Kind.VALIDATOR and self._directory.take_no(slot, why):
            log.warning("no_validator", said_by=slot.entry.name, why=why)

    def _peer_hosts(self) -> frozenset[str]:
        addrs = (slot.entry.addr for slot in self._slots.values())
        return frozenset(parse_address(addr)[0] for addr in addrs if addr)

    def _not_reached(self, slot: Slot, why: str) -> None:
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
            and slot.entry.addr
            and parse_address(slot.entry.addr)[0] == remote
            and claimed in (None, slot.entry.key)
        ]
        if len(missing) == 1:
            missing[0].why = f"{missing[0].entry.name} dialled us: {why}"

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (err := task.exception()) is not None:
            self._handler.on_fatal(err)
