"""MessagePack, typed: wrong shapes are rejected before any object is built.

Every message is a fixed-arity array of integers, byte strings and such arrays; maps, floats,
extension types and nil (but where a field says so) do not exist on the wire. Nothing that is
signed or hashed depends on how MessagePack was written: signatures cover fixed-width structs,
hashes cover received bytes (architecture.md, wall 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from vppd.errors import PeerFault

T = TypeVar("T")

U8 = Annotated[int, Meta(ge=0, le=255)]
U32 = Annotated[int, Meta(ge=0, lt=2**32)]
U63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Heights, views, times: fits a signed 64-bit column, refuses negative numbers."""
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]


class Malformed(PeerFault):
    """Bytes that are not the message they claim to be."""


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of every record on the wire or on disk: a MessagePack array of exactly its fields."""


_ENCODER = msgspec.msgpack.Encoder()
encode: Callable[[object], bytes] = _ENCODER.encode
"""MessagePack bytes of a :class:`Message`, or of nested tuples and lists of int and bytes."""


class Decoder(Generic[T]):
    """Decodes one type.

    Args:
        kind: the type, a :class:`Message` or a union of tagged ones.
    """

    __slots__ = ("_decode", "_name")

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._name = getattr(kind, "__name__", str(kind))

    def __call__(self, data: bytes | memoryview) -> T:
        """The decoded value.

        Raises:
            Malformed: truncated, trailing bytes, wrong type, arity or range.
        """
        try:
            return self._decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as err:
            raise Malformed(f"not a {self._name}: {err}") from err
        except UnicodeDecodeError as err:
            raise Malformed(f"not a {self._name}: {err}") from err

    def many(self, data: Iterable[bytes]) -> list[T]:
        """The decoded values of many, without a call of ours for each.

        Raises:
            Malformed: one of them, as when it is decoded alone.
        """
        try:
            return list(map(self._decode, data))
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as err:
            raise Malformed(f"not a {self._name}: {err}") from err
        except UnicodeDecodeError as err:
            raise Malformed(f"not a {self._name}: {err}") from err
