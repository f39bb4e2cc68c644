"""Changing the leader without losing what was decided (protocol.md, §7).

A replica that gives up on a leader promises never to vote in an older view again and says, signed,
what it had promised there. The leader of the view asked for shows w of these and is bound by what
they claim (:mod:`vppd.consensus.selection`); every replica checks that for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    NewViewRecord,
    Timer,
    TimerKind,
    ViewChangeRecord,
    ViewRecord,
)
from vppd.consensus.core import Core
from vppd.consensus.messages import Certificate, Claim, NewView, Standing, ViewChange
from vppd.consensus.outbox import Outbox
from vppd.consensus.pacemaker import Pacemaker
from vppd.consensus.profile import EngineProfile
from vppd.consensus.safety import SafetyRecord
from vppd.consensus.selection import Selection, flaw, select
from vppd.consensus.validators import ValidatorSet
from vppd.types import Digest, Height, Mode, ReplicaIndex, View

REFRESH_LEADER_AFTER = 72
"""Heights after H0 from which a leader brings home who timed out alone."""
REFRESH_FOLLOW_AFTER = 64
REFRESH_ADVANCE = 8
"""And so many since that one's view change."""
HAND_BACK_AFTER = 256
HAND_BACK_FOLLOW_AFTER = 248
HAND_BACK_LAG = 8
HAND_BACK_DOUBLINGS = 8
"""An operator that says it is here and then leads nowhere gets the lead back ever later."""
REFUSED_KEPT = 64
HAND_BACK_ALONE_AFTER = 8_192
"""From here on every replica that sees an operator asks for it."""


class ViewChanger:
    """The view changes one replica holds, makes and follows.

    Args:
        core: whose view it moves.
        profile: schedule and rotation.
        validators: the set in force.
        pace: timers.
        out: where promises and messages go.
    """

    def __init__(
        self,
        core: Core,
        profile: EngineProfile,
        validators: ValidatorSet,
        pace: Pacemaker,
        out: Outbox,
    ) -> None:
        self._core = core
        self._profile = profile
        self._validators = validators
        self._quorum = validators.quorum
        self._rotation = profile.rotation(validators)
        self._pace = pace
        self._out = out
        self._held: dict[ReplicaIndex, ViewChange] = {}
        """The highest-view one of each signer; no window, so that nobody is forgotten."""
        self._wanted: tuple[View, Digest] | None = None
        """The choice whose body is being fetched, for which view."""
        self._given_up: set[Digest] = set()
        """Choices whose body did not come in time, in the view being opened."""
        self._refused: set[tuple[View, ReplicaIndex]] = set()
        """Views, and who has shown a new view for one that does not follow. Where the lead moves
        with the height, others may lead the same view."""
        self.triggers: Counter[str] = Counter()
        self._handed: tuple[ReplicaIndex, Height] | None = None
        """The operator that was last given the lead back, and the head then."""
        self._failures: Counter[ReplicaIndex] = Counter()
        """How often an operator that got the lead back decided nothing, since it last did."""
        self.fresh: frozenset[ReplicaIndex] = frozenset()
        """Peers heard of lately; the owner keeps it."""

    @property
    def _record(self) -> SafetyRecord:
        return self._core.record

    def leader(self, view: View) -> ReplicaIndex:
        """Who leads ``view`` at the next height."""
        return self._core.leader(view, self._core.head.height + 1)

    @property
    def first_height(self) -> Height:
        """H0 of the view this replica is in; the epoch's first height in view 0."""
        opened = self._record.new_view
        return self._validators.first if opened is None else opened.height

    # ------------------------------------------------------------ asking

    def start(self, view: View, why: str) -> None:
        """``start_vc``: never to vote below ``view`` again, and to say what was promised there."""
        core, record = self._core, self._record
        if core.own is None or not core.voting or core.ended or view <= record.view:
            return
        head, height = core.head, core.head.height + 1
        vote, prepared = record.vote, record.prepared
        claim = None
        if vote is not None and (vote.at.epoch, vote.at.height) == (record.epoch, height):
            claim = Claim(vote.at.view, vote.digest)
        if prepared is not None and (prepared.epoch, prepared.height) != (record.epoch, height):
            prepared = None
        message = ViewChange(
            Standing(
                record.epoch, view, core.own, head.height, head.digest, claim,
                None if prepared is None else Claim(prepared.view, prepared.digest),
                ZERO_SIGNATURE,
            ),
            head.certificate,
            prepared,
        )  # fmt: skip
        core.promise(ViewRecord(record.epoch, view, Mode.CHANGING), ViewChangeRecord(message))
        self.triggers[why] += 1
        self._judge(why, self.leader(view))
        self._pace.left_for(failed=why not in ("hand_back", "refresh"))
        self._stop_opening()
        core.moved()
        self._out.send(ALL, message)

    def _judge(self, why: str, leader: ReplicaIndex) -> None:
        """Whether the operator that got the lead back has made anything of it."""
        if self._handed is not None:
            operator, head = self._handed
            worked = self._core.head.height > head
            self._failures[operator] = 0 if worked else self._failures[operator] + 1
        self._handed = (leader, self._core.head.height) if why == "hand_back" else None

    # ------------------------------------------------------------ hearing

    def wants(self, signer: ReplicaIndex, view: View) -> bool:
        """Whether a view change by ``signer`` for ``view`` is later than what is held."""
        record, held = self._record, self._held.get(signer)
        if view < record.view or (view == record.view and record.mode is Mode.NORMAL):
            return False
        return held is None or held.standing.view < view

    def on_view_change(self, message: ViewChange) -> None:
        """Keep it; what follows from it, :meth:`review` sees."""
        asked = message.standing
        if asked.epoch == self._record.epoch and self.wants(asked.signer, asked.view):
            self._held[asked.signer] = message

    def wants_new_view(self, view: View, leader: ReplicaIndex) -> bool:
        """Whether a new view for ``view``, opened by ``leader``, would move this replica."""
        record = self._record
        later = view > record.view or (view == record.view and record.mode is Mode.CHANGING)
        return later and (view, leader) not in self._refused

    def on_new_view(self, message: NewView) -> bool:
        """Follow a leader that shows why.

        Returns:
            Whether it was accepted.
        """
        leader = self._core.leader(message.view, message.height)
        if message.epoch != self._record.epoch or not self.wants_new_view(message.view, leader):
            return False
        if self._flaw(message):
            # Signed by its leader, so that one lies: nothing it says about this view is looked at.
            if len(self._refused) < REFUSED_KEPT:
                self._refused.add((message.view, leader))
            return False
        self._enter(message)
        return True

    def _flaw(self, message: NewView) -> str:
        """Why a new view does not follow from what it shows; empty: it does."""
        return flaw(message, self._quorum)

    def _enter(self, message: NewView) -> None:
        """A new view, built or accepted, before anything else in it leaves."""
        core = self._core
        core.promise(ViewRecord(message.epoch, message.view, Mode.NORMAL), NewViewRecord(message))
        self._pace.stop_change()
        self._stop_opening()
        self._refused.clear()
        for signer in [s for s, m in self._held.items() if m.standing.view <= message.view]:
            del self._held[signer]
        core.moved()

    # ------------------------------------------------------------ what follows

    def review(self) -> None:
        """Join, follow, wait, open: whatever the view changes held now call for."""
        core = self._core
        if core.own is None or not core.voting or core.ended:
            return
        # The leader's own call first: whoever joins one that timed out alone leaves it behind.
        while self._follow() or self._join():
            pass
        if self._record.mode is not Mode.CHANGING:
            return
        view = self._record.view
        later = sum(1 for m in self._held.values() if m.standing.view >= view)
        leader = self.leader(view)
        absent = leader != core.own and leader not in self.fresh
        self._pace.asked(view, enough=later >= self._quorum.view_change, leader_absent=absent)
        if leader == core.own or self._profile.moves:
            self._try_open(view)

    def _join(self) -> bool:
        """f+1 replicas ask for later views: one of them is honest (§7, join)."""
        view = self._record.view
        later = sorted(
            (m.standing.view for m in self._held.values() if m.standing.view > view), reverse=True
        )
        if len(later) <= self._quorum.f:
            return False
        self.start(later[self._quorum.f], "join")
        return True

    def _follow(self) -> bool:
        """The leader itself asks: to bring somebody home, or to hand back (§7)."""
        record, core = self._record, self._core
        if record.mode is not Mode.NORMAL:
            return False
        leader = self.leader(record.view)
        message = self._held.get(leader)
        if message is None or leader == core.own or message.standing.view <= record.view:
            return False
        view = message.standing.view
        since = core.head.height - self.first_height
        refreshes = (
            not self._profile.moves
            and since >= REFRESH_FOLLOW_AFTER
            and self.leader(view) == leader
            and view <= record.view + 2 * self._rotation
        )
        returns = (
            self._profile.hands_back
            and since >= HAND_BACK_FOLLOW_AFTER
            and view in {self._next_led_by((o,)) for o in self._operators()}
        )
        if not (refreshes or returns):
            return False
        self.start(view, "refresh" if refreshes else "hand_back")
        return True

    # ------------------------------------------------------------ the leader brings home

    def tend(self) -> None:
        """Each tick: a leader brings home who timed out alone."""
        record, core = self._record, self._core
        if record.mode is not Mode.NORMAL or core.own is None or self._profile.moves:
            return
        led = self.leader(record.view) == core.own
        if led and core.head.height - self.first_height >= REFRESH_LEADER_AFTER:
            self._refresh(core.own, record.view)

    def hand_back(self, decided: dict[ReplicaIndex, Height]) -> None:
        """A status came: is an operator back?

        Not at a tick: by then a busy plant is many heights above the last status, and an operator
        that keeps up would look as if it lagged.

        Args:
            decided: heights of the peers heard of lately, the newest just now.
        """
        record, core = self._record, self._core
        if record.mode is not Mode.NORMAL or core.own is None or not self._profile.hands_back:
            return
        operators, leader = self._operators(), self.leader(record.view)
        due = HAND_BACK_AFTER if leader == core.own else HAND_BACK_ALONE_AFTER
        since, head = core.head.height - self.first_height, core.head.height
        if leader in operators or since < due:
            return
        back = {
            i
            for i in operators
            if (i == core.own or decided.get(i, -1) >= head - HAND_BACK_LAG)
            and since >= due << min(self._failures[i], HAND_BACK_DOUBLINGS)
        }
        if back:
            self.start(self._next_led_by(back), "hand_back")

    def _refresh(self, own: ReplicaIndex, view: View) -> None:
        head = self._core.head.height
        stranded = [
            m.standing.view
            for signer, m in sorted(self._held.items())
            if signer in self.fresh
            and view < m.standing.view <= view + self._rotation
            and m.standing.decided <= head - REFRESH_ADVANCE
        ]
        if stranded:
            target = max(stranded) + 1
            while self.leader(target) != own:
                target += 1
            self.start(target, "refresh")

    def _operators(self) -> tuple[ReplicaIndex, ...]:
        operators, _ = self._validators.parties
        return operators

    def _next_led_by(self, replicas: Iterable[ReplicaIndex]) -> View:
        """The next view led by one of ``replicas``; every replica leads within one rotation."""
        wanted = frozenset(replicas)
        ahead = range(self._record.view + 1, self._record.view + self._rotation + 1)
        return next((v for v in ahead if self.leader(v) in wanted), 0)

    # ------------------------------------------------------------ opening a view

    def _try_open(self, view: View) -> None:
        """``try_new_view``: show w view changes and what follows, once its body is here."""
        core = self._core
        asking = {s: m for s, m in self._held.items() if m.standing.view == view}
        chosen = self._led_from_here(view, asking)
        if not chosen:
            return
        prepared, selection = self._bound_by(chosen)
        decision = next(
            (m.decision for m in chosen if m.standing.decided == selection.height - 1), None
        )
        if core.head.height < selection.height - 1:
            if decision is not None:
                core.on_certificate(decision)
            return
        choice = selection.choice
        if choice is not None and core.head.height < selection.height and choice not in core.bodies:
            self._fetch(view, choice, chosen)
            return
        message = NewView(
            self._record.epoch, view, selection.height, choice,
            tuple(m.standing for m in chosen), decision, prepared, ZERO_SIGNATURE,
        )  # fmt: skip
        self._enter(message)
        self._out.send(ALL, message)

    def _led_from_here(
        self, view: View, asking: dict[ReplicaIndex, ViewChange]
    ) -> list[ViewChange]:
        """A W with which this replica leads; empty: none, or too few ask.

        Where the lead moves with each height, the leader of H0 opens the view, and H0 is W's
        highest decision plus one: so there may be a W for each of several leaders (§13).
        """
        size = self._quorum.view_change
        if len(asking) < size:
            return []
        if not self._profile.moves:
            return self._quorum_of(asking)
        for decided in sorted({m.standing.decided for m in asking.values()}, reverse=True):
            level = {s: m for s, m in asking.items() if m.standing.decided <= decided}
            mine = self._core.leader(view, decided + 1) == self._core.own
            if mine and len(level) >= size:
                top = min(s for s, m in level.items() if m.standing.decided == decided)
                return self._quorum_of(level, top)
        return []

    def _quorum_of(
        self, asking: dict[ReplicaIndex, ViewChange], needed: ReplicaIndex | None = None
    ) -> list[ViewChange]:
        """W, ascending: rather without those whose claimed body nobody could give us."""

        def burden(signer: ReplicaIndex) -> tuple[bool, bool, bool, ReplicaIndex]:
            standing = asking[signer].standing
            claims = [c.digest for c in (standing.vote, standing.prepared) if c is not None]
            present = signer == self._core.own or signer in self.fresh
            hopeless = any(d in self._given_up for d in claims)
            return signer != needed, hopeless, not present, signer

        signers = sorted(asking, key=burden)[: self._quorum.view_change]
        return [asking[signer] for signer in sorted(signers)]

    def _bound_by(self, chosen: list[ViewChange]) -> tuple[Certificate | None, Selection]:
        """The highest prepared certificate of those who stand highest, and the selection."""
        standings = [m.standing for m in chosen]
        highest = max(s.decided for s in standings)
        prepared = max(
            (m.prepared for m in chosen if m.prepared and m.standing.decided == highest),
            key=lambda certificate: certificate.view,
            default=None,
        )
        return prepared, select(standings, prepared, self._quorum)

    def _fetch(self, view: View, choice: Digest, chosen: list[ViewChange]) -> None:
        if self._wanted == (view, choice):
            return
        holders = [
            m.standing.signer
            for m in chosen
            if any(c.digest == choice for c in (m.standing.vote, m.standing.prepared) if c)
        ]
        if self._wanted is None or self._wanted[0] != view:
            self._out.arm(Timer(TimerKind.CHOICE, view), self._pace.length_ms // 4)
        self._wanted = (view, choice)
        present = [i for i in holders if i in self.fresh]
        absent = [i for i in range(self._quorum.n) if i != self._core.own and i not in present]
        self._core.sought = (choice, present + absent)

    def body_overdue(self, timer: Timer) -> None:
        """T_body: try without those who claim a body that nobody has shown (§7)."""
        if self._wanted is not None and self._wanted[0] == timer.mark:
            self._given_up.add(self._wanted[1])
            self._wanted = None
            self._core.sought = None
            self.review()
            if self._wanted is not None:  # no W without it: keep asking
                self._given_up.clear()

    def _stop_opening(self) -> None:
        self._wanted = None
        self._given_up.clear()
        self._core.sought = None
