"""Plain names for the integers and byte strings everything else is made of.

They are aliases, not classes: the hot path passes bare ``int`` and ``bytes``; the names carry the
unit. Energy is in Wh, power in W, money in micro-currency, price in micro-currency per kWh, credit
in parts per million, time in Unix milliseconds. No float is ever part of a block or of the state.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeAlias

Height: TypeAlias = int
"""Block height, the papers' sequence number ``n``; 0 is genesis."""
View: TypeAlias = int
Epoch: TypeAlias = int
ReplicaIndex: TypeAlias = int
"""Position in the validator set in force."""
PeerNumber: TypeAlias = int
"""Stands for a key on this node's network, whatever the epoch; a founder's place in genesis."""
Digest: TypeAlias = bytes
"""32 bytes, SHA-256."""
PublicKey: TypeAlias = bytes
"""32 bytes, ed25519."""
Signature: TypeAlias = bytes
"""64 bytes, ed25519."""
TimeMs: TypeAlias = int
"""Unix milliseconds."""
Wh: TypeAlias = int
Micro: TypeAlias = int
"""Micro-currency: 10⁻⁶ of the currency named in genesis."""
MicroPerKwh: TypeAlias = int
Ppm: TypeAlias = int
Slot: TypeAlias = int

ZERO_DIGEST: Digest = bytes(32)
PPM = 1_000_000
U64_NONE = 2**64 - 1
"""Stands for "none" in signed 64-bit fields."""


class Role(StrEnum):
    """What a node is to the plant; only operators and DERs vote (architecture.md, §1)."""

    OPERATOR = "operator"
    DER = "der"
    OBSERVER = "observer"


class Mode(IntEnum):
    """Whether a replica follows its view or has asked to leave it (protocol.md, §7)."""

    NORMAL = 0
    CHANGING = 1
