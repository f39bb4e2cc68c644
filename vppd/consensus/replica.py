"""The engine a node runs: inputs in, one Step out; timers, peers and catching up around the core.

Everything a replica promises is decided in :mod:`vppd.consensus.core` and
:mod:`vppd.consensus.viewchange`; this class decides when to look again, whom to remind and whom to
ask (protocol.md, §5 Resend, Work, Timers, §10 Catch-up).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    Applied,
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
    Seat,
    Step,
    Timer,
    TimerKind,
)
from vppd.consensus.catchup import CatchUp
from vppd.consensus.chain import Settings
from vppd.consensus.core import Core
from vppd.consensus.describe import describe
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Collected,
    Commit,
    Evidence,
    GetBlock,
    GetBlocks,
    NewView,
    Prepare,
    PrePrepared,
    Reply,
    Round,
    Standing,
    Status,
    Type,
    ViewChange,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.pacemaker import Pacemaker
from vppd.consensus.patience import Patience
from vppd.consensus.profile import EngineProfile
from vppd.consensus.recognise import unknown_change, unknown_in_new_view
from vppd.consensus.screen import wants
from vppd.consensus.tally import Cast
from vppd.consensus.validators import ValidatorSet
from vppd.consensus.viewchange import ViewChanger
from vppd.types import Digest, Epoch, Height, Mode, PublicKey, ReplicaIndex, View

TICK_MS = 1_000
TICK_SPREAD_MS = 200
"""Ticks of different replicas fall this far apart, so that reminders do not come in bursts."""
START_MS = 2_000
RESEND_AFTER_MS = 200
"""What left so recently is not sent again."""
SYNC_PATIENCE_MS = 300
"""One height behind is usually a decision on its way: wait so long before asking for it."""

OVERDUE_MS = 1_000
"""A time trigger of the ledger is late by so much: work (§5, Work c)."""

_TICK = Timer(TimerKind.TICK)
_IDLE = Timer(TimerKind.IDLE)
_DUE = Timer(TimerKind.DUE)


class Replica:
    """An :class:`~vppd.consensus.boundary.Engine`: one node's part in one chain.

    Args:
        profile: which engine this is.
        settings: genesis values.
        validators: the set of the epoch this node starts in.
        own: this node's index, ``None`` for an observer.
    """

    def __init__(
        self,
        profile: EngineProfile,
        settings: Settings,
        validators: ValidatorSet,
        own: ReplicaIndex | None,
    ) -> None:
        self._said: EngineStatus | None = None
        """What :meth:`status` says; hosts ask several times a step."""
        self._out = Outbox()
        self._catchup = CatchUp()
        self._met: set[ReplicaIndex] = set()
        """Peers that have said where they stand since this node entered the epoch."""
        self._sit_down(Seat(profile, settings, validators, own))
        self._decided = 0
        self._pending_since_ms: int | None = None
        self._overdue_ms: int | None = None
        """The time trigger that is overdue at this node's clock, in block time."""
        self._idle_due = False
        self._view: tuple[View, Mode] = (0, Mode.NORMAL)
        """Where the last step left this replica."""
        self._reminded: dict[ReplicaIndex, int] = {}
        """When each peer was last reminded: a flickering status buys nobody more."""
        self._welcomed: dict[ReplicaIndex, int] = {}
        """When each was last shown its words as it entered this epoch, for the same reason."""

    def _sit_down(self, seat: Seat) -> None:
        """Make everything that belongs to one epoch."""
        profile, settings, validators, own = seat
        self._profile = profile
        self._settings = settings
        self._validators = validators
        self._quorum = validators.quorum
        self._core = Core(profile, settings, validators, own, self._out)
        self._pace = Pacemaker(settings.view_timeout_ms, settings.view_timeout_max_ms, self._out)
        self._changer = ViewChanger(self._core, profile, validators, self._pace, self._out)
        self._patience = Patience(settings)

    def _move(self, seat: Seat) -> None:
        """The next epoch has begun (§4, epoch reset).

        Whoever comes from an older image of its disk may have voted in this epoch before; so voting
        waits, as at a start, until w−1 peers have answered, and they say first what they heard.
        """
        before, triggers, waiting = self._core, self._changer.triggers, self._core.waiting
        members = self._validators.members
        self._out.cancel_all(keep=(_TICK,))
        self._sit_down(seat)
        self._core.follow(before)
        self._changer.triggers = triggers
        self._core.waiting.decisions, self._core.waiting.causes = waiting.decisions, waiting.causes
        index = seat.validators.index
        self._catchup.renumber({i: index.get(m.key) for i, m in enumerate(members)})
        self._core.heard.follow(before.heard, members)
        self._reminded.clear()
        self._welcomed.clear()
        self._met.clear()
        self._view = (self._core.record.view, self._core.record.mode)
        self._see_fresh()
        self._out.send(ALL, self._own_status())
        self._listen()

    def _listen(self) -> None:
        """Voting waits for the statuses of w−1 peers, or two seconds (§4, Start 4)."""
        if self._core.own is not None:
            self._out.arm(self._start_timer, START_MS)
            self._out.arm(_IDLE, self._settings.idle_block_interval_ms)
        self._vote_when_ready()

    # ------------------------------------------------------------ boundary

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        """Resume from the log, or begin at genesis with an empty one (§4, Start)."""
        core, self._said = self._core, None
        core.now = now
        core.resume(log)
        core.decided_ms = now.monotonic_ms
        self._decided = core.head.height
        self._view = (core.record.view, core.record.mode)
        self._out.arm(_TICK, TICK_MS)
        self._out.send(ALL, self._own_status())
        self._listen()
        return self._finish()

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        """Take a batch in order; total: what does not fit changes nothing."""
        self._core.now, self._said = now, None
        for item in inputs:
            match item:
                case Received():
                    self._receive(item)
                case Offered():
                    self._core.proposer.propose(item)
                case Pending():
                    self._pending_since_ms = item.since_ms
                case Fired():
                    self._fired(item.timer)
                case Applied():
                    self._on_applied(item)
                case Drawn():
                    self._core.draw(item.nonce)
                case _:  # pragma: no cover
                    assert_never(item)
        return self._finish()

    def wants(self, header: MessageHeader, *, firsthand: bool = True) -> bool:
        """Whether the message can still change anything; asked before signatures are checked."""
        if header.type is Type.VIEW_CHANGE:
            same = header.epoch == self._core.record.epoch
            own = header.signer == self._core.own
            # One of our own that the record may not know of is looked at (§4, Rollback).
            here = self._core.record.view
            changing = self._core.record.mode is Mode.CHANGING
            mine = own and (header.view > here or (header.view == here and changing))
            return same and (mine or self._changer.wants(header.signer, header.view))
        if header.type is Type.EVIDENCE:
            at = (header.epoch, header.view, header.height)
            return not self._core.accusations.knows((header.signer, header.kind, *at))
        if header.type is Type.NEW_VIEW:
            same = header.epoch == self._core.record.epoch
            return same and self._changer.wants_new_view(header.view, header.signer)
        return wants(self._core, header, firsthand=firsthand)

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """Who leads ``view`` at ``height``: whose signature a proposal needs."""
        return self._core.leader(view, height)

    def proposed(self, digest: Digest) -> tuple[Epoch, View, Height] | None:
        """Where this node's durable proposal is this digest, if it is its latest one."""
        proposal = self._core.record.proposal
        if self._core.own is None or proposal is None or proposal.digest != digest:
            return None
        return proposal.at

    def last_words(self, key: PublicKey) -> Sequence[Prepare | Commit | ViewChange]:
        """The newest signatures of a node that this one holds, to show it when it is back."""
        heard, index = self._core.heard, self._validators.index.get(key)
        latest = [] if index is None else heard.of_this_epoch(index)
        return [*heard.of_the_epoch_before(key), *latest]

    def status(self) -> EngineStatus:
        """A snapshot for people and metrics, as the last step left it."""
        if self._said is None:
            stuck_ms = self._pace.stuck_ms(self._core.now.monotonic_ms)
            self._said = describe(self._profile, self._core, self._changer.triggers, stuck_ms)
        return self._said

    def _on_applied(self, applied: Applied) -> None:
        core = self._core
        self._reply(applied)
        seat = applied.seat
        if seat is not None and seat.validators.epoch > core.record.epoch:
            self._move(seat)
        self._core.on_applied(applied)
        self._arm_due()

    def _finish(self) -> Step:
        core = self._core
        if core.head.height != self._decided:
            self._on_decisions()
        if core.leader_lied:
            core.leader_lied = False
            self._changer.start(core.record.view + 1, "equivocation")
        self._changer.review()
        if (core.record.view, core.record.mode) != self._view:
            self._on_view()
        self._catchup.fetch(core.missing(), core.now.monotonic_ms, self._out)
        core.proposer.ask(work=self._pending_since_ms is not None or self._idle_due)
        self._watch_leader()
        return self._out.take()

    def _on_decisions(self) -> None:
        core = self._core
        self._decided = core.head.height
        self._idle_due = False
        self._catchup.overtaken(core.head.height, self._out)
        overdue_ms = self._overdue_ms
        if core.last_header is not None:
            self._patience.saw(core.last_header, core.now.monotonic_ms)
        self._pace.decided(restart=overdue_ms is None or core.head.time_ms >= overdue_ms)
        if core.own is not None:
            self._out.arm(_IDLE, self._settings.idle_block_interval_ms)

    def _on_view(self) -> None:
        """The view has changed: say so at once, and begin in it."""
        core = self._core
        self._view = (core.record.view, core.record.mode)
        self._patience.restart(core.now.monotonic_ms)
        self._out.send(ALL, self._own_status())
        core.advance()
        if core.head.height != self._decided:
            self._on_decisions()

    # ------------------------------------------------------------ work

    def _watch_leader(self) -> None:
        """T_view runs while there is work (§5, Work): a bare vote is none."""
        core = self._core
        if core.own is None or not core.voting or core.record.mode is not Mode.NORMAL:
            return
        if core.applied is None:
            return  # until then nobody knows what is due: T_view stays as it is
        now, due_ms = core.now, core.applied.next_due_ms
        self._overdue_ms = None
        if due_ms is not None and due_ms + OVERDUE_MS <= now.unix_ms and core.head.time_ms < due_ms:
            self._overdue_ms = due_ms
        idle_ms = self._settings.idle_block_interval_ms + self._settings.view_timeout_ms
        working = (
            self._pending_since_ms is not None
            or core.has_open_proposal
            or self._overdue_ms is not None
            or now.monotonic_ms - core.decided_ms >= idle_ms
        )
        self._pace.work(core.record.view, now.monotonic_ms, working=working)

    # ------------------------------------------------------------ messages

    def _receive(self, received: Received) -> None:
        sender, message = received
        core = self._core
        match message:
            case (
                Block(epoch) | BlockBody(epoch) | PrePrepared(epoch) | Prepare(epoch)
                | Collected(epoch) | Commit(epoch) | ViewChange(Standing(epoch)) | NewView(epoch)
            ) if epoch != core.record.epoch:  # fmt: skip
                pass  # an index in it is another replica's: nothing of it may be counted here
            case Block() | BlockBody():
                leads = sender == core.leader(message.view, message.height)
                core.on_block(message, firsthand=leads)
                self._look_ahead(message)
            case Prepare(_, view, height, digest, signer, sig):
                # Anybody may show a vote; only its signer says that it has stopped waiting.
                loud = sender == signer
                core.on_vote(Round.VOTE, view, height, signer, Cast(digest, sig), loud=loud)
            case Collected(_, view, height, digest, signer, sig):
                core.on_vote(Round.VOTE, view, height, signer, Cast(digest, sig), loud=False)
            case PrePrepared(_, view, height):
                if sender == core.leader(view, height):  # it is made of the block's signature
                    core.fallback.on_pre_prepared(message)
            case Commit(_, view, height, digest, signer, sig):
                core.on_vote(Round.COMMIT, view, height, signer, Cast(digest, sig))
            case Agree():
                core.on_certificate(message.certificate)
                self._sync()
            case ViewChange():
                self._on_view_change(message)
            case NewView():
                if not self._forgotten(message) and self._changer.on_new_view(message):
                    if message.decision is not None:
                        core.on_certificate(message.decision)
                    self._sync()
            case Evidence():
                core.accuse(message.proof)
            case Blocks():
                for block in message.blocks:
                    core.on_decided(block)
                now_ms = core.now.monotonic_ms
                self._catchup.synced(sender, core.head.height, now_ms, self._out)
                self._sync()
            case Status():
                self._on_status(sender, message)
            case GetBlock() | GetBlocks() | Reply():
                pass  # the node answers requests from its store and collects replies for proofs
            case _:  # pragma: no cover
                assert_never(message)

    def _look_ahead(self, message: Block | BlockBody) -> None:
        """Its leader has decided what we have not: usually that is on its way here."""
        core = self._core
        if message.height == core.head.height + 2 and message.view == core.record.view:
            self._catchup.proposed_ahead(
                core.leader(message.view, message.height), message.height,
                core.waiting.grace_ms, core.now.monotonic_ms, self._out,
            )  # fmt: skip

    def _on_view_change(self, message: ViewChange) -> None:
        core, asked = self._core, message.standing
        core.heard.note_change(message)
        if core.own is not None:
            why = unknown_change(core.record, core.own, asked)
            if why:
                core.demote(f"{why}, and its record is older")
                return
        core.recognise(message.prepared)
        core.accusations.concealed(asked, core.ballots)
        self._changer.on_view_change(message)
        if message.decision is not None:
            core.on_certificate(message.decision)

    def _forgotten(self, message: NewView) -> bool:
        """Whether a new view shows that this replica has signed what its record lacks."""
        core = self._core
        if core.own is None or message.epoch != core.record.epoch:
            return False
        leader = core.leader(message.view, message.height)
        why = unknown_in_new_view(core.record, core.own, leader, message)
        if why:
            core.demote(f"{why}, and its record is older")
        return bool(why)

    def _on_status(self, sender: ReplicaIndex | None, status: Status) -> None:
        if sender is None:
            return
        now_ms = self._core.now.monotonic_ms
        before = len(self._catchup.fresh(now_ms))
        self._welcome(sender, status)
        news = self._catchup.note(sender, status, now_ms)
        fresh = self._see_fresh()
        if before + 1 < self._quorum.vote <= fresh + 1:
            self._pace.restart_backoff()
        self._vote_when_ready()
        if news:
            self._remind([sender])
        self._sync()
        peers = self._catchup.peers
        self._changer.hand_back({i: peers[i].status.decided for i in self._catchup.fresh(now_ms)})

    def _welcome(self, sender: ReplicaIndex, status: Status) -> None:
        """A peer has entered this epoch: what it may have said in it already, then where we are."""
        epoch = self._core.record.epoch
        if status.epoch != epoch:
            return
        self._met.add(sender)
        known = self._catchup.peers.get(sender)
        now_ms = self._core.now.monotonic_ms
        lately = now_ms - self._welcomed.get(sender, -RESEND_AFTER_MS) < RESEND_AFTER_MS
        if epoch > 0 and not lately and (known is None or known.status.epoch != epoch):
            for word in self._core.heard.of_this_epoch(sender):
                self._welcomed[sender] = now_ms
                self._out.send((sender,), word)
            self._out.send((sender,), self._own_status())

    def _reply(self, applied: Applied) -> None:
        """What executing gave: to the leader, at checkpoints to everyone (§10)."""
        core, height = self._core, applied.height
        ours = height >= self._validators.first  # else said already, under another index
        if core.own is None or not ours or height != core.head.height:
            return
        leader = core.leader(core.record.view, height)
        message = Reply(
            core.record.epoch, height, core.head.digest, applied.state_root,
            applied.receipts_root, core.own, ZERO_SIGNATURE,
        )  # fmt: skip
        if core.ended or height % self._settings.checkpoint_blocks == 0:
            self._out.send(ALL, message)  # of the next epoch nobody knows yet who leads
        elif leader != core.own:
            self._out.send((leader,), message)

    def _own_status(self) -> Status:
        record = self._core.record
        return Status(record.epoch, self._core.head.height, record.view, record.mode)

    def _vote_when_ready(self) -> None:
        """§4, Start (4): voting waits for the statuses of w−1 peers, or two seconds."""
        if len(self._met) >= self._quorum.view_change - 1:
            self._start_voting()

    @property
    def _start_timer(self) -> Timer:
        """Of this epoch: one that ran out as the epoch before ended says nothing of this one."""
        return Timer(TimerKind.START, self._core.record.epoch)

    def _start_voting(self) -> None:
        core = self._core
        if core.own is not None and not core.voting:
            core.voting = True
            self._out.cancel(self._start_timer)
            if core.record.change is not None:
                self._out.send(ALL, core.record.change)
            core.speak_again()
            core.advance()

    # ------------------------------------------------------------ timers

    def _fired(self, timer: Timer) -> None:
        self._out.fired(timer)
        match timer.kind:
            case TimerKind.TICK:
                self._on_tick()
            case TimerKind.IDLE:
                self._idle_due = True
            case TimerKind.DUE:
                self._arm_due()
            case TimerKind.START:
                if timer == self._start_timer:
                    self._start_voting()
            case TimerKind.FETCH:
                if self._catchup.expired(timer):
                    self._sync(quiet=True)
            case TimerKind.VIEW:
                if self._core.head.height != self._decided:
                    self._on_decisions()  # of this batch: they stop the timer that fired
                if self._pace.runs_view(timer) and self._core.record.mode is Mode.NORMAL:
                    self._changer.start(timer.mark + 1, "timeout")
            case TimerKind.CHANGE:
                if self._pace.runs_change(timer):
                    self._changer.start(timer.mark + 1, "no_new_view")
            case TimerKind.CHOICE:
                self._changer.body_overdue(timer)
            case TimerKind.GRACE | TimerKind.REPLICA | TimerKind.HOLD:
                if (cause := self._core.waiting.gave_up(timer)) is not None:
                    self._core.fallback.hurry(cause)
                    self._core.advance()
            case _:  # pragma: no cover
                assert_never(timer.kind)

    def _on_tick(self) -> None:
        core = self._core
        now_ms = core.now.monotonic_ms
        self._out.send(ALL, self._own_status())
        self._see_fresh()
        fresh = self._catchup.fresh(now_ms)
        self._remind(fresh)
        self._sync()
        core.advance()
        self._changer.tend()
        normal = core.record.mode is Mode.NORMAL
        if normal and self._patience.exhausted(self._pending_since_ms, now_ms):
            self._changer.start(core.record.view + 1, "censorship")
        spread = 37 * ((core.own or 0) + core.head.height) % TICK_SPREAD_MS
        self._out.arm(_TICK, TICK_MS + spread - TICK_SPREAD_MS // 2)

    def _arm_due(self) -> None:
        """Look again when the ledger's next time trigger is due."""
        applied = self._core.applied
        if applied is None or applied.next_due_ms is None:
            self._out.cancel(_DUE)
            return
        left_ms = applied.next_due_ms - self._core.now.unix_ms
        if left_ms > 0:
            self._out.arm(_DUE, left_ms)

    # ------------------------------------------------------------ reminding and catching up

    def _remind(self, peers: list[ReplicaIndex]) -> None:
        """§5, Resend: to a laggard the decision, to those beside us what we said at this height."""
        core = self._core
        head, view, now_ms = core.head, core.record.view, core.now.monotonic_ms
        due = [
            i for i in peers if now_ms - self._reminded.get(i, -RESEND_AFTER_MS) >= RESEND_AFTER_MS
        ]
        self._reminded.update(dict.fromkeys(due, now_ms))
        views = {i: self._catchup.peers[i] for i in due}
        standing = {i: view.status for i, view in views.items()}
        if head.certificate is not None:
            # What was said before this node decided says nothing about who has: under load that is
            # everybody, and a certificate for each of them would be most of what is sent.
            behind = tuple(
                i for i, view in views.items()
                if view.status.decided < head.height and view.seen_ms >= core.decided_ms
            )  # fmt: skip
            self._out.send(behind, Agree(head.certificate))
        opened, change = core.record.new_view, core.record.change
        # One this node has built has no signature yet: an observer gives none.
        if opened is not None and (core.own is not None or opened.sig != ZERO_SIGNATURE):
            older = tuple(
                i for i, s in standing.items()
                if s.epoch == opened.epoch and (s.view, s.mode == Mode.NORMAL) < (view, True)
            )  # fmt: skip
            self._out.send(older, opened)
        if change is not None and core.own is not None:
            self._out.send(tuple(standing), change)
        elif now_ms - core.opened_ms >= RESEND_AFTER_MS:
            beside = tuple(
                i for i, s in standing.items() if (s.decided, s.view) == (head.height, view)
            )
            if beside:
                core.speak_again(beside)

    def _see_fresh(self) -> int:
        """Tell the view changer who has been heard of lately; how many there are."""
        fresh = self._catchup.fresh(self._core.now.monotonic_ms)
        self._changer.fresh = frozenset(fresh)
        self._core.present = len(fresh) + 1
        return len(fresh)

    def _sync(self, *, quiet: bool = False) -> None:
        core = self._core
        now_ms = core.now.monotonic_ms
        behind = core.known_height > core.head.height + 1
        quiet = quiet or behind or now_ms - core.decided_ms >= SYNC_PATIENCE_MS
        self._catchup.sync(core.head.height, now_ms, self._out, quiet=quiet)
