"""The validator set: who votes in an epoch, and the hash by which headers announce it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cached_property

import msgspec

from vppd.config.genesis import ValidatorEntry
from vppd.consensus.quorum import Quorums, quorums
from vppd.crypto import sha256
from vppd.types import ZERO_DIGEST, Digest, Epoch, Height, PublicKey, ReplicaIndex, Role


class Validator(msgspec.Struct, frozen=True):
    """One replica: its index is its position in the set."""

    key: PublicKey
    role: Role
    name: str = ""
    """For people; not part of the hash."""
    nonce: Digest = ZERO_DIGEST
    """Of the memory that may vote with this key (§4, Fresh or lost); zeros: as genesis lists it."""


class ValidatorSet(msgspec.Struct, frozen=True, dict=True):
    """The replicas of one epoch, in index order.

    Args:
        epoch: first signed field of everything they sign.
        members: distinct keys.
        f: configured bound on Byzantine replicas; ``None`` for the most.
        p: configured fast-path slack; ``None`` for the default.
        first: the epoch's first height.
        engine: by whose rules they decide; empty: the one genesis names.
    """

    epoch: Epoch
    members: tuple[Validator, ...]
    f: int | None = None
    p: int | None = None
    first: Height = 1
    engine: str = ""

    @cached_property
    def quorum(self) -> Quorums:
        """Sizes that follow from n, f and p."""
        return quorums(len(self.members), self.f, self.p)

    @cached_property
    def index(self) -> dict[PublicKey, ReplicaIndex]:
        """Index by key."""
        return {member.key: i for i, member in enumerate(self.members)}

    @cached_property
    def parties(self) -> tuple[tuple[ReplicaIndex, ...], tuple[ReplicaIndex, ...]]:
        """Indices of operators and of DERs, each in the order of the set."""
        members = self.members
        operators = tuple(i for i, m in enumerate(members) if m.role is Role.OPERATOR)
        return operators, tuple(i for i, m in enumerate(members) if m.role is not Role.OPERATOR)

    @cached_property
    def digest(self) -> Digest:
        """What a header's ``next_validators`` names: SHA-256 over a fixed-width layout.

        ``"VPPD1 validators" ‖ epoch(8) n(4) f(4) p(4) ‖ for each: key(32) operator(1)``; epochs
        after the founding one add ``‖ "era" ‖ first(8) ‖ SHA-256(engine) ‖ for each: nonce(32)``,
        so that who crosses them by headers alone knows all that certificates depend on.
        """
        q = self.quorum
        head = b"VPPD1 validators" + struct.pack(">QIII", self.epoch, q.n, q.f, q.p)
        body = (m.key + (b"\x01" if m.role is Role.OPERATOR else b"\x00") for m in self.members)
        if self.epoch == 0:
            return sha256(head + b"".join(body))
        more = b"era" + struct.pack(">Q", self.first) + sha256(self.engine.encode())
        return sha256(head + b"".join(body) + more + b"".join(m.nonce for m in self.members))

    @classmethod
    def of(
        cls,
        epoch: Epoch,
        members: Iterable[Validator],
        f: int | None = None,
        p: int | None = None,
        *,
        first: Height = 1,
        engine: str = "",
    ) -> ValidatorSet:
        """A checked set.

        Raises:
            ValueError: empty, duplicate keys, or f and p out of bounds.
        """
        made = cls(epoch, tuple(members), f, p, first, engine)
        if len(made.index) != len(made.members):
            raise ValueError("two validators share a key")
        _ = made.quorum
        return made


def founding_set(
    entries: Iterable[ValidatorEntry], f: int | None, p: int | None = None
) -> ValidatorSet:
    """The set of epoch 0, as genesis lists it.

    Raises:
        ValueError: empty, duplicate keys, or f and p out of bounds.
    """
    return ValidatorSet.of(0, (Validator(e.key, e.role, e.name) for e in entries), f, p)
