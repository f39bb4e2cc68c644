"""Transactions: what a member or a meter signs (architecture.md, §5).

On the wire ``[body: bin, sig: bin64]``. The body is ``[version, sender, nonce, expiry_height,
ops]``, its SHA-256 is the transaction's id, and the signature covers a domain tag, the chain id and
the id: never an encoding. Bodies travel and are hashed as received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from vppd.codec import U32, U63, Bytes32, Bytes64, Decoder, Malformed, Message, encode
from vppd.config.genesis import ConsensusRules
from vppd.crypto import DOMAIN, Signer, Verify, sha256
from vppd.errors import PeerFault
from vppd.ledger.changes import Configure
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.plan_ops import Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.proofs import Accuse, Ready, Skip, Statement, signed_part
from vppd.ledger.registration.ops import (
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)
from vppd.types import Digest, Height, PublicKey, Signature

_sha256 = hashlib.sha256
VERSION: Final = 1
TAG_TRANSACTION = b"T"
SideByte: TypeAlias = Annotated[int, Meta(ge=0, le=1)]
"""A :class:`~vppd.market.auction.Side`."""


class InvalidTransaction(PeerFault):
    """A transaction that may not stand in a block; the text says why."""


class Transfer(Message, frozen=True, tag=1):
    """Pays another member out of the sender's balance."""

    to: Bytes32
    """Account key."""
    amount: U63
    """Micro-currency, above zero."""


class PlaceOrder(Message, frozen=True, tag=2):
    """Offers or bids for energy delivered in one slot."""

    slot: U63
    side: SideByte
    quantity_wh: U63
    price: U63
    """Micro-currency per kWh."""
    reserve_price: U63
    """The worst acceptable price: at most ``price`` in an offer, at least in a bid."""
    bus: U32
    """Where in the grid."""


class Reading(Message, frozen=True, tag=3):
    """A meter's cumulative registers at the end of a slot; its sender is the meter's key."""

    slot: U63
    import_wh: U63
    """Energy taken from the grid since ever (OBIS 1.8.0)."""
    export_wh: U63
    """Energy given to the grid since ever (OBIS 2.8.0)."""


class ReplaceMeter(Message, frozen=True, tag=15):
    """One meter goes on where another stopped; signed by a registrar."""

    old: Bytes32
    new: Bytes32
    slot: U63
    """During which it was done."""
    final_import_wh: U63
    """What the old one showed at last."""
    final_export_wh: U63
    import_wh: U63
    """What the new one showed at first."""
    export_wh: U63
    rollover_wh: U63
    """The new one's registers begin again at 0 after one less than this; 0: they never do."""


class Vote(Message, frozen=True, tag=8):
    """Gives the sender's composite score to candidates, in engine ``dpos``."""

    targets: Annotated[tuple[Bytes32, ...], Meta(max_length=256)]
    """Candidates; empty: as if it had never voted."""


class Opaque(Message, frozen=True, tag=9):
    """Bytes that a null ledger keeps."""

    data: bytes


Op: TypeAlias = (
    Transfer
    | PlaceOrder
    | Reading
    | Ready
    | Accuse
    | Skip
    | Configure
    | Vote
    | Opaque
    | OpenContract
    | CallContract
    | ReplaceMeter
    | CancelOrder
    | SignTrades
    | RegisterResource
    | RetireResource
    | Plan
    | Forecast
    | RegisterMember
    | RegisterMeter
    | SetStanding
    | SetParameters
    | SetAcquisition
)
"""What a transaction does."""
NOBODY: PublicKey = bytes(32)
"""Sender of a statement; no key pair has this public key."""
NO_SIGNATURE: Signature = bytes(64)
_STATEMENTS = (Ready, Accuse, Skip)


class Body(Message, frozen=True):
    """The part that is hashed."""

    version: Literal[1]
    sender: Bytes32
    nonce: U63
    expiry_height: U63
    ops: Annotated[tuple[Op, ...], Meta(min_length=1)]


class Envelope(Message, frozen=True):
    """The part that travels."""

    body: bytes
    sig: Bytes64


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A decoded transaction, with the bytes it came in."""

    raw: bytes
    id: Digest
    """SHA-256 of the body."""
    sender: PublicKey
    """An account's key, or a meter's."""
    nonce: int
    """The sender's transactions so far."""
    expiry_height: Height
    """Last height at which it may be decided."""
    ops: tuple[Op, ...]
    """In order; they succeed or fail together."""
    sig: Signature


_decode_envelope = Decoder(Envelope)
_decode_body = Decoder(Body)


def open_envelope(raw: bytes) -> Envelope:
    """Body and signature, not looked into.

    Raises:
        Malformed: not an envelope, or not its shortest encoding (which would give one transaction
            many faces).
    """
    envelope = _decode_envelope(raw)
    if len(raw) != _shortest(len(envelope.body)):
        raise _not_shortest()
    return envelope


def _shortest(body: int) -> int:
    """Length of an envelope in its shortest encoding; each other one of the same is longer.

    An array of two has a head of one byte or more, 64 bytes one of two or more, and the body's
    head, by its length, at least two, three or five.
    """
    return body + (69 if body < 2**8 else 70 if body < 2**16 else 72)


def _not_shortest() -> Malformed:
    return Malformed("a transaction's envelope is not in its shortest encoding")


def transaction_id(raw: bytes) -> Digest:
    """SHA-256 of the body inside ``raw``, which is not decoded.

    Raises:
        Malformed: not an envelope.
    """
    return sha256(open_envelope(raw).body)


def decode_transaction(raw: bytes) -> Transaction:
    """The transaction in ``raw``; nothing but its shape is checked.

    Raises:
        Malformed: not a transaction of a version and with operations this build knows.
    """
    envelope = open_envelope(raw)
    body = _decode_body(envelope.body)
    return Transaction(
        raw,
        sha256(envelope.body),
        body.sender,
        body.nonce,
        body.expiry_height,
        body.ops,
        envelope.sig,
    )


def decode_transactions(raws: Sequence[bytes]) -> list[Transaction]:
    """Many at once, in half the time that they take one by one.

    Raises:
        Malformed: one of them is none.
    """
    envelopes = _decode_envelope.many(raws)
    parts = [envelope.body for envelope in envelopes]
    if any(len(raw) != _shortest(len(part)) for raw, part in zip(raws, parts, strict=True)):
        raise _not_shortest()
    bodies = _decode_body.many(parts)
    return [
        Transaction(raw, tx_id, body.sender, body.nonce, body.expiry_height, body.ops, envelope.sig)
        for raw, tx_id, body, envelope in zip(
            raws, [_sha256(part).digest() for part in parts], bodies, envelopes, strict=True
        )
    ]


def sign_bytes(chain_id: Digest, tx_id: Digest) -> bytes:
    """What a sender signs: ``"VPPD1" ‖ "T" ‖ chain_id(32) ‖ id(32)``."""
    return DOMAIN + TAG_TRANSACTION + chain_id + tx_id


def make_transaction(
    signer: Signer, chain_id: Digest, nonce: int, expiry_height: Height, ops: Iterable[Op]
) -> bytes:
    """A signed transaction, as it travels.

    Args:
        signer: the account's or the meter's key.
        chain_id: SHA-256 of the genesis file.
        nonce: the sender's next one.
        expiry_height: last height at which it may be decided.
        ops: at least one.
    """
    body = encode(Body(VERSION, signer.public_key, nonce, expiry_height, tuple(ops)))
    return encode(Envelope(body, signer.sign(sign_bytes(chain_id, sha256(body)))))


def make_statement(expiry_height: Height, op: Statement) -> bytes:
    """A transaction without an account, as it travels: what it says proves itself."""
    return encode(Envelope(encode(Body(VERSION, NOBODY, 0, expiry_height, (op,))), NO_SIGNATURE))


def statement_in(tx: Transaction) -> Statement | None:
    """What a transaction without an account says; ``None``: it is an ordinary one, or neither."""
    if tx.sender != NOBODY or tx.nonce or tx.sig != NO_SIGNATURE or len(tx.ops) > 1:
        return None
    op = tx.ops[0]
    return op if isinstance(op, Ready | Accuse | Skip) else None


def is_new(tx: Transaction) -> bool:
    """Whether the release before cannot read it, nor a block that holds it."""
    return any(not isinstance(op, Transfer | PlaceOrder | Reading) for op in tx.ops)


def signature_holds(
    tx: Transaction, chain_id: Digest, verify: Verify, *, signed: bool = True
) -> bool:
    """Whether the sender signed it; of a statement, as far as that can be told without state.

    On a chain that is not ``signed`` (:class:`~vppd.config.genesis.LedgerRules`) nobody signs: the
    signature is the one of statements, so that a transaction has one form and not many.

    A ``ready`` is signed by the key it names. Whose signatures are in other statements the state
    says, and execution checks.
    """
    match statement_in(tx):
        case Ready(key=key, sig=sig) as ready:
            return verify(key, signed_part(ready, chain_id), sig)
        case None if not signed:
            return tx.sig == NO_SIGNATURE
        case None:
            return verify(tx.sender, sign_bytes(chain_id, tx.id), tx.sig)
        case _:
            return True


def precheck_all(raws: Sequence[bytes], height: Height, rules: ConsensusRules) -> list[Transaction]:
    """:func:`precheck` of many, in half the time.

    Raises:
        InvalidTransaction: one of them is; which, only :func:`precheck` says.
    """
    if max(map(len, raws), default=0) > rules.max_tx_bytes:
        raise _too_large(max(raws, key=len), rules)
    try:
        txs = decode_transactions(raws)
    except Malformed as err:
        raise InvalidTransaction(str(err)) from err
    last = height + rules.max_tx_lifetime
    for tx in txs:
        if len(tx.ops) == 1 and type(tx.ops[0]) not in _STATEMENTS and tx.sender != NOBODY:
            if not height <= tx.expiry_height <= last:
                check_fits(tx, height, rules)
        else:
            _check_form(tx)
            check_fits(tx, height, rules)
    return txs


def precheck(raw: bytes, height: Height, rules: ConsensusRules) -> Transaction:
    """Everything about a transaction for block ``height`` that needs neither state nor ed25519.

    Raises:
        InvalidTransaction: too large, not a transaction, too many operations, half a statement,
            or an expiry outside ``height … height + max_tx_lifetime``.
    """
    try:
        if len(raw) > rules.max_tx_bytes:
            raise _too_large(raw, rules)
        tx = decode_transaction(raw)
    except Malformed as err:
        raise InvalidTransaction(str(err)) from err
    _check_form(tx)
    check_fits(tx, height, rules)
    return tx


def _check_form(tx: Transaction) -> None:
    alone = tx.sender == NOBODY or any(isinstance(op, _STATEMENTS) for op in tx.ops)
    if alone and statement_in(tx) is None:
        raise InvalidTransaction("what proves itself stands alone, under no name and signature")


def check_fits(tx: Transaction, height: Height, rules: ConsensusRules) -> None:
    """What :func:`precheck` asks about that is not the same for every block.

    Raises:
        InvalidTransaction: too large, too many operations, or an expiry outside
            ``height … height + max_tx_lifetime``.
    """
    if len(tx.raw) > rules.max_tx_bytes:
        raise _too_large(tx.raw, rules)
    if len(tx.ops) > rules.max_tx_ops:
        raise InvalidTransaction(
            f"transaction with {len(tx.ops)} operations, at most {rules.max_tx_ops} are allowed"
        )
    if tx.expiry_height < height:
        raise InvalidTransaction(
            f"transaction expired at height {tx.expiry_height}, the next block is {height}"
        )
    if tx.expiry_height > height + rules.max_tx_lifetime:
        raise InvalidTransaction(
            f"transaction expires at height {tx.expiry_height}, more than "
            f"{rules.max_tx_lifetime} beyond block {height}"
        )


def _too_large(raw: bytes, rules: ConsensusRules) -> InvalidTransaction:
    return InvalidTransaction(
        f"transaction of {len(raw)} bytes, at most {rules.max_tx_bytes} are allowed"
    )


def check_stateless(
    raw: bytes,
    chain_id: Digest,
    height: Height,
    rules: ConsensusRules,
    verify: Verify,
    *,
    signed: bool = True,
) -> Transaction:
    """The transaction, if it may stand in block ``height`` of this chain.

    Raises:
        InvalidTransaction: as :func:`precheck`, or its signature does not hold.
    """
    tx = precheck(raw, height, rules)
    if not signature_holds(tx, chain_id, verify, signed=signed):
        raise InvalidTransaction(f"transaction {tx.id.hex()[:16]}: signature does not hold")
    return tx
