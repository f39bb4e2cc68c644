"""One connection: frames in, frames out, the hello before anything else, and every wait bounded.

A link knows bytes and deadlines. Who may connect, and what frames mean, its :class:`Owner` knows.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, cast

from vppd.errors import PeerFault
from vppd.net.frames import (
    HEADER_BYTES,
    NEWEST_WIRE,
    OPENING_CAPS,
    REFUSE,
    FrameError,
    FrameParser,
    wire_of,
)
from vppd.net.hello import (
    PLAIN,
    Channel,
    Handshake,
    Kind,
    PeerIdentity,
    Refusal,
    RefusalCode,
    read_refusal,
    refuse_frame,
)
from vppd.net.limits import RATES, Flood, Meter, Rates
from vppd.net.older import in_version
from vppd.net.outgoing import Outgoing, Shared, SlowReader
from vppd.net.tls import explain, peer_fingerprint
from vppd.types import ZERO_DIGEST, Digest, PublicKey

WRITE_BUFFER = 256 * 1024
"""Bytes handed to the transport ahead of the other side's reading; the rest waits in the queue."""
_TYPE_AT = 4
_RTT_AT = 68
"""Offset of ``tcpi_rtt`` (u32, microseconds) in Linux's ``struct tcp_info``."""


class Deadlines(NamedTuple):
    """How long anything may take, in seconds."""

    handshake: float = 5.0
    """TLS, and after it the hello."""
    frame: float = 10.0
    """From the first byte of a frame to its last."""
    idle: float = 10.0
    """Silence on a link to a validator, whose status comes each second."""
    linger: float = 1.0
    """For the other side to read why it is refused."""


DEADLINES = Deadlines()


class Terms(NamedTuple):
    """What holds on a link once it is up."""

    caps: Mapping[int, int]
    """Types taken, with the largest payload of each."""
    idle: float | None
    """Seconds of silence allowed; ``None``: any."""
    rates: Rates = RATES
    """Beyond which it is not read from for a while."""


class Traffic:
    """Counts of one link, by frame type."""

    __slots__ = ("bytes_in", "bytes_out", "dropped", "frames_in", "frames_out")

    def __init__(self) -> None:
        self.frames_in: Counter[int] = Counter()
        self.frames_out: Counter[int] = Counter()
        self.bytes_in: Counter[int] = Counter()
        """Whole frames, header included."""
        self.bytes_out: Counter[int] = Counter()
        self.dropped = 0
        """Transaction frames not sent because the other side reads too slowly."""

    def add(self, other: Traffic) -> None:
        """Count what another link has counted."""
        self.frames_in += other.frames_in
        self.frames_out += other.frames_out
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.dropped += other.dropped


class Owner(Protocol):
    """Who keeps the links."""

    def link_made(self, link: Link) -> None:
        """It is connected; called once, first."""
        ...

    def link_up(self, link: Link) -> Terms:
        """The other side is proven (or local); what holds from now on.

        Raises:
            Refusal: there is no room for it.
        """
        ...

    def link_frame(self, link: Link, type_: int, payload: bytes) -> None:
        """A frame on a link that is up.

        Raises:
            PeerFault: the link is cut with this reason.
        """
        ...

    def link_down(self, link: Link, why: str) -> None:
        """Nothing comes or goes any more; called once, for links that never were up as well."""
        ...

    def link_gone(self, link: Link) -> None:
        """Its socket is closed too; called once, after ``link_down``."""
        ...

    def link_broken(self, err: Exception) -> None:
        """A handler failed with something that is not the other side's fault."""
        ...


class Link(asyncio.Protocol):
    """One connection.

    Args:
        owner: who is told.
        opening: makes the hello for the channel; ``None``: local socket, up at once.
        own_fingerprint: of our certificate; ``None`` without TLS.
        remote: where the other side is, for people.
        deadlines: how long anything may take.
        shared: what waits to be sent on all links of this node.
    """

    def __init__(
        self,
        owner: Owner,
        opening: Callable[[Channel], Handshake] | None,
        own_fingerprint: Digest | None,
        remote: str,
        deadlines: Deadlines = DEADLINES,
        shared: Shared | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._opening = opening
        self._own_fingerprint = own_fingerprint
        self._channel = PLAIN
        self._deadlines = deadlines
        self._handshake: Handshake | None = None
        self._parser = FrameParser({})
        self._outgoing = Outgoing(shared=shared)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._idle: float | None = None
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._frame_since: float | None = None
        self._flushing = False
        self._paused = False
        self._room = asyncio.Event()
        """Set while nothing waits for the other side to read, and when it is closed."""
        self._room.set()
        self._held = False
        """The owner does not want to hear more for now."""
        self._meter: Meter | None = None
        self._breather: asyncio.TimerHandle | None = None
        """Runs while the other side has to wait for its budgets to refill."""
        self._deaf = False
        """Frames cannot be told apart any more."""
        self.remote = remote
        self.peer: PeerIdentity | None = None
        """Who is on the other side, once proven; stays ``None`` on the local socket."""
        self.wire = NEWEST_WIRE
        """Version of the protocol that both sides speak, once it is up."""
        self.greeted_as: Kind | None = None
        """What this side has said it is, once it is up."""
        self.up = False
        self.closed = False
        """Nothing is taken or sent any more."""
        self.why = ""
        """Why it was closed."""
        self.fault: PeerFault | None = None
        """What the other side did, if it was closed for that."""
        self.refusal: RefusalCode | None = None
        """What the other side has closed it for, if it said so."""
        self.gone = asyncio.Event()
        """Its socket is closed."""
        self.traffic = Traffic()

    # ------------------------------------------------------------ for the owner

    @property
    def claimed(self) -> PublicKey | None:
        """The key the other side has shown in a hello that is not over; nothing is proven."""
        return self._handshake.claimed if self._handshake is not None else None

    @property
    def identity(self) -> bytes:
        """What faults are held against: a validator's key, anybody else's certificate.

        Keys that are no validator's cost nothing; they count only where there is no certificate.
        """
        certificate = self._channel.peer
        if self.peer is None or (self.peer.index is None and certificate != ZERO_DIGEST):
            return certificate
        return self.peer.key

    @property
    def stuck(self) -> bool:
        """Whether the other side reads more slowly than it is sent."""
        return self._paused

    async def drained(self) -> None:
        """Until the other side has read what it was sent, but for what the transport may hold."""
        await self._room.wait()

    def send(self, frame: bytes) -> bool:
        """Queue a whole frame; all frames of one turn of the event loop leave in one write.

        Returns:
            Whether it will be sent; a slow reader gets no gossip, and is cut when that does not
            suffice (``link_down`` comes from within this call then). What the other side's version
            of the protocol does not know goes in its words, or not at all.
        """
        if wire_of(frame[_TYPE_AT]) <= self.wire:
            return self._queue(frame)
        older = [self._queue(known) for known in in_version(self.wire, frame)]
        return bool(older) and all(older)

    def _queue(self, frame: bytes) -> bool:
        if self.closed:
            return False
        try:
            queued = self._outgoing.put(frame)
        except SlowReader as err:
            self.abort(str(err))
            return False
        self.traffic.dropped = self._outgoing.dropped
        if queued:
            type_ = frame[_TYPE_AT]
            self.traffic.frames_out[type_] += 1
            self.traffic.bytes_out[type_] += len(frame)
            self._schedule_flush()
        return queued

    def cut(self, reason: str, code: RefusalCode = RefusalCode.OTHER) -> None:
        """Close, and tell the other side why."""
        if self.closed:
            return
        self._close(reason)
        transport = self._transport
        if transport is None or transport.is_closing() or self._paused:
            self._abort_transport()
            return
        # Closing at once with bytes unread would reset the connection, and the reset would
        # overtake the reason. The other side closes when it has read it.
        transport.write(refuse_frame(reason, code))
        if not transport.is_reading():  # or its closing would not be seen
            transport.resume_reading()
        self._linger()

    def abort(self, reason: str) -> None:
        """Close without a word."""
        if not self.closed:
            self._close(reason)
        self._abort_transport()

    def convict(self, fault: PeerFault) -> None:
        """Close for what the other side has done, and tell it."""
        if not self.closed:
            self.fault = fault
            self.cut(str(fault), fault.code if isinstance(fault, Refusal) else RefusalCode.OTHER)

    def charge(self, *, verifications: int = 0, size: int = 0) -> None:
        """Account for what the other side makes this node do.

        Args:
            verifications: of signatures.
            size: bytes read and sent because it has asked for them.
        """
        self._spend(verifications=verifications, size=size)

    def pause_reading(self) -> None:
        """Take nothing more from the other side for now; what has arrived still comes."""
        self._held = True
        self._read_or_not()

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        self._held = False
        self._read_or_not()

    def rtt_us(self) -> int | None:
        """Round trip as the kernel's TCP measures it, in microseconds, where it says so."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        option = getattr(socket, "TCP_INFO", None)
        if sock is None or option is None or sock.family == socket.AF_UNIX:
            return None
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, option, _RTT_AT + 4)
        except OSError:
            return None
        return int(struct.unpack_from("=I", info, _RTT_AT)[0])

    def abandon(self) -> None:
        """The attempt to connect has failed or was given up.

        uvloop may still call ``connection_made`` then, and never ``connection_lost``.
        """
        if self._transport is not None:
            self.connection_lost(None)
        else:
            self.closed = True
            self.gone.set()

    # ------------------------------------------------------------ for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        if self.gone.is_set():
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._opened_at = self._heard_at = self._loop.time()
        self._owner.link_made(self)
        if self.closed:  # cut while TLS was under way
            self._transport.abort()
            return
        try:
            if self._opening is None:
                self._come_up()
            else:
                self._channel = self._channel_of(self._transport)
                self._handshake = self._opening(self._channel)
                self._parser.caps = OPENING_CAPS
                self.send(self._handshake.start())
        except PeerFault as err:
            self.cut(str(err))
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes of any length."""
        if self._deaf:
            return
        self._heard_at = self._loop.time()
        frames = 0
        try:
            for type_, payload in self._parser.feed(data):
                frames += 1
                self._take(type_, payload)
        except FrameError as err:
            self._deaf = True
            self.convict(err)
        self._spend(frames=frames, size=len(data))
        if self._stopped or not self._parser.partial:
            self._frame_since = None
        elif frames or self._frame_since is None:
            self._frame_since = self._heard_at
            self._watch()

    def eof_received(self) -> bool:
        """The other side has closed."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self.gone.is_set():
            return
        if not self.closed:
            self._close(self._loss(exc))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self.gone.set()
        self._owner.link_gone(self)

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._paused = True
        if not self.closed:
            self._room.clear()

    def resume_writing(self) -> None:
        """The other side has read."""
        self._paused = False
        self._room.set()
        self._schedule_flush()

    # ------------------------------------------------------------ inside

    def _channel_of(self, transport: asyncio.Transport) -> Channel:
        if self._own_fingerprint is None:
            return PLAIN
        connection = transport.get_extra_info("ssl_object")
        return Channel(self._own_fingerprint, peer_fingerprint(connection))

    def _take(self, type_: int, payload: bytes) -> None:
        if self.closed:
            if type_ == REFUSE:  # both sides wait for the other to close: no need to
                self._close_transport()
            return
        self.traffic.frames_in[type_] += 1
        self.traffic.bytes_in[type_] += len(payload) + HEADER_BYTES
        try:
            if type_ == REFUSE:
                how = "closed" if self.up else "refused"
                self.refusal, reason = read_refusal(payload)
                self._close(f"{how} by the other side: {reason}")
                self._close_transport()
            elif self._handshake is None:
                self._owner.link_frame(self, type_, payload)
            else:
                self._shake(self._handshake, type_, payload)
        except PeerFault as err:
            self.convict(err)
        except Exception as err:  # noqa: BLE001 - whatever it is, the node must learn of it and stop
            self.cut("internal error")
            self._owner.link_broken(err)

    def _shake(self, handshake: Handshake, type_: int, payload: bytes) -> None:
        answer = handshake.receive(type_, payload)
        if answer:
            self.send(answer)
        if handshake.peer is not None:
            self.peer = handshake.peer
            self.wire, self.greeted_as = handshake.wire, handshake.greeted_as
            self._handshake = None
            self._come_up()
            self._watch()

    def _come_up(self) -> None:
        terms = self._owner.link_up(self)
        self.up = True
        self._parser.caps = terms.caps
        self._idle = terms.idle
        self._meter = Meter(terms.rates, self._loop.time())

    @property
    def _stopped(self) -> bool:
        """Whether the other side is not read from, and so cannot be blamed for its silence."""
        return self._held or self._breather is not None

    def _read_or_not(self) -> None:
        transport = self._transport
        if transport is None or self.closed or transport.is_reading() != self._stopped:
            return
        if self._stopped:
            self._frame_since = None
            transport.pause_reading()
            return
        self._heard_at = self._loop.time()
        if self._parser.partial:
            self._frame_since = self._heard_at
        transport.resume_reading()
        self._watch()

    def _spend(self, *, frames: int = 0, size: int = 0, verifications: int = 0) -> None:
        """Take it from the other side's budgets; overdrawn, it is not read from for a while."""
        if self._meter is None or self.closed:
            return
        now = self._loop.time()
        try:
            wait = self._meter.spend(now, frames=frames, size=size, verifications=verifications)
        except Flood as err:
            self._deaf = True
            self.convict(err)
            return
        if wait > 0:
            if self._breather is not None:
                self._breather.cancel()
            self._breather = self._loop.call_at(now + wait, self._breathe)
            self._read_or_not()

    def _breathe(self) -> None:
        self._breather = None
        self._read_or_not()

    def _loss(self, exc: Exception | None) -> str:
        if exc is not None:
            return explain(exc)
        if self.up:
            return "closed by the other side"
        if self._own_fingerprint is not None and self._heard_at == self._opened_at:
            # TLS 1.3: a refused client learns of it only after its own handshake is over.
            return "closed right after TLS; it may have refused our certificate, its log says why"
        return "closed by the other side during the hello"

    def _schedule_flush(self) -> None:
        if not self._flushing and not self._paused and self._outgoing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if self.closed or self._paused or transport is None or transport.is_closing():
            return
        # One piece: over TLS each piece would be a record of its own, and a call into OpenSSL.
        transport.write(b"".join(self._outgoing.take(WRITE_BUFFER)))
        self._schedule_flush()

    def _watch(self) -> None:
        """See to it that the timer fires by the next deadline; it may fire before."""
        due = self._due()
        if self.closed or due is None:
            return
        at, _ = due
        if self._timer is None or at < self._wake_at:
            if self._timer is not None:
                self._timer.cancel()
            self._wake_at = at
            self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        due = self._due()
        if due is None:
            return
        at, why = due
        # The loop may fire early by its clock's resolution; what is asked for is then due as well.
        if at <= max(self._loop.time(), self._wake_at):
            self.cut(why)
        else:
            self._watch()

    def _due(self) -> tuple[float, str] | None:
        """The next deadline, and what its passing means."""
        limits = self._deadlines
        if not self.up:
            why = f"too slow: the hello is not over after {limits.handshake:g} s"
            return self._opened_at + limits.handshake, why
        if self._stopped:
            return None
        waits = []
        if self._frame_since is not None:
            why = f"too slow: a frame is not complete after {limits.frame:g} s"
            waits.append((self._frame_since + limits.frame, why))
        if self._idle is not None:
            waits.append((self._heard_at + self._idle, f"silent for {self._idle:g} s"))
        return min(waits, default=None)

    def _close(self, why: str) -> None:
        self.closed = True
        self.why = why
        self._room.set()
        self._outgoing.clear()
        if self._breather is not None:
            self._breather.cancel()
            self._breather = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._owner.link_down(self, why)
        except Exception as err:  # noqa: BLE001 - as in _take; nobody else is there to hear of it
            self._owner.link_broken(err)

    def _close_transport(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._linger()

    def _linger(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._deadlines.linger, self._abort_transport)

    def _abort_transport(self) -> None:
        if self._transport is not None:
            self._transport.abort()
