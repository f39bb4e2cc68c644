"""Frames that are almost right: bytes, shapes and contents, each bent by chance.

Three depths. *Bytes*: what a broken wire or a fuzzer of bytes would send. *Trees*: the MessagePack
value is taken apart and put together with something else in one place. *Contents*: a message of the
right shape says something else, and one replica, the liar, has signed it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

import msgpack  # type: ignore[import-untyped]  # has no stubs
import msgspec
from msgspec.structs import replace

from tests.hostile.scene import CHAIN_ID, framed
from tests.node.plant import KEYS
from vppd.codec import Malformed, Message, encode
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Concealment,
    DecidedBlock,
    Equivocation,
    Evidence,
    NewView,
    Path,
    Prepare,
    PrePrepared,
    Reply,
    Round,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    new_view_bytes,
    reply_bytes,
    sign_bytes,
    standing_bytes,
)
from vppd.crypto import sha256
from vppd.header import Header, decode_header
from vppd.ledger.transaction import Envelope, open_envelope
from vppd.ledger.transaction import sign_bytes as transaction_bytes
from vppd.net.gate import decode_message
from vppd.node.beats import Frame

Tree: TypeAlias = Any
"""What msgpack makes of a payload: nested lists of int, bytes and so on."""

DEEPEST = 500
EDGES = (
    0, 1, -1, 2**7, 2**8 - 1, 2**8, 2**16, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 2, 2**63 - 1,
    2**63, 2**64 - 1, -(2**31), -(2**63),
)  # fmt: skip
LENGTHS = (0, 1, 3, 31, 32, 33, 63, 64, 65, 255, 256, 4_096, 65_536)
MARKERS = bytes(
    [0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC4, 0xC7, 0xCA, 0xCB, 0xD4, 0xDF]
)
CLAIMS = tuple(
    bytes.fromhex(claim)
    for claim in (
        "ddffffffff", "dd7fffffff", "dcffff", "dfffffffff", "deffff", "c6ffffffff", "c5ffff",
        "c4ff", "c9ffffffff05", "c8ffffff", "c7ffff", "dbffffffff", "daffff", "d9ff",
    )
)  # fmt: skip
"""Beginnings that promise more than will come."""


class Sample(NamedTuple):
    """A valid frame, taken apart once."""

    type: Type
    payload: bytes
    message: Message
    tree: Tree


class Bent(NamedTuple):
    """A frame to try, and how it was made."""

    type: int
    payload: bytes
    how: str


def sample_of(frame: Frame) -> Sample:
    """Take a valid frame apart."""
    message = decode_message(frame.type, frame.payload)
    return Sample(frame.type, frame.payload, message, apart(frame.payload))


def apart(payload: bytes) -> Tree:
    """The value in a payload."""
    return msgpack.unpackb(payload)


class Mutator:
    """Bends samples.

    Args:
        chance: every choice.
        samples: valid frames.
        liar: whose key signs what is bent.
    """

    def __init__(self, chance: random.Random, samples: Sequence[Sample], liar: int) -> None:
        self._chance = chance
        self._by_type: dict[Type, list[Sample]] = {}
        for sample in samples:
            self._by_type.setdefault(sample.type, []).append(sample)
        self._types = sorted(self._by_type)
        self._samples = list(samples)
        self._liar = liar
        self._digests = [sha256(b"nothing"), CHAIN_ID, bytes(32)]
        self._certificates = [
            sample.message.certificate for sample in samples if isinstance(sample.message, Agree)
        ]
        self._lies = [lie for sample in samples for lie in _lies(sample)]
        self._digests += sorted({certificate.digest for certificate in self._certificates})
        self._ways: tuple[tuple[str, Callable[[Sample], tuple[int, bytes]]], ...] = (
            ("bytes", self._bend_bytes),
            ("tree", self._bend_tree),
            ("content", self._bend_content),
            ("type", self._swap_type),
            ("forgery", self._forge),
            ("as it is", lambda sample: (sample.type, sample.payload)),
        )
        self._weights = (35, 30, 20, 5, 5, 5)

    def next(self) -> Bent:
        """One more; each type comes equally often."""
        chance = self._chance
        sample = chance.choice(self._by_type[chance.choice(self._types)])
        how, way = chance.choices(self._ways, self._weights)[0]
        type_, payload = way(sample)
        return Bent(type_, payload, how)

    def coin(self) -> bool:
        """Heads."""
        return self._chance.random() < 0.5

    # ------------------------------------------------------------ bytes

    def bend_bytes(self, data: bytes) -> bytes:
        """Some bytes, changed in up to three places."""
        chance = self._chance
        bent = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(bent) + 1)
            match chance.randrange(9):
                case 0 if at < len(bent):
                    bent[at] ^= 1 << chance.randrange(8)
                case 1 if at < len(bent):
                    bent[at] = chance.choice(MARKERS)
                case 2:
                    del bent[at:]
                case 3:
                    bent += chance.randbytes(chance.randint(1, 40))
                case 4:
                    bent[at:at] = chance.randbytes(chance.randint(1, 8))
                case 5:
                    del bent[at : at + chance.randint(1, 40)]
                case 6:
                    bent[at : at + chance.randint(0, 5)] = chance.choice(CLAIMS)
                case 7:
                    bent[at:at] = bent[chance.randrange(len(bent) + 1) :][: chance.randint(1, 99)]
                case 8 if at < len(bent) and bent[at] < 0x80:
                    bent[at:at] = chance.choice((b"\xcc", b"\xcd\x00", b"\xd3" + bytes(7)))
                case _:
                    bent[at:at] = b"\x00"
        return bytes(bent)

    def _bend_bytes(self, sample: Sample) -> tuple[int, bytes]:
        return sample.type, self.bend_bytes(sample.payload)

    def _swap_type(self, sample: Sample) -> tuple[int, bytes]:
        return self._chance.choice((*self._types, self._chance.randrange(256))), sample.payload

    # ------------------------------------------------------------ trees

    def bend_tree(self, tree: Tree) -> bytes:
        """A value with one place bent, as bytes."""
        path: list[int] = []
        at = tree
        while isinstance(at, list) and at and self._chance.random() < 0.75:
            path.append(self._chance.randrange(len(at)))
            at = at[path[-1]]
        return _pack(self._put(tree, path))

    def _bend_tree(self, sample: Sample) -> tuple[int, bytes]:
        return sample.type, self.bend_tree(sample.tree)

    def _put(self, tree: Tree, path: list[int]) -> Tree:
        """A copy, shared but for the way to the bent place."""
        if not path:
            return self._odd(tree)
        copy = list(tree)
        at = path[0]
        if len(path) == 1:
            match self._chance.randrange(8):
                case 0:
                    del copy[at]
                    return copy
                case 1:
                    copy.insert(at, self._odd(copy[at]))
                    return copy
                case 2:
                    other = self._chance.randrange(len(copy))
                    copy[at], copy[other] = copy[other], copy[at]
                    return copy
                case 3:
                    copy[at:at] = copy[at : at + 1] * self._chance.choice((1, 2, 40))
                    return copy
                case _:
                    pass
        copy[at] = self._put(copy[at], path[1:])
        return copy

    def _odd(self, value: Tree) -> Tree:
        """Something else in place of ``value``."""
        chance = self._chance
        match chance.randrange(14):
            case 0 | 1 if isinstance(value, int):
                return max(-(2**63), min(2**64 - 1, value + chance.choice((-1, 1, 2, -2, 1_000))))
            case 2 | 3:
                return chance.choice(EDGES)
            case 4 | 5 if isinstance(value, bytes):
                return self.bend_bytes(value) if value else b"\x00"
            case 6:
                return chance.randbytes(chance.choice(LENGTHS[:10]))
            case 7:
                return chance.choice(self._digests)
            case 8:
                return chance.choice((None, True, False, 0.5, float("nan"), "text", "\U0001f600"))
            case 9:
                return chance.choice(({}, {"a": 1}, {0: value}, {b"k": []}, [{}] * 50))
            case 10:
                kind, size = chance.randrange(-1, 128), chance.choice(LENGTHS[:9])
                return msgpack.Timestamp(1) if kind < 0 else msgpack.ExtType(kind, bytes(size))
            case 11:
                deep = value
                for _ in range(chance.choice((1, 2, 3, 30, DEEPEST))):
                    deep = [deep]
                return deep
            case 12:
                return chance.choice(([], [value], [value, value], [[]] * 99, [0] * 300))
            case _:
                return chance.choice(self._samples).tree

    # ------------------------------------------------------------ contents

    def _bend_content(self, sample: Sample) -> tuple[int, bytes]:
        """Shape right, content wrong; signed again by the liar where that makes sense."""
        message = sample.message
        for _ in range(self._chance.randint(1, 2)):
            message = self._say_else(message)
        if self._chance.random() < 0.8:
            with suppress(struct.error):  # a number that cannot be signed is sent unsigned
                message = resigned(message, self._liar)
        return framed(message).type, encode(message)

    def _say_else(self, message: Any) -> Any:
        """One field, or a field of a field, says something else."""
        names = message.__struct_fields__
        if not names:
            return message
        name = self._chance.choice(names)
        return replace(message, **{name: self._else(getattr(message, name))})

    def _else(self, value: Any) -> Any:
        chance = self._chance
        if isinstance(value, msgspec.Struct):
            return self._say_else(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            near = value + chance.choice((-2, -1, 1, 2))
            wide = chance.choice((0, 1, 2, 3, 4, 2**31, 2**63 - 1))
            return max(0, near if chance.random() < 0.7 else wide)
        if isinstance(value, bytes):
            if len(value) == 32:
                return chance.choice(self._digests)
            if len(value) == 64:
                return chance.choice((bytes(64), KEYS[self._liar].sign(value), value[::-1]))
            if _digest_of(value) is not None and chance.random() < 0.8:
                return self._header(decode_header(value))
            if len(value) > 64 and chance.random() < 0.8:
                return self._transaction(value)
            return self.bend_bytes(value)
        if isinstance(value, tuple) and value:
            items = list(value)
            at = chance.randrange(len(items))
            match chance.randrange(5):
                case 0:
                    del items[at]
                case 1:
                    items.insert(at, items[chance.randrange(len(items))])
                case 2:
                    chance.shuffle(items)
                case _:
                    items[at] = self._else(items[at])
            return tuple(items)
        if value is None:
            return chance.choice(self._certificates) if self._certificates else None
        return value

    def _header(self, header: Header) -> bytes:
        """Another block's name."""
        field = self._chance.choice(Header._fields)
        bent = header._replace(**{field: self._else(getattr(header, field))})
        try:
            return bent.encode()
        except struct.error:  # a number that does not fit its place
            return header.encode()

    def _transaction(self, raw: bytes) -> bytes:
        """What the liar might submit."""
        try:
            envelope = open_envelope(raw)
            body = apart(envelope.body)
        except (Malformed, ValueError):
            return self.bend_bytes(raw)
        key = KEYS[self._liar]
        if isinstance(body, list) and len(body) > 1 and self._chance.random() < 0.8:
            body[1] = key.public_key
        bent = self.bend_tree(body)
        return encode(Envelope(bent, key.sign(transaction_bytes(CHAIN_ID, sha256(bent)))))

    def _forge(self, _: Sample) -> tuple[int, bytes]:
        """A coherent story about a block that never was, told by one for all."""
        chance = self._chance
        header, txs = chance.choice(self._lies)
        epoch, height, digest = header.epoch, header.height, header.digest()
        view, signer = chance.randrange(2), chance.randrange(4)
        votes, commits = (
            tuple(
                KEYS[self._liar].sign(sign_bytes(tag, CHAIN_ID, epoch, view, height, digest))
                for _ in range(3)
            )
            for tag in (TAG_VOTE, TAG_COMMIT)
        )
        at = (epoch, view, height, digest)
        signers = chance.choice((b"\x07", b"\x0e", b"\x0d"))
        decision = Certificate(CertificateKind.COMMIT, *at, signers, commits)
        told: Message
        path = chance.choice(tuple(Path))
        match chance.randrange(8):
            case 0:
                told = resigned(
                    Block(*at, path, header.encode(), txs, bytes(64), bytes(64)), self._liar
                )
            case 1:
                told = Prepare(*at, signer, votes[0])
            case 2:
                told = Commit(*at, signer, commits[0])
            case 3:
                told = Agree(decision)
            case 4:
                told = Collected(*at, signer, votes[0])
            case 5:
                full = tuple(votes[0] for _ in range(4))
                told = Agree(Certificate(CertificateKind.FAST, *at, b"\x0f", full))
            case 6:
                held = Certificate(CertificateKind.PREPARED, *at, signers, votes)
                ended = PrePrepared(*at, bytes(64), chance.choice((None, held)))
                told = resigned(ended, self._liar)
            case _:
                told = Blocks((DecidedBlock(header.encode(), txs, decision),))
        return framed(told).type, encode(told)


def _lies(sample: Sample) -> Iterator[tuple[Header, tuple[bytes, ...]]]:
    """What a block could have been instead."""
    if isinstance(sample.message, Block) and _digest_of(sample.message.header) is not None:
        header = decode_header(sample.message.header)
        yield header._replace(time_ms=header.time_ms + 1), sample.message.txs


def _pack(tree: Tree) -> bytes:
    try:
        packed: bytes = msgpack.packb(tree)
    except ValueError:  # deeper than msgpack itself goes
        return b"\x91" * 10_000 + b"\xc0"
    return packed


def resigned(message: Any, liar: int) -> Any:
    """The same words, with the liar's signature wherever it could be the liar's to sign."""
    sign = KEYS[liar].sign
    match message:
        case Block(epoch, view, height, digest, _, header):
            digest = _digest_of(header) or digest
            at = (epoch, view, height, digest)
            proposal, vote = (sign(sign_bytes(t, CHAIN_ID, *at)) for t in (TAG_PROPOSAL, TAG_VOTE))
            return replace(message, digest=digest, proposal_sig=proposal, vote_sig=vote)
        case BlockBody(epoch, view, height, digest, header):
            digest = _digest_of(header) or digest
            proposal = sign(sign_bytes(TAG_PROPOSAL, CHAIN_ID, epoch, view, height, digest))
            return replace(message, digest=digest, proposal_sig=proposal)
        case PrePrepared(epoch, view, height, digest):
            proposal = sign(sign_bytes(TAG_PROPOSAL, CHAIN_ID, epoch, view, height, digest))
            return replace(message, proposal_sig=proposal)
        case (
            Collected(epoch, view, height, digest)
            | Prepare(epoch, view, height, digest)
            | Commit(epoch, view, height, digest)
        ):
            tag = TAG_COMMIT if isinstance(message, Commit) else TAG_VOTE
            signed = sign(sign_bytes(tag, CHAIN_ID, epoch, view, height, digest))
            return replace(message, signer=liar, sig=signed)
        case Reply(epoch, height, digest, state_root, receipts_root):
            signed = sign(reply_bytes(CHAIN_ID, epoch, height, digest, state_root, receipts_root))
            return replace(message, signer=liar, sig=signed)
        case Standing():
            return _standing(message, liar)
        case ViewChange(standing):
            return replace(message, standing=_standing(standing, liar))
        case NewView(standings=standings):
            own = tuple(_standing(s, liar) if s.signer == liar else s for s in standings)
            opened = replace(message, standings=own)
            return replace(opened, sig=sign(new_view_bytes(CHAIN_ID, opened)))
        case Evidence(proof):
            return Evidence(_proof(proof, liar))
        case _:
            return message


def _digest_of(header: bytes) -> bytes | None:
    try:
        return decode_header(header).digest()
    except Malformed:
        return None


def _standing(standing: Standing, liar: int) -> Standing:
    own = replace(standing, signer=liar)
    return replace(own, sig=KEYS[liar].sign(standing_bytes(CHAIN_ID, own)))


def _proof(proof: Equivocation | Concealment, liar: int) -> Equivocation | Concealment:
    sign = KEYS[liar].sign
    if isinstance(proof, Concealment):
        standing, vote = _standing(proof.standing, liar), proof.vote
        at = (standing.epoch, vote.view, standing.decided + 1)
        return Concealment(standing, vote, sign(sign_bytes(TAG_VOTE, CHAIN_ID, *at, vote.digest)))
    tags = {Round.COMMIT: TAG_COMMIT, Round.PROPOSAL: TAG_PROPOSAL}
    tag = next((t for round_, t in tags.items() if round_ == proof.round), TAG_VOTE)
    at = (proof.epoch, proof.view, proof.height)
    first, second = (sign(sign_bytes(tag, CHAIN_ID, *at, d)) for d in (proof.first, proof.second))
    return replace(proof, signer=liar, first_sig=first, second_sig=second)
