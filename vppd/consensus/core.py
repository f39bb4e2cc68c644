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
    Now,
    ObserverRecord,
    PreparedRecord,
    Record,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.certificate import assemble, required
from vppd.consensus.chain import Bodies, Body, Head, Settings, follows
from vppd.consensus.evidence import Accusations
from vppd.consensus.fallback import Fallback
from vppd.consensus.flight import Flight, Waiting
from vppd.consensus.lastwords import LastWords
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Concealment,
    DecidedBlock,
    Path,
    Prepare,
    Proof,
    Round,
)
from vppd.consensus.missing import missing_body
from vppd.consensus.outbox import Outbox
from vppd.consensus.policy import PathPolicy, Policy
from vppd.consensus.profile import EngineProfile
from vppd.consensus.proposer import Proposal, Proposer
from vppd.consensus.recognise import unknown_in_certificate
from vppd.consensus.safety import Position, SafetyRecord, flaw, last_decision
from vppd.consensus.tally import Ballots, Cast
from vppd.consensus.validators import ValidatorSet
from vppd.errors import LocalFault
from vppd.header import Header
from vppd.types import ZERO_DIGEST, Digest, Epoch, Height, Mode, ReplicaIndex, View

HEIGHTS_AHEAD = 2
"""Messages for L+1 and L+2 are kept, no others (§8)."""


class Core:
    """One replica (``own`` an index) or observer (``own`` None) in one epoch of one chain.

    Args:
        profile: which engine this is.
        settings: genesis values.
        validators: the set of the epoch.
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
        self.quorum = validators.quorum
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
        self.ended = False
        """The head is the epoch's last block: what follows is the next epoch's affair."""
        self._applied: Applied | None = None
        self.bodies = Bodies(out)
        self.proposals: dict[tuple[Height, View], Proposal] = {}
        """The first one seen of each view."""
        self.ballots = Ballots()
        self.waiting = Waiting(
            self.quorum, out, fast_exit=profile.fast_exit, view_timeout_ms=settings.view_timeout_ms
        )
        self.proposer = Proposer(self, out)
        self.policy: Policy = (
            profile.policy(settings.path) if profile.fast_exit else PathPolicy("broadcast")
        )
        self.present = 1
        """Replicas heard of lately, this one included; the owner keeps it."""
        self.fallback = Fallback(self, out)
        self._undecided: Certificate | None = None
        """A decision certificate for L+1 whose body is missing."""

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
        self._begin()
        if self.own is not None and (why := flaw(self.record, self.head.height)):
            self.demote(f"the safety record contradicts itself: {why}")
        self._forget_through(self.head.height)

    def follow(self, earlier: Core) -> None:
        """Go on where the core of the epoch before ended (§4, epoch reset)."""
        self.record, self.head, self.now = earlier.record, earlier.head, earlier.now
        self.bodies, self.accusations = earlier.bodies, earlier.accusations
        self.known_height, self.last_header = earlier.known_height, earlier.last_header
        self.decided_ms, self.ahead_ms = earlier.decided_ms, earlier.ahead_ms
        self._begin()

    def _begin(self) -> None:
        """Enter the epoch: its view 0, with no vote, lock or proposal; nobody it does not name."""
        epoch = self._validators.epoch
        if self.record.epoch < epoch:
            self.promise(ViewRecord(epoch, 0, Mode.NORMAL))
        for certificate in (self.head.certificate, self.record.prepared):
            if certificate is not None and certificate.epoch == epoch:
                self.heard.note_certificate(certificate)
        if self.own is not None:
            member = self._validators.members[self.own]
            self.own = self.own if self.record.speaks(member.nonce) else None

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
            and not self.ended
            and self.applied is not None
            and self.record.opens(view, height)
        )

    @property
    def others(self) -> list[ReplicaIndex]:
        """Every replica but this one."""
        return [i for i in range(self.quorum.n) if i != self.own]

    def choice(self, at: Position) -> Digest | None:
        """What the view that was opened must propose first (§7)."""
        opened = self.record.new_view
        return opened.choice if opened is not None and opened.height == at.height else None

    def enough(self, round_: Round) -> int:
        """Votes of one round for one digest beyond which no more are needed."""
        fast = round_ is Round.VOTE and self._profile.fast_exit
        return self.quorum.fast if fast else self.quorum.vote

    def in_window(self, height: Height, view: View) -> bool:
        """Two heights, one rotation ahead; behind, because commits decide in any view (§5)."""
        decided = self.head.height
        near = abs(view - self.record.view) <= self._rotation
        return near and decided < height <= decided + HEIGHTS_AHEAD

    # ------------------------------------------------------------ messages

    def on_block(self, message: Block | BlockBody, *, firsthand: bool = True) -> None:
        """A proposal; a ``block`` also carries the leader's vote, and where it wants the others'.

        ``firsthand``: it comes from its leader. The path is not signed, so a block that another
        replica shows starts nothing, and only convicts a leader of two blocks.
        """
        height, view, digest = message.height, message.view, message.digest
        missing = self.missing()
        wanted = missing is not None and digest == missing[0]
        if not (wanted or self.in_window(height, view)):
            return
        path = Path.BROADCAST
        if isinstance(message, Block):
            known = (height, view) in self.proposals
            if not (firsthand or wanted or known):
                return
            if firsthand and message.path == Path.COLLECT:
                path = Path.COLLECT
        proposal = Proposal(Cast(digest, message.proposal_sig), path)
        if not self.propose_once(message.epoch, view, height, proposal) and not wanted:
            return
        if digest not in self.bodies:
            self.bodies.add(digest, Body.of_message(message))
        if isinstance(message, Block):
            leader = self.leader(view, height)
            loud = firsthand and path is Path.BROADCAST  # else its sender waits for everybody's
            vote = Cast(digest, message.vote_sig)
            self._count(Round.VOTE, view, height, leader, vote, loud=loud)
        self.advance()

    def propose_once(self, epoch: Epoch, view: View, height: Height, proposal: Proposal) -> bool:
        """Whether this is the leader's first proposal there; a second one is proof against it."""
        known = self.proposals.setdefault((height, view), proposal)
        if known.cast.digest == proposal.cast.digest:
            return True
        leader, at = self.leader(view, height), (Round.PROPOSAL, epoch, view, height)
        found = self.accusations.twice(*at, leader, known.cast, proposal.cast)
        self.leader_lied = self.leader_lied or (found and view == self.record.view)
        self._convict_self(leader, found=found)
        return False

    def on_vote(
        self,
        round_: Round,
        view: View,
        height: Height,
        signer: ReplicaIndex,
        cast: Cast,
        *,
        loud: bool = True,
    ) -> None:
        """A first-round vote, ``loud`` if it went to everybody, or a commit."""
        if self._count(round_, view, height, signer, cast, loud=loud):
            self.advance()

    def _count(
        self,
        round_: Round,
        view: View,
        height: Height,
        signer: ReplicaIndex,
        cast: Cast,
        *,
        loud: bool,
    ) -> bool:
        """Whether it is one to count; a second one of its signer is proof against it."""
        at = Position(self.record.epoch, view, height)
        self.heard.note(round_, at, signer, cast)
        if signer == self.own and not self._cast_here(round_, at, cast.digest):
            self.demote(f"it has signed at height {height}, view {view}, and its record is older")
            return False
        if not self.in_window(height, view):
            return False
        earlier = self.ballots.at(height, view, round_).add(signer, cast, loud=loud)
        if earlier is not None:
            found = self.accusations.twice(round_, *at, signer, earlier, cast)
            self._convict_self(signer, found=found)
        return earlier is None

    def _cast_here(self, round_: Round, at: Position, digest: Digest) -> bool:
        covers = self.record.covers_vote if round_ is Round.VOTE else self.record.covers_commit
        return covers(at, digest)

    def accuse(self, proof: Proof) -> None:
        """Proof from another replica, its signatures checked: keep it and pass it on."""
        new = self.accusations.add(proof)
        epoch = proof.standing.epoch if isinstance(proof, Concealment) else proof.epoch
        if epoch != self.record.epoch:
            return  # indices were other replicas' then
        if isinstance(proof, Concealment):
            self._convict_self(proof.standing.signer, found=new)
            return
        view, height = proof.view, proof.height
        here = (proof.epoch, view, height) == self.at(self.head.height + 1)
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

    def draw(self, nonce: Digest) -> None:
        """Name this memory, for an epoch that may admit it; one that votes needs no name."""
        if self.own is None and self.record.nonce == ZERO_DIGEST:
            reason = self.record.observer or "it waits to be admitted"
            self.promise(ObserverRecord(reason, nonce))

    def moved(self) -> None:
        """The view is another one: what was asked for in the old one is void."""
        self.proposer.forget()
        self.leader_lied = False
        self.waiting.end()
        self.policy.restart()
        self.fallback.forget()
        oldest = self.record.view - self._rotation
        self.ballots.drop_below(oldest)
        for key in [key for key in self.proposals if key[1] < oldest]:
            del self.proposals[key]

    @property
    def has_open_proposal(self) -> bool:
        """A verified proposal of this view, or its choice, is undecided (§5, Work b)."""
        height, view = self.head.height + 1, self.record.view
        return (height, view) in self.proposals or self.choice(self.at(height)) is not None

    def on_certificate(self, certificate: Certificate) -> None:
        """A decision certificate counts in any view and mode (§5, decide)."""
        self.recognise(certificate)
        self.known_height = max(self.known_height, certificate.height)
        if self._is_next(certificate):
            self._undecided = certificate
            self.advance()

    def on_decided(self, block: DecidedBlock) -> None:
        """A decided block with its certificate, from a peer's store."""
        certificate = block.certificate
        if not self._is_next(certificate):
            return
        self.recognise(certificate)
        self.bodies.add(certificate.digest, Body.of_decided(block))
        self._undecided = certificate
        self.advance()

    def _is_next(self, certificate: Certificate) -> bool:
        """Whether it decides the height after the head, in this epoch."""
        here = certificate.epoch == self.record.epoch and not self.ended
        return here and certificate.height == self.head.height + 1

    def on_applied(self, applied: Applied) -> None:
        """The ledger has executed a decided block of this epoch, or the last one before it."""
        if applied.height != self.head.height:
            return
        self._applied = applied
        self.speak_again()
        self.advance()

    # ------------------------------------------------------------ vote, lock, decide

    def advance(self) -> None:
        """Do whatever the messages held now allow, until nothing more follows."""
        self.fallback.look()
        while self._try_decide():
            pass
        height, view = self.head.height + 1, self.record.view
        if self.may(view, height):
            self._try_vote(view, height)
            self.fallback.look()
            self._try_lock(view, height)

    def _try_vote(self, view: View, height: Height) -> None:
        """On ``block``: validate, and cast the one first-round vote of this position (§5)."""
        proposal = self.proposals.get((height, view))
        if proposal is None:
            return
        digest, at = proposal.cast.digest, self.at(height)
        body = self.bodies.get(digest)
        if body is None or self.record.voted(at) is not None or self.why_invalid(body):
            return
        choice = self.choice(at)
        right = self._fresh(body, view) if choice is None else digest == choice
        if not right or not self.record.allows(at, digest):
            return
        self.bodies.keep(digest)
        self.promise(VoteRecord(*at, digest))
        now_ms = self.now.monotonic_ms
        path = proposal.path if self._profile.fast_exit else Path.BROADCAST
        self.waiting.begin(Flight(at, digest, path, now_ms, leads=False))
        self._cast(at, digest)
        self.opened_ms = now_ms

    def _cast(
        self, at: Position, digest: Digest, to: tuple[ReplicaIndex, ...] | None = None
    ) -> None:
        """Send this replica's vote: to the leader while it collects, else to everybody."""
        flight = self.waiting.flight
        if flight is not None and flight.collects:
            leader = self.leader(at.view, at.height)
            if to is None or leader in to:
                self._out.send((leader,), Collected(*at, digest, self.own or 0, ZERO_SIGNATURE))
        else:
            self._out.send(ALL if to is None else to, self.own_vote(at, digest))

    def _try_lock(self, view: View, height: Height) -> None:
        """Q first-round votes: keep the prepared certificate, then commit (§5, lock)."""
        at = self.at(height)
        if self.record.locked(at) is not None:
            return
        handed = self.fallback.handed(at)
        if handed is not None and self._locks(at, handed.digest, handed):
            return
        tally = self.ballots.find(height, view, Round.VOTE)
        for digest, signatures in tally.by_digest.items() if tally is not None else ():
            if len(signatures) < self.quorum.vote or self.fallback.holds_back(at, digest):
                continue
            certificate = self.assemble(CertificateKind.PREPARED, at, digest, signatures)
            if self._locks(at, digest, certificate):
                return

    def _locks(self, at: Position, digest: Digest, certificate: Certificate) -> bool:
        body = self.bodies.get(digest)
        if body is None or self.why_invalid(body):
            return False
        self.bodies.keep(digest)
        self.promise(PreparedRecord(certificate))
        self.waiting.locked()
        self._out.send(ALL, self._own_commit(at, digest))
        return True

    def _try_decide(self) -> bool:
        """Q commits of any view, or a certificate somebody handed over, decide L+1."""
        height = self.head.height + 1
        certificate = self._undecided or self._decision_certificate(height)
        if certificate is None or self.ended:
            return False
        self._undecided = certificate
        digest = certificate.digest
        if (body := self.bodies.get(digest)) is None:
            return False
        if body.header.parent != self.head.digest:
            raise LocalFault(
                f"height {height}: a quorum decided {digest.hex()[:16]}, whose parent "
                f"{body.header.parent.hex()[:16]} is not our head {self.head.digest.hex()[:16]}"
            )
        self.bodies.keep(digest)
        self.promise(DecisionRecord(height, digest, certificate))
        self._land(certificate)
        self.head = Head(height, digest, body.header.time_ms, certificate)
        self._forget_through(height)
        self.decided_ms = self.now.monotonic_ms
        self.last_header = body.header
        self.ended = body.header.next_validators != self._validators.digest
        self._out.commit(Decision(height, digest, body.raw_header, body.txs, certificate))
        return True

    def _land(self, certificate: Certificate) -> None:
        """The height in flight is decided; who collected the votes shows them to everybody."""
        flight = self.waiting.flight
        kind = CertificateKind(certificate.kind)
        collected = flight is not None and flight.leads and flight.path is Path.COLLECT
        if collected or self._alone_with(certificate):
            self._out.send(ALL, Agree(certificate))
        landing = self.waiting.land(kind, self.now.monotonic_ms)
        if landing is not None and flight is not None and flight.leads:
            self.policy.landed(landing)

    def _alone_with(self, certificate: Certificate) -> bool:
        """Whether it holds votes that were given to this replica alone, whatever path it meant."""
        height, view = certificate.height, certificate.view
        mine = self.leader(view, height) == self.own and certificate.kind == CertificateKind.FAST
        tally = self.ballots.find(height, view, Round.VOTE) if mine else None
        return tally is not None and not tally.all_loud(certificate.digest, self.own)

    def _decision_certificate(self, height: Height) -> Certificate | None:
        ways = [(Round.COMMIT, CertificateKind.COMMIT, self.quorum.vote)]
        if self._profile.fast_exit:
            ways.append((Round.VOTE, CertificateKind.FAST, self.quorum.fast))
        for round_, kind, size in ways:
            if (reached := self.ballots.reached(height, round_, size)) is not None:
                view, digest, signatures = reached
                at = Position(self.record.epoch, view, height)
                return self.assemble(kind, at, digest, signatures)
        return None

    def assemble(
        self,
        kind: CertificateKind,
        at: Position,
        digest: Digest,
        signatures: dict[ReplicaIndex, bytes],
    ) -> Certificate:
        """A certificate of exactly as many signatures as its kind asks for."""
        size = required(kind, self._validators)
        return assemble(kind, *at, digest, signatures, self.quorum.n, size)

    def why_invalid(self, body: Body) -> str:
        """Validity is a function of block and chain state (§5)."""
        applied = self.applied
        if applied is None:
            return "the head is not executed yet"
        next_set = applied.next_set or self._validators.digest
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

    def own_vote(self, at: Position, digest: Digest) -> Prepare:
        """This replica's first-round vote for everybody; says nothing the record does not."""
        return Prepare(*at, digest, self.own or 0, ZERO_SIGNATURE)

    def _own_commit(self, at: Position, digest: Digest) -> Commit:
        return Commit(*at, digest, self.own or 0, ZERO_SIGNATURE)

    def speak_again(self, to: tuple[ReplicaIndex, ...] | None = None) -> None:
        """Say again what the record says was said at L+1; never anything else (§4, On restart).

        ``to`` None: to everybody and to this node itself, whose tally is empty after a start.
        """
        mute = self.own is None or not self.voting or self.applied is None
        if mute or self.record.mode is not Mode.NORMAL:
            return
        target = ALL if to is None else to
        at = self.at(self.head.height + 1)
        proposed, voted = self.record.proposed(at), self.record.voted(at)
        if proposed is not None and proposed in self.bodies:
            self.proposer.send(proposed, to)
            self.fallback.say_again(target)
        elif voted is not None:
            self._cast(at, voted, to)
        if (locked := self.record.locked(at)) is not None:
            self._out.send(target, self._own_commit(at, locked.digest))

    def missing(self) -> tuple[Digest, list[ReplicaIndex]] | None:
        """The body this node lacks, and who has it on disk (§5)."""
        return missing_body(self, self._undecided)

    def _forget_through(self, height: Height) -> None:
        self._undecided = None
        self.proposer.forget()
        self.fallback.forget()
        self.ballots.drop_through(height)
        for key in [key for key in self.proposals if key[0] <= height]:
            del self.proposals[key]
        self.bodies.forget_through(height)
