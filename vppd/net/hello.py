"""The hello: who is on the other side of a fresh connection (docs/adr/0004).

Both sides say ``HELLO``, then each signs what both have said, together with the fingerprints of
both TLS certificates (zeros without TLS) and sends that as ``PROOF``. A recorded proof is worthless
because of the nonces; a relay that terminates TLS shows at least one side another certificate than
the one that was signed. No I/O, no clock, no chance in here: frames in, frames out.

Both sides speak at once, so neither can answer in the other's version: a hello says the oldest one
its sender speaks, and in its nonce, where version 2 sees only chance, the newest
(docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from vppd.codec import U8, Bytes32, Bytes64, Decoder, Malformed, Message, encode
from vppd.crypto import DOMAIN, Signer, key_text, verify
from vppd.errors import PeerFault
from vppd.net.frames import HELLO, NEWEST_WIRE, OLDEST_WIRE, PROOF, REFUSE, encode_frame
from vppd.types import ZERO_DIGEST, Digest, PeerNumber, PublicKey

VERSION = NEWEST_WIRE
"""The newest version of the protocol that this release speaks."""
REASON_BYTES = 256
_NEWEST_MARK = b"VPPD1-W"
"""Before the newest version, a byte, at a nonce's end."""
NO_INSTANCE = bytes(16)
_TAG = b"H"
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]


class RefusalCode(IntEnum):
    """Why somebody is refused, where a program has to know."""

    OTHER = 0
    """The text says it."""
    LIVE_SESSION = 1
    """Another process with the same key is connected and alive (docs/adr/0010)."""
    NO_VALIDATOR = 2
    """No validator, or none any more; it may come as an observer."""


class Kind(IntEnum):
    """What somebody wants to be on a connection."""

    VALIDATOR = 0
    OBSERVER = 1
    CLIENT = 2


class Hello(Message, frozen=True):
    """``HELLO``: the first frame of either side."""

    version: U8
    """The oldest version that the sender speaks."""
    chain_id: Bytes32
    kind: Annotated[int, Meta(ge=0, le=2)]
    """A :class:`Kind`."""
    key: Bytes32
    nonce: Bytes32
    """Fresh for each connection; its end may say the newest version (:func:`offer`)."""
    instance: Bytes16
    """Drawn once per process: two processes with one key are told apart by it."""
    name: Annotated[str, Meta(max_length=64)]
    """What the sender calls itself; for people only."""


class Proof(Message, frozen=True):
    """``PROOF``: the second frame of either side."""

    sig: Bytes64


class Refuse(Message, frozen=True):
    """``REFUSE``: the last frame, so that the other side's operator sees why."""

    reason: Annotated[str, Meta(max_length=REASON_BYTES)]
    code: U8 = RefusalCode.OTHER
    """A :class:`RefusalCode`; those to come read as 0. Version 1 had none."""


class _Versioned(msgspec.Struct, frozen=True, array_like=True):
    """The field that a hello of every version begins with."""

    version: int


_decode_version = Decoder(_Versioned)
_decode_hello = Decoder(Hello)
_decode_proof = Decoder(Proof)
_decode_refuse = Decoder(Refuse)


class Refusal(PeerFault):
    """The other side is not let in; the text is what both operators get to read."""

    code = RefusalCode.OTHER
    """What its program gets to read."""


class WrongVersion(Refusal):
    """Speaks no version of the protocol that this node speaks."""


class WrongChain(Refusal):
    """Belongs to another plant, or another genesis of this one."""


class UnknownValidator(Refusal):
    """Claims to be a validator with a key that is none's, or none's any more."""

    code = RefusalCode.NO_VALIDATOR


class WrongPeer(Refusal):
    """A validator, but not the one that was dialled at this address."""


class OwnKey(Refusal):
    """Shows our own key: our own address, or a second live copy of this node."""


class BadProof(Refusal):
    """Could not sign for its key on this very connection."""


class OutOfTurn(Refusal):
    """A frame that does not belong here in the hello."""


class Full(Refusal):
    """No room left for this kind of connection."""


class RefusedByPeer(PeerFault):
    """The other side has refused us and said why."""


class Words(NamedTuple):
    """What a refusal says."""

    code: RefusalCode
    reason: str
    """Fit to be printed."""


class PeerIdentity(msgspec.Struct, frozen=True):
    """Who is on the other side, proven."""

    kind: Kind
    key: PublicKey
    name: str
    index: PeerNumber | None
    """Set for a validator, and for a node that was dialled as one of them."""
    instance: bytes = NO_INSTANCE
    """Which process with that key."""


class Channel(NamedTuple):
    """The certificates of the connection below; zeros without TLS."""

    own: Digest = ZERO_DIGEST
    peer: Digest = ZERO_DIGEST


PLAIN = Channel()


class Self(NamedTuple):
    """What this side says about itself."""

    kind: Kind
    name: str
    signer: Signer
    chain_id: Digest
    instance: bytes = NO_INSTANCE
    """16 bytes, drawn once per process; only a node's matters."""
    newest: int = NEWEST_WIRE
    """The newest version it speaks; ``[net] wire`` in node.toml may pin it to an older one."""
    oldest: int = OLDEST_WIRE
    """The oldest it takes; ``[net] oldest_wire`` ends an upgrade for good."""


def offer(nonce: bytes, newest: int) -> bytes:
    """The nonce of a hello that offers the versions up to ``newest``; 24 bytes of it stay."""
    if newest == OLDEST_WIRE:
        return nonce
    return nonce[: -len(_NEWEST_MARK) - 1] + _NEWEST_MARK + bytes([newest])


def newest_offered(version: int, nonce: bytes) -> int:
    """The newest version that a hello offers; without a word about it, the one it begins with."""
    mark, newest = nonce[-len(_NEWEST_MARK) - 1 : -1], nonce[-1]
    return newest if mark == _NEWEST_MARK and newest > version else version


def proof_bytes(
    chain_id: Digest,
    own: tuple[PublicKey, bytes, Digest],
    peer: tuple[PublicKey, bytes, Digest],
) -> bytes:
    """What a proof signs; either triple is key, nonce and TLS fingerprint, the signer's first."""
    (key, nonce, seal), (peer_key, peer_nonce, peer_seal) = own, peer
    return DOMAIN + _TAG + chain_id + key + peer_key + nonce + peer_nonce + seal + peer_seal


def refuse_frame(reason: str, code: RefusalCode = RefusalCode.OTHER) -> bytes:
    """A ``REFUSE`` frame with as much of ``reason`` as fits."""
    short = reason.encode()[:REASON_BYTES].decode(errors="ignore")
    return encode_frame(REFUSE, encode(Refuse(short, code)))


def read_refusal(payload: bytes) -> Words:
    """What a ``REFUSE`` says.

    Raises:
        Malformed: not a refusal.
    """
    said = _decode_refuse(payload)
    known = said.code in RefusalCode.__members__.values()
    reason = "".join(c if c.isprintable() else "?" for c in said.reason)
    return Words(RefusalCode(said.code) if known else RefusalCode.OTHER, reason)


def refusal_reason(payload: bytes) -> str:
    """The text of a ``REFUSE``, fit to be printed.

    Raises:
        Malformed: not a refusal.
    """
    return read_refusal(payload).reason


def _versions(payload: bytes) -> tuple[int, int]:
    """Oldest and newest version that a hello offers, as far as this release can read it.

    Raises:
        Malformed: not a hello of any version.
    """
    oldest = _decode_version(payload).version
    try:
        return oldest, newest_offered(oldest, _decode_hello(payload).nonce)
    except Malformed:
        return oldest, oldest


def _range(oldest: int, newest: int) -> str:
    return str(oldest) if oldest == newest else f"{oldest} to {newest}"


class Handshake:
    """One side of one hello.

    Args:
        me: what we say.
        validators: peer number of each validator by key; may change meanwhile.
        nonce: 32 bytes, never used before; :func:`offer` may write over the last eight.
        channel: certificates of the connection below.
        expected: key of whom we dialled; ``None``: whoever comes.
        dismissed: what to tell those that are no validators any more, by key.
    """

    def __init__(
        self,
        me: Self,
        validators: Mapping[PublicKey, PeerNumber],
        nonce: bytes,
        channel: Channel = PLAIN,
        expected: PublicKey | None = None,
        dismissed: Mapping[PublicKey, str] | None = None,
    ) -> None:
        self._me = me
        self._dismissed = {} if dismissed is None else dismissed
        self._validators = validators
        self._nonce = offer(nonce, me.newest)
        self._channel = channel
        self._expected = expected
        self._hello: Hello | None = None
        self.peer: PeerIdentity | None = None
        """Set once the other side has proven itself."""
        self.wire = OLDEST_WIRE
        """The newest version that both sides speak, once the other's hello is here."""

    def start(self) -> bytes:
        """The frame to send first."""
        me = self._me
        key = me.signer.public_key
        hello = Hello(OLDEST_WIRE, me.chain_id, me.kind, key, self._nonce, me.instance, me.name)
        return encode_frame(HELLO, encode(hello))

    def receive(self, type_: int, payload: bytes) -> bytes:
        """Take a frame; returns what to send in answer, possibly nothing.

        Raises:
            Refusal: the other side is not let in; tell it with :func:`refuse_frame`.
            RefusedByPeer: it does not let us in.
            Malformed: not that message.
        """
        if type_ == REFUSE:
            raise RefusedByPeer(f"refused by the other side: {refusal_reason(payload)}")
        if type_ == HELLO and self._hello is None:
            self._hello = self._checked_hello(payload)
            return encode_frame(PROOF, encode(Proof(self._sign(self._hello))))
        if type_ == PROOF and self._hello is not None and self.peer is None:
            self.peer = self._checked_proof(self._hello, payload)
            return b""
        raise OutOfTurn(f"frame type {type_} out of turn in the hello")

    @property
    def greeted_as(self) -> Kind:
        """What this side says it is."""
        return self._me.kind

    @property
    def claimed(self) -> PublicKey | None:
        """The key the other side has shown; nothing is proven by it."""
        return None if self._hello is None else self._hello.key

    def _checked_hello(self, payload: bytes) -> Hello:
        oldest, newest = _versions(payload)
        if not (oldest <= self._me.newest and newest >= self._me.oldest):
            theirs, ours = _range(oldest, newest), _range(self._me.oldest, self._me.newest)
            raise WrongVersion(f"wrong version: theirs {theirs}, ours {ours}")
        hello = _decode_hello(payload)
        self.wire = min(newest, self._me.newest)
        if hello.chain_id != self._me.chain_id:
            # Theirs and ours as the refusing side sees them; the other operator knows both anyway.
            theirs, ours = hello.chain_id.hex()[:8], self._me.chain_id.hex()[:8]
            raise WrongChain(f"wrong chain: theirs {theirs}…, ours {ours}…")
        if hello.key == self._me.signer.public_key:
            raise OwnKey(
                "our own key on the other side: our own address, or two live copies of one node"
            )
        if hello.kind == Kind.VALIDATOR and not self._may_vote(hello.key):
            why = self._dismissed.get(hello.key)
            raise UnknownValidator(
                why or f"no validator of this plant has the key {key_text(hello.key)}"
            )
        if self._expected is not None and hello.key != self._expected:
            raise WrongPeer(
                f"dialled the node with {key_text(self._expected)}, {key_text(hello.key)} answers"
            )
        return hello

    def _may_vote(self, key: PublicKey) -> bool:
        """A client looks for a node, whatever that is; a node knows who votes."""
        return self._me.kind is Kind.CLIENT or key in self._validators

    def _sign(self, hello: Hello) -> bytes:
        signer = self._me.signer
        return signer.sign(
            proof_bytes(
                self._me.chain_id,
                (signer.public_key, self._nonce, self._channel.own),
                (hello.key, hello.nonce, self._channel.peer),
            )
        )

    def _checked_proof(self, hello: Hello, payload: bytes) -> PeerIdentity:
        signed = proof_bytes(
            self._me.chain_id,
            (hello.key, hello.nonce, self._channel.peer),
            (self._me.signer.public_key, self._nonce, self._channel.own),
        )
        if not verify(hello.key, signed, _decode_proof(payload).sig):
            raise BadProof(
                "bad proof: not signed by that key for this connection; somebody may sit in between"
            )
        kind = Kind(hello.kind)
        if kind is Kind.VALIDATOR and not self._may_vote(hello.key):
            raise UnknownValidator(  # dismissed since its hello
                self._dismissed.get(hello.key, "no validator any more")
            )
        # Whom we have dialled is who it is, whatever it calls itself.
        known = kind is Kind.VALIDATOR or self._expected is not None
        index = self._validators.get(hello.key) if known else None
        name = "".join(c if c.isprintable() else "?" for c in hello.name)
        return PeerIdentity(kind, hello.key, name, index, hello.instance)
