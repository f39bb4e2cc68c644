"""The boundary of the pure core: what goes in, what comes out, in which order.

Time and everything else the core may learn are inputs; everything it wants done is a :class:`Step`,
whose fields are executed top to bottom. Nothing after ``persist`` leaves before the write is
durable. A node's own vote is an ordinary input, fed back once it is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from vppd.codec import U8, U63, Bytes32, Bytes64, Message
from vppd.consensus.messages import (
    Certificate,
    ConsensusMessage,
    NewView,
    Proof,
    Type,
    ViewChange,
)
from vppd.types import Digest, Epoch, Height, Mode, PublicKey, ReplicaIndex, TimeMs, View

if TYPE_CHECKING:
    from vppd.consensus.chain import Settings
    from vppd.consensus.profile import EngineProfile
    from vppd.consensus.validators import ValidatorSet


class Now(NamedTuple):
    """One reading of both clocks, in milliseconds, made by the node before each step."""

    monotonic_ms: int
    unix_ms: TimeMs


# ---------------------------------------------------------------- inputs


class Received(NamedTuple):
    """A consensus message whose shape, size and every signature the gate has checked.

    ``sender`` is the peer that handed it over (not always its signer); ``None``: not a validator.
    """

    sender: ReplicaIndex | None
    message: ConsensusMessage


class Offered(NamedTuple):
    """Answer to ``Step.want``: a block for that height, built on the node's own head."""

    header: bytes
    txs: tuple[bytes, ...]


class Pending(NamedTuple):
    """There is work: since when the oldest executable transaction waits; ``None``: no more."""

    since_ms: int | None


class TimerKind(StrEnum):
    """What a timer is for."""

    TICK = "tick"
    """Status, retransmission."""
    IDLE = "idle"
    """Leader: an empty block is due."""
    DUE = "due"
    """Leader: a time trigger of the ledger is due."""
    FETCH = "fetch"
    """A requested body or range has not come: ask the next peer."""
    START = "start"
    """Voting is allowed although not every peer has said where it stands."""
    VIEW = "view"
    """T_view: there was work, and nothing was decided."""
    CHANGE = "change"
    """T_vc: enough replicas have asked for this view, and its leader has not opened it."""
    CHOICE = "choice"
    """T_body: the body a new leader must propose has not come."""
    GRACE = "grace"
    """T_grace: q votes are here, the others have not come to the leader who collects them."""
    REPLICA = "replica"
    """T_rep: a replica that gave its vote to the leader has heard no decision."""
    HOLD = "hold"
    """T_hold: q votes are here, the others have not come to a replica that all vote to."""


class Timer(NamedTuple):
    """Compares by value; ``mark`` makes a stale one recognisable."""

    kind: TimerKind
    mark: int = 0


class Fired(NamedTuple):
    """A timer that was armed has run out."""

    timer: Timer


class Seat(NamedTuple):
    """A node's place in one epoch."""

    profile: EngineProfile
    settings: Settings
    validators: ValidatorSet
    own: ReplicaIndex | None
    """``None``: its key is not among them."""


class Applied(NamedTuple):
    """The ledger has executed decided block ``height``."""

    height: Height
    state_root: Digest
    receipts_root: Digest
    next_due_ms: TimeMs | None = None
    """Block time at which the ledger has something to do even without a transaction."""
    seat: Seat | None = None
    """In the epoch in force at ``height + 1``; ``None``: the one the engine is in."""
    next_set: Digest | None = None
    """Hash of the validator set in force at ``height + 2``; ``None``: the same as before."""


class Drawn(NamedTuple):
    """Thirty-two random bytes for a node that wants to be admitted; taken once (§4)."""

    nonce: Digest


Input: TypeAlias = Received | Offered | Pending | Fired | Applied | Drawn


# ---------------------------------------------------------------- the log: what survives


class VoteRecord(Message, frozen=True, tag=1):
    """The one first-round vote slot (protocol.md, §4)."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32


class ProposalRecord(Message, frozen=True, tag=2):
    """What this leader proposed at (view, height): exactly this, never another."""

    epoch: U63
    view: U63
    height: U63
    digest: Bytes32


class PreparedRecord(Message, frozen=True, tag=3):
    """The prepared certificate, written before the commit it justifies leaves."""

    certificate: Certificate


class BodyRecord(Message, frozen=True, tag=4):
    """A block body by digest, written once, before anything that refers to it."""

    digest: Bytes32
    height: U63
    view: U63
    header: bytes
    txs: tuple[bytes, ...]
    proposal_sig: bytes
    """Empty when the block came with a certificate instead of a proposal."""


class DecisionRecord(Message, frozen=True, tag=5):
    """Height → digest, with the certificate that decided it; never changed or removed."""

    height: U63
    digest: Bytes32
    certificate: Certificate


class ViewRecord(Message, frozen=True, tag=6):
    """Where this replica stands; written before anything in that view leaves."""

    epoch: U63
    view: U63
    mode: U8


class ViewChangeRecord(Message, frozen=True, tag=7):
    """The view change this replica has signed for the view it asks for: resent unchanged.

    Counts only while the view record says CHANGING and names the same view.
    """

    message: ViewChange


class NewViewRecord(Message, frozen=True, tag=8):
    """The new view that was accepted or built, whole; gives H0 and the choice."""

    message: NewView


class EvidenceRecord(Message, frozen=True, tag=9):
    """Proof of misbehaviour, kept for good."""

    proof: Proof


class ObserverRecord(Message, frozen=True, tag=10):
    """This node follows and serves, and never signs again as the replica it was (§4).

    It votes again in epochs whose configuration names ``nonce``, and in no other.
    """

    reason: Annotated[str, Meta(max_length=256)]
    """For people."""
    nonce: Bytes32
    """Drawn after the loss, or before the first vote of a node that genesis does not list, and on
    disk before anybody hears of it. Zeros: not drawn."""


Record: TypeAlias = (
    VoteRecord
    | ProposalRecord
    | PreparedRecord
    | BodyRecord
    | DecisionRecord
    | ViewRecord
    | ViewChangeRecord
    | NewViewRecord
    | EvidenceRecord
    | ObserverRecord
)


# ---------------------------------------------------------------- outputs


ALL: Literal["all"] = "all"
"""Every other validator, and observers that follow."""


class Send(NamedTuple):
    """A message to send; signature fields are zero and filled in after ``persist`` returned.

    A message that carries this node's own vote also comes back to the core as ``Received``.
    """

    to: tuple[ReplicaIndex, ...] | Literal["all"]
    message: ConsensusMessage


class Decision(NamedTuple):
    """A decided block for the ledger."""

    height: Height
    digest: Digest
    header: bytes
    txs: tuple[bytes, ...]
    certificate: Certificate


class Step(NamedTuple):
    """Everything one call of the engine wants done, in this order."""

    persist: tuple[Record, ...] = ()
    """One transaction, synced."""
    send: tuple[Send, ...] = ()
    """Signed and queued only after ``persist`` returned."""
    commit: tuple[Decision, ...] = ()
    """Hand to the ledger in order; each is answered by :class:`Applied`."""
    timers: tuple[tuple[Timer, int | None], ...] = ()
    """Arm in so many milliseconds, replacing; ``None`` cancels."""
    want: Height | None = None
    """The leader asks for a block at this height; answer with :class:`Offered`."""
    faults: tuple[Proof, ...] = ()
    """Proof of misbehaviour found or learnt in this step; persisted above, gossiped below."""


class MessageHeader(NamedTuple):
    """The part of a message that tells whether it can still change anything."""

    type: Type
    epoch: Epoch
    view: View
    height: Height
    digest: Digest
    signer: ReplicaIndex
    kind: int = 0
    """Of evidence: what it is about (:func:`~vppd.consensus.evidence.charge_of`)."""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine stands, for people and metrics."""

    engine: str
    epoch: Epoch
    view: View
    mode: Mode
    leader: ReplicaIndex
    decided: Height
    head: Digest
    applied: bool
    voting: bool
    """False for an observer, and until the start rule lets it vote."""
    observer: str
    """Why this node only follows; empty for a replica that may vote."""
    nonce: Digest
    """What its memory is called in an epoch that admits it; zeros: none was drawn."""
    lost: bool = False
    """It has lost the memory it began with, or began without a right to vote: it signs only in
    epochs that name its nonce."""
    view_changes: int
    """Views this node has asked for since it started."""
    view_triggers: tuple[tuple[str, int], ...]
    """And why, by trigger, sorted by name."""
    stuck_ms: int | None
    """How long work has waited here without a decision; ``None``: no work."""
    ahead_ms: int | None
    """How far the last fresh proposal lay ahead of this clock, if that was too far to vote for."""
    evidence: int
    byzantine_tolerance: int
    quorum_slack: int
    """n − q: replicas that may be silent without stopping decisions."""
    view_slack: int
    """n − w: replicas that may be silent without stopping a change of leader."""
    fast_slack: int
    """p: replicas that may be silent without leaving the fast path, where there is one."""
    path: str
    """Of the height in flight or the last one: ``collect`` or ``broadcast``."""
    decisions: tuple[tuple[str, int], ...]
    """Decisions since the start by the way they were reached, sorted: ``fast`` (collected F
    votes), ``fast_exit`` (F votes seen), ``slow`` (q commits), ``learnt`` (without voting)."""
    fallbacks: tuple[tuple[str, int], ...]
    """Heights that went the slow way, by cause, sorted."""
    success_ppm: int
    """The leader's estimate of how often F votes come in time."""
    costs_ms: tuple[int, int, int]
    """The leader's averages: collected fast, collected slowly, broadcast; 0: not seen."""


class Engine(Protocol):
    """A consensus engine; ``step`` is total: bad input changes nothing."""

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        """Begin from genesis (empty log) or resume from what the store kept."""
        ...

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        """Take a batch of inputs in order; all their records form one transaction."""
        ...

    def wants(self, header: MessageHeader, *, firsthand: bool = True) -> bool:
        """Whether this message can still change anything; cheap, asked before verifying.

        Args:
            header: what it is about.
            firsthand: whether it came from ``header.signer`` itself.
        """
        ...

    def status(self) -> EngineStatus:
        """A snapshot."""
        ...

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """Who leads ``view`` at ``height``: whose signature a proposal needs."""
        ...

    def proposed(self, digest: Digest) -> tuple[Epoch, View, Height] | None:
        """Where this node's durable proposal is this digest, if it is its latest one."""
        ...

    def last_words(self, key: PublicKey) -> Sequence[ConsensusMessage]:
        """The newest signatures of a node that this one holds, to show it when it is back."""
        ...


ZERO_SIGNATURE: Bytes64 = bytes(64)
