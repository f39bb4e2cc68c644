"""Records as plain data: what people and scripts read of operations, events and eras."""

from __future__ import annotations

from typing import Any

import msgspec

from vppd.crypto import key_text
from vppd.ledger.events import GRID

KEYS = {
    "account", "to", "seller", "buyer", "meter", "key", "old", "new", "targets",
    "supplier", "user", "aggregator", "by", "subject", "members",
}  # fmt: skip
"""Fields that hold public keys; other bytes are shown in hexadecimal."""


def fields(record: msgspec.Struct) -> dict[str, Any]:
    """Every field of a record, keys as text."""
    return {name: _plain(name, getattr(record, name)) for name in record.__struct_fields__}


def _plain(name: str, value: object) -> Any:
    match value:
        case bytes() if name in KEYS:
            return "grid" if value == GRID else key_text(value)
        case bytes():
            return value.hex()
        case tuple() if name == "rules":
            return dict(value)
        case tuple():
            return [_plain(name, part) for part in value]
        case msgspec.Struct():
            tagged = value.__struct_config__.tag is not None
            kind = {"kind": type(value).__name__} if tagged else {}
            return kind | fields(value)
        case _:
            return value
