"""Replicas without a node: steps taken by hand, messages handed over one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vppd.consensus.boundary import (
    Applied,
    Fired,
    Input,
    Now,
    Offered,
    Pending,
    Received,
    Record,
    Seat,
    Step,
    Timer,
    TimerKind,
)
from vppd.consensus.chain import Settings
from vppd.consensus.messages import (
    Block,
    Commit,
    ConsensusMessage,
    Equivocation,
    Prepare,
    Status,
)
from vppd.consensus.profile import PBFT, EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.crypto import sha256
from vppd.header import VERSION, Header
from vppd.merkle import EMPTY_ROOT, merkle_root
from vppd.types import ZERO_DIGEST, Digest, Epoch, Height, PublicKey, Role

CHAIN = sha256(b"a test chain")
UNIX_MS = 1_750_000_000_000
STATE = sha256(b"state")


def key_of(node: int) -> PublicKey:
    return sha256(b"%d" % node)


def validator_set(n: int, f: int | None = None) -> ValidatorSet:
    members = (Validator(key_of(i), Role.OPERATOR if i == 0 else Role.DER) for i in range(n))
    return ValidatorSet.of(0, members, f)


def era_set(
    epoch: Epoch, first: Height, *nodes: int, nonces: Mapping[int, Digest] | None = None
) -> ValidatorSet:
    """The members of a later epoch, by the index they had in genesis or would have had."""
    named = nonces or {}
    members = (
        Validator(
            key_of(i),
            Role.OPERATOR if i == 0 else Role.DER,
            nonce=named.get(i, ZERO_DIGEST),
        )
        for i in nodes
    )
    return ValidatorSet.of(epoch, members, first=first, engine="pbft")


def header(
    validators: ValidatorSet,
    height: int = 1,
    parent: Digest = CHAIN,
    txs: Sequence[bytes] = (b"tx",),
    **changes: Any,
) -> Header:
    made = Header(
        version=VERSION,
        chain_id=CHAIN,
        epoch=validators.epoch,
        height=height,
        parent=parent,
        time_ms=UNIX_MS + height,
        proposer=validators.members[0].key,
        tx_root=merkle_root(txs),
        state_root=STATE,
        receipts_root=EMPTY_ROOT,
        next_validators=validators.digest,
        tx_count=len(txs),
        body_bytes=sum(map(len, txs)),
    )
    return made._replace(**changes)


def signature(signer: int, what: object) -> bytes:
    return (sha256(repr((signer, what)).encode()) * 2)[:64]


def block(made: Header, txs: Sequence[bytes] = (b"tx",), view: int = 0, leader: int = 0) -> Block:
    digest = made.digest()
    return Block(
        made.epoch, view, made.height, digest, 0, made.encode(), tuple(txs),
        signature(leader, ("P", view, digest)), signature(leader, ("1", view, digest)),
    )  # fmt: skip


def prepare(signer: int, made: Header, view: int = 0) -> Prepare:
    digest = made.digest()
    at = (made.epoch, view, made.height)
    return Prepare(*at, digest, signer, signature(signer, ("1", view, digest)))


def commit(signer: int, made: Header, view: int = 0) -> Commit:
    digest = made.digest()
    at = (made.epoch, view, made.height)
    return Commit(*at, digest, signer, signature(signer, ("2", view, digest)))


class Lab:
    """One replica under test.

    Args:
        n: how many there are.
        own: its index; ``None``: it follows.
        ready: whether it has heard enough to vote.
        profile: which engine.
        node: whose key it has, if that is none of the founders'.
    """

    def __init__(
        self,
        n: int = 4,
        own: int | None = 1,
        *,
        ready: bool = True,
        profile: EngineProfile = PBFT,
        node: int | None = None,
    ) -> None:
        self.validators = validator_set(n)
        self.quorum = self.validators.quorum
        self.profile = profile
        self.own = own
        self.node = own if node is None else node
        self.ms = 0
        self.log: list[Record] = []
        self.replica = self._fresh()
        self.boot: Step = self._note(self.replica.start(self.now(), []))
        if ready:
            self.fire(TimerKind.START)
            self.give(Applied(0, STATE, EMPTY_ROOT))

    def _fresh(self) -> Replica:
        return Replica(*self.seat(self.validators))

    def seat(self, validators: ValidatorSet) -> Seat:
        """This node's place in an epoch."""
        own = None if self.node is None else validators.index.get(key_of(self.node))
        return Seat(self.profile, Settings(chain_id=CHAIN), validators, own)

    def now(self) -> Now:
        return Now(self.ms, UNIX_MS + self.ms)

    def _note(self, step: Step) -> Step:
        self.log += step.persist
        return step

    def give(self, *inputs: Input) -> Step:
        return self._note(self.replica.step(self.now(), inputs))

    def hear(self, *messages: ConsensusMessage, sender: int = 0) -> Step:
        return self.give(*(Received(sender, message) for message in messages))

    def fire(self, kind: TimerKind, mark: int = 0) -> Step:
        return self.give(Fired(Timer(kind, mark)))

    def pending(self, since_ms: int | None = 0) -> Step:
        return self.give(Pending(since_ms))

    def offer(self, made: Header, txs: Sequence[bytes] = (b"tx",)) -> Step:
        return self.give(Offered(made.encode(), tuple(txs)))

    def applied(self, height: int, next_set: ValidatorSet | None = None) -> Step:
        """The head is executed; ``next_set``: who votes two heights on, if others do."""
        announced = None if next_set is None else next_set.digest
        return self.give(Applied(height, STATE, EMPTY_ROOT, next_set=announced))

    def enter(self, validators: ValidatorSet, *inputs: Input, ready: bool = True) -> Step:
        """The head is executed, and with it this epoch begins; ``inputs`` come along."""
        seat = self.seat(validators)
        self.validators, self.quorum, self.own = validators, validators.quorum, seat.own
        height = validators.first - 1
        step = self.give(Applied(height, STATE, EMPTY_ROOT, seat=seat), *inputs)
        if ready:
            self.fire(TimerKind.START, validators.epoch)
        return step

    def restart(self, records: Iterable[Record] | None = None, *, ready: bool = True) -> Step:
        """Power off and on: a new engine with what the disk kept (default: everything)."""
        self.log = list(self.log if records is None else records)
        self.replica = self._fresh()
        step = self._note(self.replica.start(self.now(), self.log))
        if ready:
            self.fire(TimerKind.START, self.validators.epoch)
        return step

    def status_of(self, sender: int, decided: int, view: int = 0) -> Step:
        return self.hear(Status(self.validators.epoch, decided, view, 0), sender=sender)

    def decide(self, made: Header) -> Step:
        """Everything it takes to decide one block, from the other replicas."""
        step = self.decided(made)
        self.applied(made.height)
        return step

    def decided(self, made: Header, leader: int = 0) -> Step:
        """The same, but for its execution."""
        others = [i for i in range(self.quorum.n) if i != self.own][: self.quorum.vote]
        self.hear(block(made, leader=leader), sender=leader)
        return self.hear(*(commit(i, made) for i in others))

    def last_of_epoch(self, after: ValidatorSet) -> Step:
        """Decide up to the epoch's last block, which announces who votes after it."""
        parent, head = CHAIN, self.replica.status()
        if head.decided:
            parent = head.head
        for height in range(head.decided + 1, after.first - 1):
            self.decided(made := header(self.validators, height, parent))
            self.applied(height, after if height == after.first - 2 else None)
            parent = made.digest()
        if after.first == head.decided + 2:
            self.applied(head.decided, after)
        last = header(self.validators, after.first - 1, parent, next_validators=after.digest)
        return self.decided(last)


def sent(step: Step, kind: type[ConsensusMessage]) -> list[Any]:
    return [send.message for send in step.send if isinstance(send.message, kind)]


def sent_to(step: Step, kind: type[ConsensusMessage]) -> list[tuple[Any, Any]]:
    return [(send.to, send.message) for send in step.send if isinstance(send.message, kind)]


def kept(step: Step, kind: type) -> list[Any]:
    return [record for record in step.persist if isinstance(record, kind)]


def equivocations(step: Step) -> list[Equivocation]:
    return [proof for proof in step.faults if isinstance(proof, Equivocation)]
