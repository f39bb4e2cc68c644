"""What passes between a machine and its host, beat by beat (:mod:`vppd.node.machine`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from vppd.codec import encode
from vppd.consensus.boundary import Decision, Record, Step, Timer
from vppd.consensus.messages import TXS_BYTES, Proof, Txs, Type
from vppd.ledger.execution import Execution
from vppd.ledger.transaction import Transaction
from vppd.types import PeerNumber

HEAD_BYTES = 5
"""What says in a frame how long a transaction is, at most."""
Receivers: TypeAlias = tuple[PeerNumber, ...] | Literal["all"]


class Frame(NamedTuple):
    """A frame to send."""

    to: Receivers
    type: Type
    payload: bytes


class Turn(NamedTuple):
    """First beat: what must be durable before anything of it may be seen outside."""

    records: tuple[Record, ...]
    step: Step


class Committed(NamedTuple):
    """A decided block and what executing it did."""

    decision: Decision
    execution: Execution


class Effects(NamedTuple):
    """Second beat: what the host does now, in this order."""

    frames: tuple[Frame, ...]
    committed: tuple[Committed, ...]
    timers: tuple[tuple[Timer, int | None], ...]
    dropped: tuple[Transaction, ...]
    """Transactions that wait here no more: they can never be decided, or they made room."""
    faults: tuple[Proof, ...]


def in_frames(to: Receivers, raws: Iterable[bytes]) -> list[Frame]:
    """Transactions in as few frames as take them."""
    frames: list[Frame] = []
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        taken = len(raw) + HEAD_BYTES
        if batch and size + taken > TXS_BYTES:
            frames.append(Frame(to, Type.TXS, encode(Txs(tuple(batch)))))
            batch, size = [], 0
        batch.append(raw)
        size += taken
    if batch:
        frames.append(Frame(to, Type.TXS, encode(Txs(tuple(batch)))))
    return frames
