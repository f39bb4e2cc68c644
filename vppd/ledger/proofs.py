"""Operations that prove themselves: no account stands behind them (protocol.md, §4, §10, §13)."""

from __future__ import annotations

import struct
from typing import Annotated, TypeAlias

from msgspec import Meta

from vppd.codec import U63, Bytes32, Bytes64, Message
from vppd.consensus.messages import Proof, Standing
from vppd.crypto import DOMAIN
from vppd.types import Digest, Epoch, Height

TAG_READY = b"Y"
_AT = struct.Struct(">QQ")


class Ready(Message, frozen=True, tag=4):
    """A node says that it follows the chain and can vote; signed by its own key (§4)."""

    key: Bytes32
    epoch: U63
    """In force when it signed."""
    height: U63
    """Executed when it signed."""
    state_root: Bytes32
    """After ``height``."""
    nonce: Bytes32
    """Drawn by that node after it last had no memory of its votes."""
    sig: Bytes64


class Accuse(Message, frozen=True, tag=5):
    """Proof that a replica broke the rules."""

    proof: Proof


class Skip(Message, frozen=True, tag=6):
    """Proof that a producer was passed over, in engine ``dpos``."""

    epoch: U63
    view: U63
    """The view asked for; who led the one before, at ``height``, is meant."""
    height: U63
    standings: Annotated[tuple[Standing, ...], Meta(min_length=1, max_length=256)]
    """Of exactly w replicas, by ascending signer."""


Statement: TypeAlias = Ready | Accuse | Skip


def ready_bytes(
    chain_id: Digest, epoch: Epoch, height: Height, state_root: Digest, nonce: Digest
) -> bytes:
    """What a ``ready`` signs: ``"VPPD1" ‖ "Y" ‖ chain_id ‖ epoch ‖ height ‖ root ‖ nonce``."""
    return DOMAIN + TAG_READY + chain_id + _AT.pack(epoch, height) + state_root + nonce


def signed_part(ready: Ready, chain_id: Digest) -> bytes:
    """What the signature of ``ready`` covers."""
    return ready_bytes(chain_id, ready.epoch, ready.height, ready.state_root, ready.nonce)
