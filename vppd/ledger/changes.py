"""Changes of members and rules, as their proposers sign them (protocol.md, §10)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from vppd.codec import U8, U63, Bytes32, Message, encode
from vppd.crypto import sha256
from vppd.era import Name
from vppd.ledger.proofs import Ready
from vppd.ledger.registration.ops import Reason
from vppd.types import Digest

Address: TypeAlias = Annotated[str, Meta(max_length=128)]
"""``host:port``; empty: where peers.toml says."""

Setting: TypeAlias = Annotated[str, Meta(max_length=2_048)]


class Add(Message, frozen=True, tag=1):
    """A new validator; in engine ``dpos`` a new candidate."""

    key: Bytes32
    name: Name
    operator: bool
    addr: Address
    ready: Ready


class Remove(Message, frozen=True, tag=2):
    """Takes a validator or candidate out."""

    key: Bytes32


class Rekey(Message, frozen=True, tag=3):
    """The same node under another key."""

    old: Bytes32
    new: Bytes32
    ready: Ready
    """Of the new key."""
    addr: Address
    """Empty: as before."""


class Readmit(Message, frozen=True, tag=4):
    """A node that has lost its memory may vote again, under the nonce it has drawn since."""

    key: Bytes32
    ready: Ready


class Move(Message, frozen=True, tag=5):
    """Makes a validator an operator or a DER."""

    key: Bytes32
    operator: bool


class SetNumber(Message, frozen=True, tag=6):
    """Sets ``f``, ``p`` or a number of ``[consensus]``."""

    name: Name
    value: U63 | None
    """None, for ``f`` and ``p`` only: as if genesis had left it out."""


class SetEngine(Message, frozen=True, tag=7):
    """Another engine."""

    name: Name


class SetMarket(Message, frozen=True, tag=8):
    """Other rules of the market from a slot on that has not opened yet."""

    first_slot: U63
    settings: Annotated[tuple[tuple[Name, U63 | Setting], ...], Meta(min_length=1)]
    """Names of ``[market]`` and values (:mod:`vppd.market.calendar`)."""


class Grant(Message, frozen=True, tag=20):
    """Gives an account a duty."""

    account: Bytes32
    duty: U8
    """A :class:`~vppd.ledger.registration.records.Duty`."""


class Revoke(Message, frozen=True, tag=21):
    """Takes a duty away from an account."""

    account: Bytes32
    duty: U8


class Bar(Message, frozen=True, tag=22):
    """Bars an account from trading, or lets it trade again; its resting orders are void."""

    account: Bytes32
    barred: bool
    reason: Reason


class VoidOrders(Message, frozen=True, tag=23):
    """Voids what rests in the book of a slot whose gate is open."""

    slot: U63
    reason: Reason


class ReleaseContract(Message, frozen=True, tag=24):
    """Ends a contract that does not move by itself any more."""

    number: U63
    reason: Reason


Intervention: TypeAlias = Bar | VoidOrders | ReleaseContract
"""The operators' quorum steps in: takes an operator's approval, too (P1 §4 Table 2)."""
Change: TypeAlias = (
    Add
    | Remove
    | Rekey
    | Readmit
    | Move
    | SetNumber
    | SetEngine
    | SetMarket
    | Grant
    | Revoke
    | Bar
    | VoidOrders
    | ReleaseContract
)


class Configure(Message, frozen=True, tag=7):
    """Proposes changes, or approves what somebody else proposed word for word."""

    epoch: U63
    """Of the latest era scheduled: a proposal dies with the era it was made for."""
    changes: Annotated[tuple[Change, ...], Meta(min_length=1)]
    """In order; they take effect together."""

    def digest(self) -> Digest:
        """The proposal's id."""
        return sha256(encode((self.epoch, self.changes)))
