"""Replicas that lie: honest machines whose every frame passes through somebody who wants harm.

Behind a liar runs the real machine, so that it stays in the right view at the right height; what
it sends is dropped, bent, doubled or joined by inventions, signed again with the liar's own key
where that is needed. Liars of one run know what the others have made up and stand by it. Which
nodes lie, how and how often is drawn from the seed. None of them forges another's signature;
that they try is one of the lies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

import msgspec

from vppd.consensus.boundary import Seat
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Claim,
    Collected,
    Commit,
    Equivocation,
    Evidence,
    GetBlock,
    NewView,
    Prepare,
    Reply,
    Round,
    Standing,
    Status,
    Tx,
    ViewChange,
)
from vppd.consensus.quorum import quorums
from vppd.consensus.replica import Replica
from vppd.header import decode_header
from vppd.net.gate import decode_message
from vppd.node.beats import Frame
from vppd.simulate.forge import another_block, framed, resign, shortened, with_header
from vppd.simulate.lore import Addition, Bend, Frames, Said
from vppd.simulate.pathlies import PathLies
from vppd.types import Digest, Mode, ReplicaIndex

FLOOD = 40
"""Frames in one flood."""


def unashamed(engine: Replica) -> Replica:
    """An engine that is not impressed by signatures under its own key that it never made.

    An honest replica that meets one falls silent for good (protocol.md, §4); behind a liar, or with
    a double, the engine has to go on.
    """
    engine._core.demote = _go_on  # type: ignore[method-assign]
    engine._forgotten = _nothing  # type: ignore[method-assign]
    return engine


def _go_on(reason: str) -> None:
    del reason


def _nothing(message: NewView) -> bool:
    del message
    return False


class Shameless(Replica):
    """The shipped engine behind a liar."""

    def _sit_down(self, seat: Seat) -> None:
        super()._sit_down(seat)
        unashamed(self)


class Liars(PathLies):
    """Everything the Byzantine nodes of one run do to what their machines send.

    Args:
        rng: this run's, used for nothing else.
        nodes: who lies.
        n: replicas in the plant.
        chain_id: in every signature.
    """

    def __init__(
        self, rng: Random, nodes: Iterable[ReplicaIndex], n: int, chain_id: Digest
    ) -> None:
        nodes = tuple(nodes)
        super().__init__(rng, nodes, n, chain_id)
        self._withheld: dict[ReplicaIndex, deque[Frame]] = {}
        bending: tuple[Bend, ...] = (
            self._equivocate, self._two_votes, self._wrong_roots, self._lying_change,
            self._bad_new_view, self._lying_status, self._wrong_reply, self._wrong_answer,
            *self.path_bends,
        )  # fmt: skip
        losing: tuple[Bend, ...] = (self._silent, self._selective, self._late)
        adding: tuple[Addition, ...] = (
            self._vote_for_everything, self._replay, self._flood, self._forge,
            self._unasked_change, self._unasked_new_view, *self.path_additions,
        )  # fmt: skip
        self._bent: dict[ReplicaIndex, list[Bend]] = {}
        self._lost: dict[ReplicaIndex, list[Bend]] = {}
        self._added: dict[ReplicaIndex, list[Addition]] = {}
        self._often: dict[ReplicaIndex, int] = {}
        for node in nodes:
            self._bent[node] = rng.sample(bending, rng.randint(1, len(bending)))
            self._lost[node] = rng.sample(losing, rng.randint(0, len(losing)))
            self._added[node] = rng.sample(adding, rng.randint(0, 3))
            self._often[node] = rng.choice((5, 25, 60, 100))
            self._withheld[node] = deque()

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Frames:
        """What really leaves a node instead of ``frame``; an honest one's goes through."""
        message = decode_message(frame.type, frame.payload)
        self._learn(node, message)
        if node not in self._bent:
            return [frame]
        targets = self._others(node) if isinstance(frame.to, str) else frame.to
        said = Said(node, frame, message, targets)
        out: Frames = [frame]
        if self._rng.randrange(100) < self._often[node]:
            for bend in self._bends(node):
                bent = bend(said)
                if bent is not None:
                    out = bent
                    self._count(bend.__name__)
                    break
        if self._rng.randrange(400) < self._often[node]:
            for add in self._added[node]:
                added = add(node)
                out = out + added
                if added:
                    self._count(add.__name__)
        self._frames.append(frame)
        return out

    def _bends(self, node: ReplicaIndex) -> list[Bend]:
        """In the order they are tried: what fits few messages before what fits all, mostly."""
        rng, bent, lost = self._rng, self._bent[node], self._lost[node]
        bends = rng.sample(bent, len(bent)) + rng.sample(lost, len(lost))
        return bends if rng.randrange(4) else bends[::-1]

    def _count(self, lie: str) -> None:
        self.told[lie.lstrip("_")] += 1

    # ------------------------------------------------------------ bending what is sent

    def _silent(self, said: Said) -> Frames | None:
        del said
        return []

    def _selective(self, said: Said) -> Frames | None:
        kept, cut = self._halves(said)
        return [said.frame._replace(to=kept)] if kept and cut else None

    def _late(self, said: Said) -> Frames | None:
        """Now, what should have left some frames ago."""
        withheld = self._withheld[said.node]
        withheld.append(said.frame)
        return [withheld.popleft()] if len(withheld) > self._rng.randrange(8) else []

    def _equivocate(self, said: Said) -> Frames | None:
        """Two blocks to two halves, re-proposals included."""
        message = said.message
        if not isinstance(message, Block):
            return None
        header = decode_header(message.header)
        other = another_block(message, header, empty=bool(self._rng.randrange(2)))
        other = resign(other, said.node, self._chain_id)
        self._note(said.node, other)
        first, second = self._halves(said)
        return [said.frame._replace(to=first), framed(other, second)]

    def _two_votes(self, said: Said) -> Frames | None:
        message = said.message
        if not isinstance(message, Prepare | Collected | Commit):
            return None
        digest = self._some_digest(message.height, message.digest)
        changed = msgspec.structs.replace(message, digest=digest)
        first, second = self._halves(said)
        lie = framed(resign(changed, said.node, self._chain_id), second)
        return [said.frame._replace(to=first), lie]

    def _wrong_roots(self, said: Said) -> Frames | None:
        message = said.message
        if not isinstance(message, Block):
            return None
        header = decode_header(message.header)
        noise = self._noise()
        headers = (
            header._replace(state_root=noise),
            header._replace(receipts_root=noise),
            header._replace(parent=noise),
            header._replace(next_validators=noise),
            header._replace(time_ms=header.time_ms + 3_600_000),
        )
        wrong = with_header(message, self._rng.choice(headers))
        return [framed(resign(wrong, said.node, self._chain_id), said.targets)]

    def _lying_change(self, said: Said) -> Frames | None:
        """Claims that are older, missing, invented or without their certificate."""
        message = said.message
        if not isinstance(message, ViewChange):
            return None
        wrong = resign(self._bent_change(message), said.node, self._chain_id)
        if self._rng.randrange(3):
            return [framed(wrong, said.targets)]
        first, second = self._halves(said)
        return [said.frame._replace(to=first), framed(wrong, second)]

    def _bent_change(self, message: ViewChange) -> ViewChange:
        rng, replace = self._rng, msgspec.structs.replace
        said = message.standing
        height = said.decided + 1
        older = [c for c in self._decisions if c.height < said.decided]
        match rng.randrange(9):
            case 0:  # nothing was voted for
                said = replace(said, vote=None)
            case 1 if said.vote is not None and said.vote.view > 0:
                said = replace(said, vote=Claim(said.vote.view - 1, said.vote.digest))
            case 2 if said.prepared is not None:  # no lock
                said = replace(said, prepared=None)
                message = replace(message, prepared=None)
            case 3 if older:  # an older head
                decision = rng.choice(older)
                at = {"decided": decision.height, "head": decision.digest}
                said = replace(said, **at, vote=None, prepared=None)
                message = replace(message, decision=decision, prepared=None)
            case 4:  # a head nobody has
                said = replace(said, decided=said.decided + 1, head=self._noise())
            case 5:  # a head without what decided it
                message = replace(message, decision=None)
            case 6 if said.prepared is not None:  # a lock its certificate does not prove
                wrong = Claim(said.prepared.view, self._some_digest(height, said.prepared.digest))
                said = replace(said, prepared=wrong)
            case 7:  # a far view
                said = replace(said, view=said.view + rng.randint(1, 3 * self._n))
            case _:  # a vote that was never cast, as late as can be
                besides = said.vote.digest if said.vote is not None else said.head
                claim = Claim(said.view - 1, self._some_digest(height, besides))
                said = replace(said, vote=claim)
        return replace(message, standing=said)

    def _bad_new_view(self, said: Said) -> Frames | None:
        message = said.message
        if not isinstance(message, NewView):
            return None
        wrong = resign(self._bent_new_view(message), said.node, self._chain_id)
        return [framed(wrong, said.targets)]

    def _bent_new_view(self, message: NewView) -> NewView:
        rng, replace = self._rng, msgspec.structs.replace
        shown = message.standings
        match rng.randrange(9):
            case 0:  # another choice
                digest = self._some_digest(message.height, message.choice or message.sig[:32])
                return replace(message, choice=digest)
            case 1:  # free, or bound to nothing
                return replace(message, choice=None if message.choice else self._noise())
            case 2:  # another first height
                return replace(message, height=max(1, message.height + rng.choice((-1, 1))))
            case 3 if len(shown) > 1:  # two swapped
                return replace(message, standings=(shown[1], shown[0], *shown[2:]))
            case 4:  # one twice
                return replace(message, standings=(*shown[:-1], shown[0]))
            case 5:  # fewer than w
                return replace(message, standings=shown[:-1])
            case 6:  # some of another view
                other = [s for s in self._changes if s.view != message.view]
                return replace(
                    message, standings=(*shown[:-1], *rng.sample(other, min(1, len(other))))
                )
            case 7 if message.prepared is not None:  # the lock is left out
                return replace(message, prepared=None)
            case _:  # the decision it stands on is another
                decision = rng.choice([None, *self._decisions])
                return replace(message, decision=decision)

    def _lying_status(self, said: Said) -> Frames | None:
        message = said.message
        if not isinstance(message, Status):
            return None
        rng = self._rng
        wrong = Status(
            message.epoch,
            max(0, message.decided + rng.choice((-3, 0, 1, 5, 1_000))),
            max(0, message.view + rng.choice((-1, 0, 1, 50))),
            rng.choice((Mode.NORMAL, Mode.CHANGING)),
        )
        return [framed(wrong, said.targets)]

    def _wrong_reply(self, said: Said) -> Frames | None:
        message = said.message
        if not isinstance(message, Reply):
            return None
        wrong = msgspec.structs.replace(message, state_root=self._noise())
        return [framed(resign(wrong, said.node, self._chain_id), said.targets)]

    def _wrong_answer(self, said: Said) -> Frames | None:
        """A certificate that is too short, a body or a range that is not what was asked for."""
        message, targets = said.message, said.targets
        match message:
            case Agree(certificate):
                return [framed(Agree(shortened(certificate)), targets)]
            case BlockBody():
                return [framed(msgspec.structs.replace(message, digest=self._noise()), targets)]
            case Blocks(blocks):
                cut = blocks[:-1] or blocks[:1]
                return [framed(Blocks(tuple(reversed(cut))), targets)]
            case _:
                return None

    # ------------------------------------------------------------ adding to it

    def _vote_for_everything(self, node: ReplicaIndex) -> Frames:
        """First-round vote and commit for every block known at the latest heights."""
        made: Frames = []
        for (epoch, view, height), blocks in list(self._proposed.items())[-4:]:
            for digest in blocks:
                at = (epoch, view, height, digest, self._index(node, epoch), bytes(64))
                made.append(framed(resign(Prepare(*at), node, self._chain_id)))
                made.append(framed(resign(Commit(*at), node, self._chain_id)))
        return made

    def _replay(self, node: ReplicaIndex) -> Frames:
        """Frames of long ago, of other liars too."""
        count = min(len(self._frames), self._rng.randint(1, 10))
        old = self._rng.sample(list(self._frames), count)
        return [f._replace(to=self._others(node)) for f in old]

    def _flood(self, node: ReplicaIndex) -> Frames:
        rng = self._rng
        at = list(self._proposed)[-1:] or [(0, 0, 1)]
        epoch, view, height = at[0]
        made: Frames = []
        for _ in range(FLOOD):
            kind = rng.choice((Prepare, Collected, Commit))
            vote = kind(
                epoch, max(0, view + rng.randint(-2, self._n)), max(1, height + rng.randint(-1, 3)),
                self._noise(), self._index(node, epoch), bytes(64),
            )  # fmt: skip
            made.append(framed(resign(vote, node, self._chain_id)))
        made.append(framed(GetBlock(self._noise())))
        return made

    def _forge(self, node: ReplicaIndex) -> Frames:
        """A vote in another's name, evidence against the innocent, a transaction of nobody's."""
        at = list(self._proposed)[-1:] or [(0, 0, 1)]
        victim = self._rng.choice(self._others(node))
        digest, other = self._noise(), self._noise()
        sig = bytes(64)
        vote = Prepare(*at[0], digest, victim, sig)
        framing = Equivocation(Round.VOTE, *at[0], victim, digest, sig, other, sig)
        return [
            framed(resign(vote, node, self._chain_id)),
            framed(Evidence(framing)),
            framed(Tx(self._rng.randbytes(80))),
        ]

    def _unasked_change(self, node: ReplicaIndex) -> Frames:
        """The liar asks for later views, as if it had lost patience."""
        epoch = max((epoch for epoch, _, _ in self._proposed), default=0)
        own = self._index(node, epoch)
        mine = (s for s in reversed(self._changes) if (s.epoch, s.signer) == (epoch, own))
        last = next(mine, None)
        decision = self._decisions[-1] if self._decisions else None
        head = (0, self._chain_id) if decision is None else (decision.height, decision.digest)
        latest = max((view for at, view, _ in self._proposed if at == epoch), default=0)
        view = latest + self._rng.randint(1, 3)
        if last is not None and last.view >= view:
            return []
        said = Standing(epoch, view, own, *head, None, None, bytes(64))
        return [framed(resign(ViewChange(said, decision, None), node, self._chain_id))]

    def _unasked_new_view(self, node: ReplicaIndex) -> Frames:
        """A new view out of view changes for others."""
        epoch = max((s.epoch for s in self._changes), default=0)
        shown = {s.signer: s for s in self._changes if s.epoch == epoch}
        if not shown:
            return []
        decision = max(self._decisions, key=lambda c: c.height, default=None)
        view = max(s.view for s in shown.values())
        height = 1 if decision is None else decision.height + 1
        if epoch:  # what they ask for, at some height that may be this node's to lead
            size = self._size(epoch)
            asked = {i: s for i, s in sorted(shown.items()) if s.view == view}
            shown = dict(list(asked.items())[: quorums(size, None, 0).view_change])
            height += self._rng.randrange(size)
        else:
            while view % self._n != node:
                view += 1
        standings = tuple(shown[i] for i in sorted(shown))
        opened = NewView(epoch, view, height, None, standings, decision, None, bytes(64))
        return [framed(resign(opened, node, self._chain_id))]


def draw_liars(rng: Random, n: int, chain_id: Digest, most: int | None = None) -> Liars:
    """Between one and ``most`` liars for a plant of ``n``; none where that is 0; ``None``: f."""
    most = (n - 1) // 3 if most is None else most
    count = rng.randint(1, most) if most else 0
    nodes = set(rng.sample(range(n), count))
    if most and rng.randrange(2) and 0 not in nodes:
        nodes = {0, *sorted(nodes)[1:]}  # who leads first has most to lie about
    return Liars(rng, sorted(nodes), n, chain_id)
