"""What members and operators sign about the future: resources, plans, forecasts (P0, §2.1)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vppd.codec import U8, U32, U63, Message

MOST_AT_ONCE = 96
"""Slots that one plan or forecast can be about: a day of quarter hours."""
Energies = Annotated[tuple[U63, ...], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class RegisterResource(Message, frozen=True, tag=20):
    """Says what a member owns, or says it anew; its plans are then held against it."""

    number: U32
    """Of the sender's choice, 1 … 64; one that is taken is replaced."""
    kind: U8
    """A :class:`~vppd.ledger.resources.ResourceKind`."""
    max_import_w: U63
    max_export_w: U63
    capacity_wh: U63
    """Of a store; 0 of everything else."""
    level_wh: U63
    """In a store now, at the start of the first slot that still takes plans."""
    import_efficiency: U32
    """Parts per million of what a store takes that it keeps."""
    export_efficiency: U32
    """Parts per million of what leaves a store that it gives."""


class RetireResource(Message, frozen=True, tag=21):
    """A member no longer has it."""

    number: U32


class Plan(Message, frozen=True, tag=22):
    """What a member, or one of its resources, will do; takes the place of an earlier plan."""

    resource: U32
    """Its number; 0: the member as a whole."""
    first_slot: U63
    import_wh: Energies
    """Of the first slot and those after it."""
    export_wh: Energies
    """As many; in each slot one of the two is 0."""


class Forecast(Message, frozen=True, tag=23):
    """What an operator expects of the whole plant; takes the place of its earlier forecast."""

    first_slot: U63
    load_wh: Energies
    generation_wh: Energies
    """As many."""
