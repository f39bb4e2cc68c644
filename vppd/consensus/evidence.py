"""Proof that a replica broke the rules: found here or learnt, each kept and passed on once (§3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from vppd.consensus.boundary import ALL, EvidenceRecord, Record
from vppd.consensus.messages import (
    Claim,
    Concealment,
    Equivocation,
    Evidence,
    Proof,
    Round,
    Standing,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.tally import Ballots, Cast
from vppd.types import Epoch, Height, ReplicaIndex, View

Charge: TypeAlias = tuple[ReplicaIndex, int, Epoch, View, Height]
"""One per (signer, kind, epoch, view, height); a concealed vote counts as kind 0."""
CHARGES_PER_SIGNER = 64
"""More proof against the same replica of an epoch says nothing new, and would fill the disk."""


def charge_of(proof: Proof) -> Charge:
    """What a proof is about."""
    match proof:
        case Equivocation(round_, epoch, view, height, signer):
            return signer, round_, epoch, view, height
        case Concealment(standing, _, _):
            at = (standing.epoch, standing.view, standing.decided + 1)
            return (standing.signer, 0, *at)


def hides(standing: Standing, vote: Claim) -> bool:
    """Whether a view change denies a vote its signer cast at height ``decided`` + 1.

    An honest replica claims its latest vote there, and casts none in a view below the one it has
    asked for.
    """
    claim = standing.vote
    if vote.view >= standing.view:
        return False
    return (
        claim is None
        or claim.view < vote.view
        or (claim.view == vote.view and claim.digest != vote.digest)
    )


class Accusations:
    """What is known against whom; new proof is persisted, reported and passed on."""

    __slots__ = ("_charges", "_out", "_per_signer")

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._charges: set[Charge] = set()
        self._per_signer: Counter[tuple[Epoch, ReplicaIndex]] = Counter()

    def __len__(self) -> int:
        return len(self._charges)

    def resume(self, log: Iterable[Record]) -> None:
        """What the store has already."""
        for record in log:
            if isinstance(record, EvidenceRecord):
                self._note(charge_of(record.proof))

    def knows(self, charge: Charge) -> bool:
        """Whether proof of this charge, or enough against its signer, is held."""
        signer, _, epoch, *_ = charge
        full = self._per_signer[epoch, signer] >= CHARGES_PER_SIGNER
        return charge in self._charges or full

    def add(self, proof: Proof) -> bool:
        """Take proof whose signatures hold; whether it is new."""
        charge = charge_of(proof)
        if self.knows(charge):
            return False
        self._note(charge)
        self._out.persist(EvidenceRecord(proof))
        self._out.fault(proof)
        self._out.send(ALL, Evidence(proof))
        return True

    def _note(self, charge: Charge) -> None:
        signer, _, epoch, *_ = charge
        self._charges.add(charge)
        self._per_signer[epoch, signer] += 1

    def twice(
        self, round_: Round, epoch: Epoch, view: View, height: Height, signer: ReplicaIndex,
        first: Cast, second: Cast,
    ) -> bool:  # fmt: skip
        """Two signatures for two digests at one place; whether that is new."""
        at = (round_, epoch, view, height, signer)
        return self.add(Equivocation(*at, first.digest, first.signature, *second))

    def concealed(self, standing: Standing, ballots: Ballots) -> bool:
        """Compare a view change with the votes its signer is known to have cast."""
        height = standing.decided + 1
        for view in ballots.views(height, Round.VOTE):
            tally = ballots.at(height, view, Round.VOTE)
            cast = tally.by_signer.get(standing.signer)
            if cast is not None and hides(standing, Claim(view, cast.digest)):
                return self.add(Concealment(standing, Claim(view, cast.digest), cast.signature))
        return False
