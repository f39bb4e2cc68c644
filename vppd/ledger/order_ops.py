"""What members sign about orders they have placed and trades that wait for their word."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vppd.codec import U63, Message

MOST_SIGNED = 256
"""Trades one operation signs."""


class CancelOrder(Message, frozen=True, tag=12):
    """Takes what rests of an order of one's own out of the book, before gate closure.

    With a :class:`~vppd.ledger.transaction.PlaceOrder` behind it in the same transaction it
    replaces the order: both happen, or neither.
    """

    slot: U63
    seq: U63
    """Number of the order within its slot."""


class SignTrades(Message, frozen=True, tag=13):
    """Consents to trades of the auction, where the rules of the slot ask for it (P0, Table 2)."""

    slot: U63
    trades: Annotated[tuple[U63, ...], Meta(min_length=1, max_length=MOST_SIGNED)]
    """Numbers within the slot."""
