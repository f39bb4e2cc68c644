"""What is signed to register members and meters and to look after them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vppd.codec import U8, U32, U63, Bytes32, Message
from vppd.era import Name

Reason = Annotated[str, Meta(max_length=256)]
"""Why, in the sender's words."""
Value = Annotated[str, Meta(max_length=256)]


class RegisterMember(Message, frozen=True, tag=25):
    """A new account, without money."""

    key: Bytes32
    name: Name
    bus: U32
    """Where in the grid."""
    aggregator: Bytes32 | None
    """The account it belongs to, if any."""


class RegisterMeter(Message, frozen=True, tag=26):
    """A new meter for an account."""

    key: Bytes32
    account: Bytes32
    first_slot: U63
    """The first it measures; it has not begun yet."""
    import_wh: U63
    """Register of energy taken from the grid (OBIS 1.8.0) at the start of ``first_slot``."""
    export_wh: U63
    """Register of energy given to the grid (OBIS 2.8.0)."""


class SetStanding(Message, frozen=True, tag=27):
    """Suspends an account, lets it act again, or closes it."""

    account: Bytes32
    standing: U8
    """0: it acts; 1: suspended; 4: closed."""
    reason: Reason


class SetParameters(Message, frozen=True, tag=28):
    """Maintains parameters of an account or a meter: a new version of all of them."""

    subject: Bytes32
    """Key of an account or a meter."""
    settings: Annotated[tuple[tuple[Name, U63 | Value], ...], Meta(min_length=1, max_length=32)]
    """Names and values; an empty text takes a name away."""


class SetAcquisition(Message, frozen=True, tag=29):
    """Controls a meter's readings from a slot on that has not begun yet."""

    meter: Bytes32
    first_slot: U63
    mode: U8
    """0: no readings, 1: readings, 2: retired, ``first_slot`` is the last it measures."""
    interval_slots: U32
    """It is to report the end of every so many slots, at least 1."""
    reason: Reason
