"""The vote–lock–decide core: one height in flight, one promise at a time (protocol.md, §5, §8).

A replica *votes* for the leader's block at the height after its last decision, *locks* when q
first-round votes form a prepared certificate, and *decides* on q commits. Each promise is in
``Step.persist`` of the step whose ``send`` carries it. The engine's profile says who leads.

Blocks are opaque: the gate has checked shapes, signatures and stateless validity; the ledger
executes after the decision. Every method is safe to call with any message in any order; what does
not fit changes nothing. :mod:`vppd.consensus.replica` feeds this class and owns timers and peers.

The view is a variable here and moves with the view change (§7), which adds its own module; until
then a replica stays in the view its record names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    Applied,
    BodyRecord,
    Decision,
    DecisionRecord,
    Evidence,
    MessageHeader,
    Now,
    Offered,
    PreparedRecord,
    ProposalRecord,
    Record,
    VoteRecord,
)
from vppd.consensus.certificate import assemble
from vppd.consensus.chain import Body, Head, Settings, follows
from vppd.consensus.messages import (
    Block,
    BlockBody,
    Certificate,
    CertificateKind,
    Commit,
    DecidedBlock,
    Path,
    Prepare,
    Reply,
    Type,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.profile import EngineProfile
from vppd.consensus.safety import Position, SafetyRecord, consistent, last_decision
from vppd.consensus.tally import Ballots, Cast, Round
from vppd.consensus.validators import ValidatorSet
from vppd.errors import LocalFault
from vppd.header import decode_header
from vppd.types import Digest, Height, Mode, ReplicaIndex, View

Kind: TypeAlias = Literal["P", "1", "2"]
"""What can be signed twice: proposals, first-round votes, commits."""
HEIGHTS_AHEAD = 2
"""Messages for L+1 and L+2 are kept, no others (§8)."""
_KIND: dict[Round, Kind] = {Round.VOTE: "1", Round.COMMIT: "2"}


class Core:
    """One replica (``own`` an index) or observer (``own`` None) of one chain.

    Args:
        profile: which engine this is.
        settings: genesis values.
        validators: the set of epoch 0.
        own: this node's index, ``None`` for one that only follows.
        out: where promises, messages and decisions go.
    """

    def __init__(
        self,
        profile: EngineProfile,
        settings: Settings,
        validators: ValidatorSet,
        own: ReplicaIndex | None,
        out: Outbox,
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._validators = validators
        self._quorum = validators.quorum
        self._out = out
        self.own = own
        self.record = SafetyRecord()
        self.head = Head(0, settings.chain_id, 0, None)
        self.now = Now(0, 0)
        self.voting = False
        """False until the start rule lets this replica speak."""
        self.evidence = 0
        self.opened_ms = 0
        """When this node last sent its own proposal or vote at L+1 (monotonic)."""
        self.decided_ms = 0
        self._applied: Applied | None = None
        self._bodies: dict[Digest, Body] = {}
        self._stored: set[Digest] = set()
        """Bodies that are on disk and not yet decided."""
        self._proposals: dict[tuple[Height, View], Cast] = {}
        self._ballots = Ballots()
        self._undecided: Certificate | None = None
        """A decision certificate for L+1 whose body is missing."""
        self._wanted: Height | None = None
        self._accused: set[tuple[Height, View, ReplicaIndex, Kind]] = set()

    def resume(self, log: Sequence[Record]) -> None:
        """Take over what the store kept; nothing kept means genesis (§4, On restart)."""
        for record in log:
            self.record.fold(record)
            if isinstance(record, BodyRecord):
                self._bodies[record.digest] = Body.of_record(record)
                self._stored.add(record.digest)
        row = last_decision(log)
        if row is not None:
            time_ms = self._bodies[row.digest].header.time_ms
            self.head = Head(row.height, row.digest, time_ms, row.certificate)
        if not consistent(self.record, self.head.height):
            self.own = None
        self._forget_through(self.head.height)

    # ------------------------------------------------------------ positions and permissions

    def at(self, height: Height) -> Position:
        """``height`` in the epoch and view this replica stands in."""
        return Position(self.record.epoch, self.record.view, height)

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """Who leads ``view`` at ``height``."""
        return self._profile.schedule(self._validators, view, height)

    @property
    def applied(self) -> Applied | None:
        """The execution of the head; ``None`` while the ledger is still at it."""
        applied = self._applied
        return applied if applied is not None and applied.height == self.head.height else None

    def may(self, view: View, height: Height) -> bool:
        """§5: a replica in its view, at the height after its last decision, executed so far."""
        return (
            self.own is not None
            and self.voting
            and self.record.mode is Mode.NORMAL
            and view == self.record.view
            and height == self.head.height + 1
            and self.applied is not None
        )

    def wants(self, header: MessageHeader) -> bool:
        """Whether the message can still change anything; asked before signatures are checked."""
        decided, view = self.head.height, self.record.view
        if header.type in (Type.AGREE, Type.BLOCKS):
            return header.height > decided
        if header.epoch != self.record.epoch:
            return False
        if header.type is Type.BLOCK_BODY:
            return header.digest not in self._bodies
        if not self._in_window(header.height, header.view):
            return False
        if header.type is Type.BLOCK:
            # The leader's first-round vote travels in this envelope only: a body that came some
            # other way must not make us deaf to it.
            known = self._proposals.get((header.height, header.view))
            if known is not None and known.digest != header.digest:
                return not self._is_accused("P", header.signer, header.view, header.height)
            tally = self._ballots.find(header.height, header.view, Round.VOTE)
            return tally is None or header.signer not in tally.by_signer
        round_ = Round.COMMIT if header.type is Type.COMMIT else Round.VOTE
        tally = self._ballots.find(header.height, header.view, round_)
        if tally is None:
            return True
        cast = tally.by_signer.get(header.signer)
        if cast is not None:
            kind = _KIND[round_]
            return cast.digest != header.digest and not self._is_accused(
                kind, header.signer, header.view, header.height
            )
        enough = len(tally.signatures(header.digest)) >= self._quorum.vote
        return not (enough and view == header.view)

    def _in_window(self, height: Height, view: View) -> bool:
        decided, own_view = self.head.height, self.record.view
        return (
            decided < height <= decided + HEIGHTS_AHEAD
            and own_view <= view <= own_view + self._quorum.n
        )

    # ------------------------------------------------------------ proposing

    def ask_for_block(self, *, work: bool) -> None:
        """The leader wants a block if there is work, or a time trigger is due (§5, Packing)."""
        height = self.head.height + 1
        applied, at = self.applied, self.at(height)
        if (
            applied is None
            or self._wanted == height
            or not self.may(self.record.view, height)
            or self.leader(self.record.view, height) != self.own
            or self.record.proposed(at) is not None
            or self.record.voted(at) is not None  # a record without its proposal: never another
        ):
            return
        due = applied.next_due_ms is not None and applied.next_due_ms <= self.now.unix_ms
        if work or due:
            self._wanted = height
            self._out.want(height)

    def propose(self, offered: Offered) -> None:
        """Promise and send the block the node built; at most one per (view, height).

        Raises:
            LocalFault: the node built a block that no replica could accept.
        """
        self._wanted = None
        header = decode_header(offered.header)
        height, view = header.height, self.record.view
        at = self.at(height)
        if (
            not self.may(view, height)
            or self.leader(view, height) != self.own
            or self.record.proposed(at) is not None
        ):
            return
        digest = header.digest()
        body = Body(header, offered.header, offered.txs, view, b"")
        why = self._why_invalid(body)
        if why:
            raise LocalFault(f"the node built an invalid block for height {height}: {why}")
        if not self.record.allows(at, digest):
            return
        self._bodies[digest] = body
        self._store_body(digest, body)
        self._promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))
        self._send_block(digest)

    def _send_block(self, digest: Digest, to: tuple[ReplicaIndex, ...] | None = None) -> None:
        body = self._bodies[digest]
        at = self.at(body.header.height)
        message = Block(
            at.epoch, at.view, at.height, digest, Path.BROADCAST,
            body.raw_header, body.txs, ZERO_SIGNATURE, ZERO_SIGNATURE,
        )  # fmt: skip
        self._out.send(ALL if to is None else to, message)
        if to is None:
            self.opened_ms = self.now.monotonic_ms

    # ------------------------------------------------------------ messages

    def on_block(self, message: Block | BlockBody) -> None:
        """A proposal, from the leader or passed on; a ``block`` also carries the leader's vote."""
        height, view, digest = message.height, message.view, message.digest
        missing = self.missing()
        wanted = missing is not None and digest == missing[0]
        if message.epoch != self.record.epoch or not (wanted or self._in_window(height, view)):
            return
        proposal = Cast(digest, message.proposal_sig)
        known = self._proposals.setdefault((height, view), proposal)
        if known.digest != digest:
            self._accuse("P", self.leader(view, height), view, height, known, proposal)
            if not wanted:
                return
        if digest not in self._bodies:
            self._bodies[digest] = Body.of_message(message)
        if isinstance(message, Block):
            leader = self.leader(view, height)
            self.on_vote(Round.VOTE, view, height, leader, Cast(digest, message.vote_sig))
        else:
            self.advance()

    def on_vote(
        self, round_: Round, view: View, height: Height, signer: ReplicaIndex, cast: Cast
    ) -> None:
        """A first-round vote (in whichever envelope) or a commit."""
        if not self._in_window(height, view):
            return
        earlier = self._ballots.at(height, view, round_).add(signer, cast)
        if earlier is None:
            self.advance()
        else:
            self._accuse(_KIND[round_], signer, view, height, earlier, cast)

    def on_certificate(self, certificate: Certificate) -> bool:
        """A decision certificate counts in any view and mode (§5, decide).

        Returns:
            Whether it shows that this node is more than one height behind.
        """
        if certificate.height == self.head.height + 1:
            self._undecided = certificate
            self.advance()
        return certificate.height > self.head.height + 1

    def on_decided(self, block: DecidedBlock) -> None:
        """A decided block with its certificate, from a peer's store."""
        certificate = block.certificate
        if certificate.height != self.head.height + 1:
            return
        self._bodies.setdefault(certificate.digest, Body.of_decided(block))
        self._undecided = certificate
        self.advance()

    def on_applied(self, applied: Applied) -> None:
        """The ledger has executed a decided block: say the roots, and go on."""
        if applied.height != self.head.height:
            return
        self._applied = applied
        if self.own is not None and applied.height > 0:
            self._send_reply(applied, self.own)
        self.speak_again()
        self.advance()

    def _send_reply(self, applied: Applied, own: ReplicaIndex) -> None:
        """To the leader; at checkpoints to everyone (§10)."""
        height = applied.height
        leader = self.leader(self.record.view, height)
        message = Reply(
            self.record.epoch, height, self.head.digest, applied.state_root,
            applied.receipts_root, own, ZERO_SIGNATURE,
        )  # fmt: skip
        if height % self._settings.checkpoint_blocks == 0:
            self._out.send(ALL, message)
        elif leader != own:
            self._out.send((leader,), message)

    # ------------------------------------------------------------ vote, lock, decide

    def advance(self) -> None:
        """Do whatever the messages held now allow, until nothing more follows."""
        while self._try_decide():
            pass
        height, view = self.head.height + 1, self.record.view
        if self.may(view, height):
            self._try_vote(view, height)
            self._try_lock(view, height)

    def _try_vote(self, view: View, height: Height) -> None:
        """On ``block``: validate, and cast the one first-round vote of this position (§5)."""
        proposal = self._proposals.get((height, view))
        if proposal is None:
            return
        digest, at = proposal.digest, self.at(height)
        body = self._bodies.get(digest)
        if body is None or self.record.voted(at) is not None or self._why_invalid(body):
            return
        if not self._fresh(body, view) or not self.record.allows(at, digest):
            return
        self._store_body(digest, body)
        self._promise(VoteRecord(*at, digest))
        self._out.send(ALL, self._own_vote(at, digest))
        self.opened_ms = self.now.monotonic_ms

    def _try_lock(self, view: View, height: Height) -> None:
        """Q first-round votes: keep the prepared certificate, then commit (§5, lock)."""
        at = self.at(height)
        tally = self._ballots.find(height, view, Round.VOTE)
        if tally is None or self.record.locked(at) is not None:
            return
        for digest, signatures in tally.by_digest.items():
            body = self._bodies.get(digest)
            if len(signatures) < self._quorum.vote or body is None or self._why_invalid(body):
                continue
            certificate = self._assemble(CertificateKind.PREPARED, at, digest, signatures)
            self._store_body(digest, body)
            self._promise(PreparedRecord(certificate))
            self._out.send(ALL, self._own_commit(at, digest))
            return

    def _try_decide(self) -> bool:
        """Q commits of any view, or a certificate somebody handed over, decide L+1."""
        height = self.head.height + 1
        certificate = self._undecided or self._commit_certificate(height)
        if certificate is None:
            return False
        self._undecided = certificate
        body = self._bodies.get(certificate.digest)
        if body is None:
            return False
        digest = certificate.digest
        if body.header.parent != self.head.digest:
            raise LocalFault(
                f"height {height}: a quorum decided {digest.hex()[:16]}, whose parent "
                f"{body.header.parent.hex()[:16]} is not our head {self.head.digest.hex()[:16]}"
            )
        self._store_body(digest, body)
        self._promise(DecisionRecord(height, digest, certificate))
        self.head = Head(height, digest, body.header.time_ms, certificate)
        self._forget_through(height)
        self.decided_ms = self.now.monotonic_ms
        self._out.commit(Decision(height, digest, body.raw_header, body.txs, certificate))
        return True

    def _commit_certificate(self, height: Height) -> Certificate | None:
        for view in self._ballots.views(height, Round.COMMIT):
            tally = self._ballots.at(height, view, Round.COMMIT)
            for digest, signatures in tally.by_digest.items():
                if len(signatures) >= self._quorum.vote:
                    at = Position(self.record.epoch, view, height)
                    return self._assemble(CertificateKind.COMMIT, at, digest, signatures)
        return None

    def _assemble(
        self,
        kind: CertificateKind,
        at: Position,
        digest: Digest,
        signatures: dict[ReplicaIndex, bytes],
    ) -> Certificate:
        return assemble(kind, *at, digest, signatures, self._quorum.n, self._quorum.vote)

    def _why_invalid(self, body: Body) -> str:
        """Validity is a function of block and chain state (§5)."""
        applied = self.applied
        if applied is None:
            return "the head is not executed yet"
        next_set = self._validators.digest
        return follows(body.header, self.head, applied, self.record.epoch, next_set)

    def _fresh(self, body: Body, view: View) -> bool:
        """Only a fresh block is also checked against clock and proposer (§5)."""
        leader = self._validators.members[self.leader(view, body.header.height)]
        ahead_ms = body.header.time_ms - self.now.unix_ms
        creeping = body.header.time_ms == self.head.time_ms + 1
        return body.header.proposer == leader.key and (
            creeping or ahead_ms <= self._settings.clock_tolerance_ms
        )

    # ------------------------------------------------------------ promises and what is missing

    def _promise(self, *records: Record) -> None:
        self._out.persist(*records)
        for record in records:
            self.record.fold(record)

    def _store_body(self, digest: Digest, body: Body) -> None:
        """A body is on disk before anything refers to it, and written once."""
        if digest not in self._stored:
            self._stored.add(digest)
            self._out.persist(body.record(digest))

    def _own_vote(self, at: Position, digest: Digest) -> Prepare:
        return Prepare(*at, digest, self.own or 0, ZERO_SIGNATURE)

    def _own_commit(self, at: Position, digest: Digest) -> Commit:
        return Commit(*at, digest, self.own or 0, ZERO_SIGNATURE)

    def speak_again(self, to: tuple[ReplicaIndex, ...] | None = None) -> None:
        """Say again what the record says was said at L+1; never anything else (§4, On restart).

        ``to`` None: to everybody and to this node itself, whose tally is empty after a start.
        """
        if self.own is None or not self.voting or self.applied is None:
            return
        at = self.at(self.head.height + 1)
        proposed, voted = self.record.proposed(at), self.record.voted(at)
        target = ALL if to is None else to
        if proposed is not None and proposed in self._bodies:
            self._send_block(proposed, to)
        elif voted is not None:
            self._out.send(target, self._own_vote(at, voted))
        locked = self.record.locked(at)
        if locked is not None:
            self._out.send(target, self._own_commit(at, locked.digest))

    def missing(self) -> tuple[Digest, list[ReplicaIndex]] | None:
        """The body this node lacks, and who has it on disk (§5).

        Either a decision whose body never came, or f+1 votes for a digest nobody has shown us.
        """
        height = self.head.height + 1
        if self._undecided is not None and self._undecided.digest not in self._bodies:
            everyone = [i for i in range(self._quorum.n) if i != self.own]
            return self._undecided.digest, everyone
        tally = self._ballots.find(height, self.record.view, Round.VOTE)
        for digest, signatures in tally.by_digest.items() if tally is not None else ():
            if len(signatures) > self._quorum.f and digest not in self._bodies:
                return digest, sorted(i for i in signatures if i != self.own)
        return None

    def _forget_through(self, height: Height) -> None:
        self._undecided = None
        self._wanted = None
        self._ballots.drop_through(height)
        self._accused = {accused for accused in self._accused if accused[0] > height}
        for key in [key for key in self._proposals if key[0] <= height]:
            del self._proposals[key]
        for digest in [d for d, body in self._bodies.items() if body.header.height <= height]:
            del self._bodies[digest]
            self._stored.discard(digest)

    def _is_accused(self, kind: Kind, signer: ReplicaIndex, view: View, height: Height) -> bool:
        return (height, view, signer, kind) in self._accused

    def _accuse(
        self,
        kind: Kind,
        signer: ReplicaIndex,
        view: View,
        height: Height,
        first: Cast,
        second: Cast,
    ) -> None:
        """One per (kind, signer, view, height) and epoch (§3)."""
        if self._is_accused(kind, signer, view, height):
            return
        self._accused.add((height, view, signer, kind))
        self.evidence += 1
        self._out.fault(Evidence(kind, signer, self.record.epoch, view, height, first, second))
