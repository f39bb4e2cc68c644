"""What the state keeps of members, duties, meters under control and demand response."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from vppd.codec import U8, U32, U63, Bytes32, Message
from vppd.era import Name


class Duty(IntEnum):
    """What somebody may do for the plant; each is granted and taken away by itself (P2 §II.A)."""

    COMMERCIAL = 1
    """P2's CVPP: programmes with their prices, rules of the market."""
    TECHNICAL = 2
    """P2's TVPP: events, orders, load control, which meters report, parameters of members."""
    REGISTRAR = 3
    """Members and meters: register, suspend, close."""
    AGGREGATOR = 4
    """The other three, for the members under it and for nobody else (P1 §4, aggregate system)."""


class Standing(IntFlag):
    """What keeps an account from acting; nothing does where no flag stands."""

    SUSPENDED = 1
    """By the registrar: it sends nothing but its votes as a validator."""
    BARRED = 2
    """By the operators' quorum: it trades no more."""
    CLOSED = 4
    """It has left the plant."""


class Member(Message, frozen=True):
    """What registration says of an account; made when there is something to say."""

    name: Name
    """Empty: a validator that governance added."""
    aggregator: Bytes32 | None
    """The account it belongs to."""
    standing: U8
    """A :class:`Standing`."""
    plant_wide: bool
    """Who gave it the standing has the registrar's duty for all; an aggregator does not lift it."""
    height: U63
    """Of the block that changed it last."""


class DutyRecord(Message, frozen=True):
    """An account has a duty."""

    height: U63
    """Since which block; 0: genesis."""


class ParameterChange(Message, frozen=True):
    """One version of the parameters of an account or a meter."""

    by: Bytes32
    height: U63
    settings: tuple[tuple[Name, U63 | str], ...]
    """What it set; an empty text took the name away."""


class Parameters(Message, frozen=True):
    """Parameters of an account or a meter, with the latest versions."""

    version: U63
    """How many changes there have been."""
    values: tuple[tuple[Name, U63 | str], ...]
    """By name, ascending."""
    changes: tuple[ParameterChange, ...]
    """The latest, oldest first."""


class Acquisition(Message, frozen=True):
    """How a meter's readings are taken, where that differs from: always."""

    interval_slots: U32
    """It is to report the end of every so many slots."""
    pauses: tuple[tuple[U63, U63 | None], ...]
    """First slots without readings and the first with readings again; ``None``: until it is said.
    Those whose slots have closed are forgotten."""
    last_slot: U63 | None
    """The last slot it measures; ``None``: it is in use."""


class Membership(Message, frozen=True):
    """A member of a project."""

    capacity_w: U63
    """What it can change its power by, at most."""
    auto: bool
    """Standing consent: the contract opts in for it when an event begins."""
    version: U63
    """The project's terms that it agreed to."""
    height: U63
    """Of the block in which it did."""


class DayEnergy(Message, frozen=True):
    """An account's energy in the same slot of several days."""

    days: tuple[tuple[U63, U63, U63, bool], ...]
    """Slot, import and export in Wh, and whether an event called it then; ascending."""
