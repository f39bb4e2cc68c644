"""What a simulated run is, and what happened in it."""

from __future__ import annotations

from collections import Counter

import msgspec

from vppd.config.genesis import Engine, PathSetting
from vppd.simulate.faults import FaultSet, parse_sets
from vppd.types import Height, Ppm, ReplicaIndex, View


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is, but for its seed."""

    engine: Engine = Engine("bncm")
    path: PathSetting = "auto"
    """Where that engine has more than one."""
    n: int = 4
    operators: int = 1
    heights: Height = 12
    """Every node must decide so many."""
    delay_us: int | None = None
    """Fixed one-way delay; ``None``: 0.2–5 ms at random."""
    faults: frozenset[FaultSet] = parse_sets("all")
    delegates: int | None = None
    """Producers of engine ``dpos`` among the ``n``; ``None``: all."""
    epoch_blocks: Height = 8
    """Heights between its elections."""
    joiners: int = 0
    """Further nodes that genesis does not list."""
    fail: tuple[tuple[ReplicaIndex, Ppm], ...] = ()
    """Nodes whose link fails in such a share of the heights, until the others have decided."""
    kill: tuple[tuple[ReplicaIndex, Height], ...] = ()
    """Nodes that die for good when they have decided that height."""


class Outcome(msgspec.Struct, kw_only=True):
    """What happened in a run."""

    seed: int
    violation: str | None = None
    forks: int = 0
    """Violations of agreement: a run ends with the first one."""
    events: int = 0
    heights: Height = 0
    """What every node has decided."""
    decided: Height = 0
    """What some node has decided."""
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    effects: Counter[str] = msgspec.field(default_factory=Counter)
    """What followed from faults and chance, without being one."""
    commit_us: list[int] = msgspec.field(default_factory=list)
    """Per height: first proposal sent → decision known at q replicas."""
    messages: int = 0
    bytes: int = 0
    views: View = 0
    """The highest view some node was in at the end."""
    view_changes: int = 0
    """Views that nodes have asked for."""
    decisions: Counter[str] = msgspec.field(default_factory=Counter)
    """Decisions of all nodes, by the way they were reached: ``fast`` (collected), ``fast_exit``
    (broadcast), ``slow``, ``learnt`` (of others, without an own vote)."""
    fallbacks: Counter[str] = msgspec.field(default_factory=Counter)
    """Heights that went the slow way at a node, by cause."""
    triggers: Counter[str] = msgspec.field(default_factory=Counter)
    """And why."""
    healed_views: float | None = None
    """From the end of the faults until all had decided 5 more heights, in units of T_view."""
    evidence: Counter[str] = msgspec.field(default_factory=Counter)
    """Proofs of misbehaviour found, by whom they convict."""
    lies: Counter[str] = msgspec.field(default_factory=Counter)
    """Lies told by Byzantine nodes, by kind."""
    observers: int = 0
    """Nodes that ended as observers."""
    epochs: Counter[str] = msgspec.field(default_factory=Counter)
    """Epochs by what made them, and nodes punished (:class:`~vppd.simulate.epochs.Chronicle`);
    ``proposed``: changes people asked for."""
    catch_ups: int = 0
    transactions: int = 0
    trace: str = ""
    """Hash over every event, in order."""
