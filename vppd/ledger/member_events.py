"""Events of registration, permissions and demand response: tags 41 to 49 of all events."""

from __future__ import annotations

from vppd.codec import I64, U8, U32, U63, Bytes32, Message
from vppd.era import Name


class MemberRegistered(Message, frozen=True, tag=41):
    """A new member's account, which :class:`AccountOpened` has opened."""

    account: Bytes32
    name: Name
    bus: U32
    aggregator: Bytes32 | None
    by: Bytes32


class MeterRegistered(Message, frozen=True, tag=42):
    """A new meter counts from a slot on."""

    meter: Bytes32
    account: Bytes32
    first_slot: U63
    import_wh: U63
    export_wh: U63
    by: Bytes32


class StandingChanged(Message, frozen=True, tag=43):
    """An account may act less, or again."""

    account: Bytes32
    standing: U8
    """A :class:`~vppd.ledger.registration.records.Standing`."""
    by: Bytes32 | None
    """``None``: the operators' quorum."""
    reason: str


class DutyChanged(Message, frozen=True, tag=44):
    """A duty was granted or taken away."""

    duty: U8
    """A :class:`~vppd.ledger.registration.records.Duty`."""
    account: Bytes32
    granted: bool


class Intervened(Message, frozen=True, tag=45):
    """The operators' quorum has stepped in."""

    action: U8
    """A :class:`~vppd.ledger.registration.interventions.Action`."""
    account: Bytes32 | None
    number: U63
    """Of the slot or contract; 0 for an account."""
    reason: str


class ParametersSet(Message, frozen=True, tag=46):
    """Parameters of an account or a meter have a new version."""

    subject: Bytes32
    version: U63
    settings: tuple[tuple[Name, U63 | str], ...]
    by: Bytes32


class AcquisitionSet(Message, frozen=True, tag=47):
    """A meter's readings are taken otherwise from a slot on."""

    meter: Bytes32
    first_slot: U63
    mode: U8
    interval_slots: U32
    by: Bytes32
    reason: str


class Answered(Message, frozen=True, tag=48):
    """Where a called member stands in an event now."""

    number: U63
    account: Bytes32
    answer: U8
    """An :class:`~vppd.ledger.response.calls.Answer`."""
    until_slot: U63
    """The first slot that is no longer asked of it."""


class EffectMeasured(Message, frozen=True, tag=49):
    """What a member did in an event, against its baseline; sums over the slots that are known."""

    number: U63
    account: Bytes32
    asked_slots: U32
    known_slots: U32
    """Those with a reading and a baseline; the others count for nothing."""
    baseline_wh: I64
    metered_wh: I64
    """Import less export."""
    effect_wh: U63
    """What is paid for, within what was asked."""
    over_wh: U63
    """Above a setpoint."""
    amount: U63
    """Micro-currency out of the event's deposit."""
