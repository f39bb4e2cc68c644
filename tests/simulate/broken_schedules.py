"""Directed adversaries: for broken rules that chance would take too long to strike.

Each is a network that loses what its script says, with at most one Byzantine node, for the first
block of a plant of four. It goes through ``Cluster`` like any run of a seed and is judged by the
same checkers; when its time is over everything heals and there must be progress.
"""

from __future__ import annotations

import msgspec

from tests.simulate.plants import Plant
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Claim,
    Collected,
    Commit,
    Evidence,
    NewView,
    Prepare,
    PrePrepared,
    ViewChange,
)
from vppd.consensus.replica import Replica
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.net.gate import PeerMessage, decode_message
from vppd.node.beats import Frame
from vppd.node.machine import MakeEngine
from vppd.simulate.byzantine import unashamed
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.forge import another_block, framed, resign, with_header
from vppd.simulate.outcome import Outcome
from vppd.simulate.plant import node_key
from vppd.types import ReplicaIndex, View

N = 4
EVERYBODY = frozenset(range(N))


class Schedule:
    """What travels, and what the liar makes of it; a subclass is one script.

    A node that is cut off neither hears nor is heard, and stays so until all heals.
    """

    liar: ReplicaIndex | None = None
    until_s: int = 20

    def __init__(self) -> None:
        self.cluster: Cluster
        self._cut: set[ReplicaIndex] = set()

    def __call__(self, node: ReplicaIndex, frame: Frame) -> list[Frame]:
        """What leaves the node instead of ``frame``."""
        cluster = self.cluster
        if cluster.time_us >= self.until_s * 1_000_000:
            return [frame]
        message = decode_message(frame.type, frame.payload)
        made = self.lie(frame, message) if node == self.liar else [frame]
        out = []
        for sent in made:
            others = tuple(i for i in range(N) if i != node)
            to = others if isinstance(sent.to, str) else sent.to
            said = decode_message(sent.type, sent.payload)
            through = tuple(i for i in to if self._passes(node, i, said))
            cluster.outcome.faults["scripted_loss"] += len(to) - len(through)
            out.append(sent._replace(to=through))
        return out

    def _passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        self._cut.update(node for node in (sender, to) if self.isolates(node))
        if {sender, to} & self._cut or isinstance(message, Evidence):
            return False
        return self.passes(sender, to, message)

    def leader(self, view: View) -> ReplicaIndex:
        """Who leads a view."""
        machine = self.cluster.nodes[0].machine
        assert machine is not None
        return machine.engine.leader(view, 1)

    def would_open(self, message: PeerMessage, to: ReplicaIndex) -> bool:
        """Whether it is a view change to the leader of the view it asks for."""
        return isinstance(message, ViewChange) and self.leader(message.standing.view) == to

    def decided(self, node: ReplicaIndex) -> bool:
        """Whether the node has decided the first block."""
        return self.cluster.nodes[node].disk.decided > 0

    def isolates(self, node: ReplicaIndex) -> bool:
        """Whether the node is cut off from now on; nobody, unless the script says so."""
        del node
        return False

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        """Whether a message gets through."""
        raise NotImplementedError

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        """What the liar sends instead."""
        del message
        return [frame]

    def signed(
        self,
        message: Block | Prepare | PrePrepared | Commit | ViewChange | NewView,
        *to: ReplicaIndex,
    ) -> Frame:
        """A frame under the liar's own key."""
        assert self.liar is not None
        return framed(resign(message, self.liar, self.cluster.genesis.digest), to or None)


def run(schedule: Schedule, make_engine: type[Replica], seed: int, plant: Plant) -> Outcome:
    """One run of a script, every node with that engine; the seed moves nothing but instants."""
    setup = plant.setup(n=N, delay_us=1_000, faults=parse_sets("none"))
    liars = () if schedule.liar is None else (schedule.liar,)
    engines: dict[ReplicaIndex, MakeEngine] = dict.fromkeys(range(N), make_engine)
    for liar in liars:
        engines[liar] = lambda *given: unashamed(make_engine(*given))
    cluster = Cluster(setup, seed, engines, schedule, liars)
    cluster.plan = msgspec.structs.replace(cluster.plan, heal_us=schedule.until_s * 1_000_000)
    schedule.cluster = cluster
    return cluster.run()


def view_of(message: PeerMessage) -> View | None:
    """Of votes, proposals and changes of view."""
    match message:
        case Block(_, view) | Prepare(_, view) | Collected(_, view) | PrePrepared(_, view):
            return view
        case Commit(_, view) | NewView(_, view):
            return view
        case ViewChange(standing):
            return standing.view
        case _:
            return None


def nothing_claimed(message: ViewChange) -> ViewChange:
    """The view change of one who never voted."""
    said = msgspec.structs.replace(message.standing, vote=None, prepared=None)
    return msgspec.structs.replace(message, standing=said, prepared=None)


class LostProposal(Schedule):
    """The first proposal reaches nobody; its leader loses power at once, and comes back."""

    until_s: int = 3

    def __init__(self) -> None:
        super().__init__()
        self._struck = False

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        del to
        if not isinstance(message, Block) or self.cluster.time_us > 1_000_000:
            return True
        if not self._struck:
            self._struck = True
            leader = self.cluster.nodes[sender]
            self.cluster.after(1, leader.crash)
            self.cluster.after(300_000, leader.start)
        return False


class AgreeLost(Schedule):
    """0 collects all four votes and decides; nobody hears of it, and 0 is cut off.

    Three claims are all that is left of the block: it must be proposed again.
    """

    def isolates(self, node: ReplicaIndex) -> bool:
        return node == 0 and self.decided(0)

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        del sender, to
        return view_of(message) != 0 or isinstance(message, Block | Collected)


class EndForAnother(Schedule):
    """3 is not heard; 0 ends the wait of the others for a block that nobody has voted for."""

    liar: ReplicaIndex | None = 0

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        del to
        return sender != 3 or view_of(message) != 0

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        if not isinstance(message, PrePrepared) or message.view > 0:
            return [frame]
        other = sha256(b"nobody's block")
        return [self.signed(msgspec.structs.replace(message, digest=other, prepared=None))]


class InventedVote(Schedule):
    """3 decides by four votes and is cut off; in its view change 2 claims a vote for nothing real.

    One claim against two: the block of the two must be proposed again.
    """

    liar: ReplicaIndex | None = 2

    def isolates(self, node: ReplicaIndex) -> bool:
        return node == 3 and self.decided(3)

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        del sender
        if view_of(message) == 0:
            return isinstance(message, Block) or (isinstance(message, Prepare) and to == 3)
        return True

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        if not isinstance(message, ViewChange):
            return [frame]
        claim = Claim(message.standing.view - 1, sha256(b"nobody's block"))
        said = msgspec.structs.replace(message.standing, vote=claim, prepared=None)
        return [self.signed(msgspec.structs.replace(message, standing=said, prepared=None))]


class LockAlone(Schedule):
    """1 decides with the commit of 3, who locked without having voted; then 1 is cut off.

    0 gives 3 another block than the rest, so that of those who are left only 3 holds the lock, and
    one vote is claimed: the lock alone must carry the block.
    """

    liar: ReplicaIndex | None = 0

    def __init__(self) -> None:
        super().__init__()
        self._lied = False
        self._counted_us: int | None = None
        """When the third vote was on its way to 3."""
        self._heard: set[ReplicaIndex] = set()

    def isolates(self, node: ReplicaIndex) -> bool:
        return node == 1 and self.decided(1)

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        now_us = self.cluster.time_us
        if isinstance(message, BlockBody | Blocks) and to == 3:
            # Not before 3 has counted three votes for what it lacks.
            return self._counted_us is not None and now_us > self._counted_us + 100_000
        if view_of(message) != 0:
            return to != 0 or not self.would_open(message, to)  # the liar opens no view
        if isinstance(message, Prepare):
            if to == 3 and self._counted_us is None:
                self._heard.add(sender)
                self._counted_us = now_us if len(self._heard) == 3 else None
            return to != 2
        return isinstance(message, Block) or to == 1

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        if isinstance(message, ViewChange):
            return [self.signed(nothing_claimed(message))]
        if not isinstance(message, Block) or message.view > 0 or message.height > 1:
            return [frame]
        if self._lied:
            return []
        self._lied = True
        at = (message.epoch, message.view, message.height, message.digest, 0, bytes(64))
        other = another_block(message, decode_header(message.header), empty=True)
        return [frame._replace(to=(1, 2)), self.signed(Prepare(*at), 3), self.signed(other, 3)]


class LaterVotes(Schedule):
    """1 holds a certificate of view 0; in view 2 all vote for another block, and only 3 decides.

    Then 3 is cut off: two votes of view 2 stand against the certificate, and must win. For engines
    in which 0 leads every other view; 2 lies, and says that it has never voted.
    """

    liar: ReplicaIndex | None = 2
    until_s: int = 40

    def isolates(self, node: ReplicaIndex) -> bool:
        return node == 3 and self.decided(3)

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        view = view_of(message)
        if isinstance(message, Agree | BlockBody | Blocks):
            return False
        match message, view:
            case Block(), 0:
                return to != 3
            case Prepare(), 0:
                return to == 1
            case Prepare(), 2:
                return to == 3
            case ((Collected() | PrePrepared() | Commit()), (0 | 2)):
                return False
            case ViewChange(), 1:
                return to != 1  # nobody opens view 1
            case ViewChange(), 2:
                return (sender, to) != (1, 0)  # 0 opens view 2 without knowing of the certificate
            case ViewChange(), _:
                return to != 2 or not self.would_open(message, to)  # nor does the liar open one
            case _:
                return True

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        if isinstance(message, ViewChange):
            return [self.signed(nothing_claimed(message))]
        return [frame]


class UnboundNewView(Schedule):
    """3 alone learns the decision and is cut off; 1 opens view 1 as if nothing had been voted.

    In view 0 nobody hears of 1's vote, nor 1 of 2's, so that nobody decides on F votes.
    """

    liar: ReplicaIndex | None = 1

    def isolates(self, node: ReplicaIndex) -> bool:
        return node == 3 and self.decided(3)

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        if view_of(message) != 0 or isinstance(message, Block):
            return True
        if isinstance(message, Commit):
            return to == 3
        return sender != 1 and (sender, to) != (2, 1)

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        match message:
            case NewView(_, 1):
                free = msgspec.structs.replace(message, choice=None, prepared=None)
                return [self.signed(free)]
            case Block(epoch, 1, 1):
                header = decode_header(message.header)
                own = header._replace(proposer=node_key(1).public_key, time_ms=header.time_ms + 1)
                other = with_header(message, own)
                at = (epoch, 1, 1, other.digest, 1, bytes(64))
                return [self.signed(other), self.signed(Commit(*at))]
            case _:
                return [frame]


class BelowTheFirst(Schedule):
    """2 misses the first block, and accepts a view that begins above it.

    1, who leads that view, proposes another first block there all the same.
    """

    liar: ReplicaIndex | None = 1

    def passes(self, sender: ReplicaIndex, to: ReplicaIndex, message: PeerMessage) -> bool:
        del sender
        if isinstance(message, BlockBody | Blocks | Agree):
            return to != 2
        if isinstance(message, Block | Prepare | Commit) and message.view == 0:
            return to != 2 and message.height == 1
        return True

    def lie(self, frame: Frame, message: PeerMessage) -> list[Frame]:
        if not isinstance(message, Block) or message.view != 1:
            return [frame]
        genesis = self.cluster.genesis.digest
        header = decode_header(message.header)
        first = self.cluster.nodes[1].disk.header(1)
        assert first is not None
        own = first._replace(
            proposer=header.proposer, time_ms=header.time_ms, tx_root=header.tx_root,
            tx_count=header.tx_count, body_bytes=header.body_bytes, parent=genesis,
        )  # fmt: skip
        return [self.signed(with_header(message, own), 2), frame._replace(to=(0, 3))]
