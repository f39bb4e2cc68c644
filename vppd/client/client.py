"""Talking to a node: submit, ask, subscribe — over its Unix socket, or its port with mutual TLS.

One connection carries any number of requests at once; each has a number its answer repeats. The
client believes the node about views; facts (receipts, blocks) it can check: :mod:`.proofs`.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from vppd.codec import Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.messages import EraLink
from vppd.crypto import Signer
from vppd.errors import PeerFault, UserError
from vppd.net.frames import PUSH, REFUSE, REQUEST, RESPONSE, encode_frame
from vppd.net.hello import Kind, Self, refusal_reason
from vppd.net.requests import (
    Accepted,
    Ask,
    Committed,
    DecidedView,
    Document,
    Failure,
    FailureCode,
    FindBlock,
    Found,
    GetDecided,
    GetLinks,
    GetTx,
    Links,
    Request,
    Result,
    Submit,
    SubmitMany,
    Subscribe,
    Subscribed,
    Taken,
    TxStage,
    TxState,
    View,
    decode_push,
    decode_response,
)
from vppd.net.session import open_session
from vppd.net.tls import Tls, explain
from vppd.types import Digest, Epoch, Height, PublicKey

R = TypeVar("R")
_HEADER = struct.Struct(">IB")
MAX_FRAME = 1024 * 1024 + 128 * 1024
PUSHES = 1_024
"""Blocks a subscriber may lag behind before the oldest are dropped."""


class RequestFailed(UserError):
    """The node refused or could not serve a request."""

    def __init__(self, failure: Failure) -> None:
        self.reason = FailureCode(failure.code)
        super().__init__("E350", f"the node says: {failure.text}")


class Disconnected(PeerFault):
    """The node closed the connection."""


class Client:
    """An open connection to one node. Use :func:`connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._pushes: asyncio.Queue[Committed | None] = asyncio.Queue(PUSHES)
        self._subscribed = False
        self._watched: dict[Digest, dict[asyncio.Event, None]] = {}
        """One event per wait: waits for the same transaction end independently."""
        self._why = "the node closed the connection"
        self._task = asyncio.create_task(self._read())

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._task.done()

    async def close(self) -> None:
        """Hang up; requests under way fail with :class:`Disconnected`."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    # ------------------------------------------------------------ requests

    async def submit(self, raw: bytes) -> Digest:
        """Hand over a signed transaction; returns its id once the node has *accepted* it.

        Raises:
            RequestFailed: refused, with the node's reason.
            Disconnected: the node went away; it may or may not have taken the transaction.
        """
        return (await self._ask(Submit(raw), Accepted)).id

    async def submit_many(self, raws: Sequence[bytes]) -> Taken:
        """Hand over signed transactions, each taken or turned away by itself.

        Raises:
            RequestFailed: the node takes none now.
            Disconnected: the node went away; it may or may not have taken them.
        """
        return await self._ask(SubmitMany(tuple(raws)), Taken)

    async def tx(self, tx_id: Digest) -> TxState:
        """Where a transaction stands, with a proof once it is executed."""
        return await self._ask(GetTx(tx_id), TxState)

    async def wait(self, tx_id: Digest, accepted: bytes = b"") -> TxState:
        """Until the transaction is committed, or dropped; any number of waits at once.

        One that this node has never heard of is waited for all the same. What waited at this node
        and was dropped (stage ``DROPPED``) is not waited for any longer: it has expired, another
        has its nonce, or it made room for others, and then another node may still have it.

        Args:
            tx_id: of the transaction.
            accepted: the transaction, if this node has accepted it: it may be dropped before the
                first look.

        Raises:
            Disconnected: the node went away meanwhile.
        """
        if not self._subscribed:
            await self.subscribe()
        news = asyncio.Event()
        waits = self._watched.setdefault(tx_id, {})
        waits[news] = None
        try:
            state = await self.tx(tx_id)
            waited = TxState(TxStage.ACCEPTED, accepted) if accepted else None
            while state.stage != TxStage.COMMITTED:
                if state.stage == TxStage.ACCEPTED:
                    waited = state
                elif waited is not None:
                    return TxState(TxStage.DROPPED, waited.raw)
                await news.wait()
                news.clear()
                state = await self.tx(tx_id)
        finally:
            del waits[news]
            if not waits and self._watched.get(tx_id) is waits:
                del self._watched[tx_id]
        return state

    async def block(self, height: Height) -> DecidedView:
        """A decided block."""
        return await self._ask(GetDecided(height), DecidedView)

    async def find(self, digest: Digest) -> Height:
        """Height of the decided block with this digest."""
        return (await self._ask(FindBlock(digest), Found)).height

    async def links(self, epoch: Epoch) -> tuple[EraLink, ...]:
        """Steps into ``epoch`` and those after it, as many as fit; none: there is no such epoch."""
        return (await self._ask(GetLinks(epoch), Links)).links

    async def view(self, name: str, argument: str = "") -> Any:
        """A JSON view (docs/clients.md)."""
        return json.loads((await self._ask(View(name, argument), Document)).json)

    async def subscribe(self) -> Height:
        """Ask for a push per decided block; returns the height after which they begin."""
        self._subscribed = True
        return (await self._ask(Subscribe(), Subscribed)).height

    async def pushes(self) -> AsyncIterator[Committed]:
        """Blocks as they are decided, after :meth:`subscribe`.

        Raises:
            Disconnected: the node went away.
        """
        while True:
            block = await self._pushes.get()
            if block is None:
                self._push(None)  # whoever listens next hears it too
                raise Disconnected(self._why)
            yield block

    async def _ask(self, ask: Ask, kind: type[R]) -> R:
        if self._task.done():
            raise Disconnected(self._why)
        self._next += 1
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = answer
        self._writer.write(encode_frame(REQUEST, encode(Request(self._next, ask))))
        with suppress(OSError):  # the connection is gone: the answer says so too, in our words
            await self._writer.drain()
        result = await answer
        if isinstance(result, Failure):
            raise RequestFailed(result)
        if not isinstance(result, kind):
            raise Malformed(f"asked for {kind.__name__}, the node sent {type(result).__name__}")
        return result

    # ------------------------------------------------------------ the connection

    async def _read(self) -> None:
        try:
            while True:
                length, type_ = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
                if not 0 < length <= MAX_FRAME:
                    raise Malformed(f"the node announces a frame of {length} bytes")
                self._take(type_, await self._reader.readexactly(length - 1))
        except (asyncio.IncompleteReadError, OSError):
            pass
        except PeerFault as err:
            self._why = str(err)
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(Disconnected(self._why))
            self._waiting.clear()
            for waits in self._watched.values():
                for news in waits:
                    news.set()  # whoever waits asks again, and learns that the line is dead
            self._push(None)

    def _take(self, type_: int, payload: bytes) -> None:
        if type_ == RESPONSE:
            response = decode_response(payload)
            answer = self._waiting.pop(response.id, None)
            if answer is not None and not answer.done():
                answer.set_result(response.result)
        elif type_ == PUSH:
            block = decode_push(payload)
            for tx_id in (*block.tx_ids, *block.dropped) if self._watched else ():
                for news in self._watched.get(tx_id, ()):
                    news.set()
            self._push(block)
        elif type_ == REFUSE:
            raise Disconnected(f"the node closed the connection: {refusal_reason(payload)}")

    def _push(self, block: Committed | None) -> None:
        if self._pushes.full():
            self._pushes.get_nowait()
        self._pushes.put_nowait(block)


@asynccontextmanager
async def connect(socket: Path) -> AsyncIterator[Client]:
    """A client on a node's Unix socket.

    Raises:
        UserError: E351, nobody listens there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError as err:
        raise UserError(
            "E351",
            "no node answers here",
            facts={"socket": str(socket), "why": err.strerror or str(err)},
            hint=f"is it running? start it with: vppd start --home {socket.parent}",
        ) from err
    async with _open(reader, writer) as client:
        yield client


@asynccontextmanager
async def connect_port(
    addr: str,
    signer: Signer,
    genesis: Genesis,
    tls: Tls | None,
    expected: PublicKey | None = None,
) -> AsyncIterator[Client]:
    """A client on a node's port, with a certificate of the plant.

    Args:
        addr: ``host:port``.
        signer: any key of the client's own.
        genesis: the plant.
        tls: the client's certificate; ``None``: plain, on this machine only.
        expected: the node's key, if known.

    Raises:
        UserError: E357, not reached or not let in, and why.
    """
    me = Self(Kind.CLIENT, "client", signer, genesis.digest)
    validators = {validator.key: i for i, validator in enumerate(genesis.validators)}
    try:
        reader, writer = await open_session(addr, me, validators, tls, expected)
    except (OSError, PeerFault) as err:
        raise UserError(
            "E357",
            f"no session with the node at {addr}",
            facts={"why": explain(err)},
            hint="vppd peers check tries every node of peers.toml",
        ) from err
    async with _open(reader, writer) as client:
        yield client


@asynccontextmanager
async def _open(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[Client]:
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()
