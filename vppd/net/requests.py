"""What clients ask a node, and what it answers (docs/wire.md, "Clients").

One request, one response, matched by ``id``; pushes come unasked after a ``Subscribe``. Facts a
client can check itself (transactions, blocks, certificates, proofs) are typed; views for people
are JSON documents, whose keys are documented in docs/clients.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta

from vppd.codec import U8, U32, U63, Bytes32, Decoder, Message
from vppd.consensus.messages import Certificate, EraLink, Reply


class Submit(Message, frozen=True, tag=1):
    """Take a signed transaction; answered by :class:`Accepted` or :class:`Failure`."""

    raw: bytes


class GetTx(Message, frozen=True, tag=2):
    """Where a transaction stands; answered by :class:`TxState`."""

    id: Bytes32


class GetDecided(Message, frozen=True, tag=3):
    """The decided block at a height; answered by :class:`DecidedView`."""

    height: U63


class FindBlock(Message, frozen=True, tag=4):
    """The height of the decided block with this digest; answered by :class:`Found`."""

    digest: Bytes32


class Subscribe(Message, frozen=True, tag=5):
    """Push :class:`Committed` for every block from now on; answered by :class:`Subscribed`."""


class View(Message, frozen=True, tag=6):
    """A JSON view: ``status``, ``account``, ``book``, ``trades``, ``slots``, ``settlement``."""

    name: Annotated[str, Meta(max_length=32)]
    argument: Annotated[str, Meta(max_length=256)] = ""


class GetLinks(Message, frozen=True, tag=7):
    """How to get from epoch ``epoch`` - 1 to ``epoch``, and on; answered by :class:`Links`."""

    epoch: U63


class SubmitMany(Message, frozen=True, tag=8):
    """Take signed transactions, each by itself; answered by :class:`Taken`."""

    raws: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=1024)]


Ask: TypeAlias = Submit | GetTx | GetDecided | FindBlock | Subscribe | View | GetLinks | SubmitMany


class Request(Message, frozen=True):
    """A question with the number its answer will carry."""

    id: U63
    ask: Ask


class FailureCode(IntEnum):
    """Why a request failed, for programs; the text beside it is for people."""

    INVALID = 1
    """Can never succeed: malformed, badly signed, replayed."""
    REFUSED = 2
    """Not now: full, too far ahead, not voting."""
    NOT_FOUND = 3
    UNKNOWN_VIEW = 4


class Failure(Message, frozen=True, tag=0):
    """The request was not served."""

    code: U8
    text: str


class Accepted(Message, frozen=True, tag=1):
    """The node has the transaction and will see it through; not yet a decision."""

    id: Bytes32


class Turned(Message, frozen=True):
    """One of several transactions that the node has not taken."""

    position: U32
    """In the request, from 0."""
    code: U8
    """A :class:`FailureCode`."""
    text: str


class Taken(Message, frozen=True, tag=9):
    """The node has these transactions and will see them through, but for those turned away."""

    ids: tuple[Bytes32, ...]
    """Of those taken, in the order of the request."""
    turned: tuple[Turned, ...]
    """Ascending by position."""


class TxProof(Message, frozen=True):
    """Everything needed to check a receipt without trusting the node.

    The transaction is leaf ``index`` under the transaction root of ``header``; its receipt is leaf
    ``index + 1`` under the receipts root, which stands in the header at ``height + 1`` (with its
    certificate, and naming ``header`` as its parent), or in f+1 equal ``replies`` for ``header``.
    """

    header: bytes
    """Of the block that holds the transaction."""
    tx_path: tuple[Bytes32, ...]
    receipt_path: tuple[Bytes32, ...]
    next_header: bytes
    """Empty while the next block is not decided."""
    next_certificate: Certificate | None
    replies: tuple[Reply, ...]


class TxStage(IntEnum):
    """Three separate facts (architecture.md, §5)."""

    UNKNOWN = 0
    ACCEPTED = 1
    """Waiting in this node's mempool."""
    COMMITTED = 2
    """Decided and executed; the receipt says with what result."""
    DROPPED = 3
    """It waited in this node's mempool and does not any more: it expired, another transaction took
    its nonce, or it made room for others. Said by the client, which saw it drop."""


class TxState(Message, frozen=True, tag=2):
    """Where a transaction stands."""

    stage: U8
    raw: bytes = b""
    height: U63 = 0
    index: U63 = 0
    receipt: bytes = b""
    """Encoded ``ledger.receipts.Receipt``."""
    proof: TxProof | None = None


class DecidedView(Message, frozen=True, tag=3):
    """A decided block."""

    header: bytes
    txs: tuple[bytes, ...]
    certificate: Certificate
    receipts: tuple[bytes, ...]
    """Empty until executed here."""


class Found(Message, frozen=True, tag=4):
    """A height."""

    height: U63


class Subscribed(Message, frozen=True, tag=5):
    """Pushes begin after this height."""

    height: U63


class Document(Message, frozen=True, tag=6):
    """A JSON document."""

    json: bytes


class Links(Message, frozen=True, tag=7):
    """Consecutive steps between epochs, as many as fit; none: there is no later epoch."""

    links: tuple[EraLink, ...]


Result: TypeAlias = (
    Failure | Accepted | TxState | DecidedView | Found | Subscribed | Document | Links | Taken
)


class Response(Message, frozen=True):
    """The answer to the request with the same number."""

    id: U63
    result: Result


class Committed(Message, frozen=True):
    """Push: a block was decided and executed at this node."""

    height: U63
    digest: Bytes32
    header: bytes
    tx_ids: tuple[Bytes32, ...]
    receipts: tuple[bytes, ...]
    """Index 0 is the block's own receipt, then one per transaction; empty if too large to push."""
    dropped: tuple[Bytes32, ...]
    """Transactions that waited at this node and do not any more, although they were not decided:
    they never can be, or they made room for others."""


decode_request = Decoder(Request)
decode_response = Decoder(Response)
decode_push = Decoder(Committed)
