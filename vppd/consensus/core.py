"""The vote–lock–decide core: one height in flight, one promise at a time (protocol.md, §5, §8).

A replica *votes* for the leader's block at the height after its last decision, *locks* when q
first-round votes form a prepared certificate, and *decides* on q commits. Each promise is in
``Step.persist`` of the step whose ``send`` carries it. The engine's profile says who leads.

Blocks are opaque: the gate has checked shapes, signatures and stateless validity; the ledger
executes after the decision. Every method is safe to call with any message in any order; what does
not fit changes nothing. :mod:`vppd.consensus.replica` feeds this class and owns timers and peers.

The view is a variable here; :mod:`vppd.consensus.viewchange` moves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    Applied,
    BodyRecord,
    Decision,
    DecisionRecord,
    MessageHeader,
    Now,
    ObserverRecord,
    Offered,
    PreparedRecord,
    ProposalRecord,
    Record,
    VoteRecord,
)
from vppd.consensus.certificate import assemble, required
from vppd.consensus.chain import Bodies, Body, Head, Settings, follows
from vppd.consensus.evidence import Accusations
from vppd.consensus.lastwords import LastWords
from vppd.consensus.messages import (
    Block,
    BlockBody,
    Certificate,
    CertificateKind,
    Commit,
    Concealment,
    DecidedBlock,
    Path,
    Prepare,
    Proof,
    Round,
    Type,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.profile import EngineProfile
from vppd.consensus.recognise import unknown_in_certificate
from vppd.consensus.safety import Position, SafetyRecord, flaw, last_decision
from vppd.consensus.tally import Ballots, Cast
from vppd.consensus.validators import ValidatorSet
from vppd.errors import LocalFault
from vppd.header import Header, decode_header
from vppd.types import ZERO_DIGEST, Digest, Height, Mode, ReplicaIndex, View

HEIGHTS_AHEAD = 2
"""Messages for L+1 and L+2 are kept, no others (§8)."""


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
        self._rotation = profile.rotation(validators)
        self._out = out
        self.own = own
        self.record = SafetyRecord()
        self.head = Head(0, settings.chain_id, 0, None)
        self.now = Now(0, 0)
        self.voting = False
        """False until the start rule lets this replica speak."""
        self.accusations = Accusations(out)
        self.leader_lied = False
        """The leader of this view has proposed two blocks at one height."""
        self.sought: tuple[Digest, list[ReplicaIndex]] | None = None
        """A body that a new leader must propose, and who to ask for it."""
        self.heard = LastWords()
        self.known_height: Height = 0
        """The highest decision anybody has proven to this node."""
        self.opened_ms = 0
        """When this node last sent its own proposal or vote at L+1 (monotonic)."""
        self.decided_ms = 0
        self.ahead_ms: int | None = None
        """How far the last fresh proposal lay ahead of this clock, if that was too far."""
        self.last_header: Header | None = None
        """Of the head, once something was decided by this process."""
        self._applied: Applied | None = None
        self.bodies = Bodies(out)
        self._proposals: dict[tuple[Height, View], Cast] = {}
        self.ballots = Ballots()
        self._undecided: Certificate | None = None
        """A decision certificate for L+1 whose body is missing."""
        self._wanted: Height | None = None

    def resume(self, log: Sequence[Record]) -> None:
        """Take over what the store kept; nothing kept means genesis (§4, On restart)."""
        for record in log:
            self.record.fold(record)
            if isinstance(record, BodyRecord):
                self.bodies.resume(record)
        row = last_decision(log)
        if row is not None:
            time_ms = self.bodies[row.digest].header.time_ms
            self.head = Head(row.height, row.digest, time_ms, row.certificate)
        self.accusations.resume(log)
        self.heard.note_certificate(self.head.certificate)
        self.heard.note_certificate(self.record.prepared)
        if self.record.observer is not None:
            self.own = None
        elif why := flaw(self.record, self.head.height):
            self.demote(f"the safety record contradicts itself: {why}")
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
            and self.record.opens(view, height)
        )

    def wants(self, header: MessageHeader) -> bool:
        """Whether the message can still change anything; asked before signatures are checked."""
        decided, view = self.head.height, self.record.view
        if header.type in (Type.AGREE, Type.BLOCKS):
            return header.height > decided
        if header.epoch != self.record.epoch:
            return False
        if header.signer == self.own and header.type in (Type.PREPARE, Type.COMMIT):
            return self._is_news(header)
        if header.type is Type.BLOCK_BODY:
            missing = self.missing()  # one nobody has asked for is not worth its signatures
            return missing is not None and missing[0] == header.digest
        if not self._in_window(header.height, header.view):
            return False
        if header.type is Type.PREPARE and header.view < view:
            return False
        if header.type is Type.BLOCK:
            # The leader's first-round vote travels in this envelope only: a body that came some
            # other way must not make us deaf to it.
            known = self._proposals.get((header.height, header.view))
            if known is not None and known.digest != header.digest:
                return not self._is_accused(Round.PROPOSAL, header)
            tally = self.ballots.find(header.height, header.view, Round.VOTE)
            return tally is None or header.signer not in tally.by_signer
        round_ = Round.COMMIT if header.type is Type.COMMIT else Round.VOTE
        tally = self.ballots.find(header.height, header.view, round_)
        if tally is None:
            return True
        cast = tally.by_signer.get(header.signer)
        if cast is not None:
            return cast.digest != header.digest and not self._is_accused(round_, header)
        fast = round_ is Round.VOTE and self._profile.fast_exit
        most = self._quorum.fast if fast else self._quorum.vote
        enough = len(tally.signatures(header.digest)) >= most
        return not (enough and view == header.view)

    def _in_window(self, height: Height, view: View) -> bool:
        """Two heights, one rotation ahead; behind, because commits decide in any view (§5)."""
        decided = self.head.height
        near = abs(view - self.record.view) <= self._rotation
        return near and decided < height <= decided + HEIGHTS_AHEAD

    def _is_accused(self, round_: Round, header: MessageHeader) -> bool:
        at = (header.epoch, header.view, header.height)
        return self.accusations.knows((header.signer, round_, *at))

    def _is_news(self, header: MessageHeader) -> bool:
        """A vote under our own key: back from the wire, or one that this record never cast."""
        at = Position(header.epoch, header.view, header.height)
        if header.type is Type.PREPARE:
            return not self.record.covers_vote(at, header.digest)
        return not self.record.covers_commit(at, header.digest)

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
        if (choice := self._choice(at)) is not None:
            self._propose_choice(at, choice)
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
            or self._choice(at) is not None
        ):
            return
        digest = header.digest()
        body = Body(header, offered.header, offered.txs, view, b"")
        why = self._why_invalid(body)
        if why:
            raise LocalFault(f"the node built an invalid block for height {height}: {why}")
        self.bodies.add(digest, body)
        self._open(at, digest)

    def _choice(self, at: Position) -> Digest | None:
        """What the view that was opened must propose first (§7)."""
        opened = self.record.new_view
        return opened.choice if opened is not None and opened.height == at.height else None

    def _propose_choice(self, at: Position, choice: Digest) -> None:
        """The choice, at once and unchanged: its time and proposer are those of its first view."""
        body = self.bodies.get(choice)
        if body is None:  # power failed since: the others have it
            self.sought = (choice, [i for i in range(self._quorum.n) if i != self.own])
        elif not self._why_invalid(body):
            self._open(at, choice)

    def _open(self, at: Position, digest: Digest) -> None:
        """Promise proposal and vote in one record, then send (§5, propose)."""
        if not self.record.allows(at, digest):
            return
        self.bodies.keep(digest)
        self.promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))
        self._send_block(digest)

    def _send_block(self, digest: Digest, to: tuple[ReplicaIndex, ...] | None = None) -> None:
        body = self.bodies[digest]
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
            epoch, leader = message.epoch, self.leader(view, height)
            found = self.accusations.twice(
                Round.PROPOSAL, epoch, view, height, leader, known, proposal
            )
            self.leader_lied = self.leader_lied or (found and view == self.record.view)
            self._convict_self(leader, found=found)
            if not wanted:
                return
        if digest not in self.bodies:
            self.bodies.add(digest, Body.of_message(message))
        if isinstance(message, Block):
            leader = self.leader(view, height)
            self.on_vote(Round.VOTE, view, height, leader, Cast(digest, message.vote_sig))
        else:
            self.advance()

    def on_vote(
        self, round_: Round, view: View, height: Height, signer: ReplicaIndex, cast: Cast
    ) -> None:
        """A first-round vote (in whichever envelope) or a commit."""
        at = Position(self.record.epoch, view, height)
        self.heard.note(round_, at, signer, cast)
        if signer == self.own and not self._cast_here(round_, at, cast.digest):
            self.demote(f"it has signed at height {height}, view {view}, and its record is older")
            return
        if not self._in_window(height, view):
            return
        earlier = self.ballots.at(height, view, round_).add(signer, cast)
        if earlier is None:
            self.advance()
        else:
            found = self.accusations.twice(round_, *at, signer, earlier, cast)
            self._convict_self(signer, found=found)

    def _cast_here(self, round_: Round, at: Position, digest: Digest) -> bool:
        covers = self.record.covers_vote if round_ is Round.VOTE else self.record.covers_commit
        return covers(at, digest)

    def accuse(self, proof: Proof) -> None:
        """Proof from another replica, its signatures checked: keep it and pass it on."""
        new = self.accusations.add(proof)
        if isinstance(proof, Concealment):
            self._convict_self(proof.standing.signer, found=new)
            return
        view, height = proof.view, proof.height
        here = (view, height) == (self.record.view, self.head.height + 1)
        lied = proof.round == Round.PROPOSAL and proof.signer == self.leader(view, height)
        self.leader_lied = self.leader_lied or (new and here and lied)
        self._convict_self(proof.signer, found=new)

    def _convict_self(self, signer: ReplicaIndex, *, found: bool) -> None:
        """No honest record allows proof against its own key: lost memory, or a second copy."""
        if found and signer == self.own:
            self.demote("its key has signed two different things at one place")

    def recognise(self, certificate: Certificate | None) -> None:
        """Look for a vote of ours that this record never cast."""
        if self.own is not None:
            why = unknown_in_certificate(self.record, self.own, certificate)
            if why:
                self.demote(f"{why}, and its record is older")

    def demote(self, reason: str) -> None:
        """From here on this node follows and serves, and signs nothing more (§4)."""
        if self.own is not None:
            self.own = None
            self.voting = False
            self._out.retract()
            self.promise(ObserverRecord(reason[:256], ZERO_DIGEST))

    def moved(self) -> None:
        """The view is another one: what was asked for in the old one is void."""
        self._wanted = None
        self.leader_lied = False
        oldest = self.record.view - self._rotation
        self.ballots.drop_below(oldest)
        for key in [key for key in self._proposals if key[1] < oldest]:
            del self._proposals[key]

    @property
    def has_open_proposal(self) -> bool:
        """A verified proposal of this view, or its choice, is undecided (§5, Work b)."""
        height, view = self.head.height + 1, self.record.view
        return (height, view) in self._proposals or self._choice(self.at(height)) is not None

    def on_certificate(self, certificate: Certificate) -> None:
        """A decision certificate counts in any view and mode (§5, decide)."""
        self.recognise(certificate)
        self.known_height = max(self.known_height, certificate.height)
        if certificate.height == self.head.height + 1:
            self._undecided = certificate
            self.advance()

    def on_decided(self, block: DecidedBlock) -> None:
        """A decided block with its certificate, from a peer's store."""
        certificate = block.certificate
        if certificate.height != self.head.height + 1:
            return
        self.recognise(certificate)
        self.bodies.add(certificate.digest, Body.of_decided(block))
        self._undecided = certificate
        self.advance()

    def on_applied(self, applied: Applied) -> None:
        """The ledger has executed a decided block: go on."""
        if applied.height != self.head.height:
            return
        self._applied = applied
        self.speak_again()
        self.advance()

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
        body = self.bodies.get(digest)
        if body is None or self.record.voted(at) is not None or self._why_invalid(body):
            return
        choice = self._choice(at)
        right = self._fresh(body, view) if choice is None else digest == choice
        if not right or not self.record.allows(at, digest):
            return
        self.bodies.keep(digest)
        self.promise(VoteRecord(*at, digest))
        self._out.send(ALL, self._own_vote(at, digest))
        self.opened_ms = self.now.monotonic_ms

    def _try_lock(self, view: View, height: Height) -> None:
        """Q first-round votes: keep the prepared certificate, then commit (§5, lock)."""
        at = self.at(height)
        tally = self.ballots.find(height, view, Round.VOTE)
        if tally is None or self.record.locked(at) is not None:
            return
        for digest, signatures in tally.by_digest.items():
            body = self.bodies.get(digest)
            if len(signatures) < self._quorum.vote or body is None or self._why_invalid(body):
                continue
            certificate = self._assemble(CertificateKind.PREPARED, at, digest, signatures)
            self.bodies.keep(digest)
            self.promise(PreparedRecord(certificate))
            self._out.send(ALL, self._own_commit(at, digest))
            return

    def _try_decide(self) -> bool:
        """Q commits of any view, or a certificate somebody handed over, decide L+1."""
        height = self.head.height + 1
        certificate = self._undecided or self._decision_certificate(height)
        if certificate is None:
            return False
        self._undecided = certificate
        body = self.bodies.get(certificate.digest)
        if body is None:
            return False
        digest = certificate.digest
        if body.header.parent != self.head.digest:
            raise LocalFault(
                f"height {height}: a quorum decided {digest.hex()[:16]}, whose parent "
                f"{body.header.parent.hex()[:16]} is not our head {self.head.digest.hex()[:16]}"
            )
        self.bodies.keep(digest)
        self.promise(DecisionRecord(height, digest, certificate))
        self.head = Head(height, digest, body.header.time_ms, certificate)
        self._forget_through(height)
        self.decided_ms = self.now.monotonic_ms
        self.last_header = body.header
        self._out.commit(Decision(height, digest, body.raw_header, body.txs, certificate))
        return True

    def _decision_certificate(self, height: Height) -> Certificate | None:
        ways = [(Round.COMMIT, CertificateKind.COMMIT, self._quorum.vote)]
        if self._profile.fast_exit:
            ways.append((Round.VOTE, CertificateKind.FAST, self._quorum.fast))
        for round_, kind, size in ways:
            for view in self.ballots.views(height, round_):
                tally = self.ballots.at(height, view, round_)
                for digest, signatures in tally.by_digest.items():
                    if len(signatures) >= size:
                        at = Position(self.record.epoch, view, height)
                        return self._assemble(kind, at, digest, signatures)
        return None

    def _assemble(
        self,
        kind: CertificateKind,
        at: Position,
        digest: Digest,
        signatures: dict[ReplicaIndex, bytes],
    ) -> Certificate:
        size = required(kind, self._validators)
        return assemble(kind, *at, digest, signatures, self._quorum.n, size)

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
        early = not creeping and ahead_ms > self._settings.clock_tolerance_ms
        self.ahead_ms = ahead_ms if early else None
        return body.header.proposer == leader.key and not early

    # ------------------------------------------------------------ promises and what is missing

    def promise(self, *records: Record) -> None:
        """Write before anything of this step leaves, and hold to it from now on."""
        self._out.persist(*records)
        for record in records:
            self.record.fold(record)

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
        if self.record.mode is not Mode.NORMAL:
            return
        target = ALL if to is None else to
        at = self.at(self.head.height + 1)
        proposed, voted = self.record.proposed(at), self.record.voted(at)
        if proposed is not None and proposed in self.bodies:
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
        if self._undecided is not None and self._undecided.digest not in self.bodies:
            everyone = [i for i in range(self._quorum.n) if i != self.own]
            return self._undecided.digest, everyone
        if self.sought is not None and self.sought[0] not in self.bodies:
            return self.sought
        tally = self.ballots.find(height, self.record.view, Round.VOTE)
        for digest, signatures in tally.by_digest.items() if tally is not None else ():
            if len(signatures) > self._quorum.f and digest not in self.bodies:
                return digest, sorted(i for i in signatures if i != self.own)
        return None

    def _forget_through(self, height: Height) -> None:
        self._undecided = None
        self._wanted = None
        self.ballots.drop_through(height)
        for key in [key for key in self._proposals if key[0] <= height]:
            del self._proposals[key]
        self.bodies.forget_through(height)
