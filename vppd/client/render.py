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

REMEDY: dict[ErrorCode, str] = {
    ErrorCode.UNDECODABLE: "sign it again",
    ErrorCode.UNKNOWN_ACCOUNT: "sign with the key of a member or meter of this plant",
    ErrorCode.BAD_NONCE: "sign it again with the next nonce",
    ErrorCode.NOT_AN_ACCOUNT: "sign with the member's key, not the meter's",
    ErrorCode.UNKNOWN_RECIPIENT: "pay a member's key, as vppd key show prints it",
    ErrorCode.AMOUNT_OUT_OF_RANGE: "an amount of at least 1 micro-currency",
    ErrorCode.INSUFFICIENT_FUNDS: "a smaller amount, or wait until escrow is released",
    ErrorCode.IN_DEBT: "have somebody pay what is missing to this account first",
    ErrorCode.SLOT_NOT_OPEN: "a nearer slot, or the same once it has opened",
    ErrorCode.GATE_CLOSED: "a later slot; without --slot it is the next one still open",
    ErrorCode.QUANTITY_OUT_OF_RANGE: "a smaller quantity, in Wh; mind earlier orders for the slot",
    ErrorCode.PRICE_OUT_OF_RANGE: "a lower price; prices are per kWh",
    ErrorCode.RESERVE_ON_WRONG_SIDE: "in a bid --reserve is at least the price, in an ask at most",
    ErrorCode.NOT_A_METER: "sign readings with the meter's key",
    ErrorCode.READING_FROM_FUTURE: "push it when the slot has ended",
    ErrorCode.SLOT_CLOSED: "leave the reading out: the slot was settled with what was there",
    ErrorCode.REGISTER_BACKWARDS: "registers only grow; compare the reading with its neighbours",
    ErrorCode.ENERGY_OUT_OF_RANGE: "registers are in Wh; has a decimal point been lost?",
    ErrorCode.DUPLICATE_READING: "nothing: it is recorded",
    ErrorCode.BEFORE_FIRST_SLOT: "leave the reading out: it is before the meter's starting point",
    ErrorCode.TOO_MANY_ORDERS: "another slot, or fewer and larger orders",
}
"""For each error on chain what a person may try."""
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
        shown["try"] = REMEDY[code]
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
