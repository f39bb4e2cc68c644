"""One running node: store, machine, network and clients put together, started and stopped."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from vppd.codec import Message, encode
from vppd.config.home import Home
from vppd.config.node import RETENTION
from vppd.consensus.messages import (
    TYPE_OF,
    Absent,
    Block,
    BlockBody,
    Blocks,
    ConsensusMessage,
    GetBlock,
    GetBlocks,
    Ping,
    Reply,
    Status,
    Tx,
    Txs,
    Type,
)
from vppd.errors import LocalFault, PeerFault
from vppd.ledger.execution import Execution
from vppd.net.frames import NEWEST_WIRE, REQUEST, encode_frame
from vppd.net.gate import BadSignature, PeerMessage, decode_message
from vppd.net.hello import Kind, Self
from vppd.net.link import Link
from vppd.net.peers import Network
from vppd.net.sync import REQUESTS, SYNC_TYPES, decode_sync
from vppd.net.tls import load_tls
from vppd.node.beats import Committed, Frame
from vppd.node.clock import now
from vppd.node.clocks import Clocks
from vppd.node.driver import Disk, Driver
from vppd.node.hearing import Hearing
from vppd.node.http import Health, serve_http
from vppd.node.intake import Intake, Verifier
from vppd.node.join import check_trust, conclude, is_far, join
from vppd.node.machine import Machine
from vppd.node.membership import Membership, Plan
from vppd.node.metrics import Metrics
from vppd.node.notify import notify, watchdog
from vppd.node.replies import Replies
from vppd.node.resume import MakeMachine, resume
from vppd.node.retention import Retention
from vppd.node.service import Service
from vppd.node.sessions import Sessions
from vppd.node.snapshots import Snapshots
from vppd.node.trace import Trace
from vppd.node.views import Views
from vppd.store.chain import ChainStore
from vppd.types import Digest, Height, PeerNumber, ReplicaIndex

INLINE_TXS = 8
"""A block with more transactions than this is checked on a thread: libsodium releases the GIL."""
BUSY_PER_LINK = 5
"""Blocks being checked, answers being read, and one that hears transactions, per peer; more are
dropped and come again."""
CHECKING_BYTES = 32 * 1024 * 1024
"""Of blocks being checked, in all: what comes beyond is dropped and comes again."""
SWITCH_S = 0.0002
"""How long the event loop keeps the GIL from the thread that writes: each statement waits for it
once, and with Python's 5 ms a promise under load took 20 ms, of which the disk had 2."""
GC_THRESHOLDS = (20_000, 20, 20)
"""Records hold no cycles: the collector finds next to nothing, and looks at everything to know."""
TX_BYTES = 64
"""What a transaction in memory takes beside its bytes, about."""

log = structlog.get_logger("vppd.node")


async def run_node(
    home: Home, link: type[Link] = Link, make_machine: MakeMachine = Machine
) -> None:
    """Run the node of ``home`` until SIGTERM or SIGINT.

    Args:
        home: its files.
        link: as :class:`Network` has it.
        make_machine: as :func:`~vppd.node.resume.resume` has it.

    Raises:
        UserError: it cannot start: store, port, certificates.
        LocalFault: it had to stop: disk, or a ledger that diverged.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with await ChainStore.open(
        home.node.store, home.genesis.digest, home.node.synchronous
    ) as store:
        instance = secrets.token_bytes(16)
        again = True
        while again and not stop.is_set():
            joined: bool | None = True
            if await store.decided() == 0:
                joined = await join(home, store, instance, stop)
            if not stop.is_set():
                await conclude(home, store, joined)
                daemon = Daemon(home, store, instance, link, make_machine, late=joined is None)
                again = await daemon.run(stop)
    log.info("stopped")


class Daemon:
    """The running node: a :class:`~vppd.net.peers.Handler` that feeds the machine.

    Args:
        home: its files.
        store: open.
        instance: of this process, for its hello.
        link: as :class:`~vppd.net.peers.Network` has it.
        make_machine: as :func:`~vppd.node.resume.resume` has it.
        late: whether to go back, as long as there is no block, when the plant turns out to be far
            ahead: nobody was there to say so before.
    """

    def __init__(
        self, home: Home, store: ChainStore, instance: bytes, link: type[Link] = Link,
        make_machine: MakeMachine = Machine, *, late: bool = False,
    ) -> None:  # fmt: skip
        self._home = home
        self._link = link
        self._make_machine = make_machine
        self._late = late
        self._behind: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._instance = instance
        self._store = store
        self._trace = Trace(home.node.trace_heights)
        self._heights: dict[PeerNumber, Height] = {}
        self._lacking: dict[PeerNumber, Height] = {}
        """Where the blocks of peers begin that had not the ones asked for."""
        self._busy: Counter[Link] = Counter()
        self._verifier = Verifier()
        self._checking = 0
        """Bytes of blocks being checked on threads."""
        self._under_check: dict[Digest, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, stop: asyncio.Event) -> bool:
        """Until ``stop`` is set, or a snapshot is the way to begin after all.

        Returns:
            Whether to begin again.

        Raises:
            UserError: a port or certificate.
            LocalFault: something of ours failed.
        """
        home = self._home
        self._machine, first = await resume(home, self._store, self._make_machine)
        self._machine.gate.crew = self._verifier.threads
        self._membership = Membership(
            home.signer.public_key, self._machine.roster.number, home.genesis.validators,
            home.peers.peers,
        )  # fmt: skip
        self._metrics = Metrics(self._machine.terms)
        quorum, rules = self._machine.validators.quorum, self._machine.term.rules
        self._clocks = Clocks(quorum.n, quorum.f, rules.clock_tolerance_ms)
        self._network = self._make_network()
        disk = Disk(home.node.store.parent, home.node.min_free_bytes)
        self._driver = Driver(
            self._machine, self._store, self._transmit, self._announce, self._metrics, disk
        )
        replies = Replies(self._machine.gate, self._machine.terms)
        self._replies = replies
        views = Views(
            self._machine, self._metrics, self._network_rows, home.name, home.node.store,
            self._trace, self._network.peer_states,
        )  # fmt: skip
        self._snapshots = Snapshots(self._machine.ledger, self._store)
        said, by_role = home.node.retention_blocks, RETENTION[home.role]
        self._retention = Retention(
            self._store, by_role if said is None else said, rules.checkpoint_blocks
        )
        self._intake = Intake(self._machine, self._verifier, self._driver.wake)
        self._hearing = Hearing(self._intake, self._network.blame, self._spawn)
        service = self._service = Service(
            self._machine, self._store, replies, views, self._driver, self._intake
        )
        self._sessions = Sessions(service, self._spawn)
        async with AsyncExitStack() as stack:
            stack.callback(self._verifier.close)
            if home.http_listen:
                health = Health(lambda: True, self._is_ready)
                http = serve_http(home.http_listen, self._metrics.registry, health)
                stack.callback(http.server_close)
                stack.push_async_callback(asyncio.to_thread, http.shutdown)
            await self._network.start()
            stack.push_async_callback(self._network.stop)
            driving = asyncio.create_task(self._driver.run(first))
            stack.push_async_callback(_cancel, driving)
            watching = asyncio.create_task(watchdog())
            stack.push_async_callback(_cancel, watching)
            pruning = asyncio.create_task(self._retention.run())
            stack.push_async_callback(_cancel, pruning)
            # What exists now lives as long as the process: no need to look at it ever again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            sys.setswitchinterval(SWITCH_S)
            notify("READY=1")
            log.info(
                "started", name=home.name, role=str(home.role), height=self._machine.ledger.height
            )
            stopping = asyncio.create_task(stop.wait())
            stack.push_async_callback(_cancel, stopping)
            ends: tuple[asyncio.Future[Any], ...] = (
                driving, stopping, pruning, self._fatal, self._behind,
            )  # fmt: skip
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            notify("STOPPING=1")
            for finished in done:
                finished.result()
            return stopping not in done

    def _make_network(self) -> Network:
        home = self._home
        node = home.node
        plan = self._plan()
        kind = Kind.OBSERVER if plan.own is None else Kind.VALIDATOR
        tls = None
        if node.transport == "tls":
            tls = load_tls(node.ca, node.cert, node.cert_key, node.crl)
        me = Self(
            kind, home.name, home.signer, home.genesis.digest, self._instance, node.wire,
            node.oldest_wire,
        )  # fmt: skip
        network = Network(
            me,
            plan.entries,
            listen=home.listen,
            tls=tls,
            client_socket=node.socket,
            handler=self,
            link=self._link,
        )
        network.expect(*self._voters())
        self._membership.follow(network, plan)
        return network

    def _plan(self) -> Plan:
        """Whom the network is to have links to, as the ledger stands."""
        ledger = self._machine.ledger
        self._candidates = ledger.candidates
        return self._membership.plan(ledger.eras, ledger.height, self._candidates)

    def _voters(self) -> tuple[int, frozenset[PeerNumber]]:
        """How many of those who vote in the next block may lie, and who they are."""
        machine = self._machine
        validators = machine.terms.at(machine.ledger.height + 1).validators
        numbers = frozenset(machine.roster.number(m.key) for m in validators.members)
        return validators.quorum.f, numbers

    def _follow_eras(self, executed: Execution) -> None:
        """Connect to whom a new era names; cut who is gone when it begins."""
        machine = self._machine
        begins = any(era.first == executed.height + 1 for era in machine.ledger.eras)
        same = machine.ledger.candidates == self._candidates
        if executed.era is None and not begins and same:
            return
        term = machine.terms.at(machine.ledger.height + 1)
        quorum = term.validators.quorum
        self._clocks.expect(quorum.n, quorum.f, term.rules.clock_tolerance_ms)
        self._network.expect(*self._voters())
        self._membership.follow(self._network, self._plan())

    def _is_ready(self) -> bool:
        return self._machine.engine.status().applied and not self._driver.disk_low

    # ------------------------------------------------------------ the driver's hands

    def _transmit(self, frame: Frame) -> None:
        if frame.type is Type.BLOCK and frame.to == "all":
            self._metrics.proposal(self._machine.ledger.height + 1, own=True)
        elif frame.type is Type.REPLY:
            reply = decode_message(frame.type, frame.payload)
            if isinstance(reply, Reply):
                self._replies.add(reply.signer, reply, self._machine.ledger.height)
        machine = self._machine
        if machine.own is not None:
            self._metrics.sent(frame.type, frame.payload, machine.own)
        to = None if frame.to == "all" else frame.to
        own = None if machine.own is None else machine.roster.number(machine.key)
        self._trace.note(
            now().unix_ms, machine.ledger.height + 1, own, to, (frame.type, frame.payload)
        )
        frames = [encode_frame(frame.type, frame.payload)]
        if frame.type is Type.STATUS:  # with it, and only with it: a stalled node stays silent
            frames.append(encode_frame(Type.PING, encode(Ping(now().unix_ms))))
        for data in frames:
            if frame.to == "all":
                self._network.broadcast(data)
            else:
                for index in frame.to:
                    self._network.send(index, data)

    def _announce(self, block: Committed, dropped: tuple[Digest, ...]) -> None:
        self._follow_eras(block.execution)
        trust = self._home.node.trust
        if trust is not None and trust.height == block.decision.height:
            check_trust(trust, block.decision.digest)
        self._sessions.announce(block, dropped)

    # ------------------------------------------------------------ network: Handler

    def on_frame(self, peer: ReplicaIndex | None, link: Link, type_: int, payload: bytes) -> None:
        """A frame from a node; see :class:`~vppd.net.peers.Handler`."""
        if type_ in SYNC_TYPES:
            self._take_sync(peer, link, type_, payload)
            return
        message = decode_message(type_, payload)
        if self._late and isinstance(message, Status) and self._goes_back(message):
            return
        if self._driver.disk_low and not isinstance(message, GetBlock | GetBlocks | Ping):
            return
        try:
            self._take_message(peer, link, message)
        except BadSignature as err:
            log.debug("bad_signature", remote=link.remote, why=str(err))
            self._network.blame(link)

    def _goes_back(self, said: Status) -> bool:
        """Whether the plant is so far ahead that a node without any block takes a snapshot."""
        self._late = self._machine.engine.status().decided == 0
        if self._late and is_far(self._home.node, said.decided):
            if not self._behind.done():
                log.info("far_behind", plant=said.decided)
                self._behind.set_result(None)
            return True
        return False

    def _take_sync(self, peer: ReplicaIndex | None, link: Link, type_: int, payload: bytes) -> None:
        """Joiners are answered; an answer that nobody waits for any more is thrown away."""
        message = decode_sync(type_, payload)
        if type_ in REQUESTS:
            self._answer(link, lambda: self._snapshots.answer(message))
        elif isinstance(message, Absent):
            if peer is not None and self._lacking.get(peer) != message.first:
                self._lacking[peer] = message.first
                log.warning("blocks_gone", remote=link.remote, begins=message.first)
            self._machine.receive(peer, Blocks(()))  # it has none: the core asks another
            self._driver.wake()

    async def _blocks_from(self, first: Height) -> Blocks | Absent | None:
        return await self._service.blocks_from(first) or await self._snapshots.below(first)

    def _take_message(self, peer: ReplicaIndex | None, link: Link, message: PeerMessage) -> None:
        match message:
            case GetBlock(digest):
                self._answer(link, lambda: self._service.body(digest))
            case GetBlocks(first):
                self._answer(link, lambda: self._blocks_from(first))
            case Tx(raw):
                link.charge(verifications=self._machine.gate.cost(message))
                self._intake.hear(raw)
            case Txs(raws):
                link.charge(verifications=self._machine.gate.cost(message))
                self._hearing.take(link, raws)
            case Reply():
                signer = self._machine.index_in(message.epoch, peer)
                self._replies.add(signer, message, self._machine.ledger.height)
                if signer == message.signer:
                    self._note(peer, message)
            case Ping(unix_ms):
                if peer is not None:
                    self._hear_time(peer, link, unix_ms)
            case Block() | BlockBody() | Blocks():
                self._take_block(peer, link, message)
            case _:
                if isinstance(message, Status) and peer is not None:
                    self._heights[peer] = message.decided
                if self._machine.wants(peer, message):
                    link.charge(verifications=self._machine.gate.cost(message))
                    self._machine.gate.check(message)
                    self._receive(peer, message)

    def on_connect(self, peer: ReplicaIndex) -> None:
        """A validator is here: say what it signed last, where we stand, what waits for a leader."""
        self._machine.keep_readable(self._network.oldest_wire() < NEWEST_WIRE)
        if self._driver.disk_low:  # no turns are taken then: what is queued would only grow
            for frame in self._machine.greeting(peer):
                self._network.send(peer, encode_frame(frame.type, frame.payload))
        else:
            self._machine.reconnected(peer)
            self._driver.wake()

    def on_guest(self, link: Link) -> None:
        """It may have been a validator, and not know of its end: say what it signed last."""
        if link.peer is not None:
            for type_, word in self._machine.words(link.peer.key):
                link.send(encode_frame(type_, word))

    def on_disconnect(self, peer: ReplicaIndex, why: str) -> None:  # noqa: ARG002 - it is logged
        """It will be reminded when it is back; what its clock shows is not known any more."""
        self._machine.keep_readable(self._network.oldest_wire() < NEWEST_WIRE)
        self._clocks.forget(peer)

    def on_client_frame(self, session: Link, type_: int, payload: bytes) -> None:
        """A client's request; all but the first wait for the answers before theirs."""
        if type_ != REQUEST:
            return
        self._sessions.take(session, payload)

    def on_client_gone(self, session: Link) -> None:
        """A client has left."""
        self._sessions.forget(session)

    def on_fatal(self, err: BaseException) -> None:
        """Stop with this error."""
        if not self._fatal.done():
            self._fatal.set_exception(err)

    # ------------------------------------------------------------ inside

    def _hear_time(self, peer: ReplicaIndex, link: Link, unix_ms: int) -> None:
        way_ms = (link.rtt_us() or 0) // 2_000
        for whose, offset_ms, wrong in self._clocks.heard(peer, unix_ms + way_ms, now()):
            member = None if whose is None else self._membership.member(whose)
            name = self._home.name if whose is None else member.name if member else str(whose)
            say = log.warning if wrong else log.info
            say("clock_wrong" if wrong else "clock_right_again", node=name, offset_ms=offset_ms)

    def _take_block(
        self, peer: ReplicaIndex | None, link: Link, message: Block | BlockBody | Blocks
    ) -> None:
        if not self._machine.wants(peer, message):
            return
        if isinstance(message, Block):
            self._metrics.proposal(message.height, own=False)
        here = not self._machine.gate.signed  # and nothing to be gained from a thread
        if not isinstance(message, Blocks) and (here or len(message.txs) <= INLINE_TXS):
            link.charge(verifications=self._machine.gate.cost(message))
            self._machine.gate.check(message)
            self._receive(peer, message)
        else:
            weight = _weight(message)
            if self._checking + weight <= CHECKING_BYTES and self._spawn(
                link, self._check(peer, link, message, weight)
            ):
                self._checking += weight

    async def _check(
        self,
        peer: ReplicaIndex | None,
        link: Link,
        message: Block | BlockBody | Blocks,
        weight: int,
    ) -> None:
        digest = None if isinstance(message, Blocks) else message.digest
        try:
            async with self._one_at_a_time(digest):
                if digest is not None:  # blocks fetched are few at a time, and must be decided
                    link.charge(verifications=self._machine.gate.cost(message))
                await asyncio.to_thread(self._machine.gate.check, message)
        except BadSignature as err:
            log.debug("bad_signature", remote=link.remote, why=str(err))
            self._network.blame(link)
            return
        except PeerFault as err:
            link.convict(err)
            return
        finally:
            self._checking -= weight
        self._receive(peer, message)

    @asynccontextmanager
    async def _one_at_a_time(self, digest: Digest | None) -> AsyncIterator[None]:
        """A block that comes again while it is being checked waits: then it has passed already."""
        if digest is None:
            yield
            return
        while (earlier := self._under_check.get(digest)) is not None:
            await earlier.wait()
        done = self._under_check[digest] = asyncio.Event()
        try:
            yield
        finally:
            del self._under_check[digest]
            done.set()

    def _receive(self, peer: ReplicaIndex | None, message: ConsensusMessage) -> None:
        """A message that has passed the gate."""
        machine = self._machine
        machine.receive(peer, message)
        self._driver.wake()
        leader = 0
        if isinstance(message, Block):
            leader = machine.terms.leader(message.epoch, message.view, message.height)
        self._metrics.heard(message, leader)
        self._note(peer, message)

    def _note(self, peer: ReplicaIndex | None, message: ConsensusMessage) -> None:
        machine = self._machine
        to = (machine.roster.number(machine.key),)
        self._trace.note(now().unix_ms, machine.ledger.height + 1, peer, to, message)

    def _answer(self, link: Link, read: Callable[[], Awaitable[Message | None]]) -> None:
        if not link.stuck:  # who has not read the last answers can ask again when it has
            self._spawn(link, self._read_and_send(link, read))

    async def _read_and_send(
        self, link: Link, read: Callable[[], Awaitable[Message | None]]
    ) -> None:
        message = await read()
        if message is not None:
            frame = encode_frame(TYPE_OF[type(message)], encode(message))
            link.charge(size=len(frame))
            link.send(frame)

    def _spawn(self, link: Link, work: Coroutine[Any, Any, None]) -> bool:
        """Run something for a link, unless it has enough running already."""
        if self._busy[link] >= BUSY_PER_LINK:
            work.close()
            return False
        self._busy[link] += 1
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._tasks.discard(finished)
            self._busy[link] -= 1
            if not self._busy[link]:
                del self._busy[link]
            if not finished.cancelled() and finished.exception() is not None:
                self.on_fatal(finished.exception() or LocalFault("unknown"))

        task.add_done_callback(done)
        return True

    def _dismissed(self) -> str:
        """Why this node is no validator any more, as the chain says, or before it f + 1 others."""
        said = self._network.dismissed_by()
        if self._membership.dismissed or len(said) <= self._machine.validators.quorum.f:
            return self._membership.dismissed
        return f"{', '.join(said)} say: {next(iter(said.values()))}"

    def _network_rows(self) -> dict[str, Any]:
        """The part of ``status`` that the network and the disk know."""
        clocks = self._clocks.offsets(now())
        peers = [
            {
                "name": state.name,
                "role": str(self._membership.role(state.index)),
                "addr": state.addr,
                "connected": state.connected,
                "member": self._machine.roster.index(state.index) is not None,
                "height": self._heights.get(state.index),
                "clock_ms": clocks.get(state.index),
                "since_s": round(state.seconds, 1),
                "why": state.why,
                "rtt_us": state.rtt_us,
                "wire": state.wire,
            }
            for state in self._network.peer_states()
        ]
        refused = [{"remote": r.remote, "why": r.why} for r in self._network.refusals()]
        return {
            "first_block": self._retention.first_block,
            "joining": None,
            "disk_low": self._driver.disk_low,
            "clock_ms": clocks.get(None),
            "clock_tolerance_ms": self._clocks.tolerance_ms,
            "wire": self._home.node.wire,
            "dismissed": self._dismissed(),
            "peers": peers,
            "refused": refused,
        }


def _weight(message: Block | BlockBody | Blocks) -> int:
    """Bytes that a block or several take in memory, about."""
    bodies = message.blocks if isinstance(message, Blocks) else (message,)
    return sum(len(raw) + TX_BYTES for body in bodies for raw in body.txs)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
