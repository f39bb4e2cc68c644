"""The node without its hands: engine, gate, mempool and ledger as one deterministic machine.

The daemon gives it sockets, a disk and clocks; the simulator gives it virtual ones. Both follow
the same two beats, so that what is simulated is what runs::

    turn = machine.turn(now)             # the engine's step over everything that has arrived
    ... make turn.records durable ...    # a failed write ends the process here
    effects = machine.release(turn, now) # only now: sign, send, execute, arm timers

Between the two beats new inputs may arrive; they wait for the next turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from vppd.codec import encode
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import (
    ALL,
    Applied,
    BodyRecord,
    Decision,
    Drawn,
    Engine,
    Fired,
    Input,
    Now,
    Offered,
    Pending,
    Received,
    Record,
    Timer,
)
from vppd.consensus.chain import Settings
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Blocks,
    Commit,
    ConsensusMessage,
    NewView,
    Prepare,
    PrePrepared,
    Reply,
    Status,
    Tx,
    Type,
    ViewChange,
)
from vppd.consensus.profile import EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.terms import Term, Terms
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import Signer, Verify
from vppd.errors import LocalFault, PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.block import make_header
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import NOBODY, InvalidTransaction, Transaction
from vppd.net.gate import Gate, PeerMessage, header_of
from vppd.node.beats import Committed, Effects, Frame, Receivers, Turn, in_frames
from vppd.node.early import Early
from vppd.node.hand import Hand
from vppd.node.mempool import Mempool, Refused
from vppd.node.roster import PeerNumber, Roster
from vppd.node.statements import Statements
from vppd.types import (
    ZERO_DIGEST,
    Digest,
    Epoch,
    Height,
    Mode,
    PublicKey,
    ReplicaIndex,
    TimeMs,
    View,
)

Considered: TypeAlias = Transaction | InvalidTransaction | Refused
"""A transaction, or why it is none of this node's."""
INBOX_BYTES = 4 * 1024 * 1024
"""Of one sender's messages, waiting for the next turn."""
TOKEN_BYTES = 512
"""What a message counts beside its transactions."""
SHOWN_BYTES = 8 * 1024
"""More for messages that show certificates of many replicas."""


MakeEngine: TypeAlias = Callable[
    [EngineProfile, Settings, ValidatorSet, ReplicaIndex | None], Engine
]


class Machine:
    """One node of one chain.

    Args:
        genesis: the chain.
        signer: this node's key; it votes if the key is a validator's.
        verify: the one verifier.
        ledger: executed as far as the store kept it.
        make_engine: builds the engine; the simulator also runs broken ones.
        make_gate: builds the gate; the simulator also runs the published protocol's.
        known: keys of nodes that genesis does not list, in the order of their peer numbers.
    """

    def __init__(
        self,
        genesis: Genesis,
        signer: Signer,
        verify: Verify,
        ledger: Ledger,
        make_engine: MakeEngine = Replica,
        make_gate: type[Gate] = Gate,
        known: Sequence[PublicKey] = (),
    ) -> None:
        self.genesis = genesis
        self.ledger = ledger
        self.mempool = Mempool(ledger.nonce, ledger.judge_statement)
        self._hand = Hand(signer, genesis.digest)
        self.terms = Terms(genesis)
        self.terms.note(ledger.eras)
        founders = (entry.key for entry in genesis.validators)
        self.roster = Roster((*founders, *known), self.terms.at(ledger.height + 1))
        self._make_engine = make_engine
        self.engine = self._engine()
        self.gate = make_gate(genesis.digest, self.terms, verify, self.mempool.known)
        self._early = Early()
        self._inbox: list[Input] = []
        self._queued: Counter[PeerNumber | None] = Counter()
        """Bytes of blocks, and a token amount per other message, waiting in the inbox by sender."""
        self._pool_changed = False
        self._pending_since_ms: int | None = None
        self._head_digest: Digest = genesis.digest
        self._head_time_ms: TimeMs = 0
        self._frames: list[Frame] = []
        self._view: tuple[Epoch, View] = (0, 0)
        """The view whose leader has been sent what waits here."""
        self._statements = Statements(ledger)
        self._nonce: Digest = ZERO_DIGEST
        """What this node's memory is called, durably."""
        self._lost = False
        """Whether it means nothing without a nonce."""
        self._recovered: list[Committed] = []
        """Executed at the start; part of the first effects, so that the host stores them."""

    def _engine(self) -> Engine:
        term = self.term
        return self._make_engine(term.profile, term.settings, term.validators, self.own)

    @property
    def key(self) -> PublicKey:
        """This node's."""
        return self._hand.key

    @property
    def term(self) -> Term:
        """The epoch the engine is in."""
        return self.roster.term

    @property
    def validators(self) -> ValidatorSet:
        """Who votes in that epoch."""
        return self.term.validators

    @property
    def own(self) -> ReplicaIndex | None:
        """This node's index in that epoch; ``None``: it is not of those who vote."""
        return self.validators.index.get(self.key)

    def index_in(self, epoch: Epoch, node: PeerNumber | None) -> ReplicaIndex | None:
        """A node's index in an epoch; ``None``: it is no member, or the epoch is not known."""
        term = self.terms.of(epoch)
        if term is None or node is None:
            return None
        return term.validators.index.get(self.roster.key(node))

    # ------------------------------------------------------------ inputs

    def start(
        self,
        now: Now,
        log: Sequence[Record],
        executed: Header | None,
        missed: Sequence[Decision],
    ) -> Turn:
        """Begin or resume.

        Args:
            now: both clocks.
            log: the safety record and the bodies it refers to.
            executed: header of the block the ledger stands on; ``None`` at genesis.
            missed: decided blocks the ledger has not executed, ascending.

        Returns:
            The first turn; release it like any other.
        """
        if executed is not None:
            self._head_digest, self._head_time_ms = executed.digest(), executed.time_ms
        self._recovered = [Committed(decision, self._execute(decision)) for decision in missed]
        if self.terms.at(self.ledger.height + 1) is not self.term:
            self.roster.enter(self.terms.at(self.ledger.height + 1))
            self.engine = self._engine()
        step = self.engine.start(now, log)
        self._inbox.append(self._applied())
        return Turn(step.persist, step)

    def wants(self, sender: PeerNumber | None, message: PeerMessage) -> bool:
        """Whether it is worth checking the signatures of this message from that node."""
        header = header_of(message, self.terms.leader)
        if header is None:
            return not isinstance(message, Reply) or self.terms.of(message.epoch) is not None
        if self.terms.of(header.epoch) is None:
            self._early.remember(sender, message)
            return False
        if header.epoch > self.term.epoch:
            return self._early.has_room(sender)
        return self.engine.wants(header, firsthand=self.roster.index(sender) == header.signer)

    def receive(self, sender: PeerNumber | None, message: ConsensusMessage) -> None:
        """Take a message the gate has checked; beyond a bound per sender it is dropped.

        What matters is sent again (§5, Resend), so a slow disk here costs time, not memory.
        """
        txs = message.txs if isinstance(message, Block | BlockBody) else ()
        size = TOKEN_BYTES + sum(map(len, txs))
        if isinstance(message, Agree | NewView | PrePrepared | ViewChange):
            size += SHOWN_BYTES
        if isinstance(message, Blocks):
            size += sum(len(raw) for block in message.blocks for raw in block.txs)
        nothing = isinstance(message, Blocks) and not message.blocks  # "none", of no epoch
        header = None if nothing else header_of(message, self.terms.leader)
        if header is not None and header.epoch > self.term.epoch:
            self._early.keep(header.epoch, Received(sender, message), size)
            return
        if self._queued[sender] + size <= INBOX_BYTES:
            self._queued[sender] += size
            self._inbox.append(Received(sender, message))

    def draw(self, nonce: Digest) -> None:
        """Random bytes that may name this node's memory; see :meth:`ready`."""
        self._inbox.append(Drawn(nonce))

    @property
    def nameless(self) -> bool:
        """Whether this node needs a nonce: as it is, nothing decided could make it vote (§4).

        A candidate whose memory is sound waits for its election under the name it has; with another
        one it could not be elected at all.
        """
        status = self.engine.status()
        votes = self.own is not None and not status.observer
        if votes or status.nonce != ZERO_DIGEST:
            return False
        listed = any(c.key == self.key and not any(c.nonce) for c in self.ledger.candidates)
        return status.lost or not listed

    def ready(self) -> Ready | None:
        """What asks the members to admit this node, or to let it vote again; only once named.

        ``None``: it has no nonce yet (:meth:`draw`), or that is not durable.
        """
        return None if self._nonce == ZERO_DIGEST else self._ready(self._nonce)

    def _ready(self, nonce: Digest) -> Ready:
        ledger = self.ledger
        at = (self.term.epoch, ledger.height, ledger.state_root, nonce)
        return Ready(self.key, *at, self._hand.ready(*at))

    def fire(self, timer: Timer) -> None:
        """A timer ran out."""
        self._inbox.append(Fired(timer))

    def submit(self, raw: bytes, now_ms: int, *, own: bool) -> Transaction:
        """Take a transaction, from a client (``own``) or another node.

        Raises:
            InvalidTransaction, BadSignature: it can never be executed.
            Refused: not now; the text says why.
        """
        tx = self.gate.check_transaction(raw, self.ledger.height + 1, self.mempool.admit)
        if self.mempool.add(tx, now_ms, own=own):
            if own:
                self._forward(self._packers(), tx)
            self._pool_changed = True
        return tx

    def consider(self, raws: Sequence[bytes]) -> list[Considered]:
        """For each the transaction that :meth:`take` would take, but for its signature.

        Args:
            raws: as received; those of one sender will be taken in this order.

        Returns:
            Or why it would not: it can never be executed, or not now.
        """
        pool = self.mempool
        known = list(map(pool.known, raws))
        unknown = [raw for raw, tx in zip(raws, known, strict=True) if tx is None]
        opened = iter(self.gate.open_all(unknown, self.ledger.height + 1))
        ahead: Counter[PublicKey] = Counter()
        considered: list[Considered] = []
        for waiting in known:
            found = next(opened) if waiting is None else waiting
            # Where nobody signs, taking it costs no more than asking first whether it would be;
            # but of a statement only that looks at its proof.
            asked = isinstance(found, Transaction) and (self.gate.signed or found.sender == NOBODY)
            if isinstance(found, Transaction) and waiting is None and asked:
                try:
                    pool.admit(found, ahead[found.sender])
                except Refused as err:
                    considered.append(err)
                    continue
                ahead[found.sender] += 1
            considered.append(found)
        return considered

    def take(self, txs: Iterable[Transaction], now_ms: int, *, own: bool) -> list[Refused | None]:
        """Take transactions that were considered and whose signatures hold.

        Returns:
            For each why it was not taken after all; ``None``: it was.
        """
        outcomes: list[Refused | None] = []
        new: list[Transaction] = []
        height = self.ledger.height + 1
        for tx in txs:
            if tx.expiry_height < height:  # while its signature was being checked
                outcomes.append(Refused(f"it has expired at height {tx.expiry_height}"))
                continue
            try:
                if self.mempool.add(tx, now_ms, own=own):
                    new.append(tx)
            except Refused as err:
                outcomes.append(err)
            else:
                outcomes.append(None)
        self._pool_changed |= bool(new)
        if own:
            self._forward_all(self._packers(), new)
        return outcomes

    def keep_readable(self, wanted: bool) -> None:
        """See :meth:`~vppd.node.mempool.Mempool.keep_readable`."""
        self._pool_changed |= self.mempool.keep_readable(wanted)

    def standing(self) -> Frame:
        """Where this node stands, for everybody; needs no turn."""
        status = self.engine.status()
        said = Status(status.epoch, status.decided, status.view, status.mode)
        return Frame(ALL, Type.STATUS, encode(said))

    def housekeeping(self, now_ms: int) -> None:
        """Every quarter of a second or so: own transactions that linger are sent again."""
        everybody, leader = self.mempool.overdue(now_ms)
        for tx in everybody:
            self._forward(ALL, tx)
        for tx in leader:
            self._forward(self._packers(), tx)
        term = self.term
        if self.mempool.readable_by_all:
            return
        mute = self._lost and self._nonce == ZERO_DIGEST  # elected, it could only be skipped
        ready = self._ready(self._nonce) if term.profile.moves and not mute else None
        for raw in self._statements.due(ready, term.rules.max_tx_lifetime):
            with suppress(Refused):  # one that comes to the same waits here
                self.submit(raw, now_ms, own=True)

    def greeting(self, peer: PeerNumber) -> list[Frame]:
        """For a validator whose link is new: it may have forgotten more than it knows.

        First what it signed last, since its disk may have come back older than it was (protocol.md,
        §4, Rollback); only then where this node stands, which is what it waits for before it votes.
        """
        words = [Frame((peer,), type_, word) for type_, word in self.words(self.roster.key(peer))]
        return [*words, self.standing()._replace(to=(peer,))]

    def words(self, key: PublicKey) -> list[tuple[Type, bytes]]:
        """What a node signed last, to be shown to it; also to one that is no member any more."""
        return [(TYPE_OF[type(word)], encode(word)) for word in self.engine.last_words(key)]

    def reconnected(self, peer: PeerNumber) -> None:
        """Greet a validator that is back; a leader may have lost what it was sent before."""
        self._frames += self.greeting(peer)
        packers = self._packers()
        if packers == ALL or peer in packers:
            for tx in self.mempool.own():
                self._forward((peer,), tx)

    def _packers(self) -> Receivers:
        """Who can put a transaction of this node into a block soon."""
        if self.term.profile.moves:
            return ALL  # by the time it arrives the next one leads
        leader = self.engine.status().leader
        return () if leader == self.own else self.roster.numbers((leader,))

    def _forward(self, to: Receivers, tx: Transaction) -> None:
        if not to:
            return
        self._frames.append(Frame(to, Type.TX, encode(Tx(tx.raw))))

    def _forward_all(self, to: Receivers, txs: Sequence[Transaction]) -> None:
        if to:
            self._frames += in_frames(to, [tx.raw for tx in txs])

    # ------------------------------------------------------------ the two beats

    @property
    def has_work(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._inbox or self._frames or self._pool_changed)

    def turn(self, now: Now) -> Turn:
        """Step the engine over everything that has arrived."""
        self._note_pending()
        step = self.engine.step(now, self._next_inputs())
        return Turn(step.persist, step)

    def _next_inputs(self) -> list[Input]:
        """What has arrived, as far as one epoch goes, with senders by their index in it.

        The execution that ends an epoch opens the first batch of the next one, so that every index
        in a batch and in the step it gives is one of the same epoch.
        """
        inputs = self._inbox
        end = next((i for i, item in enumerate(inputs) if self._moves(item)), None)
        if end is None:
            self._inbox = []
            self._queued.clear()
        elif end > 0:
            inputs, self._inbox = inputs[:end], inputs[end:]
        else:
            self.roster.enter(self.terms.at(self.ledger.height + 1))
            early = self._early.enter(self.term.epoch)
            inputs, self._inbox = [inputs[0], *early], inputs[1:]
        index = self.roster.index
        return [
            Received(index(item.sender), item.message) if isinstance(item, Received) else item
            for item in inputs
        ]

    def _moves(self, item: Input) -> bool:
        """Whether it is the execution after which another epoch is in force."""
        seat = item.seat if isinstance(item, Applied) else None
        return seat is not None and seat.validators.epoch > self.term.epoch

    def release(self, turn: Turn, now: Now) -> Effects:
        """The turn's records are durable: sign, send, execute."""
        step = turn.step
        status = self.engine.status()
        self._nonce, self._lost = status.nonce, status.lost
        self._statements.note(turn.records, step.faults, skips=self.term.profile.moves)
        frames, self._frames = self._frames, []
        for send in step.send:
            signed = self._hand.sign(send.message)
            to = send.to if send.to == ALL else self.roster.numbers(send.to)
            frames.append(Frame(to, TYPE_OF[type(signed)], encode(signed)))
            if send.to == ALL and isinstance(signed, Block | Prepare | Commit | ViewChange):
                self._inbox.append(Received(self.roster.number(self.key), signed))
        self._follow_leader()
        committed, self._recovered = self._recovered, []
        dropped: list[Transaction] = []
        for decision in step.commit:
            execution = self._execute(decision)
            committed.append(Committed(decision, execution))
            # A refused transaction has not used its nonce: it may still be executed later.
            used: Iterable[Digest] = execution.tx_ids
            if execution.refused:
                used = [x for i, x in enumerate(execution.tx_ids) if i not in execution.refused]
            dropped += self.mempool.settle(used, decision.height, now.monotonic_ms)
        if committed:
            self._pool_changed = True
            self._note_pending()
            self._inbox.append(self._applied())
        if step.want is not None and step.want == self.ledger.height + 1:
            self._inbox.append(self._build(step.want, now))
        return Effects(tuple(frames), tuple(committed), step.timers, tuple(dropped), step.faults)

    def _follow_leader(self) -> None:
        """In a new view what this node looks after goes to its leader (§5, Transactions)."""
        status = self.engine.status()
        view = (status.epoch, status.view)
        if view != self._view and status.mode is Mode.NORMAL:
            self._view = view
            for tx in self.mempool.own():
                self._forward(self._packers(), tx)

    def _note_pending(self) -> None:
        """Tell the engine whether there is work; once per turn, however many have come."""
        if not self._pool_changed:
            return
        self._pool_changed = False
        since_ms = self.mempool.pending_since_ms()
        if since_ms != self._pending_since_ms:
            self._pending_since_ms = since_ms
            self._inbox.append(Pending(since_ms))

    # ------------------------------------------------------------ blocks

    def _build(self, height: Height, now: Now) -> Offered:
        rules = self.term.rules
        txs = self.mempool.take(
            height, rules.max_block_txs, rules.max_block_bytes, rules.max_tx_lifetime
        )
        header = make_header(
            chain_id=self.genesis.digest,
            epoch=self.term.epoch,
            height=height,
            parent=self._head_digest,
            time_ms=max(self._head_time_ms + 1, now.unix_ms),
            proposer=self.key,
            txs=txs,
            state_root=self.ledger.state_root,
            receipts_root=self.ledger.receipts_root,
            next_validators=self.terms.at(height + 1).validators.digest,
        )
        waiting = tuple(map(self.mempool.known, txs))
        self.gate.keep_opened(header.digest(), tuple(tx for tx in waiting if tx is not None))
        return Offered(header.encode(), txs)

    def _execute(self, decision: Decision) -> Execution:
        """Execute a decided block.

        Raises:
            LocalFault: the block carries other roots than this ledger computed: one of the two
                sides executed differently, and signing on would spread it.
        """
        header = decode_header(decision.header)
        own = (self.ledger.state_root, self.ledger.receipts_root)
        if (header.state_root, header.receipts_root) != own:
            raise LocalFault(
                f"height {decision.height}: the plant decided roots "
                f"{header.state_root.hex()[:16]}/{header.receipts_root.hex()[:16]} after height "
                f"{decision.height - 1}, this ledger has {own[0].hex()[:16]}/{own[1].hex()[:16]}"
            )
        opened = self.gate.opened(decision.digest)
        execution = self.ledger.execute(header, decision.txs, opened)
        self.terms.note(self.ledger.eras)
        if execution.era is not None:
            self._recall()
        self._head_digest, self._head_time_ms = decision.digest, header.time_ms
        return execution

    def _recall(self) -> None:
        """What was said of an epoch before this node knew it can be checked now."""
        for sender, message in self._early.learnt(self.terms.latest.epoch):
            with suppress(PeerFault):
                self.gate.check(message)
                self.receive(sender, message)

    def _applied(self) -> Applied:
        ledger, terms = self.ledger, self.terms
        due_ms = ledger.next_due_ms
        if terms.latest.first > ledger.height + 1:
            due_ms = ledger.time_ms  # a decided change waits for nothing but one more block
        return Applied(
            ledger.height,
            ledger.state_root,
            ledger.receipts_root,
            next_due_ms=due_ms,
            seat=terms.at(ledger.height + 1).seat(self.key),
            next_set=terms.at(ledger.height + 2).validators.digest,
        )

    def body_of(self, record: BodyRecord) -> BlockBody | None:
        """Answer to ``get_block``: an undecided body under the proposal that carried it.

        Our own proposal's signature is made when somebody asks: the promise is on disk.
        """
        signature = record.proposal_sig
        at = (decode_header(record.header).epoch, record.view, record.height)
        if not signature:
            proposed = self.engine.proposed(record.digest)
            if proposed is None:
                return None
            at = proposed
            signature = self._hand.proposal(*at, record.digest)
        return BlockBody(*at, record.digest, record.header, record.txs, signature)
