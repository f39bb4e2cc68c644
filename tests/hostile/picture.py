"""A picture of everything an object holds, to see whether anything of it has changed."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Set
from types import BuiltinFunctionType, BuiltinMethodType, FunctionType, MethodType
from typing import Any

import msgspec

from vppd.consensus.validators import ValidatorSet
from vppd.crypto import SigningKey
from vppd.ledger.execution import Ledger
from vppd.net.gate import Gate
from vppd.node.early import Early

_FIXED = (
    FunctionType, MethodType, BuiltinFunctionType, BuiltinMethodType, type, SigningKey, Gate,
    ValidatorSet,
)  # fmt: skip
"""What cannot change, or leads out of what is looked at."""
_PLAIN = (int, bytes, str, float, type(None))


def picture(thing: object) -> bytes:
    """Equal for equal contents, whatever the identities."""
    hasher = hashlib.sha256()
    seen: set[int] = set()
    for part in _walk(thing, seen):
        hasher.update(part.encode())
    return hasher.digest()


def _walk(thing: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(thing, _PLAIN):
        yield repr(thing)
        return
    if isinstance(thing, _FIXED):
        yield "fixed"
        return
    if isinstance(thing, Ledger):
        yield f"ledger {thing.height} {thing.state_root.hex()} {thing.receipts_root.hex()}"
        return
    if isinstance(thing, Early):  # votes of unknown epochs wait unchecked: nothing was believed
        yield from _walk(thing._held, seen)
        return
    if isinstance(thing, msgspec.Struct):
        yield repr(thing)
        return
    yield type(thing).__name__
    if isinstance(thing, tuple | list | deque):
        yield "["
        for item in thing:
            yield from _walk(item, seen)
        yield "]"
        return
    if isinstance(thing, Set):
        yield from sorted("".join(_walk(item, set(seen))) for item in thing)
        return
    if id(thing) in seen:
        yield "again"
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _walk(key, seen)
            yield from _walk(value, seen)
        return
    for name, value in _attributes(thing):
        yield name
        yield from _walk(value, seen)


def _attributes(thing: object) -> Iterator[tuple[str, Any]]:
    yield from sorted(getattr(thing, "__dict__", {}).items())
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            place = f"_{kind.__name__}{name}" if name.startswith("__") else name
            if hasattr(thing, place):
                yield name, getattr(thing, place)
