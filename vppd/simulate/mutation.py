"""Small-scope mutation (ByzzFuzz, 2023): a Byzantine node says almost what it should.

At a few chosen heights its frames to a few receivers are changed a little: a view or a height one
off, the digest of another place, a claim dropped, another's name, a certificate one short. What it
can sign again it does. Errors of this size are those that a check off by one lets through.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple, TypeAlias

import msgspec

from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    Collected,
    Commit,
    NewView,
    Path,
    Prepare,
    PrePrepared,
    Reply,
    Status,
    ViewChange,
)
from vppd.header import decode_header
from vppd.net.gate import PeerMessage, decode_message
from vppd.node.beats import Frame
from vppd.simulate.forge import framed, resign, shortened, with_header
from vppd.types import Digest, Height, ReplicaIndex

KINDS = ("view", "height", "digest", "claim", "signer", "certificate", "path", "envelope")
Signed: TypeAlias = (
    Block | Prepare | Collected | PrePrepared | Commit | ViewChange | NewView | Reply
)


class Slot(NamedTuple):
    """One mutation of a run: every frame of that kind, at that height, to those receivers."""

    height: Height | None
    """``None``: at every one."""
    kind: str
    by: int
    """+1 or −1."""
    to: frozenset[ReplicaIndex]


class Mutations:
    """What one Byzantine node's frames become.

    Args:
        rng: this run's, used for nothing else.
        node: whose frames; ``None``: nobody's.
        n: replicas in the plant.
        chain_id: in every signature.
        heights: how many heights the run has.
    """

    def __init__(
        self, rng: Random, node: ReplicaIndex | None, n: int, chain_id: Digest, heights: Height
    ) -> None:
        self.told: Counter[str] = Counter()
        """Frames changed, by kind."""
        self._rng = rng
        self._node = node
        self._n = n
        self._chain_id = chain_id
        others = [i for i in range(n) if i != node]
        self._slots = [self._draw(others, heights) for _ in range(rng.randint(2, 3 * heights // 2))]
        self._digests: dict[Height, Digest] = {}
        """The last digest this node spoke of, by height."""

    def _draw(self, others: list[ReplicaIndex], heights: Height) -> Slot:
        rng = self._rng
        kind = rng.choice(KINDS)
        # Few heights see a change of view, so what is claimed there changes wherever it is said.
        height = None if kind == "claim" else rng.randint(1, heights)
        to = frozenset(rng.sample(others, rng.randint(1, len(others))))
        return Slot(height, kind, rng.choice((-1, 1)), to)

    @property
    def nodes(self) -> frozenset[ReplicaIndex]:
        """Who lies."""
        return frozenset(() if self._node is None else (self._node,))

    def __call__(self, node: ReplicaIndex, frame: Frame) -> list[Frame]:
        """What really leaves a node instead of ``frame``; an honest one's goes through."""
        if node != self._node:
            return [frame]
        message = decode_message(frame.type, frame.payload)
        height = _height(message)
        slots = [slot for slot in self._slots if slot.height in (None, height)]
        targets = frame.to
        if isinstance(targets, str):
            targets = tuple(i for i in range(self._n) if i != node)
        out: list[Frame] = []
        for slot in slots:
            mutant = self._mutant(node, message, slot)
            chosen = tuple(i for i in targets if i in slot.to)
            if mutant is not None and chosen:
                self.told[f"mutated_{slot.kind}"] += 1
                targets = tuple(i for i in targets if i not in slot.to)
                out.append(framed(mutant, chosen))
        if isinstance(message, Block | Prepare | Collected | Commit):
            self._digests[message.height] = message.digest
        return [*out, frame._replace(to=targets)] if targets else out

    def _mutant(self, node: ReplicaIndex, message: PeerMessage, slot: Slot) -> PeerMessage | None:
        """The message with that one thing changed; ``None``: it has no such thing."""
        changed: Signed | Agree | Blocks | Status | None
        match slot.kind:
            case "view":
                changed = _other_view(message, slot.by)
            case "height":
                changed = _other_height(message, slot.by)
            case "digest":
                changed = self._stale(message)
            case "claim":
                changed = _claimless(message, first=slot.by < 0)
            case "signer":
                return self._renamed(node, message)
            case "path":
                changed = _other_path(message)
            case "envelope":
                changed = _other_envelope(message)
            case _:
                changed = _one_short(message)
        if changed is None or isinstance(changed, Agree | Blocks | Status):
            return changed
        return resign(changed, node, self._chain_id)

    def _stale(self, message: PeerMessage) -> Signed | None:
        """The digest this node spoke of one height ago."""
        if not isinstance(
            message, Prepare | Collected | PrePrepared | Commit | NewView | ViewChange
        ):
            return None
        stale = self._digests.get((_height(message) or 0) - 1, self._chain_id)
        if isinstance(message, NewView):
            return msgspec.structs.replace(message, choice=stale)
        if isinstance(message, ViewChange):
            said = message.standing
            if said.vote is None:
                return None
            vote = msgspec.structs.replace(said.vote, digest=stale)
            return msgspec.structs.replace(
                message, standing=msgspec.structs.replace(said, vote=vote)
            )
        return msgspec.structs.replace(message, digest=stale)

    def _renamed(self, node: ReplicaIndex, message: PeerMessage) -> PeerMessage | None:
        """Another's name over this node's signature."""
        other = (node + 1 + self._rng.randrange(self._n - 1)) % self._n
        match message:
            case Prepare() | Collected() | Commit() | Reply():
                return msgspec.structs.replace(message, signer=other)
            case ViewChange(standing):
                said = msgspec.structs.replace(standing, signer=other)
                return msgspec.structs.replace(message, standing=said)
            case _:
                return None


def _height(message: PeerMessage) -> Height | None:
    match message:
        case Block() | BlockBody() | Prepare() | Collected() | PrePrepared() | Commit():
            return message.height
        case Reply() | NewView():
            return message.height
        case Agree(certificate):
            return certificate.height
        case Blocks(blocks) if blocks:
            return blocks[-1].certificate.height
        case ViewChange(standing):
            return standing.decided + 1
        case Status():
            return message.decided + 1
        case _:
            return None


def _other_view(message: PeerMessage, by: int) -> Signed | Status | None:
    replace = msgspec.structs.replace
    match message:
        case Block() | Prepare() | Collected() | PrePrepared() | Commit() | NewView() | Status():
            return replace(message, view=max(0, message.view + by))
        case ViewChange(standing):
            return replace(message, standing=replace(standing, view=max(1, standing.view + by)))
        case _:
            return None


def _other_height(message: PeerMessage, by: int) -> Signed | Status | None:
    replace = msgspec.structs.replace
    match message:
        case Block():
            header = decode_header(message.header)
            return with_header(message, header._replace(height=max(1, header.height + by)))
        case Prepare() | Collected() | PrePrepared() | Commit() | NewView() | Reply():
            return replace(message, height=max(1, message.height + by))
        case ViewChange(standing):
            said = replace(standing, decided=max(0, standing.decided + by))
            return replace(message, standing=said)
        case Status():
            return replace(message, decided=max(0, message.decided + by))
        case _:
            return None


def _claimless(message: PeerMessage, *, first: bool) -> Signed | None:
    """Without its vote (or its lock); a new view without its choice (or its lock)."""
    replace = msgspec.structs.replace
    match message:
        case ViewChange(standing) if first:
            return replace(message, standing=replace(standing, vote=None))
        case ViewChange(standing):
            said = replace(standing, prepared=None)
            return replace(message, standing=said, prepared=None)
        case NewView() if first:
            return replace(message, choice=None)
        case NewView():
            return replace(message, prepared=None)
        case _:
            return None


def _other_path(message: PeerMessage) -> Signed | None:
    """The block, its votes wanted where they were not."""
    if not isinstance(message, Block):
        return None
    path = Path.BROADCAST if message.path == Path.COLLECT else Path.COLLECT
    return msgspec.structs.replace(message, path=path)


def _other_envelope(message: PeerMessage) -> Signed | None:
    """The vote for the leader as one for all, or the other way round."""
    match message:
        case Prepare():
            return Collected(*msgspec.structs.astuple(message))
        case Collected():
            return Prepare(*msgspec.structs.astuple(message))
        case _:
            return None


def _one_short(message: PeerMessage) -> Signed | Agree | Blocks | None:
    """The certificate without its last signer, the new view without its last view change."""
    replace = msgspec.structs.replace

    def short(certificate: Certificate | None) -> Certificate | None:
        return None if certificate is None else shortened(certificate)

    match message:
        case Agree(certificate):
            return Agree(shortened(certificate))
        case Blocks(blocks) if blocks:
            last = replace(blocks[-1], certificate=shortened(blocks[-1].certificate))
            return Blocks((*blocks[:-1], last))
        case PrePrepared(prepared=prepared) if prepared is not None:
            return replace(message, prepared=shortened(prepared))
        case ViewChange(_, decision, None):
            return replace(message, decision=short(decision))
        case ViewChange(_, _, prepared):
            return replace(message, prepared=short(prepared))
        case NewView(standings=standings):
            return replace(message, standings=standings[:-1])
        case _:
            return None


def draw_mutations(
    rng: Random, n: int, chain_id: Digest, heights: Height, most: int | None = None
) -> Mutations:
    """One Byzantine node for a plant of ``n``, often who leads first.

    None where ``most`` is 0, which is f unless given.
    """
    most = (n - 1) // 3 if most is None else most
    node = rng.choice((0, rng.randrange(n))) if most else None
    return Mutations(rng, node, n, chain_id, heights)
