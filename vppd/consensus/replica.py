"""The engine a node runs: inputs in, one Step out; timers, peers and catching up around the core.

Everything a replica promises is decided in :mod:`vppd.consensus.core`; this class decides when to
look again, whom to remind and whom to ask (protocol.md, §5 Resend, Timers, §10 Catch-up).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from vppd.consensus.boundary import (
    ALL,
    Applied,
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
from vppd.consensus.catchup import CatchUp
from vppd.consensus.chain import Settings
from vppd.consensus.core import Core
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Commit,
    GetBlock,
    GetBlocks,
    Prepare,
    Reply,
    Status,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.profile import EngineProfile
from vppd.consensus.safety import Position
from vppd.consensus.tally import Cast, Round
from vppd.consensus.validators import ValidatorSet
from vppd.types import Digest, Epoch, Height, ReplicaIndex, View

TICK_MS = 1_000
TICK_SPREAD_MS = 200
"""Ticks of different replicas fall this far apart, so that reminders do not come in bursts."""
START_MS = 2_000
RESEND_AFTER_MS = 200
"""What left so recently is not sent again."""
SYNC_PATIENCE_MS = 300
"""One height behind is usually a decision on its way: wait so long before asking for it."""

_TICK = Timer(TimerKind.TICK)
_IDLE = Timer(TimerKind.IDLE)
_DUE = Timer(TimerKind.DUE)
_START = Timer(TimerKind.START)


class Replica:
    """An :class:`~vppd.consensus.boundary.Engine`: one node's part in one chain.

    Args:
        profile: which engine this is.
        settings: genesis values.
        validators: the set of epoch 0.
        own: this node's index, ``None`` for an observer.
    """

    def __init__(
        self,
        profile: EngineProfile,
        settings: Settings,
        validators: ValidatorSet,
        own: ReplicaIndex | None,
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._quorum = validators.quorum
        self._out = Outbox()
        self._core = Core(profile, settings, validators, own, self._out)
        self._catchup = CatchUp()
        self._decided = 0
        self._pending = False
        self._idle_due = False
        self._reminded: dict[ReplicaIndex, int] = {}
        """When each peer was last reminded: a flickering status buys nobody more."""

    # ------------------------------------------------------------ boundary

    def start(self, now: Now, log: Sequence[Record]) -> Step:
        """Resume from the log, or begin at genesis with an empty one (§4, Start)."""
        core = self._core
        core.now = now
        core.resume(log)
        core.decided_ms = now.monotonic_ms
        self._decided = core.head.height
        self._out.arm(_TICK, TICK_MS)
        self._out.send(ALL, self._own_status())
        if core.own is not None:
            self._out.arm(_START, START_MS)
            self._out.arm(_IDLE, self._settings.idle_block_interval_ms)
        self._vote_when_ready()
        return self._finish()

    def step(self, now: Now, inputs: Sequence[Input]) -> Step:
        """Take a batch in order; total: what does not fit changes nothing."""
        self._core.now = now
        for item in inputs:
            match item:
                case Received():
                    self._receive(item)
                case Offered():
                    self._core.propose(item)
                case Pending():
                    self._pending = item.since_ms is not None
                case Fired():
                    self._fired(item.timer)
                case Applied():
                    self._core.on_applied(item)
                    self._arm_due()
                case _:  # pragma: no cover
                    assert_never(item)
        return self._finish()

    def wants(self, header: MessageHeader) -> bool:
        """Whether the message can still change anything; asked before signatures are checked."""
        return self._core.wants(header)

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """Who leads ``view`` at ``height``: whose signature a proposal needs."""
        return self._core.leader(view, height)

    def has_proposed(self, epoch: Epoch, view: View, height: Height, digest: Digest) -> bool:
        """Whether this node's durable proposal at that position is this digest."""
        return self._core.record.proposed(Position(epoch, view, height)) == digest

    def status(self) -> EngineStatus:
        """A snapshot for people and metrics."""
        core, quorum = self._core, self._quorum
        return EngineStatus(
            engine=self._profile.name,
            epoch=core.record.epoch,
            view=core.record.view,
            mode=core.record.mode,
            leader=core.leader(core.record.view, core.head.height + 1),
            decided=core.head.height,
            head=core.head.digest,
            applied=core.applied is not None,
            voting=core.voting,
            view_changes=0,
            evidence=core.evidence,
            byzantine_tolerance=quorum.f,
            quorum_slack=quorum.n - quorum.vote,
        )

    def _finish(self) -> Step:
        core = self._core
        if core.head.height != self._decided:
            self._decided = core.head.height
            self._idle_due = False
            self._catchup.overtaken(core.head.height, self._out)
            if core.own is not None:
                self._out.arm(_IDLE, self._settings.idle_block_interval_ms)
        self._catchup.fetch(core.missing(), self._out)
        core.ask_for_block(work=self._pending or self._idle_due)
        return self._out.take()

    # ------------------------------------------------------------ messages

    def _receive(self, received: Received) -> None:
        sender, message = received
        core = self._core
        match message:
            case Block() | BlockBody():
                core.on_block(message)
            case Prepare(_, view, height, digest, signer, sig):
                core.on_vote(Round.VOTE, view, height, signer, Cast(digest, sig))
            case Commit(_, view, height, digest, signer, sig):
                core.on_vote(Round.COMMIT, view, height, signer, Cast(digest, sig))
            case Agree():
                if core.on_certificate(message.certificate):
                    self._sync(behind=True)
            case Blocks():
                for block in message.blocks:
                    core.on_decided(block)
                self._catchup.synced(sender, core.head.height, self._out)
                self._sync()
            case Status():
                self._on_status(sender, message)
            case GetBlock() | GetBlocks() | Reply():
                pass  # the node answers requests from its store and collects replies for proofs
            case _:  # pragma: no cover
                assert_never(message)

    def _on_status(self, sender: ReplicaIndex | None, status: Status) -> None:
        if sender is None:
            return
        news = self._catchup.note(sender, status, self._core.now.monotonic_ms)
        self._vote_when_ready()
        if news:
            self._remind([sender])
        self._sync()

    def _own_status(self) -> Status:
        record = self._core.record
        return Status(record.epoch, self._core.head.height, record.view, record.mode)

    def _vote_when_ready(self) -> None:
        """§4, Start (4): voting waits for the statuses of w−1 peers, or two seconds."""
        if len(self._catchup.peers) >= self._quorum.view_change - 1:
            self._start_voting()

    def _start_voting(self) -> None:
        core = self._core
        if core.own is not None and not core.voting:
            core.voting = True
            self._out.cancel(_START)
            core.speak_again()
            core.advance()

    # ------------------------------------------------------------ timers

    def _fired(self, timer: Timer) -> None:
        match timer.kind:
            case TimerKind.TICK:
                self._on_tick()
            case TimerKind.IDLE:
                self._idle_due = True
            case TimerKind.DUE:
                self._arm_due()
            case TimerKind.START:
                self._start_voting()
            case TimerKind.FETCH:
                if self._catchup.expired(timer):
                    self._sync()
            case _:  # pragma: no cover
                assert_never(timer.kind)

    def _on_tick(self) -> None:
        core = self._core
        self._out.send(ALL, self._own_status())
        self._remind(self._catchup.fresh(core.now.monotonic_ms))
        self._sync()
        core.advance()
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
        standing = {i: self._catchup.peers[i].status for i in due}
        if head.certificate is not None:
            behind = tuple(i for i, s in standing.items() if s.decided < head.height)
            self._out.send(behind, Agree(head.certificate))
        if now_ms - core.opened_ms >= RESEND_AFTER_MS:
            beside = tuple(
                i for i, s in standing.items() if (s.decided, s.view) == (head.height, view)
            )
            if beside:
                core.speak_again(beside)

    def _sync(self, *, behind: bool = False) -> None:
        core = self._core
        now_ms = core.now.monotonic_ms
        quiet = behind or now_ms - core.decided_ms >= SYNC_PATIENCE_MS
        self._catchup.sync(core.head.height, now_ms, self._out, quiet=quiet)
