"""Replicas without a node: steps taken by hand, messages handed over one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from vppd.consensus.profile import PBFT
from vppd.consensus.replica import Replica
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.crypto import sha256
from vppd.header import VERSION, Header
from vppd.merkle import EMPTY_ROOT, merkle_root
from vppd.types import Digest, Role

CHAIN = sha256(b"a test chain")
UNIX_MS = 1_750_000_000_000
STATE = sha256(b"state")


def validator_set(n: int, f: int | None = None) -> ValidatorSet:
    members = (
        Validator(sha256(b"%d" % i), Role.OPERATOR if i == 0 else Role.DER) for i in range(n)
    )
    return ValidatorSet.of(0, members, f)


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
        epoch=0,
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
    return Prepare(0, view, made.height, digest, signer, signature(signer, ("1", view, digest)))


def commit(signer: int, made: Header, view: int = 0) -> Commit:
    digest = made.digest()
    return Commit(0, view, made.height, digest, signer, signature(signer, ("2", view, digest)))


class Lab:
    """One replica under test."""

    def __init__(self, n: int = 4, own: int | None = 1, *, ready: bool = True) -> None:
        self.validators = validator_set(n)
        self.quorum = self.validators.quorum
        self.own = own
        self.ms = 0
        self.log: list[Record] = []
        self.replica = self._fresh()
        self.boot: Step = self._note(self.replica.start(self.now(), []))
        if ready:
            self.fire(TimerKind.START)
            self.give(Applied(0, STATE, EMPTY_ROOT))

    def _fresh(self) -> Replica:
        return Replica(PBFT, Settings(chain_id=CHAIN), self.validators, self.own)

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

    def applied(self, height: int) -> Step:
        return self.give(Applied(height, STATE, EMPTY_ROOT))

    def restart(self, records: Iterable[Record] | None = None, *, ready: bool = True) -> Step:
        """Power off and on: a new engine with what the disk kept (default: everything)."""
        self.log = list(self.log if records is None else records)
        self.replica = self._fresh()
        step = self._note(self.replica.start(self.now(), self.log))
        if ready:
            self.fire(TimerKind.START)
        return step

    def status_of(self, sender: int, decided: int, view: int = 0) -> Step:
        return self.hear(Status(0, decided, view, 0), sender=sender)

    def decide(self, made: Header) -> Step:
        """Everything it takes to decide one block, from the other replicas."""
        others = [i for i in range(self.quorum.n) if i != self.own][: self.quorum.vote]
        self.hear(block(made))
        step = self.hear(*(commit(i, made) for i in others))
        self.applied(made.height)
        return step


def sent(step: Step, kind: type[ConsensusMessage]) -> list[Any]:
    return [send.message for send in step.send if isinstance(send.message, kind)]


def sent_to(step: Step, kind: type[ConsensusMessage]) -> list[tuple[Any, Any]]:
    return [(send.to, send.message) for send in step.send if isinstance(send.message, kind)]


def kept(step: Step, kind: type) -> list[Any]:
    return [record for record in step.persist if isinstance(record, kind)]


def equivocations(step: Step) -> list[Equivocation]:
    return [proof for proof in step.faults if isinstance(proof, Equivocation)]
