"""The hands of a joiner: a network of its own, and answers to whoever asks how far it is."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from vppd.codec import Message, encode
from vppd.config.home import Home
from vppd.config.node import NodeConfig, Trust
from vppd.consensus.messages import (
    TYPE_OF,
    Absent,
    Blocks,
    Ping,
    Status,
    Type,
)
from vppd.consensus.profile import founding_validators
from vppd.crypto import verify
from vppd.errors import PeerFault, UserError
from vppd.net.frames import RESPONSE, encode_frame
from vppd.net.gate import decode_message
from vppd.net.hello import Kind, Self
from vppd.net.link import Link
from vppd.net.peers import Network
from vppd.net.requests import Document, Failure, FailureCode, Response, View, decode_request
from vppd.net.sync import REQUESTS, SYNC_TYPES, decode_sync
from vppd.net.tls import load_tls
from vppd.node.clock import now
from vppd.node.joining import ASK_S, Joiner
from vppd.node.membership import Membership
from vppd.node.notify import notify, watchdog
from vppd.store.chain import ChainStore
from vppd.store.staging import Staging, remove, staging_file
from vppd.types import Digest, Height, Mode, PeerNumber, PublicKey

TICK_S = 1.0
"""Between two statuses: peers cut a link that is silent."""

log = structlog.get_logger("vppd.sync")


def is_far(node: NodeConfig, height: Height) -> bool:
    """Whether a plant at that height is far ahead of a node without any block."""
    return node.sync_mode != "replay" and height > (
        0 if node.sync_mode == "snapshot" else node.snapshot_after
    )


async def join(home: Home, store: ChainStore, instance: bytes, stop: asyncio.Event) -> bool | None:
    """Bring an empty store to a snapshot, if the plant is far ahead; until done or told to stop.

    Returns:
        Whether the store begins with a snapshot now; ``None``: not every peer has been heard, so
        the plant may yet turn out to be far ahead.

    Raises:
        UserError: a port or certificate; E314, the block to be trusted is of another chain.
        LocalFault: the disk failed.
    """
    others = [v for v in home.genesis.validators if v.key != home.signer.public_key]
    if home.node.sync_mode == "replay" or not others:
        return False
    outreach = Outreach(home, instance)
    joiner = Joiner(
        home.genesis,
        store,
        outreach,
        verify,
        mode=home.node.sync_mode,
        snapshot_after=home.node.snapshot_after,
        trust=home.node.trust,
    )
    outreach.joiner = joiner
    await outreach.network.start()
    beside = [asyncio.create_task(outreach.tick()), asyncio.create_task(watchdog())]
    joining = asyncio.create_task(
        joiner.run(lambda: Staging.open(home.node.store, home.genesis.digest))
    )
    stopping = asyncio.create_task(stop.wait())
    notify("READY=1\nSTATUS=joining")
    why = "the node is stopping"
    try:
        ends: set[asyncio.Future[Any]] = {joining, stopping, outreach.fatal}
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for finished in done - {stopping}:
            finished.result()
        if joining not in done:
            return False
        why = "it starts again as what it will be, and comes back at once"
        if joining.result():
            return True
        return False if joiner.decided_to_replay or outreach.everybody_spoke() else None
    finally:
        for task in (*beside, joining, stopping):
            task.cancel()
        await asyncio.gather(*beside, joining, stopping, return_exceptions=True)
        await outreach.network.stop(why)
        notify("STATUS=")


def check_trust(trust: Trust, digest: Digest) -> None:
    """The block at the height to be trusted is the one.

    Raises:
        UserError: E314, it is another.
    """
    if digest != trust.digest:
        raise UserError(
            "E314",
            "the block to be trusted is not of this node's chain",
            facts={"trust": str(trust), "this chain has": digest.hex()},
            hint="who gave you that block? if it is right, this plant's nodes show another history",
        )


async def conclude(home: Home, store: ChainStore, joined: bool | None) -> None:
    """What is left before the node takes part.

    The block to be trusted, if it is in the store already, is the one. And of a join whose process
    ended between installing the state and tidying up, nothing stays on the disk.

    Args:
        home: the node's files.
        store: open.
        joined: ``None``: a snapshot may be the way after all, so what is fetched is kept.

    Raises:
        UserError: E314, it is another block.
    """
    if joined is not None:
        await asyncio.to_thread(remove, staging_file(home.node.store))
    trust = home.node.trust
    if trust is not None:
        held = await store.certified(trust.height)
        if held is not None:
            check_trust(trust, held.certificate.digest)


class Outreach:
    """The joiner's :class:`~vppd.node.joining.Peers`, and the network's handler meanwhile.

    Args:
        home: the node's files.
        instance: of this process.
    """

    joiner: Joiner

    def __init__(self, home: Home, instance: bytes) -> None:
        self._home = home
        self._links: dict[PeerNumber, Link] = {}
        self._heights: dict[PeerNumber, Height] = {}
        self._spoken: set[PeerNumber] = set()
        self._waiting: dict[PeerNumber, asyncio.Future[Message]] = {}
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when the network does."""
        validators = founding_validators(home.genesis)
        node = home.node
        numbers: dict[PublicKey, PeerNumber] = {
            validator.key: i for i, validator in enumerate(home.genesis.validators)
        }
        plan = Membership(
            home.signer.public_key,
            lambda key: numbers.setdefault(key, len(numbers)),
            home.genesis.validators,
            home.peers.peers,
        ).plan((), 0)
        # A founder who has left the plant and peers.toml cannot be reached.
        entries = [e for e in plan.entries if e.addr or e.key == home.signer.public_key]
        kind = Kind.OBSERVER if plan.own is None else Kind.VALIDATOR
        tls = None
        if node.transport == "tls":
            tls = load_tls(node.ca, node.cert, node.cert_key, node.crl)
        self._names = {entry.index: entry.name for entry in entries}
        self._others = len(entries) - (plan.own is not None)
        self.network = Network(
            Self(
                kind,
                home.name,
                home.signer,
                home.genesis.digest,
                instance,
                node.wire,
                node.oldest_wire,
            ),
            entries,
            listen=home.listen,
            tls=tls,
            client_socket=node.socket,
            handler=self,
            liars=validators.quorum.f,
        )

    async def tick(self) -> None:
        """Say each second that this node is here, at height 0."""
        while True:
            await asyncio.sleep(TICK_S)
            self.network.broadcast(_STANDING)
            self.network.broadcast(encode_frame(Type.PING, encode(Ping(now().unix_ms))))

    # ------------------------------------------------------------ for the joiner

    def connected(self) -> tuple[PeerNumber, ...]:
        """See :class:`~vppd.node.joining.Peers`."""
        return self.network.connected()

    def name(self, peer: PeerNumber) -> str:
        """See :class:`~vppd.node.joining.Peers`."""
        return self._names[peer]

    def heights(self) -> dict[PeerNumber, Height]:
        """See :class:`~vppd.node.joining.Peers`."""
        return dict(self._heights)

    def everybody_spoke(self) -> bool:
        """See :class:`~vppd.node.joining.Peers`."""
        return len(self._spoken) == self._others

    async def ask(self, peer: PeerNumber, request: Message) -> Message:
        """See :class:`~vppd.node.joining.Peers`."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[peer] = answer
        try:
            if not self.network.send(peer, encode_frame(TYPE_OF[type(request)], encode(request))):
                raise ConnectionError("not connected")
            return await asyncio.wait_for(answer, ASK_S)
        finally:
            self._waiting.pop(peer, None)

    def convict(self, peer: PeerNumber, fault: PeerFault) -> None:
        """See :class:`~vppd.node.joining.Peers`."""
        link = self._links.get(peer)
        if link is not None:
            link.convict(fault)

    # ------------------------------------------------------------ network: Handler

    def on_frame(self, peer: PeerNumber | None, link: Link, type_: int, payload: bytes) -> None:
        """Statuses and answers count; whatever else is said concerns those who decide."""
        if type_ in REQUESTS or type_ == Type.GET_BLOCKS:
            link.send(encode_frame(Type.ABSENT, encode(Absent(1, 0))))
        if peer is None:
            return
        self._links[peer] = link
        if type_ == Type.STATUS:
            said = decode_message(type_, payload)
            if isinstance(said, Status):
                self._heights[peer] = said.decided
                self._spoken.add(peer)
        elif type_ == Type.BLOCKS or (type_ in SYNC_TYPES and type_ not in REQUESTS):
            self._hand_over(peer, type_, payload)

    def _hand_over(self, peer: PeerNumber, type_: int, payload: bytes) -> None:
        waiting = self._waiting.get(peer)
        if waiting is None or waiting.done():
            return  # too late
        try:
            message: Message
            if type_ == Type.BLOCKS:
                blocks = decode_message(type_, payload)
                message = blocks if isinstance(blocks, Blocks) else Blocks(())
            else:
                message = decode_sync(type_, payload)
        except PeerFault:
            waiting.set_exception(ConnectionError("it sent something else"))
            raise
        waiting.set_result(message)

    def on_connect(self, peer: PeerNumber) -> None:
        """Say where this node stands, so that it is told the same."""
        self.network.send(peer, _STANDING)

    def on_guest(self, link: Link) -> None:
        """Nothing has been heard here that anybody could have forgotten."""

    def on_disconnect(self, peer: PeerNumber, why: str) -> None:
        """Nothing more will come from it."""
        self._heights.pop(peer, None)
        self._links.pop(peer, None)
        waiting = self._waiting.get(peer)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ConnectionError(why))

    def on_client_frame(self, session: Link, type_: int, payload: bytes) -> None:  # noqa: ARG002 - the network knows it is one
        """How far it is, for ``vppd status``; everything else has to wait."""
        request = decode_request(payload)
        match request.ask:
            case View("status"):
                answer = Response(request.id, Document(msgspec.json.encode(self.status())))
            case _:
                progress = self.joiner.progress
                text = f"this node is joining: {progress.stage}, {progress.buckets} of 4096 parts"
                answer = Response(request.id, Failure(FailureCode.REFUSED, text))
        session.send(encode_frame(RESPONSE, encode(answer)))

    def on_client_gone(self, session: Link) -> None:
        """Nobody is pushed anything yet."""

    def on_fatal(self, err: BaseException) -> None:
        """Stop with this error."""
        if not self.fatal.done():
            self.fatal.set_exception(err)

    # ------------------------------------------------------------ for people

    def status(self) -> dict[str, Any]:
        """The ``status`` view of a node that is joining; the keys it shares mean the same."""
        progress = self.joiner.progress
        return {
            "chain": self._home.genesis.name,
            "name": self._home.name,
            "role": str(self._home.role),
            "height": 0,
            "executed": 0,
            "head": self._home.genesis.digest.hex(),
            "voting": False,
            "joining": {
                "stage": str(progress.stage),
                "height": progress.height,
                "percent": 100 * progress.buckets // 4_096,
                "received_bytes": progress.received_bytes,
                "mib_s": round(progress.mib_s, 2),
                "liars": list(progress.liars),
            },
            "peers": [
                {
                    "name": state.name,
                    "connected": state.connected,
                    "height": self._heights.get(state.index),
                    "why": state.why,
                }
                for state in self.network.peer_states()
            ],
        }


_STANDING = encode_frame(Type.STATUS, encode(Status(0, 0, 0, Mode.NORMAL)))
