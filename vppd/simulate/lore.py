"""What the liars of one run know and share: proposals, votes, certificates, whom they favour."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple, TypeAlias

from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Prepare,
    PrePrepared,
    Reply,
    Standing,
    ViewChange,
)
from vppd.consensus.quorum import quorums
from vppd.net.gate import PeerMessage
from vppd.node.beats import Frame
from vppd.types import Digest, Epoch, ReplicaIndex, Signature

Frames: TypeAlias = list[Frame]
Place: TypeAlias = tuple[int, int, int]
"""Epoch, view, height."""


class Said(NamedTuple):
    """What the machine of a liar wants to say."""

    node: ReplicaIndex
    frame: Frame
    message: PeerMessage
    targets: tuple[ReplicaIndex, ...]


Bend: TypeAlias = Callable[[Said], Frames | None]
"""What is sent instead; ``None``: not for this kind of message."""
Addition: TypeAlias = Callable[[ReplicaIndex], Frames]
"""What a liar sends beside it."""

REMEMBERED = 64
"""Frames, certificates and proposals a run's liars keep for later."""


class Lore:
    """The memory of one run's liars, and the small crafts of lying.

    Args:
        rng: this run's, used for nothing else.
        nodes: who lies.
        n: replicas in the plant.
        chain_id: in every signature.
    """

    def __init__(
        self, rng: Random, nodes: Iterable[ReplicaIndex], n: int, chain_id: Digest
    ) -> None:
        self.told: Counter[str] = Counter()
        """Lies by kind."""
        self._rng = rng
        self._n = n
        self._chain_id = chain_id
        self._quorum = quorums(n)
        self._proposed: dict[Place, dict[Digest, Block]] = {}
        """What was, or was said to be, proposed at a place."""
        self._votes: dict[tuple[Place, Digest], dict[ReplicaIndex, Signature]] = {}
        """First-round votes, in whichever envelope they went by."""
        self._collected: deque[Collected] = deque(maxlen=REMEMBERED)
        """Votes that were meant for a leader alone."""
        self._ends: deque[PrePrepared] = deque(maxlen=REMEMBERED)
        self._decisions: deque[Certificate] = deque(maxlen=REMEMBERED)
        self._frames: deque[Frame] = deque(maxlen=REMEMBERED)
        self._changes: deque[Standing] = deque(maxlen=REMEMBERED)
        self._seats: dict[ReplicaIndex, tuple[Epoch, ReplicaIndex]] = {}
        """By node: the last epoch it signed in, and its index there."""
        self._friends: dict[ReplicaIndex, list[ReplicaIndex]] = {}
        for node in nodes:
            others = [i for i in range(n) if i != node]
            self._friends[node] = sorted(rng.sample(others, (len(others) + 1) // 2))

    @property
    def nodes(self) -> frozenset[ReplicaIndex]:
        """Who lies."""
        return frozenset(self._friends)

    def _learn(self, node: ReplicaIndex, message: PeerMessage) -> None:
        match message:
            case Block():
                self._note(node, message)
            case Prepare(epoch, view, height, digest, signer, sig):
                self._vote((epoch, view, height), digest, signer, sig)
            case Reply(epoch=epoch, signer=signer):
                self._seats[node] = (epoch, signer)
            case Collected(epoch, view, height, digest, signer, sig):
                self._collected.append(message)
                self._vote((epoch, view, height), digest, signer, sig)
            case PrePrepared():
                self._ends.append(message)
            case Agree(certificate):
                self._decisions.append(certificate)
            case ViewChange(standing, decision):
                self._changes.append(standing)
                if decision is not None:
                    self._decisions.append(decision)
            case _:
                pass

    def _note(self, leader: ReplicaIndex, block: Block) -> None:
        at = (block.epoch, block.view, block.height)
        self._proposed.setdefault(at, {})[block.digest] = block
        self._vote(at, block.digest, self._index(leader, block.epoch), block.vote_sig)
        if len(self._proposed) > REMEMBERED:
            del self._proposed[next(iter(self._proposed))]

    def _vote(self, at: Place, digest: Digest, signer: ReplicaIndex, signature: Signature) -> None:
        self._votes.setdefault((at, digest), {})[signer] = signature
        if len(self._votes) > REMEMBERED:
            del self._votes[next(iter(self._votes))]

    # ------------------------------------------------------------ crafts

    def _index(self, node: ReplicaIndex, epoch: Epoch) -> ReplicaIndex:
        """What a node signs as in an epoch; a guess, until it has executed a block of it."""
        at, index = self._seats.get(node, (0, node))
        return index if at == epoch else node

    def _size(self, epoch: Epoch) -> int:
        """How many members an epoch has, as far as their replies tell."""
        indices = [index for at, index in self._seats.values() if at == epoch]
        return 1 + max(indices, default=self._n - 1)

    def _others(self, node: ReplicaIndex) -> tuple[ReplicaIndex, ...]:
        return tuple(i for i in range(self._n) if i != node)

    def _halves(self, said: Said) -> tuple[tuple[ReplicaIndex, ...], tuple[ReplicaIndex, ...]]:
        friends = self._friends[said.node]
        return (
            tuple(i for i in said.targets if i in friends),
            tuple(i for i in said.targets if i not in friends),
        )

    def _noise(self) -> Digest:
        return self._rng.randbytes(32)

    def _some_digest(self, height: int, besides: Digest) -> Digest:
        """Rather a block that exists than an invented one."""
        known = [
            d for (_, _, h), blocks in self._proposed.items() if h == height
            for d in blocks if d != besides
        ]  # fmt: skip
        return self._rng.choice(known) if known and self._rng.randrange(4) else self._noise()

    def _shown(self, kind: CertificateKind, at: Place, digest: Digest) -> Certificate | None:
        """A certificate out of the votes that went by, if they are enough."""
        size = self._quorum.fast if kind is CertificateKind.FAST else self._quorum.vote
        votes = self._votes.get((at, digest), {})
        if len(votes) < size or max(votes) >= self._n:  # of an epoch with more members
            return None
        return assemble(kind, *at, digest, votes, self._n, size)
