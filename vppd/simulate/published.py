"""BNCM as published (P0, §3.3), to the letter: an engine that forks, to be refuted in simulation.

The operator's word alone decides, nothing names a view, nothing is promised on disk, and the PBFT
stage takes whatever block the operator shows. It forks as soon as an operator lies, or loses its
memory. :mod:`vppd.simulate.paper` puts it into a plant; never part of a daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

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
    PrePrepared,
    Status,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.profile import EngineProfile
from vppd.consensus.safety import last_decision
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes
from vppd.consensus.validators import ValidatorSet
from vppd.header import decode_header
from vppd.net.gate import BadSignature, Gate
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

OPERATOR: ReplicaIndex = 0
"""The fixed leader of the published protocol."""
WAIT_MS = 250
"""How long the published operator waits for everybody, unless told otherwise."""
TICK_MS = 1_000


class _Votes:
    """Who said what about the blocks of one height."""

    def __init__(self) -> None:
        self.received: dict[Digest, set[ReplicaIndex]] = {}
        self.prepares: dict[Digest, dict[ReplicaIndex, Signature]] = {}
        self.commits: dict[Digest, dict[ReplicaIndex, Signature]] = {}
        self.said_commit: set[Digest] = set()
        self.shown: Digest | None = None
        """The block the operator has shown last."""
        self.answered = False
        self.agreed: Certificate | None = None


class Published:
    """The paper's eight steps, as an :class:`~vppd.consensus.boundary.Engine`.

    What the paper leaves open is filled in its favour: decisions are on disk before anybody hears
    of them, the operator repeats itself each second, and who is behind may fetch decided blocks.

    Args:
        profile: not looked at.
        settings: genesis values.
        validators: replica 0 is the operator.
        own: this node's index.
        wait_ms: the operator's timer.
    """

    def __init__(
        self, profile: EngineProfile, settings: Settings, validators: ValidatorSet,
        own: ReplicaIndex | None, *, wait_ms: int = WAIT_MS,
    ) -> None:  # fmt: skip
        del profile
        self._settings = settings
        self._validators = validators
        self._n, self._f = validators.quorum.n, validators.quorum.f
        self._own = own or 0
        self._wait_ms = wait_ms
        self._out = Outbox()
        self._bodies: dict[Digest, Body] = {}
        self._votes: dict[Height, _Votes] = {}
        self._head = Head(0, settings.chain_id, 0, None)
        self._applied: Applied | None = None
        self._now = Now(0, 0)
        self._pending = False
        self._wanted = False
        self._open: Block | None = None
        """The operator's block in flight, signed."""
        self._slow = False
        self._ways: dict[str, int] = {}

    # ------------------------------------------------------------ boundary

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        """Begin with the last decision; nothing else was ever kept."""
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
                    elif timer == Timer(TimerKind.GRACE, self._head.height + 1):
                        self._slow = True
                        self._pre_prepare()
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
        """The operator, always."""
        del view, height
        return OPERATOR

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
        return EngineStatus(
            engine="bncm-paper", epoch=0, view=0, mode=Mode.NORMAL, leader=OPERATOR,
            decided=head.height, head=head.digest, applied=self._ready, voting=True, observer="",
            nonce=ZERO_DIGEST,
            view_changes=0, view_triggers=(), stuck_ms=None, ahead_ms=None, evidence=0,
            byzantine_tolerance=0, quorum_slack=self._n - 2 * self._f - 1, view_slack=0,
            fast_slack=0, path="collect", decisions=tuple(sorted(self._ways.items())),
            fallbacks=(), success_ppm=0, costs_ms=(0, 0, 0),
        )  # fmt: skip

    # ------------------------------------------------------------ steps 1 to 4: fast

    @property
    def _ready(self) -> bool:
        """Whether the head is executed."""
        return self._applied is not None and self._applied.height == self._head.height

    def _at(self, height: Height) -> _Votes:
        return self._votes.setdefault(height, _Votes())

    def _ask(self) -> None:
        """The operator wants a block when there is work."""
        if self._own != OPERATOR or self._open or self._wanted or not self._ready:
            return
        due_ms = self._applied.next_due_ms if self._applied else None
        if self._pending or (due_ms is not None and due_ms <= self._now.unix_ms):
            self._wanted = True
            self._out.want(self._head.height + 1)

    def _propose(self, offered: Offered) -> None:
        self._wanted = False
        header = decode_header(offered.header)
        if self._open is None and header.height == self._head.height + 1:
            self._open = Block(
                0, 0, header.height, header.digest(), Path.COLLECT, offered.header, offered.txs,
                ZERO_SIGNATURE, ZERO_SIGNATURE,
            )  # fmt: skip
            self._out.send(ALL, self._open)
            self._out.arm(Timer(TimerKind.GRACE, header.height), self._wait_ms)

    def _receive(self, sender: ReplicaIndex | None, message: ConsensusMessage) -> None:
        height = _height_of(message)
        ahead = height > self._head.height + 1 and not isinstance(message, Blocks)
        if ahead and sender is not None:
            self._out.send((sender,), GetBlocks(self._head.height + 1))
        if not self._head.height < height <= self._head.height + 2:
            return
        votes = self._at(height)
        match message:
            case Block(digest=digest):
                self._bodies[digest] = Body.of_message(message)
                votes.shown, votes.answered = digest, False
                if self._own == OPERATOR:
                    self._open = message
            case Collected(digest=digest, signer=signer):
                votes.received.setdefault(digest, set()).add(signer)
            case Agree(certificate):
                votes.agreed = certificate
            case PrePrepared(digest=digest):
                self._prepare(height, digest)
            case Prepare(digest=digest, signer=signer, sig=sig):
                votes.prepares.setdefault(digest, {})[signer] = sig
            case Commit(digest=digest, signer=signer, sig=sig):
                votes.commits.setdefault(digest, {})[signer] = sig
            case Blocks(blocks):
                for block in blocks:
                    digest = block.certificate.digest
                    self._bodies[digest] = Body.of_decided(block)
                    self._decide(block.certificate)
            case _:
                pass

    def _advance(self) -> bool:
        """Whatever the messages held now call for; whether something was decided."""
        height = self._head.height + 1
        votes = self._at(height)
        if votes.agreed is not None and self._decide(votes.agreed):
            return True
        for digest, commits in votes.commits.items():
            if len(commits) > 2 * self._f and self._decide(
                self._certificate(CertificateKind.COMMIT, height, digest, commits)
            ):
                return True
        if votes.shown is not None and not votes.answered and self._correct(votes.shown):
            votes.answered = True
            if self._own == OPERATOR:
                votes.received.setdefault(votes.shown, set()).add(OPERATOR)
            else:
                answer = Collected(0, 0, height, votes.shown, self._own, ZERO_SIGNATURE)
                self._out.send((OPERATOR,), answer)
        for digest, prepares in votes.prepares.items():
            new = len(prepares) > 2 * self._f and digest not in votes.said_commit
            if new and self._correct(digest):
                votes.said_commit.add(digest)
                self._say_commit(height, digest)
        mine = self._open
        if mine is None or mine.height != height:
            return False
        if len(votes.received.get(mine.digest, ())) < self._n:
            return False
        # Its word is all the others get: one signature, its own.
        word = {OPERATOR: mine.vote_sig}
        agreed = self._certificate(CertificateKind.FAST, height, mine.digest, word)
        self._out.send(ALL, Agree(agreed))
        return self._decide(agreed)

    def _correct(self, digest: Digest) -> bool:
        """Whether a block may follow the head; what was said of others there is not looked at."""
        body, applied = self._bodies.get(digest), self._applied
        if body is None or applied is None or not self._ready:
            return False
        return not follows(body.header, self._head, applied, 0, self._validators.digest)

    def _certificate(
        self, kind: CertificateKind, height: Height, digest: Digest,
        signatures: dict[ReplicaIndex, Signature],
    ) -> Certificate:  # fmt: skip
        size = len(signatures)
        return assemble(kind, 0, 0, height, digest, signatures, self._n, size)

    def _decide(self, certificate: Certificate) -> bool:
        body = self._bodies.get(certificate.digest)
        height, digest = certificate.height, certificate.digest
        right = body is not None and body.header.parent == self._head.digest
        if body is None or not right or height != self._head.height + 1:
            return False
        self._out.persist(body.record(digest), DecisionRecord(height, digest, certificate))
        self._out.commit(Decision(height, digest, body.raw_header, body.txs, certificate))
        self._out.cancel(Timer(TimerKind.GRACE, height))
        way = "fast" if certificate.kind == CertificateKind.FAST else "slow"
        self._ways[way] = self._ways.get(way, 0) + 1
        self._head = Head(height, digest, body.header.time_ms, certificate)
        self._open, self._slow, self._wanted = None, False, False
        for old in [h for h in self._votes if h <= height]:
            del self._votes[old]
        for gone in [d for d, b in self._bodies.items() if b.header.height <= height]:
            del self._bodies[gone]
        return True

    # ------------------------------------------------------------ steps 5 to 8: PBFT

    def _pre_prepare(self) -> None:
        mine = self._open
        if mine is not None:
            at = (0, 0, mine.height, mine.digest)
            self._out.send(ALL, PrePrepared(*at, ZERO_SIGNATURE, None))
            self._out.send(ALL, Prepare(*at, self._own, ZERO_SIGNATURE))

    def _prepare(self, height: Height, digest: Digest) -> None:
        if height == self._head.height + 1 and self._correct(digest):
            self._out.send(ALL, Prepare(0, 0, height, digest, self._own, ZERO_SIGNATURE))
            if digest in self._at(height).said_commit:
                self._say_commit(height, digest)

    def _say_commit(self, height: Height, digest: Digest) -> None:
        self._out.send(ALL, Commit(0, 0, height, digest, self._own, ZERO_SIGNATURE))

    def _tick(self) -> None:
        self._out.arm(_TICK, TICK_MS)
        self._out.send(ALL, Status(0, self._head.height, 0, Mode.NORMAL))
        if self._open is not None:
            self._out.send(ALL, self._open)
            if self._slow:
                self._pre_prepare()


_TICK = Timer(TimerKind.TICK)


def _height_of(message: ConsensusMessage) -> Height:
    """Which height a message is about; of a status, the first its sender lacks."""
    match message:
        case Block() | Collected() | PrePrepared() | Prepare() | Commit():
            return message.height
        case Agree(certificate):
            return certificate.height
        case Status(decided=decided):
            return decided + 1
        case Blocks(blocks):
            return blocks[0].certificate.height if blocks else 0
        case _:
            return 0


class Trusting(Gate):
    """Takes the operator's word for a decision; else checks what the shipped one checks."""

    def _check_decision(self, certificate: Certificate) -> None:
        signers = signers_of(certificate)
        fast = certificate.kind == CertificateKind.FAST
        f = self._term(certificate.epoch).validators.quorum.f
        enough = signers == (OPERATOR,) if fast else len(signers) > 2 * f
        if not enough or len(certificate.signatures) != len(signers):
            raise Malformed(f"height {certificate.height}: not the operator's word")
        at = (certificate.epoch, certificate.view, certificate.height, certificate.digest)
        signed = sign_bytes(TAG_VOTE if fast else TAG_COMMIT, self._chain_id, *at)
        for index, signature in zip(signers, certificate.signatures, strict=True):
            if not self._verify(self._member(certificate.epoch, index), signed, signature):
                raise BadSignature(f"replica {index} did not sign height {certificate.height}")
