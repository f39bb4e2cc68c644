"""Some replicas that talk to each other by hand: cuts, crashes, timers fired when told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.consensus.harness import CHAIN, STATE, UNIX_MS, header, validator_set
from vppd.config.genesis import PathSetting
from vppd.consensus.boundary import (
    Applied,
    BodyRecord,
    DecisionRecord,
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
from vppd.merkle import EMPTY_ROOT
from vppd.types import Digest, Mode

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

    Args:
        n: how many.
        profile: which engine.
        f, p: as configured.
        path: as configured, where the engine has more than one.
    """

    def __init__(
        self,
        n: int = 4,
        profile: EngineProfile = PBFT,
        f: int | None = None,
        p: int | None = None,
        path: PathSetting = "broadcast",
    ) -> None:
        self.validators = msgspec.structs.replace(validator_set(n, f), p=p)
        self.quorum = self.validators.quorum
        self.profile = profile
        self.path = path
        self.ms = 0
        self.cut: set[tuple[int, int]] = set()
        self.dropped: set[type] = set()
        """Kinds of messages the network loses."""
        self.next_due_ms: int | None = None
        """What the ledger answers to every block: when it has something to do by itself."""
        self.members = [Member(i) for i in range(n)]
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
        settings = Settings(chain_id=CHAIN, path=self.path)
        replica = member.replica = Replica(self.profile, settings, self.validators, index)
        self._take(member, replica.start(self.now(), list(member.log)))
        height = max(member.decided, default=0)
        if member.replica is not None:  # the power may fail again at once
            self.give(index, Applied(height, STATE, EMPTY_ROOT))
        for other in self.members:
            if other is not member and other.replica is not None:
                for said in other.replica.last_words(index):
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
            step = member.replica.step(self.now(), [Received(sender, message)])
            self._take(member, step)
        raise AssertionError("the group never comes to rest")

    def _post(self, sender: int, to: int, message: ConsensusMessage) -> None:
        if (sender, to) not in self.cut and type(message) not in self.dropped:
            self._queue.append((sender, to, message))

    def _take(self, member: Member, step: Step) -> None:
        member.steps.append(step)
        member.log += step.persist
        for send in step.send:
            member.sent.append(send.message)
            everybody = send.to == "all"
            targets = range(len(self.members)) if isinstance(send.to, str) else send.to
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
            applied = Applied(decision.height, STATE, EMPTY_ROOT, next_due_ms=self.next_due_ms)
            if member.replica is not None:
                self._take(member, member.replica.step(self.now(), [Pending(None), applied]))
        if member.replica is None:
            return
        if step.want is not None and step.want == max(member.decided, default=0) + 1:
            made = header(
                self.validators,
                step.want,
                member.parent,
                proposer=self.validators.members[member.index].key,
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
            at = (0, held.view, held.height)
            return BlockBody(*at, held.digest, held.header, held.txs, held.proposal_sig)
        rows = [r for r in member.log if isinstance(r, DecisionRecord) and r.height >= ask.first]
        blocks = ((bodies[r.digest], r.certificate) for r in rows)
        made = tuple(DecidedBlock(b.header, b.txs, certificate) for b, certificate in blocks)
        return Blocks(made) if made else None


def new_views(group: Group, index: int) -> list[NewView]:
    return group.said(index, NewView)
