"""Records of resources, plans and forecasts (:mod:`vppd.ledger.plans`)."""

from __future__ import annotations

from vppd.codec import U8, U32, U63, Message


class ResourceRecord(Message, frozen=True):
    """What a member says it has."""

    kind: U8
    """A :class:`~vppd.ledger.resources.ResourceKind`."""
    max_import_w: U63
    max_export_w: U63
    capacity_wh: U63
    level_wh: U63
    """Of a store, where the plans of all slots lead whose gate has closed."""
    import_efficiency: U32
    """Parts per million."""
    export_efficiency: U32


class EnergyRecord(Message, frozen=True):
    """A resource's plan of a slot that still takes plans."""

    import_wh: U63
    export_wh: U63


class ResourceFlow(Message, frozen=True):
    """The plan of one resource as the gate closed."""

    number: U32
    import_wh: U63
    export_wh: U63


class PlanRecord(Message, frozen=True):
    """A member's plan of a slot, kept until the slot closes."""

    version: U63
    """How often the member has planned it as a whole."""
    stated: bool
    """False: only resources have plans."""
    import_wh: U63
    export_wh: U63
    resources: tuple[ResourceFlow, ...]
    """Empty until the gate closes."""


class ForecastRecord(Message, frozen=True):
    """An operator's forecast of a slot."""

    version: U63
    load_wh: U63
    generation_wh: U63
