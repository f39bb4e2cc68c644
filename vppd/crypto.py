"""ed25519 and SHA-256: the only verifier in the house (architecture.md, wall 7).

libsodium through pynacl decides validity everywhere. Other libraries accept signatures that
libsodium rejects (small-order keys, non-canonical scalars), and a mixture would be a fork hazard.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Protocol, TypeAlias

from nacl import bindings
from nacl.exceptions import BadSignatureError

from vppd.types import Digest, PublicKey, Signature

KEY_PREFIX = "ed25519:"
DOMAIN = b"VPPD1"
"""First bytes of everything that is ever signed; a one-byte tag follows."""

Verify: TypeAlias = Callable[[PublicKey, bytes, Signature], bool]
"""``verify(public_key, message, signature)``; pure, never raises."""


def sha256(data: bytes) -> Digest:
    """SHA-256 of ``data``, 32 bytes."""
    return hashlib.sha256(data).digest()


def verify(public_key: PublicKey, message: bytes, signature: Signature) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` was made by ``public_key`` (32 bytes)."""
    if len(signature) != 64 or len(public_key) != 32:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


class Signer(Protocol):
    """Somebody who can sign. The private key stays behind this port."""

    @property
    def public_key(self) -> PublicKey:
        """The 32-byte key others verify with."""
        ...

    def sign(self, message: bytes) -> Signature:
        """Deterministic ed25519 signature, 64 bytes."""
        ...


class SigningKey:
    """An ed25519 key held in memory.

    Args:
        seed: 32 secret bytes.
    """

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret = bindings.crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> Signature:
        """Deterministic ed25519 signature of ``message``, 64 bytes."""
        return bindings.crypto_sign(message, self._secret)[:64]


def key_text(public_key: PublicKey) -> str:
    """The printed form of a public key: ``ed25519:`` and unpadded base64url."""
    return KEY_PREFIX + base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()


def parse_key(text: str) -> PublicKey:
    """Inverse of :func:`key_text`.

    Raises:
        ValueError: not that form, or not 32 bytes.
    """
    if not text.startswith(KEY_PREFIX):
        raise ValueError(f"a key starts with {KEY_PREFIX!r}, this is {text[:24]!r}")
    body = text.removeprefix(KEY_PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as err:
        raise ValueError(f"{text!r} is not base64url: {err}") from err
    if len(raw) != 32:
        raise ValueError(f"{text!r} holds {len(raw)} bytes, a key has 32")
    if key_text(raw) != text:
        raise ValueError(f"{text!r} is not the canonical form of that key ({key_text(raw)})")
    return raw
