"""Transactions and receipts as plain data for people and scripts."""

from __future__ import annotations

from typing import Any

import msgspec

from vppd.crypto import key_text
from vppd.ledger.receipts import (
    GRID,
    MEANING,
    ErrorCode,
    Posted,
    Purse,
    Reason,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    Status,
    decode_receipt,
)
from vppd.ledger.slots import Phase
from vppd.ledger.transaction import PlaceOrder, decode_transaction
from vppd.market.auction import Side

_KEYS = {"account", "to", "seller", "buyer", "meter"}


def render_transaction(raw: bytes) -> dict[str, Any]:
    """What a transaction asks for.

    Raises:
        Malformed: not a transaction.
    """
    tx = decode_transaction(raw)
    return {
        "sender": key_text(tx.sender),
        "nonce": tx.nonce,
        "expiry_height": tx.expiry_height,
        "ops": [{"op": type(op).__name__, **_fields(op)} for op in tx.ops],
    }


def render_receipt(data: bytes) -> dict[str, Any]:
    """What became of a transaction: status, the error in words, events."""
    receipt = decode_receipt(data)
    code = ErrorCode(receipt.code)
    shown: dict[str, Any] = {"status": Status(receipt.status).name.lower()}
    if code is not ErrorCode.NONE:
        sentence, names = MEANING[code]
        shown["error"] = code.name.lower()
        shown["why"] = sentence
        detail = receipt.detail[len(receipt.detail) - len(names) :] if names else ()
        shown |= dict(zip(names, detail, strict=False))
    shown["events"] = [_event(event) for event in receipt.events]
    return shown


def _event(event: msgspec.Struct) -> dict[str, Any]:
    fields = _fields(event)
    if isinstance(event, Posted):
        fields["purse"] = Purse(event.purse).name.lower()
        fields["reason"] = Reason(event.reason).name.lower()
    elif isinstance(event, SlotAdvanced):
        fields["phase"] = Phase(event.phase).name.lower()
    elif isinstance(event, Settled):
        fields["flags"] = [flag.name for flag in SettlementFlag(event.flags)]
    return {"event": type(event).__name__, **fields}


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name in _KEYS:
            value = "grid" if value == GRID else key_text(value)
        values[name] = value
    if isinstance(record, PlaceOrder):
        values["side"] = Side(record.side).name.lower()
    return values
