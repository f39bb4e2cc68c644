"""Some replicas that talk to each other by hand: cuts, crashes, timers fired when told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.consensus.harness import CHAIN, STATE, UNIX_MS, header, key_of, validator_set
from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import (
    Applied,
    BodyRecord,
    DecisionRecord,
    Fired,
    Input,
    Now,
    ObserverRecord,
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
    BlockBody,
    Blocks,
    Commit,
    ConsensusMessage,
    DecidedBlock,
    GetBlock,
    GetBlocks,
    NewView,
    Prepare,
    ViewChange,
)
from vppd.consensus.profile import PBFT, EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import sha256
from vppd.merkle import EMPTY_ROOT
from vppd.types import Digest, Mode


def nonce_of(member: int) -> Digest:
    """What the memory of one that joins, or has forgotten, is called."""
    return sha256(b"nonce %d" % member)


LOOPS = (Block, Prepare, Commit, ViewChange)


class Member:
    """One replica with its disk."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.log: list[Record] = []
        self.replica: Replica | None = None
        self.timers: dict[Timer, int] = {}
        self.decided: dict[int, Digest] = {}
        self.parent: Digest = CHAIN
        self.sent: list[ConsensusMessage] = []
        self.steps: list[Step] = []


class Group:
    """n replicas; messages between those that are ``cut`` are lost.

    A member keeps its number; its index is another one in each epoch of ``eras``.

    Args:
        n: how many.
        profile: which engine.
        f, p: as configured.
        path: as configured, where the engine has more than one.
        eras: epochs after the founding one, ascending.
        joiners: members that genesis does not list; :func:`nonce_of` names their memory.
    """

    def __init__(
        self,
        n: int = 4,
        profile: EngineProfile = PBFT,
        f: int | None = None,
        p: int | None = None,
        path: PathSetting = "broadcast",
        eras: Iterable[ValidatorSet] = (),
        joiners: int = 0,
    ) -> None:
        self.validators = msgspec.structs.replace(validator_set(n, f), p=p)
        self.eras = [self.validators, *eras]
        self.quorum = self.validators.quorum
        self.profile = profile
        self.path = path
        self.ms = 0
        self.cut: set[tuple[int, int]] = set()
        self.dropped: set[type] = set()
        """Kinds of messages the network loses."""
        self.next_due_ms: int | None = None
        """What the ledger answers to every block: when it has something to do by itself."""
        self.members = [Member(i) for i in range(n + joiners)]
        for member in self.members[n:]:
            member.log = [ObserverRecord("it has not joined yet", nonce_of(member.index))]
        self._queue: deque[tuple[int, int, ConsensusMessage]] = deque()
        for member in self.members:
            self.power_on(member.index)
        self.run()
        self.fire(TimerKind.START)
        self.tick()

    # ------------------------------------------------------------ what a test does

    def power_on(self, index: int, log: Iterable[Record] | None = None) -> None:
        """Start with what the disk kept, or with another log."""
        member = self.members[index]
        if log is not None:
            member.log = list(log)
        rows = [r for r in member.log if isinstance(r, DecisionRecord)]
        member.decided = {r.height: r.digest for r in rows}
        member.parent = rows[-1].digest if rows else CHAIN
        member.timers.clear()
        height = max(member.decided, default=0)
        replica = member.replica = Replica(*self.seat(index, height + 1))
        self._take(member, replica.start(self.now(), list(member.log)))
        if member.replica is not None:  # the power may fail again at once
            self.give(index, self._applied(index, height))
        for other in self.members:
            if other is not member and other.replica is not None:
                for said in other.replica.last_words(key_of(index)):
                    self._post(other.index, index, said)

    def power_off(self, *indices: int) -> None:
        for index in indices:
            self.members[index].replica = None
        kept = [m for m in self._queue if m[0] != m[1] or m[0] not in indices]
        self._queue = deque(kept)

    def isolate(self, *indices: int) -> None:
        """Cut these off from everybody else."""
        inside = set(indices)
        for a in range(len(self.members)):
            for b in inside - {a}:
                if a not in inside:
                    self.cut |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.cut.clear()
        self.dropped.clear()

    def give(self, index: int, *inputs: Input) -> Step:
        member = self.members[index]
        assert member.replica is not None
        step = member.replica.step(self.now(), list(inputs))
        self._take(member, step)
        return step

    def tell(self, to: int, *messages: ConsensusMessage, sender: int | None = None) -> Step:
        """Hand over messages that nobody in the group has sent."""
        return self.give(to, *(Received(sender, m) for m in messages))

    def work(self, *indices: int) -> None:
        """A transaction waits at these replicas (default: all)."""
        for member in self.members:
            if member.replica is not None and (not indices or member.index in indices):
                self.give(member.index, Pending(self.ms))
        self.run()

    def rest(self) -> None:
        """No more work anywhere."""
        for member in self.members:
            if member.replica is not None:
                self.give(member.index, Pending(None))

    def fire(self, kind: TimerKind, *indices: int) -> None:
        """A timer of that kind runs out at these replicas, where it is armed (default: all)."""
        for index in indices or range(len(self.members)):
            member = self.members[index]
            armed = [t for t in member.timers if t.kind is kind]
            if member.replica is not None and armed:
                del member.timers[armed[-1]]
                self.give(index, Fired(armed[-1]))
        self.run()

    def tick(self, rounds: int = 1) -> None:
        """A second passes: everybody says where it stands."""
        for _ in range(rounds):
            self.ms += 1_000
            self.fire(TimerKind.TICK)

    def decide(self, heights: int = 1) -> None:
        """So many more heights, in good weather."""
        for _ in range(heights):
            self.work()
            self.rest()
            self.run()

    # ------------------------------------------------------------ epochs

    def in_force(self, height: int) -> ValidatorSet:
        """Who votes at a height."""
        return max((e for e in self.eras if e.first <= height), key=lambda e: e.epoch)

    def seat(self, index: int, height: int) -> Seat:
        """A member's place in the epoch of a height."""
        era = self.in_force(height)
        settings = Settings(chain_id=CHAIN, path=self.path)
        return Seat(self.profile, settings, era, era.index.get(key_of(index)))

    def _applied(self, index: int, height: int) -> Applied:
        after = self.in_force(height + 2).digest
        seat = self.seat(index, height + 1)
        return Applied(height, STATE, EMPTY_ROOT, self.next_due_ms, seat, after)

    def _era_of(self, member: Member) -> ValidatorSet:
        """The epoch a member lives in."""
        assert member.replica is not None
        return self.eras[member.replica.status().epoch]

    def _member(self, era: ValidatorSet, index: int) -> int:
        """Whose index that is."""
        keys = [key_of(m.index) for m in self.members]
        return keys.index(era.members[index].key)

    # ------------------------------------------------------------ what a test sees

    def now(self) -> Now:
        return Now(self.ms, UNIX_MS + self.ms)

    def views(self) -> list[int]:
        return [m.replica.status().view for m in self.members if m.replica is not None]

    def modes(self) -> list[Mode]:
        return [m.replica.status().mode for m in self.members if m.replica is not None]

    def heights(self) -> list[int]:
        return [max(m.decided, default=0) for m in self.members]

    def agree(self) -> bool:
        """No two members have decided different blocks at one height."""
        seen: dict[int, Digest] = {}
        return all(seen.setdefault(h, d) == d for m in self.members for h, d in m.decided.items())

    def armed(self, index: int, kind: TimerKind) -> list[int]:
        """Delays of that kind of timer at a replica."""
        return [ms for t, ms in self.members[index].timers.items() if t.kind is kind]

    def said(self, index: int, kind: type[ConsensusMessage]) -> list[Any]:
        return [m for m in self.members[index].sent if isinstance(m, kind)]

    # ------------------------------------------------------------ inside

    def run(self) -> None:
        """Deliver until nothing is under way."""
        for _ in range(100_000):
            if not self._queue:
                return
            sender, to, message = self._queue.popleft()
            member = self.members[to]
            if member.replica is None:
                continue
            if isinstance(message, GetBlock | GetBlocks):
                answer = self._answer(member, message)
                if answer is not None:
                    self._post(to, sender, answer)
                continue
            sent_by = self._era_of(member).index.get(key_of(sender))
            step = member.replica.step(self.now(), [Received(sent_by, message)])
            self._take(member, step)
        raise AssertionError("the group never comes to rest")

    def _post(self, sender: int, to: int, message: ConsensusMessage) -> None:
        if (sender, to) not in self.cut and type(message) not in self.dropped:
            self._queue.append((sender, to, message))

    def _take(self, member: Member, step: Step) -> None:
        member.steps.append(step)
        member.log += step.persist
        era = self.validators if member.replica is None else self._era_of(member)
        for send in step.send:
            member.sent.append(send.message)
            everybody = send.to == "all"
            if isinstance(send.to, str):
                targets = list(range(len(self.members)))
            else:
                targets = [self._member(era, i) for i in send.to]
            for to in targets:
                if to != member.index:
                    self._post(member.index, to, send.message)
            if everybody and isinstance(send.message, LOOPS):
                self._queue.append((member.index, member.index, send.message))
        for timer, delay in step.timers:
            member.timers.pop(timer, None)
            if delay is not None:
                member.timers[timer] = delay
        for decision in step.commit:
            member.decided[decision.height] = decision.digest
            member.parent = decision.digest
            applied = self._applied(member.index, decision.height)
            if member.replica is not None:
                self._take(member, member.replica.step(self.now(), [Pending(None), applied]))
        if member.replica is None:
            return
        if step.want is not None and step.want == max(member.decided, default=0) + 1:
            made = header(
                self.in_force(step.want),
                step.want,
                member.parent,
                proposer=key_of(member.index),
                next_validators=self.in_force(step.want + 1).digest,
                time_ms=UNIX_MS + step.want,
                txs=(b"tx %d" % member.index,),
            )
            offered = Offered(made.encode(), (b"tx %d" % member.index,))
            self._take(member, member.replica.step(self.now(), [offered]))

    def _answer(self, member: Member, ask: GetBlock | GetBlocks) -> BlockBody | Blocks | None:
        """Requests for bodies and ranges are answered from the disk, not by the replica."""
        bodies = {r.digest: r for r in member.log if isinstance(r, BodyRecord)}
        if isinstance(ask, GetBlock):
            held = bodies.get(ask.digest)
            if held is None:
                return None
            at = (self.in_force(held.height).epoch, held.view, held.height)
            return BlockBody(*at, held.digest, held.header, held.txs, held.proposal_sig)
        end = self.in_force(ask.first).epoch
        rows = [
            r
            for r in member.log
            if isinstance(r, DecisionRecord)
            and r.height >= ask.first
            and r.certificate.epoch == end
        ]
        blocks = ((bodies[r.digest], r.certificate) for r in rows)
        made = tuple(DecidedBlock(b.header, b.txs, certificate) for b, certificate in blocks)
        return Blocks(made) if made else None


def new_views(group: Group, index: int) -> list[NewView]:
    return group.said(index, NewView)
