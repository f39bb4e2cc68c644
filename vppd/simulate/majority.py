"""DPoS as published (P4, §3.3.2), to the letter: half of the votes make a block final.

An engine that forks without any faulty node, to be refuted in simulation; never part of a daemon.
Agents agree first on the hash h of what is to be settled, then vote on the block of the producer
whose turn it is; N/2 of them are enough, nobody is bound by the vote it gave in the last turn, and
a producer from whom nothing final comes in time is skipped. Two halves of a plant that hear
nothing of each other for that long each finish a block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar, assert_never

import msgspec

from vppd.codec import Malformed
from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    Applied,
    BodyRecord,
    Decision,
    DecisionRecord,
    Drawn,
    EngineStatus,
    Fired,
    Input,
    MessageHeader,
    Now,
    Offered,
    Pending,
    Received,
    Record,
    Step,
    Timer,
    TimerKind,
)
from vppd.consensus.certificate import assemble, signers_of
from vppd.consensus.chain import Body, Head, Settings, follows
from vppd.consensus.messages import (
    Agree,
    Block,
    Blocks,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    ConsensusMessage,
    GetBlocks,
    Path,
    Prepare,
    Status,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.profile import EngineProfile
from vppd.consensus.safety import last_decision
from vppd.consensus.schedule import producers_in_order
from vppd.consensus.signing import TAG_VOTE, sign_bytes
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.net.gate import BadSignature, Gate, decode_message
from vppd.node.beats import Frame
from vppd.node.machine import MakeEngine
from vppd.simulate.checkers import Checkers
from vppd.simulate.cluster import Cluster
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.paper import ForksOnly
from vppd.simulate.plant import NO_ELECTION
from vppd.types import (
    ZERO_DIGEST,
    Digest,
    Epoch,
    Height,
    Mode,
    PublicKey,
    ReplicaIndex,
    Signature,
    View,
)

TICK_MS = 1_000
_TICK = Timer(TimerKind.TICK)


def half(n: int) -> int:
    """``m ≥ N/2``: the paper's "no less than N/2 of the affirmative votes"."""
    return (n + 1) // 2


class _Period:
    """What has been heard of one height: the paper's transaction period."""

    def __init__(self) -> None:
        self.hashes: dict[ReplicaIndex, Digest] = {}
        """Each agent's h."""
        self.turn: View = 0
        """How many producers were skipped."""
        self.block: Block | None = None
        """Of the producer in turn."""
        self.voted: dict[View, Digest] = {}
        self.yes: dict[tuple[View, Digest], dict[ReplicaIndex, Signature]] = {}
        self.final: Certificate | None = None
        """Somebody else's count."""


class PaperMajority:
    """The paper's consensus stage, as an :class:`~vppd.consensus.boundary.Engine`.

    What the paper leaves open is filled in its favour. h covers what is committed, so that honest
    agents agree on it; the producer's vote counts, all count, and repeat themselves each second;
    who hears a block of a later turn follows; decisions are on disk before anybody hears of them,
    and who is behind fetches decided blocks. One ``Q_block`` comes round again and again: nobody is
    elected or punished here, elections are not what forks.

    Args:
        profile: not looked at.
        settings: genesis values; a producer is skipped after ``view_timeout_ms``.
        validators: the agents, in the order they produce.
        own: this node's index.
        needed: votes that make a block final; ``None`` for the paper's :func:`half`.
    """

    def __init__(
        self, profile: EngineProfile, settings: Settings, validators: ValidatorSet,
        own: ReplicaIndex | None, *, needed: int | None = None,
    ) -> None:  # fmt: skip
        del profile
        self._settings = settings
        self._validators = validators
        self._n = validators.quorum.n
        self._needed = half(self._n) if needed is None else needed
        self._own = own or 0
        self._out = Outbox()
        self._bodies: dict[Digest, Body] = {}
        self._periods: dict[Height, _Period] = {}
        self._head = Head(0, settings.chain_id, 0, None)
        self._applied: Applied | None = None
        self._now = Now(0, 0)
        self._pending = False
        self._wanted = False
        self._proposed: tuple[Height, View] | None = None
        self._patient: tuple[Height, View] | None = None
        """The turn whose end is armed."""
        self._asked: Height | None = None
        """The head when decided blocks were asked for, since the last tick."""
        self._skips = 0
        self._ways: dict[str, int] = {}

    # ------------------------------------------------------------ boundary

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        """Begin with the last decision; nothing else is kept."""
        self._now = now
        row = last_decision(log)
        if row is not None:
            bodies = [r for r in log if isinstance(r, BodyRecord) and r.digest == row.digest]
            time_ms = decode_header(bodies[0].header).time_ms
            self._head = Head(row.height, row.digest, time_ms, row.certificate)
        self._tick()
        return self._out.take()

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        """Take a batch in order."""
        self._now = now
        for item in inputs:
            match item:
                case Received(sender, message):
                    self._receive(sender, message)
                case Offered():
                    self._propose(item)
                case Pending(since_ms):
                    self._pending = since_ms is not None
                case Applied():
                    self._applied = item
                case Fired(timer):
                    if timer == _TICK:
                        self._tick()
                    else:
                        self._skip(timer)
                case Drawn():
                    pass  # the paper knows no lost memory
                case _:  # pragma: no cover
                    assert_never(item)
        while self._advance():
            pass
        self._ask()
        return self._out.take()

    def wants(self, header: MessageHeader, *, firsthand: bool = True) -> bool:
        """Everything above the head."""
        del firsthand
        return header.height > self._head.height

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """The producer of a height after so many skips."""
        return producers_in_order(self._validators, view, height)

    def proposed(self, digest: Digest) -> tuple[Epoch, View, Height] | None:
        """Nothing: a proposal is not kept."""
        del digest
        return None

    def last_words(self, key: PublicKey) -> Sequence[ConsensusMessage]:
        """Nothing: nobody remembers what others have signed."""
        del key
        return ()

    def status(self) -> EngineStatus:
        """A snapshot."""
        head = self._head
        turn = self._at(head.height + 1).turn
        return EngineStatus(
            engine="dpos", epoch=0, view=turn, mode=Mode.NORMAL,
            leader=self.leader(turn, head.height + 1), decided=head.height, head=head.digest,
            applied=self._ready, voting=True, observer="",
            nonce=ZERO_DIGEST, view_changes=self._skips,
            view_triggers=(("timeout", self._skips),) if self._skips else (), stuck_ms=None,
            ahead_ms=None, evidence=0, byzantine_tolerance=0, quorum_slack=self._n - self._needed,
            view_slack=self._n - 1, fast_slack=0, path="broadcast",
            decisions=tuple(sorted(self._ways.items())), fallbacks=(), success_ppm=0,
            costs_ms=(0, 0, 0),
        )  # fmt: skip

    # ------------------------------------------------------------ one period

    @property
    def _ready(self) -> bool:
        """Whether the head is executed."""
        return self._applied is not None and self._applied.height == self._head.height

    def _at(self, height: Height) -> _Period:
        return self._periods.setdefault(height, _Period())

    def _works(self) -> bool:
        """Whether there is anything to settle."""
        due_ms = self._applied.next_due_ms if self._applied else None
        return self._pending or (due_ms is not None and due_ms <= self._now.unix_ms)

    def _receive(self, sender: ReplicaIndex | None, message: ConsensusMessage) -> None:
        height = _height_of(message)
        if height > self._head.height + 1 and sender is not None:
            self._fetch(sender)
        if not self._head.height < height <= self._head.height + 2:
            return
        period = self._at(height)
        match message:
            case Collected(digest=digest, signer=signer):
                period.hashes[signer] = digest
            case Block(view=turn, digest=digest):
                self._bodies[digest] = Body.of_message(message)
                if turn >= period.turn:
                    period.turn, period.block = turn, message
            case Prepare(view=turn, digest=digest, signer=signer, sig=sig):
                period.yes.setdefault((turn, digest), {})[signer] = sig
            case Agree(certificate):
                period.final = certificate
                if certificate.digest not in self._bodies and sender is not None:
                    self._fetch(sender)
            case Blocks(blocks):
                for block in blocks:
                    self._bodies[block.certificate.digest] = Body.of_decided(block)
                    self._decide(block.certificate, "learnt")
            case _:
                pass

    def _fetch(self, sender: ReplicaIndex) -> None:
        """Ask for what is decided above the head; once a second, or lies would answer lies."""
        if self._asked != self._head.height:
            self._asked = self._head.height
            self._out.send((sender,), GetBlocks(self._head.height + 1))

    def _advance(self) -> bool:
        """Whatever the messages held now call for; whether something was decided."""
        height = self._head.height + 1
        period = self._at(height)
        if period.final is not None and self._decide(period.final, "learnt"):
            return True
        if not self._ready:
            return False
        if self._own not in period.hashes:
            period.hashes[self._own] = self._paths()
            self._say_hash(height, period)
        block = period.block
        if block is None or block.view != period.turn:
            return False
        if period.turn not in period.voted and self._verified(period) and self._right(block):
            period.voted[period.turn] = block.digest
            self._say_yes(height, period)
        votes = period.yes.get((block.view, block.digest), {})
        if len(votes) < self._needed:
            return False
        final = assemble(
            CertificateKind.FAST, 0, block.view, height, block.digest, votes, self._n, self._needed
        )
        self._out.send(ALL, Agree(final))
        return self._decide(final, "slow")

    def _verified(self, period: _Period) -> bool:
        """``H_veri = h``: more than half of the agents have sent the same h as one's own."""
        own = period.hashes.get(self._own)
        return 2 * sum(h == own for h in period.hashes.values()) > self._n

    def _right(self, block: Block) -> bool:
        """``H_block = h``, and a block that may follow the head; what was voted before is nothing.

        The producer's h is that of the roots and the parent in its header.
        """
        header, applied = self._bodies[block.digest].header, self._applied
        if applied is None or follows(header, self._head, applied, 0, self._validators.digest):
            return False
        roots = (header.state_root, header.receipts_root)
        return paths_hash(header.height, header.parent, *roots) == self._paths()

    def _paths(self) -> Digest:
        """The own h of the height after the head."""
        head, applied = self._head, self._applied
        roots = (applied.state_root, applied.receipts_root) if applied else (b"", b"")
        return paths_hash(head.height + 1, head.digest, *roots)

    def _decide(self, certificate: Certificate, way: str) -> bool:
        body = self._bodies.get(certificate.digest)
        height, digest = certificate.height, certificate.digest
        right = body is not None and body.header.parent == self._head.digest
        if body is None or not right or height != self._head.height + 1:
            return False
        self._out.persist(body.record(digest), DecisionRecord(height, digest, certificate))
        self._out.commit(Decision(height, digest, body.raw_header, body.txs, certificate))
        self._out.cancel(Timer(TimerKind.VIEW, height))
        self._ways[way] = self._ways.get(way, 0) + 1
        self._head = Head(height, digest, body.header.time_ms, certificate)
        self._wanted, self._patient = False, None
        for old in [h for h in self._periods if h <= height]:
            del self._periods[old]
        for gone in [d for d, b in self._bodies.items() if b.header.height <= height]:
            del self._bodies[gone]
        return True

    # ------------------------------------------------------------ producing and skipping

    def _ask(self) -> None:
        """With work to do the producer in turn wants a block, and everybody is impatient."""
        height = self._head.height + 1
        period = self._at(height)
        at = (height, period.turn)
        if not self._ready or not self._works():
            return
        if self._patient != at:
            self._patient = at
            self._out.arm(Timer(TimerKind.VIEW, height), self._settings.view_timeout_ms)
        mine = self.leader(period.turn, height) == self._own
        if mine and self._verified(period) and not self._wanted and self._proposed != at:
            self._wanted = True
            self._out.want(height)

    def _propose(self, offered: Offered) -> None:
        self._wanted = False
        header = decode_header(offered.header)
        turn = self._at(self._head.height + 1).turn
        at = (header.height, turn)
        due = header.height == self._head.height + 1 and self._proposed != at
        if due and self.leader(turn, header.height) == self._own:
            self._proposed = at
            block = Block(
                0, turn, header.height, header.digest(), Path.BROADCAST, offered.header,
                offered.txs, ZERO_SIGNATURE, ZERO_SIGNATURE,
            )  # fmt: skip
            self._out.send(ALL, block)

    def _skip(self, timer: Timer) -> None:
        """Nothing final has come of this producer in time: the next one's turn."""
        height = self._head.height + 1
        if timer == Timer(TimerKind.VIEW, height):
            self._at(height).turn += 1
            self._skips += 1

    def _tick(self) -> None:
        self._out.arm(_TICK, TICK_MS)
        self._asked = None
        height = self._head.height + 1
        period = self._at(height)
        self._out.send(ALL, Status(0, self._head.height, period.turn, Mode.NORMAL))
        if self._own in period.hashes:
            self._say_hash(height, period)
        block = period.block
        if block is not None and self.leader(block.view, height) == self._own:
            self._out.send(ALL, block)
        if period.turn in period.voted:
            self._say_yes(height, period)

    def _say_hash(self, height: Height, period: _Period) -> None:
        said = Collected(0, 0, height, period.hashes[self._own], self._own, ZERO_SIGNATURE)
        self._out.send(ALL, said)

    def _say_yes(self, height: Height, period: _Period) -> None:
        digest = period.voted[period.turn]
        self._out.send(ALL, Prepare(0, period.turn, height, digest, self._own, ZERO_SIGNATURE))


def paths_hash(height: Height, parent: Digest, state_root: Digest, receipts_root: Digest) -> Digest:
    """h: what settling the period must give, from what all have committed."""
    return sha256(b"paths" + struct.pack(">Q", height) + parent + state_root + receipts_root)


def _height_of(message: ConsensusMessage) -> Height:
    """Which height a message is about; of a status, the first its sender lacks."""
    match message:
        case Block() | Collected() | Prepare():
            return message.height
        case Agree(certificate):
            return certificate.height
        case Status(decided=decided):
            return decided + 1
        case Blocks(blocks):
            return blocks[0].certificate.height if blocks else 0
        case _:
            return 0


class HalfDecides(Gate):
    """Takes N/2 votes for a decision; else checks what the shipped one checks."""

    def _check_decision(self, certificate: Certificate) -> None:
        signers = signers_of(certificate)
        enough = len(signers) >= half(self._term(certificate.epoch).validators.quorum.n)
        if not enough or len(certificate.signatures) != len(signers):
            raise Malformed(f"height {certificate.height}: not half of the votes")
        at = (certificate.epoch, certificate.view, certificate.height, certificate.digest)
        signed = sign_bytes(TAG_VOTE, self._chain_id, *at)
        for index, signature in zip(signers, certificate.signatures, strict=True):
            if not self._verify(self._member(certificate.epoch, index), signed, signature):
                raise BadSignature(f"replica {index} did not vote for height {certificate.height}")


class MajorityCluster(Cluster):
    """A plant on the paper's rule; ``engines`` other than it are for the tests of its variants."""

    make_gate: ClassVar[type[Gate]] = HalfDecides
    make_checkers: ClassVar[type[Checkers]] = ForksOnly

    def __init__(self, setup: Setup, seed: int, *rest: Any, **more: Any) -> None:
        still = msgspec.structs.replace(setup, epoch_blocks=NO_ELECTION)  # its text has no epochs
        super().__init__(still, seed, *rest, **more)

    needed: int | None = None
    """Votes that make a block final; ``None`` for the paper's half."""

    def make_engine(self, node: ReplicaIndex) -> MakeEngine:
        """Everybody runs the paper's rule; whoever lies does so in what leaves it."""
        del node
        return partial(PaperMajority, needed=self.needed)


def simulate_majority(setup: Setup, seed: int) -> Outcome:
    """One run of the paper's rule (``--engine dpos --finality paper-majority --unsafe``).

    Partitions by chance fork it in about one seed of ten: they must begin between the exchange of
    hashes and the last vote. So in every other seed with ``partition`` one is aimed there
    (:class:`Unheard`), and no node of these plants is any more at fault than in the others.
    """
    if "partition" in setup.faults and setup.n > 1 and seed % 2 == 0:
        unheard = Unheard(setup.n, seed, Prepare)
        return unheard.run(MajorityCluster(setup, seed, None, unheard))
    return MajorityCluster(setup, seed).run()


class Unheard:
    """One producer hears the votes that decide, and nobody hears that it has.

    In one height, drawn from the seed, votes of the deciding round reach only the producer in
    turn. As soon as it has decided it is cut off, and the votes of that turn stay lost; otherwise
    the others hear each other well. With no lock they skip it and finish another block, however
    many votes it takes. With one they finish the same.

    Args:
        n: nodes, at least two, with the schedule of ``dpos``.
        seed: which height.
        decisive: votes of the round that decides.
    """

    UNTIL_US = 20_000_000
    """When the one is back."""

    def __init__(self, n: int, seed: int, decisive: type[Prepare | Commit]) -> None:
        self.cluster: Cluster
        self._n = n
        self._height = Random(seed).randint(3, 6)  # noqa: S311  # all are awake by then
        self._decisive = decisive
        self._alone: ReplicaIndex | None = None
        self._lost: set[View] = set()
        """Turns whose votes went to their producers alone."""

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
        """What leaves instead of a frame of that node."""
        cluster = self.cluster
        if cluster.time_us >= self.UNTIL_US:
            return [frame]
        if self._alone is None:
            first = [i.index for i in cluster.nodes if i.disk.decided >= self._height]
            if first:
                self._alone = first[0]
                cluster.outcome.faults["scripted_cut"] += 1
        others = tuple(i for i in range(self._n) if i != node)
        to = others if isinstance(frame.to, str) else frame.to
        return [frame._replace(to=tuple(i for i in to if self._passes(node, i, frame)))]

    def _passes(self, sender: ReplicaIndex, to: ReplicaIndex, frame: Frame) -> bool:
        if self._alone in (sender, to):
            return False
        message = decode_message(frame.type, frame.payload)
        if not isinstance(message, self._decisive) or message.height != self._height:
            return True
        if self._alone is None:
            self._lost.add(message.view)
        producer = (message.height - 1 + message.view) % self._n
        return message.view not in self._lost or to == producer

    def run(self, cluster: Cluster) -> Outcome:
        """Set on that plant: its run, which ends only after everything gets through again."""
        self.cluster = cluster
        healed_us = max(self.UNTIL_US, cluster.plan.heal_us)
        cluster.plan = msgspec.structs.replace(cluster.plan, heal_us=healed_us)
        return cluster.run()
