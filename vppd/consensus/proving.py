"""Proof that a replica broke the rules or was passed over, checked against its epoch (§3, §13).

The caller says which epoch's replicas are meant; nothing here depends on which one is in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import assert_never

from vppd.codec import Malformed
from vppd.consensus.evidence import hides
from vppd.consensus.messages import Concealment, Equivocation, Proof, Round, Standing
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    sign_bytes,
    standing_bytes,
)
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import Verify
from vppd.types import Digest, Epoch, Height, PublicKey, ReplicaIndex, Signature, View


class NotSigned(Malformed):
    """A signature in the proof is not that of the replica it names."""


_TAG = {Round.VOTE: TAG_VOTE, Round.COMMIT: TAG_COMMIT, Round.PROPOSAL: TAG_PROPOSAL}


def check_proof(
    proof: Proof, validators: ValidatorSet, chain_id: Digest, verify: Verify
) -> PublicKey:
    """The key of the replica that ``proof`` convicts.

    Args:
        proof: evidence.
        validators: of the epoch it is about.
        chain_id: of the chain.
        verify: the one verifier.

    Raises:
        Malformed: it proves nothing about a replica of that epoch; :class:`NotSigned` if that is
            so for want of a signature.
    """
    cast: tuple[tuple[bytes, View, Height, Digest, Signature], ...]
    match proof:
        case Equivocation(round_, epoch, view, height, signer):
            if proof.first == proof.second or round_ not in _TAG:
                raise Malformed("two signatures that do not exclude each other")
            tag = _TAG[Round(round_)]
            cast = (
                (tag, view, height, proof.first, proof.first_sig),
                (tag, view, height, proof.second, proof.second_sig),
            )
        case Concealment(standing, vote, sig):
            if not hides(standing, vote):
                raise Malformed("a view change that hides nothing")
            check_standing(standing, validators, chain_id, verify)
            epoch, signer = standing.epoch, standing.signer
            cast = ((TAG_VOTE, vote.view, standing.decided + 1, vote.digest, sig),)
        case _:  # pragma: no cover
            assert_never(proof)
    key = _member(validators, epoch, signer)
    for tag, view, height, digest, signature in cast:
        if not verify(key, sign_bytes(tag, chain_id, epoch, view, height, digest), signature):
            raise NotSigned(f"replica {signer} did not sign this")
    return key


def check_standing(
    standing: Standing, validators: ValidatorSet, chain_id: Digest, verify: Verify
) -> None:
    """Whether a replica of that epoch says where it stands.

    Raises:
        Malformed: it contradicts itself, or (:class:`NotSigned`) the signature does not hold.
    """
    key = _member(validators, standing.epoch, standing.signer)
    for claim in (standing.vote, standing.prepared):
        if claim is not None and claim.view >= standing.view:
            raise Malformed(f"a claim of view {claim.view} in a change to {standing.view}")
    if not verify(key, standing_bytes(chain_id, standing), standing.sig):
        raise NotSigned(f"replica {standing.signer} did not sign this view change")


def check_skip_shape(
    standings: Sequence[Standing], view: View, height: Height, validators: ValidatorSet
) -> None:
    """Whether these say, signatures aside, that enough replicas gave a leader up.

    w replicas of one epoch ask for ``view`` while ``height`` is the next to decide, all on the same
    block: the leader of the view before did not get it decided in time.

    Raises:
        Malformed: too few or too many, not in order, or not of one mind.
    """
    size = validators.quorum.view_change
    if view < 1 or height < validators.first:
        raise Malformed("nobody led there before")
    if len(standings) != size:
        raise Malformed(f"{len(standings)} view changes, it takes exactly {size}")
    if any(a.signer >= b.signer for a, b in pairwise(standings)):
        raise Malformed("view changes that are not of distinct replicas in order")
    at = (validators.epoch, view, height - 1, standings[0].head)
    if any((s.epoch, s.view, s.decided, s.head) != at for s in standings):
        raise Malformed("view changes from different places")


def _member(validators: ValidatorSet, epoch: Epoch, signer: ReplicaIndex) -> PublicKey:
    if epoch != validators.epoch:
        raise Malformed(f"signed in epoch {epoch}, these are the replicas of {validators.epoch}")
    if signer >= len(validators.members):
        raise Malformed(f"no replica has index {signer}")
    return validators.members[signer].key
