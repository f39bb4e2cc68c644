"""A chain that four replicas really made, and a victim that can be put at any point of it.

Replicas 0 to 3 decide some heights under leader 0, who collects their votes; once its ``agree`` is
lost, and they go on without. Then it falls silent: the others change to view 1, whose leader ends
its wait for the fourth vote, and 0 comes back and catches up. Everything that anybody said is
kept, with what replica 2, the victim, was told and when. A victim is made by telling a fresh
replica the beginning of that; what the others say later is then valid, and new to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, Host, payment
from vppd.codec import Message, encode
from vppd.consensus.boundary import BodyRecord, Timer
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Blocks,
    Claim,
    Concealment,
    DecidedBlock,
    Equivocation,
    Evidence,
    GetBlock,
    GetBlocks,
    Ping,
    Round,
    Standing,
    Txs,
    Type,
)
from vppd.consensus.signing import TAG_VOTE, sign_bytes, standing_bytes
from vppd.crypto import sha256
from vppd.net.gate import decode_message
from vppd.node.beats import Effects, Frame

VICTIM = 2
LIARS = (0, 3)
"""One of these lies, in each attack; 0 leads view 0."""
CHAIN_ID = GENESIS.digest
COLLECTING = replace(GENESIS, consensus=replace(GENESIS.consensus, path="collect"))
_LONG = 400
"""Rounds of a play: it has hung if it takes more."""


class Heard(NamedTuple):
    """A frame from another replica."""

    ms: int
    sender: int
    frame: Frame


class Asked(NamedTuple):
    """A client's transaction."""

    ms: int
    raw: bytes


class Rang(NamedTuple):
    """A timer ran out."""

    ms: int
    timer: Timer


Act: TypeAlias = Heard | Asked | Rang


class Actor(Host):
    """A host that keeps its timers."""

    def __init__(self, index: int) -> None:
        super().__init__(index, genesis=COLLECTING)
        self.due: dict[Timer, int] = {}

    def _note(self, effects: Effects) -> Effects:
        for timer, delay_ms in effects.timers:
            self.due.pop(timer, None)
            if delay_ms is not None:
                self.due[timer] = self.ms + delay_ms
        return super()._note(effects)

    def turns(self) -> list[Frame]:
        """Until nothing is left to do; what it says."""
        said: list[Frame] = []
        while self.machine.has_work:
            said += self.turn().frames
        return said

    def perform(self, act: Act) -> None:
        """Live through one act, and its turns."""
        self.ms = act.ms
        match act:
            case Heard(_, sender, frame):
                self.take(sender, frame)
            case Asked(_, raw):
                self.machine.submit(raw, self.ms, own=True)
            case Rang(_, timer):
                self.due.pop(timer, None)
                self.machine.fire(timer)
        self.turns()


class Play(NamedTuple):
    """What came of it."""

    script: tuple[Act, ...]
    """The victim's."""
    said: tuple[tuple[int, Frame], ...]
    """By whom, in order; without what is the same for all."""
    digests: tuple[bytes, ...]
    """Of the decided blocks, from height 1."""


class _Stage:
    """All replicas and the air between them."""

    def __init__(self) -> None:
        self.actors = [Actor(i) for i in range(4)]
        self.present = set(range(4))
        self.lost: set[Type] = set()
        """What the air swallows just now."""
        self.script: list[Act] = []
        self.said: list[tuple[int, Frame]] = []
        self.nonces = [0] * 4
        self.ms = 0

    def begin(self) -> None:
        for actor in self.actors:
            self._spread(actor.index, actor.start().frames)
        self.settle()

    def pay(self, sender: int) -> None:
        raw = payment(sender, self.nonces[sender])
        self.nonces[sender] += 1
        self._perform(sender, Asked(self.ms, raw))
        self.settle()

    def until_height(self, height: int) -> None:
        """Let timers run until everybody present has it."""
        for _ in range(_LONG):
            if all(self.actors[i].machine.ledger.height >= height for i in self.present):
                return
            due = [(at, i, t) for i in sorted(self.present) for t, at in self.actors[i].due.items()]
            at, i, timer = min(due)
            self.ms = max(self.ms, at)
            self._perform(i, Rang(self.ms, timer))
            self.settle()
        raise AssertionError(f"height {height} does not come")

    def until_idle(self) -> None:
        """Until everybody has decided whatever waits."""
        for _ in range(_LONG):
            heights = [actor.machine.ledger.height for actor in self.actors]
            waiting = any(len(actor.machine.mempool) for actor in self.actors)
            if not waiting and min(heights) == max(heights):
                return
            self.until_height(max(heights) + waiting)
        raise AssertionError("they never have enough")

    def settle(self) -> None:
        for _ in range(_LONG):
            busy = [self.actors[i] for i in sorted(self.present) if self.actors[i].machine.has_work]
            if not busy:
                return
            for actor in busy:
                self._spread(actor.index, actor.turns())
        raise AssertionError("they talk for ever")

    def _perform(self, i: int, act: Act) -> None:
        actor = self.actors[i]
        actor.ms = act.ms
        if i == VICTIM:
            self.script.append(act)
        match act:
            case Heard(_, sender, frame):
                actor.take(sender, frame)
            case Asked(_, raw):
                actor.machine.submit(raw, act.ms, own=True)
            case Rang(_, timer):
                actor.due.pop(timer, None)
                actor.machine.fire(timer)

    def _spread(self, sender: int, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.said.append((sender, frame))
            if frame.type in self.lost:
                continue
            for other in sorted(self.present - {sender}):
                if frame.to == "all" or other in frame.to:
                    self._perform(other, Heard(self.ms, sender, frame))
                    if frame.type in (Type.GET_BLOCK, Type.GET_BLOCKS):
                        self._answer(other, sender, frame)

    def _answer(self, asked: int, asker: int, frame: Frame) -> None:
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, GetBlocks):
            held = decided(self.actors[asked])[message.first - 1 :]
            if held:
                self._spread(asked, [framed(Blocks(tuple(held)), asker)])


def framed(message: Message, *to: int) -> Frame:
    """For these replicas."""
    return Frame(to, TYPE_OF[type(message)], encode(message))


def decided(actor: Actor) -> list[DecidedBlock]:
    """What a replica would answer a laggard with."""
    return [
        DecidedBlock(done.decision.header, done.decision.txs, done.decision.certificate)
        for done in actor.committed
    ]


@cache
def play() -> Play:
    """The whole of it; the same each time."""
    stage = _Stage()
    stage.begin()
    for height in (1, 2, 3):
        for sender in (1, 2, 3):
            stage.pay(sender)
        stage.until_height(height)
    stage.lost.add(Type.AGREE)
    stage.pay(2)
    stage.until_height(max(actor.machine.ledger.height for actor in stage.actors))
    stage.lost.clear()
    stage.present.discard(0)
    for height in (stage.actors[1].machine.ledger.height + 1,) * 2:
        for sender in (1, 2, 3):
            stage.pay(sender)
        stage.until_height(height)
    stage.present.add(0)
    for actor in stage.actors[1:]:
        actor.machine.reconnected(0)
    stage.settle()
    stage.until_idle()
    teller = stage.actors[1]
    digests = tuple(done.decision.digest for done in teller.committed)
    stage.said += ((1, frame) for frame in _others(teller))
    seen: dict[tuple[int, Type, bytes], Frame] = {}
    for sender, frame in stage.said:
        seen.setdefault((sender, frame.type, frame.payload), frame)
    said = tuple((sender, frame) for (sender, _, _), frame in seen.items())
    return Play(tuple(stage.script), said, digests)


def _others(teller: Actor) -> Iterator[Frame]:
    """What nobody had a reason to say: requests, answers, and proof against a liar."""
    blocks = decided(teller)
    for size in (1, len(blocks)):
        yield framed(Blocks(tuple(blocks[:size])))
    for record in teller.log:
        if isinstance(record, BodyRecord) and record.proposal_sig:
            body = teller.machine.body_of(record)
            assert body is not None
            yield framed(body)
    yield from (framed(Agree(block.certificate)) for block in blocks)
    yield from (framed(GetBlock(blocks[0].certificate.digest)), framed(GetBlocks(1)))
    yield framed(Ping(1_767_225_600_000))
    yield framed(Txs(tuple(raw for block in blocks for raw in block.txs)))
    for height in (1, 4):
        yield from (framed(Evidence(proof)) for proof in proofs(LIARS[1], height))


def proofs(liar: int, height: int) -> tuple[Equivocation, Concealment]:
    """Valid ones, against a replica that has signed two things and hidden one."""
    one, two = sha256(b"one"), sha256(b"two")
    sign = KEYS[liar].sign
    first, second = (sign(sign_bytes(TAG_VOTE, CHAIN_ID, 0, 0, height, d)) for d in (one, two))
    head = play_head(height - 1)
    standing = Standing(0, 2, liar, height - 1, head, None, None, bytes(64))
    signed = sign(standing_bytes(CHAIN_ID, standing))
    hiding = Standing(0, 2, liar, height - 1, head, None, None, signed)
    return (
        Equivocation(Round.VOTE, 0, 0, height, liar, one, first, two, second),
        Concealment(hiding, Claim(0, one), first),
    )


def play_head(height: int) -> bytes:
    """A digest to stand on; only height 0 has to be right."""
    return CHAIN_ID if height == 0 else sha256(b"head %d" % height)


def victim(acts: int) -> Actor:
    """A replica that has lived through so many acts of the play."""
    actor = Actor(VICTIM)
    actor.start()
    actor.turns()
    for act in play().script[:acts]:
        actor.perform(act)
    return actor
