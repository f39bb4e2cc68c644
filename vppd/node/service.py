"""What the node answers: clients' requests, and peers' requests for blocks.

Data comes from the store and the ledger; nothing here waits for, or speaks to, the consensus core
(architecture.md, §4), but for a submitted transaction, which goes into the mempool.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from vppd.codec import encode
from vppd.config.genesis import TX_BYTES_LIMIT
from vppd.consensus.messages import CAP, BlockBody, Blocks, Type
from vppd.errors import PeerFault
from vppd.header import decode_header
from vppd.ledger.transaction import NOBODY, Transaction
from vppd.merkle import merkle_path
from vppd.net.frames import ANSWER_CAPS, RESPONSE
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
    Response,
    Result,
    Submit,
    SubmitMany,
    Subscribe,
    Subscribed,
    Taken,
    Turned,
    TxProof,
    TxStage,
    TxState,
    View,
    decode_request,
)
from vppd.node import beats
from vppd.node.clock import now
from vppd.node.driver import Driver
from vppd.node.intake import Intake
from vppd.node.lane import Lane
from vppd.node.machine import Machine
from vppd.node.mempool import Refused
from vppd.node.replies import Replies
from vppd.node.views import UnknownView, Views
from vppd.store.chain import ChainStore
from vppd.types import Digest, Epoch, Height

BLOCKS_BYTES = CAP[Type.BLOCKS] - 64 * 1024
"""Room left in an answer for the last block's certificate and framing."""
DISK_LOW = "this node's disk is almost full; it only reads"
LINKS_BYTES = ANSWER_CAPS[RESPONSE] - 1024
"""Of an answer to a client that crosses epochs."""


class Service:
    """Answers for one node.

    Args:
        machine: mempool and ledger.
        store: decided blocks and receipts.
        replies: roots signed by replicas.
        views: JSON for people.
        driver: woken after a transaction was taken.
        intake: of many transactions at once.
    """

    def __init__(
        self,
        machine: Machine,
        store: ChainStore,
        replies: Replies,
        views: Views,
        driver: Driver,
        intake: Intake,
    ) -> None:
        self._machine = machine
        self._store = store
        self._replies = replies
        self._views = views
        self._driver = driver
        self._intake = intake
        self._lane = Lane()
        self._lane_of_ids = Lane()
        """A search for an id that is nowhere reads the whole index: one at a time, or the store's
        one reading connection would be theirs."""

    # ------------------------------------------------------------ clients

    async def answer(self, payload: bytes) -> tuple[Response, bool]:
        """One request's response, and whether the asker is to get pushes from now on.

        Raises:
            Malformed: not a request; the connection is not worth keeping.
        """
        request = decode_request(payload)
        result = await self._serve(request.ask)
        return Response(request.id, result), isinstance(result, Subscribed)

    async def _serve(self, ask: Ask) -> Result:
        match ask:
            case Submit(raw):
                return self._submit(raw)
            case SubmitMany(raws):
                return await self._submit_many(raws)
            case GetTx(tx_id):
                return await self._lane_of_ids.run(lambda: self._tx(tx_id))
            case GetDecided(height):
                return await self._lane.run(lambda: self._decided(height))
            case FindBlock(digest):
                return await self._find(digest)
            case Subscribe():
                return Subscribed(self._machine.ledger.height)
            case View(name, argument):
                return await self._view(name, argument)
            case GetLinks(epoch):
                return await self._lane.run(lambda: self._links(epoch))
            case _:  # pragma: no cover
                assert_never(ask)

    def _submit(self, raw: bytes) -> Result:
        if self._driver.disk_low:
            return Failure(FailureCode.REFUSED, DISK_LOW)
        if self._is_too_long(raw):
            return Failure(FailureCode.INVALID, _too_long(raw))
        try:
            tx = self._machine.submit(raw, now().monotonic_ms, own=True)
        except Refused as err:
            return Failure(FailureCode.REFUSED, str(err))
        except PeerFault as err:
            return Failure(FailureCode.INVALID, str(err))
        self._driver.wake()
        return Accepted(tx.id)

    async def _submit_many(self, raws: tuple[bytes, ...]) -> Result:
        if self._driver.disk_low:
            return Failure(FailureCode.REFUSED, DISK_LOW)
        ids: list[Digest] = []
        turned = [
            Turned(position, FailureCode.INVALID, _too_long(raw))
            for position, raw in enumerate(raws)
            if self._is_too_long(raw)
        ]
        long = {each.position for each in turned}
        fitting = [position for position in range(len(raws)) if position not in long]
        outcomes = await self._intake.take([raws[position] for position in fitting], own=True)
        for position, outcome in zip(fitting, outcomes, strict=True):
            if isinstance(outcome, Transaction):
                ids.append(outcome.id)
                continue
            match outcome:
                case Refused():
                    turned.append(Turned(position, FailureCode.REFUSED, str(outcome)))
                case PeerFault():
                    turned.append(Turned(position, FailureCode.INVALID, str(outcome)))
        turned.sort(key=lambda each: each.position)
        return Taken(tuple(ids), tuple(turned))

    def _is_too_long(self, raw: bytes) -> bool:
        """Whether no frame between nodes carries it, where there is another node."""
        return len(raw) > TX_BYTES_LIMIT and self._machine.validators.quorum.n > 1

    async def _tx(self, tx_id: Digest) -> Result:
        waiting = self._machine.mempool.get(tx_id)
        if waiting is not None and waiting.sender != NOBODY:
            # Its nonce is unused, so it is in no block: the index need not be searched.
            return TxState(TxStage.ACCEPTED, waiting.raw)
        location = await self._store.tx_location(tx_id)
        if location is None:
            if waiting is not None:
                return TxState(TxStage.ACCEPTED, waiting.raw)
            return TxState(TxStage.UNKNOWN)
        height, index = location
        block = await self._store.block(height)
        execution = await self._store.execution(height)
        if block is None or execution is None:
            return TxState(TxStage.ACCEPTED)
        receipts = execution.receipts
        following = await self._store.block(height + 1)
        proof = TxProof(
            block.header,
            merkle_path(block.txs, index),
            merkle_path(receipts, index + 1),
            following.header if following is not None else b"",
            following.certificate if following is not None else None,
            self._replies.proving(height),
        )
        return TxState(
            TxStage.COMMITTED, block.txs[index], height, index, receipts[index + 1], proof
        )

    async def _decided(self, height: Height) -> Result:
        block = await self._store.block(height)
        if block is None:
            top, first = self._machine.ledger.height, await self._store.first_block()
            if 0 < height < first:
                text = f"block {height} is not here any more: this node has those from {first} on"
                return Failure(FailureCode.NOT_FOUND, text)
            return Failure(FailureCode.NOT_FOUND, f"no block {height}; the last one is {top}")
        execution = await self._store.execution(height)
        receipts = execution.receipts if execution is not None else ()
        return DecidedView(block.header, block.txs, block.certificate, receipts)

    async def _links(self, epoch: Epoch) -> Links:
        return Links(await self._store.era_links(epoch, LINKS_BYTES))

    async def _find(self, digest: Digest) -> Result:
        record = await self._store.body(digest)
        if record is not None:
            block = await self._store.block(record.height)
            if block is not None and decode_header(block.header).digest() == digest:
                return Found(record.height)
        return Failure(FailureCode.NOT_FOUND, f"no decided block {digest.hex()}")

    async def _view(self, name: str, argument: str) -> Result:
        try:
            document = await self._views.render(name, argument)
        except UnknownView as err:
            return Failure(FailureCode.UNKNOWN_VIEW, str(err))
        except LookupError as err:
            return Failure(FailureCode.NOT_FOUND, str(err.args[0]))
        return Document(msgspec.json.encode(document))

    # ------------------------------------------------------------ peers

    async def blocks_from(self, first: Height) -> Blocks | None:
        """Answer to ``get_blocks``; ``None``: nothing there."""
        return await self._lane.run(lambda: self._blocks_from(first))

    async def _blocks_from(self, first: Height) -> Blocks | None:
        blocks = await self._store.blocks_from(first, BLOCKS_BYTES)
        return Blocks(blocks) if blocks else None

    async def body(self, digest: Digest) -> BlockBody | Blocks | None:
        """Answer to ``get_block``: an undecided body, or the decided block it became."""
        return await self._lane.run(lambda: self._body(digest))

    async def _body(self, digest: Digest) -> BlockBody | Blocks | None:
        record = await self._store.body(digest)
        if record is None:
            return None
        return self._machine.body_of(record) or await self._blocks_from(record.height)


def _too_long(raw: bytes) -> str:
    return f"a transaction of {len(raw)} bytes: from node to node go at most {TX_BYTES_LIMIT}"


def committed_push(
    block: beats.Committed, dropped: tuple[Digest, ...], *, receipts: bool = True
) -> bytes:
    """The payload that subscribers get for a block and what it made impossible.

    Without its receipts when they would not fit a frame; they can be asked for one by one.
    """
    decision, execution = block
    return encode(
        Committed(
            decision.height, decision.digest, decision.header, execution.tx_ids,
            execution.receipts if receipts else (),
            dropped,
        )
    )  # fmt: skip
