"""A tap on the wire: every signature that a node has let out, and whether two of them clash.

An honest node signs one digest per (tag, epoch, view, height), whatever has been done to its
process or its disk; and when it asks for a new view it owns up to what it has voted for. Only
signatures that hold are counted, so a clash is proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vppd.codec import Decoder
from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Claim,
    Commit,
    NewView,
    Prepare,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    sign_bytes,
    standing_bytes,
)
from vppd.crypto import verify
from vppd.net.frames import Frame
from vppd.types import Digest, Epoch, Height, PublicKey, ReplicaIndex, View

_DECODE: Mapping[int, Callable[[bytes], Any]] = {
    Type.BLOCK: Decoder(Block),
    Type.BLOCK_BODY: Decoder(BlockBody),
    Type.PREPARE: Decoder(Prepare),
    Type.COMMIT: Decoder(Commit),
    Type.AGREE: Decoder(Agree),
    Type.BLOCKS: Decoder(Blocks),
    Type.VIEW_CHANGE: Decoder(ViewChange),
    Type.NEW_VIEW: Decoder(NewView),
}


class Place(NamedTuple):
    """What may carry one digest of a signer."""

    signer: ReplicaIndex
    tag: bytes
    epoch: Epoch
    view: View
    height: Height


Asked: TypeAlias = tuple[ReplicaIndex, Epoch, View]


class Tap:
    """Listens to a plant.

    Args:
        chain_id: of the plant.
        keys: of its validators, by index.
    """

    def __init__(self, chain_id: Digest, keys: Sequence[PublicKey]) -> None:
        self._chain_id = chain_id
        self._keys = keys
        self._signed: dict[Place, Digest] = {}
        self._votes: dict[tuple[ReplicaIndex, bytes, Epoch, Height], list[Claim]] = defaultdict(
            list
        )
        """The same, by what a view change has to claim."""
        self._standings: dict[Asked, Standing] = {}
        self._decided: dict[Height, Digest] = {}
        self._clashes: list[str] = []
        self.forged = 0
        """Signatures that did not hold."""

    def hear(self, source: str, target: str, frame: Frame) -> None:
        """A frame, from one node to another; matches :data:`~tests.chaos.proxy.Hear`."""
        del source, target
        decode = _DECODE.get(frame.type)
        match decode(frame.payload) if decode is not None else None:
            case Block(epoch, view, height, digest, proposal_sig=proposal, vote_sig=vote):
                leader = self._proposal((epoch, view, height), digest, proposal)
                if leader is not None:
                    self._vote(Place(leader, TAG_VOTE, epoch, view, height), digest, vote)
            case BlockBody(epoch, view, height, digest, proposal_sig=proposal):
                self._proposal((epoch, view, height), digest, proposal)
            case Prepare(epoch, view, height, digest, signer, sig):
                self._vote(Place(signer, TAG_VOTE, epoch, view, height), digest, sig)
            case Commit(epoch, view, height, digest, signer, sig):
                self._vote(Place(signer, TAG_COMMIT, epoch, view, height), digest, sig)
            case Agree(certificate):
                self._certificates([certificate])
            case Blocks(blocks):
                self._certificates(block.certificate for block in blocks)
            case ViewChange(standing, decision, prepared):
                self._standing(standing)
                self._certificates([decision, prepared])
            case NewView(standings=standings, decision=decision, prepared=prepared):
                for standing in standings:
                    self._standing(standing)
                self._certificates([decision, prepared])
            case _:
                pass

    @property
    def signatures(self) -> int:
        """Different ones that were heard: proposals, votes, commits."""
        return len(self._signed)

    def signatures_of(self, signer: ReplicaIndex) -> int:
        """Of those, one node's."""
        return sum(place.signer == signer for place in self._signed)

    @property
    def view_changes(self) -> int:
        """Different ones that were heard: one per signer and view."""
        return len(self._standings)

    @property
    def highest_view(self) -> View:
        """That anybody has voted in or asked for."""
        voted = (place.view for place in self._signed)
        return max((*voted, *(view for _, _, view in self._standings)), default=0)

    @property
    def decided(self) -> int:
        """Heights whose certificate was seen."""
        return len(self._decided)

    def clashes(self) -> list[str]:
        """Everything that no honest node does; empty is how it must be."""
        return [*self._clashes, *self._concealed()]

    # ------------------------------------------------------------ inside

    def _vote(self, place: Place, digest: Digest, signature: bytes) -> None:
        known = self._signed.get(place)
        if known == digest:
            return
        signed = sign_bytes(
            place.tag, self._chain_id, place.epoch, place.view, place.height, digest
        )
        if not verify(self._keys[place.signer], signed, signature):
            self.forged += 1
        elif known is None:
            self._signed[place] = digest
            kind = (place.signer, place.tag, place.epoch, place.height)
            self._votes[kind].append(Claim(place.view, digest))
        else:
            self._clashes.append(f"{place} signed twice: {known.hex()} and {digest.hex()}")

    def _proposal(
        self, at: tuple[Epoch, View, Height], digest: Digest, signature: bytes
    ) -> ReplicaIndex | None:
        """Who leads is the engine's business; whose signature it is can be tried."""
        places = [Place(i, TAG_PROPOSAL, *at) for i in range(len(self._keys))]
        for place in places:
            if self._signed.get(place) == digest:
                return place.signer
        signed = sign_bytes(TAG_PROPOSAL, self._chain_id, *at, digest)
        for place, key in zip(places, self._keys, strict=True):
            if verify(key, signed, signature):
                self._vote(place, digest, signature)
                return place.signer
        self.forged += 1
        return None

    def _certificates(self, certificates: Iterable[Certificate | None]) -> None:
        for c in certificates:
            if c is None:
                continue
            tag = TAG_COMMIT if c.kind == CertificateKind.COMMIT else TAG_VOTE
            for signer, signature in zip(signers_of(c), c.signatures, strict=True):
                self._vote(Place(signer, tag, c.epoch, c.view, c.height), c.digest, signature)
            if c.kind != CertificateKind.PREPARED:
                known = self._decided.setdefault(c.height, c.digest)
                if known != c.digest:
                    self._clashes.append(f"height {c.height}: {known.hex()} and {c.digest.hex()}")

    def _standing(self, standing: Standing) -> None:
        asked = (standing.signer, standing.epoch, standing.view)
        known = self._standings.get(asked)
        if known == standing:
            return
        key = self._keys[standing.signer]
        if not verify(key, standing_bytes(self._chain_id, standing), standing.sig):
            self.forged += 1
        elif known is None:
            self._standings[asked] = standing
        else:
            self._clashes.append(f"two view changes for one view: {known} and {standing}")

    def _concealed(self) -> Iterable[str]:
        """View changes that claim less than their signer was heard to sign before that view."""
        for (signer, epoch, view), standing in self._standings.items():
            for tag, claim in ((TAG_VOTE, standing.vote), (TAG_COMMIT, standing.prepared)):
                for heard in self._votes.get((signer, tag, epoch, standing.decided + 1), ()):
                    hides = claim is None or claim.view < heard.view
                    other = claim is not None and claim.view == heard.view and claim != heard
                    if heard.view < view and (hides or other):
                        yield f"{standing} does not own up to {tag!r} {heard}"
