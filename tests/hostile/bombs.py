"""Small payloads that want to become large, deep or something else: every one must be refused.

From the threat table of reliability.md, Part 3, and what MessagePack decoders are known to choke
on. Each is a whole payload within the cap of its frame type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]  # has no stubs

from tests.wire_samples import ASKS, SAMPLES, meet
from vppd.codec import Message, encode
from vppd.consensus.messages import CAP, TYPE_OF, Block, BlockBody, Blocks, Tx
from vppd.net.frames import HELLO, OPENING_CAPS, PROOF, REFUSE, REQUEST, REQUEST_CAPS
from vppd.net.hello import Refuse
from vppd.net.requests import Request


class Bomb(NamedTuple):
    """A payload and what is bad about it."""

    name: str
    payload: bytes


def _claims() -> Iterator[Bomb]:
    """Lengths that are not there."""
    for marker, what in (
        ("dd", "array"), ("df", "map"), ("c6", "bin"), ("db", "str"), ("c9", "ext"),
    ):  # fmt: skip
        for length in (2**16, 2**24, 2**31 - 1, 2**32 - 1):
            tail = b"\x05" if what == "ext" else b""
            body = bytes.fromhex(marker) + struct.pack(">I", length) + tail
            yield Bomb(f"{what} of {length}", body)
            yield Bomb(f"{what} of {length} in an array", b"\x91" + body)
            yield Bomb(f"{what} of {length} ten times", b"\x9a" + body * 10)


def _deep() -> Iterator[Bomb]:
    """Nests."""
    for depth in (4, 100, 511, 512, 1_024, 2_000, 100_000, 1_000_000):
        yield Bomb(f"arrays {depth} deep", b"\x91" * depth + b"\xc0")
        yield Bomb(f"maps {depth} deep", b"\x81\x00" * depth + b"\xc0")
        yield Bomb(f"open arrays {depth} deep", b"\x9f" * depth)


def _many() -> Iterator[Bomb]:
    """A great number of nothing."""
    for count in (1_000, 65_000, 1_000_000):
        for name, item in (
            ("empty maps", b"\x80"), ("empty arrays", b"\x90"), ("nils", b"\xc0"),
            ("zeros", b"\x00"), ("empty strings", b"\xa0"), ("empty bins", b"\xc4\x00"),
            ("floats", b"\xcb" + bytes(8)), ("booleans", b"\xc3"), ("bytes", b"\xc4\x01x"),
        ):  # fmt: skip
            many = b"\xdd" + struct.pack(">I", count) + item * count
            yield Bomb(f"{count} {name}", many)
            yield Bomb(f"{count} {name} in an array", b"\x91" + many)


def _odd() -> Iterator[Bomb]:
    """Types that are not spoken."""
    yield Bomb("nothing", b"")
    yield Bomb("never used", b"\xc1")
    odd: tuple[object, ...] = (
        msgpack.Timestamp(0), msgpack.Timestamp(2**33, 999_999_999), msgpack.ExtType(5, bytes(64)),
        msgpack.ExtType(127, bytes(65_535)), None, True, 1.5, float("nan"), float("inf"), {}, [],
        {"a": 1}, {0: 0}, {b"k": b"v"}, -1, 2**64 - 1, -(2**63), "text", b"bin",
    )  # fmt: skip
    for value in odd:
        packed = msgpack.packb(value)
        for wrapped in (packed, b"\x91" + packed, b"\x96" + packed * 6):
            yield Bomb(f"{value!r:.40} as {len(wrapped)} bytes", wrapped)
    yield Bomb("a key twice", b"\x82\xa1a\x01\xa1a\x02")
    yield Bomb("a thousand keys, all the same", b"\xde\x03\xe8" + b"\xa1a\x01" * 1_000)


def bombs() -> list[Bomb]:
    """Those that are no message of any type."""
    return [*_claims(), *_deep(), *_many(), *_odd()]


def bent(message: Message) -> Iterator[Bomb]:
    """Those made of one valid message."""
    payload = encode(message)
    name = type(message).__name__
    yield Bomb(f"{name} and a byte", payload + b"\x00")
    yield Bomb(f"{name} twice", payload + payload)
    yield Bomb(f"{name} less a byte", payload[:-1])
    fields = msgpack.unpackb(payload)
    yield Bomb(f"{name} and a field", msgpack.packb([*fields, 0]))
    yield Bomb(f"{name} as a map", msgpack.packb(dict(enumerate(fields))))
    for at, value in enumerate(fields):
        odd: tuple[object, ...] = (
            {}, {"a": 1}, 1.0, msgpack.Timestamp(1), msgpack.ExtType(1, b"x"), -1, 2**64 - 1,
        )  # fmt: skip
        if isinstance(value, bytes):
            odd += (value.decode("latin-1"), [*value], 0)
        if isinstance(value, int):
            odd += (str(value), True, b"\x00", float(value))
        if isinstance(value, list):
            odd += (dict(enumerate(value)), b"", [[]] * 1_000)
        for other in odd:
            changed = [*fields[:at], other, *fields[at + 1 :]]
            yield Bomb(f"{name}, field {at} {other!r:.30}", msgpack.packb(changed))
    if isinstance(message, Refuse):
        yield Bomb("a reason that is no text", b"\x91\xa4\xff\xfe\xfd\xfc")
        yield Bomb("a reason half a letter", b"\x91\xa1\xc3")


SWOLLEN = 1_048_576 - 600


def swollen() -> Iterator[tuple[int, Bomb]]:
    """Right in shape, and as large in memory as their frame type allows."""
    for message in SAMPLES:
        if isinstance(message, Block | BlockBody):
            fields = msgpack.unpackb(encode(message))
            at = fields.index([bytes(raw) for raw in message.txs])
            for item in (b"", b"x", b"xy"):
                fields[at] = [item] * (SWOLLEN // (2 + len(item)))
                yield (
                    TYPE_OF[type(message)],
                    Bomb(f"{type(message).__name__} of {item!r}", msgpack.packb(fields)),
                )
        if isinstance(message, Blocks):
            [[header, _, certificate]] = msgpack.unpackb(encode(message))[0]
            for item in (b"", b"xy"):
                one = [header, [item] * (SWOLLEN // (2 + len(item)) - 200), certificate]
                yield TYPE_OF[Blocks], Bomb(f"Blocks of {item!r}", msgpack.packb([[one]]))
            least = [b"", [], [*certificate[:5], b"\x07", []]]
            count = SWOLLEN // len(msgpack.packb(least))
            yield TYPE_OF[Blocks], Bomb("Blocks of nothing", msgpack.packb([[least] * count]))
        if isinstance(message, Tx):
            yield TYPE_OF[Tx], Bomb("Tx of a deep body", encode(Tx(b"\x91" * 16_000)))


def aimed() -> Iterator[tuple[int, int, Bomb]]:
    """Every frame type with every bomb that its cap lets through: type, cap, bomb."""
    everywhere = bombs()
    meeting = meet()
    caps = dict([*CAP.items(), *OPENING_CAPS.items(), *REQUEST_CAPS.items()])
    for type_, cap in sorted(caps.items()):
        yield from ((type_, cap, bomb) for bomb in everywhere if len(bomb.payload) <= cap)
    for message in SAMPLES:
        type_ = TYPE_OF[type(message)]
        yield from ((type_, CAP[type_], bomb) for bomb in bent(message))
    for ask in ASKS:
        yield from ((REQUEST, REQUEST_CAPS[REQUEST], bomb) for bomb in bent(Request(5, ask)))
    hellos = ((HELLO, meeting.hellos[0]), (PROOF, meeting.proofs[0]), (REFUSE, None))
    for type_, frame in hellos:
        fields = msgpack.unpackb(frame[5:]) if frame is not None else ["no room"]
        for at in range(len(fields)):
            odds: tuple[object, ...] = (
                {}, 1.5, None, [], msgpack.Timestamp(1), -1, 2**64 - 1, "\x00" * 300,
            )  # fmt: skip
            for odd in odds:
                changed = [*fields[:at], odd, *fields[at + 1 :]]
                payload = msgpack.packb(changed)
                if len(payload) <= OPENING_CAPS[type_] and odd != fields[at]:
                    name = f"hello type {type_}, field {at} {odd!r:.20}"
                    yield type_, OPENING_CAPS[type_], Bomb(name, payload)
