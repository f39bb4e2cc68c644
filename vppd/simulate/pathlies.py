"""Lies about paths and fallbacks: two envelopes, the end of a wait, what the collector shows.

Some of them forge nothing at all: a vote that was meant for the leader alone may be shown to
everybody in its signer's name, and so may the leader's own signature under a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import msgspec

from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Path,
    Prepare,
    PrePrepared,
)
from vppd.simulate.forge import framed, resign
from vppd.simulate.lore import Addition, Bend, Frames, Lore, Place, Said
from vppd.types import Digest, ReplicaIndex

LATEST = 4
"""Places, of those known, that additions are about."""


class PathLies(Lore):
    """Lies of the engine with two paths; where an engine has one, most of them find no place."""

    def __init__(
        self, rng: Random, nodes: Iterable[ReplicaIndex], n: int, chain_id: Digest
    ) -> None:
        super().__init__(rng, nodes, n, chain_id)
        self._silenced: dict[ReplicaIndex, Place] = {}
        """Where a leader collects, and shows nobody anything."""

    @property
    def path_bends(self) -> tuple[Bend, ...]:
        """What becomes of votes, blocks and what the collector shows."""
        return (
            self._two_envelopes, self._wrong_pre_prepared, self._two_paths, self._hoard,
            self._keep_agree, self._agree_to_some,
        )  # fmt: skip

    @property
    def path_additions(self) -> tuple[Addition, ...]:
        """What nobody has asked for."""
        return (
            self._unasked_pre_prepared, self._loud_for_others, self._stale_votes,
            self._shown_to_one,
        )  # fmt: skip

    # ------------------------------------------------------------ bending what is sent

    def _two_envelopes(self, said: Said) -> Frames | None:
        """One vote to the leader, another to everybody else."""
        message = said.message
        if not isinstance(message, Prepare | Collected):
            return None
        at = (message.epoch, message.view, message.height)
        digest = self._some_digest(message.height, message.digest)
        other = (*at, digest, said.node, bytes(64))
        if isinstance(message, Collected):
            to = tuple(i for i in self._others(said.node) if i not in said.targets)
            return [said.frame, framed(resign(Prepare(*other), said.node, self._chain_id), to)]
        kept, lied_to = self._halves(said)
        lie = framed(resign(Collected(*other), said.node, self._chain_id), lied_to)
        return [said.frame._replace(to=kept), lie]

    def _wrong_pre_prepared(self, said: Said) -> Frames | None:
        """The wait ends for another block, without its votes, or with those of another place."""
        message = said.message
        if not isinstance(message, PrePrepared):
            return None
        replace = msgspec.structs.replace
        foreign = self._foreign()
        match self._rng.randrange(3):
            case 0:
                digest = self._some_digest(message.height, message.digest)
                message = replace(message, digest=digest)
            case 1 if foreign is not None:
                message = replace(message, prepared=foreign)
            case _:
                message = replace(message, prepared=None)
        wrong = framed(resign(message, said.node, self._chain_id), said.targets)
        if self._rng.randrange(2):
            return [wrong]
        first, second = self._halves(said)
        return [said.frame._replace(to=first), wrong._replace(to=second)]

    def _foreign(self) -> Certificate | None:
        """A prepared certificate of another place."""
        held = [c for (at, d) in self._votes if (c := self._shown(_PREPARED, at, d)) is not None]
        return self._rng.choice(held) if held else None

    def _two_paths(self, said: Said) -> Frames | None:
        """One half is told to vote to the leader, the other to everybody."""
        message = said.message
        if not isinstance(message, Block):
            return None
        first, second = self._halves(said)
        paths = (Path.COLLECT, Path.BROADCAST)
        return [
            framed(msgspec.structs.replace(message, path=path), half)
            for path, half in zip(paths, (first, second), strict=True)
            if half
        ]

    def _hoard(self, said: Said) -> Frames | None:
        """Everybody is to vote to the leader, who then says nothing more at that height."""
        message = said.message
        if isinstance(message, Block):
            self._silenced[said.node] = (message.epoch, message.view, message.height)
            return [framed(msgspec.structs.replace(message, path=Path.COLLECT), said.targets)]
        about = message.certificate if isinstance(message, Agree) else message
        if not isinstance(about, PrePrepared | Prepare | Commit | Certificate):
            return None
        place = (about.epoch, about.view, about.height)
        return [] if self._silenced.get(said.node) == place else None

    def _keep_agree(self, said: Said) -> Frames | None:
        return [] if isinstance(said.message, Agree) else None

    def _agree_to_some(self, said: Said) -> Frames | None:
        """One of those it is for, and nobody else."""
        if not isinstance(said.message, Agree) or len(said.targets) < 2:
            return None
        return [said.frame._replace(to=(self._rng.choice(said.targets),))]

    # ------------------------------------------------------------ adding to it

    def _latest(self) -> list[Block]:
        return [b for at in list(self._proposed)[-LATEST:] for b in self._proposed[at].values()]

    def _unasked_pre_prepared(self, node: ReplicaIndex) -> Frames:
        """The wait ends before it is due, under the leader's own signature; with votes, if any."""
        made: Frames = []
        for block in self._latest():
            at = (block.epoch, block.view, block.height)
            held = self._shown(_PREPARED, at, block.digest) if self._rng.randrange(2) else None
            end = PrePrepared(*at, block.digest, block.proposal_sig, held)
            count = self._rng.randint(1, self._n - 1)
            to = tuple(sorted(self._rng.sample(self._others(node), count)))
            made.append(framed(end, to))
        return made

    def _loud_for_others(self, node: ReplicaIndex) -> Frames:
        """Votes that were meant for the leader alone, for everybody, in their signers' names."""
        del node
        fields = (msgspec.structs.astuple(vote) for vote in list(self._collected)[-self._n :])
        return [framed(Prepare(*vote)) for vote in fields]

    def _stale_votes(self, node: ReplicaIndex) -> Frames:
        """Votes to the leader, and ends of waits, of earlier views and heights."""
        old: list[Collected | PrePrepared] = [*self._collected, *self._ends]
        chosen = self._rng.sample(old, min(len(old), 6))
        return [framed(message, self._others(node)) for message in chosen]

    def _shown_to_one(self, node: ReplicaIndex) -> Frames:
        """A decision that is true, or one vote short of it, for one replica alone."""
        made: Frames = []
        for block in self._latest():
            at = (block.epoch, block.view, block.height)
            full = self._shown(CertificateKind.FAST, at, block.digest)
            if full is None and (short := self._shown(_PREPARED, at, block.digest)) is not None:
                full = msgspec.structs.replace(short, kind=CertificateKind.FAST)
            if full is not None:
                made.append(framed(Agree(full), (self._rng.choice(self._others(node)),)))
        return made


_PREPARED = CertificateKind.PREPARED
