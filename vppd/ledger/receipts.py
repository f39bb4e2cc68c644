"""Receipts: what executing a block and each of its transactions did (architecture.md, §5).

Receipt 0 of a block is the block's own (what time triggered), then one per transaction. The Merkle
root over the encoded receipts stands in the next header, so a receipt is proved by a path.

Every change of a balance, an escrow or the grid account is a :class:`Posted`; per receipt they add
up to zero, so an audit needs nothing else to re-add all money.
"""

from __future__ import annotations

from collections.abc import Sequence

from vppd.codec import I64, U8, Decoder, Message, encode
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import Event
from vppd.merkle import merkle_root
from vppd.types import Digest

_I64_MIN, _I64_MAX = -(2**63), 2**63 - 1


class Receipt(Message, frozen=True):
    """What a transaction, or a block's time triggers, did."""

    status: U8
    code: U8
    """An :class:`ErrorCode`."""
    detail: tuple[I64, ...]
    """Of a failure: which operation, counted from 0, then what :data:`MEANING` says; of a refusal:
    only the latter."""
    events: tuple[Event, ...]
    """In order; none of a failure."""


decode_receipt = Decoder(Receipt)


def receipts_root(receipts: Sequence[bytes]) -> Digest:
    """RFC 6962 root over encoded receipts."""
    return merkle_root(receipts)


def encode_receipt(receipt: Receipt) -> bytes:
    """The bytes that are leaves under the receipts root."""
    return encode(receipt)


def failure(status: Status, code: ErrorCode, *detail: int) -> Receipt:
    """Due times of absurd slots leave 64 bits; a receipt then says the furthest it can."""
    clipped = tuple(min(max(number, _I64_MIN), _I64_MAX) for number in detail)
    return Receipt(status, code, clipped, ())
