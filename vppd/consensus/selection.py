"""What a new leader is bound to: pure functions of the view changes it shows (protocol.md, §7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from vppd.consensus.messages import Certificate, NewView, Standing
from vppd.consensus.quorum import Quorums
from vppd.types import Digest, Height


class Selection(NamedTuple):
    """The first height a view may decide, and what must be proposed there."""

    height: Height
    """H0."""
    choice: Digest | None
    """``None``: the leader is free."""


def select(
    standings: Sequence[Standing], prepared: Certificate | None, quorum: Quorums
) -> Selection:
    """``select(W)`` of §7.

    Args:
        standings: of w distinct replicas, for one view.
        prepared: the attached prepared certificate, of height H0, if there is one.
        quorum: sizes of the plant.
    """
    height = 1 + max(s.decided for s in standings)
    level = [s for s in standings if s.decided == height - 1]
    best = -1 if prepared is None else prepared.view
    claims = Counter(s.vote.digest for s in level if s.vote is not None and s.vote.view > best)
    forced = [digest for digest, count in claims.items() if count >= quorum.claim]
    if len(forced) == 1:
        return Selection(height, forced[0])
    return Selection(height, None if prepared is None else prepared.digest)


def flaw(message: NewView, quorum: Quorums) -> str:
    """Whether a new view follows from what it shows; signatures are the gate's business.

    Returns:
        What is wrong, or an empty string.
    """
    standings, prepared = message.standings, message.prepared
    if len(standings) != quorum.view_change:
        return f"{len(standings)} view changes, it takes exactly {quorum.view_change}"
    if any(a.signer >= b.signer for a, b in pairwise(standings)):
        return "its view changes are not of distinct replicas in order"
    if any((s.epoch, s.view) != (message.epoch, message.view) for s in standings):
        return "a view change for another view"
    highest = max(s.decided for s in standings)
    if highest != (0 if message.decision is None else message.decision.height):
        return f"the highest decision is {highest}, the certificate shown is for another"
    if prepared is not None and (prepared.height, prepared.epoch) != (highest + 1, message.epoch):
        return f"a prepared certificate of height {prepared.height}, H0 is {highest + 1}"
    if prepared is not None and prepared.view >= message.view:
        return "a prepared certificate of this view or a later one"
    for s in standings:
        claim = s.prepared if s.decided == highest else None  # only the claims of R count
        if claim is None:
            continue
        if prepared is None or claim.view > prepared.view:
            return f"replica {s.signer} claims a later prepared certificate than is shown"
        if claim.view == prepared.view and claim.digest != prepared.digest:
            return f"replica {s.signer} claims another prepared certificate of that view"
    if select(standings, prepared, quorum) != (message.height, message.choice):
        return "height and choice do not follow from the view changes shown"
    return ""
