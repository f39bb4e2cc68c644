"""Receipts: what executing a block and each of its transactions did (architecture.md, §5).

Receipt 0 of a block is the block's own (what time triggered), then one per transaction. The Merkle
root over the encoded receipts stands in the next header, so a receipt is proved by a path.

Every change of a balance, an escrow or the grid account is a :class:`Posted`; per receipt they add
up to zero, so an audit needs nothing else to re-add all money.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import TypeAlias

from vppd.codec import I64, U8, U32, U63, Bytes32, Decoder, Message, encode
from vppd.era import Era
from vppd.merkle import merkle_root
from vppd.types import Digest, PublicKey

GRID: PublicKey = bytes(32)
"""Stands for the grid account in events; no key pair has this public key (of small order)."""


class Status(IntEnum):
    """What became of a transaction."""

    OK = 0
    FAILED = 1
    """Nothing changed but the sender's nonce."""
    REFUSED = 2
    """Nothing changed at all."""


class ErrorCode(IntEnum):
    """Why a transaction failed; numbers are stable."""

    NONE = 0
    UNDECODABLE = 1
    UNKNOWN_ACCOUNT = 2
    BAD_NONCE = 3
    NOT_AN_ACCOUNT = 4
    UNKNOWN_RECIPIENT = 5
    AMOUNT_OUT_OF_RANGE = 6
    INSUFFICIENT_FUNDS = 7
    IN_DEBT = 8
    SLOT_NOT_OPEN = 9
    GATE_CLOSED = 10
    QUANTITY_OUT_OF_RANGE = 11
    PRICE_OUT_OF_RANGE = 12
    RESERVE_ON_WRONG_SIDE = 13
    NOT_A_METER = 14
    READING_FROM_FUTURE = 15
    SLOT_CLOSED = 16
    REGISTER_BACKWARDS = 17
    ENERGY_OUT_OF_RANGE = 18
    DUPLICATE_READING = 19
    BEFORE_FIRST_SLOT = 20
    TOO_MANY_ORDERS = 21
    NOT_A_GOVERNOR = 22
    STALE_PROPOSAL = 23
    ERA_CHANGING = 24
    ALREADY_APPROVED = 25
    NOTHING_CHANGES = 26
    TOO_MANY_CHANGES = 27
    UNKNOWN_VALIDATOR = 28
    KEY_TAKEN = 29
    NAME_TAKEN = 30
    BAD_NAME_OR_ADDRESS = 31
    NOT_READY = 32
    KEY_CONVICTED = 33
    NO_MEMBER_LEFT = 34
    TOO_MANY_VALIDATORS = 35
    BAD_QUORUM = 36
    BAD_NUMBER = 37
    UNKNOWN_ENGINE = 38
    NOT_A_STATEMENT = 39
    TOO_MANY_STATEMENTS = 40
    UNKNOWN_EPOCH = 41
    NO_PROOF = 42
    NOT_DPOS = 43
    NOT_A_CANDIDATE = 44
    TOO_MANY_TARGETS = 45
    WRONG_LEDGER = 46


MEANING: dict[ErrorCode, tuple[str, tuple[str, ...]]] = {
    ErrorCode.NONE: ("It succeeded.", ()),
    ErrorCode.UNDECODABLE: ("The bytes are not a transaction; REFUSED.", ()),
    ErrorCode.UNKNOWN_ACCOUNT: ("The sender is neither a member nor a meter; REFUSED.", ()),
    ErrorCode.BAD_NONCE: ("The nonce is not the sender's next one; REFUSED.", ("next_nonce",)),
    ErrorCode.NOT_AN_ACCOUNT: ("A meter sends readings, it neither trades nor pays.", ()),
    ErrorCode.UNKNOWN_RECIPIENT: ("Nobody has the account that is to be paid.", ()),
    ErrorCode.AMOUNT_OUT_OF_RANGE: ("An amount is above zero.", ()),
    ErrorCode.INSUFFICIENT_FUNDS: ("The balance does not cover it.", ("missing_micro",)),
    ErrorCode.IN_DEBT: ("The balance is negative; no bid until it is not.", ("missing_micro",)),
    ErrorCode.SLOT_NOT_OPEN: ("Orders for this slot are not taken yet.", ("opens_ms",)),
    ErrorCode.GATE_CLOSED: ("Orders for this slot are no longer taken.", ("closed_ms",)),
    ErrorCode.QUANTITY_OUT_OF_RANGE: (
        "A quantity is above zero; a member's offers, and its bids, for one slot sum up to at most "
        "market.max_quantity_wh.",
        ("max_wh",),
    ),
    ErrorCode.PRICE_OUT_OF_RANGE: ("A price is at most market.max_price.", ("max_price",)),
    ErrorCode.RESERVE_ON_WRONG_SIDE: (
        "A reserve price is at most the price in an offer, at least the price in a bid.",
        ("price",),
    ),
    ErrorCode.NOT_A_METER: ("Only a registered meter sends readings.", ()),
    ErrorCode.READING_FROM_FUTURE: ("The slot has not ended yet.", ("ends_ms",)),
    ErrorCode.SLOT_CLOSED: ("The slot takes no corrections any more.", ("closed_ms",)),
    ErrorCode.REGISTER_BACKWARDS: (
        "A register lies below an earlier slot's or above a later slot's.",
        ("neighbour_import_wh", "neighbour_export_wh"),
    ),
    ErrorCode.ENERGY_OUT_OF_RANGE: (
        "A register moves by at most market.max_quantity_wh per slot.",
        ("max_wh",),
    ),
    ErrorCode.DUPLICATE_READING: ("Exactly this reading is on chain already.", ("version",)),
    ErrorCode.TOO_MANY_ORDERS: (
        "A member places at most market.max_orders for one slot.",
        ("max_orders",),
    ),
    ErrorCode.NOT_A_GOVERNOR: (
        "Only a member of the era in force, or a registration authority, proposes and approves.",
        (),
    ),
    ErrorCode.STALE_PROPOSAL: (
        "The proposal is made for another era than the latest scheduled.",
        ("latest_epoch",),
    ),
    ErrorCode.ERA_CHANGING: ("Another change takes effect with this block.", ("first_height",)),
    ErrorCode.ALREADY_APPROVED: ("The sender has approved exactly this proposal before.", ()),
    ErrorCode.NOTHING_CHANGES: ("It would leave everything as it is.", ()),
    ErrorCode.TOO_MANY_CHANGES: (
        "A block adds, removes, re-keys and readmits at most max(1, f) members.",
        ("most",),
    ),
    ErrorCode.UNKNOWN_VALIDATOR: ("There is no such validator or candidate.", ("change",)),
    ErrorCode.KEY_TAKEN: ("The key is a validator's, a candidate's or a meter's.", ("change",)),
    ErrorCode.NAME_TAKEN: ("Another validator or candidate has this name.", ("change",)),
    ErrorCode.BAD_NAME_OR_ADDRESS: ("A name or an address has not the right form.", ("change",)),
    ErrorCode.NOT_READY: (
        "Its ready is another key's, not signed by it, of a height to come, or without a nonce.",
        ("change",),
    ),
    ErrorCode.KEY_CONVICTED: ("The key is proved to have broken the rules.", ("change",)),
    ErrorCode.NO_MEMBER_LEFT: ("At least one member stays.", ("change",)),
    ErrorCode.TOO_MANY_VALIDATORS: ("There can be only so many.", ("most",)),
    ErrorCode.BAD_QUORUM: ("So many members cannot have that f or p.", ("members", "most_f")),
    ErrorCode.BAD_NUMBER: (
        "No such number, a value out of range, or one that contradicts another number.",
        ("change",),
    ),
    ErrorCode.UNKNOWN_ENGINE: (
        "Neither an engine of this build nor the one in genesis, or it does not fit the members.",
        (),
    ),
    ErrorCode.NOT_A_STATEMENT: ("What proves itself stands in a transaction without sender.", ()),
    ErrorCode.TOO_MANY_STATEMENTS: (
        "A block's statements beyond the first are not looked at; REFUSED.",
        ("most",),
    ),
    ErrorCode.UNKNOWN_EPOCH: (
        "It is about an epoch that does not count, or not any more; REFUSED.",
        ("latest_epoch",),
    ),
    ErrorCode.NO_PROOF: ("It does not prove what it says; REFUSED.", ()),
    ErrorCode.NOT_DPOS: ("The engine in force elects nobody.", ()),
    ErrorCode.NOT_A_CANDIDATE: ("There is no such candidate.", ()),
    ErrorCode.TOO_MANY_TARGETS: (
        "A vote names distinct candidates, at most as many as there are producers.",
        ("most",),
    ),
    ErrorCode.WRONG_LEDGER: (
        "Opaque bytes are for a null ledger, and it takes nothing of a market.",
        (),
    ),
    ErrorCode.BEFORE_FIRST_SLOT: ("The meter counts from a later slot on.", ("first_slot",)),
}
"""For each code a sentence, and what the receipt's ``detail`` holds after the failed operation."""


class Purse(IntEnum):
    """Where money lies."""

    BALANCE = 0
    ESCROW = 1
    """Set aside for bids; it pays for their trades and nothing else."""
    GRID = 2
    """The grid's account, negative when the grid has paid more than it got."""


class Reason(IntEnum):
    """Why money moved."""

    TRANSFER = 1
    RESERVE = 2
    """Balance → escrow: a bid was placed."""
    RELEASE = 3
    """Escrow → balance at gate closure: what the bid's trades do not need."""
    TRADE = 4
    """Buyer's escrow → seller's balance at settlement."""
    IMBALANCE = 5
    """Between a member and the grid at settlement."""
    CORRECTION = 6
    """Between a member and the grid when a reading came late or was corrected."""


class SettlementFlag(IntFlag):
    """What is special about a settlement."""

    ESTIMATED = 1
    """The metered energy is unknown: the contracted quantities stand in for it."""
    CORRECTED = 2
    """Made or changed after the slot's deadline, by a late or corrected reading."""


class Posted(Message, frozen=True, tag=1):
    """A purse changed."""

    account: Bytes32
    """:data:`GRID` for the grid's."""
    purse: U8
    delta: I64
    """Micro-currency."""
    reason: U8


class SlotAdvanced(Message, frozen=True, tag=2):
    """A slot entered a phase (:class:`~vppd.ledger.slots.Phase`); once for each phase at most."""

    slot: U63
    phase: U8


class OrderAccepted(Message, frozen=True, tag=3):
    """An order went into the book."""

    slot: U63
    seq: U63
    """Number of the order within its slot."""


class Traded(Message, frozen=True, tag=4):
    """An offer and a bid met; the contract is firm."""

    slot: U63
    seq: U63
    """Number of the trade within its slot."""
    offer: U63
    bid: U63
    seller: Bytes32
    buyer: Bytes32
    quantity_wh: U63
    price: U63
    amount: U63
    """What the buyer will pay the seller, in micro-currency."""
    round: U8


class ReadingAccepted(Message, frozen=True, tag=5):
    """A meter's registers at the end of a slot are on chain."""

    meter: Bytes32
    account: Bytes32
    slot: U63
    import_wh: U63
    export_wh: U63
    version: U63
    """1, and one more with each correction."""


class Settled(Message, frozen=True, tag=6):
    """One member's slot was settled; ``(export − import) − (sold − bought) = imbalance``."""

    slot: U63
    account: Bytes32
    version: U63
    """1, and one more with each correction."""
    import_wh: U63
    export_wh: U63
    sold_wh: U63
    bought_wh: U63
    imbalance_wh: I64
    retail_price: U63
    feed_in_price: U63
    grid_amount: I64
    """What the member owes the grid for the slot in all; a correction posts only the difference."""
    flags: U8


class EraScheduled(Message, frozen=True, tag=7):
    """New members or rules from ``era.first`` on; in the block's own receipt, once."""

    era: Era


class Approved(Message, frozen=True, tag=8):
    """A proposal was made or approved."""

    proposal: Bytes32
    """Its id."""
    approvals: U32
    """Of members of the era in force."""
    needed: U32
    authority: U8
    """1: an authority's approval is missing."""


class AccountOpened(Message, frozen=True, tag=9):
    """A new validator has an account, without money."""

    account: Bytes32
    credit: U32
    """Parts per million."""


class ReadyNoted(Message, frozen=True, tag=10):
    """A candidate may be elected next: it is there."""

    key: Bytes32
    epoch: U63


class Convicted(Message, frozen=True, tag=11):
    """A key is proved to have broken the rules; it never votes again."""

    key: Bytes32
    epoch: U63
    """In which it did."""


class Punished(Message, frozen=True, tag=12):
    """A producer was skipped."""

    key: Bytes32
    until_epoch: U63
    """The last for which it cannot be elected."""


class Voted(Message, frozen=True, tag=13):
    """An account votes for these candidates from now on."""

    account: Bytes32
    targets: tuple[Bytes32, ...]


Event: TypeAlias = (
    Posted
    | SlotAdvanced
    | OrderAccepted
    | Traded
    | ReadingAccepted
    | Settled
    | EraScheduled
    | Approved
    | AccountOpened
    | ReadyNoted
    | Convicted
    | Punished
    | Voted
)


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
