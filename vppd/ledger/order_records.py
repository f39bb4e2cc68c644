"""Records in the state about orders that were cancelled, made by contracts, or wait for consent."""

from __future__ import annotations

from enum import IntFlag

from vppd.codec import U8, U63, Message


class Parties(IntFlag):
    """Who has a say in a trade (P0, Table 2: supplier, user and message maintainer)."""

    SELLER = 1
    BUYER = 2
    OPERATOR = 4
    """An operator of the era in force that is neither of the other two."""


ALL_PARTIES = Parties.SELLER | Parties.BUYER | Parties.OPERATOR


class OrderNote(Message, frozen=True):
    """What is special about an order."""

    cancelled_wh: U63
    """What rested when its owner took it out of the book."""
    contract: U63 | None
    """Number of the contract that made it; None: a member placed it."""


class Consent(Message, frozen=True):
    """Who has signed a trade of the auction."""

    parties: U8
    """:class:`Parties`."""


class StandbyPrice(Message, frozen=True):
    """A standby offer that is not used up; what is left of it is its contract's to know."""

    price: U63
